r"""The prior of the shifts: a pixel's is near the mean of its neighbours', over the whole grid, masked cells included.

Its negative logarithm is $\frac{1}{2 \tau^2} |L d|^2$, with L d the difference between a cell and the mean of its
neighbours along each axis, summed over the axes with weights r: the energy of a thin plate, which leaves slow drifts
alone. With reflecting edges L is diagonal in the cosine transform (Strang, SIAM Rev. 41 (1999) 135); this makes the
preconditioner of the systems $\mathrm{diag}(h) + w L^2$.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import fft
from jaxtyping import Array, Float

from ...data.grid import Grid
from ...matrix.base import TINY

# Of the mean curvature, added to each: pixels without counts know nothing of their shift.
DAMPING = 1e-4
ITERATIONS, ACCURACY = 200, 1e-4

Cells = Float[Array, "..."]


class Prior(NamedTuple):
    """How alike the shifts of neighbours are, and how noisy the data.

    Attributes:
        roughness: tau, channels.
        across: r of all axes but the last, along which the scan runs fast.
        dispersion: phi of the noise, so that the loss over phi is a negative log-likelihood.
    """

    roughness: Float[Array, ""]
    across: Float[Array, ""]
    dispersion: Float[Array, ""]

    @property
    def weight(self) -> Float[Array, ""]:
        """Of half the squares of L d, in units of the loss."""
        return self.dispersion / self.roughness**2


def on_cells(pixels: Float[Array, "*batch pixels"], grid: Grid) -> Cells:
    """Values of the live pixels on the whole grid, 0 where there are none."""
    if grid.keep is not None:
        live = np.flatnonzero(grid.mask)
        pixels = jnp.zeros((*pixels.shape[:-1], grid.mask.size), pixels.dtype).at[..., live].set(pixels)
    return pixels.reshape(*pixels.shape[:-1], *grid.shape)


def at_pixels(cells: Cells, grid: Grid) -> Float[Array, " pixels"]:
    """The transpose of `on_cells`."""
    flat = cells.reshape(-1)
    return flat if grid.keep is None else flat[np.flatnonzero(grid.mask)]


def frequencies(grid: Grid, across: Float[Array, ""]) -> Cells:
    """The eigenvalues of L, over the cosines."""
    total = jnp.zeros(grid.shape)
    for axis, size in enumerate(grid.shape):
        own = 1 - np.cos(np.pi * np.arange(size) / size)
        shape = [size if a == axis else 1 for a in range(len(grid.shape))]
        total = total + jnp.asarray(own.reshape(shape)) * (1 if axis == len(grid.shape) - 1 else across)
    return total


def cosines(cells: Cells) -> Cells:
    """The orthonormal cosine transform along all axes."""
    for axis in range(cells.ndim):
        cells = fft.dct(cells, axis=axis, norm="ortho")
    return cells


def from_cosines(waves: Cells) -> Cells:
    """Its inverse."""
    for axis in range(waves.ndim):
        waves = fft.idct(waves, axis=axis, norm="ortho")
    return waves


def plate(cells: Cells, prior: Prior, grid: Grid) -> Cells:
    """L^2 d."""
    return from_cosines(frequencies(grid, prior.across) ** 2 * cosines(cells))


def penalty(cells: Cells, prior: Prior, grid: Grid) -> Float[Array, ""]:
    """The prior's part of the objective."""
    return prior.weight / 2 * jnp.sum((frequencies(grid, prior.across) * cosines(cells)) ** 2)


def solve(curve: Cells, prior: Prior, grid: Grid, target: Cells) -> Cells:
    """(diag(curve) + w L^2)^-1 target, by conjugate gradients."""
    mean = jnp.mean(curve)
    curve = curve + DAMPING * mean + TINY
    stiffness = prior.weight * frequencies(grid, prior.across) ** 2
    inverse = 1 / (stiffness + mean + TINY)

    def product(cells: Cells) -> Cells:
        return curve * cells + from_cosines(stiffness * cosines(cells))

    def precondition(cells: Cells) -> Cells:
        return from_cosines(inverse * cosines(cells))

    found, _ = jax.scipy.sparse.linalg.cg(product, target, tol=ACCURACY, maxiter=ITERATIONS, M=precondition)
    return found
