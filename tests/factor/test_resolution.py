"""Maps blurred by the probe: the operator, and what knowing it buys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import jaxunmix as jxu

SHAPE = (24, 20)
MASK = np.ones(SHAPE, bool)
MASK[5:9, 3:12] = False


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64():
        yield


def test_blur_is_a_gaussian_away_from_the_rim():
    point = np.zeros(SHAPE)
    point[12, 10] = 1
    resolution = jxu.Resolution((3.0, 2.0), SHAPE)
    found = np.asarray(resolution.blur(jnp.asarray(point.reshape(1, -1)))).reshape(SHAPE)
    sd = np.array([3.0, 2.0]) / np.sqrt(8 * np.log(2))
    np.testing.assert_allclose(found, gaussian_filter(point, sd, truncate=5), atol=1e-5)
    line = found[:, 10] / found[12, 10]
    assert np.interp(12 + 1.5, np.arange(24), line) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("grid", [SHAPE, jxu.Grid.of(SHAPE, MASK)], ids=["whole", "masked"])
def test_constant_maps_stay_constant_at_the_rim_and_beside_masked_pixels(grid):
    resolution = jxu.Resolution(4.0, grid)
    ones = jnp.ones((2, resolution.grid.size))
    np.testing.assert_allclose(resolution.blur(ones), ones, rtol=1e-12)
    assert (np.asarray(resolution.blur(jnp.abs(jnp.sin(jnp.arange(2.0 * ones.shape[1]))).reshape(2, -1))) > 0).all()


def test_known_resolution_gives_sharper_maps():
    """Two phases that share a rim, seen through a wide probe: with the probe known the maps are nearer the truth."""
    rng = np.random.default_rng(0)
    left = np.zeros(SHAPE)
    left[:, :9] = 1
    left[4:9, 12:17] = 1
    maps = np.stack([left.ravel(), 1 - left.ravel()])
    spectra = rng.random((2, 30)) + np.eye(2).repeat(15, axis=1)
    resolution = jxu.Resolution(4.0, SHAPE)
    x = np.asarray(resolution.blur(jnp.asarray(maps))).T @ spectra
    x += 0.02 * rng.normal(size=x.shape)
    signs = (jxu.constraints.NonNegative("maps"), jxu.constraints.NonNegative("spectra"))
    hard = (*signs, jxu.constraints.Simplex("maps"))
    errors = []
    for known in (resolution, None):
        problem = jxu.Problem(x, constraints=hard, resolution=known)
        found = jxu.fit(problem, 2, key=jax.random.key(0), restarts=2, max_steps=300)
        order = jxu.metrics.match(found.spectra, spectra)
        errors.append(np.sqrt(np.mean((order.reorder(found.maps, axis=1) - maps.T) ** 2)))
    assert errors[0] < 0.6 * errors[1]


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: jxu.Resolution(0.0, SHAPE), "above 0 in pixels"),
        (lambda: jxu.Resolution((1.0, 2.0, 3.0), SHAPE), "one for each of 2 axes"),
        (lambda: jxu.Problem(np.ones((7, 5)), resolution=jxu.Resolution(1.0, SHAPE)), "480 cells in use, the data 7"),
    ],
)
def test_what_does_not_fit_is_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()
