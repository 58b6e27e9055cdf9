"""Heights of known shapes, integrated out: normal integrals over those that are positive, of many points at once.

The matrices of all points lie in one array with the points last, (n, n, points).
"""

import math
from functools import partial

import jax.numpy as jnp
from jax import lax
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array

from .density import PerPoint

# Those of no peak come first, in this order.
FIXED = 4
BASELINE, STEP, LORENTZ, GAUSS = range(FIXED)


def factorise(gram: Array, beta: PerPoint, rows: Array) -> tuple[Array, Array]:
    """`cholesky` of I + beta gram, with beta and gram (points, n, n) of each point."""
    identity = jnp.eye(gram.shape[1], dtype=beta.dtype)[..., None]
    return cholesky(beta * jnp.moveaxis(gram, 0, -1) + identity, rows)


def cholesky(matrix: Array, rows: Array) -> tuple[Array, Array]:
    """C of (n, n, points) = C C', and C^-1 of each of the rows (points, m, n), as (m, n, points).

    With the points last each step works on contiguous numbers of all points, without a call for each small matrix;
    sums over earlier columns are written out, as a reduction over an inner axis goes point by point. The first half of
    the columns needs nothing of the second, and the second nothing of the rows above it: half of the work.
    """
    n = len(matrix)
    matrix = jnp.concatenate([matrix, jnp.moveaxis(rows, 0, -1)])
    factor = jnp.zeros_like(matrix)
    for first, last in ((0, n // 2), (n // 2, n)):
        eliminate = partial(_eliminate, matrix[first:], first, last)
        below = lax.fori_loop(first, last, eliminate, factor[first:])
        factor = jnp.concatenate([factor[:first], below])
    return factor[:n], factor[n:]


def _eliminate(matrix: Array, first: int, last: int, j: int | Array, factor: Array) -> Array:
    """Column j, from `first` to `last`, of rows from `first` on."""
    row = jnp.where(jnp.arange(last)[:, None] < j, factor[j - first, :last], 0)
    column = matrix[:, j]
    for k in range(last):
        column = column - factor[:, k] * row[k]
    below = jnp.arange(first, first + len(matrix))[:, None] >= j
    return factor.at[:, j].set(jnp.where(below, column / jnp.sqrt(column[j - first]), 0))


def positive(factor: Array, v: Array, uniforms: Array, ceiling: Array, *, signed_first: bool) -> tuple[Array, PerPoint]:
    """Positive heights, drawn from the last to the first, and the logarithm of the mass left to them over 2^-L.

    C' (x - m) = z has standard normal z, and x_j >= l is z_j >= C'_j. (x - m) of those drawn before - C_jj (m_j - l);
    l is 0, but for A_L what the highest peak is above A_G.
    """
    count, dtype = len(v), v.dtype
    index = jnp.arange(count)[:, None]
    # Beyond 37 sds the tail of the normal distribution underflows; such a point weighs nothing anyway.
    farthest = 36.0 if dtype == jnp.float64 else 12.0

    def draw(step, carry):
        mean, change, mass, least_line = carry
        j = count - 1 - step
        column = jnp.where(index > j, factor[:, j], 0)
        diagonal = factor[j, j]
        m = (v[j] - jnp.sum(column * mean, 0)) / diagonal
        before = jnp.sum(column * change, 0)
        above = jnp.where(j == LORENTZ, jnp.maximum(least_line, 0), 0)
        least = jnp.minimum(before - (m - above) * diagonal, farthest)
        signed = signed_first & (j == BASELINE)
        tail = jnp.where(signed, 1.0, ndtr(-least))
        z = -ndtri(jnp.clip(uniforms[j] * tail, jnp.finfo(dtype).tiny, 1 - jnp.finfo(dtype).epsneg))
        mass = mass + jnp.where(signed, 0.0, jnp.log(tail) + math.log(2.0))
        change = change.at[j].set((z - before) / diagonal)
        height = ceiling[j] * (m + change[j])
        least_line = jnp.where(j == GAUSS, least_line - height, jnp.maximum(least_line, height))
        return mean.at[j].set(m), change, mass, least_line

    start = jnp.zeros_like(v), jnp.zeros_like(v), *(jnp.zeros(v.shape[1], dtype) for _ in range(2))
    mean, change, mass, _ = lax.fori_loop(0, count, draw, start)
    return mean + change, mass
