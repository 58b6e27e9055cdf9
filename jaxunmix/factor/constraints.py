"""What the factors must be, whatever the data say."""

from typing import Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .model import Bilinear

Block = Literal["maps", "spectra", "coefficients"]
BLOCKS = ("maps", "spectra", "coefficients")


class AbstractConstraint(eqx.Module):
    """A constraint on one block of the factors."""

    block: eqx.AbstractVar[str]

    def __check_init__(self):
        if self.block not in BLOCKS:
            raise ValueError(f"{type(self).__name__}: the block must be one of {BLOCKS}, got {self.block!r}.")


class NonNegative(AbstractConstraint):
    """No entry of the block is below zero."""

    block: str = eqx.field(static=True)


class Fixed(AbstractConstraint):
    """The block, or some of its components, keep the values of the start (see `initial.Given`).

    Args:
        block: "maps", "spectra" or "coefficients".
        rows: the components that are kept; None keeps all.
    """

    block: str = eqx.field(static=True)
    rows: tuple[int, ...] | None = eqx.field(default=None, static=True)

    def free(self, rank: int) -> Bool[Array, " components"]:
        """Which components may move.

        Raises:
            ValueError: a row is not among the components.
        """
        if self.rows is None:
            return jnp.zeros(rank, bool)
        outside = [row for row in self.rows if not 0 <= row < rank]
        if outside:
            raise ValueError(f"Fixed({self.block!r}): rows {outside} are not among the components 0..{rank - 1}.")
        return jnp.ones(rank, bool).at[jnp.asarray(self.rows, int)].set(False)


class UnitNorm(AbstractConstraint):
    """Each component of the block has norm 1; the other block takes the scale, so that the model stays the same.

    Args:
        block: "maps" or "spectra".
        norm: "l2", "l1" or "max".
    """

    block: str = eqx.field(static=True)
    norm: str = eqx.field(default="l2", static=True)

    def __check_init__(self):
        if self.norm not in ("l2", "l1", "max"):
            raise ValueError(f'UnitNorm: the norm must be "l2", "l1" or "max", got {self.norm!r}.')
        if self.block == "coefficients":
            raise ValueError('UnitNorm takes "maps" or "spectra"; with a basis, "spectra" scales the coefficients.')

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
