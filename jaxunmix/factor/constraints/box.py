"""Entries between two limits, of a block or of the product."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp

from ..._util.validation import check_number
from ...matrix.base import TINY, matmul
from ..model import Bilinear, Rows, rows_of, with_rows
from .base import BLOCKS, AbstractConstraint, Constraints, Limits

# Room that is left between the product and its bounds, as a share of their range, for rounding.
MARGIN = 1e-7


def _as_limit(value: Any) -> float | None:
    return None if value is None else check_number(value, "Box: low or high")


class Box(AbstractConstraint):
    """low <= x <= high for all entries of a block, or of the product maps @ spectra.

    On the product it is the bounded low-rank approximation of Kannan, Ishteva and Park (Knowl. Inf. Syst. 39 (2014)
    491), which `BoundedHALS` fits: every entry of the model stays between the bounds, the factors may have either sign.

    Args:
        block: "maps", "spectra", "coefficients" or "product".
        low: the least value; None for none.
        high: the greatest value; None for none.

    Raises:
        ValueError: neither of the two, or low not below high.
    """

    block: str = eqx.field(static=True)
    low: float | None = eqx.field(default=None, static=True, converter=_as_limit)
    high: float | None = eqx.field(default=None, static=True, converter=_as_limit)
    any_profile = True
    places = (*BLOCKS, "product")

    def __check_init__(self) -> None:
        if self.low is None and self.high is None:
            raise ValueError(f"Box({self.block!r}): give low, high, or both.")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"Box({self.block!r}): low must be below high, got {self.low:g} and {self.high:g}.")
        if self.is_product and (self.low is None or self.high is None):
            raise ValueError('Box("product"): give both low and high.')

    @property
    def kind(self) -> str:  # type: ignore[override]
        """What a step must know of to keep it."""
        return "product" if self.is_product else "bounds"

    @property
    def keepers(self) -> str:  # type: ignore[override]
        """Updates that keep it."""
        return "BoundedHALS()" if self.is_product else "HALS(), FISTA() or ProjectedGradient()"

    @property
    def is_product(self) -> bool:
        """Whether it bounds the model, not a block of it."""
        return self.block == "product"

    def check(self, among: Constraints) -> None:
        if self.is_product:
            if among.of("sign") and self._range()[1] <= 0:
                raise ValueError(f'Box("product"): NonNegative leaves nothing below {self.high}; pass constraints=().')
        elif self.block not in among.blocks:
            raise ValueError(f'Box("{self.block}"): this problem fits {among.blocks}; name one of them.')

    def bounds(self) -> tuple[float | None, float | None]:
        return (None, None) if self.is_product else (self.low, self.high)

    def impose(self, factors: Bilinear, among: Constraints) -> Bilinear:
        if self.is_product:
            return self._inside(factors)
        rows = rows_of(factors, self.block)
        return with_rows(factors, self.block, self.project(rows, rows))

    def project(self, rows: Rows, before: Rows) -> Rows:
        return rows if self.is_product else jnp.clip(rows, self.low, self.high)

    def product_limits(self) -> Limits:
        """The bounds of the product, with room for rounding."""
        low, high = self._range()
        room = MARGIN * (high - low)
        return jnp.asarray(low + room), jnp.asarray(high - room)

    def _range(self) -> tuple[float, float]:
        assert self.low is not None, "both are given for the product"
        assert self.high is not None, "both are given for the product"
        return self.low, self.high

    def _inside(self, factors: Bilinear) -> Bilinear:
        """Factors whose product lies between the bounds: theirs where it does, else moved towards the middle."""
        low, high = self.product_limits()
        product = matmul(factors.maps_t.T, factors.profiles)
        fits = (product >= self._range()[0]).all() & (product <= self._range()[1]).all()
        middle, half = (low + high) / 2, (high - low) / 2
        # The first component becomes the middle of the range; the others are shrunk until they fit about it.
        maps = factors.maps_t.at[0].set(1.0)
        profiles = factors.profiles.at[0].set(middle)
        rest = matmul(maps[1:].T, profiles[1:]) if len(maps) > 1 else jnp.zeros_like(product)
        maps = maps.at[1:].multiply(jnp.minimum(1.0, half / jnp.maximum(jnp.max(jnp.abs(rest)), TINY)))
        return Bilinear(
            jnp.where(fits, factors.maps_t, maps), jnp.where(fits, factors.profiles, profiles), factors.basis
        )
