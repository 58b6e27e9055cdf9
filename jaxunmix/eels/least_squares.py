"""Weighted least squares for the coefficients of known spectra in all pixels at once."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ..factor.solve.known_spectra import Limits, solve_normal_equations
from ..matrix.base import matmul

Values = Float[Array, "pixels channels"]
# One row of weights where they are the same in all pixels.
Weights = Float[Array, "pixels_or_1 channels"]
Rows = Float[Array, "terms channels"]
# The first solve, and one more for what single precision leaves of it.
SOLVES = 2


class Estimate(NamedTuple):
    """Coefficients (pixels, terms), their covariance at weights of 1 / variance, and the weighted residual squares."""

    coefficients: Float[Array, "pixels terms"]
    covariance: Float[Array, "pixels_or_1 terms terms"]
    squares: Float[Array, " pixels"]
    free: Float[Array, " pixels"]


class Whitened(NamedTuple):
    """Combinations of the terms that are orthonormal under the mean weights, and the way back to the terms."""

    rows: np.ndarray
    back: np.ndarray


def whiten(rows: Float[np.ndarray, "terms channels"], weights: Float[np.ndarray, " channels"]) -> Whitened:
    """By QR in double precision: near collinear references lose single precision's digits once, not twice.

    Args:
        rows: the terms.
        weights: the mean over the pixels.
    """
    root = np.sqrt(weights)
    size = np.linalg.norm(rows * root, axis=1)
    q, r = np.linalg.qr((rows * root / size[:, None]).T)
    return Whitened(q.T / root, np.linalg.inv(r.T) / size)


@jax.jit
def solve_signed(values: Values, weights: Weights, rows: Rows, back: Float[Array, "terms terms"]) -> Estimate:
    r"""Minimise $\sum_c w_{pc} (x_{pc} - \sum_t a_{pt} d_{tc})^2$ in each pixel.

    With whitened rows q the normal equations $G_p = \sum_c w_{pc} q_c q_c^T$ are near the unit matrix, and the
    coefficients are those of q times `back`: one Cholesky factor where the weights are common, else one per pixel.

    Args:
        values: x.
        weights: w.
        rows: q, of `whiten`.
        back: of `whiten`.
    """
    inverse = _inverse(_gram(weights, rows))
    inside, squares = _refine(values, weights, rows, inverse)
    covariance = matmul(matmul(back.T, inverse), back)
    return Estimate(matmul(inside, back), covariance, squares, jnp.full(len(values), len(rows), rows.dtype))


@eqx.filter_jit
def solve_nonnegative(values: Values, weights: Weights, rows: Rows, signed: Bool[Array, " terms"]) -> Estimate:
    """As `solve_signed`, with terms that are not `signed` at zero or above; covariance is NaN for those at zero.

    Block principal pivoting finds which terms are at zero, and the others are solved for with these left out.

    Args:
        values: (pixels, channels).
        weights: of the entries.
        rows: the terms, of a norm of about 1 under the mean weights.
        signed: terms without limits.
    """
    gram = _gram(weights, rows)
    cross = matmul(weights * values, rows.T)
    limits = Limits(jnp.where(signed, -jnp.inf, 0.0)[:, None].astype(rows.dtype), jnp.asarray(jnp.inf), None, False)
    common = len(weights) == 1 != len(values)
    maps = solve_normal_equations(gram[0] if common else jnp.moveaxis(gram, 0, -1), cross.T, limits).T
    free = (maps > 0) | signed
    both = free[:, :, None] & free[:, None]
    unit = jnp.eye(len(rows), dtype=rows.dtype)
    ridge = 8 * jnp.finfo(rows.dtype).eps * unit
    inverse = jnp.where(both, _inverse(jnp.where(both, gram + ridge, unit)), 0)
    coefficients, squares = _refine(values, weights, rows, inverse)
    coefficients = jnp.where(signed, coefficients, jnp.maximum(coefficients, 0))
    return Estimate(coefficients, jnp.where(both, inverse, jnp.nan), squares, free.sum(axis=1).astype(rows.dtype))


def _gram(weights: Weights, rows: Rows) -> Float[Array, "pixels_or_1 terms terms"]:
    """Of all pixels in one product."""
    pairs = (rows[:, None] * rows[None]).reshape(-1, rows.shape[1])
    return matmul(weights, pairs.T).reshape(-1, len(rows), len(rows))


def _inverse(gram: Float[Array, "n terms terms"]) -> Float[Array, "n terms terms"]:
    unit = jnp.broadcast_to(jnp.eye(gram.shape[-1], dtype=gram.dtype), gram.shape)
    return jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(gram), True), unit)


def _refine(
    values: Values, weights: Weights, rows: Rows, inverse: Float[Array, "n terms terms"]
) -> tuple[Float[Array, "pixels terms"], Float[Array, " pixels"]]:
    """Coefficients, solved for again from the residual, and the weighted squares of what is left."""
    found, left = jnp.zeros((len(values), len(rows)), rows.dtype), values
    for _ in range(SOLVES):
        cross = matmul(weights * left, rows.T)
        found = found + matmul(cross[:, None], inverse)[:, 0]
        left = values - matmul(found, rows)
    return found, (weights * left**2).sum(axis=1)
