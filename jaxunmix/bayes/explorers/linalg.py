"""Cholesky factors of many small matrices, unrolled so that they compile into one loop over the batch."""

from functools import partial

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array


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
