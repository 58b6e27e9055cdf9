"""Components of norm one."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..model import Bilinear
from .base import AbstractConstraint, Constraints


class UnitNorm(AbstractConstraint):
    """Each component of the block has norm 1; the other block takes the scale, so that the model stays the same.

    Args:
        block: "maps" or "spectra".
        norm: "l2", "l1" or "max".
    """

    block: str = eqx.field(static=True)
    norm: str = eqx.field(default="l2", static=True)
    kind = "norm"
    order = 4
    any_profile = True

    def __check_init__(self):
        if not isinstance(self.norm, str) or self.norm not in ("l2", "l1", "max"):
            raise ValueError(f'UnitNorm: the norm must be "l2", "l1" or "max", got {self.norm!r}.')
        if self.block == "coefficients":
            raise ValueError('UnitNorm takes "maps" or "spectra"; with a basis, "spectra" scales the coefficients.')

    def check(self, among: Constraints) -> None:
        if len(among.of(self.kind)) > 1:
            raise ValueError("Only one block can have unit norm: the other takes the scale.")
        if among.of("sum"):
            raise ValueError("UnitNorm would rescale what Simplex sums to one; leave one of them out.")
        if among.of("fixed"):
            raise ValueError("UnitNorm would rescale what Fixed keeps; normalise the given factors instead.")

    def impose(self, factors: Bilinear, among: Constraints) -> Bilinear:
        return self.apply(factors)

    def apply(self, factors: Bilinear) -> Bilinear:
        """The same model with this block normalised; components that are zero stay as they are."""
        rows = factors.maps_t if self.block == "maps" else factors.spectra
        size = _norm(rows, self.norm)
        size = jnp.where(size > 0, size, 1)
        return factors.scaled(1 / size if self.block == "maps" else size)


def _norm(rows: Float[Array, "components length"], norm: str) -> Float[Array, " components"]:
    if norm == "l2":
        return jnp.linalg.norm(rows, axis=1)
    return jnp.sum(jnp.abs(rows), axis=1) if norm == "l1" else jnp.max(jnp.abs(rows), axis=1)
