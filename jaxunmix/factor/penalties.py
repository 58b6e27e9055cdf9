"""What the factors should look like: terms added to the objective.

Weights are free of scale. A block's rows are first brought to data units: the share of component k in pixel p is

    u_pk = maps_pk |spectra_k| / m,        m^2 = |X|^2 / pixels,

and, for the spectra, u_kc = spectra_kc |maps_k| / m' with m'^2 = |X|^2 / channels. Under Poisson, where squares hold
the noise too, |.| is the sum of entries and m (m') the mean counts of a pixel (a channel). A penalty is

    weight * S / n * sum over the n pixels (or channels) of a function of u,

where S = sum x^beta is the loss's own scale (|X|^2 for Frobenius, all counts for Poisson). So the same weight
means the same for a crop and the full map, at any dose and any scaling of X, and a component cannot escape by
shrinking its map and growing its spectrum. To convert a published weight w of `sum(maps)` with spectra of norm 1:
weight = w n m / S for L1, w n m^2 / S for the Laplacian.

A plain function of the factors (f.maps, f.spectra) -> scalar is a penalty too; it is added as it is.
"""

import abc
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..data.image import Grid
from ..data.matrix import TINY, matmul
from .constraints import BLOCKS
from .model import Bilinear

Rows = Float[Array, "components length"]
Scale = Float[Array, " components"]
Weight = Float[Array, ""] | str


# The share of a row's sum below which an entry counts as zero where it is divided by.
NOTHING = 1e-12


class Reference(eqx.Module):
    """The scales of the data: S / n and 1 / m of each block, and the order of the norm (see the module's equations)."""

    maps_weight: Float[Array, ""]
    maps_unit: Float[Array, ""]
    spectra_weight: Float[Array, ""]
    spectra_unit: Float[Array, ""]
    order: int = eqx.field(static=True)

    def size(self, rows: Rows) -> Scale:
        """The size of each row: its norm, or under Poisson its sum."""
        return jnp.linalg.norm(rows, axis=1, ord=self.order)

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
    return jnp.asarray(weight)


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

    def __check_init__(self):
        if self.block not in BLOCKS[:2]:
            raise ValueError(f'{type(self).__name__}: the block must be "maps" or "spectra", got {self.block!r}.')
        if not self.is_auto and not float(self.weight) >= 0:
            raise ValueError(f"{type(self).__name__}: the weight must be 0 or more, got {float(self.weight)}.")

    @property
    def is_auto(self) -> bool:
        """Whether the weight is still to be chosen from the data, by `tune`."""
        return isinstance(self.weight, str)

    @abc.abstractmethod
    def value(self, factors: Bilinear, reference: Reference) -> Float[Array, ""]:
        """The term that is added to the objective."""

    @abc.abstractmethod
    def bound(self, factors: Bilinear, reference: Reference, block: str) -> Bound:
        """The bound as `block`, "maps" or "spectra", moves and the other block stays."""

    def coupling(self, factors: Bilinear, reference: Reference) -> Float[Array, "components components"] | None:
        """Where the term is sum Q_jk <row_j, row_k> / 2 in its block: Q, which HALS then takes in place of a bound."""
        return None

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
        assert not isinstance(self.weight, str), "fit() refuses a weight that is not chosen"
        if self.block == "maps":
            return self.weight * reference.maps_weight, reference.maps_unit
        return self.weight * reference.spectra_weight, reference.spectra_unit

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


class L1(AbstractRowPenalty):
    """f(u) = sum |u|: few pixels (or channels) per component, or few components per pixel.

    Lee and Seung's updates with this term are Hoyer's sparse coding (IEEE NNSP 2002), here free of scale.
    """

    block: str = eqx.field(static=True)
    weight: Weight = eqx.field(converter=as_weight)
    degree = 1

    def raw(self, rows: Rows) -> Scale:
        return jnp.sum(jnp.abs(rows), axis=1)

    def raw_bound(self, rows: Rows) -> Bound:
        """Linear, and exact where the rows are not negative."""
        return Bound(jnp.ones((rows.shape[0], 1), rows.dtype), jnp.zeros((rows.shape[0], 1), rows.dtype))


class LogSparsity(AbstractPenalty):
    """weight * S/n * sum log(1 + u / epsilon): most entries nothing at all, the few others hardly touched.

    Teurtrie et al., Ultramicroscopy 249 (2023) 113719, equations 17 and 18, with u in data units. The logarithm lies
    below its tangent, so the bound is linear: a weighted L1 whose weights follow the entries,

        log(1 + u / e) <= log(1 + u0 / e) + (u - u0) / (e + u0).

    It grows ever slower, so a large entry pays little more than a middling one: what L1 takes from the entries that
    should stay, this leaves. Not convex: the start matters, and restarts differ.

    Args:
        block: "maps" or "spectra", non-negative.
        weight: free of scale.
        epsilon: the share of a pixel's mean signal below which an entry counts as nearly nothing.
    """

    block: str = eqx.field(static=True)
    weight: Weight = eqx.field(converter=as_weight)
    epsilon: float | int = eqx.field(default=0.05, static=True)

    def __check_init__(self):
        if not self.epsilon > 0:
            raise ValueError(f"LogSparsity: epsilon must be above 0, got {self.epsilon}.")

    def value(self, factors: Bilinear, reference: Reference) -> Float[Array, ""]:
        weight, unit = self._scales(reference)
        share = self._rows(factors) * (unit * reference.size(self._other(factors)))[:, None]
        return weight * jnp.sum(jnp.log1p(share / self.epsilon))

    def bound(self, factors: Bilinear, reference: Reference, block: str) -> Bound:
        weight, unit = self._scales(reference)
        rows, other = self._rows(factors), self._other(factors)
        size = unit * reference.size(other)[:, None]
        slope = weight / (self.epsilon + rows * size)
        if block == self.block:
            return Bound(slope * size, jnp.zeros((1, 1), rows.dtype))
        return reference.linear(jnp.sum(slope * unit * rows, axis=1), other)


class Laplacian(AbstractRowPenalty):
    """f(u) = sum over neighbours (u_p - u_q)^2 / 2: neighbouring pixels (or channels) are alike.

    The quadratic form u' L u / 2 of the grid's graph Laplacian L (Teurtrie et al., Ultramicroscopy 249 (2023)
    113719, equation 8, with L scaled by the data). Since L <= 2 diag(degree), it is bounded by a separable
    quadratic of curvature 2 degree_p.

    Args:
        block: "maps" or "spectra".
        weight: free of scale.
        grid: `img.grid`, or a plain shape such as (ny, nx); for "spectra" None means channels in a row.
    """

    block: str = eqx.field(static=True)
    weight: Weight = eqx.field(converter=as_weight)
    grid: Grid | None = eqx.field(static=True)
    degree = 2

    def __init__(self, block: str, weight: Any, grid: Grid | Sequence[int] | None = None):
        if grid is None and block == "maps":
            raise ValueError('Laplacian("maps", ...) asks for grid=img.grid or the shape of the map, such as (ny, nx).')
        self.block = block
        self.weight = as_weight(weight)
        self.grid = grid if grid is None or isinstance(grid, Grid) else Grid.of(tuple(grid))

    def check(self, pixels: int, channels: int) -> None:
        columns = pixels if self.block == "maps" else channels
        if self.grid is not None and self.grid.size != columns:
            axis = "pixels" if self.block == "maps" else "channels"
            raise ValueError(
                f"Laplacian: the grid {self.grid.shape} has {self.grid.size} cells in use, the data {columns} {axis}; "
                "take grid=img.grid of the image that made the matrix."
            )

    def raw(self, rows: Rows) -> Scale:
        return 0.5 * jnp.sum(rows * self._apply(rows), axis=1)

    def raw_bound(self, rows: Rows) -> Bound:
        grid = self._grid(rows)
        degree = np.bincount(grid.neighbours().ravel(), minlength=grid.size)
        return Bound(self._apply(rows), 2 * jnp.asarray(degree, rows.dtype)[None])

    def _grid(self, rows: Rows) -> Grid:
        return Grid.of((rows.shape[1],)) if self.grid is None else self.grid

    def _apply(self, rows: Rows) -> Rows:
        """L u: at each cell the sum of its differences to its live neighbours."""
        grid = self._grid(rows)
        shape = (rows.shape[0], *grid.shape)
        live = np.flatnonzero(grid.mask)
        whole = grid.keep is None
        if not whole:
            rows = jnp.zeros((len(rows), grid.mask.size), rows.dtype).at[:, live].set(rows)
        cells = rows.reshape(shape)
        out = jnp.zeros_like(cells)
        for axis in range(1, cells.ndim):
            step = jnp.diff(cells, axis=axis)
            if not whole:
                mask = np.moveaxis(grid.mask, axis - 1, 0)
                step = step * np.moveaxis(mask[1:] & mask[:-1], 0, axis - 1)
            before, after = [(0, 0)] * cells.ndim, [(0, 0)] * cells.ndim
            before[axis], after[axis] = (1, 0), (0, 1)
            out = out + jnp.pad(step, before) - jnp.pad(step, after)
        out = out.reshape(len(rows), -1)
        return out if whole else out[:, live]


class SoftOrthogonality(AbstractPenalty):
    """Overlap of the components: weight * S/n * sum over pairs j < k of <u_j, u_k>.

    Under Frobenius S/n = m^2, so that with the contributions c_k = maps_k |spectra_k| and the angles t_jk between
    the spectra the objective is, pixel by pixel,

        |x|^2 / 2 - sum_k c_k x.s_k/|s_k| + sum_k c_k^2 / 2 + sum_{j<k} c_j c_k (cos t_jk + weight).

    So a weight w acts like spectra that resemble one another more than they do: at 0 nothing is asked, and once
    cos t_jk + w reaches 1 the two components share no pixel. At w = 1 the maps of all pairs whose spectra
    are not opposed (cos t >= 0) come out orthogonal; beyond it, all the more. HALS minimises it exactly, row by row.

    The soft orthogonality of Shiga et al., Ultramicroscopy 170 (2016) 43, with 0 <= w <= 1, has the same purpose but
    is a step rather than a term of an objective: see `constraints.Orthogonal` for that step.
    """

    block: str = eqx.field(static=True)
    weight: Weight = eqx.field(converter=as_weight)

    def value(self, factors: Bilinear, reference: Reference) -> Float[Array, ""]:
        rows = self._rows(factors)
        return jnp.sum(self.coupling(factors, reference) * matmul(rows, rows.T)) / 2

    def bound(self, factors: Bilinear, reference: Reference, block: str) -> Bound:
        rows = self._rows(factors)
        coupling = self.coupling(factors, reference)
        if block == self.block:
            # sum_jk Q_jk (d_j - d_k)^2 >= 0: Q is below the diagonal matrix of its row sums.
            return Bound(matmul(coupling, rows), coupling.sum(axis=1, keepdims=True))
        # The sizes enter as n_j n_k <= (n_j^2 n_k0 / n_j0 + n_k^2 n_j0 / n_k0) / 2.
        other = self._other(factors)
        squares = reference.size(other) ** 2
        overlap = jnp.sum(coupling * matmul(rows, rows.T), axis=1)
        return reference.quadratic(jnp.where(squares > 0, overlap / jnp.where(squares > 0, squares, 1), 0), other)

    def coupling(self, factors: Bilinear, reference: Reference) -> Float[Array, "components components"]:
        size = reference.size(self._other(factors))
        return self._factor(reference, 2) * (jnp.outer(size, size) - jnp.diag(size**2))


Penalty = AbstractPenalty | Callable[[Bilinear], Float[Array, ""]]
