"""What a fit refuses before anything is computed, and what it takes where nothing is given."""

from typing import Any

from ..._util.validation import check_instance, check_key, check_number, check_whole_number, real_number
from ..initial.base import AbstractInitial
from ..initial.clusters import Clusters
from ..initial.random import Random
from ..problem import Problem
from ..updates.als import ALS
from ..updates.base import AbstractUpdate
from ..updates.bounded import BoundedHALS
from ..updates.fista import FISTA
from ..updates.hals import HALS
from ..updates.multiplicative import Multiplicative
from ..updates.projected_gradient import ProjectedGradient

UPDATE, INITIAL, PROBLEM = "updates.HALS()", "initial.Random()", "Problem(X)"


def parts(problem: Any, update: Any, init: Any = None) -> tuple[AbstractUpdate, AbstractInitial]:
    """The update and the start, those that suit the problem where none is given.

    Raises:
        ValueError: one of the three is something else, such as the name of an update in place of it.
    """
    check_instance(problem, Problem, "problem", PROBLEM)
    check_instance(update, (AbstractUpdate, type(None)), "update", UPDATE)
    check_instance(init, (AbstractInitial, type(None)), "init", INITIAL)
    return (
        default_update(problem) if update is None else update,
        default_initial(problem) if init is None else init,
    )


def check_limits(max_steps: Any, rtol: Any, check_every: Any = 1, restarts: Any = 1) -> None:
    """Refuse what are no numbers; their ranges are checked where they are used."""
    wholes = {"restarts": restarts, "max_steps": max_steps, "check_every": check_every}
    for name, value in wholes.items():
        check_whole_number(value, name)
    real_number(rtol, "rtol")


def check_alternatives(tolerance: Any, most: Any) -> None:
    """Refuse what says nothing about which restarts are kept beside the best.

    Raises:
        ValueError: a tolerance that is no number from 0 to 1, a number of them that is not whole or below 0.
    """
    if tolerance is not None:
        check_number(tolerance, "alternatives", 0, 1)
    check_whole_number(most, "most_alternatives", 0)


def default_update(problem: Problem) -> AbstractUpdate:
    """The update that suits the problem where none is given: the first that takes it, closed forms before gradients."""
    # Without constraints one row at a time is slow: both blocks have closed forms as a whole.
    first = HALS() if len(problem.constraints) or problem.penalties else ALS()
    candidates = (first, HALS(), Multiplicative(), FISTA(), BoundedHALS(), ProjectedGradient())
    last = BoundedHALS() if problem.constraints.of("product") else FISTA()
    return next((update for update in candidates if _takes(update, problem)), last)


def _takes(update: AbstractUpdate, problem: Problem) -> bool:
    try:
        update.check(problem)
    except ValueError:
        return False
    return True


def default_initial(problem: Problem) -> AbstractInitial:
    """The start that suits the problem where none is given."""
    return Clusters() if problem.constraints.of("disjoint") else Random()


def check(
    problem: Problem,
    rank: int,
    update: AbstractUpdate,
    init: AbstractInitial,
    restarts: int,
    key: Any,
    limits: tuple[int, float | int, int],
) -> None:
    """Refuse what cannot be fitted, before anything is computed; what is raised `fit` says."""
    pixels, channels = problem.matrix.shape
    check_whole_number(rank, "rank")
    check_limits(limits[0], limits[1], limits[2], restarts)
    if key is not None:
        check_key(key)
    # Known spectra may outnumber the pixels of a small map; then only the channels limit them.
    most = channels if problem.constraints.is_fully_fixed(problem.profile_block) else min(pixels, channels)
    if not 1 <= rank <= most:
        raise ValueError(
            f"rank must lie in 1..{most} for data of {pixels} pixels and {channels} channels, got {rank}; "
            "there are no more components than the smaller side of the data."
        )
    if problem.basis is not None and problem.basis.ndim == 3 and rank != len(problem.basis):
        raise ValueError(f"the basis is for {len(problem.basis)} components, each its own; the rank is {rank}.")
    waiting = [p for p in problem.penalties if p.is_auto]
    if waiting:
        raise ValueError(
            f'the weight of {type(waiting[0]).__name__} is "auto": choose it first by '
            f"problem = jaxunmix.tune(problem, rank={rank}, key=key)."
        )
    max_steps, rtol, check_every = limits
    if restarts < 1 or max_steps < 0 or check_every < 1 or not rtol >= 0:
        raise ValueError(
            "restarts and check_every must be 1 or more, max_steps and rtol 0 or more; got "
            f"restarts={restarts}, max_steps={max_steps}, rtol={rtol}, check_every={check_every}."
        )
    if not init.is_random(rank) and restarts > 1:
        raise ValueError(f"{type(init).__name__} has no randomness: {restarts} restarts would be one; use restarts=1.")
    if init.is_random(rank) and key is None:
        raise ValueError("The start is random: give key=jax.random.key(seed).")
    init.check(problem, rank)
    if not init.is_given and any(fixed.values is None for fixed in problem.constraints.of("fixed")):
        raise ValueError("Fixed keeps the values of the start: give them by init=initial.Given(...).")
    problem.constraints.check_rank(rank)
    update.check(problem)
