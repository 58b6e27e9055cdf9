"""Where fits start: scale, exactness on pure pixels, and the published algorithms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition._nmf import _initialize_nmf

import jaxunmix as jxu
from jaxunmix.factor.initial.given import Given
from jaxunmix.factor.initial.nndsvd import NNDSVD
from jaxunmix.factor.initial.random import Random
from jaxunmix.factor.initial.vertices import VCA, vca
from jaxunmix.factor.problem import Problem

KEY = jax.random.key(0)


def _pure(noise: float = 0.0, rank: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Mixtures with one pure pixel of each spectrum."""
    rng = np.random.default_rng(0)
    spectra = rng.random((rank, 60)) + 0.1
    maps = rng.dirichlet(np.ones(rank), 300)
    maps[:rank] = np.eye(rank)
    x = maps @ spectra
    return (x + noise * rng.normal(size=x.shape)).astype(np.float32), spectra


@pytest.mark.parametrize("init", [Random(), NNDSVD(), VCA(), Given(spectra=np.ones((2, 60)))])
@pytest.mark.parametrize("basis", [None, np.random.default_rng(2).random((6, 60)) + 0.1])
@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_starts_are_positive_and_have_the_scale_of_the_data(init, basis, scale):
    x = scale * _pure()[0]
    factors = init(Problem(x, basis=basis), 4, KEY)
    model = np.asarray(factors.maps) @ np.asarray(Problem(x, basis=basis).spectra(factors))
    assert factors.maps_t.min() > 0
    assert factors.profiles.min() >= 0
    assert 0.3 < np.linalg.norm(model) / np.linalg.norm(x) < 3


def test_random_is_signed_where_nothing_forbids_it():
    factors = Random()(Problem(_pure()[0], constraints=()), 4, KEY)
    assert factors.maps_t.min() < 0
    assert factors.profiles.min() < 0


def test_nndsvd_equals_scikit_learns_where_positive():
    x = _pure(0.01)[0].clip(0)
    w, h = _initialize_nmf(x, 4, "nndsvd", random_state=0)
    factors = NNDSVD()(Problem(x), 4, KEY)
    np.testing.assert_allclose(np.where(w > 0, factors.maps, 0), w, rtol=5e-3, atol=2e-3)
    np.testing.assert_allclose(np.where(h > 0, factors.profiles, 0), h, rtol=5e-3, atol=2e-3)
    assert factors.maps_t.min() > 0
    assert factors.profiles.min() > 0


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_vca_finds_the_pure_pixels(noise):
    """Exact without noise; with noise (20 dB) still within a few degrees (median over keys)."""
    x, spectra = _pure(noise)
    angles = [
        jxu.metrics.match(np.asarray(vca(jxu.Dense(x), 4, jax.random.key(i))), spectra).mean_angle for i in range(5)
    ]
    assert np.median(angles) < (0.1 if noise == 0 else 5)


def test_vca_of_one_component_is_the_mean():
    x = _pure()[0]
    np.testing.assert_allclose(vca(jxu.Dense(x), 1, KEY)[0], x.mean(axis=0), rtol=1e-5)


def test_given_keeps_what_it_is_given():
    x, spectra = _pure()
    factors = Given(spectra=spectra[:2])(Problem(x), 4, KEY)
    np.testing.assert_allclose(factors.profiles[:2], spectra[:2], rtol=1e-6)
    assert factors.rank == 4
    basis = np.random.default_rng(2).random((6, 60)) + 0.1
    a = np.random.default_rng(3).random((4, 6))
    by_spectra = Given(spectra=a @ basis)(Problem(x, basis=basis), 4, KEY)
    np.testing.assert_allclose(by_spectra.profiles, a, rtol=1e-2)
    assert isinstance(by_spectra.profiles, jnp.ndarray)
