"""Counting noise."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ...matrix.base import TINY, AbstractMatrix, accurate_sum
from .base import AbstractLoss, Entries


class Poisson(AbstractLoss):
    """Counting noise, sum x log(x/m) - x + m: half the Poisson deviance, also called generalised KL."""

    command = "poisson"
    serves_counts = True
    order = 1

    @property
    def beta(self) -> float:
        return 1.0

    def total(self, matrix: AbstractMatrix) -> Float[Array, ""]:
        return accurate_sum(matrix.pixel_sums)

    def divergence(self, x: Entries, model: Entries) -> Entries:
        m = jnp.maximum(model, TINY)
        # log(m / x), not log(x / m): its derivative has no m^2, which would underflow where the model vanishes.
        # The quotient of the smallest model and many counts would underflow to a logarithm of 0.
        return jnp.where(x > 0, -x * jnp.log(jnp.maximum(m / jnp.where(x > 0, x, 1), TINY)), 0) - x + model

    def split(self, x: Entries, model: Entries) -> tuple[Entries, Entries | None]:
        return x / jnp.maximum(model, TINY), None
