"""Sums that are known, or have a limit."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..._util.validation import check_number, float_array
from ..model import Bilinear, Rows, rows_of, with_rows
from ..projections import onto_sum
from .base import AbstractConstraint, Constraints, Limits


def _as_total(total: Any) -> np.ndarray:
    array = np.array(float_array(total, "Closure: total"))
    if array.ndim > 1 or not np.isfinite(array).all() or not (array > 0).all():
        raise ValueError(f"Closure: total must be above 0, one number or one for each pixel; got {total!r}.")
    return array


def _check_partners(constraint: AbstractConstraint, among: Constraints) -> None:
    """Refuse what would give the sums another value."""
    name, block = type(constraint).__name__, constraint.block
    if not among.is_nonnegative(block):
        raise ValueError(f'{name}("{block}") needs NonNegative("{block}") beside it: what is summed is not negative.')
    for kind in ("sum", "closure"):
        if any(other is not constraint for other in among.of(kind, block)):
            raise ValueError(f'{name}("{block}") is not the only constraint on these sums; leave one of them out.')
    if among.of("norm") or among.of("disjoint") or among.of("ratio", block):
        raise ValueError(f'{name}("{block}"): leave UnitNorm, Orthogonal and Proportional out.')
    if among.is_fully_fixed(block):
        raise ValueError(f'{name}("{block}") cannot move what Fixed("{block}") keeps; leave one of them out.')


class Closure(AbstractConstraint):
    """The components of each pixel sum to a known total (mass balance); `Simplex("maps")` is the case of one.

    Args:
        block: "maps".
        total: above 0, one number or one for each pixel in use.
    """

    block: str = eqx.field(static=True)
    total: Float[np.ndarray, "..."] = eqx.field(default=1.0, converter=_as_total)
    kind = "closure"
    keepers = "FISTA()"
    order = 3

    def __check_init__(self) -> None:
        if self.block != "maps":
            raise ValueError(f'Closure sums over the components of a pixel: the block is "maps", got {self.block!r}.')

    def total_and_kind(self) -> tuple[Any, bool]:
        return self.total, False

    def check(self, among: Constraints) -> None:
        _check_partners(self, among)

    def check_pixels(self, pixels: int) -> None:
        if self.total.ndim and self.total.shape != (pixels,):
            raise ValueError(f"Closure: total has {len(self.total)} values, the data {pixels} pixels in use.")

    def share_out(self, rows: Rows, limits: Limits, metric: Rows | None = None) -> Rows:
        return onto_sum(rows, *limits, self.total, axis=0, metric=metric)

    def impose(self, factors: Bilinear, among: Constraints) -> Bilinear:
        return with_rows(factors, "maps", among.nearest("maps", factors.maps_t, factors.maps_t, live_of(factors)))


class SumAtMost(AbstractConstraint):
    """Sums of the components of a pixel, or of the columns of a component, are at most `total`: the rest is nothing.

    Args:
        block: "maps", "spectra" or "coefficients".
        total: the limit, above 0.
    """

    block: str = eqx.field(static=True)
    total: float = eqx.field(default=1.0, static=True)
    kind = "closure"
    keepers = "FISTA()"
    order = 3

    def __check_init__(self) -> None:
        check_number(self.total, "SumAtMost: total", above=0)

    def total_and_kind(self) -> tuple[Any, bool]:
        return self.total, True

    def check(self, among: Constraints) -> None:
        _check_partners(self, among)

    def share_out(self, rows: Rows, limits: Limits, metric: Rows | None = None) -> Rows:
        axis = 0 if self.block == "maps" else 1
        return onto_sum(rows, *limits, self.total, axis, at_most=True, metric=metric)

    def impose(self, factors: Bilinear, among: Constraints) -> Bilinear:
        rows = rows_of(factors, self.block)
        return with_rows(factors, self.block, among.nearest(self.block, rows, rows, live_of(factors)))


def live_of(factors: Bilinear) -> Array:
    """Which components are there; those of zeros in both blocks pad K."""
    return jnp.any(factors.maps_t != 0, axis=1, keepdims=True) | jnp.any(factors.profiles != 0, axis=1, keepdims=True)
