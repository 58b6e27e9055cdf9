"""Columns in a fixed ratio."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..._util.validation import check_several, real_number
from ..model import Bilinear
from .base import AbstractConstraint, Constraints, as_columns


def _as_ratio(ratio: Any) -> tuple[float, ...]:
    # What is infinite or not positive the class refuses, by its name.
    return tuple(real_number(r, "Proportional: ratio") for r in check_several(ratio, "Proportional: ratio", "(2, 3)"))


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
    columns: tuple[int, ...] = eqx.field(static=True, converter=as_columns)
    ratio: tuple[float, ...] = eqx.field(static=True, converter=_as_ratio)
    kind = "ratio"
    keepers = "Multiplicative() or ProjectedGradient()"
    order = 2

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

    def check(self, among: Constraints) -> None:
        outside = [c for c in self.columns if not 0 <= c < among.features]
        if outside:
            raise ValueError(
                f"Proportional: columns {outside} are not among the {among.features} of the {among.profile_block}."
            )
        tied = [c for ratio in among.of(self.kind, self.block) for c in ratio.columns]
        if len(set(tied)) < len(tied):
            raise ValueError("Proportional: a column stands in two ratios; join them into one.")
        for fixed in among.of("fixed", self.block):
            if fixed.values is None or (~np.isnan(fixed.values[:, tied])).any():
                raise ValueError(f"Proportional: columns {tied} are fixed as well; leave them out of one of the two.")

    def impose(self, factors: Bilinear, among: Constraints) -> Bilinear:
        """The ratio, with the sum of the columns as it was."""
        profiles = factors.profiles
        ratio = jnp.asarray(self.ratio, profiles.dtype)
        level = profiles[:, np.asarray(self.columns)].sum(axis=1, keepdims=True) / ratio.sum()
        profiles = profiles.at[:, np.asarray(self.columns)].set(level * ratio)
        return Bilinear(factors.maps_t, profiles, factors.basis)


def spread_of(ratios: Sequence[Proportional], length: int) -> Float[np.ndarray, "variables columns"]:
    """What each free number puts into the columns: itself alone, or its ratio into those that are tied.

    Args:
        ratios: of one block; a tied variable is the number whose entries are `ratio` times it.
        length: columns of the block.
    """
    spread = np.eye(length)
    for tie in ratios:
        columns = np.asarray(tie.columns)
        spread[columns[0], columns] = np.asarray(tie.ratio)
    followers = [c for tie in ratios for c in tie.columns[1:]]
    return np.delete(spread, followers, axis=0)
