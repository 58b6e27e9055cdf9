r"""Births and deaths: points of K peaks made of such of K - 1, or the other way round, and what they weigh.

A place that the runs of one number of peaks have missed may have been found with one peak less or more. The peak that
is born is placed as in `relocation`, by the density b(c | x) over places c given all else. In any order of the peaks a
point x of K peaks then comes with the density

    beta(x) = (1 / K) sum_k q_{K-1}(x without k) b(x_k | x without k),

whose integral is Z_{K-1}, from points x of K - 1 peaks by the measure q_{K-1}. So births of draws of the posterior of
K - 1 peaks, each with the weight q_K / beta, are draws of that of K, and the mean of these weights is Z_K / Z_{K-1}.
Draws of the posterior of K peaks with the weight beta / q_K from which peak k is taken with a probability as the terms
of the sum are those of K - 1, and the mean of these is Z_{K-1} / Z_K (the two ways of a pair of moves between models:
P. J. Green, Biometrika 82 (1995) 711; with the peak that was born left open, as every one of the K may be it).
"""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import logsumexp
from jaxtyping import Array, Key

from ...path import PerPoint, Points
from ..marginal import SHAPES, CollapsedSpectrum, CollapsedTerms
from ..moves.relocation import middles, pick_place, place_log_density, place_weights
from ..truncated_normal import FIXED

# Of the grid of places; points whose grids are in memory at a time.
CELLS, BLOCK = (64, 6), 100


@eqx.filter_jit
def born(
    density: CollapsedSpectrum, fewer: CollapsedSpectrum, z: Points, beta: PerPoint, key: Key[Array, ""]
) -> tuple[Points, PerPoint]:
    """Points with one peak more, and ln q_K / beta of each.

    Args:
        density: of K peaks.
        fewer: of K - 1, with as many slots.
        z: (points, size), of `fewer`.
        beta: (points,).
        key: the randomness.
    """
    keys, last = jax.random.split(key), _last(density)
    uniform = jax.random.uniform(keys[0], (len(z), 3), z.dtype)
    slot = jax.random.randint(keys[1], (len(z),), 0, last + 1)

    def one(of):
        z, beta, uniform, slot = of
        columns, terms = fewer.columns(z), fewer.evaluate(z)
        # The peak that is out is the one that there is not yet.
        weights = place_weights(fewer, columns, terms, beta, FIXED + last, *_seen(density, columns))
        anywhere = jnp.zeros_like(weights), tuple(jnp.full_like(beta, 0.5) for _ in CELLS)
        place, _ = pick_place(uniform.T, weights, *anywhere, CELLS)
        new = z.at[:, SHAPES + last].set(place[0]).at[:, SHAPES + density.slots + last].set(place[1])
        new = _swapped(new, slot, last, density.slots)
        value, ways = _both(density, fewer, new, beta)
        return new, value - logsumexp(ways, axis=0)

    return _in_blocks(one, (z, beta, uniform, slot))


@eqx.filter_jit
def died(
    density: CollapsedSpectrum, fewer: CollapsedSpectrum, z: Points, beta: PerPoint, key: Key[Array, ""]
) -> tuple[Points, PerPoint]:
    """Points with one peak less, and ln beta / q_K of each; the arguments as of `born`, but that z is of `density`."""
    gumbel, last = jax.random.gumbel(key, (len(z), density.slots), z.dtype), _last(density)

    def one(of):
        z, beta, gumbel = of
        value, ways = _both(density, fewer, z, beta)
        slot = jnp.argmax(ways + gumbel.T, axis=0)
        return _swapped(z, slot, last, density.slots), logsumexp(ways, axis=0) - value

    return _in_blocks(one, (z, beta, gumbel))


def _last(density: CollapsedSpectrum) -> Array:
    return jnp.sum(density.live).astype(int) - 1


def _in_blocks(one: Any, points: tuple) -> tuple[Points, PerPoint]:
    parts = jax.tree.map(lambda a: a.reshape(-1, math.gcd(len(a), BLOCK), *a.shape[1:]), points)
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), lax.map(one, parts))


def _seen(density: CollapsedSpectrum, columns: Array) -> tuple[Array, Array]:
    grid = density.peak_columns(*middles(CELLS, columns.dtype)).astype(jnp.float32)
    return grid, jnp.einsum("pln,gn->plg", columns.astype(grid.dtype), grid)


def _both(density: CollapsedSpectrum, fewer: CollapsedSpectrum, z: Points, beta: PerPoint) -> tuple[PerPoint, Array]:
    """Ln q_K, and the logarithms of the K terms of beta, (slots, points)."""
    columns, terms, last = density.columns(z), density.evaluate(z), _last(density)
    grid, seen = _seen(density, columns)

    def way(k: Array) -> PerPoint:
        weights = place_weights(density, columns, terms, beta, FIXED + k, grid, seen)
        place = z[:, SHAPES + k], z[:, SHAPES + density.slots + k]
        rest = fewer.log_density(_without(terms, FIXED + k, FIXED + last), beta)
        found = rest + place_log_density(weights, place, CELLS)
        return jnp.where(k <= last, found - jnp.log(last + 1), -jnp.inf)

    return density.log_density(terms, beta), lax.map(way, jnp.arange(density.slots))


def _without(terms: CollapsedTerms, which: Array, last: Array) -> CollapsedTerms:
    """The terms after a column has changed places with the last one and become zero."""
    index = jnp.arange(terms.moment.shape[1])
    order = jnp.where(index == which, last, jnp.where(index == last, which, index))
    keep = (index != last).astype(terms.moment.dtype)
    return CollapsedTerms(
        terms.gram[:, order][:, :, order] * (keep[:, None] * keep),
        terms.moment[:, order] * keep,
        terms.uniforms[:, order],
        None if terms.columns is None else terms.columns[:, order] * keep[:, None],
    )


def _swapped(z: Points, slot: Array, last: Array, slots: int) -> Points:
    """The points after the peaks of two slots have changed places, u included."""
    index = jnp.broadcast_to(jnp.arange(z.shape[1]), z.shape)
    order = index
    for first in (SHAPES, SHAPES + slots, SHAPES + 2 * slots + FIXED):
        one, other = first + slot[:, None], first + last
        order = jnp.where(index == one, other, jnp.where(index == other, one, order))
    return jnp.take_along_axis(z, order, axis=1)
