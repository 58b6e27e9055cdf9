"""One table: update x loss x penalty x basis descends wherever theory says so, in both precisions."""

import itertools
from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import nnls
from sklearn.decomposition import NMF

import jaxunmix as jxu
from jaxunmix.factor.model import Bilinear

GRID = (6, 7)
UPDATES = {
    "HALS": jxu.updates.HALS(),
    "HALS x3": jxu.updates.HALS(sweeps=3),
    "MU": jxu.updates.Multiplicative(),
    "gradient": jxu.updates.ProjectedGradient(),
    "gradient sgd": jxu.updates.ProjectedGradient(optax.sgd(0.1)),
}
LOSSES = {
    "frobenius": jxu.losses.Frobenius(),
    "poisson": jxu.losses.Poisson(),
    "itakura-saito": jxu.losses.ItakuraSaito(),
    "beta 0.5": jxu.losses.Beta(0.5),
    "beta 1.5": jxu.losses.Beta(1.5),
    "beta 2.5": jxu.losses.Beta(2.5),
}
PENALTIES = {
    "none": (),
    "L1": (jxu.penalties.L1("maps", 0.05),),
    "L1 spectra": (jxu.penalties.L1("spectra", 0.05),),
    "Laplacian": (jxu.penalties.Laplacian("maps", 0.5, GRID),),
    "overlap": (jxu.penalties.SoftOrthogonality("maps", 0.3), jxu.penalties.L1("maps", 0.05)),
    "both": (jxu.penalties.L1("maps", 0.05), jxu.penalties.Laplacian("maps", 0.5, GRID)),
    "log": (jxu.penalties.LogSparsity("maps", 0.05),),
    "log spectra": (jxu.penalties.LogSparsity("spectra", 0.05), jxu.penalties.Laplacian("maps", 0.5, GRID)),
    "user": (lambda f: 0.1 * jnp.sum(f.maps**2) + 0.1 * jnp.sum(jnp.abs(f.spectra)),),
}


def _data(dtype=np.float64) -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.dirichlet(np.ones(3), 42) @ (rng.random((3, 15)) + 0.2) * 5
    return (x * rng.uniform(0.7, 1.3, x.shape)).astype(dtype)


def _basis() -> np.ndarray:
    return np.random.default_rng(3).random((5, 15)) + 0.1


@eqx.filter_jit
def _steps(problem, update, start, steps):
    def one(carry, _):
        factors, state = update.step(problem, *carry)
        factors = problem.normalise(factors)
        return (factors, state), problem.objective(factors)

    trace = jax.lax.scan(one, (start, update.init(problem, start)), length=steps)[1]
    return jnp.append(problem.objective(start), trace)


def _trace(problem, update, steps=25, rank=3):
    """The objective at the start and after each step: one program, where a fit has six."""
    start = problem.normalise(jxu.initial.Random()(problem, rank, jax.random.key(1)))
    return np.asarray(_steps(problem, update, start, steps))


def _refused(update: str, loss: str, penalty: str, basis: bool) -> bool:
    if update.startswith("gradient"):
        return False
    if penalty == "user" or (penalty in ("L1 spectra", "log spectra") and basis):
        return True
    if update.startswith("HALS"):
        return loss != "frobenius"
    return penalty != "none" and loss not in ("frobenius", "poisson")


def _in_table(update: str, loss: str, penalty: str, basis: bool) -> bool:
    """All for the updates with a bound to prove; of what differs from them in its steps alone, one of each kind."""
    if update in ("HALS x3", "gradient sgd"):
        return loss == "frobenius" and penalty in ("none", "both") and not basis
    if update == "gradient":
        kinds = {"frobenius": ("none", "user"), "poisson": ("both", "log"), "beta 0.5": ("none",)}
        return penalty in kinds.get(loss, ()) and not basis
    return not _refused(update, loss, penalty, basis)


COMBINATIONS = list(itertools.product(UPDATES, LOSSES, PENALTIES, (False, True)))


@cache
def _problem(loss: str, penalty: str, basis: bool) -> jxu.Problem:
    return jxu.Problem(_data(), LOSSES[loss], basis=_basis() if basis else None, penalties=PENALTIES[penalty])


@pytest.mark.parametrize(("update", "loss", "penalty", "basis"), [case for case in COMBINATIONS if _in_table(*case)])
def test_every_step_descends(update, loss, penalty, basis):
    with jax.enable_x64():
        trace = _trace(_problem(loss, penalty, basis), UPDATES[update])
    assert np.all(np.diff(trace) <= 1e-12 * np.abs(trace[:-1]))
    assert trace[-1] < trace[0]


@pytest.mark.parametrize("update", UPDATES)
def test_what_an_update_cannot_descend_it_refuses_and_nothing_else(update):
    with jax.enable_x64():
        for case in COMBINATIONS:
            if case[0] != update:
                continue
            problem = _problem(*case[1:])
            if _refused(*case):
                with pytest.raises(ValueError, match=r"use|needs"):
                    UPDATES[update].check(problem)
            else:
                UPDATES[update].check(problem)


@pytest.mark.parametrize("update", ["HALS", "MU", "gradient"])
@pytest.mark.parametrize("loss", ["frobenius", "poisson"])
def test_float32_descends_to_its_rounding(update, loss):
    if (update, loss) == ("HALS", "poisson"):
        pytest.skip("HALS solves Frobenius only")
    trace = _trace(jxu.Problem(_data(np.float32), LOSSES[loss]), UPDATES[update])
    assert np.all(np.diff(trace) <= 1e-5 * np.abs(trace[:-1]) + 1e-5)


@pytest.mark.parametrize("storage", [jxu.Dense, jxu.Counts])
@pytest.mark.parametrize("loss", ["frobenius", "poisson"])
def test_counts_and_dense_take_the_same_path(storage, loss):
    x = np.random.default_rng(0).poisson(_data())
    update = UPDATES["HALS" if loss == "frobenius" else "MU"]
    with jax.enable_x64():
        reference = _trace(jxu.Problem(jxu.Dense(x), LOSSES[loss]), update)
        np.testing.assert_allclose(_trace(jxu.Problem(storage(x), LOSSES[loss]), update), reference, rtol=1e-9)


def test_hals_on_known_spectra_is_non_negative_least_squares():
    x, s = _data(), np.random.default_rng(1).random((3, 15))
    with jax.enable_x64():
        fit = jxu.project(x, s, max_steps=2000, rtol=1e-14)
    exact = np.array([nnls(s.T, row)[0] for row in x])
    np.testing.assert_allclose(fit.maps, exact, atol=1e-6)
    np.testing.assert_array_equal(fit.spectra, s)


def test_multiplicative_on_known_spectra_is_the_poisson_optimum():
    """The optimum's conditions: no slope where a map is positive, none downward where it is zero."""
    x, s = _data(), np.random.default_rng(1).random((3, 15))
    with jax.enable_x64():
        w = jxu.project(x, s, jxu.losses.Poisson(), max_steps=20000, rtol=1e-13).maps
    w = np.asarray(w)
    slope = (1 - x / (w @ s)) @ s.T
    assert np.abs(slope[w > 1e-4]).max() < 1e-3
    assert slope.min() > -1e-3


def test_semi_nmf_keeps_one_side_signed():
    rng = np.random.default_rng(0)
    x = rng.dirichlet(np.ones(3), 80) @ rng.normal(size=(3, 15))
    problem = jxu.Problem(x, constraints=(jxu.constraints.NonNegative("maps"),))
    fit = jxu.fit(problem, 3, restarts=5, key=jax.random.key(0), max_steps=2000)
    assert fit.maps.min() >= 0 > fit.spectra.min()
    assert fit.objective < 1e-3 * 0.5 * (x**2).sum()


def test_without_constraints_hals_reaches_the_truncated_svd():
    """Eckart and Young: the best rank-3 approximation."""
    x = np.random.default_rng(0).normal(size=(60, 20))
    with jax.enable_x64():
        fit = jxu.fit(jxu.Problem(x, constraints=()), 3, key=jax.random.key(0), max_steps=3000, rtol=1e-13)
    best = 0.5 * (np.linalg.svd(x, compute_uv=False)[3:] ** 2).sum()
    np.testing.assert_allclose(fit.objective, best, rtol=1e-6)


def test_weights_of_zero_hide_entries():
    """Exact low-rank data with holes of NaN: the fit through the rest recovers what lies under them."""
    rng = np.random.default_rng(0)
    x = (rng.random((60, 2)) + 0.1) @ (rng.random((2, 25)) + 0.1)
    holes = rng.random(x.shape) < 0.2
    problem = jxu.Problem(np.where(holes, np.nan, x), weights=~holes)
    fit = jxu.fit(problem, 2, restarts=3, key=jax.random.key(0), max_steps=5000, rtol=1e-9)
    error = np.abs(fit.maps @ fit.spectra - x)[holes].max() / x.max()
    assert error < 0.02


def test_partly_fixed_components_stay():
    rng = np.random.default_rng(0)
    known = rng.random((1, 15))
    problem = jxu.Problem(
        _data(), constraints=(*jxu.Problem(_data()).constraints, jxu.constraints.Fixed("spectra", rows=(0,)))
    )
    for update in ("HALS", "MU", "gradient"):
        fit = jxu.fit(
            problem, 3, UPDATES[update], jxu.initial.Given(spectra=known), key=jax.random.key(0), max_steps=30
        )
        np.testing.assert_allclose(fit.spectra[:1], known, rtol=1e-6)
        assert fit.trace[-1] < fit.trace[0]


@pytest.mark.parametrize("norm", ["l2", "l1", "max"])
@pytest.mark.parametrize("block", ["maps", "spectra"])
def test_unit_norm_changes_the_scale_only(norm, block):
    constraints = jxu.Problem(_data()).constraints
    options = {"key": jax.random.key(0), "max_steps": 20, "rtol": 0}
    plain = jxu.fit(jxu.Problem(_data()), 3, **options)
    normed = jxu.fit(
        jxu.Problem(_data(), constraints=(*constraints, jxu.constraints.UnitNorm(block, norm))), 3, **options
    )
    rows = normed.maps.T if block == "maps" else normed.spectra
    order = {"l2": 2, "l1": 1, "max": np.inf}[norm]
    np.testing.assert_allclose(np.linalg.norm(rows, order, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(normed.maps @ normed.spectra, plain.maps @ plain.spectra, rtol=1e-3)


def test_multiplicative_keeps_given_zeros():
    spectra = np.random.default_rng(0).random((3, 15)).astype(np.float32)
    spectra[1, 4] = 0
    fit = jxu.fit(
        jxu.Problem(_data(), LOSSES["poisson"]),
        3,
        init=jxu.initial.Given(spectra=spectra),
        key=jax.random.key(0),
        max_steps=20,
    )
    assert fit.spectra[1, 4] == 0


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_fit_does_not_depend_on_the_scale_of_the_data(scale):
    """X and s X from the same key: the same maps and spectra up to the scale."""
    for loss, update in ((LOSSES["frobenius"], "HALS"), (LOSSES["poisson"], "MU"), (LOSSES["poisson"], "gradient")):
        models = [
            jxu.fit(
                jxu.Problem(s * _data(np.float32), loss, penalties=PENALTIES["both"]),
                3,
                UPDATES[update],
                key=jax.random.key(0),
                max_steps=30,
                rtol=0,
            )
            for s in (1.0, scale)
        ]
        first, second = (m.maps @ m.spectra for m in models)
        np.testing.assert_allclose(second / scale, first, rtol=2e-2, atol=2e-3)


def test_permuted_pixels_and_channels_give_permuted_factors():
    rng = np.random.default_rng(0)
    rows, columns = rng.permutation(42), rng.permutation(15)
    w, s = rng.random((42, 3)), rng.random((3, 15))
    with jax.enable_x64():
        options = {"key": jax.random.key(0), "max_steps": 20, "rtol": 0}
        plain = jxu.fit(jxu.Problem(_data()), 3, init=jxu.initial.Given(w, s), **options)
        moved = jxu.fit(
            jxu.Problem(_data()[rows][:, columns]), 3, init=jxu.initial.Given(w[rows], s[:, columns]), **options
        )
    np.testing.assert_allclose(moved.maps, plain.maps[rows], rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(moved.spectra, plain.spectra[:, columns], rtol=1e-7, atol=1e-12)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_hals_follows_scikit_learns_coordinate_descent():
    """Acceptance: the same start, 100 iterations, 20,000 x 100, K = 8: the objective to 1e-4."""
    rng = np.random.default_rng(0)
    x = (rng.random((20_000, 8)) @ rng.random((8, 100)) + 0.1 * rng.random((20_000, 100))).astype(np.float32)
    w, h = rng.random((20_000, 8), np.float32), rng.random((8, 100), np.float32)
    peer = NMF(8, init="custom", max_iter=100, tol=0)
    w_peer = peer.fit_transform(x, W=w.copy(), H=h.copy())
    fit = jxu.fit(jxu.Problem(x), 8, init=jxu.initial.Given(w, h), key=jax.random.key(0), max_steps=100, rtol=0)

    def exact(w, h):
        return 0.5 * ((x.astype(float) - w.astype(float) @ h.astype(float)) ** 2).sum()

    theirs = exact(w_peer, peer.components_)
    np.testing.assert_allclose(exact(fit.maps, fit.spectra), theirs, rtol=1e-4)
    np.testing.assert_allclose(fit.objective, theirs, rtol=1e-4)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("storage", [jxu.Dense, jxu.Counts])
def test_poisson_trajectory_equals_scikit_learns_mu(storage):
    """Acceptance: factors and objective to 1e-3 after 1, 10 and 50 steps."""
    rng = np.random.default_rng(0)
    x = rng.poisson(rng.random((500, 4)) @ rng.random((4, 60)) * 3).astype(np.float32)
    w, h = rng.random((500, 4), np.float32), rng.random((4, 60), np.float32)
    for steps in (1, 10, 50):
        peer = NMF(4, init="custom", solver="mu", beta_loss="kullback-leibler", max_iter=steps, tol=0)
        w_peer = peer.fit_transform(x, W=w.copy(), H=h.copy())
        fit = jxu.fit(
            jxu.Problem(storage(x), LOSSES["poisson"]),
            4,
            init=jxu.initial.Given(w, h),
            key=jax.random.key(0),
            max_steps=steps,
            rtol=0,
        )
        np.testing.assert_allclose(fit.objective, peer.reconstruction_err_**2 / 2, rtol=1e-4)
        np.testing.assert_allclose(fit.maps, w_peer, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(fit.spectra, peer.components_, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("update", "problem", "message"),
    [
        ("HALS", {"loss": LOSSES["poisson"]}, "HALS solves Frobenius; for Poisson use updates.Multiplicative"),
        ("HALS", {"weights": np.ones((42, 15))}, "takes no weights"),
        ("MU", {"constraints": ()}, "NonNegative"),
        ("MU", {"basis": np.random.default_rng(0).normal(size=(4, 15))}, "non-negative basis"),
        ("HALS", {"constraints": (), "penalties": PENALTIES["L1"]}, "needs NonNegative"),
        (
            "HALS",
            {"constraints": (), "penalties": PENALTIES["log"]},
            r'LogSparsity."maps". under HALS needs NonNegative',
        ),
    ],
)
def test_updates_say_what_they_cannot_take(update, problem, message):
    with pytest.raises(ValueError, match=message):
        jxu.fit(jxu.Problem(_data(), **problem), 2, UPDATES[update], key=jax.random.key(0))


def test_user_function_sees_factors_with_basis():
    seen = []

    def look(f: Bilinear):
        seen.append((f.maps.shape, f.spectra.shape, f.coefficients.shape))
        return jnp.sum(f.spectra**2)

    jxu.Problem(_data(), basis=_basis(), penalties=(look,)).objective(Bilinear(jnp.ones((3, 42)), jnp.ones((3, 5))))
    assert seen == [((42, 3), (3, 15), (3, 5))]
