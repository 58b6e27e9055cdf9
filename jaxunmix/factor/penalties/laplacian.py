"""Neighbours alike: the graph Laplacian of a grid."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ..._util.validation import check_several
from ...data.grid import Grid
from ..model import Rows
from .base import AbstractRowPenalty, Bound, Scale, Weight, as_weight


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
    is_smoothing = True
    # From strong to weak.
    trials = tuple(100 * 10 ** (-i / 2) for i in range(7))

    def __init__(self, block: str, weight: Any, grid: Grid | Sequence[int] | None = None):
        if grid is None and block == "maps":
            raise ValueError('Laplacian("maps", ...) asks for grid=img.grid or the shape of the map, such as (ny, nx).')
        self.block = block
        self.weight = as_weight(weight)
        self.grid = grid if grid is None or isinstance(grid, Grid) else Grid.of(check_several(grid, "grid", "(ny, nx)"))

    def check(self, pixels: int, channels: int) -> None:
        columns = pixels if self.block == "maps" else channels
        if self.grid is not None and self.grid.size != columns:
            axis = "pixels" if self.block == "maps" else "channels"
            raise ValueError(
                f"Laplacian: the grid {self.grid.shape} has {self.grid.size} cells in use, the data {columns} {axis}; "
                "take grid=img.grid of the image that made the matrix."
            )

    @property
    def pixel_grid(self) -> Grid | None:
        return self.grid if self.block == "maps" else None

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
