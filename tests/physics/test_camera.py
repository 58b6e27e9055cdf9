"""The variance of a camera's counts: the equation, draws of each noise, and what is refused."""

import jax
import numpy as np
import pytest

from jaxunmix.physics.camera import Camera


def test_variances_add_up():
    camera = Camera(readout_sd=10, counts_per_electron=2.5, gain_sd=0.02, excess=1.2)
    counts = np.array([0.0, 1.0, 1e4])
    np.testing.assert_allclose(camera.variance(counts), 100 + 1.2 * 2.5 * counts + (0.02 * counts) ** 2, rtol=1e-6)
    np.testing.assert_allclose(camera.weights(counts), 1 / np.asarray(camera.variance(counts)), rtol=1e-6)


def test_variance_of_draws():
    """Electrons, times the gain of each channel, plus read-out noise."""
    rng = np.random.default_rng(0)
    camera, draws = Camera(readout_sd=8, counts_per_electron=3, gain_sd=0.05), 200_000
    for electrons in (0, 20, 2000):
        counts = 3 * rng.poisson(electrons, draws) * rng.normal(1, 0.05, draws) + rng.normal(0, 8, draws)
        # The product of both relative noises, gain_sd^2 g N, is 0.25 % of the shot noise.
        assert np.var(counts) == pytest.approx(float(camera.variance(3.0 * electrons)), rel=0.02)


def test_traces():
    camera = Camera(readout_sd=1.0)
    assert float(jax.jit(camera.weights)(3.0)) == pytest.approx(0.25)
    assert float(jax.grad(lambda n: camera.variance(n))(3.0)) == pytest.approx(1.0)


def test_counts_below_zero_are_read_out_noise():
    assert Camera(readout_sd=2).variance(-5.0) == 4


@pytest.mark.parametrize(
    "wrong",
    [{"readout_sd": -1}, {"counts_per_electron": 0}, {"gain_sd": -0.1}, {"excess": 0.5}, {"readout_sd": np.nan}],
)
def test_refuses_what_no_camera_has(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Camera(**wrong)


def test_refuses_entries_without_variance():
    with pytest.raises(ValueError, match=r"1 of 2 entries of counts.*readout_sd"):
        Camera().weights([0.0, 3.0])
    with pytest.raises(ValueError, match=r"Camera\.variance: counts"):
        Camera().variance([np.nan])
