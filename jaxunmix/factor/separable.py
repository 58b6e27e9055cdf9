"""Rows of one block at the minimum of a bound of the objective, with the constraints of that block."""

from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from ..matrix.base import TINY, matmul
from .constraints.base import Constraints
from .model import Rows

# (components, components, columns) where each column has its own quadratic form, else (..., 1).
Hessian = Float[Array, "components components _"]
Curvature = Float[Array, "_ _"]

# Kinds of constraints that `minimise_quadratic` keeps component by component, by the nearest point, and otherwise.
BY_ROWS = frozenset({"sign", "bounds", "fixed"})
BY_NEAREST = frozenset({"sum", "closure", "presence", "shape"})


def minimise_quadratic(
    constraints: Constraints, block: str, rows: Rows, push: Rows, hessian: Hessian, curvature: Curvature
) -> Rows:
    """A descent step of sum_kl <H_kl r_k, r_l> / 2 - <push, r> + curvature (r - r0)^2 / 2 within the constraints.

    Args:
        constraints: of the block.
        block: "maps", or the block beside them.
        rows: r0, (components, columns).
        push: minus the slope of the linear part.
        hessian: H; of each column, or one for all.
        curvature: of a separable term beside it.

    Returns:
        Rows whose objective is no higher. Each component in turn takes its exact optimum, as in `updates.HALS`; where
        the constraints tie entries together all move at once, to the nearest allowed point under a separable bound.
    """
    if constraints.of("disjoint", block):
        return _assign(rows, push, hessian, curvature)
    if any(constraints.of(kind, block) for kind in BY_NEAREST):
        return _to_nearest(constraints, block, rows, push, hessian, curvature)
    return _by_rows(constraints, block, rows, push, hessian, curvature)


def _by_rows(
    constraints: Constraints, block: str, rows: Rows, push: Rows, hessian: Hessian, curvature: Curvature
) -> Rows:
    free = constraints.free(block, len(rows))

    def one(k, now):
        mine = lax.dynamic_index_in_dim(hessian, k, keepdims=False)
        row, slope = lax.dynamic_slice_in_dim(now, k, 1), lax.dynamic_slice_in_dim(push, k, 1)
        slope = slope - jnp.sum(mine * now, axis=0)
        added = curvature if len(curvature) == 1 else lax.dynamic_slice_in_dim(curvature, k, 1)
        # The bound is about the rows before the sweep, and row k is still there.
        steepness = lax.dynamic_slice_in_dim(mine, k, 1) + added
        new = row + jnp.where(steepness > 0, slope / jnp.where(steepness > 0, steepness, 1), 0)
        new = constraints.clip(block, new)
        if free is not None:
            new = jnp.where(lax.dynamic_slice_in_dim(free, k, 1), new, row)
        return lax.dynamic_update_slice_in_dim(now, new, k, 0)

    return lax.fori_loop(0, len(rows), one, rows)


def _to_nearest(
    constraints: Constraints, block: str, rows: Rows, push: Rows, hessian: Hessian, curvature: Curvature
) -> Rows:
    """All components at once, down a separable quadratic above the objective, onto the nearest allowed point.

    sum_kl H_kl d_k d_l <= sum_k d_k^2 sum_l |H_kl|. Whoever chooses which entries stay compares them in one measure.
    """
    above = jnp.sum(jnp.abs(hessian), axis=1) + curvature
    if constraints.of("presence", block):
        above = jnp.broadcast_to(jnp.max(above), above.shape)
    slope = push - matmul(jnp.moveaxis(hessian, 2, 0), rows.T[:, :, None])[:, :, 0].T
    metric = jnp.broadcast_to(1 / jnp.where(above > 0, above, jnp.maximum(jnp.max(above), TINY)), rows.shape)
    live: Bool[Any, "components 1"] = jnp.ones((len(rows), 1), bool)
    return constraints.nearest(block, rows + slope * metric, rows, live, metric)


def _assign(rows: Rows, push: Rows, hessian: Hessian, curvature: Curvature) -> Rows:
    """The exact minimum over rows of which each column has one component, see `constraints.Orthogonal`."""
    steepness = jnp.maximum(jnp.diagonal(hessian).T + curvature, TINY)
    length = jnp.maximum(push + curvature * rows, 0) / jnp.sqrt(steepness)
    best = jnp.arange(len(rows))[:, None] == jnp.argmax(length, axis=0)[None]
    return jnp.where(best, length / jnp.sqrt(steepness), 0)
