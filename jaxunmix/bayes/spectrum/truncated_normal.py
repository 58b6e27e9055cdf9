"""Heights of known shapes, integrated out: normal integrals over those that are positive, of many points at once.

The matrices of all points lie in one array with the points last, (n, n, points).
"""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array

from ..explorers.linalg import cholesky
from ..path import PerPoint

# Those of no peak come first, in this order.
FIXED = 4
BASELINE, STEP, LORENTZ, GAUSS = range(FIXED)


def factorise(gram: Array, beta: PerPoint, rows: Array) -> tuple[Array, Array]:
    """`cholesky` of I + beta gram, with beta and gram (points, n, n) of each point."""
    identity = jnp.eye(gram.shape[1], dtype=beta.dtype)[..., None]
    return cholesky(beta * jnp.moveaxis(gram, 0, -1) + identity, rows)


def positive(factor: Array, v: Array, uniforms: Array, ceiling: Array, *, signed_first: bool) -> tuple[Array, PerPoint]:
    """Positive heights, drawn from the last to the first, and the logarithm of the mass left to them over 2^-L.

    C' (x - m) = z has standard normal z, and x_j >= l is z_j >= C'_j. (x - m) of those drawn before - C_jj (m_j - l);
    l is 0, but for A_L what the highest peak is above A_G.
    """
    tiny, epsilon = jnp.finfo(v.dtype).tiny, jnp.finfo(v.dtype).epsneg

    def draw(j, carry):
        mean, change, mass, least_line = carry
        m, before, tail = _left(j, factor, v, mean, change, least_line, signed_first)
        z = -ndtri(jnp.clip(uniforms[j] * tail, tiny, 1 - epsilon))
        mass = mass + jnp.where(signed_first & (j == BASELINE), 0.0, jnp.log(tail) + math.log(2.0))
        change = change.at[j].set((z - before) / factor[j, j])
        return mean.at[j].set(m), change, mass, _least_line(j, least_line, ceiling[j] * (m + change[j]))

    nothing = jnp.zeros(v.shape[1], v.dtype)
    mean, change, mass, _ = _from_the_last(draw, (jnp.zeros_like(v), jnp.zeros_like(v), nothing, nothing), len(v))
    return mean + change, mass


def uniforms_of(factor: Array, v: Array, heights: Array, ceiling: Array, *, signed_first: bool) -> Array:
    """The u with which `positive` gives these heights."""

    def invert(j, carry):
        mean, uniforms, least_line = carry
        m, before, tail = _left(j, factor, v, mean, heights - mean, least_line, signed_first)
        own = ndtr(-(factor[j, j] * (heights[j] - m) + before)) / tail
        return mean.at[j].set(m), uniforms.at[j].set(own), _least_line(j, least_line, ceiling[j] * heights[j])

    start = jnp.zeros_like(v), jnp.zeros_like(v), jnp.zeros(v.shape[1], v.dtype)
    return jnp.clip(_from_the_last(invert, start, len(v))[1], 0, 1)


def _from_the_last(step: Callable[[Array, Any], Any], start: Any, count: int) -> Any:
    return lax.fori_loop(0, count, lambda i, carry: step(count - 1 - i, carry), start)


def _left(
    j: Array, factor: Array, v: Array, mean: Array, change: Array, least_line: PerPoint, signed_first: bool
) -> tuple[PerPoint, PerPoint, PerPoint]:
    """Of height j, given those after it: m, what they add to z, and the probability that is left to it."""
    # Beyond 37 sds the tail of the normal distribution underflows; such a point weighs nothing anyway.
    farthest = 36.0 if v.dtype == jnp.float64 else 12.0
    column = jnp.where(jnp.arange(len(v))[:, None] > j, factor[:, j], 0)
    diagonal = factor[j, j]
    m = (v[j] - jnp.sum(column * mean, 0)) / diagonal
    before = jnp.sum(column * change, 0)
    above = jnp.where(j == LORENTZ, jnp.maximum(least_line, 0), 0)
    least = jnp.minimum(before - (m - above) * diagonal, farthest)
    return m, before, jnp.where(signed_first & (j == BASELINE), 1.0, ndtr(-least))


def _least_line(j: Array, least_line: PerPoint, height: PerPoint) -> PerPoint:
    """What the line must be above, after height j."""
    return jnp.where(j == GAUSS, least_line - height, jnp.maximum(least_line, height))
