"""Systematic resampling of weighted particles."""

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Int


def average_weights(log_weight: Float[Array, "*groups points"]) -> tuple[Array, Array]:
    """The logarithm of the mean weight of each group, and its relative variance."""
    points = log_weight.shape[-1]
    mean = logsumexp(log_weight, axis=-1) - jnp.log(points)
    square = logsumexp(2 * log_weight, axis=-1) - jnp.log(points)
    return mean, jnp.expm1(square - 2 * mean) / points


def resample(
    log_weight: Float[Array, "groups points"], uniform: Float[Array, " groups"], number: int
) -> Int[Array, "groups number"]:
    """Indices of so many points of each group, drawn systematically by their weights from one uniform number."""
    share = jnp.cumsum(jax.nn.softmax(log_weight, axis=1), axis=1)
    share = share / share[:, -1:]
    places = (jnp.arange(number) + uniform[:, None]) / number
    return jnp.minimum(jax.vmap(jnp.searchsorted)(share, places), log_weight.shape[1] - 1)
