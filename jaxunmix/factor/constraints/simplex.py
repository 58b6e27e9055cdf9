"""Entries that sum to one."""

import equinox as eqx
import numpy as np
from jaxtyping import Bool

from .base import AbstractConstraint, _as_columns


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
