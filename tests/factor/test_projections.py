"""Nearest points, against scikit-learn's isotonic regression, brute force, and the definition of a projection."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from jaxunmix.factor.projections import keep_largest, onto_increasing, onto_sum, onto_unimodal

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(6, 17))
METRIC = RNG.uniform(0.2, 3, ROWS.shape)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64():
        yield


@pytest.mark.parametrize("metric", [None, METRIC], ids=["plain", "metric"])
def test_increasing_is_isotonic_regression(metric):
    weights = np.ones_like(ROWS) if metric is None else 1 / metric
    expected = [
        IsotonicRegression().fit_transform(np.arange(17), row, sample_weight=w)
        for row, w in zip(ROWS, weights, strict=True)
    ]
    found = onto_increasing(jnp.asarray(ROWS), None if metric is None else jnp.asarray(metric))
    np.testing.assert_allclose(found, expected, atol=1e-12)


def _best_unimodal(row, weight):
    """For each place of the maximum a rise and a fall, as if the maximum belonged to either."""
    rise = lambda y, w: IsotonicRegression().fit_transform(np.arange(len(y)), y, sample_weight=w) if len(y) else y  # noqa: E731
    tried = []
    for top in range(len(row) + 1):
        left = rise(row[:top], weight[:top])
        right = rise(row[top:][::-1], weight[top:][::-1])[::-1]
        tried.append(np.concatenate([left, right]))
    return min(np.sum(weight * (one - row) ** 2) for one in tried)


@pytest.mark.parametrize("metric", [None, METRIC], ids=["plain", "metric"])
def test_unimodal_is_the_best_of_all_places_of_the_maximum(metric):
    weights = np.ones_like(ROWS) if metric is None else 1 / metric
    found = np.asarray(onto_unimodal(jnp.asarray(ROWS), None if metric is None else jnp.asarray(metric)))
    for row, got, weight in zip(ROWS, found, weights, strict=True):
        steps = np.sign(np.diff(got)[np.abs(np.diff(got)) > 1e-12])
        assert (np.diff(steps) <= 0).all(), "rises again after it fell"
        assert np.sum(weight * (got - row) ** 2) == pytest.approx(_best_unimodal(row, weight), rel=1e-9)


def test_shapes_stay_where_they_are():
    hill = jnp.asarray([[0.0, 1.0, 1.0, 5.0, 2.0, 2.0, -1.0]])
    np.testing.assert_array_equal(onto_unimodal(hill), hill)
    np.testing.assert_array_equal(onto_increasing(jnp.sort(hill)), jnp.sort(hill))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), axis=st.sampled_from([0, 1]), weighted=st.booleans(), at_most=st.booleans())
def test_onto_sum_satisfies_the_conditions_of_a_nearest_point(seed, axis, weighted, at_most):
    """Feasible, and x - y has no component along a feasible direction: (z - y)'(x - y) / d <= 0 for all feasible z."""
    with jax.enable_x64():
        rng = np.random.default_rng(seed)
        x, low = rng.normal(size=(4, 5)) * 10 ** rng.uniform(-3, 3), -rng.random((4, 5))
        high = np.where(rng.random((4, 5)) < 0.5, np.inf, low + rng.random((4, 5)) * 3)
        d = rng.uniform(0.1, 10, (4, 5)) if weighted else np.ones((4, 5))
        room = np.where(np.isfinite(high), high, low + 1).sum(axis=axis, keepdims=True) - low.sum(
            axis=axis, keepdims=True
        )
        total = low.sum(axis=axis, keepdims=True) + room * rng.uniform(0.05, 0.95)
        arrays = [jnp.asarray(a) for a in (x, low, high)]
        y = np.asarray(onto_sum(*arrays, jnp.asarray(total), axis, at_most, jnp.asarray(d) if weighted else None))
        scale = np.abs(x).max() + np.abs(total).max()
        assert (y >= low - 1e-9 * scale).all()
        assert (y <= high + 1e-9 * scale).all()
        sums = y.sum(axis=axis, keepdims=True)
        assert (sums <= total + 1e-9 * scale).all()
        if not at_most:
            np.testing.assert_allclose(sums, total, atol=1e-9 * scale)
        # Feasible points near y: mass moved from one entry to another along each line.
        slope = (x - y) / d
        can_grow, can_shrink = y < high - 1e-9 * scale, y > low + 1e-9 * scale
        most = np.where(can_grow, slope, -np.inf).max(axis=axis)
        least = np.where(can_shrink, slope, np.inf).min(axis=axis)
        assert (most <= least + 1e-6 * np.abs(slope).max()).all()
        if at_most:
            slack = sums.squeeze(axis) < (total - 1e-6 * scale).squeeze(axis)
            assert (most[slack] <= 1e-6 * np.abs(slope).max()).all()


def test_onto_sum_is_differentiated_like_a_difference():
    x = jnp.asarray(ROWS[:4])

    def function(x):
        return jnp.sum(onto_sum(x, 0.0, jnp.inf, 1.0, 0) ** 3)

    direction = jnp.asarray(ROWS[2:6])
    slope = jax.jvp(function, (x,), (direction,))[1]
    difference = (function(x + 1e-6 * direction) - function(x - 1e-6 * direction)) / 2e-6
    assert float(slope) == pytest.approx(float(difference), rel=1e-6)
    back = jnp.sum(jax.grad(function)(x) * direction)
    assert float(back) == pytest.approx(float(slope), rel=1e-9)


def test_the_largest_are_kept_and_of_equal_ones_the_first():
    rows = jnp.asarray([[1.0, 2.0, 2.0], [3.0, 2.0, 1.0], [2.0, 0.0, 2.0]])
    np.testing.assert_array_equal(keep_largest(rows, 1), [[0, 1, 1], [1, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(keep_largest(rows, 2), [[0, 1, 1], [1, 1, 0], [1, 0, 1]])
    assert keep_largest(rows, 5).all()
