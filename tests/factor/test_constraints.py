"""Sums, ratios and known entries: every step descends and keeps them; what contradicts itself is refused."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

import jaxunmix as jxu
from jaxunmix.factor.updates.simplex import CountsBound, SquaresBound, minimise_on_simplex

GRID = (6, 7)
ELEMENTS = (0, 1, 2, 3)
RATIO = {"columns": (0, 3), "ratio": (2, 1)}
NAN = np.nan
KNOWN = np.array([[NAN, 0, NAN, NAN, NAN], [NAN, NAN, 0.2, NAN, NAN], [NAN, NAN, NAN, NAN, 0.7]])
NON_NEGATIVE = (jxu.constraints.NonNegative("maps"), jxu.constraints.NonNegative("coefficients"))
BASES = {
    "shared": np.random.default_rng(3).random((5, 15)) + 0.1,
    "own": np.random.default_rng(4).random((3, 5, 15)) + 0.1,
}
LOSSES = {"poisson": jxu.losses.Poisson(), "frobenius": jxu.losses.Frobenius()}
SIMPLEX = {
    "none": (),
    "columns": (jxu.constraints.Simplex("coefficients", ELEMENTS),),
    "maps": (jxu.constraints.Simplex("maps"),),
}
FIXED = {"none": (), "entries": (jxu.constraints.Fixed("coefficients", values=KNOWN),)}
TIES = {"none": (), "ratio": (jxu.constraints.Proportional("coefficients", **RATIO),)}
PENALTIES = {
    "none": (),
    "Laplacian": (jxu.penalties.Laplacian("maps", 0.5, GRID),),
    "log": (jxu.penalties.LogSparsity("maps", 0.05),),
    "both": (jxu.penalties.Laplacian("maps", 0.5, GRID), jxu.penalties.LogSparsity("maps", 0.05)),
}
MULTIPLICATIVE = jxu.updates.Multiplicative()


def _data() -> np.ndarray:
    """Counts with many zeros and an empty pixel."""
    rng = np.random.default_rng(0)
    x = rng.poisson(rng.dirichlet(np.ones(3), 42) @ (rng.random((3, 15)) + 0.2) * 3).astype(float)
    x[17] = 0
    return x


def _combinations() -> list[tuple[str, ...]]:
    """All that are served: ratios go with Poisson only."""
    every = itertools.product(BASES, LOSSES, SIMPLEX, FIXED, TIES, PENALTIES)
    return [case for case in every if case[1] == "poisson" or case[4] == "none"]


def _pairwise(cases: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Few of the cases, in which every two settings that ever meet do meet."""

    def pairs(case):
        return set(itertools.combinations(enumerate(case), 2))

    left, chosen = set().union(*map(pairs, cases)), []
    while left:
        chosen.append(max(cases, key=lambda case: len(pairs(case) & left)))
        left -= pairs(chosen[-1])
    return chosen


TABLE = _combinations()
QUICK = _pairwise(TABLE)


@eqx.filter_jit
def _step(problem, factors):
    factors, _ = MULTIPLICATIVE.step(problem, factors, None)
    return factors, problem.objective(factors)


def _descend(problem, steps=12, start=None, rounding=1e-12):
    """Bare steps, without what `fit` puts right between them: maps and second block at the end of a descent."""
    start = jxu.initial.Random() if start is None else start
    factors = problem.normalise(start(problem, 3, jax.random.key(1)))
    trace = [float(problem.objective(factors))]
    for _ in range(steps):
        factors, objective = _step(problem, factors)
        trace.append(float(objective))
    assert np.all(np.diff(trace) <= rounding * np.abs(trace[:-1]))
    assert trace[-1] < trace[0]
    return np.asarray(factors.maps), np.asarray(factors.profiles)


@pytest.mark.parametrize(
    ("basis", "loss", "simplex", "fixed", "ties", "penalty"),
    [pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow) for case in TABLE],
)
def test_every_step_descends_and_keeps_the_constraints(basis, loss, simplex, fixed, ties, penalty):
    constraints = (*NON_NEGATIVE, *SIMPLEX[simplex], *FIXED[fixed], *TIES[ties])
    with jax.enable_x64():
        problem = jxu.Problem(_data(), LOSSES[loss], BASES[basis], PENALTIES[penalty], constraints=constraints)
        maps, coefficients = _descend(problem)
    if simplex == "columns":
        np.testing.assert_allclose(coefficients[:, ELEMENTS].sum(axis=1), 1, rtol=0, atol=1e-10)
    if simplex == "maps":
        np.testing.assert_allclose(maps.sum(axis=1), 1, rtol=0, atol=1e-10)
    if fixed == "entries":
        known = ~np.isnan(KNOWN)
        np.testing.assert_array_equal(coefficients[known], KNOWN[known])
    if ties == "ratio":
        np.testing.assert_allclose(coefficients[:, 0], 2 * coefficients[:, 3], rtol=1e-12)
    assert min(maps.min(), coefficients.min()) >= 0


def _simplex(columns=ELEMENTS, values=None):
    known = () if values is None else (jxu.constraints.Fixed("coefficients", values=np.array(values)),)
    return (*NON_NEGATIVE, jxu.constraints.Simplex("coefficients", columns), *known)


FREE = [NAN] * 5
EDGES = {
    "one free entry": _simplex(values=[[0.5, NAN, 0.2, 0.1, NAN], FREE, FREE]),
    "nothing left": _simplex(values=[[0.5, 0.5, NAN, NAN, NAN], [0.1, 0.2, 0.3, 0.4, NAN], FREE]),
    "everything known": _simplex(values=[[0.1, 0.2, 0.3, 0.4, 0.0], FREE, FREE]),
    "one column": _simplex((2,)),
    "all columns": _simplex(None),
    "tied across the border": (*_simplex(), jxu.constraints.Proportional("coefficients", (1, 4), (1, 3))),
    "two ratios": (
        *_simplex(values=[[NAN, NAN, 0.25, NAN, NAN], FREE, FREE]),
        jxu.constraints.Proportional("coefficients", (4, 0), (1, 3)),
        jxu.constraints.Proportional("coefficients", (3, 1), (0.5, 0.1)),
    ),
    "both blocks": (*_simplex(), jxu.constraints.Simplex("maps")),
    "a known map": (*_simplex(values=KNOWN), jxu.constraints.Fixed("maps", rows=(1,))),
}


@pytest.mark.parametrize("name", EDGES)
def test_edges_of_the_simplex_descend_too(name):
    rng, constraints = np.random.default_rng(2), EDGES[name]
    start = jxu.initial.Given(rng.random((42, 3)), coefficients=rng.random((3, 5)))
    with jax.enable_x64():
        problem = jxu.Problem(_data(), LOSSES["poisson"], BASES["shared"], PENALTIES["both"], constraints=constraints)
        maps, coefficients = _descend(problem, 25, start)
    for constraint in constraints:
        if constraint == jxu.constraints.Simplex("maps"):
            np.testing.assert_allclose(maps.sum(axis=1), 1, rtol=0, atol=1e-10)
        elif isinstance(constraint, jxu.constraints.Simplex):
            members = constraint.members(5)
            np.testing.assert_allclose(coefficients[:, members].sum(axis=1), 1, rtol=0, atol=1e-10)
        elif isinstance(constraint, jxu.constraints.Proportional):
            shares = coefficients[:, constraint.columns] / np.array(constraint.ratio)
            np.testing.assert_allclose(shares, np.broadcast_to(shares[:, :1], shares.shape), rtol=1e-12)
        elif constraint.block == "maps" and isinstance(constraint, jxu.constraints.Fixed):
            np.testing.assert_array_equal(maps[:, constraint.rows], start.maps[:, constraint.rows])
        elif isinstance(constraint, jxu.constraints.Fixed):
            known = ~np.isnan(constraint.values)
            np.testing.assert_array_equal(coefficients[known], constraint.values[known])


def test_a_component_whose_map_is_zero_keeps_its_sum():
    rng = np.random.default_rng(2)
    maps = rng.random((42, 3)) * [1, 0, 1]
    for loss in LOSSES.values():
        problem = jxu.Problem(_data(), loss, BASES["shared"], constraints=_simplex())
        fit = jxu.fit(problem, 3, MULTIPLICATIVE, jxu.initial.Given(maps, coefficients=rng.random((3, 5))), max_steps=3)
        np.testing.assert_allclose(fit.coefficients[:, ELEMENTS].sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_spectrum_of_zeros_takes_what_the_others_leave(loss):
    """Vacuum: with spectra known to be too bright the free minimum has sums below one, and that is the fit."""
    rng = np.random.default_rng(2)
    spectra = rng.dirichlet(np.ones(15), 3) * [[0], [300], [400]]
    x = rng.poisson(rng.dirichlet([4, 1, 1], 42) @ spectra)
    signs = (jxu.constraints.NonNegative("maps"), jxu.constraints.NonNegative("spectra"))
    known = jxu.constraints.Fixed("spectra", values=spectra)
    with jax.enable_x64():
        problem = jxu.Problem(x, LOSSES[loss], constraints=(*signs, known, jxu.constraints.Simplex("maps")))
        fit = jxu.fit(problem, 3, MULTIPLICATIVE, key=jax.random.key(0), max_steps=3000, rtol=1e-14, check_every=1)
        free = np.asarray(jxu.project(x, spectra[1:], LOSSES[loss], max_steps=3000, rtol=1e-14).maps)
    maps, trace = np.asarray(fit.maps), np.asarray(fit.trace)
    assert np.all(np.diff(trace) <= 1e-12 * trace[:-1])
    inside = free.sum(axis=1) < 0.99
    assert inside.sum() > 30
    np.testing.assert_allclose(maps[inside, 1:], free[inside], atol=1e-3)
    np.testing.assert_allclose(maps.sum(axis=1), 1, rtol=0, atol=1e-10)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("block", ["maps", "spectra"])
def test_without_a_basis_the_spectra_take_the_same_constraints(loss, block):
    columns = None if block == "maps" else (1, 4, 5)
    values = np.full((3, 15), NAN)
    values[0, 3], values[2, 5] = 0.4, 0
    both = (jxu.constraints.NonNegative("maps"), jxu.constraints.NonNegative("spectra"))
    added = (jxu.constraints.Simplex(block, columns), jxu.constraints.Fixed("spectra", values=values))
    with jax.enable_x64():
        problem = jxu.Problem(_data(), LOSSES[loss], None, PENALTIES["both"], constraints=(*both, *added))
        maps, spectra = _descend(problem)
    known = ~np.isnan(values)
    np.testing.assert_array_equal(spectra[known], values[known])
    sums = maps.sum(axis=1) if block == "maps" else spectra[:, columns].sum(axis=1)
    np.testing.assert_allclose(sums, 1, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("storage", "simplex"), [(jxu.Dense, "columns"), (jxu.Counts, "maps")])
def test_float32_keeps_sums_to_its_rounding(storage, simplex):
    constraints = (*NON_NEGATIVE, *SIMPLEX[simplex], *FIXED["entries"])
    problem = jxu.Problem(storage(_data()), LOSSES["poisson"], BASES["own"], PENALTIES["both"], constraints=constraints)
    maps, coefficients = _descend(problem, 30, rounding=1e-5)
    sums = maps.sum(axis=1) if simplex == "maps" else coefficients[:, ELEMENTS].sum(axis=1)
    np.testing.assert_allclose(sums, 1, atol=1e-6)


@pytest.mark.parametrize("columns", [None, ELEMENTS])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_simplex_alone_is_a_gauge(loss, columns):
    """The maps take the scale, so the minimum is that of the problem without it."""
    rng = np.random.default_rng(1)
    basis = BASES["shared"] + 3 * np.eye(5, 15)
    x = rng.poisson(20 * rng.dirichlet(np.full(2, 0.5), 42) @ rng.dirichlet(np.ones(5), 2) @ basis)
    start = jxu.initial.Given(rng.random((42, 2)), coefficients=rng.random((2, 5)))
    with jax.enable_x64():
        free, held = (
            jxu.fit(
                jxu.Problem(x, LOSSES[loss], basis, constraints=(*NON_NEGATIVE, *extra)),
                2,
                MULTIPLICATIVE,
                start,
                max_steps=6000,
                rtol=0,
                check_every=3000,
            )
            for extra in ((), (jxu.constraints.Simplex("coefficients", columns),))
        )
    np.testing.assert_allclose(held.objective, free.objective, rtol=1e-6)
    sums = np.asarray(held.coefficients)[:, columns or slice(None)].sum(axis=-1)
    np.testing.assert_allclose(sums, 1, atol=1e-10)


def test_the_start_of_a_simplex_alone_is_the_same_model():
    rng = np.random.default_rng(1)
    maps, coefficients = rng.random((42, 3)), rng.random((3, 5))
    problem = jxu.Problem(_data(), LOSSES["poisson"], BASES["shared"], constraints=_simplex())
    fit = jxu.fit(problem, 3, init=jxu.initial.Given(maps, coefficients=coefficients), max_steps=0)
    np.testing.assert_allclose(fit.maps @ fit.coefficients, maps @ coefficients, rtol=1e-5)
    np.testing.assert_allclose(fit.coefficients[:, ELEMENTS].sum(axis=1), 1, rtol=1e-6)


# The exact step on the simplex, problem by problem.


def _parts(kind: str, count: int = 300, size: int = 6, dtype=np.float64):
    """Random bounds over many decades, with pulls of zero and next to zero, known entries and entries at zero."""
    rng = np.random.default_rng(7)

    def decades(low, high):
        return 10 ** rng.uniform(low, high, (count, size))

    rows = np.where(rng.random((count, size)) < 0.1, 0, decades(-6, 1))
    free = rng.random((count, size)) < 0.8
    total = np.where(rng.random((count, 1)) < 0.1, 0, 10 ** rng.uniform(-3, 0, (count, 1)))
    wide = rng.random((count, 1)) < 0.5
    if kind == "squares":
        push = rng.choice([-1, 1], (count, size)) * np.where(wide, decades(-6, 4), decades(-1, 1))
        part = SquaresBound(push, np.where(wide, decades(-6, 4), decades(-1, 1)))
    else:
        pull = np.where(wide, decades(-20, 4), decades(-2, 2))
        slope = np.where(wide, decades(-3, 4), decades(-1, 1)) * rng.choice([-1, 1, 1, 1], (count, size))
        curvature = np.where(rng.random((count, 1)) < 0.5, 0, decades(-4, 4))
        # Without counts an entry keeps `LEAST` of a pull, or none at all where a curvature keeps its minimum finite.
        none = rng.random((count, size)) < 0.1
        pull = np.where(none, np.where(curvature > 0, 0, 1e-20), pull)
        part = CountsBound(pull, slope, curvature)
    part = jax.tree.map(lambda a: jnp.asarray(a, dtype), part)
    return part, jnp.asarray(rows, dtype), jnp.asarray(free), jnp.asarray(total, dtype)


def _slopes(part, w):
    """The bound's derivative at w and the size of its largest term."""
    part = jax.tree.map(np.asarray, part)
    if isinstance(part, SquaresBound):
        terms = np.stack([-part.push, w / part.gain])
    else:
        with np.errstate(divide="ignore", invalid="ignore"):
            pulled = np.where(part.pull > 0, -part.pull / w, 0)
        terms = np.stack([pulled, part.slope, part.curvature * w])
    return terms.sum(axis=0), np.abs(terms).max(axis=0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 1e-3)])
@pytest.mark.parametrize("kind", ["counts", "squares"])
def test_on_simplex_satisfies_the_conditions_of_a_minimum(kind, dtype, tolerance):
    """One multiplier for all entries above zero, no entry at zero that would gain by growing."""
    with jax.enable_x64(dtype is np.float64):
        part, rows, free, total = _parts(kind, dtype=dtype)
        w = np.asarray(minimise_on_simplex(part, rows, free, total), float)
        live = np.asarray(free & (rows > 0))
        total = np.asarray(total, float)
    assert np.isfinite(w).all()
    assert (w[~live] == 0).all()
    assert (w >= 0).all()
    some = live.any(axis=1) & (total[:, 0] > 0)
    assert (w[~some] == 0).all()
    np.testing.assert_allclose(w[some].sum(axis=1), total[some, 0], rtol=1e-14 if dtype is np.float64 else 1e-6)
    slope, size = _slopes(part, w)
    positive = live & (w > 0) & some[:, None]
    largest = w == w.max(axis=1, keepdims=True)
    multiplier = np.max(np.where(positive & largest, -slope, -np.inf), axis=1, keepdims=True)
    scale = np.maximum(size, np.max(np.where(positive & largest, size, 0), axis=1, keepdims=True))
    assert np.all(np.abs(slope + multiplier)[positive] <= tolerance * scale[positive])
    at_zero = live & (w == 0) & some[:, None]
    assert np.all((slope + multiplier)[at_zero] >= -tolerance * scale[at_zero])


@pytest.mark.parametrize("kind", ["counts", "squares"])
def test_on_simplex_is_the_minimum_that_scipy_finds(kind):
    with jax.enable_x64():
        rng = np.random.default_rng(3)
        pull, slope, curvature, gain = (rng.uniform(0.1, 3, (8, 4)) for _ in range(4))
        total = rng.uniform(0.2, 1, (8, 1))
        counts = kind == "counts"
        part = CountsBound(pull, slope - 1.5, curvature) if counts else SquaresBound(slope - 1.5, gain)
        part = jax.tree.map(jnp.asarray, part)
        found = np.asarray(minimise_on_simplex(part, jnp.full((8, 4), 0.3), jnp.ones((8, 4), bool), jnp.asarray(total)))
    for i, w in enumerate(found):

        def bound(w, i=i):
            if counts:
                return np.sum(-pull[i] * np.log(w) + (slope[i] - 1.5) * w + curvature[i] * w**2 / 2)
            return np.sum(w**2 / gain[i] / 2 - (slope[i] - 1.5) * w)

        exact = minimize(
            bound,
            np.full(4, total[i, 0] / 4),
            bounds=[(1e-12, None)] * 4,
            constraints={"type": "eq", "fun": lambda w, i=i: w.sum() - total[i, 0]},
            method="SLSQP",
            options={"ftol": 1e-15, "maxiter": 500},
        )
        np.testing.assert_allclose(w, exact.x, atol=2e-6)
        assert bound(np.maximum(w, 1e-12)) <= exact.fun + 1e-10


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_on_simplex_at_its_edges(dtype):
    """One free entry takes all, nothing left leaves zeros, and pulls next to nothing still reach the sum."""
    with jax.enable_x64(dtype is np.float64):
        slope = jnp.asarray([[3.0, 1.0, 2.0]] * 4, dtype)
        pull = jnp.asarray([[1.0, 2.0, 0.0], [1.0, 2.0, 3.0], [1e-20, 2e-20, 1e-20], [1.0, 2.0, 3.0]], dtype)
        part = CountsBound(pull, slope, jnp.zeros((4, 3), dtype))
        free = jnp.asarray([[True, False, False], [True, True, True], [True, True, True], [False] * 3])
        total = jnp.asarray([[0.4], [0.0], [1.0], [0.5]], dtype)
        w = np.asarray(minimise_on_simplex(part, jnp.full((4, 3), 0.2, dtype), free, total))
    np.testing.assert_allclose(w[0], [0.4, 0, 0], rtol=1e-6)
    np.testing.assert_array_equal(w[[1, 3]], 0)
    # Without counts the sum goes to the entry of the least slope, and what the others keep follows their pull.
    np.testing.assert_allclose(w[2], [5e-21, 1, 1e-20], rtol=1e-5)


# Refusals.


def _problem(*constraints, loss="poisson", basis="shared", **options):
    return jxu.Problem(_data(), LOSSES[loss], BASES[basis], constraints=(*NON_NEGATIVE, *constraints), **options)


def _known(*rows):
    return jxu.constraints.Fixed("coefficients", values=np.array(rows))


ELEMENTS_SUM = jxu.constraints.Simplex("coefficients", ELEMENTS)
TIE = jxu.constraints.Proportional("coefficients", **RATIO)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: _problem(ELEMENTS_SUM, _known(FREE, [0.6, 0.5, NAN, NAN, NAN], FREE)),
            "component 1 sum to 1.1, above",
        ),
        (lambda: _problem(ELEMENTS_SUM, _known(FREE, FREE, [0.1] * 5)), "component 2 sum to 0.4 and none is free"),
        (lambda: _problem(ELEMENTS_SUM, jxu.constraints.Fixed("coefficients")), "leave one of them out"),
        (lambda: _problem(jxu.constraints.Simplex("coefficients", (0, 5))), r"columns \[5\] are not among the 5"),
        (
            lambda: _problem(jxu.constraints.Proportional("coefficients", (-1, 2), (1, 1))),
            "a row or column must be 0 or more",
        ),
        (lambda: jxu.constraints.Simplex("coefficients", (1, 1)), "each named once"),
        (lambda: jxu.constraints.Simplex("coefficients", ()), "must be some"),
        (lambda: jxu.constraints.Simplex("maps", (1,)), "takes no columns"),
        (lambda: jxu.constraints.Simplex("weights"), "block must be one of"),
        (lambda: _problem(jxu.constraints.Simplex("spectra")), 'fits "maps" and "coefficients"'),
        (lambda: _problem(jxu.constraints.Simplex("maps"), jxu.constraints.Fixed("maps", rows=(0,))), "not served"),
        (lambda: _problem(ELEMENTS_SUM, jxu.constraints.UnitNorm("spectra")), "leave UnitNorm and Orthogonal out"),
        (lambda: _problem(_known([NAN] * 4)), "values have 4 columns, the block has 5"),
        (lambda: _problem(_known([NAN] * 4 + [-0.1])), "negative values contradict NonNegative"),
        (lambda: _known([np.inf] * 5), "finite or NaN"),
        (lambda: jxu.constraints.Fixed("coefficients", values=np.zeros(5)), r"values must be .components, columns."),
        (lambda: jxu.constraints.Fixed("coefficients", rows=(0,), values=KNOWN), "not both"),
        (lambda: jxu.constraints.Fixed("maps", values=np.zeros((3, 42))), "takes rows"),
        (lambda: _problem(TIE, _known([0.3, NAN, NAN, NAN, NAN])), r"columns \[0, 3\] are fixed as well"),
        (lambda: _problem(TIE, jxu.constraints.Proportional("coefficients", (3, 4), (1, 1))), "in two ratios"),
        (lambda: jxu.constraints.Proportional("maps", **RATIO), 'takes "coefficients" or "spectra"'),
        (lambda: jxu.constraints.Proportional("coefficients", (0, 1), (1,)), "a ratio for each"),
        (lambda: jxu.constraints.Proportional("coefficients", (0, 1), (1, 0)), "must be positive"),
        (lambda: jxu.constraints.Proportional("coefficients", (1, 1), (1, 2)), "each once"),
        (
            lambda: jxu.Problem(_data(), constraints=(jxu.constraints.Simplex("maps"),)),
            r"needs NonNegative\('maps'\) beside it",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name", ["shared", "own"])
def test_a_dependent_basis_is_refused_by_its_rows(name):
    basis = BASES[name].copy()
    basis[..., 3, :] = basis[..., 0, :] + 2 * basis[..., 1, :]
    which = "basis of component 0" if name == "own" else "basis"
    with pytest.raises(ValueError, match=rf"^{which}: rows \[[013]\] are combinations of the others"):
        jxu.Problem(_data(), basis=basis)


@pytest.mark.parametrize(
    ("update", "problem", "message"),
    [
        (jxu.updates.HALS(), {"constraints": (ELEMENTS_SUM,)}, r'HALS does not keep Simplex\("coefficients"\)'),
        (jxu.updates.ALS(), {"constraints": (ELEMENTS_SUM,)}, r'ALS does not keep Simplex\("coefficients"\)'),
        (jxu.updates.HALS(), {"constraints": (jxu.constraints.Simplex("maps"),)}, r'does not keep Simplex\("maps"\)'),
        (jxu.updates.HALS(), {"constraints": (TIE,)}, r'does not keep Proportional\("coefficients"\)'),
        (jxu.updates.HALS(), {"basis": "own"}, "takes one basis for all components; use Multiplicative"),
        (jxu.updates.ALS(), {"basis": "own"}, "takes one basis for all components; use Multiplicative"),
        (MULTIPLICATIVE, {"constraints": (TIE,)}, "keeps Proportional under Poisson, not Frobenius"),
    ],
)
def test_updates_refuse_what_they_do_not_keep(update, problem, message):
    constraints = problem.pop("constraints", ())
    with pytest.raises(ValueError, match=message):
        jxu.fit(_problem(*constraints, loss="frobenius", **problem), 3, update, key=jax.random.key(0))


def test_multiplicative_keeps_sums_under_two_losses_only():
    problem = jxu.Problem(_data() + 1, jxu.losses.Beta(1.5), BASES["shared"], constraints=_simplex())
    with pytest.raises(ValueError, match="keeps Simplex under Poisson and Frobenius, not Beta"):
        jxu.fit(problem, 3, jxu.updates.Multiplicative(), key=jax.random.key(0))


@pytest.mark.parametrize(
    ("problem", "rank", "message"),
    [
        ({"basis": "own"}, 2, "the basis is for 3 components, each its own; the rank is 2"),
        ({"fixed": KNOWN}, 2, "values of 3 components, the rank is 2"),
        ({"penalties": (jxu.penalties.LogSparsity("maps", "auto"),)}, 3, 'LogSparsity is "auto": choose it first'),
        ({"penalties": (jxu.penalties.Laplacian("maps", "auto", GRID),)}, 3, 'Laplacian is "auto": choose it first'),
    ],
)
def test_fit_refuses_what_does_not_suit_its_rank_or_is_not_chosen(problem, rank, message):
    fixed = [_known(*problem.pop("fixed"))] if "fixed" in problem else []
    with pytest.raises(ValueError, match=message):
        jxu.fit(_problem(*fixed, **problem), rank, key=jax.random.key(0))
