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


class Orthogonal(AbstractConstraint):
    """The maps are orthogonal: with `NonNegative("maps")`, no pixel belongs to two components.

    One-sided orthogonal NMF (Tanimoto et al., J. Phys. Commun. 5 (2021) 115005): with spectra of either sign,

        min |X - maps @ spectra|^2,    maps >= 0,    <map_j, map_k> = 0 for j != k.

    `strict` (the default): given the spectra, `HALS` takes the exact minimum over all orthogonal maps at once. It
    gives each pixel to the component k with the largest x.s_k / |s_k|, if that is positive, with the map
    x.s_k / |s_k|^2; the spectra's optimum follows in one sweep, so the objective never rises and the maps of every
    iterate are exactly orthogonal (the alternation of Pompili et al., Neurocomputing 141 (2014) 15).

    Otherwise `HALS` takes the rows one after the other with the Lagrange multiplier of Kimura, Tanaka and Kudo
    (ACML 2014), which makes a row orthogonal to the sum of the others before it is clipped,

        w_k <- max(0, r_k - weight (r_k.U) / (U.U) U) / |s_k|^2,    r_k = (X - sum_{j != k} w_j s_j) s_k',
        U = sum_{j != k} w_j |s_j|,

    at weight 1 algorithm 1 of Tanimoto et al., below it the soft orthogonality of Shiga et al., Ultramicroscopy 170
    (2016) 43. The clipping undoes part of it, so the maps become orthogonal only in the course of the iterations,
    not exactly, and no step is sure to lower the objective: each restart keeps its last iterate, not
    its lowest. On simulated cathodes (5.62 dB, eight to ten domains, the start of `Clusters`) weight 1 ended at
    cosines of 0.06 to 0.39 between the maps, and lost the smallest domain in two cases of four where the strict
    form kept all; take it for comparison.

    Args:
        block: "maps".
        weight: of the multiplier, 0 to 1; below 1 it asks for strict=False.
        strict: exactly orthogonal in every step.
    """

    block: str = eqx.field(static=True)
    weight: float | int = eqx.field(default=1.0, static=True)
    strict: bool = eqx.field(default=True, static=True)

    def __check_init__(self):
        if self.block != "maps":
            raise ValueError(f'Orthogonal: only the "maps" can be orthogonal here, got {self.block!r}.')
        if not 0 <= self.weight <= 1:
            raise ValueError(f"Orthogonal: the weight must lie in 0..1, got {self.weight}.")
        if self.strict and self.weight < 1:
            raise ValueError(f"Orthogonal: a weight of {self.weight} is soft; give strict=False with it.")


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
