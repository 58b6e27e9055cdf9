"""Nearest points: rows moved onto sums, onto monotone and unimodal shapes, and onto their largest entries.

Each is the Euclidean projection onto a set, on which proximal steps rest. All are pure functions of JAX.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from .model import Rows

# Halvings of the interval that holds the multiplier: enough for the last digit of double precision.
HALVINGS = 60


def onto_sum(
    rows: Rows,
    low: Any,
    high: Any,
    total: Any,
    axis: int,
    at_most: bool = False,
    metric: Rows | None = None,
) -> Rows:
    """The nearest rows with low <= x <= high whose sums along an axis are `total` (or at most that).

    The solution is clip(x - t d, low, high) with one multiplier t for each sum (Held, Wolfe and Crowder, Math. Program.
    6 (1974) 62, extended to bounds). t is bracketed by bisection, then solved for exactly among the entries that are
    not at a bound, so that the sum holds to rounding and derivatives pass through.

    Args:
        rows: (components, columns).
        low: least values, broadcast to the rows; -inf where there is none.
        high: greatest values; inf where there is none.
        total: of each sum.
        axis: 0 sums over the components of each column, 1 over the columns of each component.
        at_most: sums below `total` stay as they are.
        metric: d > 0, where the distance is sum (x - y)^2 / d; None for ones.
    """
    low, high = jnp.broadcast_to(low, rows.shape), jnp.broadcast_to(high, rows.shape)
    total = jnp.asarray(total, rows.dtype)
    scale = jnp.ones_like(rows) if metric is None else metric
    x, lows, highs, d = (lax.stop_gradient(a) for a in (rows, low, high, scale))
    some = jnp.where(jnp.isfinite(lows), lows, 0)
    reach = jnp.abs(total) + jnp.sum(jnp.abs(some), axis=axis, keepdims=True) + 1
    furthest = reach + jnp.max(jnp.abs(x), axis=axis, keepdims=True)
    most = jnp.max(jnp.where(jnp.isfinite(lows), x - lows, 2 * furthest) / d, axis=axis, keepdims=True)
    least = -jnp.max(2 * furthest / d, axis=axis, keepdims=True)

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        middle = (ends[0] + ends[1]) / 2
        above = jnp.sum(jnp.clip(x - middle * d, lows, highs), axis=axis, keepdims=True) > total
        return jnp.where(above, middle, ends[0]), jnp.where(above, ends[1], middle)

    start, stop = lax.fori_loop(0, HALVINGS if rows.dtype == jnp.float64 else HALVINGS // 2, halve, (least, most))
    middle = (start + stop) / 2
    moved = x - middle * d
    free = (moved > lows) & (moved < highs)
    bound = jnp.where(free, 0, jnp.clip(rows - middle * scale, low, high))
    left = jnp.sum(jnp.where(free, rows, bound), axis=axis, keepdims=True) - total
    slack = jnp.sum(jnp.where(free, scale, 0), axis=axis, keepdims=True)
    exact = left / jnp.where(slack > 0, slack, 1)
    found = jnp.where(free, jnp.clip(rows - exact * scale, low, high), bound)
    if not at_most:
        return found
    inside = jnp.clip(rows, low, high)
    return jnp.where(jnp.sum(inside, axis=axis, keepdims=True) <= total, inside, found)


def keep_largest(rows: Rows, most: int) -> Bool[Array, "components columns"]:
    """Which entries are among the `most` largest of their column; of equal ones the first."""
    if most >= len(rows):
        return jnp.ones(rows.shape, bool)
    rank = jnp.argsort(jnp.argsort(-rows, axis=0, stable=True), axis=0)
    return rank < most


class _Pools(NamedTuple):
    """Neighbours that share a value, from the left: their weights, sums and squares, and how many pools there are."""

    size: Array
    weight: Float[Array, " n"]
    sum: Float[Array, " n"]
    squares: Float[Array, " n"]
    pools: Array
    error: Float[Array, ""]


def _own_error(pools: _Pools, at: Array) -> Float[Array, ""]:
    return pools.squares[at] - pools.sum[at] ** 2 / pools.weight[at]


def _pool(pools: _Pools, entry: tuple[Array, Array]) -> tuple[_Pools, Float[Array, ""]]:
    """One more value and its weight: a pool of its own, merged with those before it that lie above it."""
    at, (value, weight) = pools.pools, entry
    pools = _Pools(
        pools.size.at[at].set(1),
        pools.weight.at[at].set(weight),
        pools.sum.at[at].set(weight * value),
        pools.squares.at[at].set(weight * value**2),
        at + 1,
        pools.error,
    )

    def violated(now: _Pools) -> Array:
        last = now.pools - 1
        before = jnp.maximum(last - 1, 0)
        return (last > 0) & (now.sum[before] * now.weight[last] > now.sum[last] * now.weight[before])

    def merge(now: _Pools) -> _Pools:
        last, before = now.pools - 1, now.pools - 2
        error = now.error - _own_error(now, last) - _own_error(now, before)
        merged = _Pools(
            now.size.at[before].add(now.size[last]),
            now.weight.at[before].add(now.weight[last]),
            now.sum.at[before].add(now.sum[last]),
            now.squares.at[before].add(now.squares[last]),
            last,
            error,
        )
        return merged._replace(error=error + _own_error(merged, before))

    pools = lax.while_loop(violated, merge, pools)
    return pools, pools.error


def _increase(row: Float[Array, " n"], weight: Float[Array, " n"]) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """The nearest increasing row, and the squared distance of each of its beginnings from an increasing one.

    Pool adjacent violators: Ayer et al., Ann. Math. Stat. 26 (1955) 641.
    """
    n = len(row)
    none = jnp.zeros(n, row.dtype)
    empty = _Pools(jnp.zeros(n, int), jnp.ones_like(row), none, none, jnp.zeros((), int), jnp.zeros((), row.dtype))
    pools, errors = lax.scan(_pool, empty, (row, weight))
    ends = jnp.cumsum(jnp.where(jnp.arange(n) < pools.pools, pools.size, 0))
    pool = jnp.searchsorted(ends, jnp.arange(n), side="right").clip(0, n - 1)
    return (pools.sum / pools.weight)[pool], errors


def onto_increasing(rows: Rows, metric: Rows | None = None) -> Rows:
    """The nearest rows that never decrease along their columns, in the distance sum (x - y)^2 / metric."""
    return jax.vmap(lambda row, weight: _increase(row, weight)[0])(rows, _weights(rows, metric))


def onto_unimodal(rows: Rows, metric: Rows | None = None) -> Rows:
    """The nearest rows with one maximum: increasing up to some column, decreasing beyond it."""
    return jax.vmap(_unimodal)(rows, _weights(rows, metric))


def _weights(rows: Rows, metric: Rows | None) -> Rows:
    return jnp.ones_like(rows) if metric is None else jnp.max(metric, axis=1, keepdims=True) / metric


def _unimodal(row: Float[Array, " n"], weight: Float[Array, " n"]) -> Float[Array, " n"]:
    n = len(row)
    up, down = _increase(row, weight)[1], _increase(row[::-1], weight[::-1])[1][::-1]
    # The maximum belongs to the rise; the fall begins after it.
    top = jnp.argmin(up + jnp.append(down[1:], 0))
    at = jnp.arange(n)
    # What lies beyond the top must not pull at what comes before it.
    far = jnp.max(jnp.abs(row)) * 4 + 1
    rise = _increase(jnp.where(at <= top, row, far), weight)[0]
    fall = _increase(jnp.where(at > top, row, far)[::-1], weight[::-1])[0][::-1]
    return jnp.where(at <= top, rise, fall)
