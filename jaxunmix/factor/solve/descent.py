"""Restarts of any descent in one compiled program, for factors that are not those of a matrix alone."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from ..solution import Restarts, Status

# A run that is still running when the steps are used up has ended by them.
RUNNING, CONVERGED, NON_FINITE = (s.code for s in (Status.MAX_STEPS, Status.CONVERGED, Status.NON_FINITE))
# Looks that every program has room for.
LEAST_ROOM = 64


class Descent(NamedTuple):
    """A batch of restarts, every leaf with a leading axis of restarts.

    Attributes:
        factors: the last finite ones.
        objective: of these.
        trace: (restarts, looks) the objective at the start and after every `check_every` steps, NaN after the end.
        steps: taken so far.
        code: RUNNING, or how it ended.
    """

    factors: Any
    objective: Float[Array, "*restarts"]
    trace: Float[Array, "*restarts looks"]
    steps: Int[Array, "*restarts"]
    code: Int[Array, "*restarts"]


class Pace(NamedTuple):
    """How long a descent goes on and how often its objective is looked at: numbers, or arrays."""

    max_steps: Any
    check_every: Any

    @property
    def looks(self) -> Any:
        """At the objective, the start's among them."""
        return -(-self.max_steps // self.check_every) + 1

    @property
    def room(self) -> int:
        """For how many looks a program makes room: one program serves many numbers of steps."""
        return max(LEAST_ROOM, 1 << (self.looks - 1).bit_length())

    @property
    def traced(self) -> "Pace":
        """The same as arrays."""
        return Pace(*(jnp.asarray(number, int) for number in self))

    def trace_of(self, trace: np.ndarray) -> tuple[Array, Array]:
        """The objectives that a run has seen, and the steps that it had taken."""
        seen = ~np.isnan(trace)
        steps = np.minimum(np.arange(len(trace)) * self.check_every, self.max_steps)
        return jnp.asarray(trace[seen]), jnp.asarray(steps[seen], int)


def descend(
    step: Callable[[Any, Any], Any], problem: Any, factors: Any, rtol: float | int, pace: Pace, together: bool = False
) -> Descent:
    """All restarts until the last has settled; those that have stay as they are.

    Args:
        step: (problem, factors) -> factors.
        problem: with `objective(factors)` and `scale`, the size of the terms that the objective is the difference of.
        factors: of all restarts, every leaf with a leading axis of them.
        rtol: a run ends when its objective falls by less than this for each step, relative to itself.
        pace: how long, and how often the objective is looked at.
        together: whether the restarts go side by side, else one after the other.
    """
    return _descend(step, problem, factors, jnp.asarray(rtol, float), pace.traced, pace.room, together)


@eqx.filter_jit
def _descend(
    step: Callable[[Any, Any], Any],
    problem: Any,
    factors: Any,
    rtol: Float[Array, ""],
    pace: Pace,
    room: int,
    together: bool,
) -> Descent:
    dtype = problem.scale.dtype

    def begin(factors):
        infinite, none = jnp.full((), jnp.inf, dtype), jnp.full(room, jnp.nan, dtype)
        return Descent(factors, infinite, none, jnp.zeros((), int), jnp.full((), RUNNING))

    def goes_on(state):
        look, runs = state
        return (look < pace.looks) & jnp.any(runs.code == RUNNING)

    def advance(state):
        look, runs = state
        # The first look is at the start, and the last one may come after fewer steps.
        left = jnp.minimum(pace.check_every, pace.max_steps - (look - 1) * pace.check_every)
        steps = jnp.where(look == 0, 0, left)

        def one(run):
            return _advance(step, problem, run, look, steps, rtol)

        return look + 1, jax.vmap(one)(runs) if together else one(runs)

    def run(factors):
        started = jax.vmap(begin)(factors) if together else begin(factors)
        return lax.while_loop(goes_on, advance, (jnp.zeros((), int), started))[1]

    return run(factors) if together else lax.map(run, factors)


def _advance(
    step: Callable[[Any, Any], Any],
    problem: Any,
    run: Descent,
    look: Int[Array, ""],
    steps: Int[Array, ""],
    rtol: Float[Array, ""],
) -> Descent:
    factors = lax.fori_loop(0, steps, lambda _, f: step(problem, f), run.factors)
    objective = problem.objective(factors)
    running, finite = run.code == RUNNING, jnp.isfinite(objective)
    moved = running & finite
    # Below the rounding of the model itself no change can be seen.
    eps = jnp.finfo(objective.dtype).eps
    tolerance = rtol * steps * jnp.abs(objective) + 4 * eps * (jnp.abs(objective) + eps * problem.scale)
    settled = (run.objective - objective <= tolerance) & (rtol > 0) & (steps > 0)
    code = jnp.where(~finite, NON_FINITE, jnp.where(settled, CONVERGED, RUNNING))
    return Descent(
        factors=jax.tree.map(lambda new, old: jnp.where(moved, new, old), factors, run.factors),
        objective=jnp.where(moved, objective, run.objective),
        trace=jnp.where(moved, run.trace.at[look].set(objective), run.trace),
        steps=run.steps + jnp.where(running, steps, 0),
        code=jnp.where(running, code, run.code),
    )


def best_of(run: Descent, throw: bool) -> tuple[int, Restarts]:
    """The number of the best restart, and the outcome of all.

    Raises:
        FloatingPointError: no restart stayed finite, and `throw` is set.
    """
    host = jax.tree.map(np.asarray, run._replace(factors=None))
    best = int(np.argmin(np.where(np.isfinite(host.objective), host.objective, np.inf)))
    status = [Status.of(code) for code in host.code]
    if throw and all(s is Status.NON_FINITE for s in status):
        raise FloatingPointError(
            f"no restart stayed finite: {Status.NON_FINITE.value}. Rescale the data towards 1, lower the weights of "
            "the penalties, or pass throw=False to see the last finite factors."
        )
    return best, Restarts.of(host.objective, host.steps, status, host.trace, best, run.objective.dtype)
