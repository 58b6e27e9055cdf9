"""Columns in a fixed ratio."""

import equinox as eqx
import numpy as np

from .base import AbstractConstraint, _as_columns


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
