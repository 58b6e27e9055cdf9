import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxunmix import metrics
from jaxunmix._util import blocks


def random(seed, *shape):
    return np.random.default_rng(seed).random(shape)


def test_angle_between_known_vectors():
    a = [[1, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 2]]
    b = [[2, 0, 0], [0, 3, 0], [-1, 0, 0], [1, 0, 0], [0, 1, np.sqrt(3)]]
    assert np.allclose(metrics.spectral_angle(a, b), [0, 90, 180, 45, 30])


def test_angle_is_exact_where_the_arc_cosine_is_not():
    tiny = 1e-9
    angle = metrics.spectral_angle([1.0, 0.0], [np.cos(tiny), np.sin(tiny)])
    assert np.isclose(angle, np.degrees(tiny), rtol=1e-6, atol=0)


def test_angle_with_a_zero_spectrum_is_ninety_degrees():
    assert metrics.spectral_angle([0.0, 0.0], [1.0, 2.0]) == 90
    assert metrics.spectral_angle([0.0, 0.0], [0.0, 0.0]) == 90


@given(st.integers(0, 1000), st.floats(1e-150, 1e150))
def test_angle_does_not_depend_on_scale(seed, scale):
    a, b = random(seed, 2, 7)
    assert np.isclose(metrics.spectral_angle(scale * a, b), metrics.spectral_angle(a, b), atol=1e-9)


@given(st.integers(0, 1000), st.permutations(range(4)))
def test_match_finds_the_permutation(seed, order):
    truth = random(seed, 4, 12)
    scales = 0.1 + random(seed + 1, 4, 1)
    estimate = np.empty_like(truth)
    estimate[list(order)] = scales * truth
    found = metrics.match(estimate, truth)
    assert found.order.tolist() == list(order)
    assert found.mean_angle < 1e-6
    assert np.allclose(found.reorder(estimate), scales * truth)
    assert np.allclose(found.reorder(estimate.T, axis=1), (scales * truth).T)


def test_match_is_optimal_where_a_greedy_choice_is_not():
    degrees = np.radians([[0.0, 40.0], [10.0, -20.0]])
    truth, estimate = np.stack([np.cos(degrees), np.sin(degrees)], axis=-1)
    # The closest pair (0, 10) would leave 40 with -20, 70 in all; crossed, 20 + 30 are 50.
    found = metrics.match(estimate, truth)
    assert found.order.tolist() == [1, 0]
    assert np.allclose(found.angles, [20, 30])
    assert np.isclose(found.mean_angle, 25)


def test_match_lists_the_surplus_estimates():
    truth = np.eye(4)[:2]
    found = metrics.match(np.eye(4)[[3, 1, 0]], truth)
    assert found.order.tolist() == [2, 1]
    assert found.unmatched == (0,)
    assert found.missing == ()


def test_match_lists_the_missing_truth():
    found = metrics.match(np.eye(4)[[2]], np.eye(4)[:3])
    assert found.order.tolist() == [-1, -1, 0]
    assert found.missing == (0, 1)
    assert found.mean_angle == 0
    assert np.isnan(found.angles[:2]).all()
    assert np.isnan(found.reorder(np.eye(4)[[2]])[:2]).all()


def test_match_takes_patterns():
    truth = random(0, 3, 5, 4)
    assert metrics.match(truth[::-1], truth).order.tolist() == [2, 1, 0]


def test_map_error_has_a_closed_form_for_a_shifted_map():
    truth = random(1, 50, 2)
    moved = truth + np.array([0.5, -1.0])
    assert np.allclose(metrics.map_error(moved, truth, scale="none"), [0.25, 1.0])


@given(st.integers(0, 1000), st.permutations(range(3)))
def test_map_error_does_not_depend_on_scale_and_order(seed, order):
    truth = random(seed, 30, 3)
    estimate = truth + 0.1 * random(seed + 1, 30, 3)
    expected = metrics.map_error(estimate, truth)
    scaled = (estimate * [2.0, 5.0, 0.1])[:, list(order)]
    assert np.allclose(metrics.map_error(scaled, truth), expected)


def test_map_error_with_the_optimal_scale_is_the_least():
    truth, estimate = random(2, 40, 1), random(3, 40, 1)
    best = metrics.map_error(estimate, truth)[0]
    tried = [np.mean((s * estimate - truth) ** 2) for s in np.linspace(0, 3, 3001)]
    assert best <= min(tried)
    assert np.isclose(best, min(tried), rtol=1e-5)


def test_map_error_of_fractions():
    truth = np.array([[0.2, 0.8], [0.7, 0.3], [0.0, 0.0]])
    estimate = truth * [[5.0], [2.0], [1.0]]
    assert np.allclose(metrics.map_error(estimate, truth, scale="sum"), 0)


def test_map_error_uses_the_given_match_and_leaves_the_missing_out():
    truth = random(4, 20, 2)
    given_match = metrics.match(np.eye(3)[[1]], np.eye(3)[:2])
    errors = metrics.map_error(truth[:, [1]], truth, given_match)
    assert np.isnan(errors[0])
    assert np.isclose(errors[1], 0)


def test_correlation_agrees_with_numpy():
    a, b = random(5, 60, 3), random(6, 60, 2)
    table = metrics.cross_correlation(a, b)
    assert np.allclose(table, np.corrcoef(a.T, b.T)[:3, 3:])
    assert np.allclose(metrics.correlation(a[:, :2], b), np.diag(table[:2]))
    assert np.isclose(metrics.correlation(a[:, 0], b[:, 0]), table[0, 0])


def test_correlation_with_a_constant_map_is_zero():
    a = np.column_stack([np.full(7, 0.1), np.arange(7.0)])
    assert np.array_equal(metrics.cross_correlation(a, a[:, 1:])[0], [0.0])


def test_residual_and_variance_of_an_exact_product():
    maps, spectra = random(7, 30, 2), random(8, 2, 9)
    assert metrics.relative_residual(maps @ spectra, maps, spectra) == 0
    assert metrics.explained_variance(maps @ spectra, maps, spectra) == 1
    assert np.allclose(metrics.deviance(maps @ spectra, maps, spectra), 0)


def test_residual_and_variance_of_known_models(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_VALUES", 20)  # several blocks
    data = random(9, 31, 7)
    ones, mean = np.ones((31, 1)), data.mean(axis=0, keepdims=True)
    assert np.isclose(metrics.explained_variance(data, ones, mean), 0)
    assert np.isclose(metrics.relative_residual(data, 0 * ones, mean), 1)
    u, s, vt = np.linalg.svd(data, full_matrices=False)
    residual = metrics.relative_residual(data, u[:, :3] * s[:3], vt[:3])
    assert np.isclose(residual, np.sqrt(np.sum(s[3:] ** 2) / np.sum(s**2)))


def test_deviance_closed_form_and_empty_channels():
    data, spectra = np.array([[2.0, 0.0], [0.0, 3.0]]), np.array([[1.0, 0.0]])
    found = metrics.deviance(data, np.array([[1.0], [0.5]]), spectra)
    assert np.isclose(found[0], 2 * (2 * np.log(2) - 1))
    assert np.isinf(found[1])


def test_deviance_of_many_counts_is_near_the_number_of_channels():
    rng = np.random.default_rng(0)
    maps, spectra = 500 + 100 * rng.random((400, 1)), 0.5 + rng.random((1, 50))
    assert np.isclose(metrics.deviance(rng.poisson(maps @ spectra), maps, spectra).mean(), 50, rtol=0.02)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.spectral_angle([1.0, 2.0], [1.0]), "row by row"),
        (lambda: metrics.spectral_angle([1.0, np.nan], [1.0, 2.0]), "a is not finite"),
        (lambda: metrics.match(np.ones((2, 3)), np.ones((2, 4))), "3 channels and truth 4"),
        (lambda: metrics.match(np.ones((0, 3)), np.ones((2, 3))), "estimate has the shape"),
        (lambda: metrics.map_error(np.ones((3, 1)), np.ones((4, 1))), "maps has 3 pixels"),
        (lambda: metrics.correlation(np.ones(3), np.ones(4)), "shape"),
        (lambda: metrics.cross_correlation(np.ones((3, 1)), np.ones((4, 1))), "a has 3 pixels"),
        (lambda: metrics.relative_residual(np.zeros((3, 4)), np.ones((3, 1)), np.ones((1, 4))), "all zero"),
        (lambda: metrics.relative_residual(np.ones((3, 4)), np.ones((4, 1)), np.ones((1, 4))), "do not fit"),
        (
            lambda: metrics.explained_variance(np.ones((3, 4)), np.ones((3, 1)), np.ones((1, 4))),
            "no variance",
        ),
        (lambda: metrics.deviance(-np.ones((3, 4)), np.ones((3, 1)), np.ones((1, 4))), "negative"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_an_unknown_scale_is_refused():
    with pytest.raises(Exception, match="scale"):
        metrics.map_error(np.ones((3, 1)), np.ones((3, 1)), scale="best")
