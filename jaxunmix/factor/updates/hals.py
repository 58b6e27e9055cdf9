"""Hierarchical alternating least squares: one component after the other."""

from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ..._util.validation import check_whole_number
from ...matrix.base import TINY, matmul
from ..model import Bilinear, Rows, rows_of, with_rows
from ..penalties.base import Bound
from ..problem import Problem
from .base import AbstractUpdate, check_bounded, check_constraints, check_least_squares, check_signs, check_single_basis

# The least and the greatest value of an entry, None where there is none.
Limits = tuple[float | None, float | None]


class HALS(AbstractUpdate):
    """Hierarchical alternating least squares: each component in turn takes its exact optimum, given the others.

    With A = X S', G = S S' for spectra S, row k of the maps becomes (Cichocki and Phan, IEICE Trans. E92-A (2009)
    708, algorithm 2)

        w_k <- max(0, w_k + (A_k - G_k W) / G_kk),

    and likewise the spectra; without non-negativity there is no max. A penalty bounded by gradient g and curvature
    c adds -g above and +c below; `SoftOrthogonality` enters G, exactly. With a basis the coefficients are treated
    entry by entry. The objective never rises. Under `Orthogonal("maps")` the maps move as that constraint says.

    Args:
        sweeps: passes over the components for each product with the data (Gillis and Glineur, Neural Comput. 24
            (2012) 1085); more are cheap where the products dominate.
    """

    command = "hals"
    keeps = frozenset({"sign", "bounds", "fixed", "norm", "disjoint"})

    sweeps: int = eqx.field(default=1, static=True)

    def __check_init__(self):
        if check_whole_number(self.sweeps, "HALS: sweeps") < 1:
            raise ValueError(f"HALS: sweeps must be 1 or more, got {self.sweeps}.")

    def check(self, problem: Problem) -> None:
        check_least_squares(self, problem)
        check_bounded(self, problem)
        check_signs(self, problem)
        check_constraints(self, problem)
        check_single_basis(self, problem)

    def step(self, problem: Problem, factors: Bilinear, state: None) -> tuple[Bilinear, None]:
        constraints, factors = problem.constraints, problem.balanced(factors)
        if not constraints.is_fully_fixed("maps"):
            spectra = problem.spectra(factors)
            cross = problem.matrix.onto_spectra(spectra)
            gram = matmul(spectra, spectra.T)
            orthogonal = constraints.one("disjoint")
            if orthogonal is not None and orthogonal.strict:
                factors = with_rows(
                    factors, "maps", _assigned(factors.maps_t, cross, gram, problem.bound(factors, "maps"))
                )
            else:
                weight = 0.0 if orthogonal is None else orthogonal.weight
                factors = self._sweep(
                    problem, factors, "maps", partial(_sweep_rows, cross=cross, gram=gram, weight=weight)
                )
        if not constraints.is_fully_fixed(problem.profile_block):
            gram = matmul(factors.maps_t, factors.maps_t.T)
            cross = problem.matrix.onto_maps(factors.maps_t)
            if problem.basis is None:
                sweep = partial(_sweep_rows, cross=cross, gram=gram)
            else:
                inner, onto_basis = matmul(problem.basis, problem.basis.T), matmul(cross, problem.basis.T)
                sweep = partial(_sweep_entries, cross=onto_basis, gram=gram, inner=inner)
            factors = self._sweep(problem, factors, problem.profile_block, sweep)
        return factors, state

    def _sweep(self, problem: Problem, factors: Bilinear, block: str, sweep: Callable) -> Bilinear:
        limits = problem.constraints.bounds(block)
        free = problem.constraints.free(block, factors.rank)
        coupling = problem.coupling(factors, block)

        def once(_, factors):
            bound = problem.bound(factors, block, coupled=False)
            return with_rows(
                factors, block, sweep(rows_of(factors, block), coupling=coupling, bound=bound, limits=limits, free=free)
            )

        # A loop, not an unrolled chain: XLA would compute the first sweep again inside the second.
        return once(0, factors) if self.sweeps == 1 else lax.fori_loop(0, self.sweeps, once, factors)


def _sweep_rows(
    rows: Rows,
    *,
    cross: Rows,
    gram: Array,
    coupling: Array,
    bound: Bound | None,
    limits: Limits,
    free: Any,
    weight: float | int = 0.0,
) -> Rows:
    """Each row in turn to its optimum; dynamic slices, since an indexed write would copy the whole block."""
    length = rows.shape[1]
    if bound is not None:
        cross = cross - bound.gradient
    size = jnp.sqrt(jnp.diag(gram))
    gram = gram + coupling

    def one(k, rows):
        row = lax.dynamic_slice(rows, (k, 0), (1, length))
        mine = lax.dynamic_slice(gram, (k, 0), (1, rows.shape[0]))
        slope = lax.dynamic_slice(cross, (k, 0), (1, length)) - matmul(mine, rows)
        if weight:
            others = matmul(jnp.where(jnp.arange(len(size)) == k, 0, size)[None], rows)
            shared = jnp.sum(others * (slope + gram[k, k] * row)) / jnp.maximum(jnp.sum(others**2), TINY)
            slope = slope - weight * shared * others
        steepness = gram[k, k] if bound is None else gram[k, k] + lax.dynamic_slice_in_dim(bound.curvature, k, 1)
        new = jnp.where(steepness > 0, row + slope / jnp.where(steepness > 0, steepness, 1), row)
        new = _within(new, limits)
        if free is not None:
            new = jnp.where(free[k], new, row)
        return lax.dynamic_update_slice(rows, new, (k, 0))

    return lax.fori_loop(0, rows.shape[0], one, rows)


def _assigned(rows: Rows, cross: Rows, gram: Array, bound: Bound | None) -> Rows:
    """The exact minimum over maps of which each pixel has one: see `constraints.Orthogonal`.

    With a bound of gradient g and curvature c about the rows w0, cross becomes cross - g + c w0 and |s_k|^2
    becomes |s_k|^2 + c.
    """
    steepness = jnp.diag(gram)[:, None]
    if bound is not None:
        cross = cross - bound.gradient + bound.curvature * rows
        steepness = steepness + bound.curvature
    length = jnp.maximum(cross, 0) / jnp.sqrt(jnp.maximum(steepness, TINY))
    best = jnp.arange(len(rows))[:, None] == jnp.argmax(length, axis=0)[None]
    return jnp.where(best & (steepness > 0), length / jnp.sqrt(jnp.maximum(steepness, TINY)), 0)


def _sweep_entries(
    rows: Rows,
    *,
    cross: Rows,
    gram: Array,
    inner: Array,
    coupling: Array,
    bound: Bound | None,
    limits: Limits,
    free: Any,
) -> Rows:
    """Each coefficient in turn: the basis couples the features of a component, so rows have no closed form."""
    rank, features = rows.shape

    def one(i, rows):
        k, f = i // features, i % features
        slope = cross[k, f] - jnp.sum(matmul(gram[k], rows) * inner[:, f])
        steepness = gram[k, k] * inner[f, f]
        if bound is not None:
            curvature = jnp.broadcast_to(bound.curvature, rows.shape)[k, f]
            slope = slope - bound.gradient[k, f]
            steepness = steepness + curvature
        new = jnp.where(steepness > 0, rows[k, f] + slope / jnp.where(steepness > 0, steepness, 1), rows[k, f])
        new = _within(new, limits)
        if free is not None:
            new = jnp.where(jnp.broadcast_to(free, rows.shape)[k, f], new, rows[k, f])
        return rows.at[k, f].set(new)

    return lax.fori_loop(0, rank * features, one, rows)


def _within(new: Array, limits: Limits) -> Array:
    """The optimum of an entry between its limits: it is convex in each entry."""
    low, high = limits
    new = new if low is None else jnp.maximum(new, low)
    return new if high is None else jnp.minimum(new, high)
