"""Alternating least squares and its damped form: the published steps, and what the clipping must not break."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxunmix as jxu
from jaxunmix.factor.constraints.fixed import Fixed
from jaxunmix.factor.constraints.non_negative import NonNegative
from jaxunmix.factor.constraints.orthogonal import Orthogonal
from jaxunmix.factor.constraints.unit_norm import UnitNorm
from jaxunmix.factor.initial.given import Given
from jaxunmix.factor.model import Bilinear
from jaxunmix.factor.updates.als import ALS, MALS

UPDATES = {"ALS": ALS(), "ALS spectra": ALS("spectra"), "MALS": MALS(), "MALS previous": MALS(towards="previous")}
NORMS = {"l2": np.linalg.norm, "sum": np.sum, "none": lambda rows, axis, keepdims: 1.0}


def _data() -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.dirichlet(np.ones(3), 42) @ (rng.random((3, 15)) + 0.2) * 5
    return x * rng.uniform(0.7, 1.3, x.shape)


def _signed() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.dirichlet(np.ones(3), 42) @ rng.normal(size=(3, 15)) + 0.1 * rng.normal(size=(42, 15))


def _collinear() -> np.ndarray:
    """Three peaks shifted by a sixth of their width (correlation 0.988), noise at 0.2 % of their height."""
    rng = np.random.default_rng(0)
    energy = np.linspace(0, 1, 60)
    spectra = np.stack([np.exp(-0.5 * ((energy - 0.5 - shift) / 0.12) ** 2) + 0.02 for shift in (-0.02, 0, 0.02)])
    return rng.dirichlet(np.full(3, 0.7), 300) @ spectra + 0.002 * rng.normal(size=(300, 60))


def _basis() -> np.ndarray:
    return np.random.default_rng(3).random((5, 15)) + 0.1


def _factors(features=15) -> Bilinear:
    rng = np.random.default_rng(1)
    return Bilinear(jnp.asarray(rng.random((3, 42))), jnp.asarray(rng.random((3, features))))


def _steps(problem, update, factors, count):
    """The factors after each step."""
    state, step = update.init(problem, factors), jax.jit(lambda f, s: update.step(problem, f, s))
    seen = []
    for _ in range(count):
        factors, state = step(factors, state)
        seen.append(factors)
    return seen


@pytest.mark.parametrize("norm", NORMS)
def test_als_mcr_takes_the_nine_published_steps(norm):
    """The loop in numpy, its steps numbered: the same models and errors, whatever the norm in step 5."""
    x, models, errors = _data(), [], []
    rank = 3  # 1
    w = start = np.random.default_rng(1).random((42, rank))  # 2
    for _ in range(4):  # 9
        s = np.linalg.lstsq(w, x, rcond=None)[0]  # 3
        s = np.where(s < 0, 0, s)  # 4
        s = s / NORMS[norm](s, axis=1, keepdims=True)  # 5
        w = np.linalg.lstsq(s.T, x.T, rcond=None)[0].T  # 6
        w = np.where(w < 0, 0, w)  # 7
        models.append(w @ s)
        errors.append(np.mean((x - w @ s) ** 2))  # 8
    with jax.enable_x64():
        problem = jxu.Problem(x)
        ours = _steps(problem, ALS("spectra"), Bilinear(jnp.asarray(start.T), jnp.ones((rank, 15))), 4)
        mse = [2 * problem.objective(f) / x.size for f in ours]
        np.testing.assert_allclose([f.maps @ f.spectra for f in ours], models, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(mse, errors, rtol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(ours[-1].profiles, axis=1), 1, rtol=1e-12)


def test_als_is_least_squares_then_clipping():
    """One step from given spectra, against numpy; no descent is claimed."""
    with jax.enable_x64():
        x, s = _data(), np.random.default_rng(1).random((3, 15))
        fit = jxu.fit(jxu.Problem(x), 3, ALS(), Given(spectra=s), key=jax.random.key(0), max_steps=1, rtol=0)
        w = np.maximum(x @ s.T @ np.linalg.inv(s @ s.T), 0)
        w /= np.linalg.norm(w, axis=0)
        np.testing.assert_allclose(fit.maps, w, rtol=1e-6, atol=1e-9)
        expected = np.maximum(np.linalg.inv(w.T @ w) @ w.T @ x, 0)
        np.testing.assert_allclose(fit.spectra, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("towards", ["zero", "previous"])
def test_mals_is_damped_least_squares_then_clipping(towards):
    """Two steps against the normal equations with the damped correlation matrix; the weight decays between them."""

    def damped(fixed, cross, alpha, old):
        gram = fixed @ fixed.T
        ridge = alpha * np.diag(np.diag(gram))
        return np.maximum(np.linalg.solve(gram + ridge, cross + (towards == "previous") * ridge @ old), 0)

    x = _data()
    with jax.enable_x64():
        start = _factors()
        ours = _steps(jxu.Problem(x), MALS(0.5, 0.25, towards), start, 2)
    w, s = np.asarray(start.maps_t), np.asarray(start.profiles)
    for factors, alpha in zip(ours, (0.5, 0.125), strict=True):
        w = damped(s, s @ x.T, alpha, w)
        size = np.linalg.norm(w, axis=1, keepdims=True)
        w, s = w / size, s * size
        s = damped(w, w @ x, alpha, s)
        np.testing.assert_allclose(factors.maps_t, w, rtol=1e-7, atol=1e-10)
        np.testing.assert_allclose(factors.profiles, s, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("first", ["maps", "spectra"])
@pytest.mark.parametrize("towards", ["zero", "previous"])
def test_mals_without_weight_is_als(towards, first):
    problem, start = jxu.Problem(_data()), _factors()
    plain = _steps(problem, ALS(first), start, 3)
    damped = _steps(problem, MALS(0, towards=towards, first=first), start, 3)
    for one, other in zip(plain, damped, strict=True):
        np.testing.assert_array_equal(one.maps_t, other.maps_t)
        np.testing.assert_array_equal(one.profiles, other.profiles)


@pytest.mark.parametrize("basis", [False, True])
def test_proximal_mals_descends_where_nothing_is_clipped(basis):
    with jax.enable_x64():
        problem = jxu.Problem(_signed(), basis=_basis() if basis else None, constraints=())
        start = _factors(features=5 if basis else 15)
        for update in (MALS(3.0, 0.9, "previous"), MALS(0.3, 1, "previous", "spectra"), ALS()):
            trace = [float(problem.objective(f)) for f in (start, *_steps(problem, update, start, 25))]
            assert np.all(np.diff(trace) <= 1e-12 * np.array(trace[:-1]))
            assert trace[-1] < trace[1]


def test_mals_resolves_collinear_spectra_where_als_loses_components():
    """Measured over 20 starts and 200 steps, in units of the truncated SVD: ALS 1.01, 1.42, 6.7; MALS 1.00 in all."""
    x = _collinear()
    with jax.enable_x64():
        options = {"restarts": 5, "key": jax.random.key(1), "max_steps": 200, "rtol": 0}
        plain, damped = (jxu.fit(jxu.Problem(x), 3, update, **options) for update in (ALS(), MALS()))
    best = 0.5 * (np.linalg.svd(x, compute_uv=False)[3:] ** 2).sum()
    np.testing.assert_allclose(damped.restarts.objective, best, rtol=1e-6)
    assert np.median(plain.restarts.objective) > 1.2 * best


def test_als_with_a_basis_solves_the_coefficients():
    with jax.enable_x64():
        rng, b = np.random.default_rng(1), _basis()
        w, a = rng.random((42, 3)) + 0.1, rng.random((3, 5)) + 0.1
        fit = jxu.fit(
            jxu.Problem(w @ a @ b, basis=b),
            3,
            ALS(),
            Given(coefficients=a),
            key=jax.random.key(0),
            max_steps=1,
            rtol=0,
        )
        size = np.linalg.norm(w, axis=0)
        np.testing.assert_allclose(fit.maps, w / size, rtol=1e-5)
        np.testing.assert_allclose(fit.coefficients, a * size[:, None], rtol=1e-5)


@pytest.mark.parametrize("update", UPDATES)
def test_padded_components_stay_zero_and_change_nothing(update):
    start = _factors()
    pad = Bilinear(*(jnp.pad(rows, ((0, 2), (0, 0))) for rows in (start.maps_t, start.profiles)))
    alone, padded = (_steps(jxu.Problem(_data()), UPDATES[update], f, 5)[-1] for f in (start, pad))
    for one, other in ((alone.maps_t, padded.maps_t), (alone.profiles, padded.profiles)):
        np.testing.assert_array_equal(other[3:], 0)
        np.testing.assert_allclose(other[:3], one, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("update", [ALS(), MALS(0.01, 0.5), MALS(0.01, 0.5, "previous")])
def test_a_component_clipped_everywhere_leaves_and_the_others_go_on(update):
    """The second spectrum has a negative share in all pixels: it becomes zero in both blocks, the first fits on."""
    s, bump = np.full(15, 2.0), np.exp(-0.5 * ((np.arange(15) - 7) / 2) ** 2)
    w = np.random.default_rng(0).random(42) + 0.5
    x = np.outer(w, s - bump)
    start = Bilinear(jnp.ones((2, 42), "float32"), jnp.asarray(np.stack([s, bump]), "float32"))
    seen = _steps(jxu.Problem(x), update, start, 20)
    for factors in (seen[0], seen[-1]):
        np.testing.assert_array_equal(factors.maps_t[1], 0)
        np.testing.assert_array_equal(factors.profiles[1], 0)
    np.testing.assert_allclose(seen[-1].maps @ seen[-1].spectra, x, rtol=1e-4)


@pytest.mark.parametrize("update", [ALS(), MALS(1e-9)])
def test_identical_components_stay_finite(update):
    """Thirty equal spectra over 1000 channels in single precision: the Gram matrix has a negative eigenvalue."""
    rng = np.random.default_rng(0)
    x = rng.random((40, 1000)).astype(np.float32)
    spectra = jnp.asarray(rng.random((30, 1)) * x[:1], "float32")
    last = _steps(jxu.Problem(x), update, Bilinear(jnp.ones((30, 40), "float32"), spectra), 3)[-1]
    assert np.isfinite(last.maps_t).all()
    assert np.isfinite(last.profiles).all()


@pytest.mark.parametrize("update", UPDATES)
def test_signed_spectra_under_non_negative_maps(update):
    problem = jxu.Problem(_signed(), constraints=(NonNegative("maps"),))
    fit = jxu.fit(problem, 3, UPDATES[update], restarts=2, key=jax.random.key(0), max_steps=200)
    assert fit.maps.min() >= 0 > fit.spectra.min()
    best = 0.5 * (np.linalg.svd(_signed(), compute_uv=False)[3:] ** 2).sum()
    assert fit.objective < 1.2 * best


def test_kept_components_count_as_known():
    """The free spectra are the least squares of what the kept one leaves, and the kept one is not rescaled."""
    x, known = _data(), np.random.default_rng(5).random((1, 15))
    with jax.enable_x64():
        problem = jxu.Problem(x, constraints=(Fixed("spectra", rows=(0,)),))
        start = Bilinear(_factors().maps_t, _factors().profiles.at[0].set(known[0]))
        last = _steps(problem, ALS(), start, 2)[-1]
        settled = _steps(jxu.Problem(x, constraints=(Fixed("spectra"),)), ALS(), start, 1)[-1]
    w, s = np.asarray(last.maps_t).T, np.asarray(last.profiles)
    np.testing.assert_array_equal(s[:1], known)
    np.testing.assert_allclose(s[1:], np.linalg.lstsq(w[:, 1:], x - w[:, :1] @ known, rcond=None)[0], rtol=1e-7)
    np.testing.assert_array_equal(settled.profiles, start.profiles)
    np.testing.assert_allclose(settled.maps_t, np.linalg.lstsq(start.profiles.T, x.T, rcond=None)[0], rtol=1e-7)


def test_the_scale_neither_matters_nor_runs_away():
    """Data at 1e-6 and 1e6, and UnitNorm, give the same model; the maps keep norm 1 in every step."""
    options = {"key": jax.random.key(0), "max_steps": 20, "rtol": 0}
    with jax.enable_x64():
        x = _data()
        plain = jxu.fit(jxu.Problem(x), 3, MALS(), **options)
        normed = (*jxu.Problem(x).constraints, UnitNorm("spectra", "max"))
        others = [(s, jxu.fit(jxu.Problem(s * x, constraints=normed), 3, MALS(), **options)) for s in (1e-6, 1, 1e6)]
    maps, model = np.asarray(plain.maps), np.asarray(plain.maps) @ np.asarray(plain.spectra)
    np.testing.assert_allclose(np.linalg.norm(maps, axis=0), 1, rtol=1e-12)
    for s, fit in others:
        np.testing.assert_allclose(np.asarray(fit.maps) @ np.asarray(fit.spectra) / s, model, rtol=1e-8)


@pytest.mark.parametrize("update", [ALS(), MALS()])
@pytest.mark.parametrize(
    ("problem", "message"),
    [
        ({"loss": jxu.losses.Poisson()}, "solves Frobenius; for Poisson use updates.Multiplicative"),
        ({"weights": np.ones((42, 15))}, "takes no weights"),
        ({"penalties": (jxu.penalties.L1("maps", 0.1),)}, r"takes no penalties.*HALS"),
        ({"constraints": (NonNegative("maps"), Orthogonal("maps"))}, r"does not keep Orthogonal.*HALS"),
    ],
)
def test_als_and_mals_say_what_they_cannot_take(update, problem, message):
    with pytest.raises(ValueError, match=f"^{type(update).__name__} {message}"):
        jxu.fit(jxu.Problem(_data(), **problem), 2, update, key=jax.random.key(0))


def test_mals_refuses_to_begin_again_on_compressed_data():
    problem = jxu.Problem(jxu.Compressed(_data(), rank=5, key=jax.random.key(0)))
    with pytest.raises(ValueError, match='MALS\\(towards="previous"\\)'):
        MALS().check(problem)
    MALS(towards="previous").check(problem)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ALS("pixels"), 'ALS: first must be "maps" or "spectra"'),
        (lambda: MALS(first="pixels"), 'MALS: first must be "maps" or "spectra"'),
        (lambda: MALS(towards="one"), 'towards must be "zero" or "previous"'),
        (lambda: MALS(-1), "the weight must be 0 or more"),
        (lambda: MALS(decay=1.1), r"the decay must lie in 0\.\.1"),
    ],
)
def test_options_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()
