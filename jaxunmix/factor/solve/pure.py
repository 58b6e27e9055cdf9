"""A fit from given factors as one function of JAX: to be jitted, vmapped and differentiated."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ..._util.tracing import is_known
from ..._util.validation import check_instance
from ..alternatives import Alternatives
from ..model import Bilinear
from ..problem import Problem
from ..solution import Restarts, Solution
from ..updates.base import AbstractUpdate
from .checks import check_limits, parts
from .run import RUNNING, Run, advance, advance_running, begin


def minimise(
    problem: Problem,
    start: Bilinear,
    update: AbstractUpdate | None = None,
    *,
    max_steps: int = 100,
    rtol: float | int = 0,
    check_every: int = 10,
) -> Solution:
    """Minimise the problem's objective from given factors: what `fit` does with one restart, as a pure function.

    Nothing leaves the device and nothing is printed, so it can be part of a function that is jitted, vmapped (over
    weights, starts, data) or differentiated, forwards and backwards through all steps. The problem can be made
    inside that function, with traced data or weights. Backwards, the steps between two looks are computed again in
    place of being stored. `Simplex` under `Multiplicative` solves for its multiplier by a loop of unknown length,
    which JAX differentiates forwards only (`jax.jvp`, `jax.jacfwd`).

    Args:
        problem: what to minimise.
        start: the factors to start from, such as `Bilinear.of(maps, spectra)`.
        update: how; None as in `fit`.
        max_steps: steps at most; a Python number.
        rtol: as in `fit`; 0 takes all the steps.
        check_every: steps between looks at the objective.

    Returns:
        The iterate of least objective, its components in the order of the start; the only restart.

    Raises:
        ValueError: a start of another shape, numbers out of their range, a problem that the update cannot take.

    Example:
        The objective reached, as a function of a penalty's weight, and its derivative:

        >>> import jax, jax.numpy as jnp, jaxunmix as jxu
        >>> X = jnp.outer(jnp.arange(1.0, 7), jnp.arange(1.0, 5)) + jnp.eye(6, 4)
        >>> start = jxu.Bilinear.of(jnp.ones((6, 2)) + jnp.eye(6, 2), jnp.ones((2, 4)) + jnp.eye(2, 4))
        >>> def reached(weight):
        ...     problem = jxu.Problem(X, penalties=(jxu.penalties.L1("maps", weight),))
        ...     return jxu.minimise(problem, start, max_steps=20).objective
        >>> bool(jax.jit(jax.grad(reached))(0.1) > 0)
        True
    """
    update, _ = parts(problem, update)
    check_instance(start, Bilinear, "start", "Bilinear.of(maps, spectra)")
    _check(problem, start, update, max_steps, rtol, check_every)
    dtype = problem.matrix.dtype
    factors = Bilinear(jnp.asarray(start.maps_t, dtype), jnp.asarray(start.profiles, dtype))
    run = advance(problem, update, begin(problem, update, problem.normalise(factors)), 0, rtol)
    objectives = [run.last[None]]

    def look(run: Run, _: None, steps: int = check_every) -> tuple[Run, Float[Array, ""]]:
        moved = run.code == RUNNING
        run = advance_running(problem, update, run, steps, rtol)
        return run, jnp.where(moved, run.last, jnp.nan)

    looks, rest = divmod(max_steps, check_every)
    if looks:
        run, seen = lax.scan(jax.checkpoint(look), run, length=looks)
        objectives.append(seen)
    if rest:
        run, last = look(run, None, rest)
        objectives.append(last[None])
    return _solution(problem, run, jnp.concatenate(objectives), max_steps, check_every)


def _solution(problem: Problem, run: Run, trace: Float[Array, " checks"], max_steps: int, check_every: int) -> Solution:
    best, spectra = run.best, problem.spectra(run.best)
    coefficients = None if problem.basis is None else best.profiles
    return Solution(
        maps=best.maps,
        spectra=spectra,
        coefficients=coefficients,
        objective=run.objective,
        trace=trace,
        trace_steps=jnp.minimum(jnp.arange(len(trace)) * check_every, max_steps),
        steps=run.steps,
        code=run.code,
        restarts=Restarts(run.objective[None], run.steps[None], run.code[None], trace[None], jnp.zeros((), int)),
        alternatives=Alternatives.none(best.maps, spectra, coefficients),
    )


def _check(
    problem: Problem, start: Bilinear, update: AbstractUpdate, max_steps: int, rtol: float | int, check_every: int
) -> None:
    check_limits(max_steps, 0 if not is_known(rtol) else rtol, check_every)
    if max_steps < 0 or check_every < 1 or not rtol >= 0:
        raise ValueError(
            "max_steps and rtol must be 0 or more and check_every 1 or more; got "
            f"max_steps={max_steps}, rtol={rtol}, check_every={check_every}."
        )
    wanted = (start.rank, problem.matrix.shape[0]), (start.rank, problem.features)
    if (start.maps_t.shape, start.profiles.shape) != wanted:
        raise ValueError(
            f"start: maps must be ({wanted[0][1]}, K) and {problem.profile_block} (K, {wanted[1][1]}), got "
            f"{start.maps_t.shape[::-1]} and {start.profiles.shape}."
        )
    problem.constraints.check_rank(start.rank)
    update.check(problem)
