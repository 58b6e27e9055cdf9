"""What a fit refuses before anything is computed, and what it takes where nothing is given."""

from typing import Any

import numpy as np

from .. import initial
from ..constraints.fixed import Fixed
from ..initial.base import AbstractInitial
from ..initial.given import Given
from ..losses import Frobenius
from ..penalties.base import AbstractPenalty
from ..problem import Problem
from ..updates.base import AbstractUpdate
from ..updates.hals import HALS
from ..updates.multiplicative import Multiplicative


def defaults(
    problem: Problem, update: AbstractUpdate | None, init: AbstractInitial | None
) -> tuple[AbstractUpdate, AbstractInitial]:
    """The update and the start that suit the problem, where none are given."""
    plain = isinstance(problem.loss, Frobenius) and problem.weights is None
    update = update or (HALS() if plain else Multiplicative())
    return update, init or (initial.Random() if problem.orthogonal is None else initial.Clusters())


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
    if not isinstance(rank, int | np.integer) or isinstance(rank, bool):
        raise ValueError(f"rank must be a whole number, got {rank!r}.")
    # Known spectra may outnumber the pixels of a small map; then only the channels limit them.
    most = channels if problem.is_settled(problem.second) else min(pixels, channels)
    if not 1 <= rank <= most:
        raise ValueError(
            f"rank must lie in 1..{most} for data of {pixels} pixels and {channels} channels, got {rank}; "
            "there are no more components than the smaller side of the data."
        )
    if problem.basis is not None and problem.basis.ndim == 3 and rank != len(problem.basis):
        raise ValueError(f"the basis is for {len(problem.basis)} components, each its own; the rank is {rank}.")
    waiting = [p for p in problem.penalties if isinstance(p, AbstractPenalty) and p.is_auto]
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
    if isinstance(init, Given):
        init.check(problem, rank)
    elif any(isinstance(c, Fixed) and c.values is None for c in problem.constraints):
        raise ValueError("Fixed keeps the values of the start: give them by init=initial.Given(...).")
    for constraint in problem.constraints:
        if isinstance(constraint, Fixed):
            constraint.free(rank)
    update.check(problem)
