"""What the factors must be, whatever the data say."""

from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
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


def _as_values(values: Any) -> np.ndarray | None:
    if values is None:
        return None
    values = np.array(values, float)
    if values.ndim != 2 or np.isinf(values).any():
        raise ValueError(
            f"Fixed: values must be (components, columns), finite or NaN where an entry is free; got {values.shape}."
        )
    return values


def _as_columns(columns: Any) -> tuple[int, ...] | None:
    return None if columns is None else tuple(int(c) for c in columns)


class NonNegative(AbstractConstraint):
    """No entry of the block is below zero."""

    block: str = eqx.field(static=True)


class Fixed(AbstractConstraint):
    """The block, some of its components or some of its entries do not move.

    Args:
        block: "maps", "spectra" or "coefficients".
        rows: the components that keep the values of the start (see `initial.Given`); None keeps all.
        values: (components, columns) of the block, spectra or coefficients, the entries that are known, NaN where
            they are not: these values hold from any start, and rows is not given.

    Raises:
        ValueError: rows and values together, values for the maps, or values that are infinite.
    """

    block: str = eqx.field(static=True)
    rows: tuple[int, ...] | None = eqx.field(default=None, static=True)
    values: Float[np.ndarray, "components columns"] | None = eqx.field(default=None, converter=_as_values)

    def __check_init__(self):
        if self.values is None:
            return
        if self.rows is not None:
            raise ValueError("Fixed: give rows, or values with NaN where an entry is free, not both.")
        if self.block == "maps":
            raise ValueError('Fixed("maps") takes rows, with the maps from initial.Given; single pixels stay free.')

    def free(self, rank: int) -> Bool[Array, "components _"]:
        """Which components, or which of their entries, may move.

        Raises:
            ValueError: a row is not among the components, or the values are of another number of components.
        """
        if self.values is not None:
            if len(self.values) != rank:
                raise ValueError(f"Fixed({self.block!r}): values of {len(self.values)} components, the rank is {rank}.")
            return jnp.isnan(self.values)
        if self.rows is None:
            return jnp.zeros((rank, 1), bool)
        outside = [row for row in self.rows if not 0 <= row < rank]
        if outside:
            raise ValueError(f"Fixed({self.block!r}): rows {outside} are not among the components 0..{rank - 1}.")
        return jnp.ones((rank, 1), bool).at[jnp.asarray(self.rows, int)].set(False)


class Simplex(AbstractConstraint):
    """Entries of each component that sum to one: atomic fractions of a phase; for the maps, shares of a pixel.

    `Multiplicative` minimises its bound on the simplex exactly: with the multiplier nu of the sum, the entries are
    w(nu), decreasing in nu, and sum w(nu) = 1 is solved to the rounding of the type for all components at once.

    Args:
        block: "coefficients" or "spectra", where the entries are columns of a component, or "maps", where they are the
            components of a pixel.
        columns: the columns that sum to one, such as `basis.element_columns`; None for all. The others (the
            bremsstrahlung, lines of the holder) stay free. Not for the maps.
    """

    block: str = eqx.field(static=True)
    columns: tuple[int, ...] | None = eqx.field(default=None, static=True, converter=_as_columns)

    def __check_init__(self):
        if self.block == "maps" and self.columns is not None:
            raise ValueError('Simplex("maps") sums over the components of each pixel; it takes no columns.')
        if self.columns is not None and (not self.columns or len(set(self.columns)) < len(self.columns)):
            raise ValueError(f"Simplex: columns must be some, each named once; got {self.columns}.")

    def members(self, length: int) -> Bool[np.ndarray, " length"]:
        """Which of the columns belong to the sum.

        Raises:
            ValueError: a column is not among them.
        """
        members = np.ones(length, bool) if self.columns is None else np.zeros(length, bool)
        outside = [c for c in self.columns or () if not 0 <= c < length]
        if outside:
            raise ValueError(f"Simplex({self.block!r}): columns {outside} are not among the {length} of the block.")
        members[list(self.columns or ())] = True
        return members


class Proportional(AbstractConstraint):
    """Columns of each component in a fixed ratio, such as the oxygen that belongs to a cation, or two line families.

    Args:
        block: "coefficients" or "spectra".
        columns: two or more columns.
        ratio: as many positive numbers: entry i is ratio[i] / ratio[j] times entry j.

    Raises:
        ValueError: columns and ratio of different lengths, a column twice, or a ratio that is not positive.
    """

    block: str = eqx.field(static=True)
    columns: tuple[int, ...] = eqx.field(static=True, converter=_as_columns)
    ratio: tuple[float, ...] = eqx.field(static=True, converter=lambda ratio: tuple(float(r) for r in ratio))

    def __check_init__(self):
        if self.block == "maps":
            raise ValueError('Proportional takes "coefficients" or "spectra", not "maps".')
        if len(self.columns) != len(self.ratio) or len(set(self.columns)) < len(self.columns) or len(self.columns) < 2:
            raise ValueError(
                f"Proportional: give two or more columns, each once, and a ratio for each; got {self.columns} and "
                f"{self.ratio}."
            )
        if not all(np.isfinite(r) and r > 0 for r in self.ratio):
            raise ValueError(f"Proportional: the ratio must be positive, got {self.ratio}; Fixed keeps an entry at 0.")


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
