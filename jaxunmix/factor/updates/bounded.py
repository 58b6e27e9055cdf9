"""Coordinate descent that keeps every entry of the product between two bounds."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ...matrix.base import TINY, matmul
from ..model import Bilinear
from ..problem import Problem
from .base import AbstractUpdate, check_constraints, check_plain


class BoundedHALS(AbstractUpdate):
    """Rows one after the other, each entry clipped so that no entry of maps @ spectra leaves [low, high].

    With R the product of the other components, v the weights of the entries and component k,

        w_pk = clip( sum_c v_pc (x_pc - R_pc) s_kc / sum_c v_pc s_kc^2,  max_c l_pc,  min_c u_pc ),

    where [l_pc, u_pc] are the w for which R_pc + w s_kc stays between the bounds, and the same for the spectra
    (Kannan, Ishteva and Park, Knowl. Inf. Syst. 39 (2014) 491). The objective never rises and every iterate is
    feasible. Being coordinate descent under coupled bounds it can stop short of a stationary point: take several
    restarts. It needs the whole product: memory of a few times the data.
    """

    command = None
    keeps = frozenset({"sign", "product"})

    def check(self, problem: Problem) -> None:
        check_plain(self, problem)
        check_constraints(self, problem)
        if not problem.constraints.of("product"):
            raise ValueError('BoundedHALS keeps Box("product", low, high): give that constraint, or use HALS().')
        if not problem.loss.is_least_squares or problem.penalties or problem.basis is not None:
            raise ValueError(
                "BoundedHALS takes Frobenius without penalties and basis; use links.Logistic() to bound more."
            )
        if problem.matrix.is_compressed or problem.matrix.is_sparse:
            raise ValueError("BoundedHALS needs every entry; give Dense data.")

    def step(self, problem: Problem, factors: Bilinear, state: None) -> tuple[Bilinear, None]:
        x, weights = problem.matrix.to_dense(), problem.weights
        limits = problem.constraints.one("product").product_limits()
        signs = [problem.constraints.is_nonnegative(block) for block in problem.constraints.blocks]
        maps, spectra = factors.maps_t, factors.profiles
        maps = _sweep(x, weights, maps, spectra, limits, signs[0])
        turned = None if weights is None else weights.T
        spectra = _sweep(x.T, turned, spectra, maps, limits, signs[1])
        return Bilinear(maps, spectra), None


def _sweep(
    x: Float[Array, "lines columns"],
    weights: Float[Array, "lines columns"] | None,
    rows: Float[Array, "components lines"],
    other: Float[Array, "components columns"],
    limits: tuple[Array, Array],
    nonnegative: bool,
) -> Float[Array, "components lines"]:
    """Every component of one block, x ~ rows' other."""
    low, high = (limit.astype(x.dtype) for limit in limits)
    for k in range(len(rows)):
        # Formed anew each time: what is left of rounding would push entries across the bounds.
        rest = matmul(rows.at[k].set(0).T, other)
        s = other[k]
        up, down = (high - rest) / _away(s), (low - rest) / _away(s)
        nothing = jnp.abs(s) <= TINY
        least = jnp.max(jnp.where(nothing, -jnp.inf, jnp.minimum(up, down)), axis=1)
        most = jnp.min(jnp.where(nothing, jnp.inf, jnp.maximum(up, down)), axis=1)
        least = jnp.maximum(least, 0) if nonnegative else least
        v = jnp.ones_like(x) if weights is None else weights
        curvature = matmul(v, (s**2)[:, None])[:, 0]
        best = jnp.sum(v * (x - rest) * s, axis=1) / jnp.maximum(curvature, TINY)
        moved = jnp.clip(best, least, most)
        # Where rounding leaves no room, or nothing is measured, the entry stays.
        rows = rows.at[k].set(jnp.where((least <= most) & (curvature > 0), moved, rows[k]))
    return rows


def _away(s: Float[Array, " columns"]) -> Float[Array, " columns"]:
    return jnp.where(jnp.abs(s) > TINY, s, 1)
