"""What numbers of peaks lend each other: averages in closed form, and evidences of runs of their own."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import jax
import numpy as np
import pytest

import jaxunmix as jxu
from jaxunmix.bayes import Priors
from jaxunmix.bayes.spectrum.evidence import noise, sharing
from jaxunmix.bayes.spectrum.evidence.draws import Draws
from jaxunmix.bayes.spectrum.evidence.importance import POOL
from jaxunmix.bayes.spectrum.moves.peaks import PeakMoves
from jaxunmix.bayes.spectrum.priors import past_the_best, path
from jaxunmix.bayes.spectrum.result import RUNS
from jaxunmix.bayes.tempering.sequential import smc


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def draws(value, log_evidence, error=0.0):
    run = np.full(POOL, int(value))
    return Draws(np.full((POOL, 1), value), np.ones(POOL), run, log_evidence, error, {int(value): 1.0})


def test_draws_are_averaged_by_their_masses_and_picked_by_what_each_adds():
    parts = [(draws(0.0, math.log(2.0)), 1.0), (draws(1.0, math.log(8.0)), 0.5)]
    found = sharing.pooled(parts, np.random.default_rng(0))
    # (1 x 2 + 0.5 x 8) / 1.5
    assert found.log_evidence == pytest.approx(math.log(4.0))
    assert found.z.mean() == pytest.approx(2 / 3, abs=0.03)
    # Of the draws 1/3 and 2/3, where 2/3 and 1/3 are expected.
    for run, own in ((0, (1 / 3, 2 / 3)), (1, (2 / 3, 1 / 3))):
        assert found.shares[run] == pytest.approx(own, abs=0.03)
    # Two estimates, half and twice the mean, with inverse variances 2/3 and 1/3.
    assert found.error == pytest.approx(math.sqrt(2 / 3 * 0.5**2 + 1 / 3 * 1.0**2))


@pytest.mark.parametrize("counts", [(6, 7, 8), (6, 8, 9)])
def test_no_number_of_peaks_gets_back_what_it_has_given(monkeypatch, counts):
    none = np.array([])
    found = {k: noise.TemperedRuns(draws(0.0, 0.0), none, None, 0, none, none, 0) for k in counts}
    monkeypatch.setattr(sharing, "_lent", lambda own, mass, ends, *_: [(own, mass)])
    shared = sharing.share(found, {}, dict.fromkeys(counts), 7, np.random.default_rng(0))
    for count in counts:
        near = {6: [6], 7: [6, 7, 8]}.get(count, [k for k in (6, 7, 8) if k in counts] if 7 in counts else [8, 9])
        # Each run counts once.
        assert shared[count].expected == pytest.approx({RUNS * k: 1 / len(near) for k in near})


def test_draws_that_agree_have_the_error_of_each():
    parts = [(draws(0.0, 3.0, 0.2), 1.0), (draws(1.0, 3.0, 0.2), 1.0)]
    found = sharing.pooled(parts, np.random.default_rng(0))
    assert found.log_evidence == pytest.approx(3.0)
    assert found.error == pytest.approx(0.2 / math.sqrt(2))


@pytest.mark.parametrize("slots", [(2, 5), (5, 2)])
def test_peaks_keep_their_numbers_where_there_is_room_for_more(slots):
    before, after = slots
    z = np.random.default_rng(0).uniform(size=(3, 8 + 3 * before))
    again = sharing._resized(
        sharing._resized(z, before, after, np.random.default_rng(1)), after, before, np.random.default_rng(2)
    )
    peaks = np.arange(2)
    for first in (0, 4, 4 + before, 8 + 2 * before):
        np.testing.assert_array_equal(again[:, first + peaks], z[:, first + peaks])
    np.testing.assert_array_equal(again[:, 4 + 2 * before : 8 + 2 * before], z[:, 4 + 2 * before : 8 + 2 * before])


@pytest.mark.slow
def test_what_is_lent_is_what_runs_of_ones_own_find():
    energy, intensity, _ = jxu.simulate.edge_spectrum(jax.random.key(3), peaks=1, noise=0.02, channels=60)
    energy, intensity = np.asarray(energy, float), np.asarray(intensity, float)
    priors = Priors().complete(energy, intensity)
    densities = {k: path(energy, intensity, k, None, priors) for k in (2, 3)}
    explorers = {k: PeakMoves() for k in densities}
    how = {"moves": 4, "particles": 192, "limit": priors.noise[0] ** -2, "stop": past_the_best(60)}
    rng = np.random.default_rng(0)
    found = {}
    for k, density in densities.items():
        with ThreadPoolExecutor(2) as workers:
            result = smc(density, explorers[k], key=jax.random.key(k), workers=workers, **how)
        found[k] = noise.over_noise(density, result, noise_known=False, rng=rng)
    for ends in ((2, 3), (3, 2)):
        source, target = (found[k].draws for k in ends)
        [(lent, mass)] = sharing._lent(source, 1.0, ends, densities, explorers[ends[1]], found[ends[1]], rng, None)
        # The weights of more than a hundred draws.
        assert 1 / (1 + sharing.PLACES / 100) < mass < 1
        assert lent.log_evidence == pytest.approx(
            target.log_evidence, abs=3 * math.hypot(lent.error, target.error) + 0.1
        )
    # Every one has its own again where nothing is wrong, and a share of what it had lost where it is.
    lost = replace(found[3].draws, log_evidence=found[3].draws.log_evidence - 20)
    wrong = found | {3: replace(found[3], draws=lost)}
    shared = sharing.share(wrong, densities, explorers, 3, rng)
    assert shared[2].z is found[2].draws.z
    assert shared[3].log_evidence == pytest.approx(found[3].draws.log_evidence, abs=1.0)
    assert shared[3].error > 0.3
