"""Cholesky factors of many small matrices and of covariances, and inverses of triangular ones."""

from functools import partial

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def cholesky(matrix: Array, rows: Array) -> tuple[Array, Array]:
    """C of (n, n, points) = C C', and C^-1 of each of the rows (points, m, n), as (m, n, points).

    It is unrolled so that it compiles into one loop over the points. With these last each step works on contiguous
    numbers of all points, without a call for each small matrix; sums over earlier columns are written out, as a
    reduction over an inner axis goes point by point. The first half of the columns needs nothing of the second, and the
    second nothing of the rows above it: half of the work.
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


def factor_covariances(
    covariance: Float[Array, "groups size size"], count: Float[Array, " groups"]
) -> Float[Array, "groups size size"]:
    """The lower triangular factors of covariances of so many points each, shrunk to their diagonals."""
    size = covariance.shape[-1]
    shrink = ((size / (count + size)) ** 2)[:, None, None]
    variance = jnp.diagonal(covariance, axis1=1, axis2=2)
    variance = jnp.maximum(variance, jnp.finfo(variance.dtype).eps * (1 + jnp.max(variance, 1, keepdims=True)))
    scale = jnp.sqrt(variance)
    correlation = covariance / (scale[:, :, None] * scale[:, None, :])
    eye = jnp.eye(size, dtype=covariance.dtype)
    correlation = jnp.where(eye > 0, 1 + 1e-5, (1 - shrink) * correlation)
    factor = jnp.linalg.cholesky(correlation)
    return scale[:, :, None] * jnp.where(jnp.isfinite(factor), factor, eye)


def invert_triangular(factor: Float[Array, "size size"]) -> Float[Array, "size size"]:
    """The inverse of a lower triangular matrix, row by row: a hundred times faster in batches than LAPACK's calls."""
    eye = jnp.eye(len(factor), dtype=factor.dtype)
    return lax.fori_loop(0, len(factor), lambda i, x: x.at[i].set((eye[i] - factor[i] @ x) / factor[i, i]), 0 * eye)
