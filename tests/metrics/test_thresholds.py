import numpy as np
import pytest

from jaxunmix import metrics


def best_by_trial(values, column):
    """(correlation, low, high) of the best of all intervals."""
    found = (-1.0, np.nan, np.nan)
    seen = np.unique(values[np.isfinite(values)])
    for i, low in enumerate(seen):
        for high in seen[i:]:
            inside = ((values >= low) & (values <= high)).astype(float)
            if inside.std() > 0:
                found = max(found, (np.corrcoef(inside, column)[0, 1], low, high))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_best_window_is_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 12, 50).astype(float) if seed % 2 else rng.normal(size=50)
    values[:4] = np.nan
    maps = rng.random((50, 3))
    found = metrics.best_window(values, maps)
    expected = np.array([best_by_trial(values, column) for column in maps.T])
    np.testing.assert_allclose(np.transpose([found.correlation, found.low, found.high]), expected, rtol=1e-12)


def test_best_window_of_domains_told_apart_by_energy():
    rng = np.random.default_rng(0)
    domain = rng.integers(0, 3, 20_000)
    energy = np.array([7724.0, 7726.0, 7729.0])[domain] + rng.uniform(-0.5, 0.5, 20_000)
    found = metrics.best_window(energy, np.eye(3)[domain])
    inside = (energy[:, None] >= found.low) & (energy[:, None] <= found.high)
    # A bin of the grid holds 0.2 % of the pixels and may lie across the border of two domains.
    assert np.mean(inside != np.eye(3, dtype=bool)[domain], axis=0).max() < 0.002
    assert found.correlation.min() > 0.99


def test_best_window_where_nothing_can_be_told():
    maps = np.arange(8.0).reshape(4, 2)
    maps[:, 1] = 0.1
    for values in (np.full(4, np.nan), np.ones(4)):
        found = metrics.best_window(values, maps)
        assert np.isnan(found.low).all()
        assert np.isnan(found.high).all()
        assert (found.correlation == 0).all()
    found = metrics.best_window([np.nan, 7.0, 7.0, np.nan], [[0.0], [1.0], [1.0], [0.0]])
    assert (found.low[0], found.high[0]) == (7, 7)
    assert np.isclose(found.correlation[0], 1)
    assert np.isnan(metrics.best_window(np.arange(4.0), maps).low[1])


def test_best_window_refuses():
    with pytest.raises(ValueError, match=r"values \(3,\), maps \(4, 1\)"):
        metrics.best_window(np.ones(3), np.ones((4, 1)))
    with pytest.raises(ValueError, match=r"maps is not finite at \(0, 0\): leave masked pixels out"):
        metrics.best_window(np.ones(4), np.full((4, 1), np.nan))
