"""Least squares for the maps of known spectra, to the exact minimum: one small quadratic program for each pixel."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from ...matrix.base import AbstractMatrix, matmul
from ..model import Rows

Spectra = Float[Array, "components channels"]
Maps = Float[Array, "components pixels"]

# Pixels that are solved side by side: their matrices stay in the cache.
CHUNK = 2048
# Exchanges of the whole set in a row that need not lower the number of wrong entries (Kim and Park).
PATIENCE = 3
# Exchanges of a pixel at most; what is left then is as near as it came.
EXCHANGES = 200


class Limits(NamedTuple):
    """low <= w <= high for each entry, and what the components of each pixel sum to.

    `is_most` says that the sum is a limit and not a value; without a sum `total` is None.
    """

    low: Float[Array, ""]
    high: Float[Array, ""]
    total: Float[Array, " pixels"] | None
    is_most: bool


class _State(NamedTuple):
    """Where each entry stands, -1 at its low limit, 1 at its high one, 0 free; and how the exchange goes."""

    side: Int[Array, "components pixels"]
    capped: Bool[Array, " pixels"]
    maps: Rows
    fewest: Int[Array, " pixels"]
    tries: Int[Array, " pixels"]
    wrong: Int[Array, " pixels"]
    rounds: Int[Array, ""]


def solve_known_spectra(matrix: AbstractMatrix, spectra: Spectra, limits: Limits) -> Maps:
    r"""The maps that minimise |x_p - w_p spectra|^2 in each pixel, between limits and with a sum, (components, pixels).

    Block principal pivoting (Kim and Park, SIAM J. Sci. Comput. 33 (2011) 3261) with two-sided limits: with the set F
    of free entries, w_F solves the normal equations (bordered by the sum's multiplier), and entries on the wrong side
    of a limit, or at one with a slope that points inside, change sides, all at once as long as their number falls and
    the last one alone otherwise. It ends where the conditions of optimality hold, so the minimum is exact to the
    rounding of the Gram matrix.

    Args:
        matrix: (pixels, channels).
        spectra: (components, channels).
        limits: of the maps.
    """
    return _solve_all(matrix, spectra, limits, limits.is_most)


@eqx.filter_jit
def _solve_all(matrix: AbstractMatrix, spectra: Spectra, limits: Limits, is_most: bool) -> Maps:
    limits = Limits(limits.low, limits.high, limits.total, is_most)
    return solve_products(matmul(spectra, spectra.T), matrix.onto_spectra(spectra), limits)


def solve_products(gram: Float[Array, "components components"], cross: Maps, limits: Limits) -> Maps:
    """As `solve_known_spectra`, from what it needs of the data; may be part of a compiled function.

    Args:
        gram: spectra spectra'.
        cross: spectra X', (components, pixels).
        limits: of the maps.
    """
    # Spectra that depend on one another share their part alike.
    gram = gram + 8 * jnp.finfo(gram.dtype).eps * jnp.trace(gram) / len(gram) * jnp.eye(len(gram), dtype=gram.dtype)
    components, pixels = cross.shape
    chunks = -(-pixels // CHUNK)
    size = -(-pixels // chunks)

    def split(rows: Array) -> Array:
        padded = jnp.pad(rows, ((0, 0), (0, chunks * size - pixels)))
        return jnp.swapaxes(padded.reshape(len(rows), chunks, size), 0, 1)

    def solve(part: tuple[Array, Array | None]) -> Rows:
        total = None if part[1] is None else part[1][0]
        return _solve(gram, part[0], limits._replace(total=total))

    totals = None if limits.total is None else split(limits.total[None])
    found = lax.map(solve, (split(cross), totals))
    return jnp.swapaxes(found, 0, 1).reshape(components, -1)[:, :pixels]


def _solve(gram: Array, cross: Rows, limits: Limits) -> Rows:
    components, pixels = cross.shape
    start = _State(
        side=jnp.zeros((components, pixels), int),
        capped=jnp.full(pixels, limits.total is not None and not limits.is_most),
        maps=jnp.zeros_like(cross),
        fewest=jnp.full(pixels, 2 * components + 1),
        tries=jnp.full(pixels, PATIENCE),
        wrong=jnp.ones(pixels, int),
        rounds=jnp.zeros((), int),
    )
    done = lax.while_loop(
        lambda now: (now.wrong > 0).any() & (now.rounds < EXCHANGES),
        lambda now: _exchange(gram, cross, limits, now),
        start,
    )
    return jnp.clip(done.maps, limits.low, limits.high)


def _exchange(gram: Array, cross: Rows, limits: Limits, now: _State) -> _State:
    """Solve for the free entries, then let those on the wrong side change over."""
    low, high = limits.low, limits.high
    maps, multiplier = _free_minimum(gram, cross, limits, now)
    slope = matmul(gram, maps) - cross + multiplier
    # What rounding leaves of a slope or of a value is no reason to change sides.
    eps = 32 * jnp.finfo(maps.dtype).eps
    steep = eps * (jnp.abs(cross) + matmul(jnp.abs(gram), jnp.abs(maps)) + jnp.abs(multiplier))
    small = eps * (jnp.max(jnp.abs(maps), axis=0) + 1e-30)
    free = now.side == 0
    side = jnp.where(free & (maps < low - small), -1, jnp.where(free & (maps > high + small), 1, now.side))
    inside = ((now.side < 0) & (slope < -steep)) | ((now.side > 0) & (slope > steep))
    side = jnp.where(inside, 0, side)
    changed = side != now.side
    capped = now.capped
    if limits.total is not None and limits.is_most:
        over = maps.sum(axis=0) - limits.total > small
        capped = jnp.where(now.capped, multiplier >= 0, over)
    elif limits.total is not None:
        # Without a free entry the sum has no multiplier: the steepest is let go.
        stuck = ~free.any(axis=0) & (jnp.abs(maps.sum(axis=0) - limits.total) > small)
        off = limits.total - maps.sum(axis=0)
        best = jnp.argmin(jnp.where(off > 0, slope, -slope), axis=0)
        lone = (jnp.arange(len(maps))[:, None] == best) & stuck
        side, changed = jnp.where(lone, 0, side), changed | lone
    wrong = changed.sum(axis=0) + (capped != now.capped)
    fewer = wrong < now.fewest
    whole = fewer | (now.tries > 0)
    last = jnp.arange(len(maps))[:, None] == jnp.max(jnp.where(changed, jnp.arange(len(maps))[:, None], -1), axis=0)
    side = jnp.where(whole | last, side, now.side)
    return _State(
        side=side,
        capped=capped,
        maps=maps,
        fewest=jnp.minimum(wrong, now.fewest),
        tries=jnp.where(fewer, PATIENCE, now.tries - 1),
        wrong=wrong,
        rounds=now.rounds + 1,
    )


def _free_minimum(gram: Array, cross: Rows, limits: Limits, now: _State) -> tuple[Rows, Float[Array, " pixels"]]:
    """The least squares of the free entries with the others at their limits, and the multiplier of the sum."""
    free = now.side == 0
    held = jnp.where(now.side < 0, limits.low, limits.high)
    held = jnp.where(free, 0, held)
    right = jnp.where(free, cross - matmul(gram, held), held)
    if limits.total is None:
        return _eliminate(gram, free, right[None])[0], jnp.zeros(cross.shape[1], cross.dtype)
    plain, per_unit = _eliminate(gram, free, jnp.stack([right, free.astype(cross.dtype)]))
    per_unit = jnp.where(free, per_unit, 0)
    give = per_unit.sum(axis=0)
    multiplier = jnp.where(
        now.capped & (give > 0), (plain.sum(axis=0) - limits.total) / jnp.where(give > 0, give, 1), 0
    )
    return plain - multiplier * per_unit, multiplier


def _eliminate(gram: Array, free: Bool[Array, "components pixels"], right: Array) -> Array:
    """Solve gram_FF w_F = right_F in each pixel by elimination; entries that are not free keep `right`."""
    both = free[:, None] & free[None]
    unit = jnp.eye(len(gram), dtype=gram.dtype)[..., None]
    a = jnp.where(both, gram[..., None], unit)
    for k in range(len(gram)):
        factor = a[k] / a[k, k]
        value = right[:, k] / a[k, k]
        column = a[:, k].at[k].set(0)
        a = (a - column[:, None] * factor[None]).at[k].set(factor)
        right = (right - column[None] * value[:, None]).at[:, k].set(value)
    return right
