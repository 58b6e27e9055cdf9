"""The density with its heights integrated out against closed forms, and its moves against the joint distribution."""

import dataclasses
from contextlib import contextmanager, nullcontext

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_ndtr, ndtr
from scipy.stats import multivariate_normal, norm, poisson

from jaxunmix.bayes import Priors
from jaxunmix.bayes.spectrum import marginal, moves
from jaxunmix.bayes.spectrum.moves import relocation
from jaxunmix.bayes.spectrum.moves.crossover import crossed
from jaxunmix.bayes.spectrum.moves.peaks import PeakMoves
from jaxunmix.bayes.spectrum.moves.random_numbers import draw_random_numbers
from jaxunmix.bayes.spectrum.truncated_normal import BASELINE, FIXED, GAUSS, LORENTZ, STEP, factorise, positive

CHANNELS = 16
ENERGY = np.linspace(0.0, 15.0, CHANNELS)


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


def prior(height=1.0, peaks=0):
    pairs = {"white_line": (8.0, 1.0), "edge_width": (1.0, 4.0), "line_width": (1.0, 4.0), "peak_width": (1.0, 4.0)}
    pairs |= {"peak": (0.0, 15.0), "noise": (1e-3, 1.0), "heights": (height,) * 4, "baseline": height, "edge": 3.0}
    # Where peaks are told, the white line is the highest.
    pairs["log_share"] = Priors(heights=(height,) * 4).log_share(peaks) if peaks else 0.0
    pairs["highest"] = float(peaks > 0)
    return marginal.Prior(**{name: jnp.asarray(value, float) for name, value in pairs.items()})


def density(slots=1, live=1, intensity=None, poisson=False, height=1.0, highest=False):
    y = np.linspace(0.2, 1.4, CHANNELS) if intensity is None else np.asarray(intensity)
    weight = 1 / np.sqrt(np.maximum(y, 1)) if poisson else np.ones(CHANNELS)
    arrays = [jnp.asarray(a, float) for a in (ENERGY, y, weight, np.arange(slots) < live)]
    return marginal.CollapsedSpectrum(*arrays, prior(height, live if highest else 0), poisson)


# As one program each: step by step most of the time would be the compiler's.
evaluate = eqx.filter_jit(marginal.CollapsedSpectrum.evaluate)
sample = eqx.filter_jit(marginal.CollapsedSpectrum.sample)
draw = eqx.filter_jit(marginal.CollapsedSpectrum.draw)
point_of_heights = eqx.filter_jit(marginal.CollapsedSpectrum.point_of_heights)
columns_of = eqx.filter_jit(marginal.CollapsedSpectrum.columns)


@eqx.filter_jit
def log_density(d, z, b):
    return d.log_density(d.evaluate(z), b)


@eqx.filter_jit
def density_and_heights(d, z, b):
    terms = d.evaluate(z)
    return d.log_density(terms, b), d.draw(terms, b)


def log_mean(values):
    return float(np.logaddexp.reduce(np.asarray(values)) - np.log(len(values)))


@pytest.mark.parametrize("b", [0.0, 0.3, 4.0, 60.0])
def test_the_mean_over_uniforms_is_the_normal_integral_over_positive_heights(b):
    d = density()
    theta = sample(d, jax.random.key(1), 1)
    z = jnp.tile(theta, (40_000, 1)).at[:, -d.heights :].set(jax.random.uniform(jax.random.key(2), (40_000, d.heights)))
    found = log_density(d, z, jnp.full(len(z), b))
    # Exactly: a normal integral over all heights, times the share of the posterior in the positive orthant over 2^-L.
    columns = np.asarray(columns_of(d, theta)[0])
    precision = np.eye(d.heights) + b * columns @ columns.T
    mean = np.linalg.solve(precision, b * columns @ np.asarray(d.target))
    normal = -0.5 * np.linalg.slogdet(precision)[1] - 0.5 * (b * np.sum(d.target**2) - mean @ precision @ mean)
    covariance = np.linalg.inv(precision)[1:, 1:]  # the baseline may be negative
    inside = multivariate_normal(-mean[1:], covariance, seed=0).cdf(np.zeros(d.heights - 1))
    exact = float(normal) + np.log(inside) + (d.heights - 1) * np.log(2)
    weight = np.exp(np.asarray(found) - exact)
    error = weight.std() / np.sqrt(len(weight))
    assert error < 0.03
    assert weight.mean() == pytest.approx(1, abs=4 * error + 1e-3)


def test_at_b_0_the_density_is_the_uniform_prior():
    d = density()
    z = sample(d, jax.random.key(3), 200)
    np.testing.assert_allclose(density_and_heights(d, z, jnp.zeros(200))[0], 0, atol=1e-12)


def half_normal(shape, seed=0):
    return np.abs(np.random.default_rng(seed).standard_normal(shape))


@pytest.mark.parametrize("b", [0.3, 4.0])
def test_with_a_highest_white_line_the_mean_over_uniforms_is_the_mean_likelihood_over_such_heights(b):
    d = density(3, 2, highest=True)
    theta = sample(d, jax.random.key(1), 1)
    z = jnp.tile(theta, (40_000, 1)).at[:, -d.heights :].set(jax.random.uniform(jax.random.key(2), (40_000, d.heights)))
    heights = half_normal((1_000_000, d.heights))
    heights[:, 0] *= np.where(np.arange(len(heights)) % 2, 1, -1)
    heights = heights[heights[:, 2] + heights[:, 3] >= heights[:, 4:6].max(1)]
    residual = np.asarray(d.target) - heights @ np.asarray(columns_of(d, theta)[0])
    exact = log_mean(-0.5 * b * np.sum(residual**2, 1))
    assert log_mean(log_density(d, z, jnp.full(len(z), b))) == pytest.approx(exact, abs=0.02)


def test_with_a_highest_white_line_points_at_b_0_are_drawn_from_their_density():
    d = density(3, 2, highest=True)
    z = sample(d, jax.random.key(3), 40_000)
    b = jnp.zeros(len(z))
    heights = np.asarray(draw(d, evaluate(d, z), b))
    expected = half_normal((1_000_000, d.heights))
    expected = expected[expected[:, 2] + expected[:, 3] >= expected[:, 4:6].max(1)]
    assert np.all(heights[:, 2] + heights[:, 3] >= heights[:, 4:6].max(1) - 1e-12)
    np.testing.assert_allclose(heights[:, 1:].mean(0), expected[:, 1:].mean(0), atol=0.015)
    # The mean of 1 / q over draws of q is the volume of the cube.
    assert np.mean(np.exp(-np.asarray(log_density(d, z, b)))) == pytest.approx(1, abs=0.03)


def test_the_share_of_heights_with_a_highest_white_line_is_that_of_a_solid_angle():
    # Three half-normal heights of one sd have every direction of an octant alike; a_1 > A_L + A_G is a triangle in it.
    triangle = 2 * np.arctan(1 / (3 + 2 * np.sqrt(2)))
    assert Priors(heights=(1.0, 2.0, 2.0, 2.0)).log_share(1) == pytest.approx(
        np.log(1 - triangle / (np.pi / 2)), abs=1e-5
    )
    assert Priors(heights=(1.0, 2.0, 2.0, 2.0)).log_share(0) == pytest.approx(0, abs=1e-12)
    assert Priors(heights=(1.0, 2.0, 2.0, 2.0), highest=False).log_share(3) == 0


def test_heights_are_positive_and_follow_the_posterior_of_one_height():
    # One column alone far from the others' reach: a truncated normal with a known mean.
    d = density(slots=0, live=0, intensity=np.full(CHANNELS, 0.1))
    z = sample(d, jax.random.key(4), 2000)
    heights = np.asarray(draw(d, evaluate(d, z), jnp.full(2000, 50.0)))
    assert np.all(heights[:, 1:] >= 0)
    uniforms = jax.random.uniform(jax.random.key(5), (5000, 1))
    flat = marginal.CollapsedTerms(jnp.full((5000, 1, 1), 4.0), jnp.full((5000, 1), -1.0), uniforms, None)

    @jax.jit
    def of_one(flat):
        factor, v = factorise(flat.gram, jnp.ones(5000), flat.moment[:, None])
        return positive(factor, v[0], flat.uniforms.T, jnp.zeros(1), signed_first=False)

    found, mass = of_one(flat)
    mean, sd = -1 / 5, 1 / np.sqrt(5)  # of N(M^-1 b A y, M^-1)
    assert float(mass[0]) == pytest.approx(np.log(2 * norm.sf(0, mean, sd)), abs=1e-10)
    expected = mean + sd * norm.pdf(mean / sd) / norm.cdf(mean / sd)
    assert float(found.mean()) == pytest.approx(expected, abs=0.012)


@pytest.mark.parametrize("kind", ["free", "highest", "poisson"])
def test_heights_tell_the_uniforms_that_they_were_drawn_with(kind):
    y = np.arange(1.0, CHANNELS + 1) if kind == "poisson" else None
    d = density(4, 3, y, poisson=kind == "poisson", height=9.0 if y is not None else 1.0, highest=kind == "highest")
    z, b = sample(d, jax.random.key(6), 200), jnp.full(200, 5.0)
    heights = density_and_heights(d, z, b)[1] / d.scales
    found = point_of_heights(d, z.at[:, -d.heights :].set(heights), b)
    np.testing.assert_allclose(found, z, atol=1e-9)


def test_slots_without_a_peak_change_nothing():
    few, many = density(1, 1), density(4, 1)
    z = sample(few, jax.random.key(6), 200)
    wide = sample(many, jax.random.key(7), 200)
    wide = wide.at[:, :5].set(z[:, :5]).at[:, 8].set(z[:, 5]).at[:, 12:17].set(z[:, 6:])
    b = jnp.full(200, 20.0)
    found, heights = density_and_heights(many, wide, b)
    expected, expected_heights = density_and_heights(few, z, b)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    np.testing.assert_allclose(np.asarray(heights)[:, :5], expected_heights, rtol=1e-9)


@pytest.mark.parametrize("poisson", [False, True])
def test_channels_of_weight_zero_change_nothing(poisson):
    d = density(2, 2, np.arange(1.0, CHANNELS + 1), poisson=poisson, height=9.0)
    z = sample(d, jax.random.key(6), 32)
    more = {"energy": jnp.full(5, 15.0), "intensity": jnp.zeros(5), "weight": jnp.zeros(5)}
    wide = d
    for name, values in more.items():
        wide = eqx.tree_at(lambda d, name=name: getattr(d, name), wide, jnp.append(getattr(d, name), values))
    b = jnp.full(32, 0.7)
    found, expected = (density_and_heights(each, z, b) for each in (wide, d))
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-10)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-9)


def test_points_have_the_positions_and_widths_that_they_are_made_from():
    d = density(3, 2)

    @jax.jit
    def there_and_back(z):
        shapes = d.shapes(z)
        shapes = shapes._replace(centres=shapes.centres[:, :2], widths=shapes.widths[:, :2])
        z = d.point(shapes)
        return shapes, z, d.shapes(z)

    shapes, z, again = there_and_back(sample(d, jax.random.key(6), 30))
    for name, found in again._asdict().items():
        expected = getattr(shapes, name)
        np.testing.assert_allclose(found[:, :2] if found.ndim == 2 else found, expected, rtol=1e-9, err_msg=name)
    assert np.all((np.asarray(z) > 0) & (np.asarray(z) < 1))


def normal_log_evidence(columns, target, b):
    """Without a constant, heights of either sign; and mean over sd of the last height."""
    precision = np.eye(len(columns)) + b * columns @ columns.T
    mean = np.linalg.solve(precision, b * columns @ target)
    value = 0.5 * (mean @ precision @ mean - np.linalg.slogdet(precision)[1])
    return value, mean[-1] / np.sqrt(np.linalg.inv(precision)[-1, -1])


@eqx.filter_jit
def weighed_places(d, z, b, k):
    place, width = relocation.middles((20, 4), z.dtype)
    grid = d.peak_columns(place, width).astype(jnp.float32)
    columns = d.columns(z)
    seen = jnp.einsum("pln,gn->plg", columns, grid)
    return columns, grid, relocation.place_weights(d, columns, d.evaluate(z), b, FIXED + k, grid, seen)


@pytest.mark.parametrize("b", [0.5, 40.0])
@pytest.mark.parametrize("k", [0, 2])
def test_places_are_weighed_by_what_a_peak_of_positive_height_adds_there(k, b):
    d = density(3, 3)
    z = sample(d, jax.random.key(20), 6)
    columns, grid, found = map(np.asarray, weighed_places(d, z, jnp.full(6, b), jnp.asarray(k)))
    for point, cell in np.ndindex(found.shape):
        others = np.delete(columns[point], FIXED + k, axis=0)
        with_peak, score = normal_log_evidence(np.vstack([others, grid[cell]]), np.asarray(d.target), b)
        exact = with_peak - normal_log_evidence(others, np.asarray(d.target), b)[0] + np.log(2) + log_ndtr(score)
        assert found[point, cell] == pytest.approx(exact, abs=0.2 + 1e-3 * abs(exact))


def test_poisson_evidence_of_given_shapes_is_the_mean_likelihood_over_prior_heights():
    rng = np.random.default_rng(0)
    counts = rng.poisson(4.0, CHANNELS).astype(float)
    d = density(0, 0, counts, poisson=True, height=4.0)
    theta = sample(d, jax.random.key(8), 1)
    uniforms = jax.random.uniform(jax.random.key(9), (200_000, d.heights))
    z = jnp.tile(theta, (200_000, 1)).at[:, -d.heights :].set(uniforms)
    found = log_density(d, z, jnp.ones(len(z)))
    shapes = np.asarray(columns_of(d, theta)[0]) / np.asarray(d.scales)[:, None] / np.asarray(d.weight)
    heights = 4.0 * np.abs(rng.standard_normal((200_000, d.heights)))
    exact = log_mean(poisson.logpmf(counts, heights @ shapes).sum(1))
    weight = np.exp(np.asarray(found) - exact)
    error = weight.std() / np.sqrt(len(weight))
    assert error < 0.1
    assert weight.mean() == pytest.approx(1, abs=3 * error)


@pytest.mark.parametrize("k", [jnp.asarray(2), jnp.full(20, 2)], ids=["one", "each"])
def test_changed_columns_give_the_terms_of_the_new_point(k):
    d = density(3, 3)
    old, new = sample(d, jax.random.key(10), 20), sample(d, jax.random.key(11), 20)
    new = new.at[:, 4:6].set(old[:, 4:6]).at[:, 7:9].set(old[:, 7:9])

    @jax.jit
    def both(old, new, k):
        spans = (STEP, 3), (FIXED + k, 1)
        columns, changed = d.columns(old), d.changed_columns(new, k)
        terms = marginal.change_columns(d.evaluate(old), columns, changed, spans, d.target)
        return (marginal.put(columns, changed, spans, 1), terms), (d.columns(new), d.evaluate(new))

    (put, found), (columns, expected) = both(old, new, k)
    np.testing.assert_allclose(put, columns, atol=1e-12)
    np.testing.assert_allclose(found.gram, expected.gram, atol=1e-12)
    np.testing.assert_allclose(found.moment, expected.moment, atol=1e-12)


def inverse_uniforms(columns, target, scaled, b, highest):
    """The u that give these heights in units of their sds, of which none of a peak is above that of the white line."""
    factor = np.linalg.cholesky(np.eye(len(columns)) + b * columns @ columns.T)
    mean = np.linalg.solve(factor.T, np.linalg.solve(factor, b * columns @ target))
    z = factor.T @ (scaled - mean)
    least = np.zeros(len(scaled))
    if highest:
        least[LORENTZ] = max(scaled[FIXED:].max() - scaled[GAUSS], 0)
    tail = ndtr(np.diag(factor) * (scaled - least) - z)
    tail[BASELINE] = 1.0
    return ndtr(-z) / tail


@eqx.filter_jit
def swept(explorer, d, keys, z, y, beta, cloud, sweeps, colder):
    """The first point of each set after sweeps given its data, and its density before and after.

    With `colder` other than 1 they are the right moves for another b.
    """

    def one(key, z, y):
        own = eqx.tree_at(lambda d: d.intensity, d, y)
        settings = explorer.tune(explorer.init(d, 1), cloud, None)

        def once(i, at):
            use = jax.random.fold_in(key, i)
            return explorer.sweep(use, own, at, own.evaluate(at), colder * beta, settings)[0]

        at = jax.lax.fori_loop(0, sweeps, once, z)
        first, last = (own.log_density(own.evaluate(each), beta)[:1] for each in (z, at))
        return at[0], first, last

    return jax.vmap(one)(keys, z, y)


@contextmanager
def optimised():
    """For a program that runs for longer than its optimisation takes."""
    name = "jax_disable_most_optimizations"
    before = jax.config.values[name]
    jax.config.update(name, False)
    try:
        yield
    finally:
        jax.config.update(name, before)


def joint(explorer, sets, sweeps=3, b=25.0, slots=2, highest=False, others=0, colder=1.0):
    """Points and data drawn together, and the same after sweeps: by how many standard errors moments have changed.

    With `others` so many points of the prior, at b = 0, are moved together with each.
    """
    d = density(slots, slots, highest=highest)
    rng = np.random.default_rng(5)
    z = np.array(sample(d, jax.random.key(12), sets))
    heights = np.abs(rng.standard_normal((20 * sets, d.heights))) * np.asarray(d.scales)
    if highest:
        heights = heights[heights[:, 2] + heights[:, 3] >= heights[:, 4:].max(1)]
    heights = heights[:sets]
    heights[:, 0] *= np.sign(rng.standard_normal(sets))
    columns, scaled = np.asarray(columns_of(d, jnp.asarray(z))), heights / np.asarray(d.scales)
    y = np.einsum("sl,sln->sn", scaled, columns) + rng.standard_normal((sets, CHANNELS)) / np.sqrt(b)
    z[:, -d.heights :] = [inverse_uniforms(*each, b, highest) for each in zip(columns, y, scaled, strict=True)]

    beta = jnp.zeros(1 + others).at[0].set(b)
    company = sample(d, jax.random.key(15), sets * others).reshape(sets, others, d.size)
    # Some cloud to learn from, not the posterior of any of the sets.
    cloud = sample(d, jax.random.key(14), 100).at[:, :4].multiply(0.7)
    keys = jax.random.split(jax.random.key(13), sets)
    points = jnp.concatenate([jnp.asarray(z)[:, None], company], 1)
    arguments = explorer, d, keys, points, jnp.asarray(y), beta, cloud, sweeps, jnp.asarray(colder)
    with optimised() if others else nullcontext():
        after, first, last = (np.asarray(a) for a in swept(*arguments))
    assert np.mean(np.any(after != z, 1)) > (0.4 if others else 0.9)
    statistic = np.stack([y.mean(1), y.max(1), ENERGY[np.argmax(y, 1)]], 1)
    statistic = (statistic - statistic.mean(0)) / statistic.std(0)
    places = slice(0, 4 + 2 * slots)
    moments = [z - 0.5, (z - 0.5) ** 2, *(statistic[:, [i]] * z[:, places] for i in range(3))]
    other = [after - 0.5, (after - 0.5) ** 2, *(statistic[:, [i]] * after[:, places] for i in range(3))]
    apart = np.concatenate([*other, last], 1) - np.concatenate([*moments, first], 1)
    return np.abs(apart.mean(0)) / (apart.std(0) / np.sqrt(sets) + 1e-12)


CROSSING = "crossover"
MOVES = {
    "local": PeakMoves(local=2, relocations=0, shapes=0),
    "relocations": PeakMoves(local=0, relocations=1, shapes=0, cells=(16, 3)),
    "edge and white line": PeakMoves(local=0, relocations=0, shapes=2),
    "relocation of the edge": PeakMoves(local=0, relocations=0, shapes=0, edges=3),
    CROSSING: PeakMoves(local=0, relocations=0, shapes=0, crossovers=30),
}


QUICK = "local", CROSSING


@pytest.mark.parametrize(
    "move", [move if move in QUICK else pytest.param(move, marks=pytest.mark.slow) for move in MOVES]
)
def test_each_move_leaves_the_joint_distribution_as_it_was(move):
    # One program for both. Crossover knows nothing of how heights are drawn: once is enough.
    for highest in (True,) if move == CROSSING else (False, True):
        assert joint(MOVES[move], 2000, highest=highest, others=7 if move == CROSSING else 0).max() < 4.5


class Alone(PeakMoves):
    """A broken explorer, by the patch below; of another type, so that its program is not taken for the right one's."""


@pytest.mark.slow
def test_the_joint_distribution_shows_an_exchange_that_each_point_accepts_for_itself(monkeypatch):
    def alone(random, *of):
        z, columns, _, possible = crossed(random, *of)
        return z, columns, jnp.arange(len(z)), possible

    monkeypatch.setattr(moves.peaks, "crossed", alone)
    assert joint(Alone(local=0, relocations=0, shapes=0, crossovers=30), 2000, others=7).max() > 6


def test_crossover_is_its_own_inverse_and_gives_to_one_what_it_takes_from_the_other():
    d = eqx.tree_at(lambda d: d.live, density(4, 4), jnp.asarray([1.0, 1, 1, 0]))
    z = sample(d, jax.random.key(31), 96)
    own = jax.jit(lambda: draw_random_numbers(jax.random.key(32), d, 96, [1])[0].of(0))()
    exchange = jax.jit(lambda z, columns: crossed(own, d, z, columns, 32))
    new, columns, partner, possible = exchange(z, columns_of(d, z))
    assert 10 < np.sum(possible) < 96
    np.testing.assert_array_equal(partner[partner], np.arange(96))
    np.testing.assert_array_equal(partner // 32, np.arange(96) // 32)
    np.testing.assert_array_equal(possible[partner], possible)
    np.testing.assert_allclose(columns[possible], columns_of(d, new)[possible], atol=1e-12)
    new = jnp.where(possible[:, None], new, z)
    back = exchange(new, columns)[0]
    np.testing.assert_array_equal(back[possible], z[possible])
    assert np.all(np.any(np.asarray(new != z)[possible], axis=1))
    for first in (0, 4, 8):
        # White lines, centres and widths: the same numbers, in other points.
        together = (np.sort(np.asarray(a)[:, first : first + 4].ravel()) for a in (z, new))
        np.testing.assert_array_equal(*together)


@pytest.mark.slow
def test_points_are_drawn_stratum_by_stratum_and_moves_keep_them_there():
    d = eqx.tree_at(lambda d: d.live, density(2, 2), jnp.ones(2))
    d = dataclasses.replace(d, strata=(2, 4))
    z = sample(d, jax.random.key(23), 400)
    np.testing.assert_array_equal(d.stratum(z), np.repeat(np.arange(8), 50))
    # Together they are the prior.
    np.testing.assert_allclose(np.histogram(z[:, 1], np.linspace(0, 1, 5))[0], 100)
    explorer = PeakMoves()
    settings = explorer.tune(explorer.init(d, 1), z, None)
    found, _, _ = eqx.filter_jit(explorer.sweep)(jax.random.key(24), d, z, evaluate(d, z), jnp.full(400, 9.0), settings)
    np.testing.assert_array_equal(d.stratum(found), d.stratum(z))
    assert np.mean(np.any(np.asarray(found != z)[:, :4], axis=1)) > 0.5


@pytest.mark.parametrize("block", [4, 64])
def test_blocks_move_each_point_with_the_settings_of_its_group(block):
    d, b = density(2, 2), 400.0
    explorer = PeakMoves(block=block, relocations=0, shapes=0)
    z = sample(d, jax.random.key(21), 32)
    # Steps next to nothing in the second and the fourth of four groups.
    settings = explorer.init(d, 4)._replace(peaks=jnp.asarray([0.3, 1e-9, 0.3, 1e-9]))
    found, terms, info = eqx.filter_jit(explorer.sweep)(
        jax.random.key(22), d, z, evaluate(d, z), jnp.full(32, b), settings
    )
    far = np.max(np.abs(found - z)[:, 4:8], axis=1).reshape(4, 8).max(1)
    assert np.all(far[[0, 2]] > 1e-3)
    assert np.all(far[[1, 3]] < 1e-6)
    np.testing.assert_allclose(terms.gram, evaluate(d, found).gram, atol=1e-12)
    assert info.acceptance.shape == (32,)


def test_the_joint_distribution_shows_a_wrong_temperature():
    assert joint(MOVES["local"], 2000, colder=1.5).max() > 6
