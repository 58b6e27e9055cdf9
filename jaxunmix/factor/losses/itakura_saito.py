"""Multiplicative noise."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ...matrix.base import TINY, AbstractMatrix
from .base import FLOOR, AbstractLoss, Entries


class ItakuraSaito(AbstractLoss):
    """Multiplicative noise, sum x/m - log(x/m) - 1: blind to the scale of each entry."""

    command = "itakura-saito"

    @property
    def beta(self) -> float:
        return 0.0

    def total(self, matrix: AbstractMatrix) -> Float[Array, ""]:
        return jnp.asarray(float(matrix.shape[0] * matrix.shape[1]), matrix.dtype)

    def divergence(self, x: Entries, model: Entries) -> Entries:
        ratio = x / jnp.maximum(model, FLOOR)
        return ratio - jnp.log(jnp.maximum(ratio, TINY)) - 1

    def split(self, x: Entries, model: Entries) -> tuple[Entries, Entries | None]:
        inverse = 1 / jnp.maximum(model, FLOOR)
        return x * inverse * inverse, inverse
