"""The one loop: restarts side by side, convergence, progress, interrupts and checkpoints."""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key
from tqdm import tqdm

from ..._util.validation import check_flag, check_instance
from ..initial.base import AbstractInitial
from ..model import Bilinear, expand
from ..problem import Problem
from ..solution import Restarts, Solution, Status
from ..updates.base import AbstractUpdate
from .candidates import Allowance, Candidate, alternatives_of, polish_all
from .checkpoint import Ledger, fingerprint
from .checks import check, check_alternatives, parts
from .loop import batches, first_look, looks, polish, start


def fit(
    problem: Problem,
    rank: int,
    update: AbstractUpdate | None = None,
    init: AbstractInitial | None = None,
    restarts: int = 1,
    *,
    key: Key[Array, ""] | None = None,
    max_steps: int = 500,
    rtol: float | int = 1e-6,
    check_every: int = 10,
    progress: bool = False,
    checkpoint: str | os.PathLike | None = None,
    throw: bool = True,
    alternatives: float | int | None = 0.001,
    most_alternatives: int = 10,
) -> Solution:
    """Minimise the problem's objective from several starts and keep the best.

    Args:
        problem: what to minimise.
        rank: the number of components K.
        update: how; None takes the first that serves the problem: `HALS` (`ALS` without constraints), `Multiplicative`,
            `FISTA`, `BoundedHALS`, `ProjectedGradient`. `solution.info["update"]` says which.
        init: from where; None takes `initial.Random`, under `Orthogonal` `initial.Clusters`.
        restarts: how many starts, side by side where memory allows.
        key: randomness of the starts; a start without any needs none.
        max_steps: steps at most.
        rtol: stop when the objective's relative change per step is below this; 0 never stops early. Changes
            below the rounding of the data's own norm count as none.
        check_every: steps between looks at the objective (and at Ctrl-C).
        progress: a bar on stderr.
        checkpoint: file from which a fit that was cut off goes on to the same numbers; written every half minute
            and on Ctrl-C, removed when the fit has ended by itself.
        throw: raise when the kept fit is not finite.
        alternatives: other restarts are kept too where their objective is above the best by no more than this, relative
            to it, 0 to 1; see `Solution.alternatives`. None or 0 keeps none.
        most_alternatives: how many of them, those of least objective, so that memory stays bounded: each takes as much
            as the maps and spectra themselves.

    Returns:
        The best restart, its components ordered by decreasing |map| x |spectrum| (given and fixed ones keep their
        place). Ctrl-C returns the best iterate with `Status.INTERRUPTED`.

    Raises:
        ValueError: a rank below 1 or above the data, a start or an update that does not suit the problem, a
            missing key, or a checkpoint of another fit.
        FloatingPointError: no restart stayed finite, and `throw` is set.

    A lower objective is not by itself a better answer: restarts that fit equally well can differ in their spectra.
    Look at `solution.restarts`, `solution.alternatives` and `solution.spread_angle` before trusting the best one.
    Restarts on compressed data are chosen by their objective there; each is then polished as the best is, and kept if
    it is still within the tolerance.
    """
    update, init = parts(problem, update, init)
    check(problem, rank, update, init, restarts, key, (max_steps, rtol, check_every))
    check_flag(progress, "progress")
    check_flag(throw, "throw")
    check_alternatives(alternatives, most_alternatives)
    check_instance(checkpoint, (str, os.PathLike, type(None)), "checkpoint", '"fit.npz"')
    keys = jax.random.split(jax.random.key(0) if key is None else key, restarts)
    limits, allowance = (max_steps, rtol, check_every), Allowance.of(alternatives, most_alternatives)
    mark = "" if checkpoint is None else fingerprint(problem, update, init, keys, (rank, *limits, *allowance))
    ledger = Ledger.resume(checkpoint, mark, allowance)
    interrupted = False
    try:
        for part in batches(restarts, problem.restart_bytes(rank)):
            if part.start >= ledger.finished:
                run = first_look(problem, update, start(problem, update, init, rank, keys[part]), rtol)
                _run_batch(problem, update, ledger.begin(run), limits, progress)
    except KeyboardInterrupt:
        interrupted = True
        ledger.keep()
        if not ledger.close_batch(Status.INTERRUPTED):
            raise
    solution = _closed(problem, update, init, ledger, check_every, interrupted)
    if throw and solution.status is Status.NON_FINITE:
        raise FloatingPointError(
            f"No restart stayed finite ({solution.steps} steps); rescale the data towards 1, lower the weights of the "
            "penalties, or pass throw=False to look at the last finite factors."
        )
    if not interrupted:
        ledger.remove()
    return solution


def _run_batch(
    problem: Problem, update: AbstractUpdate, ledger: Ledger, limits: tuple[int, float | int, int], progress: bool
) -> None:
    """Advance the batch in flight until no restart is running, on the ledger's record."""
    with tqdm(total=limits[0], unit="step", disable=not progress, leave=False) as bar:
        for run in looks(problem, update, ledger.in_flight, limits):
            ledger.record(run)
            bar.update(ledger.done - bar.n)
            bar.set_postfix(objective=f"{np.min(run.objective):.6g}", running=int(ledger.running.sum()))
    ledger.close_batch(Status.MAX_STEPS)


def _closed(
    problem: Problem, update: AbstractUpdate, init: AbstractInitial, ledger: Ledger, check_every: int, interrupted: bool
) -> Solution:
    """The solution of what the ledger holds, polished where the data were compressed."""
    factors, objective, extra, others = ledger.kept, ledger.best_objective, 0, ledger.others
    if problem.matrix.is_compressed:
        extra = 0 if interrupted else problem.matrix.polish_steps
        polished, reached = polish(problem, update, jax.tree.map(lambda leaf: leaf[None], factors), extra)
        factors, objective = jax.tree.map(lambda leaf: leaf[0], polished), float(reached[0])
        others = ledger.allowance.choose(polish_all(problem, update, others, extra), objective)
    outcomes, tolerance = ledger.outcomes(), ledger.allowance.tolerance
    solution = solution_of(
        problem, update, init, factors, objective, outcomes, check_every, extra, interrupted, others, tolerance
    )
    if not ledger.relevance:
        return solution
    return replace(solution, relevance_trace=jnp.asarray(np.array(ledger.relevance), problem.matrix.dtype))


def solution_of(
    problem: Problem,
    update: AbstractUpdate,
    init: AbstractInitial,
    factors: Bilinear,
    objective: float,
    restarts: Restarts,
    check_every: int,
    extra: int = 0,
    interrupted: bool = False,
    others: Sequence[Candidate] = (),
    tolerance: float = 0.0,
) -> Solution:
    """The best restart as users get it, and the others within the tolerance; all after `extra` steps of polish.

    Components that have switched off are left out, and other restarts with another number of those that have not.
    """
    on, relevance = components_on(problem, factors)
    factors = Bilinear(factors.maps_t[on], factors.profiles[on])
    others = [one.only(mine) for one in others if len(mine := components_on(problem, one.factors)[0]) == len(on)]
    best, dtype = int(restarts.best), problem.matrix.dtype
    trace = np.asarray(restarts.trace)[best]
    trace = trace[: np.flatnonzero(np.isfinite(trace))[-1] + 1] if np.isfinite(trace).any() else trace[:1]
    steps = int(np.asarray(restarts.steps)[best])
    trace_steps = np.minimum(np.arange(len(trace)) * check_every, steps)
    if problem.matrix.is_compressed:
        trace, trace_steps = np.append(trace, objective), np.append(trace_steps, steps + extra)
    # On the host: as operations of their own, each would be compiled for each rank of a survey.
    maps, profiles = np.asarray(factors.maps_t).T, np.asarray(factors.profiles)
    spectra = profiles if problem.basis is None else np.asarray(expand(jnp.asarray(profiles), problem.basis))
    order = np.arange(len(profiles))
    if not init.is_given and not problem.constraints.of("fixed"):
        contribution = np.linalg.norm(maps, axis=0) * np.linalg.norm(spectra, axis=1)
        order = np.argsort(-contribution, kind="stable")
        maps, profiles, spectra = maps[:, order], profiles[order], spectra[order]
    return Solution(
        maps=jnp.asarray(maps),
        spectra=jnp.asarray(spectra),
        coefficients=None if problem.basis is None else jnp.asarray(profiles),
        objective=jnp.asarray(objective, dtype),
        trace=jnp.asarray(trace, dtype),
        trace_steps=jnp.asarray(trace_steps, int),
        steps=jnp.asarray(steps + extra, int),
        code=jnp.asarray((Status.INTERRUPTED if interrupted else restarts.status[best]).code, int),
        restarts=restarts,
        alternatives=alternatives_of(problem, factors, order, others, tolerance),
        relevance=None if relevance is None else jnp.asarray(relevance[on][order], dtype),
        description=describe(problem, update, init, len(profiles)),
    )


def components_on(problem: Problem, factors: Bilinear) -> tuple[np.ndarray, np.ndarray | None]:
    """The numbers of the components that have not switched off, and the relevance of all; see `penalties.ARD`.

    Where components are known by their place none is left out, nor the last one.
    """
    every = np.arange(factors.maps_t.shape[0])
    if not problem.finds_relevance:
        return every, None
    relevance, off = (np.asarray(one) for one in problem.relevance(factors))
    if problem.constraints.of("fixed") or (problem.basis is not None and problem.basis.ndim == 3):
        return every, relevance
    return every[relevance == relevance.max()][:1] if off.all() else every[~off], relevance


def describe(problem: Problem, update: AbstractUpdate, init: AbstractInitial, rank: int) -> tuple[tuple[str, Any], ...]:
    """What is fitted, in words: pairs of a name and a value."""
    return (
        ("loss", problem.loss.label),
        ("update", type(update).__name__),
        ("initial", type(init).__name__),
        ("rank", rank),
        ("matrix", type(problem.matrix).__name__),
        ("penalties", tuple(penalty.label for penalty in problem.penalties)),
        ("constraints", tuple(f"{type(c).__name__}({c.block})" for c in problem.constraints)),
    )
