"""Hamiltonian Monte Carlo."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Key

from ..._util.validation import check_number, check_whole_number
from ..path import Density, PerPoint, Points, choose, value_and_grad
from .adaptation import LocalSettings, blank, learn
from .base import Explorer, Info, _probability, _rotate


class HMC(Explorer):
    """Hamiltonian Monte Carlo of a fixed number of steps, whitened by the dense covariance of each temperature.

    In u with z = F u, F F' = covariance, momenta are standard normal and

        p <- p + e/2 F' g(z),  z <- z + e F p,  p <- p + e/2 F' g(z),

    `steps` times, then accepted with min(1, exp(-change of energy)) (Neal, MCMC using Hamiltonian dynamics, 2011). The
    step e of each point is jittered by a factor of 0.6 to 1.4 each time.
    """

    steps: int = eqx.field(static=True, default=8)
    target: float = eqx.field(static=True, default=0.8)

    def __check_init__(self) -> None:
        check_whole_number(self.steps, "HMC: steps", 1)
        if not 0 < check_number(self.target, "HMC: target") < 1:
            raise ValueError(f"HMC: target is a mean acceptance, between 0 and 1, got {self.target}.")

    def init(self, density: Density, groups: int) -> LocalSettings:
        return blank(density, groups, 0.3)

    def sweep(
        self, key: Key[Array, ""], density: Density, z: Points, terms: Any, beta: PerPoint, settings: LocalSettings
    ) -> tuple[Points, Any, Info]:
        keys = jax.random.split(key, 3)
        start = jax.random.normal(keys[0], z.shape, z.dtype)
        groups, points = len(settings.log_step), len(z)
        jitter = jax.random.uniform(keys[1], (points,), z.dtype, 0.6, 1.4)
        step = (jnp.repeat(jnp.exp(settings.log_step), points // groups) * jitter)[:, None]
        before, gradient, _ = value_and_grad(density, z, beta)

        def leap(_, carry):
            at, p, gradient, _, _ = carry
            p = p + step / 2 * _rotate(settings.factor, gradient, transpose=True)
            at = at + step * _rotate(settings.factor, p)
            value, gradient, reached = value_and_grad(density, at, beta)
            return at, p + step / 2 * _rotate(settings.factor, gradient, transpose=True), gradient, value, reached

        at, p, _, value, reached = lax.fori_loop(0, self.steps, leap, (z, start, gradient, before, terms))
        change = value - before - (jnp.sum(p**2, 1) - jnp.sum(start**2, 1)) / 2
        accept = _probability(change)
        moved = jax.random.uniform(keys[2], (points,), z.dtype) < accept
        return jnp.where(moved[:, None], at, z), choose(moved, reached, terms), Info(accept, accept - self.target)

    def tune(self, settings: LocalSettings, z: Points, info: Info | None, memory: float | Array = 0.0) -> LocalSettings:
        return learn(settings, z, info, memory)
