"""Mixtures of normal distributions, against known ones and scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2, kstest, multivariate_normal, multivariate_t
from sklearn.mixture import GaussianMixture

from jaxunmix.bayes.explorers import mixture

MEANS = np.array([[-1.0, 0.3], [2.0, -0.5]])
COVARIANCES = np.array([[[0.04, 0.03], [0.03, 0.09]], [[0.01, 0.0], [0.0, 0.25]]])


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def cloud():
    rng = np.random.default_rng(0)
    parts = [rng.multivariate_normal(m, c, size=n) for m, c, n in zip(MEANS, COVARIANCES, (1400, 600), strict=True)]
    return jnp.asarray(np.concatenate(parts))


def test_finds_the_components_of_a_known_mixture(cloud):
    found = mixture.fit_mixture(cloud, 2)
    order = np.argsort(found.mean[:2, 0])
    assert np.exp(found.log_weight[:2])[order] == pytest.approx([0.95 * 0.7, 0.95 * 0.3], abs=0.005)
    np.testing.assert_allclose(found.mean[:2][order], MEANS, atol=0.05)
    covariance = found.factor @ jnp.swapaxes(found.factor, 1, 2)
    np.testing.assert_allclose(covariance[:2][order], COVARIANCES, atol=0.02)
    np.testing.assert_allclose(found.factor @ found.inverse, np.tile(np.eye(2), (3, 1, 1)), atol=1e-10)


def test_fits_as_well_as_scikit_learn(cloud):
    rng = np.random.default_rng(1)
    ring = np.array([np.cos(a := rng.uniform(0, 6.3, 1000)), np.sin(a)]).T + 0.05 * rng.standard_normal((1000, 2))
    peer = GaussianMixture(8, random_state=0, n_init=3).fit(ring).score(ring)
    found = mixture.fit_mixture(jnp.asarray(ring), 8)
    own = np.asarray(found.log_density(jnp.asarray(ring))).mean() - np.log(2 * np.pi)
    # A share of 0.05 is that of the standard normal.
    assert own > peer - 0.05 - 0.1


def drawn(found, points):
    keys = jax.random.split(jax.random.key(1))
    return found.draw(jax.random.uniform(keys[0], points), jax.random.normal(keys[1], (points, found.mean.shape[1])))


def test_density_is_that_of_the_draws(cloud):
    found = mixture.fit_mixture(cloud, 2)
    at = jnp.asarray([[-1.0, 0.3], [0.0, 0.0], [2.0, 0.5]])
    parts = [
        w * multivariate_normal(m, f @ f.T).pdf(at)
        for w, m, f in zip(np.exp(found.log_weight), found.mean, np.asarray(found.factor), strict=True)
    ]
    np.testing.assert_allclose(found.log_density(at) - np.log(2 * np.pi), np.log(np.sum(parts, 0)), atol=1e-9)
    draws = np.asarray(drawn(found, 40_000))
    shares = [np.mean(np.all(np.abs(draws - p) < 0.05, axis=1)) / 0.01 for p in np.asarray(at)]
    middle = np.exp(np.asarray(found.log_density(at))) / (2 * np.pi)
    np.testing.assert_allclose(shares, middle, rtol=0.15, atol=0.02)


@pytest.mark.parametrize("points", [jnp.zeros((64, 3)), jnp.tile(jnp.eye(3), (30, 1))], ids=["one", "three"])
def test_points_without_extent_give_finite_numbers(points):
    found = mixture.fit_mixture(points, 4)
    assert np.all(np.isfinite(found.log_density(points)))
    assert np.all(np.isfinite(drawn(found, 100)))


def test_density_of_t_is_that_of_the_peer_and_of_its_draws(cloud):
    found, freedom = mixture.fit_mixture(cloud, 2), 5.0
    at = jnp.asarray([[-1.0, 0.3], [0.0, 9.0], [2.0, 0.5]])
    parts = [
        w * multivariate_t(m, f @ f.T, freedom).pdf(at)
        for w, m, f in zip(np.exp(found.log_weight), found.mean, np.asarray(found.factor), strict=True)
    ]
    np.testing.assert_allclose(np.exp(found.log_density_of_t(at, freedom)), np.sum(parts, axis=0), rtol=1e-10)

    one = jax.tree.map(lambda leaf: leaf[:1], found)
    rng = np.random.default_rng(0)
    normal, tail = (
        rng.standard_normal((20_000, 2)),
        np.sqrt(chi2.rvs(freedom, size=(20_000, 1), random_state=rng) / freedom),
    )
    x = one.draw(jnp.zeros(20_000), jnp.asarray(normal / tail))
    # |C^-1 (x - m)|^2 / 2 follows F(2, freedom).
    square = np.sum((np.asarray(one.inverse[0]) @ np.asarray(x - one.mean[0]).T) ** 2, axis=0)
    assert kstest(square / 2, "f", (2, freedom)).pvalue > 0.01


def test_shrinking_draws_covariances_to_the_pooled_one(cloud):
    apart = [mixture.fit_mixture(cloud, 2, prior=prior) for prior in (0.0, 1e9)]
    covariances = [np.asarray(m.factor @ jnp.swapaxes(m.factor, 1, 2))[:2] for m in apart]
    assert np.max(np.abs(covariances[0][0] - covariances[0][1])) > 0.1
    np.testing.assert_allclose(*covariances[1], rtol=1e-5)
