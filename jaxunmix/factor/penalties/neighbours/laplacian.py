"""Neighbours alike: the graph Laplacian of a grid."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ....data.grid import Grid
from ...model import Rows
from ..base import AbstractRowPenalty, Bound, Scale, Weight, as_weight
from .differences import as_grid, check_grid, differences, gather


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
    is_pooled = True
    # From strong to weak.
    trials = tuple(100 * 10 ** (-i / 2) for i in range(7))

    def __init__(self, block: str, weight: Any, grid: Grid | Sequence[int] | None = None):
        self.block, self.weight = block, as_weight(weight)
        self.grid = as_grid(grid, block, "Laplacian")

    def check(self, pixels: int, channels: int) -> None:
        check_grid(self.grid, self.block, "Laplacian", pixels, channels)

    @property
    def pixel_grid(self) -> Grid | None:
        return self.grid if self.block == "maps" else None

    def raw(self, rows: Rows) -> Scale:
        steps = differences(rows, self._grid(rows))
        return sum((jnp.sum(step**2, axis=range(1, step.ndim)) for step in steps), start=jnp.zeros(len(rows))) / 2

    def raw_bound(self, rows: Rows) -> Bound:
        grid = self._grid(rows)
        degree = np.bincount(grid.neighbours().ravel(), minlength=grid.size)
        gradient = gather(differences(rows, grid), grid)
        return Bound(gradient, 2 * jnp.asarray(degree, rows.dtype)[None])

    def _grid(self, rows: Rows) -> Grid:
        return Grid.of((rows.shape[1],)) if self.grid is None else self.grid
