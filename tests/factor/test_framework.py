"""The whole family at once: loss x link x constraint x penalty x weights, solved or refused by name."""

from itertools import product

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxunmix as jxu

# Hundreds of programs of which each runs once.
pytestmark = pytest.mark.unoptimised
C, L, K, P, U = jxu.constraints, jxu.losses, jxu.links, jxu.penalties, jxu.updates
PIXELS, CHANNELS, RANK, GRID = 24, 9, 3, (4, 6)
SIGNS = (C.NonNegative("maps"), C.NonNegative("spectra"))
RNG = np.random.default_rng(0)
X = RNG.dirichlet(np.ones(RANK), PIXELS) @ (RNG.random((RANK, CHANNELS)) + 0.1)
X = np.clip(X + 0.02 * RNG.normal(size=X.shape), 0.02, 0.98)
WEIGHTS = (np.random.default_rng(1).random(X.shape) < 0.8).astype(float)
GRAPH = P.similarity_graph(X, 4)
ALLOWED = np.random.default_rng(2).random((RANK, PIXELS)) < 0.8
ALLOWED[0] = True
REGIONS = np.arange(PIXELS) % 3

LOSSES = {
    "frobenius": L.Frobenius,
    "poisson": L.Poisson,
    "itakura": L.ItakuraSaito,
    "beta": lambda **more: L.Beta(1.5, **more),
    "angle": L.Angle,
}
LINKS = {
    "identity": K.Identity(),
    "logistic": K.Logistic(),
    "exponential": K.Exponential(),
    "log": K.Log(offset=1.1),
    "rounding": K.Rounding(step=0.05),
}
CONSTRAINTS = {
    "none": (),
    "signs": SIGNS,
    "maps alone": SIGNS[:1],
    "box": (*SIGNS, C.Box("maps", high=0.6)),
    "signed box": (C.Box("maps", -0.5, 1.5), C.Box("spectra", -1.0, 1.0)),
    "simplex": (*SIGNS, C.Simplex("maps")),
    "spectra sum": (*SIGNS, C.Simplex("spectra")),
    "at most": (*SIGNS, C.SumAtMost("maps")),
    "spectra at most": (*SIGNS, C.SumAtMost("spectra", 2.0)),
    "closure": (*SIGNS, C.Closure("maps", X.sum(axis=1))),
    "two of them": (*SIGNS, C.MaxComponents("maps", most=2)),
    "two that sum": (*SIGNS, C.MaxComponents("maps", most=2), C.Simplex("maps")),
    "local rank": (*SIGNS, C.LocalRank("maps", REGIONS, (1, 2, 0))),
    "selective": (*SIGNS, C.Selectivity("maps", ALLOWED)),
    "unimodal": (*SIGNS, C.Unimodal("spectra")),
    "monotone": (*SIGNS, C.Monotone("spectra", decreasing=True)),
    "norm": (*SIGNS, C.UnitNorm("spectra")),
    "orthogonal": (*SIGNS, C.Orthogonal("maps")),
    "known": (
        *SIGNS,
        C.Fixed("spectra", values=np.where(np.arange(RANK * CHANNELS).reshape(RANK, -1) % 7, np.nan, 0.2)),
    ),
    "product": (C.Box("product", 0.0, 1.0),),
}
PENALTIES = {
    "none": (),
    "l1": (P.L1("maps", 0.01),),
    "log": (P.LogSparsity("maps", 0.01),),
    "ridge": (P.Ridge("spectra", 0.01),),
    "laplacian": (P.Laplacian("maps", 0.1, GRID),),
    "variation": (P.TotalVariation("maps", 0.05, GRID),),
    "graph": (P.GraphSimilarity("maps", 0.1, GRAPH),),
    "product graph": (P.GraphSimilarity("maps", 0.1, GRAPH, form="product"),),
    "smooth": (P.Smoothness("spectra", 0.1),),
    "overlap": (P.SoftOrthogonality("maps", 0.1),),
    "function": (lambda f: 1e-3 * jnp.sum(f.spectra**4),),
}


def refusal(loss, link, constraint, penalty, weighted):
    """What the combination is refused for, by the rules alone; None where it is to be solved."""
    kind = {"none": "signed", "maps alone": "half", "signed box": "signed", "product": "product"}.get(
        constraint, "positive"
    )
    if link == "rounding" and loss != "frobenius":
        return "likelihood of its own"
    if kind == "product":
        plain = loss == "frobenius" and link == "identity" and penalty == "none" and not weighted
        return None if plain else "BoundedHALS"
    if kind == "signed" and penalty in ("log", "overlap"):
        return "needs NonNegative"
    return None


def holds(constraint, factors):
    """By how much the constraint is missed, from its definition."""
    maps, spectra = np.asarray(factors.maps), np.asarray(factors.profiles)
    negative = max(-maps.min(), -spectra.min(), 0)
    own = {
        "none": lambda: 0,
        "maps alone": lambda: max(-maps.min(), 0),
        "signs": lambda: negative,
        "box": lambda: max(negative, maps.max() - 0.6),
        "signed box": lambda: max(-0.5 - maps.min(), maps.max() - 1.5, np.abs(spectra).max() - 1),
        "simplex": lambda: max(negative, np.abs(maps.sum(axis=1) - 1).max()),
        "spectra sum": lambda: max(negative, np.abs(spectra.sum(axis=1) - 1).max()),
        "at most": lambda: max(negative, maps.sum(axis=1).max() - 1),
        "spectra at most": lambda: max(negative, spectra.sum(axis=1).max() - 2),
        "closure": lambda: max(negative, np.abs(maps.sum(axis=1) - X.sum(axis=1)).max()),
        "two of them": lambda: max(negative, ((maps > 0).sum(axis=1) > 2).max()),
        "two that sum": lambda: max(((maps > 0).sum(axis=1) > 2).max(), np.abs(maps.sum(axis=1) - 1).max()),
        "local rank": lambda: max(
            negative,
            *((maps[region == REGIONS] > 0).any(axis=0).sum() > most for region, most in ((0, 1), (1, 2))),
        ),
        "selective": lambda: max(negative, np.abs(maps.T[~ALLOWED]).max()),
        "unimodal": lambda: max(negative, *(_away_from_one_maximum(row) for row in spectra)),
        "monotone": lambda: max(negative, np.diff(spectra, axis=1).max()),
        # A component that has died is all zeros, see `UnitNorm`.
        "norm": lambda: max(negative, np.abs(np.linalg.norm(spectra[spectra.any(axis=1)], axis=1) - 1).max()),
        "orthogonal": lambda: max(negative, ((maps > 0).sum(axis=1) > 1).max()),
        "known": lambda: np.abs(spectra.ravel()[::7] - 0.2).max(),
        "product": lambda: max(-(maps @ spectra).min(), (maps @ spectra).max() - 1),
    }
    return float(own[constraint]())


def _away_from_one_maximum(row):
    return min(
        max(-np.diff(row[: top + 1]).min(initial=0), np.diff(row[top:]).max(initial=0)) for top in range(len(row))
    )


STEP = 1e-6


@eqx.filter_jit
def _run(problem, update, factors):
    """Objectives before and after each of a few steps, the factors there, and the slope at the start, twice."""

    def one(carry, _):
        factors, state = update.step(problem, *carry)
        factors = problem.normalise(factors)
        return (factors, state), problem.objective(factors)

    start = problem.normalise(factors)
    end, objectives = jax.lax.scan(one, (start, update.init(problem, start)), length=4)
    direction = jax.tree.map(lambda a: jnp.asarray(np.random.default_rng(3).random(a.shape)) * a, start)

    def along(t):
        return problem.objective(jax.tree.map(lambda a, d: a + t * d, start, direction))

    before, after = jax.lax.map(along, STEP * jnp.array([-1.0, 1.0]))
    value, slope = jax.value_and_grad(along)(0.0)
    return jnp.append(value, objectives), end[0], (slope, (after - before) / (2 * STEP))


def check(loss, link, constraint, penalty, weighted):
    """Refused by name, or solved: the objective falls, the constraint holds, the slope is that of differences."""
    reason = refusal(loss, link, constraint, penalty, weighted)

    def make():
        problem = jxu.Problem(
            X,
            LOSSES[loss](link=LINKS[link]),
            penalties=PENALTIES[penalty],
            weights=WEIGHTS if weighted else None,
            constraints=CONSTRAINTS[constraint],
        )
        return problem, jxu.factor.solve.checks.default_update(problem)

    if reason is not None:
        with pytest.raises(ValueError, match=reason):
            jxu.fit(make()[0], RANK, key=jax.random.key(0), max_steps=1)
        return None
    problem, update = make()
    update.check(problem)
    start = problem.linearised
    factors = jxu.initial.Random()(start, RANK, jax.random.key(1))
    objectives, end, (slope, difference) = _run(problem, update, factors)
    objectives = np.asarray(objectives)
    assert np.isfinite(objectives).all(), type(update).__name__
    assert (np.diff(objectives) <= 1e-9 * np.abs(objectives[:-1])).all(), (type(update).__name__, objectives)
    assert objectives[-1] < objectives[0]
    assert holds(constraint, end) <= 1e-6, (type(update).__name__, holds(constraint, end))
    assert float(slope) == pytest.approx(float(difference), rel=1e-4, abs=STEP * abs(objectives[0]))
    return type(update).__name__


# Each part once, beside others that change from row to row.
SOME = [
    *(("frobenius", "identity", constraint, "none", False) for constraint in CONSTRAINTS),
    *(("frobenius", "identity", "simplex", penalty, False) for penalty in PENALTIES if penalty != "none"),
    *((loss, "identity", "at most", "function", True) for loss in LOSSES),
    *(("frobenius", link, "none", "ridge", True) for link in LINKS),
    ("poisson", "exponential", "none", "l1", False),
    ("poisson", "identity", "unimodal", "variation", False),
    ("poisson", "rounding", "signs", "none", False),
    ("frobenius", "identity", "norm", "function", False),
    ("angle", "identity", "product", "none", False),
    ("frobenius", "logistic", "none", "overlap", False),
]
ALL = [*product(LOSSES, LINKS, CONSTRAINTS, PENALTIES, (False, True))]
# A walk through all of them in steps that have no factor in common with their numbers.
MANY = [ALL[i] for i in range(0, len(ALL), 41)]


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64():
        yield


@pytest.mark.parametrize("row", SOME, ids=lambda row: " ".join(map(str, row)))
def test_each_part_is_solved_or_refused(row):
    check(*row)


@pytest.mark.slow
@pytest.mark.parametrize("row", MANY, ids=lambda row: " ".join(map(str, row)))
def test_many_combinations_are_solved_or_refused(row):
    check(*row)


def test_enough_of_them_are_to_be_solved():
    assert sum(refusal(*row) is None for row in MANY) >= 200
    for place, names in enumerate((LOSSES, LINKS, CONSTRAINTS, PENALTIES, (False, True))):
        assert {row[place] for row in MANY if refusal(*row) is None} | {"rounding"} >= set(names) - {"product"}


def test_a_regulariser_invented_here_works_with_restarts():
    """Nothing else is named: `fit` takes the update, JAX the derivative; the spectra's centres come together."""
    with jax.enable_x64(False):
        place = jnp.arange(CHANNELS) / CHANNELS

        def pull(factors):
            centres = factors.spectra @ place / factors.spectra.sum(axis=1)
            return 1000 * jnp.var(centres)

        options = {"rank": RANK, "restarts": 4, "key": jax.random.key(0)}
        found, plain = (jxu.fit(jxu.Problem(X, penalties=p), **options) for p in ((pull,), ()))
    spread = [np.ptp(np.asarray(s.spectra) @ np.asarray(place) / s.spectra.sum(axis=1)) for s in (found, plain)]
    assert spread[0] < 0.2 * spread[1]
    assert found.info["update"] == "FISTA"
    assert found.info["penalties"] == ["pull"]
    assert len(found.restarts.objective) == 4


@pytest.mark.parametrize("loss", ["frobenius", "poisson"])
def test_a_third_of_the_entries_may_be_missing(loss):
    """Spectra within a degree of those from all entries; the missing ones predicted at the level of the noise."""
    rng = np.random.default_rng(5)
    spectra = np.array([np.exp(-(((np.arange(40) - c) / 5) ** 2)) + 0.02 for c in (8, 20, 31)])
    mean = 60 * rng.dirichlet(np.full(3, 0.3), 500) @ spectra
    x = rng.poisson(mean).astype(float) if loss == "poisson" else mean + 2 * rng.normal(size=mean.shape)
    missing = rng.random(x.shape) < 0.3
    with jax.enable_x64(False):
        holed = np.where(missing, np.nan, x).astype(np.float32)
        options = {"rank": 3, "restarts": 3, "key": jax.random.key(0), "max_steps": 500}
        whole = jxu.fit(jxu.Problem(x.astype(np.float32), LOSSES[loss]()), **options)
        found = jxu.fit(jxu.Problem(holed, LOSSES[loss](), weights=~missing), **options)
    assert jxu.metrics.match(found.spectra, whole.spectra).angles.max() < 1
    error = (np.asarray(found.maps @ found.spectra) - x)[missing]
    noise = mean[missing].mean() if loss == "poisson" else 4.0
    # 3 x 540 numbers from 14,000 entries: the error of the model adds about a tenth of the noise.
    assert np.mean(error**2) < 1.25 * noise


@pytest.mark.parametrize("penalty", PENALTIES)
def test_a_component_that_has_died_has_a_slope(penalty):
    problem = jxu.Problem(X, penalties=PENALTIES[penalty], constraints=SIGNS)
    factors = jxu.initial.Random()(problem, RANK, jax.random.key(0))
    dead = eqx.tree_at(lambda f: (f.maps_t, f.profiles), factors, replace_fn=lambda a: a.at[1].set(0))
    slopes = jax.grad(lambda f: problem.objective(f))(dead)
    assert all(np.isfinite(s).all() for s in jax.tree.leaves(slopes))
