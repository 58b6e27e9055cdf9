"""Each row of the table of named factorisations against its reference implementation."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import NMF, PCA
from sklearn.exceptions import ConvergenceWarning

import jaxunmix as jxu

RANK, KEY = 3, jax.random.key(0)
RNG = np.random.default_rng(0)
W, H = RNG.random((60, RANK)), RNG.random((RANK, 20))
MIXED = RNG.dirichlet(np.full(RANK, 0.4), 60) @ RNG.random((RANK, 20))
X = np.maximum(MIXED + 0.02 * RNG.normal(size=MIXED.shape), 0)
COUNTS = RNG.poisson(200 * MIXED).astype(float)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64():
        yield


def _fit(problem, update=None, steps=2000, **options):
    start = options.pop("init", jxu.initial.Given(W, H))
    return jxu.fit(problem, RANK, update, start, max_steps=steps, rtol=1e-12, **options)


def _sklearn(x, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = NMF(RANK, init="custom", max_iter=5000, tol=1e-12, **options)
        return model.fit_transform(x, W=W.copy(), H=H.copy()), model.components_


def test_singular_value_decomposition_is_that_of_numpy():
    found = _fit(jxu.named.svd(X)).orthogonalise()
    u, s, v = np.linalg.svd(X, full_matrices=False)
    assert float(found.objective) == pytest.approx((s[RANK:] ** 2).sum() / 2, rel=1e-4)
    np.testing.assert_allclose(np.linalg.norm(found.maps, axis=0), s[:RANK], rtol=1e-6)
    np.testing.assert_allclose(np.abs(np.asarray(found.spectra) @ v[:RANK].T), np.eye(RANK), atol=1e-4)
    np.testing.assert_allclose(found.maps @ found.spectra, (u[:, :RANK] * s[:RANK]) @ v[:RANK], atol=1e-5)


def test_principal_components_are_those_of_scikit_learn():
    found = _fit(jxu.named.pca(X)).orthogonalise()
    peer = PCA(RANK, svd_solver="full").fit(X)
    left = (X - X.mean(axis=0) - peer.transform(X) @ peer.components_) ** 2
    assert float(found.objective) == pytest.approx(left.sum() / 2, rel=1e-4)
    np.testing.assert_allclose(np.abs(np.asarray(found.spectra) @ peer.components_.T), np.eye(RANK), atol=1e-3)


def test_nmf_is_that_of_scikit_learn():
    maps, spectra = _sklearn(X, solver="cd")
    assert float(_fit(jxu.named.nmf(X)).objective) == pytest.approx(((X - maps @ spectra) ** 2).sum() / 2, rel=1e-4)


def test_plsi_is_nmf_by_kullback_leibler_with_spectra_that_sum_to_one():
    maps, spectra = _sklearn(COUNTS, solver="mu", beta_loss="kullback-leibler")
    model = maps @ spectra
    some = COUNTS > 0
    expected = (COUNTS * np.log(np.where(some, COUNTS, 1) / model)).sum() - COUNTS.sum() + model.sum()
    found = _fit(jxu.named.plsi(COUNTS), steps=5000)
    assert float(found.objective) == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(found.spectra.sum(axis=1), 1, atol=1e-9)
    # The counts of each pixel are shared out whole: p(channel | pixel) is a distribution.
    np.testing.assert_allclose(found.maps.sum(axis=1), COUNTS.sum(axis=1), rtol=1e-4)


def test_sparse_nmf_is_that_of_scikit_learn():
    """Its penalty depends on how sizes are shared between the factors; as a function it is the same one here."""
    alpha = 1e-3
    options = {"alpha_W": alpha, "alpha_H": alpha, "l1_ratio": 1.0}
    maps, spectra = _sklearn(X, solver="cd", **options)
    wide, long = X.shape[1] * alpha, len(X) * alpha
    expected = ((X - maps @ spectra) ** 2).sum() / 2 + wide * maps.sum() + long * spectra.sum()
    penalty = (lambda f: wide * jnp.sum(jnp.abs(f.maps)) + long * jnp.sum(jnp.abs(f.spectra)),)
    found = _fit(jxu.named.nmf(X).replace(penalties=penalty))
    assert float(found.objective) == pytest.approx(expected, rel=1e-4)


def test_sparse_nmf_has_fewer_components_in_a_pixel():
    plain, sparse = _fit(jxu.named.nmf(X)), _fit(jxu.named.sparse_nmf(X, 0.05))
    some = [float((np.asarray(s.maps) > 1e-6).mean()) for s in (plain, sparse)]
    assert some[1] < some[0] - 0.05


def test_bounded_factorisation_stays_between_its_bounds():
    """Ratings from 1 to 5 of which half are missing: no entry of the model leaves the range, unlike the plain one."""
    rng = np.random.default_rng(4)
    ratings = np.clip(np.round(1 + 4 * MIXED / MIXED.max() + rng.normal(size=MIXED.shape)), 1, 5)
    seen = (rng.random(ratings.shape) < 0.5).astype(float)
    problem = jxu.named.bounded(ratings, 1.0, 5.0, seen)
    found = jxu.fit(problem, RANK, key=KEY, restarts=3, max_steps=300)
    model = np.asarray(found.maps @ found.spectra)
    assert model.min() >= 1 - 4e-6
    assert model.max() <= 5 + 4e-6
    assert (np.diff(found.trace) <= 1e-9 * float(found.trace[0])).all()
    plain = jxu.fit(problem.replace(constraints=()), RANK, key=KEY, max_steps=300)
    outside = np.asarray(plain.maps @ plain.spectra)
    assert max(1 - outside.min(), outside.max() - 5) > 0.1
    hidden = (1 - seen) * (1 + 4 * MIXED / MIXED.max())
    errors = [np.abs((1 - seen) * m - hidden).sum() for m in (model, outside)]
    assert errors[0] < errors[1]
