"""The random-walk Metropolis sampler."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Key

from ..._util.validation import check_number, check_whole_number
from ..path import Density, PerPoint, Points, choose
from .adaptation import LocalSettings, blank, learn
from .base import Explorer, Info, _probability, _rotate


class RandomWalk(Explorer):
    """Metropolis: `moves` proposals z + e s F n, n normal, s log-uniform between 1/4 and 1."""

    moves: int = eqx.field(static=True, default=24)
    target: float = eqx.field(static=True, default=0.3)

    def __check_init__(self) -> None:
        check_whole_number(self.moves, "RandomWalk: moves", 1)
        if not 0 < check_number(self.target, "RandomWalk: target") < 1:
            raise ValueError(f"RandomWalk: target is a mean acceptance, between 0 and 1, got {self.target}.")

    def init(self, density: Density, groups: int) -> LocalSettings:
        return blank(density, groups, 2.4 / density.size**0.5)

    def sweep(
        self, key: Key[Array, ""], density: Density, z: Points, terms: Any, beta: PerPoint, settings: LocalSettings
    ) -> tuple[Points, Any, Info]:
        keys = jax.random.split(key, 3)
        groups, points = len(settings.log_step), len(z)
        scale = jnp.exp2(-2 * jax.random.uniform(keys[0], (self.moves, points), z.dtype))
        scale = scale * jnp.repeat(jnp.exp(settings.log_step), points // groups)
        normal = jax.random.normal(keys[1], (self.moves, *z.shape), z.dtype)
        threshold = jax.random.uniform(keys[2], (self.moves, points), z.dtype)

        def move(carry, draws):
            z, terms, value = carry
            scale, normal, threshold = draws
            proposed = z + scale[:, None] * _rotate(settings.factor, normal)
            reached = density.evaluate(proposed)
            new = density.log_density(reached, beta)
            accept = _probability(new - value)
            moved = threshold < accept
            carry = jnp.where(moved[:, None], proposed, z), choose(moved, reached, terms), jnp.where(moved, new, value)
            return carry, accept

        carry = z, terms, density.log_density(terms, beta)
        (z, terms, _), accept = lax.scan(move, carry, (scale, normal, threshold))
        accept = jnp.mean(accept, 0)
        return z, terms, Info(accept, accept - self.target)

    def tune(self, settings: LocalSettings, z: Points, info: Info | None, memory: float | Array = 0.0) -> LocalSettings:
        return learn(settings, z, info, memory)
