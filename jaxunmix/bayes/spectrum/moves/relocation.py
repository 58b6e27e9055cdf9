r"""Relocation of a peak, or of the edge, to where the residual of all else is.

A peak that sits where another already is cannot walk through bad fits to the place where one is missing. It is taken
out, and every place and width on a grid is weighed at once. With the residual r of the others,
$\rho = b\, \varphi' r$, and what they leave of the column, $d = 1 + b\, \varphi'\varphi - b^2 |C^{-1} A \varphi|^2$,
adding the column multiplies q_b by about

    exp(rho^2 / 2 d) d^(-1/2) 2 Phi(rho / sqrt d).

The new place is drawn from those weights, uniformly within its cell, and accepted or refused by Metropolis and
Hastings, with the weights of the old cell for the way back: both are given the same other peaks.

The edge is relocated alike. Its place is drawn on a grid of energies, weighed by the prior of E_0 - E_WL: with steps
alone one in a thousand moves went further than 1 eV where the noise was twice that of the data, and with relocation ten
times as many, for twice the time (14 peaks).
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr
from jaxtyping import Array, Bool, Float

from ....physics import lineshapes
from ...path import PerPoint, Points
from ..marginal import CollapsedSpectrum, CollapsedTerms, log_uniform, normal_score
from ..truncated_normal import STEP, factorise
from .random_numbers import RandomNumbers

# The share of a uniform draw among the cells.
ANYWHERE = 0.1
# Cells of the grid of the edge, in position and in width.
EDGE_CELLS = (96, 6)


def pick_place(
    uniform: Array, weights: Array, weights_back: Array, old: Any, cells: tuple[int, ...]
) -> tuple[list[Array], Array]:
    """Quantiles, uniform in a cell drawn by the weights, and the log ratio of the ways back, by others, and forth.

    The cells are those of a grid of len(cells) axes, flattened.
    """
    shares = _shares(weights)
    below = jnp.cumsum(shares, 1)
    at = uniform[0].astype(shares.dtype)[:, None] * below[:, -1:]
    cell = jnp.minimum(jnp.sum(below <= at, 1), math.prod(cells) - 1)
    within = uniform[1 : 1 + len(cells)]
    new = [(i + w) / n for i, w, n in zip(jnp.unravel_index(cell, cells), within, cells, strict=True)]
    there = jnp.take_along_axis(shares, cell[:, None], 1)[:, 0]
    back = _share_of(weights_back, old, cells)
    return new, (jnp.log(back) - jnp.log(there)).astype(old[0].dtype)


def place_log_density(weights: Array, place: tuple[Array, ...], cells: tuple[int, ...]) -> PerPoint:
    """The logarithm of the density, in quantiles, with which `pick_place` draws a place by the weights."""
    return (jnp.log(_share_of(weights, place, cells)) + math.log(math.prod(cells))).astype(place[0].dtype)


def _shares(weights: Array) -> Array:
    return (1 - ANYWHERE) * jax.nn.softmax(weights, 1) + ANYWHERE / weights.shape[1]


def _share_of(weights: Array, place: tuple[Array, ...], cells: tuple[int, ...]) -> PerPoint:
    """The probability of the cell of a place."""
    index = tuple(jnp.clip((o * n).astype(int), 0, n - 1) for o, n in zip(place, cells, strict=True))
    cell = jnp.ravel_multi_index(index, cells, mode="clip")
    return jnp.take_along_axis(_shares(weights), cell[:, None], 1)[:, 0]


def place_weights(
    density: CollapsedSpectrum,
    columns: Array,
    terms: CollapsedTerms,
    beta: PerPoint,
    taken: Any,
    grid: Array,
    seen: Array,
) -> Float[Array, "points cells"]:
    """The logarithm of about what a column from each cell of a grid adds to q_b when another is taken out.

    In single precision, as weights of a proposal need only be alike on both ways; but the residual, in which large
    numbers cancel, is formed in full.

    Args:
        density: of the spectrum.
        columns: (points, heights, channels), those of the points.
        terms: of the points.
        beta: (points,).
        taken: the number of the column that is taken out.
        grid: (cells, channels), what would come in its place from each cell.
        seen: (points, heights, cells), the products of columns and grid.
    """
    # The row of what is out is that of the identity: nothing of it is in the mean.
    keep = (jnp.arange(density.heights) != taken).astype(beta.dtype)
    gram = terms.gram * (keep[:, None] * keep)
    identity = jnp.broadcast_to(jnp.diag(keep), gram.shape)
    moment = beta[:, None, None] * (terms.moment * keep)[:, None]
    _, rows = factorise(gram, beta, jnp.concatenate([identity, moment], 1))
    mean = jnp.einsum("kjp,jp->pk", rows[:-1], rows[-1])
    residual = density.target - jnp.einsum("pk,pkn->pn", mean, columns)
    whitened = jnp.transpose(jnp.sqrt(beta) * rows[:-1], (2, 1, 0))

    beta, residual, whitened = (a.astype(grid.dtype) for a in (beta[:, None], residual, whitened))
    d = jnp.maximum(1 + beta * (jnp.sum(grid**2, 1) - jnp.sum((whitened @ seen) ** 2, 1)), 1)
    signal = beta * (residual @ grid.T) / jnp.sqrt(d)
    # 2 exp(s^2 / 2) Phi(s) by simple functions, right at 0 and far from it, and within 0.2 nats between.
    negative = jnp.minimum(signal, 0)
    positive = signal - negative
    mass = (1 - 1.25 * negative) * (1 + (1 + positive) ** -3) / 2
    return positive**2 / 2 - jnp.log(d * mass**2) / 2


def middles(cells: tuple[int, int], dtype: Any) -> tuple[Array, Array]:
    """Quantiles at the middles of the cells, position by position."""
    place, width = ((jnp.arange(n, dtype=dtype) + 0.5) / n for n in cells)
    return jnp.repeat(place, cells[1]), jnp.tile(width, cells[0])


def edge_relocated(
    random: RandomNumbers, density: CollapsedSpectrum, z: Points, columns: Array, terms: CollapsedTerms, beta: PerPoint
) -> tuple[Points, PerPoint, Bool[Array, " points"], Float[Array, "points 1 channels"]]:
    """Points with position and width of the edge anew, the log ratio of the ways, whether allowed, and its column.

    The white line stays, so that z_1 = Phi((E_0 - E_WL) / sd) has the volume of E_0 times a normal density.
    """
    prior = density.prior
    low, high = prior.peak

    def column(place: Array, width: Array) -> Array:
        shape = lineshapes.EDGES[density.edge](
            density.energy, (low + (high - low) * place)[:, None], log_uniform(width, prior.edge_width)[:, None]
        )
        return shape * prior.heights[0] * density.weight

    def offset(place: Array) -> Array:
        return (low + (high - low) * place - line) / prior.edge

    line = density.shapes(z).white_line
    places, widths = middles(EDGE_CELLS, z.dtype)
    grid = column(places, widths).astype(jnp.float32)
    seen = jnp.einsum("pln,gn->plg", columns.astype(grid.dtype), grid)
    weights = place_weights(density, columns, terms, beta, STEP, grid, seen)
    weights = weights - (jax.vmap(offset, 0, 1)(places) ** 2 / 2).astype(grid.dtype)
    before = normal_score(z[:, 1])
    old = (line + prior.edge * before - low) / (high - low)
    (place, width), ratio = pick_place(random.uniform[:3], weights, weights, (old, z[:, 2]), EDGE_CELLS)
    after = offset(place)
    moved = z.at[:, 1].set(ndtr(after)).at[:, 2].set(width)
    inside = (old > 0) & (old < 1) & (jnp.abs(moved[:, 1] - 0.5) < 0.5 - 4 * jnp.finfo(z.dtype).eps)
    return moved, ratio + (before**2 - after**2) / 2, inside, column(place, width)[:, None]
