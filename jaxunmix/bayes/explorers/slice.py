"""The slice sampler."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Key

from ..._util.validation import check_whole_number
from ..path import Density, PerPoint, Points, choose
from .adaptation import LocalSettings, blank, learn
from .base import Explorer, Info, _rotate


class Slice(Explorer):
    """Slice sampling along `lines` random directions F n / |n|, with bounded stepping out and shrinking.

    Neal, Slice sampling (2003), figures 3 and 5: an interval of width e is stepped out up to `out` times, its limit
    shared at random between the ends, then shrunk towards the point up to `shrink` times; if by then nothing was
    found the point stays, which keeps the balance: the way there and the way back see the same failures.
    """

    lines: int = eqx.field(static=True, default=4)
    out: int = eqx.field(static=True, default=4)
    shrink: int = eqx.field(static=True, default=8)

    def __check_init__(self) -> None:
        for name in ("lines", "out", "shrink"):
            check_whole_number(getattr(self, name), f"Slice: {name}", 1)

    def init(self, density: Density, groups: int) -> LocalSettings:
        return blank(density, groups, 2.0)

    def sweep(
        self, key: Key[Array, ""], density: Density, z: Points, terms: Any, beta: PerPoint, settings: LocalSettings
    ) -> tuple[Points, Any, Info]:
        keys = jax.random.split(key, 2)
        groups, points = len(settings.log_step), len(z)
        width = jnp.repeat(jnp.exp(settings.log_step), points // groups)
        normal = jax.random.normal(keys[0], (self.lines, *z.shape), z.dtype)
        uniform = jax.random.uniform(keys[1], (self.lines, 3 + self.shrink, points), z.dtype, 1e-7)

        def line(carry, draws):
            z, terms, value = carry
            normal, uniform = draws
            direction = _rotate(settings.factor, normal / jnp.linalg.norm(normal, axis=1, keepdims=True))
            level = value + jnp.log(uniform[0])
            ends, grown = self._bracket(density, z, beta, direction, level, width, uniform[1:3])
            z, terms, value, moved = self._shrink(density, (z, terms, value), beta, direction, level, ends, uniform[3:])
            return (z, terms, value), (moved, grown)

        carry = z, terms, density.log_density(terms, beta)
        (z, terms, _), (moved, grown) = lax.scan(line, carry, (normal, uniform))
        return z, terms, Info(jnp.mean(moved, 0), jnp.mean(grown, 0) - 1.0)

    def _bracket(self, density, z, beta, direction, level, width, uniform):
        """The ends of the interval, (points,) each, and how often it grew."""
        low = -uniform[0] * width
        left = jnp.floor(self.out * uniform[1])
        limits = left, self.out - 1 - left

        def inside(at):
            return density.log_density(density.evaluate(z + at[:, None] * direction), beta) > level

        def grow(step, carry):
            low, high, down, up = carry
            down = down & (step < limits[0]) & inside(low)
            up = up & (step < limits[1]) & inside(high)
            return low - down * width, high + up * width, down, up

        going = jnp.ones(len(z), bool)
        low, high, _, _ = lax.fori_loop(0, self.out - 1, grow, (low, low + width, going, going))
        return (low, high), (high - low) / width - 1

    def _shrink(self, density, start, beta, direction, level, ends, uniform):
        """The first draw from the shrinking interval that is inside the slice."""
        origin = start[0]

        def attempt(carry, uniform):
            (z, terms, value), low, high, found = carry
            at = low + uniform * (high - low)
            proposed = origin + at[:, None] * direction
            reached = density.evaluate(proposed)
            new = density.log_density(reached, beta)
            hit = ~found & (new > level)
            low = jnp.where((at < 0) & ~hit, at, low)
            high = jnp.where((at >= 0) & ~hit, at, high)
            state = jnp.where(hit[:, None], proposed, z), choose(hit, reached, terms), jnp.where(hit, new, value)
            return (state, low, high, found | hit), None

        found = jnp.zeros(len(origin), bool)
        ((z, terms, value), _, _, found), _ = lax.scan(attempt, (start, *ends, found), uniform)
        return z, terms, value, found.astype(value.dtype)

    def tune(self, settings: LocalSettings, z: Points, info: Info | None, memory: float | Array = 0.0) -> LocalSettings:
        return learn(settings, z, info, memory)
