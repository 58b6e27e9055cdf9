"""What every penalty shares: its scale, and the bound by which updates take it."""

import abc
import dataclasses
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ..._util.tracing import is_known
from ..._util.validation import check_number, real_array
from ...data.grid import Grid
from ...matrix.base import TINY
from ..constraints.base import BLOCKS
from ..model import Bilinear, Rows

Scale = Float[Array, " components"]
Weight = Float[Array, ""] | str


# The block of a penalty on the maps and the spectra together.
BOTH = "both"
# The share of a row's sum below which an entry counts as zero where it is divided by.
NOTHING = 1e-12
# Weights that `tune` tries of penalties that make entries zero.
SPARSE_TRIALS = tuple(2.5e-4 * 2.0**i for i in range(7))


class Reference(eqx.Module):
    """The scales of the data: S / n and 1 / m of each block, and the order of the norm (see the module's equations).

    `mean` is the mean entry, under `order` 2 the root of the mean square; `entries` have weight. The loss over
    `dispersion` is minus the logarithm of a likelihood: 1, or the variance of the noise, where a penalty asks for it.
    """

    maps_weight: Float[Array, ""]
    maps_unit: Float[Array, ""]
    spectra_weight: Float[Array, ""]
    spectra_unit: Float[Array, ""]
    mean: Float[Array, ""]
    entries: Float[Array, ""]
    order: int = eqx.field(static=True)
    dispersion: Float[Array, ""] | float = 1.0

    def with_dispersion(self, dispersion: Float[Array, ""]) -> "Reference":
        """The same scales with another dispersion."""
        return dataclasses.replace(self, dispersion=dispersion)

    def size(self, rows: Rows) -> Scale:
        """The size of each row: its norm, or under Poisson its sum."""
        if self.order == 1:
            return jnp.sum(jnp.abs(rows), axis=1)
        squares = jnp.sum(rows * rows, axis=1)
        # Of a component that has died the norm has no slope, where JAX would say NaN; it stays dead.
        alive = squares > 0
        return jnp.where(alive, jnp.sqrt(jnp.where(alive, squares, 1)), 0)

    def linear(self, slope: Scale, rows: Rows) -> "Bound":
        """A bound of sum_k slope_k size_k about rows of non-negative entries: n <= n0/2 + n^2/(2 n0) for the norm."""
        if self.order == 1:
            return Bound(slope[:, None], jnp.zeros((1, 1), rows.dtype))
        return self.quadratic(jnp.where(self.size(rows) > 0, slope / jnp.maximum(self.size(rows), TINY), 0), rows)

    def quadratic(self, slope: Scale, rows: Rows) -> "Bound":
        """A bound of sum_k slope_k size_k^2 / 2; for sums (sum x)^2 <= n0 sum x^2 / x0, by Cauchy and Schwarz."""
        if self.order == 2:
            return Bound(slope[:, None] * rows, slope[:, None])
        size = self.size(rows)[:, None]
        # Below this share of its row an entry is nothing, but its inverse would overflow.
        return Bound(slope[:, None] * size, slope[:, None] * size / jnp.maximum(rows, NOTHING * size + TINY))


def as_weight(weight: Any) -> Weight:
    """A weight as an array, or "auto" as it is.

    Raises:
        ValueError: another word.
    """
    if isinstance(weight, str):
        if weight != "auto":
            raise ValueError(f'a penalty\'s weight is a number of 0 or more, or "auto", got {weight!r}.')
        return weight
    if not is_known(weight):
        return jnp.asarray(weight)
    check_number(weight, "a penalty's weight", 0)
    # A number of Python's own takes the type of what it meets; an array is copied, as it could be written to later.
    return jnp.asarray(np.array(real_array(weight, "weight")) if hasattr(weight, "setflags") else weight)


class Bound(NamedTuple):
    """A separable quadratic above a penalty that touches it at the current rows x0.

    penalty(x) <= penalty(x0) + <gradient, x - x0> + <curvature, (x - x0)^2> / 2; both broadcast to the rows.
    """

    gradient: Float[Array, "components _"]
    curvature: Float[Array, "components _"]


class AbstractPenalty(eqx.Module):
    """A term of the objective with a separable bound in each block."""

    block: eqx.AbstractVar[str]
    weight: eqx.AbstractVar[Weight]
    # The blocks that it can be on.
    blocks: ClassVar[tuple[str, ...]] = BLOCKS[:2]
    # Whether it has a separable bound, by which HALS and the multiplicative update take it.
    has_bound: ClassVar[bool] = True
    # Whether the bound is that of rows without negative entries.
    asks_nonnegative: ClassVar[bool] = False
    # Whether it is the same however the size of a component is shared between its map and its spectrum.
    is_scale_free: ClassVar[bool] = True
    # Whether it has a kink at zero, of the slope of its bound: a step on a signed block takes it by a threshold.
    has_threshold: ClassVar[bool] = False
    # Whether it makes neighbours alike, so that it acts on single pixels and not on sums of them.
    is_smoothing: ClassVar[bool] = False
    # Whether `tune` chooses its weight on pooled pixels where counts are thinned.
    is_pooled: ClassVar[bool] = False
    # Whether it decides which components are needed, see `ARD`.
    is_relevance: ClassVar[bool] = False
    # What `tune` tries in place of "auto", from the first to the last; () where it cannot choose.
    trials: ClassVar[tuple[float, ...]] = ()

    def __check_init__(self):
        if not isinstance(self.block, str) or self.block not in self.blocks:
            raise ValueError(f'{type(self).__name__}: the block must be "maps" or "spectra", got {self.block!r}.')

    @property
    def is_auto(self) -> bool:
        """Whether the weight is still to be chosen from the data, by `tune`."""
        return isinstance(self.weight, str)

    @property
    def estimates_noise(self) -> bool:
        """Whether it is relative to the variance of the noise, which is then estimated from the residual."""
        return False

    @property
    def pixel_grid(self) -> Grid | None:
        """The grid whose cells the maps' columns must be; None where it does not ask which pixels are neighbours."""
        return None

    @property
    def label(self) -> str:
        """What it is called in a result."""
        weight = f"{float(self.weight):g}" if is_known(self.weight) else "traced"
        return f"{type(self).__name__}({self.block}, {weight})"

    @abc.abstractmethod
    def value(self, factors: Bilinear, reference: Reference) -> Float[Array, ""]:
        """The term that is added to the objective."""

    @abc.abstractmethod
    def bound(self, factors: Bilinear, reference: Reference, block: str) -> Bound:
        """The bound as `block`, "maps" or "spectra", moves and the other block stays."""

    def coupling(self, factors: Bilinear, reference: Reference) -> Float[Array, "components components"] | None:
        """Where the term is sum Q_jk <row_j, row_k> / 2 in its block: Q, which HALS then takes in place of a bound."""
        return None

    def relevance(self, factors: Bilinear, reference: Reference) -> tuple[Scale, Bool[Array, " components"]]:
        """The relevance of each component, and whether it has switched off, where `is_relevance`."""
        raise NotImplementedError(f"{type(self).__name__} does not decide which components are needed.")

    def check(self, pixels: int, channels: int) -> None:
        """Refuse a grid that does not fit the data.

        Raises:
            ValueError: the grid has another number of cells than the block has columns.
        """

    def _rows(self, factors: Bilinear) -> Rows:
        return factors.maps_t if self.block == "maps" else factors.spectra

    def _other(self, factors: Bilinear) -> Rows:
        return factors.spectra if self.block == "maps" else factors.maps_t

    def _scales(self, reference: Reference) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The weight times S / n, and 1 / m."""
        assert not self.is_auto, "fit() refuses a weight that is not chosen"
        weight = jnp.asarray(self.weight)
        if self.block == "maps":
            return weight * reference.maps_weight, reference.maps_unit
        return weight * reference.spectra_weight, reference.spectra_unit

    def _factor(self, reference: Reference, degree: int) -> Float[Array, ""]:
        weight, unit = self._scales(reference)
        return weight * unit**degree


class AbstractRowPenalty(AbstractPenalty):
    """weight * S/n * sum_k f(rows_k |other_k| / m), homogeneous of degree `degree` in the rows.

    Subclasses say what f is and how it is bounded; the scaling and the bound in the other block follow here.
    """

    degree: eqx.AbstractClassVar[int]

    @abc.abstractmethod
    def raw(self, rows: Rows) -> Scale:
        """F of each row, without the scale."""

    @abc.abstractmethod
    def raw_bound(self, rows: Rows) -> Bound:
        """A bound of `raw` summed over rows."""

    def value(self, factors: Bilinear, reference: Reference) -> Float[Array, ""]:
        size = reference.size(self._other(factors))
        return jnp.sum(self._factor(reference, self.degree) * size**self.degree * self.raw(self._rows(factors)))

    def bound(self, factors: Bilinear, reference: Reference, block: str) -> Bound:
        rows, other = self._rows(factors), self._other(factors)
        factor = self._factor(reference, self.degree)
        if block == self.block:
            gradient, curvature = self.raw_bound(rows)
            scale = (factor * reference.size(other) ** self.degree)[:, None]
            return Bound(scale * gradient, scale * curvature)
        raw = factor * self.raw(rows)
        return reference.quadratic(2 * raw, other) if self.degree == 2 else reference.linear(raw, other)
