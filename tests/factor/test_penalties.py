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

GRAPH = jxu.penalties.similarity_graph(np.random.default_rng(3).random((40, 11)), 5)

PENALTIES = {
    "L1 maps": jxu.penalties.L1("maps", 0.3),
    "L1 spectra": jxu.penalties.L1("spectra", 0.3),
    "Laplacian maps": jxu.penalties.Laplacian("maps", 0.3, GRID),
    "Laplacian masked": jxu.penalties.Laplacian("maps", 0.3, MASKED),
    "Laplacian spectra": jxu.penalties.Laplacian("spectra", 0.3),
    "overlap maps": jxu.penalties.SoftOrthogonality("maps", 0.3),
    "overlap spectra": jxu.penalties.SoftOrthogonality("spectra", 0.3),
    "log maps": jxu.penalties.LogSparsity("maps", 0.3),
    "log spectra": jxu.penalties.LogSparsity("spectra", 0.3, epsilon=0.5),
    "ridge maps": jxu.penalties.Ridge("maps", 0.3),
    "ridge spectra": jxu.penalties.Ridge("spectra", 0.3),
    "smooth spectra": jxu.penalties.Smoothness("spectra", 0.3),
    "variation maps": jxu.penalties.TotalVariation("maps", 0.3, GRID),
    "variation masked": jxu.penalties.TotalVariation("maps", 0.3, MASKED, epsilon=0.2),
    "variation volume": jxu.penalties.TotalVariation("maps", 0.3, (2, 4, 5)),
    "variation spectra": jxu.penalties.TotalVariation("spectra", 0.3),
    "relevance maps": jxu.penalties.ARD("maps", noise_variance=0.3),
    "relevance spectra": jxu.penalties.ARD("spectra", noise_variance=0.3),
    "relevance both": jxu.penalties.ARD("both", noise_variance=0.3),
    "relevance maps, l2": jxu.penalties.ARD("maps", form="l2", noise_variance=0.3),
    "relevance both, l2": jxu.penalties.ARD("both", form="l2", noise_variance=0.3),
    "graph maps": jxu.penalties.GraphSimilarity("maps", 0.3, GRAPH),
}
LOSSES = {"frobenius": jxu.losses.Frobenius(), "poisson": jxu.losses.Poisson()}
BASES = {
    "shared": np.random.default_rng(1).random((4, 11)) + 0.1,
    "own": np.random.default_rng(2).random((3, 4, 11)) + 0.1,
}


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64():
        yield


def _factors(seed: int = 0, rank: int = 3, pixels: int = 40, channels: int = 11) -> Bilinear:
    rng = np.random.default_rng(seed)
    return Bilinear(jnp.asarray(rng.random((rank, pixels))), jnp.asarray(rng.random((rank, channels))))


def _problem(penalty, x=None, loss=None, basis=None) -> Problem:
    x = np.random.default_rng(5).random((40, 11)) if x is None else x
    return Problem(x, loss, basis, penalties=(penalty,))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("block", ["maps", "spectra"])
def test_bound_touches_and_lies_above(name, block, loss):
    """At the current factors value and gradient agree; elsewhere the quadratic is never below the penalty."""
    penalty = PENALTIES[name]
    problem = _problem(penalty, loss=LOSSES[loss])
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


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ["L1 maps", "Laplacian maps", "overlap maps", "log maps"])
def test_bound_through_a_basis_touches_and_lies_above(name, loss, basis):
    """The coefficients move, and with them the size of the spectra that a penalty on the maps sees."""
    problem = _problem(PENALTIES[name], loss=LOSSES[loss], basis=BASES[basis])
    here = _factors(channels=4)

    def value(coefficients):
        return problem.penalty(Bilinear(here.maps_t, coefficients))

    bound = problem.bound(here, "coefficients")
    slope = jax.grad(value)(here.profiles)
    np.testing.assert_allclose(jnp.broadcast_to(bound.gradient, slope.shape), slope, rtol=1e-9, atol=1e-12)
    for seed in range(20):
        other = jnp.asarray(np.random.default_rng(seed).random((3, 4))) * (seed + 1) / 5
        step = other - here.profiles
        above = value(here.profiles) + jnp.sum(bound.gradient * step + bound.curvature * step**2 / 2)
        assert float(value(other)) <= float(above) * (1 + 1e-12)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("block", ["maps", "spectra"])
def test_log_sparsity_is_the_equation_of_its_docstring(block, loss):
    x, f = np.random.default_rng(5).random((40, 11)), _factors()
    penalty = jxu.penalties.LogSparsity(block, 0.7, epsilon=0.2)
    problem = _problem(penalty, x, LOSSES[loss])
    rows, other = (f.maps_t, f.profiles) if block == "maps" else (f.profiles, f.maps_t)
    n = rows.shape[1]
    if loss == "poisson":
        total, mean, size = x.sum(), x.sum() / n, other.sum(axis=1)
    else:
        total = (x**2).sum()
        mean, size = np.sqrt(total / n), jnp.sqrt((other**2).sum(axis=1))
    expected = 0.7 * total / n * jnp.log1p(rows * size[:, None] / mean / 0.2).sum()
    np.testing.assert_allclose(problem.penalty(f), expected, rtol=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", PENALTIES)
def test_value_ignores_the_scale_between_the_blocks(name, loss):
    penalty, factors = PENALTIES[name], _factors()
    reference = _problem(penalty, loss=LOSSES[loss]).reference
    scaled = factors.scaled(jnp.asarray([0.01, 3.0, 400.0]))
    np.testing.assert_allclose(penalty.value(scaled, reference), penalty.value(factors, reference), rtol=1e-10)


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ["L1 maps", "Laplacian maps", "Laplacian spectra", "log maps", "log spectra"])
def test_weight_means_the_same_in_any_unit_of_the_basis(name, loss, basis):
    """A basis times s is one of coefficients through s: model, loss and penalty are the same."""
    factors = _factors(channels=4)
    values = []
    for s in (1.0, 37.0):
        problem = _problem(PENALTIES[name], loss=LOSSES[loss], basis=s * BASES[basis])
        scaled = Bilinear(factors.maps_t, factors.profiles / s)
        values.append((problem.penalty(scaled), problem.data_term(scaled)))
    np.testing.assert_allclose(values[1], values[0], rtol=1e-10)


@pytest.mark.parametrize("name", ["L1 maps", "Laplacian maps", "log maps", "log spectra"])
def test_weight_means_the_same_at_another_dose_of_counts(name):
    """Under Poisson a penalty of the true factors grows as the counts, whatever noise they hold; squares hold it."""
    rng, factors = np.random.default_rng(0), _factors()
    model = np.asarray(factors.maps @ factors.spectra)
    shares = []
    for counts in (10.0, 1000.0):
        dose = counts / model.mean()
        x = rng.poisson(dose * model)
        scaled = Bilinear(dose * factors.maps_t, factors.profiles)
        shares.append(float(_problem(PENALTIES[name], x, LOSSES["poisson"]).penalty(scaled)) / x.sum())
    np.testing.assert_allclose(shares[0], shares[1], rtol=0.1)


@pytest.mark.parametrize("name", ["L1 maps", "Laplacian maps", "L1 spectra", "log maps", "log spectra"])
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
        (lambda: jxu.penalties.L1("maps", "automatic"), 'or "auto", got'),
        (lambda: jxu.penalties.LogSparsity("maps", 0.1, epsilon=0), "epsilon must be above 0"),
        (lambda: jxu.penalties.LogSparsity("coefficients", 0.1), 'block must be "maps" or "spectra"'),
        (lambda: jxu.penalties.LogSparsity("maps", -0.1), "a penalty's weight must be 0 or more"),
        (lambda: jxu.penalties.LogSparsity("maps", 0.1, epsilon=np.nan), "epsilon must be above 0"),
        (lambda: jxu.penalties.Laplacian("maps", 0.1), "grid"),
        (lambda: _problem(jxu.penalties.Laplacian("maps", 0.1, (7, 7))), "49 cells in use, the data 40 pixels"),
    ],
)
def test_bad_penalties_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
