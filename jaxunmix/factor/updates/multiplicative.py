"""Multiplicative updates: the exact minimum of a separable bound, on the simplex too."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..._util.tracing import is_known
from ...matrix.base import TINY, matmul
from ..constraints.proportional import spread_of
from ..model import Bilinear, Rows, onto_basis, rows_of, with_rows
from ..problem import Problem
from .base import AbstractUpdate, check_bounded, check_constraints, check_plain
from .simplex import CountsBound, SquaresBound, minimise_on_simplex

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
    keeps = frozenset({"sign", "fixed", "norm", "sum", "ratio"})

    def check(self, problem: Problem) -> None:
        check_plain(self, problem)
        check_constraints(self, problem)
        constraints = problem.constraints
        for block in constraints.blocks:
            if not constraints.is_nonnegative(block):
                raise ValueError(f'Multiplicative needs NonNegative("{block}"); use HALS() for signed factors.')
        if problem.loss.beta == 2 and is_known(problem.matrix.minimum) and float(problem.matrix.minimum) < 0:
            raise ValueError("Multiplicative needs non-negative data; use HALS(), or preprocess.clip_negative first.")
        if problem.basis is not None and is_known(problem.basis) and float(problem.basis.min()) < 0:
            raise ValueError("Multiplicative needs a non-negative basis; use HALS() or FISTA().")
        check_bounded(self, problem)
        loss, beta = type(problem.loss).__name__, problem.loss.beta
        if problem.penalties and beta not in (1, 2):
            raise ValueError(f"Multiplicative bounds no penalties under {loss}; use FISTA().")
        if constraints.of("sum") and beta not in (1, 2):
            raise ValueError(f"Multiplicative keeps Simplex under Poisson and Frobenius, not {loss}; use one of these.")
        if constraints.of("ratio") and beta != 1:
            raise ValueError(f"Multiplicative keeps Proportional under Poisson, not {loss}; use losses.Poisson().")

    def step(self, problem: Problem, factors: Bilinear, state: None) -> tuple[Bilinear, None]:
        constraints, factors = problem.constraints, problem.balanced(factors)
        for block in constraints.blocks:
            if constraints.is_fully_fixed(block):
                continue
            rows = rows_of(factors, block)
            new = self._moved(problem, factors, block, rows)
            factors = with_rows(factors, block, constraints.keep_fixed(block, new, rows))
        return factors, state

    def _moved(self, problem: Problem, factors: Bilinear, block: str, rows: Rows) -> Rows:
        """The minimum of the separable bound of loss and penalties that touches at `rows`."""
        first, second = gradient_parts(problem, factors, block)
        bound, beta = problem.bound(factors, block), problem.loss.beta
        simplex, ties = problem.constraints.one("sum", block), problem.constraints.of("ratio", block)
        if bound is None and simplex is None and not ties:
            gamma = 1 / (2 - beta) if beta < 1 else 1 / (beta - 1) if beta > 2 else 1.0
            ratio = first / jnp.maximum(second, TINY)
            return rows * (ratio if gamma == 1 else ratio**gamma)
        zero = jnp.zeros((1, 1), rows.dtype)
        gradient, curvature = (zero, zero) if bound is None else bound
        part: CountsBound | SquaresBound
        if beta == 1:
            pull = rows * first
            if simplex is not None:
                pull = jnp.maximum(pull, LEAST * rows * jnp.max(second))
            part = CountsBound(pull, second + gradient - curvature * rows, curvature)
        else:
            gain = rows / jnp.maximum(second + curvature * rows, TINY)
            part = SquaresBound(first - gradient + curvature * rows, gain)
        if simplex is None and not ties:
            return part.at(zero)[0]
        part = jax.tree.map(lambda a: jnp.broadcast_to(a, rows.shape), part)
        if block == "maps":
            everything, one = jnp.ones(rows.T.shape, bool), jnp.ones((rows.shape[1], 1), rows.dtype)
            return minimise_on_simplex(jax.tree.map(jnp.transpose, part), rows.T, everything, one).T
        return _profiles(problem, rows, part)


def gradient_parts(problem: Problem, factors: Bilinear, block: str) -> tuple[Rows, Float[Array, "components _"]]:
    """The two parts of the loss's gradient in the block, second - first, neither of them below zero.

    first is R S' and second D S' of `Multiplicative` for the maps, and likewise for the spectra or coefficients.
    """
    matrix, maps, spectra = problem.matrix, factors.maps_t, problem.spectra(factors)
    second: Float[Array, "components _"] | None
    if problem.is_least_squares:
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


def _profiles(problem: Problem, rows: Rows, part: CountsBound | SquaresBound) -> Rows:
    """Spectra or coefficients with sums and ratios: tied columns are one variable t with the entries ratio t."""
    block, constraints = problem.profile_block, problem.constraints
    ties, simplex = constraints.of("ratio", block), constraints.one("sum", block)
    members = np.zeros(rows.shape[1]) if simplex is None else simplex.members(rows.shape[1]).astype(float)
    spread = spread_of(ties, rows.shape[1])
    leads = np.argmax(spread > 0, axis=1)
    if ties:
        part = part.tie(jnp.asarray(spread.T, rows.dtype))
    level = rows[:, leads] / jnp.asarray(spread[np.arange(len(spread)), leads], rows.dtype)
    new = part.at(jnp.zeros((1, 1), rows.dtype))[0]
    if simplex is not None:
        free, left = simplex.share(rows, constraints.free(block, len(rows)))
        # Measured by what it adds to the sum, each variable has weight one there.
        weight = spread @ members
        unit = jnp.asarray(np.where(weight > 0, weight, 1), rows.dtype)
        part = part.in_units(unit)
        inside = free[:, leads] | (weight > 0) & (members[leads] == 0)
        new = jnp.where(inside, minimise_on_simplex(part, level * unit, inside, left) / unit, new)
    return matmul(new, jnp.asarray(spread, rows.dtype)) if ties else new
