r"""One step of the shifts, while maps and spectra stand still; it never raises the objective.

The objective is $L(d) + \frac{\phi}{2 \tau^2} \sum_{p \sim q} (d_p - d_q)^2$, the loss and a Gaussian prior of the
differences between neighbours, $\tau$ in channels; $\phi$ is the dispersion of the noise, so that the loss over $\phi$
is a negative log-likelihood whatever the unit of the data. Its Gauss-Newton step solves
$[\mathrm{diag}(h) + (\phi / \tau^2) \mathcal L] \delta = -\nabla$ with the curvature h of the loss and the grid's
Laplacian $\mathcal L$, under $\sum_p \delta_p = 0$: the mean of the shifts is what spectra cannot tell from their own
place.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ...data.grid import Grid
from ...matrix.base import TINY, accurate_sum, matmul
from ..losses.base import AbstractLoss
from ..penalties.neighbours.differences import differences, gather
from .splines import (
    Coefficients,
    PixelMaps,
    Shifts,
    copies,
    flat,
    offset_slopes,
    offset_weights,
    shifted_model,
    spread_maps,
)

# No shift moves by more than this many channels at a step, and shorter steps that are tried where that is too far.
TRUST = 0.5
FRACTIONS = (1.0, 0.5, 0.25, 0.0625)
# Of the mean curvature, added to each: pixels without counts know nothing of their shift.
DAMPING = 1e-4
ITERATIONS, ACCURACY = 200, 1e-4


class Prior(NamedTuple):
    """How alike the shifts of neighbours are, and how noisy the data.

    Attributes:
        roughness: tau, channels.
        dispersion: phi, squared unit of the data under Frobenius, of the counts' unit under Poisson.
    """

    roughness: Float[Array, ""]
    dispersion: Float[Array, ""]

    @property
    def weight(self) -> Float[Array, ""]:
        """Of half the squared differences, in units of the loss."""
        return self.dispersion / self.roughness**2


def laplacian(shifts: Shifts, grid: Grid) -> Shifts:
    """At each pixel the sum of the differences to its neighbours."""
    return gather(differences(shifts[None], grid), grid)[0]


def penalty(shifts: Shifts, prior: Prior, grid: Grid) -> Float[Array, ""]:
    """The prior's part of the objective."""
    return prior.weight / 2 * sum(jnp.sum(step**2) for step in differences(shifts[None], grid))


def data_term(
    loss: AbstractLoss, values: Array, maps: PixelMaps, coefficients: Coefficients, shifts: Shifts, reach: int
) -> Float[Array, ""]:
    """The loss, summed over all entries."""
    return accurate_sum(loss.divergence(values, shifted_model(maps, coefficients, shifts, reach)))


def curvature(
    loss: AbstractLoss, values: Array, maps: PixelMaps, coefficients: Coefficients, shifts: Shifts, reach: int
) -> tuple[Shifts, Shifts, Float[Array, ""]]:
    """Gradient of the loss in each shift, its expected curvature, and the dispersion of the noise."""
    rows = flat(copies(coefficients, reach))
    model = matmul(spread_maps(maps, offset_weights(shifts, reach)), rows)
    slope = matmul(spread_maps(maps, offset_slopes(shifts, reach)), rows)
    # The variance of an entry in units of the dispersion: the counts that are expected, or 1.
    variance = jnp.ones_like(model) if loss.is_squares else jnp.maximum(model, TINY)
    known = model > TINY
    precision = jnp.where(known, 1 / variance, 0)
    residual = (model - values) * precision
    gradient, curve = jnp.sum(residual * slope, axis=1), jnp.sum(slope**2 * precision, axis=1)
    pixels, channels = values.shape
    spent = len(coefficients) * (pixels + channels)
    freedom = jnp.maximum(jnp.sum(known) - spent, jnp.sum(known) / 2)
    return gradient, curve, accurate_sum(residual * (model - values)) / jnp.maximum(freedom, 1)


def move_shifts(
    loss: AbstractLoss,
    values: Array,
    maps: PixelMaps,
    coefficients: Coefficients,
    shifts: Shifts,
    prior: Prior,
    grid: Grid,
    most: float,
    reach: int,
) -> tuple[Shifts, Float[Array, ""]]:
    """The shifts after a step, and the objective there: the least of several lengths, none included."""
    gradient, curve, _ = curvature(loss, values, maps, coefficients, shifts, reach)
    way = _solve(curve, prior, grid, -(gradient + prior.weight * laplacian(shifts, grid)))
    ones = _solve(curve, prior, grid, jnp.ones_like(shifts))
    way = jnp.clip(way - ones * jnp.sum(way) / jnp.sum(ones), -TRUST, TRUST)

    def reached(fraction: Float[Array, ""]) -> tuple[Shifts, Float[Array, ""]]:
        new = jnp.clip(shifts + fraction * way, -most, most)
        # Clipping takes the mean away from zero by little; coefficients are there for one channel beyond `most`.
        new = new - jnp.clip(jnp.mean(new), -1, 1)
        return new, data_term(loss, values, maps, coefficients, new, reach) + penalty(new, prior, grid)

    here = data_term(loss, values, maps, coefficients, shifts, reach) + penalty(shifts, prior, grid)
    places, heights = jax.lax.map(reached, jnp.asarray(FRACTIONS, shifts.dtype))
    best = jnp.argmin(jnp.where(jnp.isfinite(heights), heights, jnp.inf))
    lower = heights[best] < here
    return jnp.where(lower, places[best], shifts), jnp.where(lower, heights[best], here)


def estimate_prior(
    loss: AbstractLoss,
    values: Array,
    maps: PixelMaps,
    coefficients: Coefficients,
    shifts: Shifts,
    prior: Prior,
    grid: Grid,
    reach: int,
    key: Key[Array, ""],
    roughness: float | None = None,
) -> Prior:
    r"""The dispersion of the residual, and the roughness by one step of expectation maximisation.

    $\tau^2 \leftarrow [d^T \mathcal L d + \phi \, \mathrm{tr}(\mathcal L H^{-1})] / (n - 1)$: the squared differences
    that are expected under the posterior of the shifts, of covariance $\phi H^{-1}$ (Dempster, Laird and Rubin, J. R.
    Stat. Soc. B 39 (1977) 1); the trace by one random vector of signs (Hutchinson, Commun. Stat. 19 (1990) 433).
    """
    _, curve, dispersion = curvature(loss, values, maps, coefficients, shifts, reach)
    prior = prior._replace(dispersion=dispersion)
    if roughness is not None:
        return prior
    signs = jax.random.rademacher(key, shifts.shape, shifts.dtype)
    trace = jnp.sum(signs * laplacian(_solve(curve, prior, grid, signs), grid))
    squares = jnp.sum(shifts * laplacian(shifts, grid)) + dispersion * jnp.maximum(trace, 0)
    # Where the shifts are all alike a rest is left, so that the weight stays finite.
    return prior._replace(roughness=jnp.sqrt(jnp.maximum(squares / max(len(shifts) - 1, 1), 1e-8)))


def _solve(curve: Shifts, prior: Prior, grid: Grid, target: Shifts) -> Shifts:
    curve = curve + DAMPING * jnp.mean(curve) + TINY

    def product(x: Shifts) -> Shifts:
        return curve * x + prior.weight * laplacian(x, grid)

    scale = 1 / (curve + prior.weight)
    return jax.scipy.sparse.linalg.cg(product, target, tol=ACCURACY, maxiter=ITERATIONS, M=lambda x: scale * x)[0]
