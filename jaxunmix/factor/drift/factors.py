"""One step of the maps, then of the spectra, while the shifts stand still; neither raises the loss."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ...matrix.base import TINY, accurate_sum, matmul
from .splines import (
    Coefficients,
    PixelMaps,
    PixelWeights,
    copies,
    flat,
    gather_copies,
    spread_maps,
)

Values = Float[Array, "pixels channels"]

# Passes over the components of each pixel's maps, and gradient steps of the spectra, for each product with the data.
SWEEPS = 3
STEPS = 10


def poisson_step(
    values: Values, maps: PixelMaps, coefficients: Coefficients, weights: PixelWeights, reach: int
) -> tuple[PixelMaps, Coefficients]:
    """The multiplicative updates of Lee and Seung (Adv. Neural Inf. Process. Syst. 13 (2001) 556).

    The model is linear in the maps, and in the coefficients, by what is nowhere negative; so their theorem holds.
    """
    moved = copies(coefficients, reach)
    ratio = values / jnp.maximum(matmul(spread_maps(maps, weights), flat(moved)), TINY)
    raised = matmul(ratio, flat(moved).T).reshape(len(maps), *moved.shape[:2])
    gain = jnp.einsum("pko,pko->pk", raised, weights, precision="highest")
    cost = jnp.einsum("ko,pko->pk", moved.sum(axis=-1), weights, precision="highest")
    maps = jnp.where(cost > 0, maps * gain / jnp.maximum(cost, TINY), maps)
    spread = spread_maps(maps, weights)
    ratio = values / jnp.maximum(matmul(spread, flat(moved)), TINY)
    raised = gather_copies(matmul(spread.T, ratio).reshape(moved.shape), reach)
    cost = gather_copies(jnp.broadcast_to(spread.sum(axis=0).reshape(*moved.shape[:2], 1), moved.shape), reach)
    # Coefficients beyond the ends that no pixel sees stay as they are.
    return maps, jnp.where(cost > 0, coefficients * raised / jnp.maximum(cost, TINY), coefficients)


def frobenius_step(
    values: Values, maps: PixelMaps, coefficients: Coefficients, weights: PixelWeights, reach: int
) -> tuple[PixelMaps, Coefficients]:
    """Each component's maps to their optimum in turn, as in HALS; the coefficients by accelerated gradient steps."""
    moved = copies(coefficients, reach)
    shape = (*moved.shape[:2], *moved.shape[:2])
    gram = matmul(flat(moved), flat(moved).T).reshape(shape)
    own = jnp.einsum("pko,kolq,plq->pkl", weights, gram, weights, precision="highest", optimize=True)
    cross = matmul(values, flat(moved).T).reshape(len(maps), *moved.shape[:2])
    maps = _sweep(maps, own, jnp.einsum("pko,pko->pk", cross, weights, precision="highest"))
    spread = spread_maps(maps, weights)
    return maps, _descend(coefficients, matmul(spread.T, spread), matmul(spread.T, values), reach)


def _sweep(maps: PixelMaps, gram: Float[Array, "pixels k k"], cross: PixelMaps) -> PixelMaps:
    def one(i: Array, maps: PixelMaps) -> PixelMaps:
        k = i % maps.shape[1]
        steepness = gram[:, k, k]
        slope = cross[:, k] - jnp.sum(gram[:, k] * maps, axis=1)
        new = jnp.maximum(maps[:, k] + slope / jnp.where(steepness > 0, steepness, 1), 0)
        return maps.at[:, k].set(jnp.where(steepness > 0, new, maps[:, k]))

    return lax.fori_loop(0, SWEEPS * maps.shape[1], one, maps)


def _descend(
    coefficients: Coefficients,
    gram: Float[Array, "columns columns"],
    cross: Float[Array, "columns channels"],
    reach: int,
) -> Coefficients:
    """Steps of projected gradient with Nesterov's momentum; the last is a plain one, and the best is kept.

    The Hessian H has no negative entry, so it is bounded by the diagonal of its row sums.
    """

    def hessian(rows: Coefficients) -> Coefficients:
        moved = copies(rows, reach)
        return gather_copies(matmul(gram, flat(moved)).reshape(moved.shape), reach)

    shape = (len(coefficients), -1, cross.shape[1])
    target = gather_copies(cross.reshape(shape), reach)
    bound = hessian(jnp.ones_like(coefficients))

    def plain(rows: Coefficients) -> Coefficients:
        step = (target - hessian(rows)) / jnp.where(bound > 0, bound, 1)
        return jnp.where(bound > 0, jnp.maximum(rows + step, 0), rows)

    def height(rows: Coefficients) -> Float[Array, ""]:
        # Relative to the start, so that little is lost to cancellation.
        way = rows - coefficients
        return accurate_sum(way * (hessian(rows + coefficients) / 2 - target))

    def once(i: Array, carry: tuple[Coefficients, Coefficients]) -> tuple[Coefficients, Coefficients]:
        before, ahead = carry
        new = plain(ahead)
        return new, new + i / (i + 3) * (new - before)

    first = plain(coefficients)
    last = plain(lax.fori_loop(0, STEPS, once, (first, first))[0])
    return jnp.where(height(last) < height(first), last, first)
