"""Multiplicative updates: the exact minimum of a separable bound, on the simplex too."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ...matrix.base import TINY, matmul
from ..constraints.proportional import Proportional
from ..feasible import free_entries
from ..losses import Frobenius, Poisson
from ..model import Bilinear, onto_basis
from ..problem import Problem
from .base import AbstractUpdate, Rows, check_bounded, refuse_orthogonal, rows_of, with_rows
from .simplex import _OfCounts, _OfSquares, on_simplex

# What an entry without counts keeps of its pull, so that it can take the rest of a sum. The share is of the largest
# part of the model: of its own there may be nothing, as with a spectrum of zeros, which stands for vacuum.
LEAST = 1e-20


class Multiplicative(AbstractUpdate):
    """Multiplicative updates by majorisation, for every beta-divergence.

    With R = X m^(beta-2) and D = m^(beta-1) of the model m, row by row

        w <- w [R S' / (D S')]^gamma,   gamma = 1/(2-beta) below 1, 1 in 1..2, 1/(beta-1) above 2

    (Lee and Seung, NIPS 2000; Fevotte and Idier, Neural Comput. 23 (2011) 2421, equation 4.7). The numerator and
    denominator are those of a separable bound of the loss; a penalty's own bound is added to it and the sum
    minimised in closed form (a quadratic for Poisson), so the objective never rises. Entries at zero stay there.

    Under `Simplex` the sum's multiplier nu is added to the denominator (to the gradient) and solved for; the step is
    the exact minimum of the bound on the simplex (Teurtrie et al., Ultramicroscopy 249 (2023) 113719, equations 13 to
    18, there by bisection to a tolerance). Under `Proportional` the tied columns move as one.
    """

    command = "multiplicative"

    def check(self, problem: Problem) -> None:
        refuse_orthogonal(self, problem)
        for block in ("maps", problem.second):
            if not problem.is_nonnegative(block):
                raise ValueError(f'Multiplicative needs NonNegative("{block}"); use HALS() for signed factors.')
        if problem.loss.beta == 2 and float(problem.matrix.minimum) < 0:
            raise ValueError("Multiplicative needs non-negative data; use HALS(), or preprocess.clip_negative first.")
        if problem.basis is not None and float(problem.basis.min()) < 0:
            raise ValueError("Multiplicative needs a non-negative basis; use HALS() or ProjectedGradient().")
        check_bounded(self, problem)
        loss, beta = type(problem.loss).__name__, problem.loss.beta
        if problem.penalties and beta not in (1, 2):
            raise ValueError(f"Multiplicative bounds no penalties under {loss}; use ProjectedGradient().")
        sums = any(problem.simplex(block) is not None for block in ("maps", problem.second))
        if sums and beta not in (1, 2):
            raise ValueError(f"Multiplicative keeps Simplex under Poisson and Frobenius, not {loss}; use one of these.")
        if problem.ties(problem.second) and beta != 1:
            raise ValueError(f"Multiplicative keeps Proportional under Poisson, not {loss}; use losses.Poisson().")

    def step(self, problem: Problem, factors: Bilinear, state: None) -> tuple[Bilinear, None]:
        for block in ("maps", problem.second):
            if problem.is_settled(block):
                continue
            rows = rows_of(factors, block)
            new = self._moved(problem, factors, block, rows)
            free = problem.free(block, factors.rank)
            factors = with_rows(factors, block, new if free is None else jnp.where(free, new, rows))
        return factors, state

    def _moved(self, problem: Problem, factors: Bilinear, block: str, rows: Rows) -> Rows:
        """The minimum of the separable bound of loss and penalties that touches at `rows`."""
        first, second = self._parts(problem, factors, block)
        bound, beta = problem.bound(factors, block), problem.loss.beta
        simplex, ties = problem.simplex(block), problem.ties(block)
        if bound is None and simplex is None and not ties:
            gamma = 1 / (2 - beta) if beta < 1 else 1 / (beta - 1) if beta > 2 else 1.0
            ratio = first / jnp.maximum(second, TINY)
            return rows * (ratio if gamma == 1 else ratio**gamma)
        zero = jnp.zeros((1, 1), rows.dtype)
        gradient, curvature = (zero, zero) if bound is None else bound
        part: _OfCounts | _OfSquares
        if isinstance(problem.loss, Poisson):
            pull = rows * first
            if simplex is not None:
                pull = jnp.maximum(pull, LEAST * rows * jnp.max(second))
            part = _OfCounts(pull, second + gradient - curvature * rows, curvature)
        else:
            gain = rows / jnp.maximum(second + curvature * rows, TINY)
            part = _OfSquares(first - gradient + curvature * rows, gain)
        if simplex is None and not ties:
            return part.at(zero)[0]
        part = jax.tree.map(lambda a: jnp.broadcast_to(a, rows.shape), part)
        if block == "maps":
            everything, one = jnp.ones(rows.T.shape, bool), jnp.ones((rows.shape[1], 1), rows.dtype)
            return on_simplex(jax.tree.map(jnp.transpose, part), rows.T, everything, one).T
        return _profiles(problem, rows, part)

    def _parts(self, problem: Problem, factors: Bilinear, block: str) -> tuple[Rows, Float[Array, "components _"]]:
        """The two parts of the loss's gradient in the block."""
        matrix, maps, spectra = problem.matrix, factors.maps_t, problem.spectra(factors)
        second: Float[Array, "components _"] | None
        if isinstance(problem.loss, Frobenius) and problem.weights is None:
            if block == "maps":
                return matrix.onto_spectra(spectra), matmul(matmul(spectra, spectra.T), maps)
            first, second = matrix.onto_maps(maps), matmul(matmul(maps, maps.T), spectra)
        elif block == "maps":
            first, second = matrix.score_maps(problem.loss.split, maps, spectra, problem.weights)
            return first, spectra.sum(axis=1, keepdims=True) if second is None else second
        else:
            first, second = matrix.score_spectra(problem.loss.split, maps, spectra, problem.weights)
            if second is None:
                second = jnp.broadcast_to(maps.sum(axis=1, keepdims=True), first.shape)
        if problem.basis is None:
            return first, second
        return onto_basis(first, problem.basis), onto_basis(second, problem.basis)


def _profiles(problem: Problem, rows: Rows, part: _OfCounts | _OfSquares) -> Rows:
    """Spectra or coefficients with sums and ratios: tied columns are one variable t with the entries ratio t."""
    block, ties = problem.second, problem.ties(problem.second)
    simplex = problem.simplex(block)
    members = np.zeros(rows.shape[1]) if simplex is None else simplex.members(rows.shape[1]).astype(float)
    spread = _spread(ties, rows.shape[1])
    leads = np.argmax(spread > 0, axis=1)
    if ties:
        assert isinstance(part, _OfCounts), "check() refuses ties under other losses"
        into = jnp.asarray(spread.T, rows.dtype)
        part = _OfCounts(
            matmul(part.pull, (into > 0).astype(rows.dtype)),
            matmul(part.slope, into),
            matmul(part.curvature, into**2),
        )
    level = rows[:, leads] / jnp.asarray(spread[np.arange(len(spread)), leads], rows.dtype)
    new = part.at(jnp.zeros((1, 1), rows.dtype))[0]
    if simplex is not None:
        free, left = free_entries(problem, block, rows)
        # Measured by what it adds to the sum, each variable has weight one there.
        weight = spread @ members
        unit = jnp.asarray(np.where(weight > 0, weight, 1), rows.dtype)
        if isinstance(part, _OfCounts):
            part = _OfCounts(part.pull, part.slope / unit, part.curvature / unit**2)
        inside = free[:, leads] | (weight > 0) & (members[leads] == 0)
        new = jnp.where(inside, on_simplex(part, level * unit, inside, left) / unit, new)
    return matmul(new, jnp.asarray(spread, rows.dtype)) if ties else new


def _spread(ties: list[Proportional], length: int) -> Float[np.ndarray, "variables columns"]:
    """What each variable puts into the columns: itself alone, or its ratio into those that are tied."""
    spread = np.eye(length)
    for tie in ties:
        columns = np.asarray(tie.columns)
        spread[columns[0], columns] = np.asarray(tie.ratio)
    followers = [c for tie in ties for c in tie.columns[1:]]
    return np.delete(spread, followers, axis=0)
