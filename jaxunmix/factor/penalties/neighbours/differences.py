"""Differences between neighbours on a grid, and their sums: what smoothing penalties are made of."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ...._util.validation import check_several
from ....data.grid import Grid
from ...model import Rows


def as_grid(grid: Grid | Sequence[int] | None, block: str, name: str) -> Grid | None:
    """A grid from a shape; None where the columns are channels in a row.

    Raises:
        ValueError: no grid for the maps.
    """
    if grid is None and block == "maps":
        raise ValueError(f'{name}("maps", ...) asks for grid=img.grid or the shape of the map, such as (ny, nx).')
    return grid if grid is None or isinstance(grid, Grid) else Grid.of(check_several(grid, "grid", "(ny, nx)"))


def check_grid(grid: Grid | None, block: str, name: str, pixels: int, channels: int) -> None:
    """Refuse a grid of another number of cells than the block has columns.

    Raises:
        ValueError: naming the two numbers.
    """
    columns = pixels if block == "maps" else channels
    if grid is not None and grid.size != columns:
        axis = "pixels" if block == "maps" else "channels"
        raise ValueError(
            f"{name}: the grid {grid.shape} has {grid.size} cells in use, the data {columns} {axis}; "
            "take grid=img.grid of the image that made the matrix."
        )


def differences(rows: Rows, grid: Grid) -> list[Array]:
    """For each axis of the grid the step from each cell to the next, 0 where one of the two is masked.

    Each is (components, *grid) with the last cell of that axis left out.
    """
    cells = _on_grid(rows, grid)
    steps = []
    for axis in range(1, cells.ndim):
        step = jnp.diff(cells, axis=axis)
        if grid.keep is not None:
            step = step * _both_live(grid, axis)
        steps.append(step)
    return steps


def gather(steps: Sequence[Array], grid: Grid) -> Rows:
    """At each cell the sum of the steps that lead to it less those that leave it: the transpose of `differences`."""
    return _at_cells(steps, grid, -1)


def spread(steps: Sequence[Array], grid: Grid) -> Rows:
    """At each cell the sum of what belongs to its two steps along each axis."""
    return _at_cells(steps, grid, 1)


def _at_cells(steps: Sequence[Array], grid: Grid, sign: int) -> Rows:
    """At each cell the sum of the steps that lead to it, and with this sign of those that leave it."""
    out = jnp.zeros((steps[0].shape[0], *grid.shape), steps[0].dtype)
    for axis, step in enumerate(steps, 1):
        before, after = [(0, 0)] * out.ndim, [(0, 0)] * out.ndim
        before[axis], after[axis] = (1, 0), (0, 1)
        out = out + jnp.pad(step, before) + sign * jnp.pad(step, after)
    flat = out.reshape(len(out), -1)
    return flat if grid.keep is None else flat[:, np.flatnonzero(grid.mask)]


def ahead(steps: Sequence[Array], grid: Grid) -> Array:
    """The sum over the axes of what belongs to the step from each cell to the next, (components, *grid)."""
    shape = (steps[0].shape[0], *grid.shape)
    out = jnp.zeros(shape, steps[0].dtype)
    for axis, step in enumerate(steps, 1):
        out = out + jnp.pad(step, [(0, 1) if a == axis else (0, 0) for a in range(out.ndim)])
    return out


def _on_grid(rows: Rows, grid: Grid) -> Array:
    if grid.keep is not None:
        live = np.flatnonzero(grid.mask)
        rows = jnp.zeros((len(rows), grid.mask.size), rows.dtype).at[:, live].set(rows)
    return rows.reshape(rows.shape[0], *grid.shape)


def _both_live(grid: Grid, axis: int) -> Any:
    mask = np.moveaxis(grid.mask, axis - 1, 0)
    return np.moveaxis(mask[1:] & mask[:-1], 0, axis - 1)
