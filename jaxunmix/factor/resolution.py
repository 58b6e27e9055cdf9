"""The probe's size: maps blurred by a known resolution function."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._util.validation import check_instance, real_array
from ..data.grid import Grid
from ..matrix.base import TINY
from .model import Rows

# A Gaussian is nothing beyond so many standard deviations.
REACH = 5.0


class Resolution(eqx.Module):
    r"""What the instrument sees of sharp maps: X ~ (R maps) @ spectra.

    $(R w)_p = \sum_q r(p - q) w_q / \sum_q r(p - q)$, with sums over the pixels in use (Kannan et al., Adv. Struct.
    Chem. Imaging 4 (2018) 6, equation 2), so that constant maps stay constant at the rim and beside masked pixels.
    The fitted maps are the sharp ones.

    Args:
        fwhm: of a Gaussian in pixels, one number or one for each axis of the map.
        grid: `img.grid`, or the shape of the map such as (ny, nx).

    Raises:
        ValueError: a width that is not above 0, or another number of widths than of axes.
    """

    kernels: tuple[Float[Array, "cells cells"], ...]
    fwhm: tuple[float, ...] = eqx.field(static=True)
    grid: Grid = eqx.field(static=True)

    def __init__(self, fwhm: float | Sequence[float], grid: Grid | Sequence[int]):
        self.grid = grid if isinstance(grid, Grid) else Grid.of(grid)
        given = real_array(fwhm, "Resolution: fwhm")
        widths = np.atleast_1d(given).astype(float)
        if given.dtype == bool:
            raise ValueError(f"Resolution: fwhm must be a number of pixels, got {fwhm!r}.")
        axes = len(self.grid.shape)
        if widths.ndim > 1 or len(widths) not in (1, axes) or not np.isfinite(widths).all() or not (widths > 0).all():
            raise ValueError(
                f"Resolution: fwhm must be above 0 in pixels, one number or one for each of {axes} axes; got {fwhm}."
            )
        self.fwhm = tuple(np.broadcast_to(widths, axes).tolist())
        self.kernels = tuple(_gaussian(n, width) for n, width in zip(self.grid.shape, self.fwhm, strict=True))

    @property
    def label(self) -> str:
        """What it is called in a result."""
        return f"Gaussian of {' x '.join(f'{width:g}' for width in self.fwhm)} pixels"

    def check(self, pixels: int) -> None:
        """Refuse a grid of another number of pixels.

        Raises:
            ValueError: naming the two numbers.
        """
        if self.grid.size != pixels:
            raise ValueError(
                f"Resolution: the grid {self.grid.shape} has {self.grid.size} cells in use, the data {pixels} pixels; "
                "take grid=img.grid of the image that made the matrix."
            )

    def blur(self, maps: Rows) -> Rows:
        """The maps as the instrument sees them, (components, pixels)."""
        live = np.flatnonzero(self.grid.mask)
        whole = self.grid.keep is None
        ones = jnp.asarray(self.grid.mask.reshape(1, *self.grid.shape), maps.dtype)
        if not whole:
            maps = jnp.zeros((len(maps), self.grid.mask.size), maps.dtype).at[:, live].set(maps)
        blurred = self._spread(maps.reshape(len(maps), *self.grid.shape))
        blurred = blurred / jnp.maximum(self._spread(ones), TINY)
        blurred = blurred.reshape(len(maps), -1)
        return blurred if whole else blurred[:, live]

    def _spread(self, cells: Array) -> Array:
        for axis, kernel in enumerate(self.kernels, 1):
            moved = jnp.moveaxis(cells, axis, -1)
            cells = jnp.moveaxis(jnp.matmul(moved, kernel.astype(cells.dtype), precision="highest"), -1, axis)
        return cells


def _gaussian(cells: int, fwhm: float) -> Float[Array, "cells cells"]:
    apart = np.subtract.outer(np.arange(cells), np.arange(cells)) / (fwhm / np.sqrt(8 * np.log(2)))
    return jnp.asarray(np.where(np.abs(apart) < REACH, np.exp(-(apart**2) / 2), 0))


def check_resolution(resolution: Any, pixels: int) -> Resolution | None:
    """A resolution function that fits the data, or None."""
    if resolution is not None:
        check_instance(resolution, Resolution, "resolution", "Resolution(fwhm=2.0, grid=img.grid)").check(pixels)
    return resolution
