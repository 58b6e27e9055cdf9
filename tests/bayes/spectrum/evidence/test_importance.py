"""Importance and bridge sampling, against evidences in closed form and many tempered runs."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

import jaxunmix as jxu
from jaxunmix._util.statistics import log_mean, spread
from jaxunmix.bayes import Priors
from jaxunmix.bayes.spectrum.evidence import assemble, importance, noise
from jaxunmix.bayes.spectrum.evidence.draws import Draws
from jaxunmix.bayes.spectrum.moves.peaks import PeakMoves
from jaxunmix.bayes.spectrum.priors import past_the_best, path
from jaxunmix.bayes.tempering.sequential import smc


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def density_of(peaks, **priors):
    energy, intensity, _ = jxu.simulate.edge_spectrum(jax.random.key(3), peaks=1, noise=0.02, channels=60)
    energy, intensity = np.asarray(energy, float), np.asarray(intensity, float)
    return path(energy, intensity, peaks, None, Priors(**priors).complete(energy, intensity))


def draws_of(z, beta, run=None):
    """Draws without an evidence, each of them independent."""
    return Draws(z, beta, np.zeros(len(z), int) if run is None else run, 0.0, 0.0, independent=len(z))


def sampled(density, peaks, seed=0):
    """From draws of the prior."""
    rng = np.random.default_rng(seed)
    keys = jax.random.split(jax.random.key(seed))
    noise = tuple(np.asarray(density.prior.noise).tolist())
    numbers = importance.POOL, importance.BATCH
    z, moved = (np.asarray(density.sample(key, number)) for key, number in zip(keys, numbers, strict=True))
    beta, beta_moved = (np.exp(-2 * rng.uniform(*np.log(noise), number)) for number in numbers)
    own = draws_of(moved, beta_moved, np.arange(numbers[1]) % 4)
    return importance.importance(density, draws_of(z, beta), own, peaks, noise, rng)


@pytest.mark.parametrize("highest", [pytest.param(False, marks=pytest.mark.slow), True])
def test_without_data_the_evidence_is_one_and_the_posterior_the_prior(highest):
    density = density_of(3, highest=highest)
    blind = replace(density, weight=jnp.zeros_like(density.weight))
    found = sampled(blind, 3)
    assert found.log_evidence == pytest.approx(0, abs=3 * found.error)
    assert found.error < 0.1
    assert found.reached > 0.9
    rng = np.random.default_rng(0)
    # One draw of the mixture in six, or more of them, has its peaks in order, and these weigh nearly alike.
    number = (len(found.z) - importance.BATCH) / importance.HONEST**2
    assert number / 6 < found.independent < number
    picked = found.pick(1000, rng)
    z, beta, run = picked.z, picked.beta, picked.run
    assert np.all((run >= -1) & (run < 4))
    assert np.mean(run == -1) > 0.9
    # Peaks are in order: any one of them is uniform.
    peak = 4 + rng.integers(3, size=1000)
    for column in (0, 1, 2, 3, peak, peak + density.slots):
        assert kstest(z[np.arange(1000), column], "uniform").pvalue > 1e-3
    low, high = np.log(np.asarray(density.prior.noise))
    assert kstest((-0.5 * np.log(beta) - low) / (high - low), "uniform").pvalue > 1e-3


@pytest.mark.slow
def test_evidence_is_that_of_many_tempered_runs():
    density = density_of(1)
    how = {"moves": 4, "limit": float(density.prior.noise[0]) ** -2, "stop": past_the_best(60)}
    rng = np.random.default_rng(2)
    with ThreadPoolExecutor(2) as workers:
        short, *more = (
            smc(density, PeakMoves(), key=key, particles=192, workers=workers, **how)
            for key in jax.random.split(jax.random.key(1), 9)
        )
        of_short = noise.over_noise(density, short, noise_known=False, rng=rng)
        own = density, PeakMoves(), of_short, of_short.draws, 1
        found = assemble.gather(*own, noise_known=False, rng=rng, workers=workers)
    assert found.reached > 0.9
    runs = np.concatenate([noise.over_noise(density, each, noise_known=False, rng=rng).log_evidence for each in more])
    assert len(runs) == 32
    assert spread(runs) < 0.1
    assert abs(log_mean(runs) - found.log_evidence) < 3 * math.hypot(found.error, spread(runs))


def test_the_error_grows_by_the_difference_from_the_particles_as_far_as_the_mixture_does_not_reach(monkeypatch):
    weighted = Draws(np.zeros((1, 1)), np.ones(1), np.array([-1]), 3.0, 0.3, weights=np.ones(1), reached=0.5)
    monkeypatch.setattr(assemble, "importance", lambda *_: weighted)
    particles = Draws(np.ones((1, 1)), np.ones(1), np.zeros(1, int), 2.2, 0.1, {0: 1.0})
    found = assemble._weighed(None, particles, particles, 1, True, np.random.default_rng(0))
    assert (found.log_evidence, found.error, found.reached) == (3.0, pytest.approx(0.5), 0.5)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), peaks=st.integers(1, 4))
def test_one_order_of_the_peaks_is_that_of_the_reference(seed, peaks):
    with jax.enable_x64(True):
        density = density_of(peaks)
        points = np.random.default_rng(seed).uniform(0.01, 0.99, (20, density.size))
        order = importance._Order(density, points, peaks)
        each = []
        for permutation in permutations(range(peaks)):
            changed = points.copy()
            for index in order.index:
                changed[:, index] = points[:, index[list(permutation)]]
            each.append(order.is_of(changed))
            np.testing.assert_array_equal(order.of(changed), order.of(points))
    np.testing.assert_array_equal(np.sum(each, axis=0), 1)


@pytest.mark.parametrize("highest", [False, True])
def test_peaks_take_their_heights_with_them_into_order(highest):
    density = density_of(3, highest=highest)
    z = np.asarray(density.sample(jax.random.key(0), importance.BATCH))
    # So much noise that draws of the prior are not far from draws of the posterior.
    beta = np.full(len(z), 0.5**-2)
    ordered = importance._in_order(density, importance._Order(density, z, 3), draws_of(z, beta))

    def parameters(points):
        shapes, heights = assemble._parameters(density, points, beta)
        peaks = [np.asarray(each)[:, :3] for each in (shapes.centres, shapes.widths, heights[:, -density.slots :])]
        by_place = np.argsort(peaks[0], axis=1)
        return [np.asarray(heights)[:, :4], *(np.take_along_axis(each, by_place, 1) for each in peaks)]

    same = [np.isclose(a, b, rtol=1e-4, atol=1e-6).all(1) for a, b in zip(*map(parameters, (z, ordered)), strict=True)]
    assert np.mean(np.all(same, axis=0)) > 0.999
    assert 0.5 < np.mean(np.any(ordered[:, 4:7] != z[:, 4:7], axis=1)) < 0.95


def test_points_out_of_order_weigh_nothing_however_heavy_they_are():
    density = density_of(2)
    points = np.random.default_rng(0).uniform(0.01, 0.99, (50, density.size))
    order = importance._Order(density, points, 2)
    ordered = order.of(points)
    swapped = ordered.copy()
    for index in order.index:
        swapped[:, index] = ordered[:, index[::-1]]
    both = np.concatenate([ordered, swapped])
    log_w = np.r_[np.zeros(50), np.full(50, 100.0)]
    draws = importance._Scored(None, both, None, log_w.copy())
    importance._leave_out(log_w, draws, order)
    np.testing.assert_array_equal(log_w, np.r_[np.zeros(50), np.full(50, -np.inf)])
    np.testing.assert_array_equal(draws.log_target, log_w)


def test_a_mixture_without_any_draw_in_order_reaches_nothing(monkeypatch):
    monkeypatch.setattr(importance._Order, "is_of", lambda self, z: np.zeros(len(z), bool))
    found = sampled(density_of(2), 2)
    assert found.reached == 0
    assert found.log_evidence == -np.inf
    assert found.weights is None


@pytest.mark.parametrize("precision", [1.0, 1e4])
def test_draws_that_are_not_of_the_posterior_show_in_the_error(precision):
    density = density_of(1)
    # At the higher precision nearly all weights underflow.
    found = sampled(replace(density, weight=precision * density.weight), 1)
    assert np.isfinite(found.log_evidence)
    assert found.error > 0.1


def bridged(share, log_z=-3.0, spread=0.0, runs=4, seed=0):
    """A mixture that covers a share of the posterior, and weights of this spread (of the logarithm) there."""
    rng, n, m = np.random.default_rng(seed), 20_000, importance.BATCH
    # Within reach q is p / share over e^(spread x), normal x: of mean zero under q, and of mean `spread` under p.
    log_w = log_z + math.log(share) + spread * rng.normal(size=n) - spread**2 / 2
    own = log_z + math.log(share) + spread * (rng.normal(size=m) + spread) - spread**2 / 2
    own[rng.uniform(size=m) > share] = 200.0
    first, second = (importance._Scored(np.zeros((k, 1)), np.zeros((k, 1)), np.zeros(k), np.zeros(k)) for k in (n, m))
    moved = draws_of(second.z, second.beta, rng.integers(runs, size=m))
    return importance._bridged(first, log_w, second, own, moved, 0)


@settings(max_examples=20, deadline=None)
@given(share=st.floats(0.1, 1), spread=st.floats(0, 1.5), seed=st.integers(0, 2**31))
def test_what_the_mixture_does_not_reach_is_counted_by_draws_of_the_posterior(share, spread, seed):
    found = bridged(share, spread=spread, seed=seed)
    # None of so many draws is out of reach, but once in a million, only where less than this is: no error tells of it.
    unseen = math.log(1e6) / importance.BATCH
    # Where all weights are alike there is no error but that of the root, which is sought to 1e-6.
    assert found.log_evidence == pytest.approx(-3, abs=5 * found.error + 1e-6 + (unseen if share > 1 - unseen else 0))
    # The variance of the mean of log-normal weights over 20,000 draws, and of a share of BATCH draws.
    sd = math.sqrt(math.expm1(spread**2) / 20_000 + share * (1 - share) / importance.BATCH)
    # Draws of the posterior count as so many of the mixture, and take that share of it even where all is in reach.
    own = importance.TRUSTED / 20_000
    assert found.reached == pytest.approx(share, abs=5 * sd + unseen + own)
    # The draws together are the posterior: what is out of reach has its share.
    assert found.weights[-importance.BATCH :].sum() == pytest.approx(1 - share, abs=5 * sd + unseen + own)
    # The spread of a share of so many, by the runs or as if independent; by chance fewer of them may be out of reach.
    out = importance.BATCH * (1 - share)
    assert found.error > 0.9 * math.sqrt(max(out - 4 * math.sqrt(out), 0) / share) / importance.BATCH


def test_error_of_a_bridge_is_the_spread_between_runs_where_they_differ():
    found = [bridged(0.5, seed=seed) for seed in range(2)]
    assert max(each.error for each in found) < 0.05
    values, moved = np.repeat([0.2, 0.4, 0.6, 0.8], 1000), np.repeat(np.arange(4), 1000)
    own = draws_of(np.zeros((4000, 1)), np.ones(4000), moved)
    # Four equal runs: the standard error of their mean over the mean.
    expected = np.std([0.2, 0.4, 0.6, 0.8], ddof=1) / 2 / 0.5
    assert importance._error_of_mean(values, own) == pytest.approx(expected)
