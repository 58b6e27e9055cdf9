"""Restarts of any descent, side by side in one compiled program."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from ..solution import Status

# A run that is still running when the steps are used up has ended by them.
RUNNING, CONVERGED, NON_FINITE = (s.code for s in (Status.MAX_STEPS, Status.CONVERGED, Status.NON_FINITE))


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
    """How long a descent goes on, and how often its objective is looked at."""

    max_steps: int
    check_every: int

    @property
    def looks(self) -> int:
        """At the objective, the start's among them."""
        return -(-self.max_steps // self.check_every) + 1

    @property
    def steps_at(self) -> list[int]:
        """The steps taken at each look."""
        return [min(look * self.check_every, self.max_steps) for look in range(self.looks)]


@eqx.filter_jit
def descend(
    step: Callable[[Any, Any], Any],
    problem: Any,
    factors: Any,
    rtol: Float[Array, ""],
    pace: Pace,
    together: bool = False,
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

    def begin(factors):
        infinite = jnp.full((), jnp.inf, problem.scale.dtype)
        none = jnp.full(pace.looks, jnp.nan, problem.scale.dtype)
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
    step: Callable,
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
