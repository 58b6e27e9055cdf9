"""Tempered SMC: known evidences, its stopping rule, its strata and threads, and what it refuses or warns of."""

import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxunmix.bayes.explorers.hmc import HMC
from jaxunmix.bayes.explorers.random_walk import RandomWalk
from jaxunmix.bayes.path import FunctionDensity, choose
from jaxunmix.bayes.tempering.evidence import free_energy
from jaxunmix.bayes.tempering.sequential import smc
from jaxunmix.bayes.tempering.sequential_result import Status

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from evidence import bimodal, first_mode, linear_gaussian


def test_known_evidence_in_single_precision():
    case = linear_gaussian(4)
    found = smc(case.density, HMC(), key=jax.random.key(0), particles=512)
    assert found.status == (Status.DONE,) * 4
    fe = free_energy(found)
    assert fe.value == pytest.approx(-np.log(np.mean(np.exp(found.log_evidence[:, -1]))), abs=1e-3)
    assert fe.value == pytest.approx(-case.log_evidence, abs=min(0.25, 4 * fe.error))
    assert np.all(found.betas[:, 0] == 0)
    np.testing.assert_allclose(found.betas[:, -1], 1)
    assert np.all(np.diff(found.ancestors, axis=1) <= 0)
    # Without strata runs remain independent.
    assert np.all(found.origin == np.arange(4 * 512).reshape(4, 512)[:, ::2])
    assert np.all(np.ptp(found.log_evidence[:, 1:], axis=0) > 0)


def test_workers_change_the_randomness_alone():
    case = linear_gaussian(4)
    with ThreadPoolExecutor(2) as workers:
        found = smc(case.density, HMC(), key=jax.random.key(0), particles=512, workers=workers)
    assert np.mean(found.log_evidence[:, -1]) == pytest.approx(case.log_evidence, abs=0.25)
    assert found.z.shape == (4, 512, 4)
    assert np.all(np.isfinite(found.z))


class Halves(FunctionDensity):
    """Draws from the negative half of the first axis, then from the positive."""

    def sample(self, key, points):
        z = super().sample(key, points)
        return z.at[:, 0].set(jnp.where(jnp.arange(points) < points // 2, -1, 1) * jnp.abs(z[:, 0]))


class Kept(RandomWalk):
    """A random walk that does not leave its half."""

    def sweep(self, key, density, z, terms, beta, settings):
        new, reached, info = super().sweep(key, density, z, terms, beta, settings)
        stays = new[:, 0] * z[:, 0] > 0
        return *choose(stays, (new, reached), (z, terms)), info


def _in_halves(weight, size=3):
    case = bimodal(size=size, weight=weight, widths=(0.1, 0.2))
    parts = {name: getattr(case.density, name) for name in ("size", "draw", "log_prior", "log_likelihood")}
    return case, Halves(**parts)


def _of_halves(weight):
    case, density = _in_halves(weight)
    found = smc(density, Kept(), key=jax.random.key(0), strata=2, particles=1024, moves=6)
    evidence = found.log_evidence[:, -1]
    assert np.mean(evidence) == pytest.approx(case.log_evidence, abs=0.25)
    return case, found


def test_strata_weigh_what_their_evidences_do():
    with jax.enable_x64(True):
        case, found = _of_halves(0.7)
        assert np.all(found.z[:, :512, 0] < 0)
        assert np.all(found.z[:, 512:, 0] > 0)
        assert not found.united
        last = np.exp(found.log_weight[-1])
        np.testing.assert_allclose(last.mean(1), 1, atol=0.02)
        share = np.mean(np.where(found.particles[-1, :, :, 0] < 0, last, 0)) / np.mean(last)
        assert share == pytest.approx(case.weight, abs=0.06)
        with pytest.raises(ValueError, match="strata must divide the particles of a run"):
            smc(case.density, particles=64, strata=3, key=jax.random.key(0))


def test_strata_and_runs_are_united_where_one_stratum_has_nearly_all():
    """Then they have one evidence, and every part of every run is like the others."""
    with jax.enable_x64(True):
        case, found = _of_halves(0.99)
        assert found.united
        assert np.all(found.log_weight[-1] == 0)
        assert np.any(found.log_weight != 0)
        assert np.ptp(found.log_evidence[:, -1]) < 1e-9
        assert np.ptp(found.betas, axis=0).max() == 0
        negative = np.mean(found.z[..., 0].reshape(8, 512) < 0, axis=1)
        np.testing.assert_allclose(negative, case.weight, atol=0.03)
        # Each run has the offspring of all.
        from_each = np.mean(found.origin[-1][..., None] // 1024 == np.arange(4), axis=1)
        np.testing.assert_allclose(from_each, 0.25, atol=0.15)


@pytest.mark.slow
def test_offspring_of_runs_and_of_points_tell_the_error_of_united_runs():
    """Few points that move little: errors of a third of a nat. That of the runs alone is 2.2 of what it tells."""
    errors, told = [], []
    with jax.enable_x64(True):
        case, density = _in_halves(0.99, size=6)
        for seed in range(40):
            how = {"strata": 2, "particles": 128, "moves": 4, "keep": 128}
            found = smc(density, Kept(), key=jax.random.key(seed), **how)
            evidence = found.log_evidence[:, -1]
            assert np.ptp(evidence) < 1e-9
            told.append(free_energy(found).error)
            errors.append(evidence[0] - case.log_evidence)
    assert np.sqrt(np.mean(np.square(np.divide(errors, told)))) < 2
    assert np.sqrt(np.mean(np.square(told))) == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=0.3)


def test_sweeps_saved_before_the_union_are_made_after_it(monkeypatch):
    module, seen = sys.modules["jaxunmix.bayes.tempering.sequential"], Counter()
    moved = module._moved

    def counted(density, explorer, state, *rest):
        seen[bool(state.united), float(state.beta[0])] += 1
        return moved(density, explorer, state, *rest)

    monkeypatch.setattr(module, "_moved", counted)
    with jax.enable_x64(True):
        _of_halves(0.99)
    assert {(united, count) for (united, _), count in seen.items()} == {(False, 3), (True, 9)}


@pytest.mark.slow
def test_modes_of_unequal_width_are_weighed():
    with jax.enable_x64(True):
        case = bimodal(widths=(0.1, 0.2))
        found = smc(case.density, key=jax.random.key(0), particles=4096, moves=3)
        assert first_mode(found.z) == pytest.approx(case.weight, abs=0.1)
        assert np.mean(found.log_evidence[:, -1]) == pytest.approx(case.log_evidence, abs=0.25)


def test_a_run_that_knew_its_own_cloud_would_be_biased():
    """In 40 dimensions it was 2.8 nats off, all runs alike; whitened by another's cloud the error is noise."""
    with jax.enable_x64(True):
        case = linear_gaussian(20)
        found = smc(case.density, HMC(), key=jax.random.key(0), particles=512, moves=3)
        assert np.mean(found.log_evidence[:, -1]) == pytest.approx(case.log_evidence, abs=0.5)


def _counted():
    """A density that counts how often it is traced: b as the inverse variance of a single datum's noise."""
    traced = []

    def log_likelihood(z):
        traced.append(1)
        return -((1.5 - z[0]) ** 2) / 2

    normal = FunctionDensity(
        1,
        lambda key: jax.random.normal(key, (1,)),
        lambda z: -(z[0] ** 2) / 2 - jnp.log(2 * jnp.pi) / 2,
        log_likelihood,
    )
    return normal, traced


def test_one_compiled_level_serves_all():
    density, traced = _counted()
    settings = {"particles": 64, "moves": 2}
    smc(density, RandomWalk(2), key=jax.random.key(0), limit=2.0, **settings)
    before = len(traced)
    found = smc(density, RandomWalk(2), key=jax.random.key(1), limit=1e4, **settings)
    assert found.betas.shape[1] > 5
    assert len(traced) == before


def test_a_stopping_rule_ends_each_run_by_its_trace():
    density, _ = _counted()
    found = smc(
        density,
        RandomWalk(5),
        key=jax.random.key(0),
        particles=256,
        limit=1e12,
        stop=lambda betas, log_evidence: betas[-1] > 100,
        bounded=True,
    )
    assert found.status == (Status.DONE,) * 4
    last = found.betas[:, -1]
    assert np.all((last > 100) & (last < 1e4))
    exact = -0.5 * np.log1p(last) - 0.5 * 1.5**2 * last / (1 + last)
    np.testing.assert_allclose(found.log_evidence[:, -1], exact, atol=0.4)


def test_levels_are_kept_with_their_terms():
    density, _ = _counted()
    found = smc(density, RandomWalk(2), key=jax.random.key(0), particles=128, keep=32)
    levels = found.betas.shape[1]
    assert found.particles.shape == (levels, 4, 32, 1)
    flat = jnp.asarray(found.particles[-1].reshape(-1, 1))
    again = density.evaluate(flat).likelihood
    np.testing.assert_allclose(found.kept_terms.likelihood[-1].ravel(), again, rtol=1e-5, atol=1e-6)


def test_an_evidence_that_cannot_rise_is_watched():
    normal = lambda key: jax.random.normal(key, (1,)), lambda z: -(z[0] ** 2) / 2
    density = FunctionDensity(1, *normal, lambda z: z[0] + 3)
    with pytest.warns(UserWarning, match="ln Z rose"):
        smc(density, RandomWalk(2), key=jax.random.key(0), particles=64, bounded=True)


def test_too_few_levels_are_told():
    density, _ = _counted()
    found = smc(density, RandomWalk(2), key=jax.random.key(0), particles=64, limit=1e6, max_levels=2)
    assert found.status == (Status.LEVELS,) * 4
    assert any("largest number of levels" in text for text in free_energy(found, warn=False).warnings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"runs": 1}, "runs must be 2 or more"),
        ({"particles": 1}, "particles must be 2 or more"),
        ({"moves": 0}, "moves must be 1 or more"),
        ({"threshold": 1.0}, "threshold must lie between"),
        ({"limit": np.inf}, "limit must be positive and finite"),
    ],
)
def test_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        smc(_counted()[0], key=jax.random.key(0), **settings)


def test_an_impossible_datum_is_refused():
    density = FunctionDensity(
        1, lambda key: jax.random.normal(key, (1,)), lambda z: -(z[0] ** 2) / 2, lambda z: -jnp.inf * jnp.ones(())
    )
    with pytest.raises(ValueError, match="no prior draw has a finite density"):
        smc(density, RandomWalk(2), key=jax.random.key(0), particles=16)
