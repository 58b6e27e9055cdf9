"""Systematic resampling of weighted particles."""

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Key


def _mean_weight(change: Float[Array, "*groups points"]) -> tuple[Array, Array]:
    """The logarithm of the mean weight of each group, and its relative variance."""
    points = change.shape[-1]
    mean = logsumexp(change, axis=-1) - jnp.log(points)
    square = logsumexp(2 * change, axis=-1) - jnp.log(points)
    return mean, jnp.expm1(square - 2 * mean) / points


def _systematic(key: Key[Array, ""], change: Array) -> Array:
    """Systematic resampling: one uniform number for each run."""
    runs, particles = change.shape
    share = jnp.cumsum(jax.nn.softmax(change, axis=1), axis=1)
    share = share / share[:, -1:]
    places = (jnp.arange(particles) + jax.random.uniform(key, (runs, 1), share.dtype)) / particles
    return jnp.minimum(jax.vmap(jnp.searchsorted)(share, places), particles - 1)
