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
    """

    factors: Bilinear
    state: Any
    best: Bilinear
    objective: Float[Array, "*restarts"]
    last: Float[Array, "*restarts"]
    steps: Int[Array, "*restarts"]
    code: Int[Array, "*restarts"]


def begin(problem: Problem, update: AbstractUpdate, factors: Bilinear) -> Run:
    """A run at its start, which no look has seen yet."""
    infinite = jnp.full((), jnp.inf, problem.matrix.dtype)
    zero = jnp.zeros((), int)
    return Run(factors, update.init(problem, factors), factors, infinite, infinite, zero, zero)


def advance(problem: Problem, update: AbstractUpdate, run: Run, steps: Any, rtol: Any) -> Run:
    """`steps` steps of a run, then one look at the objective; a run that has ended stays as it is."""
    factors, state = lax.fori_loop(0, steps, lambda _, c: update.step(problem, *c), (run.factors, run.state))
    factors = problem.normalise(factors)
    objective = problem.objective(factors)
    running, finite = run.code == RUNNING, jnp.isfinite(objective)
    moved = running & finite
    improved = moved & ((objective < run.objective) | problem.constraints.keeps_last)
    # No smaller change can be seen: the rounding errors of the pixels' terms average out.
    scale = problem.reference.maps_weight * jnp.sqrt(problem.matrix.shape[0])
    tolerance = rtol * steps * jnp.abs(objective) + jnp.finfo(objective.dtype).eps * scale
    settled = (jnp.abs(run.last - objective) <= tolerance) & (rtol > 0) & (steps > 0)
    code = jnp.where(~finite, NON_FINITE, jnp.where(settled, CONVERGED, RUNNING))
    return Run(
        factors=_choose(moved, factors, run.factors),
        state=_choose(moved, state, run.state),
        best=_choose(improved, factors, run.best),
        objective=jnp.where(improved, objective, run.objective),
        last=jnp.where(running, objective, run.last),
        steps=run.steps + jnp.where(running, steps, 0),
        code=jnp.where(running, code, run.code),
    )


def advance_running(problem: Problem, update: AbstractUpdate, run: Run, steps: Any, rtol: Any) -> Run:
    """As `advance`, at no cost for a run that has ended."""
    return lax.cond(run.code == RUNNING, lambda r: advance(problem, update, r, steps, rtol), lambda r: r, run)


def _choose(first: Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(first, a, b), new, old)
