"""Entries that are known."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ..._util.validation import float_array
from ..model import Bilinear, Rows
from .base import AbstractConstraint, Constraints, Limits, as_columns


def _as_values(values: Any) -> np.ndarray | None:
    if values is None:
        return None
    values = np.array(float_array(values, "Fixed: values"))
    if values.ndim != 2 or not values.size or np.isinf(values).any():
        raise ValueError(
            f"Fixed: values must be (components, columns), finite or NaN where an entry is free; got {values.shape}."
        )
    return values


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
    rows: tuple[int, ...] | None = eqx.field(default=None, static=True, converter=as_columns)
    values: Float[np.ndarray, "components columns"] | None = eqx.field(default=None, converter=_as_values)
    kind = "fixed"
    order = 1

    def __check_init__(self):
        if self.values is None:
            return
        if self.rows is not None:
            raise ValueError("Fixed: give rows, or values with NaN where an entry is free, not both.")
        if self.block == "maps":
            raise ValueError('Fixed("maps") takes rows, with the maps from initial.Given; single pixels stay free.')

    @property
    def is_whole(self) -> bool:
        """Whether it keeps the whole block as the start gives it."""
        return self.rows is None and self.values is None

    def check(self, among: Constraints) -> None:
        if self.values is None:
            return
        if self.values.shape[1] != among.features:
            raise ValueError(
                f"Fixed({self.block!r}): values have {self.values.shape[1]} columns, the block has {among.features}."
            )
        low, high = among.bounds(self.block)
        outside = [v for v in self.values[~np.isnan(self.values)] if (high is not None and v > high)]
        if outside:
            raise ValueError(
                f"Fixed({self.block!r}): a value of {outside[0]:.4g} contradicts the bound of {high:g}; change one of "
                "the two."
            )
        if low is not None and low > 0 and np.nanmin(np.append(self.values, low)) < low:
            raise ValueError(
                f"Fixed({self.block!r}): a value of {np.nanmin(self.values):.4g} contradicts the bound of {low:g}; "
                "change one of the two."
            )
        if among.is_nonnegative(self.block) and np.nanmin(np.append(self.values, 0)) < 0:
            raise ValueError(
                f"Fixed({self.block!r}): negative values contradict NonNegative; the smallest is "
                f"{np.nanmin(self.values):.4g}."
            )

    def check_rank(self, rank: int) -> None:
        self.free(rank)

    def impose(self, factors: Bilinear, among: Constraints) -> Bilinear:
        if self.values is None:
            return factors
        profiles = factors.profiles
        known = jnp.nan_to_num(self.values).astype(profiles.dtype)
        return Bilinear(factors.maps_t, jnp.where(jnp.isnan(self.values), profiles, known), factors.basis)

    def narrow(self, rows: Rows, before: Rows, limits: Limits) -> Limits:
        free = self.free(len(rows))
        return jnp.where(free, limits[0], before), jnp.where(free, limits[1], before)

    def project(self, rows: Rows, before: Rows) -> Rows:
        return jnp.where(self.free(len(rows)), rows, before)

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
