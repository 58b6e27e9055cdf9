"""Flat regions with sharp rims: total variation."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...._util.validation import check_number
from ....data.grid import Grid
from ...model import Bilinear, Rows
from ..base import AbstractPenalty, Bound, Reference, Weight, as_weight
from .differences import ahead, as_grid, check_grid, differences, gather, spread


class TotalVariation(AbstractPenalty):
    r"""weight * S/n * sum over cells of sqrt(|steps to the next cells|^2 + e^2) - e: flat regions with sharp rims.

    Isotropic total variation (Rudin, Osher and Fatemi, Physica D 60 (1992) 259), rounded off at steps below e, of u in
    data units. The root lies below its tangent in the square,

        sqrt(d^2 + e^2) <= r0 + (d^2 - d0^2) / (2 r0),    r0 = sqrt(d0^2 + e^2),

    so it is bounded by a Laplacian whose weights follow the rims (Oliveira, Bioucas-Dias and Figueiredo, Signal
    Process. 89 (2009) 1683), and that by a separable quadratic.

    Args:
        block: "maps" or "spectra".
        weight: free of scale.
        grid: `img.grid`, or a plain shape such as (ny, nx); for "spectra" None means channels in a row.
        epsilon: e, as a share of a pixel's mean signal.
    """

    block: str = eqx.field(static=True)
    weight: Weight = eqx.field(converter=as_weight)
    grid: Grid | None = eqx.field(static=True)
    epsilon: float = eqx.field(static=True)
    is_smoothing = True
    # From strong to weak.
    trials = tuple(10 ** (-i / 2) for i in range(9))

    def __init__(
        self,
        block: str,
        weight: Any,
        grid: Grid | Sequence[int] | None = None,
        epsilon: float = 0.01,
    ):
        self.block, self.weight = block, as_weight(weight)
        self.grid = as_grid(grid, block, "TotalVariation")
        self.epsilon = check_number(epsilon, "TotalVariation: epsilon", above=0)

    def check(self, pixels: int, channels: int) -> None:
        check_grid(self.grid, self.block, "TotalVariation", pixels, channels)

    @property
    def pixel_grid(self) -> Grid | None:
        return self.grid if self.block == "maps" else None

    def value(self, factors: Bilinear, reference: Reference) -> Float[Array, ""]:
        weight, _ = self._scales(reference)
        return weight * jnp.sum(self._roots(self._shares(factors, reference)) - self.epsilon)

    def bound(self, factors: Bilinear, reference: Reference, block: str) -> Bound:
        weight, unit = self._scales(reference)
        rows, other = self._rows(factors), self._other(factors)
        size = (unit * reference.size(other))[:, None]
        shares = rows * size
        grid = self._grid(rows)
        inverse = 1 / self._roots(shares)
        steps = differences(shares, grid)
        # The root of a cell holds the steps from it to the next ones.
        own = [_without_last(inverse, axis) for axis in range(1, inverse.ndim)]
        pulled = [step * w for step, w in zip(steps, own, strict=True)]
        if block == self.block:
            gradient = weight * size * gather(pulled, grid)
            live = [w * _live(step, grid, axis) for axis, (w, step) in enumerate(zip(own, steps, strict=True), 1)]
            return Bound(gradient, weight * size**2 * 2 * spread(live, grid))
        power = sum(jnp.sum((p * s).reshape(len(rows), -1), axis=1) for p, s in zip(pulled, steps, strict=True))
        squares = reference.size(other) ** 2
        return reference.quadratic(
            jnp.where(squares > 0, weight * power / jnp.where(squares > 0, squares, 1), 0), other
        )

    def _shares(self, factors: Bilinear, reference: Reference) -> Rows:
        _, unit = self._scales(reference)
        return self._rows(factors) * (unit * reference.size(self._other(factors)))[:, None]

    def _grid(self, rows: Rows) -> Grid:
        return Grid.of((rows.shape[1],)) if self.grid is None else self.grid

    def _roots(self, shares: Rows) -> Array:
        """Of each cell, masked ones too, whose steps are 0."""
        squares = [step**2 for step in differences(shares, self._grid(shares))]
        return jnp.sqrt(ahead(squares, self._grid(shares)) + self.epsilon**2)


def _without_last(cells: Array, axis: int) -> Array:
    return jnp.take(cells, jnp.arange(cells.shape[axis] - 1), axis=axis)


def _live(step: Array, grid: Grid, axis: int) -> Array:
    if grid.keep is None:
        return jnp.ones((1,) * step.ndim, step.dtype)
    mask = jnp.moveaxis(jnp.asarray(grid.mask), axis - 1, 0)
    return jnp.moveaxis(mask[1:] & mask[:-1], 0, axis - 1)[None].astype(step.dtype)
