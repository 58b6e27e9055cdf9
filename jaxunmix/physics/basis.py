"""The columns of a basis and what they stand for."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Shaped

from .._util.validation import check_numbers


class Basis(eqx.Module):
    """Spectra of elements, of the holder and of bremsstrahlung, in rows; it can be used where an array can.

    Attributes:
        values: (features, channels), or (phases, features, channels) where each phase absorbs by itself. A row of
            the sample is the spectrum per atom in the unit of its model; other rows have an area of about 1.
        kinds: of the rows: "element", "free" or "bremsstrahlung".
        owners: the element of each row, "" for bremsstrahlung.
        families: "K", "L" or "M" of each row that is of one family only, else "".
        elements: those of the sample, in the order of compositions.
        atomic_masses: of `elements`.
    """

    values: Float[Array, "*phases features channels"]
    kinds: tuple[str, ...] = eqx.field(static=True)
    owners: tuple[str, ...] = eqx.field(static=True)
    families: tuple[str, ...] = eqx.field(static=True)
    elements: tuple[str, ...] = eqx.field(static=True)
    atomic_masses: tuple[float, ...] = eqx.field(static=True)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the rows: "O", "Fe L" where split by family, "Cu K (free)", "bremsstrahlung 1"."""
        found, count = [], 0
        for kind, owner, family in zip(self.kinds, self.owners, self.families, strict=True):
            count += kind == "bremsstrahlung"
            line = f"{owner} {family}".strip()
            found.append({"element": line, "free": f"{line} (free)"}.get(kind, f"bremsstrahlung {count}"))
        return tuple(found)

    def _of_kind(self, kind: str) -> tuple[int, ...]:
        return tuple(i for i, found in enumerate(self.kinds) if found == kind)

    @property
    def element_columns(self) -> tuple[int, ...]:
        """Rows of the sample's elements: those whose coefficients per element are atomic fractions."""
        return self._of_kind("element")

    @property
    def free_columns(self) -> tuple[int, ...]:
        """Rows of the elements that are not in the sample."""
        return self._of_kind("free")

    @property
    def bremsstrahlung_columns(self) -> tuple[int, ...]:
        """Rows of bremsstrahlung."""
        return self._of_kind("bremsstrahlung")

    def columns_of(self, element: str) -> tuple[int, ...]:
        """Rows of one element: several where it is split by family, with equal coefficients by theory.

        Raises:
            ValueError: the basis does not have it.
        """
        found = tuple(i for i, owner in enumerate(self.owners) if owner == element)
        if not found:
            owners = ", ".join(dict.fromkeys(filter(None, self.owners)))
            raise ValueError(f"the basis has no {element!r}; it has {owners}")
        return found

    @property
    def masses(self) -> Float[Array, " elements"]:
        """Relative atomic masses of the sample's elements."""
        return jnp.asarray(self.atomic_masses, float)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the values."""
        return self.values.shape

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.values, dtype) if copy else np.asarray(self.values, dtype)


def atomic_to_weight(
    fractions: Shaped[ArrayLike, "*rows elements"], masses: Shaped[ArrayLike, " elements"]
) -> Float[Array, "*rows elements"]:
    """Weight fractions from atomic fractions, $w_i = x_i m_i / sum_j x_j m_j$; all zeros stay zeros.

    >>> magnesia = atomic_to_weight(np.array([0.5, 0.5]), np.array([24.305, 15.999]))
    >>> f"{magnesia[0]:.3f}"
    '0.603'
    """
    fractions, masses = check_numbers(fractions, "fractions", finite=False), check_numbers(masses, "masses", above=0)
    if masses.ndim != 1 or fractions.shape[-1:] != masses.shape:
        raise ValueError(f"fractions {fractions.shape} and masses {masses.shape}: give (..., elements) and (elements,)")
    weights = fractions * masses
    total = jnp.sum(weights, axis=-1, keepdims=True)
    return weights / jnp.where(total == 0, 1.0, total)


def weight_to_atomic(
    fractions: Shaped[ArrayLike, "*rows elements"], masses: Shaped[ArrayLike, " elements"]
) -> Float[Array, "*rows elements"]:
    """Atomic fractions from weight fractions; all zeros stay zeros."""
    return atomic_to_weight(fractions, 1 / check_numbers(masses, "masses", above=0))
