"""Restarts of a tensor fit, side by side in one compiled program."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key

from ..solution import Status
from .multilinear import Multilinear, Rows
from .starts import start
from .sweeps import TensorProblem, step

# A run that is still running when the steps are used up has ended by them.
RUNNING, CONVERGED, NON_FINITE = (s.code for s in (Status.MAX_STEPS, Status.CONVERGED, Status.NON_FINITE))

# Looks at the objective that every program has room for.
LEAST_ROOM = 64


class TensorRun(NamedTuple):
    """A batch of restarts, every leaf with a leading axis of restarts.

    Attributes:
        factors: the last finite ones.
        objective: of these.
        trace: (restarts, looks) the objective at the start and after every `check_every` steps, NaN after the end.
        steps: taken so far.
        code: RUNNING, or how it ended.
    """

    factors: Multilinear
    objective: Float[Array, "*restarts"]
    trace: Float[Array, "*restarts looks"]
    steps: Int[Array, "*restarts"]
    code: Int[Array, "*restarts"]


class Limits(NamedTuple):
    """How long a fit goes on, see `fit_tensor`: numbers of Python, or arrays, which compile nothing anew."""

    max_steps: Any
    check_every: Any
    sweeps: Any

    @property
    def looks(self) -> Any:
        """At the objective, the start's among them."""
        return -(-self.max_steps // self.check_every) + 1

    @property
    def room(self) -> int:
        """For how many looks a program makes room: one program serves many numbers of steps."""
        return max(LEAST_ROOM, 1 << (self.looks - 1).bit_length())

    @property
    def traced(self) -> "Limits":
        """The same as arrays."""
        return Limits(*(jnp.asarray(number, int) for number in self))


@eqx.filter_jit
def run(
    problem: TensorProblem,
    ranks: tuple[int, ...] | int,
    given: Sequence[Rows | None],
    core: Array | None,
    keys: Key[Array, " restarts"],
    rtol: Float[Array, ""],
    limits: Limits,
    room: int,
) -> TensorRun:
    """All restarts until the last has settled; those that have stay as they are."""

    def begin(key):
        factors = start(problem, ranks, given, core, key)
        infinite, none = jnp.full((), jnp.inf, problem.x.dtype), jnp.full(room, jnp.nan, problem.x.dtype)
        return TensorRun(factors, infinite, none, jnp.zeros((), int), jnp.full((), RUNNING))

    def goes_on(state):
        look, runs = state
        return (look < limits.looks) & jnp.any(runs.code == RUNNING)

    def advance_all(state):
        look, runs = state
        # The first look is at the start, and the last one may come after fewer steps.
        left = jnp.minimum(limits.check_every, limits.max_steps - (look - 1) * limits.check_every)
        steps = jnp.where(look == 0, 0, left)
        return look + 1, jax.vmap(lambda one: _advance(problem, one, look, steps, rtol, limits.sweeps))(runs)

    return lax.while_loop(goes_on, advance_all, (jnp.zeros((), int), jax.vmap(begin)(keys)))[1]


def _advance(
    problem: TensorProblem,
    run: TensorRun,
    look: Int[Array, ""],
    steps: Int[Array, ""],
    rtol: Float[Array, ""],
    sweeps: Int[Array, ""],
) -> TensorRun:
    factors = lax.fori_loop(0, steps, lambda _, f: step(problem, f, sweeps), run.factors)
    objective = problem.objective(factors)
    running, finite = run.code == RUNNING, jnp.isfinite(objective)
    moved = running & finite
    # Below the rounding of the model itself no change can be seen.
    eps = jnp.finfo(objective.dtype).eps
    tolerance = rtol * steps * jnp.abs(objective) + 4 * eps * (jnp.abs(objective) + eps * problem.scale)
    settled = (run.objective - objective <= tolerance) & (rtol > 0) & (steps > 0)
    code = jnp.where(~finite, NON_FINITE, jnp.where(settled, CONVERGED, RUNNING))
    return TensorRun(
        factors=jax.tree.map(lambda new, old: jnp.where(moved, new, old), factors, run.factors),
        objective=jnp.where(moved, objective, run.objective),
        trace=jnp.where(moved, run.trace.at[look].set(objective), run.trace),
        steps=run.steps + jnp.where(running, steps, 0),
        code=jnp.where(running, code, run.code),
    )
