"""Entries that sum to one."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ...matrix.base import TINY
from ..model import Bilinear, Rows
from ..projections import onto_sum
from .base import AbstractConstraint, Constraints, Limits, as_columns


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
    columns: tuple[int, ...] | None = eqx.field(default=None, static=True, converter=as_columns)
    kind = "sum"
    keepers = "Multiplicative() or FISTA()"
    order = 3

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

    def check(self, among: Constraints) -> None:
        block = self.block
        if not among.is_nonnegative(block):
            raise ValueError(f"Simplex({block!r}) needs NonNegative({block!r}) beside it: shares are not negative.")
        if among.is_fully_fixed(block):
            raise ValueError(f"Simplex({block!r}) cannot move what Fixed({block!r}) keeps; leave one of them out.")
        if among.of("norm") or among.of("disjoint"):
            raise ValueError(f"Simplex({block!r}) gives the components their scale; leave UnitNorm and Orthogonal out.")
        if block == "maps":
            if among.of("fixed", "maps"):
                raise ValueError('Simplex("maps") and Fixed("maps") together are not served; leave one of them out.')
            return
        members = self.members(among.features)
        for fixed in among.of("fixed", block):
            if fixed.values is not None:
                self._check_known_sums(fixed.values[:, members])

    def _check_known_sums(self, inside: Float[np.ndarray, "components columns"]) -> None:
        sums, open_ones = np.nansum(inside, axis=1), np.isnan(inside).sum(axis=1)
        for k, (total, free) in enumerate(zip(sums, open_ones, strict=True)):
            if total > 1 + 1e-6 or (not free and abs(total - 1) > 1e-6):
                raise ValueError(
                    f"Fixed({self.block!r}) contradicts Simplex: the known entries of component {k} sum to {total:.6g}"
                    + (", above 1." if free else " and none is free, so they must sum to 1.")
                )

    def impose(self, factors: Bilinear, among: Constraints) -> Bilinear:
        """Sums of one: the other block takes the scale where it can, else the free entries share what is left."""
        maps, profiles = factors.maps_t, factors.profiles
        if self.block == "maps":
            return Bilinear(maps / jnp.maximum(maps.sum(axis=0), TINY), profiles, factors.basis)
        if among.is_scale_free:
            total = jnp.where(self.members(profiles.shape[1]), profiles, 0).sum(axis=1)
            return factors.scaled(jnp.where(total > 0, total, 1))
        free, left = self.share(profiles, among.free(self.block, len(profiles)))
        total = jnp.where(free, profiles, 0).sum(axis=1, keepdims=True)
        profiles = jnp.where(free & (total > 0), profiles * left / jnp.maximum(total, TINY), profiles)
        return Bilinear(maps, profiles, factors.basis)

    def total_and_kind(self) -> tuple[Any, bool]:
        return 1.0, False

    def share_out(self, rows: Rows, limits: Limits, metric: Rows | None = None) -> Rows:
        """The nearest rows with sums of one; a component that is zero, with which K is padded, stays so."""
        low, high = limits
        if self.block == "maps":
            return onto_sum(rows, low, high, 1.0, axis=0, metric=metric)
        outside = ~self.members(rows.shape[1])
        rest = jnp.clip(rows, low, high)
        rows, low, high = (jnp.where(outside, 0, values) for values in (rows, low, high))
        inside = onto_sum(rows, low, high, 1.0, axis=1, metric=metric)
        return jnp.where(outside, rest, inside)

    def share(
        self, rows: Rows, free: Bool[Array, "components _"] | None
    ) -> tuple[Bool[Array, "components length"], Float[Array, "components 1"]]:
        """Which entries share the sum, and what known entries leave of it.

        Args:
            rows: of the block.
            free: what of it may move; None for all.
        """
        members = jnp.broadcast_to(self.members(rows.shape[1]), rows.shape)
        if free is None:
            return members, jnp.ones((len(rows), 1), rows.dtype)
        free = members & free
        return free, 1 - jnp.where(members & ~free, rows, 0).sum(axis=1, keepdims=True)
