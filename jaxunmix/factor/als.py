"""Alternating least squares: all components of a block at once."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..data.matrix import TINY, matmul
from .model import Bilinear
from .problem import Problem
from .step import AbstractUpdate, Rows, check_least_squares, rows_of, with_rows


class ALS(AbstractUpdate):
    """Alternating least squares, each block solved for all components at once, then clipped at zero.

        W = max(0, X S' (S S')^-1),   S = max(0, (W'W)^-1 W'X)

    (Paatero and Tapper, Environmetrics 5 (1994) 111; MCR-ALS of Tauler, Chemom. Intell. Lab. Syst. 30 (1995) 133).
    Fast in its first steps; the clipping is not a descent step, so the objective may rise: `fit` keeps the best.
    """

    def check(self, problem: Problem) -> None:
        check_least_squares(self, problem)
        if problem.penalties:
            raise ValueError("ALS takes no penalties: clipping would undo them. Use HALS().")

    def step(self, problem: Problem, factors: Bilinear, state: None) -> tuple[Bilinear, None]:
        if not problem.is_settled("maps"):
            spectra = problem.spectra(factors)
            rows = _solve(matmul(spectra, spectra.T), problem.matrix.onto_spectra(spectra))
            factors = self._clipped(problem, factors, "maps", rows)
        if not problem.is_settled(problem.second):
            cross = problem.matrix.onto_maps(factors.maps_t)
            rows = _solve(matmul(factors.maps_t, factors.maps_t.T), cross)
            if problem.basis is not None:
                rows = _solve(matmul(problem.basis, problem.basis.T), matmul(problem.basis, rows.T)).T
            factors = self._clipped(problem, factors, problem.second, rows)
        return factors, state

    def _clipped(self, problem: Problem, factors: Bilinear, block: str, rows: Rows) -> Bilinear:
        if problem.is_nonnegative(block):
            rows = jnp.maximum(rows, 0)
        free = problem.free(block, factors.rank)
        return with_rows(factors, block, rows if free is None else jnp.where(free, rows, rows_of(factors, block)))


def _solve(gram: Float[Array, "rows rows"], cross: Float[Array, "rows columns"]) -> Float[Array, "rows columns"]:
    """Gram^-1 cross, with a ridge at the rounding so that a component at zero stays finite."""
    ridge = jnp.finfo(gram.dtype).eps * jnp.trace(gram) + TINY
    return jax.scipy.linalg.solve(gram + ridge * jnp.eye(len(gram), dtype=gram.dtype), cross, assume_a="pos")
