"""Every explorer leaves the joint distribution of parameters and data as it was, and tunes itself.

The test is Geweke's (2004), of the joint distribution: parameters from the prior and data given them, then sweeps that
know the data only. If the sweeps leave the posterior unchanged, parameters and data are jointly as before.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxunmix.bayes.explorers.base import Explorer
from jaxunmix.bayes.explorers.hmc import HMC
from jaxunmix.bayes.explorers.jumps import Jumps, log_mixture
from jaxunmix.bayes.explorers.random_walk import RandomWalk
from jaxunmix.bayes.explorers.slice import Slice
from jaxunmix.bayes.path import TemperedDensity, TemperedTerms

POINTS = 20_000
NOISE = 0.5
# In standard errors; of 4 explorers x 7 moments all are below it but once in 2,000 runs of the tests.
LIMIT = 4.3


class Product(TemperedDensity):
    """z standard normal in two dimensions, y normal about the product of its numbers: each point its own datum."""

    y: Any
    size: int = eqx.field(static=True, default=2)

    def sample(self, key, points):
        return jax.random.normal(key, (points, 2))

    def evaluate(self, z):
        prior = -jnp.sum(z**2, 1) / 2 - jnp.log(2 * jnp.pi)
        return TemperedTerms(prior, jnp.zeros_like(prior), -(((self.y - z[:, 0] * z[:, 1]) / NOISE) ** 2) / 2)


class Shrinking(Explorer):
    """A broken explorer: the right moves for the wrong density."""

    inner: Explorer

    def init(self, density, groups):
        return self.inner.init(density, groups)

    def sweep(self, key, density, z, terms, beta, settings):
        return self.inner.sweep(key, density, z, terms, 1.3 * beta, settings)

    def tune(self, settings, z, info, memory=0.0):
        return self.inner.tune(settings, z, info, memory)


class Unbalanced(Explorer):
    """A broken explorer: random walks that are always accepted where they go uphill in the prior alone."""

    def init(self, density, groups):
        return jnp.zeros(groups)

    def sweep(self, key, density, z, terms, beta, settings):
        proposed = z + 0.3 * jax.random.normal(key, z.shape)
        reached = density.evaluate(proposed)
        better = reached.prior + reached.likelihood > terms.prior + terms.likelihood
        return jnp.where(better[:, None], proposed, z), reached, None

    def tune(self, settings, z, info, memory=0.0):
        return settings


def geweke(explorer, sweeps=3):
    """The largest deviation of a joint moment, in standard errors."""
    keys = jax.random.split(jax.random.key(5), 5)
    z, fresh, cloud = (jax.random.normal(key, (POINTS, 2)) for key in keys[:3])
    noise = NOISE * jax.random.normal(keys[3], (2, POINTS))
    y, other = z[:, 0] * z[:, 1] + noise[0], fresh[:, 0] * fresh[:, 1] + noise[1]
    density, beta = Product(y), jnp.ones(POINTS)

    @jax.jit
    def moved(z):
        settings = explorer.tune(explorer.init(density, 2), cloud, None)
        terms = density.evaluate(z)
        for key in jax.random.split(keys[4], sweeps):
            z, terms, _ = explorer.sweep(key, density, z, terms, beta, settings)
            terms = density.evaluate(z)
        return z

    return _deviation(_moments(np.asarray(moved(z)), y), _moments(fresh, other))


def _moments(z, y):
    a, b = np.asarray(z).T
    y = np.asarray(y)
    return np.stack([a, b, a**2, b**2, a * b, a * b * y, (a * b - y) ** 2])


def _deviation(one, other):
    error = np.sqrt((one.var(1) + other.var(1)) / one.shape[1])
    return np.max(np.abs(one.mean(1) - other.mean(1)) / error)


EXPLORERS = {
    "HMC": HMC(steps=4),
    "RandomWalk": RandomWalk(moves=5),
    "Slice": Slice(lines=2),
    "Jumps": Jumps(RandomWalk(moves=1), jumps=3),
}


@pytest.mark.parametrize("name", EXPLORERS)
def test_joint_distribution_is_left_as_it_was(name):
    assert geweke(EXPLORERS[name]) < LIMIT


@pytest.mark.parametrize("broken", [Shrinking(HMC(steps=4)), Shrinking(Slice(lines=2)), Unbalanced()])
def test_the_joint_distribution_test_sees_a_broken_sampler(broken):
    assert geweke(broken) > 2 * LIMIT


class Narrow(TemperedDensity):
    """A normal posterior with widths from 0.01 to 1 and correlation."""

    size: int = eqx.field(static=True, default=4)

    def sample(self, key, points):
        return jax.random.normal(key, (points, 4))

    def evaluate(self, z):
        prior = -jnp.sum(z**2, 1) / 2 - 2 * jnp.log(2 * jnp.pi)
        width = jnp.array([0.01, 0.1, 1.0, 1.0])
        return TemperedTerms(prior, 0 * prior, -jnp.sum(((z - z[:, 1:2]) / width) ** 2, 1) / 2)


@pytest.mark.parametrize("name", EXPLORERS)
def test_tuning_reaches_the_target_at_each_temperature(name):
    explorer, density = EXPLORERS[name], Narrow()
    beta = jnp.repeat(jnp.array([0.01, 1.0]), 200)
    z = 0.1 * density.sample(jax.random.key(0), 400)

    @jax.jit
    def step(key, z, terms, settings):
        z, terms, info = explorer.sweep(key, density, z, terms, beta, settings)
        return z, terms, explorer.tune(settings, z, info, 0.5), info

    terms, settings = density.evaluate(z), explorer.init(density, 2)
    acceptance = []
    for key in jax.random.split(jax.random.key(1), 150):
        z, terms, settings, info = step(key, z, terms, settings)
        acceptance.append(np.asarray(info.acceptance).reshape(2, -1).mean(1))
    target = {"HMC": 0.8, "RandomWalk": 0.3, "Slice": 0.97, "Jumps": 0.3}[name]
    np.testing.assert_allclose(np.mean(acceptance[-30:], axis=0), target, atol=0.06)


def test_the_mixture_finds_modes_of_unequal_size_and_width():
    explorer, density = Jumps(), Narrow()
    rng = np.random.default_rng(0)
    far = rng.random(2000) < 0.05
    cloud = np.where(far[:, None], 5 + 0.1 * rng.normal(size=(2000, 4)), rng.normal(size=(2000, 4)))
    mixture = jax.jit(lambda z: explorer.tune(explorer.init(density, 1), z, None))(jnp.asarray(cloud)).mixture
    values = log_mixture(mixture, jnp.asarray([[5.0] * 4, [0.0] * 4]))
    # Up to the constant of a normal distribution.
    expected = np.log([0.05 / 0.1**4, 0.95])
    np.testing.assert_allclose(values, expected, atol=0.5)
