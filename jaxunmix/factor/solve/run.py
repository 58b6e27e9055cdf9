"""A restart in flight, and how it advances: pure functions that `fit` runs in batches and `minimise` as they are."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from ..model import Bilinear
from ..problem import Problem
from ..solution import Status
from ..updates.base import AbstractUpdate
from .switching import TRIALS, smaller

# A run that is still running when the steps are used up has ended by them.
RUNNING = Status.MAX_STEPS.code
CONVERGED = Status.CONVERGED.code
NON_FINITE = Status.NON_FINITE.code


class Run(NamedTuple):
    """A restart in flight, or a batch of them, in which every leaf has a leading axis of restarts.

    Attributes:
        factors: at the last look.
        state: of the update.
        best: the factors to keep.
        objective: of `best`.
        last: the objective at the last look.
        steps: taken so far.
        code: RUNNING, or how it ended.
        trial: which smaller model the factors belong to, that is to come below `best`; 0 for none.
        relevance: of the components of `best`, where a penalty finds it.
    """

    factors: Bilinear
    state: Any
    best: Bilinear
    objective: Float[Array, "*restarts"]
    last: Float[Array, "*restarts"]
    steps: Int[Array, "*restarts"]
    code: Int[Array, "*restarts"]
    trial: Int[Array, "*restarts"]
    relevance: Float[Array, "*restarts components"] | None = None


def begin(problem: Problem, update: AbstractUpdate, factors: Bilinear) -> Run:
    """A run at its start, which no look has seen yet."""
    infinite = jnp.full((), jnp.inf, problem.matrix.dtype)
    zero = jnp.zeros((), int)
    state = update.init(problem, factors)
    return Run(factors, state, factors, infinite, infinite, zero, zero, zero, _relevance(problem, factors))


def _relevance(problem: Problem, factors: Bilinear) -> Float[Array, " components"] | None:
    return problem.relevance(factors)[0] if problem.finds_relevance else None


def advance(problem: Problem, update: AbstractUpdate, run: Run, steps: Any, rtol: Any) -> Run:
    """`steps` steps of a run, then one look at the objective; a run that has ended stays as it is."""
    factors, state = lax.fori_loop(0, steps, lambda _, c: update.step(problem, *c), (run.factors, run.state))
    factors = problem.normalise(factors)
    objective = problem.objective(factors)
    running, finite = run.code == RUNNING, jnp.isfinite(objective)
    moved = running & finite
    improved = moved & ((objective < run.objective) | (problem.constraints.keeps_last & (run.trial == 0)))
    # No smaller change can be seen: the rounding errors of the pixels' terms average out.
    scale = problem.reference.maps_weight * jnp.sqrt(problem.matrix.shape[0])
    tolerance = rtol * steps * jnp.abs(objective) + jnp.finfo(objective.dtype).eps * scale
    settled = (jnp.abs(run.last - objective) <= tolerance) & (rtol > 0) & (steps > 0)
    code = jnp.where(~finite, NON_FINITE, jnp.where(settled, CONVERGED, RUNNING))
    run = Run(
        factors=_choose(moved, factors, run.factors),
        state=_choose(moved, state, run.state),
        best=_choose(improved, factors, run.best),
        objective=jnp.where(improved, objective, run.objective),
        last=jnp.where(running, objective, run.last),
        steps=run.steps + jnp.where(running, steps, 0),
        code=jnp.where(running, code, run.code),
        trial=run.trial,
        relevance=run.relevance,
    )
    return _reduce(problem, update, run, running, improved) if problem.finds_relevance else run


def _reduce(problem: Problem, update: AbstractUpdate, run: Run, running: Array, improved: Array) -> Run:
    """Where a run has settled, models with one component fewer are put on trial, one after the other.

    One that comes below the best is gone on from; one that settles above it has failed. When the last has failed the
    run has ended.
    """
    settled, tried = running & (run.code == CONVERGED), run.trial
    failed = settled & (tried > 0) & ~improved
    fewer, possible = smaller(problem, run.best, tried)
    begins = settled & possible & (tried < TRIALS)
    goes_on = running & ~settled & ~improved
    back = _choose(failed, run.best, run.factors)
    return run._replace(
        factors=_choose(begins, fewer, back),
        state=_choose(begins, update.init(problem, fewer), run.state),
        last=jnp.where(failed, run.objective, run.last),
        code=jnp.where(begins, RUNNING, run.code),
        trial=jnp.where(begins, tried + 1, jnp.where(goes_on, tried, 0)),
        relevance=_choose(running, problem.relevance(run.best)[0], run.relevance),
    )


def advance_running(problem: Problem, update: AbstractUpdate, run: Run, steps: Any, rtol: Any) -> Run:
    """As `advance`, at no cost for a run that has ended."""
    return lax.cond(run.code == RUNNING, lambda r: advance(problem, update, r, steps, rtol), lambda r: r, run)


def _choose(first: Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(first, a, b), new, old)
