r"""One step of the shifts, while maps and the shapes of spectra stand still; it never raises the objective.

The objective is the loss and the penalty $\frac{\phi}{2 \tau^2} |L d|^2$ of `smoothing`; $\phi$ is the dispersion of
the noise, so that the loss over $\phi$ is a negative log-likelihood whatever the unit of the data.

The Gauss-Newton step moves the shifts and, with them, each spectrum as a whole by an offset $e_k$: where a phase is
nearly pure, its pixels' shifts and the place of its spectrum are one and the same to the data, and steps of the one and
the other in turn would take hundreds. With $b_{pkl} = \sum_c v_{pc}^{-1} t_{pkc} t_{plc}$, of the slopes
$t_{pk} = m_{pk} s_k'$ and the variance v of an entry in units of the dispersion, the step solves

$\begin{pmatrix} \mathrm{diag}(\sum_{kl} b_{pkl}) + \frac{\phi}{\tau^2} L^2 & \sum_l b_{pkl} \\ \cdot &
\sum_p b_{pkl} \end{pmatrix} \begin{pmatrix} \delta d \\ \delta e \end{pmatrix} = -\nabla$

under $\sum_p \delta d_p = 0$: a shift of all pixels is one of all spectra.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ...data.grid import Grid
from ...matrix.base import TINY, accurate_sum, matmul
from ..losses.base import AbstractLoss
from .smoothing import DAMPING, Cells, Prior, at_pixels, on_cells, penalty, plate, solve
from .splines import (
    Coefficients,
    Offsets,
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
# By what the roughness changes in a round, and how much less alike than along the fast axis pixels may be across.
FACTORS = (0.5, 1.0, 2.0)
ACROSS = (1.0, 0.01)


class State(NamedTuple):
    """What is fitted, the shifts and offsets in channels.

    Attributes:
        maps: (pixels, K).
        coefficients: of the spectra.
        field: the shifts on the whole grid, masked cells included.
        shifts: those of the live pixels.
        offsets: (K,) of the spectra.
    """

    maps: PixelMaps
    coefficients: Coefficients
    field: Cells
    shifts: Shifts
    offsets: Offsets


class Slopes(NamedTuple):
    """How the loss depends on where each spectrum lies in each pixel.

    Attributes:
        gradient: (pixels, K).
        curvature: (pixels, K, K), that which is expected.
        dispersion: of the residual.
    """

    gradient: PixelMaps
    curvature: Float[Array, "pixels components components"]
    dispersion: Float[Array, ""]

    def of(self, pixels: Bool[Array, " pixels"]) -> "Slopes":
        """As if the others had no data."""
        gradient = jnp.where(pixels[:, None], self.gradient, 0)
        return Slopes(gradient, jnp.where(pixels[:, None, None], self.curvature, 0), self.dispersion)


def data_term(loss: AbstractLoss, values: Array, state: State, reach: int) -> Float[Array, ""]:
    """The loss, summed over all entries."""
    return accurate_sum(
        loss.divergence(values, shifted_model(state.maps, state.coefficients, state.shifts, state.offsets, reach))
    )


def slopes(loss: AbstractLoss, values: Array, state: State, reach: int) -> Slopes:
    """The derivatives of the loss."""
    rows = flat(copies(state.coefficients, reach))
    place = state.shifts, state.offsets, reach
    model = matmul(spread_maps(state.maps, offset_weights(*place)), rows)
    known = model > TINY
    precision = known * 1.0 if loss.is_squares else jnp.where(known, 1 / jnp.maximum(model, TINY), 0)
    residual = (model - values) * precision
    lean = state.maps[:, :, None] * offset_slopes(*place)

    def onto(entries: Array) -> PixelMaps:
        return jnp.sum(lean * matmul(entries, rows.T).reshape(lean.shape), axis=-1)

    def against(k: Array) -> PixelMaps:
        own = matmul(lean[:, k], jax.lax.dynamic_index_in_dim(rows.reshape(*lean.shape[1:], -1), k, keepdims=False))
        return onto(own * precision)

    products = jax.lax.map(against, jnp.arange(lean.shape[1]))
    pixels, channels = values.shape
    entries = jnp.sum(known)
    freedom = jnp.maximum(entries - lean.shape[1] * (pixels + channels), entries / 2)
    dispersion = accurate_sum(residual * (model - values)) / jnp.maximum(freedom, 1)
    return Slopes(onto(residual), jnp.moveaxis(products, 0, -1), dispersion)


def move_shifts(
    loss: AbstractLoss, values: Array, state: State, prior: Prior, grid: Grid, most: float, reach: int
) -> tuple[State, Float[Array, ""]]:
    """The state after a step, and the objective there: the least of several lengths, none included."""
    step = newton_step(slopes(loss, values, state, reach), state.field, prior, grid)
    way, turn = (jnp.clip(part, -TRUST, TRUST) for part in step)

    def moved(fraction: Float[Array, ""]) -> tuple[State, Float[Array, ""]]:
        field = jnp.clip(state.field + fraction * way, -most, most)
        # Clipping takes the mean away from zero by little.
        field = field - jnp.clip(jnp.mean(at_pixels(field, grid)), -0.25, 0.25)
        new = state._replace(field=field, shifts=at_pixels(field, grid), offsets=state.offsets + fraction * turn)
        return new, data_term(loss, values, new, reach) + penalty(field, prior, grid)

    def better(i: Any, carry: tuple[State, Float[Array, ""]]) -> tuple[State, Float[Array, ""]]:
        new, height = moved(jnp.asarray(FRACTIONS, values.dtype)[i])
        lower = height < carry[1]
        return jax.tree.map(lambda a, b: jnp.where(lower, a, b), (new, height), carry)

    here = data_term(loss, values, state, reach) + penalty(state.field, prior, grid)
    return jax.lax.fori_loop(0, len(FRACTIONS), better, (state, here))


def newton_step(found: Slopes, field: Cells, prior: Prior, grid: Grid) -> tuple[Cells, Offsets]:
    """The step of the shifts and of the offsets: the offsets from the Schur complement of the shifts' block."""
    gradient = on_cells(found.gradient.sum(axis=1), grid) + prior.weight * plate(field, prior, grid)
    ones = jnp.ones((1, len(found.gradient)), field.dtype)
    coupling = on_cells(jnp.concatenate([found.curvature.sum(axis=2).T, ones]), grid)
    curve = on_cells(found.curvature.sum(axis=(1, 2)), grid)
    columns = jnp.concatenate([gradient[None], coupling])
    solved = jax.lax.map(lambda one: solve(curve, prior, grid, one), columns).reshape(len(columns), -1)
    rows = coupling.reshape(len(coupling), -1)
    inner = found.curvature.sum(axis=0)
    inner = inner + DAMPING * jnp.diag(jnp.diag(inner) + TINY)
    schur = jnp.pad(inner, (0, 1)) - matmul(rows, solved[1:].T)
    target = jnp.append(-found.gradient.sum(axis=0), 0) + matmul(rows, solved[0])
    # Rows of one scale: those of the constraint are in another unit than the others.
    scale = 1 / jnp.sqrt(jnp.maximum(jnp.abs(jnp.diag(schur)), TINY))
    turn = scale * jnp.linalg.solve(scale[:, None] * schur * scale, scale * target)
    way = -(solved[0] + matmul(turn, solved[1:])).reshape(field.shape)
    return way, turn[:-1]


def estimate_prior(
    loss: AbstractLoss, values: Array, state: State, prior: Prior, grid: Grid, reach: int, roughness: float | None
) -> Prior:
    r"""The dispersion of the residual, and the roughness, from half to twice the present one, that predicts best.

    The pixels are the fields of a chess board. From the black ones alone follows a Gauss-Newton step of all shifts and
    of the offsets, and by so much it lowers the loss of the white ones, in the same quadratic approximation; and the
    other way round. The prior under which both together are lowered most is taken (cross-validation, Stone, J. R.
    Stat. Soc. B 36 (1974) 111).
    """
    found = slopes(loss, values, state, reach)
    prior = prior._replace(dispersion=found.dispersion)
    if roughness is not None:
        return prior
    black = jnp.asarray(np.indices(grid.shape).sum(axis=0)[grid.mask] % 2 == 0)

    def height(trial: Prior) -> Float[Array, ""]:
        total = jnp.zeros((), values.dtype)
        for half in (black, ~black):
            known, other = (found.of(pixels) for pixels in (half, ~half))
            way, turn = newton_step(known, state.field, trial, grid)
            step = at_pixels(way, grid)[:, None] + turn
            bend = jnp.einsum("pk,pkl,pl->", step, other.curvature, step, precision="highest")
            total = total + jnp.sum(other.gradient * step) + bend / 2
        return total

    pairs = [(factor, across) for factor in FACTORS for across in ACROSS]
    factors, across = (jnp.asarray(column, values.dtype) for column in zip(*pairs, strict=True))
    trials = Prior(prior.roughness * factors, across, jnp.broadcast_to(prior.dispersion, len(pairs)))
    best = jnp.argmin(jax.lax.map(height, trials))
    return jax.tree.map(lambda leaf: leaf[best], trials)
