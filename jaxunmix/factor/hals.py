"""Hierarchical alternating least squares: one component after the other."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ..data.matrix import matmul
from .model import Bilinear
from .penalties import Bound
from .problem import Problem
from .step import AbstractUpdate, Rows, check_bounded, check_l1_sign, check_least_squares, rows_of, with_rows


class HALS(AbstractUpdate):
    """Hierarchical alternating least squares: each component in turn takes its exact optimum, given the others.

    With A = X S', G = S S' for spectra S, row k of the maps becomes (Cichocki and Phan, IEICE Trans. E92-A (2009)
    708, algorithm 2)

        w_k <- max(0, w_k + (A_k - G_k W) / G_kk),

    and likewise the spectra; without non-negativity there is no max. A penalty bounded by gradient g and curvature
    c adds -g above and +c below. With a basis the coefficients are treated entry by entry. The objective never
    rises.

    Args:
        sweeps: passes over the components for each product with the data (Gillis and Glineur, Neural Comput. 24
            (2012) 1085); more are cheap where the products dominate.
    """

    sweeps: int = eqx.field(default=1, static=True)

    def __check_init__(self):
        if self.sweeps < 1:
            raise ValueError(f"HALS: sweeps must be 1 or more, got {self.sweeps}.")

    def check(self, problem: Problem) -> None:
        check_least_squares(self, problem)
        check_bounded(self, problem)
        check_l1_sign(self, problem)

    def step(self, problem: Problem, factors: Bilinear, state: None) -> tuple[Bilinear, None]:
        if not problem.is_settled("maps"):
            spectra = problem.spectra(factors)
            cross = problem.matrix.onto_spectra(spectra)
            gram = matmul(spectra, spectra.T)
            factors = self._sweep(
                problem, factors, "maps", lambda rows, b, lower, free: _sweep_rows(rows, cross, gram, b, lower, free)
            )
        if not problem.is_settled(problem.second):
            gram = matmul(factors.maps_t, factors.maps_t.T)
            cross = problem.matrix.onto_maps(factors.maps_t)
            if problem.basis is None:

                def sweep(rows, b, lower, free):
                    return _sweep_rows(rows, cross, gram, b, lower, free)
            else:
                inner = matmul(problem.basis, problem.basis.T)
                onto_basis = matmul(cross, problem.basis.T)

                def sweep(rows, b, lower, free):
                    return _sweep_entries(rows, onto_basis, gram, inner, b, lower, free)

            factors = self._sweep(problem, factors, problem.second, sweep)
        return factors, state

    def _sweep(self, problem: Problem, factors: Bilinear, block: str, sweep: Callable) -> Bilinear:
        lower = 0.0 if problem.is_nonnegative(block) else None
        free = problem.free(block, factors.rank)

        def once(_, factors):
            rows = sweep(rows_of(factors, block), problem.bound(factors, block), lower, free)
            return with_rows(factors, block, rows)

        # A loop, not an unrolled chain: XLA would compute the first sweep again inside the second.
        return once(0, factors) if self.sweeps == 1 else lax.fori_loop(0, self.sweeps, once, factors)


def _sweep_rows(rows: Rows, cross: Rows, gram: Array, bound: Bound | None, lower: float | None, free: Any) -> Rows:
    """Each row in turn to its optimum; dynamic slices, since an indexed write would copy the whole block."""
    length = rows.shape[1]
    if bound is not None:
        cross = cross - bound.gradient

    def one(k, rows):
        row = lax.dynamic_slice(rows, (k, 0), (1, length))
        mine = lax.dynamic_slice(gram, (k, 0), (1, rows.shape[0]))
        slope = lax.dynamic_slice(cross, (k, 0), (1, length)) - matmul(mine, rows)
        steepness = gram[k, k] if bound is None else gram[k, k] + lax.dynamic_slice_in_dim(bound.curvature, k, 1)
        new = jnp.where(steepness > 0, row + slope / jnp.where(steepness > 0, steepness, 1), row)
        if lower is not None:
            new = jnp.maximum(new, lower)
        if free is not None:
            new = jnp.where(free[k], new, row)
        return lax.dynamic_update_slice(rows, new, (k, 0))

    return lax.fori_loop(0, rows.shape[0], one, rows)


def _sweep_entries(
    rows: Rows, cross: Rows, gram: Array, inner: Array, bound: Bound | None, lower: float | None, free: Any
) -> Rows:
    """Each coefficient in turn: the basis couples the features of a component, so rows have no closed form."""
    rank, features = rows.shape
    start = rows

    def one(i, rows):
        k, f = i // features, i % features
        slope = cross[k, f] - jnp.sum(matmul(gram[k], rows) * inner[:, f])
        steepness = gram[k, k] * inner[f, f]
        if bound is not None:
            curvature = jnp.broadcast_to(bound.curvature, rows.shape)[k, f]
            slope = slope - bound.gradient[k, f]
            steepness = steepness + curvature
        new = jnp.where(steepness > 0, rows[k, f] + slope / jnp.where(steepness > 0, steepness, 1), rows[k, f])
        new = new if lower is None else jnp.maximum(new, lower)
        return rows.at[k, f].set(new)

    rows = lax.fori_loop(0, rank * features, one, rows)
    return rows if free is None else jnp.where(free, rows, start)
