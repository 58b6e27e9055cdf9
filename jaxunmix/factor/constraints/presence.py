"""In which pixels and channels a component may be, and how many may be in one place."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int

from ..._util.validation import check_several, check_whole_number, real_array
from ..model import Bilinear, Rows, rows_of, with_rows
from ..projections import keep_largest
from .base import AbstractConstraint, Constraints, Limits


def _as_allowed(allowed: Any) -> np.ndarray:
    array = np.asarray(allowed)
    if array.dtype != bool or array.ndim != 2:
        raise ValueError(
            "Selectivity: allowed must be booleans of shape (components, columns), True where a component may be; got "
            f"{array.dtype} of shape {array.shape}."
        )
    return np.array(array)


def _as_regions(regions: Any) -> np.ndarray:
    array = real_array(regions, "LocalRank: regions")
    if array.ndim != 1 or not array.size or (array != np.round(array)).any() or (array < 0).any():
        raise ValueError("LocalRank: regions must be one whole number of 0 or more for each pixel in use.")
    return np.array(array, int)


def _only(rows: Rows, allowed: Bool[Any, "components columns"], limits: Limits) -> Limits:
    """Limits of zero where a component may not be."""
    return jnp.where(allowed, limits[0], 0), jnp.where(allowed, limits[1], 0)


def _impose(constraint: AbstractConstraint, factors: Bilinear) -> Bilinear:
    rows = rows_of(factors, constraint.block)
    everywhere = jnp.full(rows.shape, -jnp.inf, rows.dtype), jnp.full(rows.shape, jnp.inf, rows.dtype)
    return with_rows(factors, constraint.block, jnp.clip(rows, *constraint.narrow(rows, rows, everywhere)))


class Selectivity(AbstractConstraint):
    """Components that are absent from given pixels or channels (selectivity of multivariate curve resolution).

    Args:
        block: "maps" (columns are pixels), "spectra" or "coefficients".
        allowed: (components, columns), True where the component may differ from zero.

    Raises:
        ValueError: not booleans of two dimensions; a component that may be nowhere.
    """

    block: str = eqx.field(static=True)
    allowed: Bool[np.ndarray, "components columns"] = eqx.field(converter=_as_allowed)
    kind = "presence"
    keepers = "FISTA()"
    order = 2

    def __check_init__(self) -> None:
        nowhere = np.flatnonzero(~self.allowed.any(axis=1))
        if nowhere.size:
            raise ValueError(f"Selectivity({self.block!r}): component {nowhere[0]} may be nowhere; leave it out.")

    def check(self, among: Constraints) -> None:
        if self.block != "maps" and self.allowed.shape[1] != among.features:
            raise ValueError(
                f"Selectivity({self.block!r}): allowed has {self.allowed.shape[1]} columns, the block has "
                f"{among.features}."
            )
        low, high = among.bounds(self.block)
        if (low is not None and low > 0) or (high is not None and high < 0):
            raise ValueError(f"Selectivity({self.block!r}): the bounds of the block leave zero out.")
        if among.of("ratio", self.block):
            raise ValueError(f"Selectivity({self.block!r}) may contradict Proportional; leave one of them out.")

    def check_rank(self, rank: int) -> None:
        if len(self.allowed) != rank:
            raise ValueError(
                f"Selectivity({self.block!r}): allowed is for {len(self.allowed)} components, the rank is {rank}."
            )

    def check_pixels(self, pixels: int) -> None:
        if self.block == "maps" and self.allowed.shape[1] != pixels:
            raise ValueError(
                f'Selectivity("maps"): allowed has {self.allowed.shape[1]} columns, the data {pixels} pixels in use.'
            )

    def narrow(self, rows: Rows, before: Rows, limits: Limits) -> Limits:
        return _only(rows, self.allowed, limits)

    def impose(self, factors: Bilinear, among: Constraints) -> Bilinear:
        return _impose(self, factors)


class MaxComponents(AbstractConstraint):
    """At most so many components in a pixel: the largest stay.

    With `Simplex("maps")` or `SumAtMost("maps")` the largest then share the sum, which is the nearest point (Kyrillidis
    et al., ICML 2013). Not convex: restarts differ.

    Args:
        block: "maps".
        most: how many, 1 or more.
    """

    block: str = eqx.field(static=True)
    most: int = eqx.field(static=True, kw_only=True)
    kind = "presence"
    keepers = "FISTA()"
    order = 2

    def __check_init__(self) -> None:
        if self.block != "maps":
            raise ValueError(
                f'MaxComponents counts the components of a pixel: the block is "maps", got {self.block!r}.'
            )
        if check_whole_number(self.most, "MaxComponents: most") < 1:
            raise ValueError(f"MaxComponents: most must be 1 or more, got {self.most}.")

    def check(self, among: Constraints) -> None:
        _check_largest(self, among)

    def narrow(self, rows: Rows, before: Rows, limits: Limits) -> Limits:
        return _only(rows, keep_largest(_size(rows, limits), self.most), limits)

    def impose(self, factors: Bilinear, among: Constraints) -> Bilinear:
        return _impose(self, factors)


def _as_numbers(most: Any) -> tuple[int, ...]:
    numbers = check_several(most, "LocalRank: most", "(1, 2)")
    return tuple(check_whole_number(number, "LocalRank: most", 0) for number in numbers)


class LocalRank(AbstractConstraint):
    """Regions of the map in which only so many components may be: those with the largest share of the region stay.

    Local rank information of multivariate curve resolution (Tauler, Smilde and Kowalski, J. Chemometrics 9 (1995) 31),
    such as "two phases at this interface" without saying which.

    Args:
        block: "maps".
        regions: for each pixel in use the number of its region, 0, 1, ...
        most: for each region how many components it may have; 0 for no limit.
    """

    block: str = eqx.field(static=True)
    regions: Int[np.ndarray, " pixels"] = eqx.field(converter=_as_regions)
    most: tuple[int, ...] = eqx.field(static=True, converter=_as_numbers)
    kind = "presence"
    keepers = "FISTA()"
    order = 2

    def __check_init__(self) -> None:
        if self.block != "maps":
            raise ValueError(f'LocalRank: regions are of pixels, the block is "maps", got {self.block!r}.')
        if len(self.most) != self.regions.max() + 1:
            raise ValueError(
                f"LocalRank: most must have a number of 0 or more for each of the {self.regions.max() + 1} regions, "
                f"got {self.most}."
            )

    def check(self, among: Constraints) -> None:
        _check_largest(self, among)

    def check_pixels(self, pixels: int) -> None:
        if len(self.regions) != pixels:
            raise ValueError(f"LocalRank: regions are given for {len(self.regions)} pixels, the data have {pixels}.")

    def narrow(self, rows: Rows, before: Rows, limits: Limits) -> Limits:
        size = jnp.maximum(_size(rows, limits), 0)
        power = jax.ops.segment_sum(size.T**2, self.regions, len(self.most)).T
        most = np.array([m or len(rows) for m in self.most])
        rank = jnp.argsort(jnp.argsort(-power, axis=0, stable=True), axis=0)
        return _only(rows, (rank < most)[:, self.regions], limits)

    def impose(self, factors: Bilinear, among: Constraints) -> Bilinear:
        return _impose(self, factors)


def _size(rows: Rows, limits: Limits) -> Rows:
    """By how much an entry matters: itself where nothing is negative, else its magnitude."""
    allowed = jnp.where(limits[1] > limits[0], jnp.abs(rows), 0)
    return jnp.where(limits[0] >= 0, jnp.where(limits[1] > limits[0], rows, -jnp.inf), allowed)


def _check_largest(constraint: AbstractConstraint, among: Constraints) -> None:
    block, name = constraint.block, type(constraint).__name__
    low, high = among.bounds(block)
    if (low is not None and low > 0) or (high is not None and high < 0):
        raise ValueError(f"{name}({block!r}): the bounds of the block leave zero out.")
    if among.of("fixed", block):
        raise ValueError(f"{name}({block!r}) chooses among maps that may move; leave Fixed({block!r}) out.")
    if sum(type(other) in (MaxComponents, LocalRank) for other in among.of("presence", block)) > 1:
        raise ValueError(f"{name}({block!r}): give MaxComponents or LocalRank, not both.")
