"""Every penalty: scale, gradient, bound, crop and dose."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxunmix as jxu
from jaxunmix.factor.model import Bilinear
from jaxunmix.factor.problem import Problem

GRID = (8, 5)
MASKED = jxu.Grid.of((8, 6), np.arange(48).reshape(8, 6) % 6 != 3)  # a column of dead pixels

PENALTIES = {
    "L1 maps": jxu.penalties.L1("maps", 0.3),
    "L1 spectra": jxu.penalties.L1("spectra", 0.3),
    "Laplacian maps": jxu.penalties.Laplacian("maps", 0.3, GRID),
    "Laplacian masked": jxu.penalties.Laplacian("maps", 0.3, MASKED),
    "Laplacian spectra": jxu.penalties.Laplacian("spectra", 0.3),
    "overlap maps": jxu.penalties.SoftOrthogonality("maps", 0.3),
    "overlap spectra": jxu.penalties.SoftOrthogonality("spectra", 0.3),
}


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64():
        yield


def _factors(seed: int = 0, rank: int = 3, pixels: int = 40, channels: int = 11) -> Bilinear:
    rng = np.random.default_rng(seed)
    return Bilinear(jnp.asarray(rng.random((rank, pixels))), jnp.asarray(rng.random((rank, channels))))


def _problem(penalty, x=None, loss=None) -> Problem:
    x = np.random.default_rng(5).random((40, 11)) if x is None else x
    return Problem(x, loss, penalties=(penalty,))


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("block", ["maps", "spectra"])
def test_bound_touches_and_lies_above(name, block):
    """At the current factors value and gradient agree; elsewhere the quadratic is never below the penalty."""
    penalty = PENALTIES[name]
    problem = _problem(penalty)
    here = _factors()
    rows = here.maps_t if block == "maps" else here.profiles

    def with_rows(r):
        return Bilinear(r, here.profiles) if block == "maps" else Bilinear(here.maps_t, r)

    bound = penalty.bound(here, problem.reference, block)
    slope = jax.grad(lambda r: penalty.value(with_rows(r), problem.reference))(rows)
    np.testing.assert_allclose(jnp.broadcast_to(bound.gradient, rows.shape), slope, rtol=1e-9, atol=1e-12)
    value = penalty.value(here, problem.reference)
    for seed in range(20):
        other = jnp.asarray(np.random.default_rng(seed).random(rows.shape)) * (seed + 1) / 5
        step = other - rows
        above = value + jnp.sum(bound.gradient * step + bound.curvature * step**2 / 2)
        assert float(penalty.value(with_rows(other), problem.reference)) <= float(above) * (1 + 1e-12)


@pytest.mark.parametrize("name", PENALTIES)
def test_value_ignores_the_scale_between_the_blocks(name):
    penalty, factors = PENALTIES[name], _factors()
    reference = _problem(penalty).reference
    scaled = factors.scaled(jnp.asarray([0.01, 3.0, 400.0]))
    np.testing.assert_allclose(penalty.value(scaled, reference), penalty.value(factors, reference), rtol=1e-10)


@pytest.mark.parametrize("name", ["L1 maps", "Laplacian maps", "L1 spectra"])
@pytest.mark.parametrize("loss", [jxu.losses.Frobenius(), jxu.losses.Poisson(), jxu.losses.Beta(1.5)])
def test_weight_means_the_same_at_any_dose(name, loss):
    """Data and model times s: loss and penalty both grow by s^beta, so their balance stays."""
    x, factors, s = np.random.default_rng(0).random((40, 11)) + 0.1, _factors(), 37.0
    for scale in (1.0, s):
        problem = _problem(PENALTIES[name], scale * x, loss)
        scaled = Bilinear(factors.maps_t * scale, factors.profiles)
        ratio = problem.penalty(scaled) / problem.data_term(scaled)
        if scale == 1.0:
            first = ratio
    np.testing.assert_allclose(ratio, first, rtol=1e-9)


def test_weight_means_the_same_for_a_crop():
    """Twice the same map side by side: loss and L1 both double."""
    x, factors = np.random.default_rng(0).random((40, 11)), _factors()
    penalty = jxu.penalties.L1("maps", 0.3)
    twice = Bilinear(jnp.concatenate([factors.maps_t] * 2, axis=1), factors.profiles)
    one, two = _problem(penalty, x), _problem(penalty, np.concatenate([x, x]))
    np.testing.assert_allclose(two.penalty(twice), 2 * one.penalty(factors), rtol=1e-12)


def test_published_weight_converts_as_the_module_says():
    x, w = np.random.default_rng(0).random((40, 11)), 0.02
    factors = _factors()
    unit = jxu.constraints.UnitNorm("spectra").apply(factors)
    s, m = (x**2).sum(), np.sqrt((x**2).sum() / 40)
    l1 = _problem(jxu.penalties.L1("maps", w * 40 * m / s), x)
    np.testing.assert_allclose(l1.penalty(factors), w * unit.maps_t.sum(), rtol=1e-10)
    laplacian = _problem(jxu.penalties.Laplacian("maps", w * 40 * m**2 / s, GRID), x)
    cells = unit.maps_t.reshape(3, *GRID)
    squares = (jnp.diff(cells, axis=1) ** 2).sum() + (jnp.diff(cells, axis=2) ** 2).sum()
    np.testing.assert_allclose(laplacian.penalty(factors), w * squares / 2, rtol=1e-10)


def test_laplacian_skips_dead_pixels():
    """Pairs across the masked column do not count: against the list of neighbours."""
    penalty = PENALTIES["Laplacian masked"]
    rows = _factors().maps_t
    pairs = MASKED.neighbours()
    expected = 0.5 * ((rows[:, pairs[:, 0]] - rows[:, pairs[:, 1]]) ** 2).sum(axis=1)
    np.testing.assert_allclose(penalty.raw(rows), expected, rtol=1e-12)


def test_constant_maps_have_no_laplacian():
    np.testing.assert_allclose(PENALTIES["Laplacian maps"].raw(jnp.ones((2, 40))), 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jxu.penalties.L1("pixels", 0.1), "block"),
        (lambda: jxu.penalties.L1("maps", -0.1), "weight must be 0 or more"),
        (lambda: jxu.penalties.L1("maps", np.nan), "weight"),
        (lambda: jxu.penalties.Laplacian("maps", 0.1), "grid"),
        (lambda: _problem(jxu.penalties.Laplacian("maps", 0.1, (7, 7))), "49 cells in use, the data 40 pixels"),
    ],
)
def test_bad_penalties_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
