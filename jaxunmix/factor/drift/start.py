"""Where a fit of drifting spectra starts: an ordinary fit of pixels averaged with their neighbours."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key

from ...data.grid import Grid
from ..initial.base import AbstractInitial
from ..losses.base import AbstractLoss
from ..penalties.neighbours.differences import differences, gather
from ..problem import Problem
from ..solve.fitting import fit
from .splines import Coefficients, PixelMaps, Shifts

# Each pass of averaging adds a quarter of a pixel squared to the variance of the window along each of two axes.
PASSES = 16
# Steps of the ordinary fit.
STEPS = 50


def average_neighbours(values: Float[Array, "pixels channels"], grid: Grid, passes: int = PASSES) -> Array:
    """Pixels averaged with their live neighbours, by so many steps of diffusion; sums are kept."""
    axes = max(sum(size > 1 for size in grid.shape), 1)

    def once(_: Any, rows: Array) -> Array:
        return rows - gather(differences(rows, grid), grid) / (4 * axes)

    return lax.fori_loop(0, passes, once, values.T).T


@partial(jax.jit, static_argnums=2)
def align_and_average(values: Float[Array, "pixels channels"], shifts: Shifts, grid: Grid) -> Array:
    """The data moved back by the shifts, by linear interpolation, and averaged over neighbours: for a start only."""
    channels = jnp.arange(values.shape[1], dtype=values.dtype)
    aligned = jax.vmap(lambda row, shift: jnp.interp(channels + shift, channels, row))(values, shifts)
    return average_neighbours(aligned, grid)


def first_factors(
    values: Float[Array, "pixels channels"],
    shifts: Shifts,
    loss: AbstractLoss,
    rank: int,
    grid: Grid,
    init: AbstractInitial,
    key: Key[Array, ""],
    reach: int,
) -> tuple[PixelMaps, Coefficients]:
    """Maps, and spectra taken for coefficients, continued beyond their ends."""
    smooth = align_and_average(values, shifts, grid)
    # Of whole counts rounding leaves what is not quite zero on either side.
    smooth = jnp.maximum(smooth, 0) if not loss.is_squares else smooth
    found = fit(Problem(smooth, loss), rank, init=init, key=key, max_steps=STEPS, alternatives=None)
    maps, spectra = (_lift(rows) for rows in (found.maps, found.spectra))
    return maps, jnp.pad(spectra, ((0, 0), (reach, reach)), mode="edge")


def ladder(rank: int) -> list[int]:
    """Numbers of components whose fits find shifts to start from, the last of them the wanted one.

    The largest differences between pixels are those between phases. A start with as many components as there are
    phases, but without shifts, may take one phase at two shifts for two of them, and leave a small one out.
    """
    return sorted({1, rank // 2, rank - 1, rank} - {0})


def _lift(rows: Array) -> Array:
    """Nothing is quite zero: multiplicative updates would leave it there."""
    return jnp.maximum(rows, 1e-4 * jnp.mean(rows))
