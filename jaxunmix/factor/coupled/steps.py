"""One step of a coupled factorisation: the shared rows from all blocks, then what each block has of its own."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ...matrix.base import TINY, matmul
from ..constraints.base import Constraints
from ..model import Rows, rows_of
from ..penalties.base import NOTHING, Bound
from ..separable import minimise_quadratic
from ..updates.multiplicative import gradient_parts
from ..updates.simplex import CountsBound
from .mixing import mix
from .problem import Coupled, CoupledProblem

# Sweeps over all rows before components are mixed.
SWEEPS = 2


def step(problem: CoupledProblem, factors: Coupled) -> Coupled:
    """All rows some times, then the mixing of the components; the objective never rises."""
    return mix(problem, lax.fori_loop(0, SWEEPS, lambda _, f: sweep(problem, f), factors))


def sweep(problem: CoupledProblem, factors: Coupled) -> Coupled:
    """All rows once.

    The sum of the blocks' bounds is minimised over the shared rows: where all blocks are least squares the exact
    quadratic, component by component; with counts among them the separable bounds of Lee and Seung for the squares and
    of expectation maximisation for the counts, whose sum has a closed minimum.
    """
    for side in problem.share:
        factors = _move_shared(problem, factors, side)
        for b, part in enumerate(problem.parts):
            if side in part.deviations:
                factors = _move_deviation(problem, factors, b, side)
    for b, part in enumerate(problem.parts):
        own = problem.own_problem(b, factors)
        if own is None or part.update is None:
            continue
        now = factors.of_block(b)
        moved, _ = part.update.step(own, now, part.update.init(own, now))
        factors = factors.with_own(b, rows_of(moved, "spectra" if "maps" in problem.share else "maps"))
    return factors


class _Term(NamedTuple):
    """A block as it sees some of its rows move: (b, weight, the rest of the block's rows, the penalties' bound)."""

    block: int
    weight: Float[Array, ""]
    others: Rows
    bound: Bound


def _move_shared(problem: CoupledProblem, factors: Coupled, side: str) -> Coupled:
    constraints, rows = problem.constraints[side], factors.shared[side]
    terms = []
    for b in range(len(problem.parts)):
        bound = problem.bound(b, side, factors)
        terms.append(_Term(b, problem.weights[b], factors.rows(b, side) - rows, bound))
    return factors.with_shared(side, _minimise(problem, factors, side, constraints, rows, terms))


def _move_deviation(problem: CoupledProblem, factors: Coupled, b: int, side: str) -> Coupled:
    constraints, rows = problem.parts[b].deviations[side].constraints, factors.deviations[b][side]
    bound = problem.deviation_bound(b, side, factors)
    term = _Term(b, jnp.ones((), rows.dtype), factors.shared[side], bound)
    return factors.with_deviation(b, side, _minimise(problem, factors, side, constraints, rows, [term]))


def _minimise(
    problem: CoupledProblem, factors: Coupled, side: str, constraints: Constraints, rows: Rows, terms: list[_Term]
) -> Rows:
    """The rows at the minimum of the sum of the terms' bounds that touch at them."""
    block = problem.block_name(terms[0].block, side)
    if constraints.is_fully_fixed(block):
        return rows
    if all(problem.is_quadratic(term.block, side) for term in terms):
        return _quadratic(problem, factors, side, constraints, rows, terms)
    pull, slope, curvature = (jnp.zeros_like(rows) for _ in range(3))
    floor = NOTHING * jnp.max(rows) + TINY
    for term in terms:
        part = problem.parts[term.block].problem
        first, second = gradient_parts(part, factors.of_block(term.block), block)
        if part.loss.beta == 1:
            pull, slope = pull + term.weight * rows * first, slope + term.weight * second
        else:
            steep = second / jnp.maximum(rows, floor)
            slope = slope + term.weight * (second - first - steep * rows)
            curvature = curvature + term.weight * steep
        slope = slope + term.weight * (term.bound.gradient - term.bound.curvature * rows)
        curvature = curvature + term.weight * term.bound.curvature
    moved = CountsBound(pull, slope, curvature).at(jnp.zeros((1, 1), rows.dtype))[0]
    return constraints.keep_fixed(block, constraints.clip(block, moved), rows)


def _quadratic(
    problem: CoupledProblem, factors: Coupled, side: str, constraints: Constraints, rows: Rows, terms: list[_Term]
) -> Rows:
    push, gram = jnp.zeros_like(rows), jnp.zeros((len(rows), len(rows)), rows.dtype)
    curvature: Array = jnp.zeros((1, 1), rows.dtype)
    for term in terms:
        matrix, now = problem.parts[term.block].problem.matrix, factors.of_block(term.block)
        across = problem.parts[term.block].problem.spectra(now) if side == "maps" else now.maps_t
        cross = matrix.onto_spectra(across) if side == "maps" else matrix.onto_maps(across)
        form = matmul(across, across.T)
        push = push + term.weight * (cross - matmul(form, term.others) - term.bound.gradient)
        gram = gram + term.weight * form
        curvature = curvature + term.weight * term.bound.curvature
    block = problem.block_name(terms[0].block, side)
    return minimise_quadratic(constraints, block, rows, push, gram[:, :, None], curvature)
