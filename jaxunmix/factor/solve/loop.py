"""Batches of restarts: side by side from their start, look by look, to the polish on the full data."""

from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Key

from ..initial.base import AbstractInitial, AbstractPadded
from ..model import Bilinear
from ..problem import Problem
from ..updates.base import AbstractUpdate
from .run import RUNNING, Run, advance, advance_running, begin

# Restarts run side by side up to this much working memory, beyond it one batch after the other.
BATCH_BYTES = 3 * 2**29


@eqx.filter_jit
def start(
    problem: Problem,
    update: AbstractUpdate,
    init: AbstractInitial,
    rank: int,
    keys: Key[Array, " restarts"],
    live: Int[Array, " restarts"] | None = None,
) -> Run:
    """Every restart at its start; with `live` its last components are zeros, which no update moves."""
    linear = problem.linearised

    def begin_one(arguments):
        key, live = arguments
        if live is None:
            factors = init(linear, rank, key)
        else:
            assert isinstance(init, AbstractPadded), "only such starts leave components out"
            factors = init.padded(linear, rank, key, live)
        return begin(problem, update, problem.normalise(factors))

    return over_restarts(problem, begin_one, (keys, live))


@eqx.filter_jit
def padded(problem: Problem, update: AbstractUpdate, factors: Bilinear, rank: int) -> Run:
    """Restarts at their start with zeros for further components, up to `rank`."""
    extra = ((0, 0), (0, rank - factors.maps_t.shape[1]), (0, 0))
    factors = jax.tree.map(lambda rows: jnp.pad(rows, extra), factors)
    return over_restarts(problem, lambda f: begin(problem, update, f), factors)


@eqx.filter_jit
def _advance(problem: Problem, update: AbstractUpdate, run: Run, steps: Int[Array, ""], rtol: Float[Array, ""]) -> Run:
    """`steps` steps of every running restart, then one look at the objective.

    One after the other, what has ended costs nothing; side by side, all is computed anyway.
    """
    one = advance_running if is_sequential(problem, len(run.code)) else advance
    return over_restarts(problem, lambda r: one(problem, update, r, steps, rtol), run)


def over_restarts(problem: Problem, function: Callable, arguments: Any) -> Any:
    """Every restart, side by side or one after the other, whichever is faster."""
    restarts = jax.tree.leaves(arguments)[0].shape[0]
    return lax.map(function, arguments) if is_sequential(problem, restarts) else jax.vmap(function)(arguments)


def is_sequential(problem: Problem, restarts: int) -> bool:
    """Whether restarts go one after the other.

    Under Frobenius they share the products with the data, side by side. The other losses' passes are bound by their
    own arithmetic, and on a CPU a restart on compressed data by itself stays in the cache.
    """
    cached = problem.matrix.is_compressed and jax.default_backend() == "cpu"
    return restarts == 1 or cached or not problem.is_least_squares


def batches(restarts: int, restart_bytes: int) -> list[slice]:
    """Equal batches, so that one compiled program serves all."""
    most = max(1, min(restarts, BATCH_BYTES // restart_bytes))
    size = max(d for d in range(1, most + 1) if restarts % d == 0)
    return [slice(first, first + size) for first in range(0, restarts, size)]


def looks(problem: Problem, update: AbstractUpdate, run: Run, limits: tuple[int, float | int, int]) -> Iterator[Run]:
    """The run after every `check_every` steps, until no restart is running or `max_steps` are done."""
    max_steps, rtol, check_every = limits
    done = int(np.max(np.asarray(run.steps)))
    while done < max_steps and np.any(np.asarray(run.code) == RUNNING):
        steps = min(check_every, max_steps - done)
        run = _advance(problem, update, run, *_traced(steps, rtol))
        done += steps
        yield run


def first_look(problem: Problem, update: AbstractUpdate, run: Run, rtol: float | int) -> Run:
    """The objective of the starts, before any step."""
    return _advance(problem, update, run, *_traced(0, rtol))


def _traced(steps: int, rtol: float | int) -> tuple[Array, Array]:
    """As arrays: a Python number would be part of the program and compile it anew for each value."""
    return jnp.asarray(steps), jnp.asarray(rtol, float)


def polish(problem: Problem, update: AbstractUpdate, factors: Bilinear, steps: int) -> tuple[Bilinear, np.ndarray]:
    """A few steps of a batch of factors on the full data behind a compressed matrix, and the objectives there."""
    full = eqx.tree_at(lambda p: p.matrix, problem, problem.matrix.whole)
    polished, reached = _polish(full, update, factors, jnp.asarray(steps))
    return polished, np.asarray(reached, float)


@eqx.filter_jit
def _polish(
    problem: Problem, update: AbstractUpdate, factors: Bilinear, steps: Int[Array, ""]
) -> tuple[Bilinear, Float[Array, " restarts"]]:
    def one(factors):
        carry = factors, update.init(problem, factors)
        factors, _ = lax.fori_loop(0, steps, lambda _, c: update.step(problem, *c), carry)
        factors = problem.normalise(factors)
        return factors, problem.objective(factors)

    return over_restarts(problem, one, factors)
