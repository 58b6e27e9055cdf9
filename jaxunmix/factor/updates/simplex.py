"""Exact minima of separable bounds, alone and on the simplex."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool

from ...matrix.base import TINY, matmul
from ..model import Rows


class CountsBound(NamedTuple):
    """Poisson: an entry's bound is -pull log w + slope w + curvature w^2 / 2, with a multiplier nu beside the slope."""

    pull: Rows
    slope: Rows
    curvature: Rows

    def at(self, nu: Array) -> tuple[Rows, Rows]:
        """The minimum, where curvature w^2 + (slope + nu) w = pull, and its derivative in nu."""
        b = self.slope + nu
        # Squares of next to nothing, which entries without counts have, would be lost in single precision.
        root = jnp.hypot(b, 2 * jnp.sqrt(self.curvature) * jnp.sqrt(self.pull))
        far = (root - b) / jnp.maximum(2 * self.curvature, TINY)
        w = jnp.where(b > 0, 2 * self.pull / jnp.maximum(b + root, TINY), far)
        return w, -w / jnp.maximum(root, TINY)

    def reached(self, w: Array) -> Rows:
        """The multiplier at which the minimum is w."""
        return self.pull / jnp.maximum(w, TINY) - self.curvature * w - self.slope

    def above(self, nu: Array, total: Array) -> "CountsBound":
        """With nu taken into the slope; an entry that alone would reach the total there does so without rounding."""
        own = self.reached(total)
        floor = self.pull / jnp.maximum(total, TINY) - self.curvature * total
        return self._replace(slope=jnp.where(own >= nu, floor, jnp.maximum(self.slope + nu, floor)))

    def tie(self, into: Array) -> "CountsBound":
        """The bound of variables of which each puts `into`, (columns, variables), into the entries."""
        used = (into > 0).astype(into.dtype)
        return CountsBound(matmul(self.pull, used), matmul(self.slope, into), matmul(self.curvature, into**2))

    def in_units(self, unit: Array) -> "CountsBound":
        """The bound of the entries times `unit`."""
        return CountsBound(self.pull, self.slope / unit, self.curvature / unit**2)


class SquaresBound(NamedTuple):
    """Least squares: the minimum is max(0, push - nu) gain."""

    push: Rows
    gain: Rows

    def at(self, nu: Array) -> tuple[Rows, Rows]:
        """The minimum and its derivative in nu."""
        w = jnp.maximum(self.push - nu, 0) * self.gain
        return w, jnp.where(w > 0, -self.gain, 0)

    def reached(self, w: Array) -> Rows:
        """The multiplier at which the minimum is w."""
        return jnp.where(self.gain > 0, self.push - w / jnp.maximum(self.gain, TINY), -jnp.inf)

    def above(self, nu: Array, total: Array) -> "SquaresBound":
        """With nu taken into the push; an entry that alone would reach the total there does so without rounding."""
        most = total / jnp.maximum(self.gain, TINY)
        return self._replace(push=jnp.where(self.reached(total) >= nu, most, jnp.minimum(self.push - nu, most)))

    def tie(self, into: Array) -> "SquaresBound":
        """Of no use: `Multiplicative.check` refuses ratios under least squares."""
        raise NotImplementedError("ratios are kept under Poisson; use losses.Poisson().")

    def in_units(self, unit: Array) -> "SquaresBound":
        """The bound of the entries times `unit`."""
        return SquaresBound(self.push / unit, self.gain * unit**2)


def minimise_on_simplex(part: CountsBound | SquaresBound, rows: Rows, free: Bool[Array, "..."], total: Array) -> Rows:
    """The minimum of each row's bound over its free entries with this sum; all other entries come out as 0.

    Entries at zero stay there. The multiplier lies between the point where the first entry alone would reach the
    total and the one where none has more than its equal share. Newton's method on 1 / sum, which is nearly linear in
    it, goes on to the rounding of the type; a step that leaves the bracket is replaced by its middle.

    Args:
        part: the bound, (rows, entries).
        rows: the current entries.
        free: which entries take part.
        total: (rows, 1) what they sum to; 0 where nothing is left for them.
    """
    live = free & (rows > 0)
    some = live.any(axis=1, keepdims=True) & (total > 0)
    safe = jnp.where(some, total, 1)
    count = jnp.maximum(live.sum(axis=1, keepdims=True), 1)

    def highest(reached: Array) -> Array:
        return jnp.where(some, jnp.max(jnp.where(live, reached, -jnp.inf), axis=1, keepdims=True), 0)

    low = highest(part.reached(safe))
    part = part.above(low, safe)

    def sums(nu: Array) -> tuple[Array, ...]:
        w, slope = part.at(nu)
        return tuple(jnp.where(live, a, 0).sum(axis=1, keepdims=True) for a in (w, slope))

    def off(reached: Array) -> Array:
        return some & (jnp.abs(reached / safe - 1) > 4 * jnp.finfo(rows.dtype).eps)

    def unsettled(state: tuple[Array, ...]) -> Array:
        return jnp.any(state[-2]) & (state[-1] < 100)

    def closer(state: tuple[Array, ...]) -> tuple[Array, ...]:
        nu, below, beyond, _, i = state
        reached, slope = sums(nu)
        below, beyond = jnp.where(reached >= safe, nu, below), jnp.where(reached <= safe, nu, beyond)
        newton = nu - reached * (reached - safe) / (safe * jnp.minimum(slope, -TINY))
        inside = (newton > below) & (newton < beyond)
        closer = jnp.where(inside, newton, (below + beyond) / 2)
        # A row that has settled stays: from there a step as small as the rounding would be taken for none.
        return jnp.where(off(reached), closer, nu), below, beyond, off(reached), i + 1

    start = jnp.zeros_like(low)
    beyond = jnp.maximum(highest(part.reached(safe / count)), 0)
    state: tuple[Array, ...] = (start, start, beyond, some, jnp.zeros((), int))
    nu = lax.while_loop(unsettled, closer, state)[0]
    w = jnp.where(live, part.at(nu)[0], 0)
    reached = w.sum(axis=1, keepdims=True)
    w = w * safe / jnp.where(reached > 0, reached, 1)
    # Where nothing pulls, as in a component whose map is zero, the entries stay.
    return jnp.where(some & (reached > 0), w, jnp.where(live & ~(total <= 0), rows, 0))
