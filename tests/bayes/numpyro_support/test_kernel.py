"""Replica exchange: as a kernel of MCMC beside NUTS, resumed, on several devices; and the ladder."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jax.scipy.special import logsumexp
from numpyro.infer import MCMC, NUTS

from jaxunmix.bayes import ReplicaExchange, free_energy, replica_exchange
from jaxunmix.bayes.explorers.base import Explorer, Info
from jaxunmix.bayes.explorers.hmc import HMC
from jaxunmix.bayes.numpyro_support.arviz import results
from jaxunmix.bayes.path import TemperedDensity, TemperedTerms
from jaxunmix.bayes.tempering.schedule import equalise, monotone_cubic, rungs

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from evidence import linear_gaussian

EFFECT = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERROR = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


@pytest.fixture(autouse=True)
def _x64():
    with jax.enable_x64(True):
        yield


def schools(error, effect):
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    tau = numpyro.sample("tau", dist.HalfNormal(5))
    with numpyro.plate("schools", len(error)):
        raw = numpyro.sample("raw", dist.Normal(0, 1))
        theta = numpyro.deterministic("theta", mu + tau * raw)
        numpyro.sample("effect", dist.Normal(theta, error), obs=effect)


def mixture(y):
    """Two normals with labels that may be switched; the assignments are summed out."""
    mean = numpyro.sample("mean", dist.Normal(0, 10).expand([2]).to_event(1))
    parts = dist.Normal(mean, 1.0)
    share = dist.Categorical(probs=jnp.array([0.5, 0.5]))
    with numpyro.plate("data", len(y)):
        numpyro.sample("y", dist.MixtureSameFamily(share, parts), obs=y)


def regression(x, group, y):
    slope = numpyro.sample("slope", dist.Normal(0, 2))
    sd = numpyro.sample("sd", dist.Exponential(1.0))
    with numpyro.plate("groups", 3):
        level = numpyro.sample("level", dist.Normal(0, 2))
    with numpyro.plate("data", len(y)):
        numpyro.sample("y", dist.Normal(level[group] + slope * x, sd), obs=y)


def sampled(kernel, *args, warmup=150, samples=400, seed=0, **options):
    mcmc = MCMC(kernel, num_warmup=warmup, num_samples=samples, progress_bar=False, **options)
    mcmc.run(jax.random.key(seed), *args)
    return mcmc


def _schools():
    return (ERROR, EFFECT)


def _regression():
    rng = np.random.default_rng(0)
    x, group = rng.normal(size=30), np.arange(30) % 3
    return x, group, np.array([0.0, 1.0, -1.0])[group] + 0.7 * x + 0.3 * rng.normal(size=30)


def light(model, **options):
    return ReplicaExchange(model, **({"explorer": HMC(), "particles": 256, "temperatures": 6} | options))


@pytest.mark.slow
@pytest.mark.parametrize(("model", "data"), [(schools, _schools), (regression, _regression)])
def test_agrees_with_nuts(model, data):
    ours = sampled(light(model), *data(), samples=800)
    nuts = sampled(NUTS(model), *data(), warmup=300, samples=1500)
    for name, expected in nuts.get_samples().items():
        values = np.asarray(ours.get_samples()[name])
        assert values.shape == (800, *expected.shape[1:])
        sd = np.std(expected, axis=0)
        np.testing.assert_allclose((values.mean(0) - np.mean(expected, 0)) / sd, 0, atol=0.25)
        np.testing.assert_allclose(values.std(0) / sd, 1, atol=0.25)


@pytest.mark.slow
def test_switches_labels_where_nuts_is_stuck():
    rng = np.random.default_rng(0)
    y = np.concatenate([rng.normal(-4, 1, 25), rng.normal(4, 1, 25)])
    nuts = sampled(NUTS(mixture), y, warmup=200, samples=200).get_samples()["mean"]
    assert np.mean(nuts[:, 0] > nuts[:, 1]) in (0.0, 1.0)
    mcmc = sampled(ReplicaExchange(mixture, particles=512), y)
    mean = mcmc.get_samples()["mean"]
    assert np.mean(mean[:, 0] > mean[:, 1]) == pytest.approx(0.5, abs=0.12)
    grid = np.linspace(-8, 8, 641)
    a, b = np.meshgrid(grid, grid)
    prior = -0.5 * (a**2 + b**2) / 100 - np.log(2 * np.pi * 100)
    likelihood = sum(np.logaddexp(-0.5 * (v - a) ** 2, -0.5 * (v - b) ** 2) for v in y)
    exact = logsumexp(prior + likelihood) + 2 * np.log(grid[1] - grid[0]) - len(y) * np.log(2 * np.sqrt(2 * np.pi))
    found = free_energy(mcmc)
    assert found.warnings == ()
    assert found.value == pytest.approx(-float(exact), abs=0.25)


def test_chains_are_ladders_and_results_are_laid_out_as_arviz_does():
    mcmc = sampled(light(schools), *_schools(), samples=40, num_chains=3, chain_method="vectorized")
    grouped = mcmc.get_samples(group_by_chain=True)
    assert grouped["raw"].shape == (3, 40, 8)
    assert mcmc.get_samples()["theta"].shape == (120, 8)
    tree = results(mcmc)
    assert dict(tree["posterior"]["theta"].sizes) == {"chain": 3, "draw": 40, "theta_dim_0": 8}
    np.testing.assert_allclose(tree["posterior"]["mu"], grouped["mu"])
    assert tree["sample_stats"]["lp"].shape == (3, 40)
    assert float(tree["log_evidence"]["value"]) == -free_energy(mcmc, warn=False).value
    again = light(schools)
    with pytest.raises(ValueError, match='chain_method="vectorized"'):
        jax.vmap(lambda key: again.init(key, 1, None, _schools(), {}))(jax.random.split(jax.random.key(0), 2))


@pytest.mark.slow
def test_resumed_is_as_uninterrupted(tmp_path):
    whole = sampled(light(schools), *_schools(), warmup=40, samples=40)
    half = sampled(light(schools), *_schools(), warmup=40, samples=20)
    first = half.get_samples()["mu"]
    half.sampler.save(tmp_path / "state.npz", half.last_state)
    kernel = light(schools)
    loaded = MCMC(kernel, num_warmup=40, num_samples=20, progress_bar=False)
    loaded.post_warmup_state = kernel.load(tmp_path / "state.npz", *_schools())
    half.post_warmup_state = half.last_state
    for resumed in (half, loaded):
        resumed.run(jax.random.key(99), *_schools())
        both = np.concatenate([first, resumed.get_samples()["mu"]])
        np.testing.assert_array_equal(both, whole.get_samples()["mu"])


def test_a_state_of_another_model_is_refused(tmp_path):
    mcmc = sampled(light(schools, particles=0), *_schools(), warmup=1, samples=2)
    mcmc.sampler.save(tmp_path / "state.npz", mcmc.last_state)
    with pytest.raises(ValueError, match="give the model, explorer and precision"):
        light(regression).load(tmp_path / "state.npz", *_regression())
    with pytest.raises(ValueError, match="same explorer"):
        ReplicaExchange(schools).load(tmp_path / "state.npz", *_schools())


def test_refused_settings():
    with pytest.raises(ValueError, match="temperatures must be 3"):
        ReplicaExchange(schools, temperatures=2)
    with pytest.raises(ValueError, match="walkers must be 1"):
        ReplicaExchange(schools, walkers=0)
    with pytest.raises(ValueError, match="leave out init_params"):
        light(schools).init(jax.random.key(0), 1, {"mu": 0.0}, _schools(), {})
    case = linear_gaussian(3)
    with pytest.raises(ValueError, match="increasing from 0"):
        replica_exchange(case.density, HMC(), [0.1, 0.5, 1.0], np.zeros((3, 2, 3)), jax.random.key(0), 1)
    with pytest.raises(ValueError, match="start must have shape"):
        replica_exchange(case.density, HMC(), [0.0, 0.5, 1.0], np.zeros((3, 2, 4)), jax.random.key(0), 1)


def test_the_model_is_refused_before_anything_runs():
    with pytest.raises(ValueError, match="no observed site"):
        sampled(ReplicaExchange(lambda: numpyro.sample("mu", dist.Normal(0, 1))))


def test_rungs_come_to_lie_at_equal_distances():
    """For a barrier of 3 b^(1/3): the rungs are cubes."""
    betas = jnp.concatenate([jnp.zeros(1), jnp.geomspace(1e-3, 1, 9)])
    for _ in range(6):
        betas = equalise(betas, jnp.diff(3 * betas ** (1 / 3)) / 3)
    np.testing.assert_allclose(betas, (np.arange(10) / 9) ** 3, atol=0.01)
    levels = np.array([[0, 0.1, 0.4, 1.0, 1.0], [0, 0.2, 0.5, 0.8, 1.0]])
    first = rungs(levels, np.array([[0.5, 0.5, 0.5, 0.0], [0.5, 0.4, 0.3, 0.3]]), None, 1.0)
    assert len(first) == 6
    assert first[0] == 0
    assert first[-1] == 1
    assert np.all(np.diff(first) > 0)


def test_the_interpolation_is_monotone_and_exact_on_lines():
    x = jnp.array([0.0, 1.0, 1.5, 4.0])
    at = jnp.linspace(0, 4, 50)
    np.testing.assert_allclose(monotone_cubic(x, 2 * x + 1, at), 2 * at + 1, rtol=1e-12)
    assert np.all(np.diff(monotone_cubic(x, jnp.array([0.0, 0.0, 5.0, 5.1]), at)) >= -1e-12)


DEVICES = """
import sys
import jax, numpy as np
jax.config.update("jax_enable_x64", True)
sys.path.append(sys.argv[1])
from evidence import linear_gaussian
from jax.sharding import NamedSharding, PartitionSpec
from jaxunmix.bayes import HMC, free_energy, replica_exchange
case = linear_gaussian(5)
betas = np.concatenate([[0], np.geomspace(1e-3, 1, 7)])
start = np.random.default_rng(0).normal(size=(8, 4, 5))
mesh = jax.make_mesh((jax.device_count(),), ("replicas",), axis_types=(jax.sharding.AxisType.Auto,))
sharding = NamedSharding(mesh, PartitionSpec("replicas")) if jax.device_count() > 1 else None
done = replica_exchange(case.density, HMC(), betas, start, jax.random.key(0), 100, sharding=sharding)
reached, options = np.asarray(done.state.z).reshape(start.shape), {"warmup": 100, "sharding": sharding}
rest = replica_exchange(case.density, HMC(), betas, reached, jax.random.key(1), 1500, **options)
end = free_energy(rest, warn=False)
of = {"value": end.value + case.log_evidence, "error": end.error, "devices": jax.device_count()}
np.savez(sys.argv[2], cold=done.record.cold, up=done.record.up, **of)
"""


@pytest.mark.slow
def test_one_device_and_four_give_the_same_sweeps_and_the_known_evidence(tmp_path):
    found = []
    for devices in (1, 4):
        flags = f"--xla_force_host_platform_device_count={devices}"
        command = [sys.executable, "-c", DEVICES, sys.path[-1], str(tmp_path / f"{devices}.npz")]
        subprocess.run(command, check=True, env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"})
        found.append(np.load(tmp_path / f"{devices}.npz"))
    assert [int(f["devices"]) for f in found] == [1, 4]
    np.testing.assert_allclose(found[0]["cold"], found[1]["cold"], rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(found[0]["up"], found[1]["up"], rtol=1e-8, atol=1e-8)
    for each in found:
        assert each["error"] < 0.2
        assert abs(each["value"]) < 3 * each["error"]


class Line(TemperedDensity):
    """z standard normal, y normal about it with sd 0.5: each walker its own datum."""

    y: Any
    size: int = eqx.field(static=True, default=1)

    def sample(self, key, points):
        return jax.random.normal(key, (points, 1))

    def evaluate(self, z):
        prior = -(z[:, 0] ** 2) / 2
        return TemperedTerms(prior, 0 * prior, -2 * (jnp.tile(self.y, len(z) // len(self.y)) - z[:, 0]) ** 2)


class Still(Explorer):
    """No moves: what is left are the draws from the prior and the swaps."""

    def init(self, density, groups):
        return jnp.zeros(groups)

    def sweep(self, key, density, z, terms, beta, settings):
        return z, terms, Info(jnp.ones(len(z)), jnp.zeros(len(z)))

    def tune(self, settings, z, info, memory=0.0):
        return settings


def swapped(factor=1.0, walkers=20_000):
    """Deviations in standard errors of points and data drawn jointly at each rung, then swapped at `factor` times b."""
    rng = np.random.default_rng(3)
    betas = np.array([0.0, 0.1, 0.4, 1.0])
    y = rng.normal(size=walkers) + 0.5 * rng.normal(size=walkers)
    precision = 1 + 4 * betas[:, None]
    mean, sd = 4 * betas[:, None] * y / precision, precision**-0.5
    z = mean + sd * rng.normal(size=(4, walkers))
    done = replica_exchange(Line(jnp.asarray(y)), Still(), factor * betas, z[:, :, None], jax.random.key(1), 6)
    assert np.mean(np.asarray(done.state.replica) != np.arange(4)[:, None]) > 0.5
    score = (np.asarray(done.state.z).reshape(4, walkers) - mean) / sd
    moments = np.concatenate([score, score**2 - 1, score * y, score[1:] * score[:-1], score[1:] ** 2 * y])
    return np.abs(moments.mean(1)) / (moments.std(1) / np.sqrt(walkers))


def test_swaps_leave_the_joint_distribution_as_it_was():
    assert swapped().max() < 4.3


def test_the_joint_distribution_shows_swaps_at_a_wrong_temperature():
    assert swapped(1.5).max() > 6
