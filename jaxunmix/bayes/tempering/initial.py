"""Where replica exchange begins: a ladder and points at each rung, from tempered SMC or from the prior."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from ..._util.random import numpy_generator
from ..explorers.base import Explorer
from ..path import Density
from .resampling import resample
from .schedule import rungs
from .sequential_result import SMCResult

# The points of each rung that an explorer first learns from.
CLOUD = 1024
# Without SMC: the first rung above the prior, and the number of rungs.
COLD_START_FIRST = 1e-4
COLD_START_RUNGS = 16


class Beginning(NamedTuple):
    """A ladder and points at each rung for replica exchange to begin from.

    Attributes:
        betas: (rungs,), from 0.
        start: (rungs, walkers, size).
        cloud: (rungs - 1, points, size), what to learn settings from.
    """

    betas: np.ndarray
    start: np.ndarray
    cloud: np.ndarray


def from_particles(
    density: Density,
    result: SMCResult,
    key: Key[Array, ""],
    walkers: int,
    temperatures: int | None = None,
    last: float | None = None,
) -> Beginning:
    """Rungs at equal steps of the barrier that the particles show, and points at each by importance resampling.

    The points of a rung come from the nearest level of each run, all runs together with their evidences as weights, so
    that a mode that one run has lost is there if another has it.

    Args:
        density: the path of the particles.
        result: of `smc` over it.
        key: the randomness.
        walkers: points at each rung to start from.
        temperatures: the number of rungs; by the barrier where None.
        last: b of the last rung; where None the last that all runs have reached.
    """
    runs = len(result.betas)
    rng = numpy_generator(key)
    last = float(np.min(result.betas[:, -1])) if last is None else last
    betas = rungs(result.betas, _rejections(density, result, rng), temperatures, last)
    levels = np.stack([_nearest(result.betas[run], betas) for run in range(runs)])
    chosen = levels.T, np.arange(runs)
    points = result.particles[chosen]
    terms = jax.tree.map(lambda leaf: leaf[chosen], result.kept_terms)
    own = result.betas[np.arange(runs), levels.T]
    shape = points.shape[:3]
    here = _log_density(density, terms, np.broadcast_to(own[:, :, None], shape))
    there = _log_density(density, terms, np.broadcast_to(betas[:, None, None], shape))
    weight = there - here + result.log_weight[chosen] + result.log_evidence[np.arange(runs), levels.T][..., None]
    picks = np.asarray(_resampled(weight.reshape(len(betas), -1), rng.random(len(betas)), CLOUD))
    flat = points.reshape(len(betas), -1, density.size)
    cloud = np.stack([each[pick] for each, pick in zip(flat, picks, strict=True)])
    start = np.stack([each[rng.choice(CLOUD, walkers, replace=walkers > CLOUD)] for each in cloud])
    return Beginning(betas, start, cloud[1:])


def from_prior(density: Density, key: Key[Array, ""], walkers: int, temperatures: int | None = None) -> Beginning:
    """Draws from the prior at every rung, b from 1e-4 to 1 in equal steps of its logarithm."""
    number = COLD_START_RUNGS if temperatures is None else temperatures
    betas = np.concatenate([[0.0], np.geomspace(COLD_START_FIRST, 1, number - 1)])
    cloud = np.asarray(_draw(density, key, number * max(walkers, 64))).reshape(number, -1, density.size)
    return Beginning(betas, cloud[:, :walkers], cloud[1:])


@eqx.filter_jit
def learned(density: Density, explorer: Explorer, cloud: Any) -> Any:
    """Settings of each rung above 0 from its cloud (rungs, points, size)."""
    z = jnp.asarray(cloud, float).reshape(-1, density.size)
    return explorer.tune(explorer.init(density, len(cloud)), z, None)


@eqx.filter_jit
def _draw(density: Density, key: Key[Array, ""], points: int) -> Array:
    return density.sample(key, points)


@eqx.filter_jit
def _evaluated(density: Density, terms: Any, beta: Array) -> Array:
    return density.log_density(terms, beta)


def _log_density(density: Density, terms: Any, beta: np.ndarray) -> np.ndarray:
    """The logarithm of q_b with any number of leading axes."""
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[beta.ndim :]), terms)
    values = _evaluated(density, flat, jnp.asarray(beta.ravel(), float))
    return np.asarray(values, float).reshape(beta.shape)


def _rejections(density: Density, result: SMCResult, rng: np.random.Generator) -> np.ndarray:
    """The rejections of swaps between the levels of each run, (runs, levels - 1), from pairs drawn at random."""
    levels, runs, kept = result.particles.shape[:3]
    betas = np.broadcast_to(result.betas.T[:, :, None], (levels, runs, kept))
    up, down = np.concatenate([betas[1:], betas[-1:]]), np.concatenate([betas[:1], betas[:-1]])
    here, above, below = (_log_density(density, result.kept_terms, beta) for beta in (betas, up, down))
    partner = rng.permutation(kept)
    change = (above - here)[:-1] + (below - here)[1:][:, :, partner]
    change = np.where(np.isnan(change), -np.inf, change)
    weight = np.exp(result.log_weight[:-1] + result.log_weight[1:][:, :, partner])
    return 1 - np.average(np.exp(np.minimum(change, 0)), axis=2, weights=weight).T


def _nearest(levels: np.ndarray, betas: np.ndarray) -> np.ndarray:
    """The level nearest to each rung in the logarithm; the prior for the prior."""
    distance = np.abs(np.log(np.maximum(betas[:, None], 1e-300)) - np.log(np.maximum(levels, 1e-300)))
    return np.argmin(distance, axis=1)


@eqx.filter_jit
def _resampled(log_weight: Any, uniform: Any, number: int) -> Array:
    log_weight, uniform = jnp.asarray(log_weight, float), jnp.asarray(uniform, float)
    return resample(jnp.where(jnp.isnan(log_weight), -jnp.inf, log_weight), uniform, number)
