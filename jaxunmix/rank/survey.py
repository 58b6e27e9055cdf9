"""Fits at many ranks side by side: K is padded with components of zeros, which no update moves."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key
from tqdm import tqdm

from .._util.padding import pad_alike
from ..factor.initial.base import AbstractInitial, AbstractPadded
from ..factor.model import Bilinear
from ..factor.problem import Problem
from ..factor.solution import Restarts, Solution, Status
from ..factor.solve import loop
from ..factor.solve.checkpoint import NON_FINITE, RUNNING
from ..factor.solve.fitting import solution_of
from ..factor.solve.run import Run
from ..factor.updates.base import AbstractUpdate

# Pixels at which every restart notes its largest component, for the agreement between restarts.
NOTED_PIXELS = 1000


@dataclass(frozen=True)
class Settings:
    """How each fit of a survey is done; see `fit`."""

    update: AbstractUpdate
    init: AbstractInitial
    restarts: int
    max_steps: int
    rtol: float | int
    check_every: int


@dataclass(frozen=True)
class Survey:
    """All fits of a problem.

    Attributes:
        ranks: the numbers of components K, increasing.
        restarts: for each rank every restart's outcome.
        loss: (ranks, restarts) the data term alone, on the data that were fitted.
        labels: (ranks, restarts, some pixels) the largest component of a pixel.
        best: for each rank the best restart polished on the full data, maps transposed and profiles, on the host.
        objective: (ranks,) theirs, on the full data.
    """

    ranks: tuple[int, ...]
    restarts: tuple[Restarts, ...]
    loss: np.ndarray
    labels: np.ndarray
    best: tuple[tuple[np.ndarray, np.ndarray], ...]
    objective: np.ndarray

    def solutions(self, problem: Problem, settings: Settings) -> dict[int, Solution]:
        """The best restart at each rank, as `fit` would give it."""
        extra = problem.matrix.polish_steps
        made = partial(
            solution_of, problem, settings.update, settings.init, check_every=settings.check_every, extra=extra
        )
        parts = zip(self.ranks, self.best, self.objective, self.restarts, strict=True)
        return {rank: made(Bilinear.of_rows(*rows), float(value), outcomes) for rank, rows, value, outcomes in parts}


def survey(
    problem: Problem, ranks: Sequence[int], settings: Settings, key: Key[Array, ""], progress: bool = False
) -> Survey:
    """Fit every rank from every start, in as few compiled programs as ranks and memory allow.

    Raises:
        FloatingPointError: at some rank no restart stayed finite.
    """
    workers = _workers(problem, settings.restarts)
    groups = _groups(ranks, problem, settings.restarts, workers)
    with tqdm(total=sum(map(len, groups)) * settings.max_steps, unit="step", disable=not progress, leave=False) as bar:

        def run(batches: list[list[int]]) -> list[Survey]:
            return [_surveyed(problem, ranks, batches[-1][-1], settings, key, bar) for ranks in batches]

        if workers == 1:
            parts = [part for group in groups for part in run(group)]
        else:
            with ThreadPoolExecutor(workers) as pool:
                parts = [part for done in pool.map(run, groups) for part in done]
    order = np.argsort([rank for part in parts for rank in part.ranks])

    def sorted_by_rank(name: str) -> list[Any]:
        values = [value for part in parts for value in getattr(part, name)]
        return [values[i] for i in order]

    return Survey(
        ranks=tuple(sorted_by_rank("ranks")),
        restarts=tuple(sorted_by_rank("restarts")),
        loss=np.array(sorted_by_rank("loss")),
        labels=np.array(sorted_by_rank("labels")),
        best=tuple(sorted_by_rank("best")),
        objective=np.array(sorted_by_rank("objective")),
    )


def _workers(problem: Problem, restarts: int) -> int:
    """How many programs run at once: where restarts go one after the other a program keeps one core busy."""
    if jax.default_backend() != "cpu" or not loop.is_sequential(problem, restarts):
        return 1
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def _groups(ranks: Sequence[int], problem: Problem, restarts: int, workers: int) -> list[list[list[int]]]:
    """Ranks that share a program, padded to the largest of them, in batches that fit into memory."""
    groups = []
    for together in _alike(sorted(ranks)) if workers == 1 else _shared_out(sorted(ranks), workers):
        padded = together[-1]
        # Equal numbers of ranks in each batch, so that all batches of a group run the same program.
        each = max(1, loop.BATCH_BYTES // max(1, problem.restart_bytes(padded) * restarts))
        count = -(-len(together) // each)
        size = -(-len(together) // count)
        groups.append([together[first : first + size] for first in range(0, len(together), size)])
    return groups


def _alike(ranks: list[int]) -> list[list[int]]:
    """Runs of ranks, the largest first, padded to less than three times their own number."""
    runs = []
    while ranks:
        together = [rank for rank in ranks if 3 * rank > ranks[-1]]
        ranks = ranks[: -len(together)]
        runs.append(together)
    return runs


def _shared_out(ranks: list[int], workers: int) -> list[list[int]]:
    """As many runs of ranks as workers, the longest of which takes least time: about the square of what it pads to."""
    if workers == 1 or len(ranks) == 1:
        return [ranks]

    def slowest(runs: list[list[int]]) -> int:
        return max(len(run) * run[-1] ** 2 for run in runs)

    options = [[ranks[cut:], *_shared_out(ranks[:cut], workers - 1)] for cut in range(1, len(ranks))]
    return min(options, key=slowest)


def _surveyed(
    problem: Problem, ranks: list[int], padded: int, settings: Settings, key: Key[Array, ""], bar: Any
) -> Survey:
    """One group of ranks; where a single rank's restarts do not fit into memory, batch after batch of them."""
    update, restarts = settings.update, settings.restarts
    limits = (settings.max_steps, settings.rtol, settings.check_every)
    keys = [jax.random.split(jax.random.fold_in(key, rank), restarts) for rank in ranks]
    slices = [slice(0, restarts)] if len(ranks) > 1 else loop.batches(restarts, problem.restart_bytes(padded))
    outcomes: list[_Outcome] = []
    for part in slices:
        begun = _begun(problem, settings, ranks, padded, [k[part] for k in keys])
        begun = loop.first_look(problem, update, begun, 0)
        trace, run = [np.asarray(begun.last, float)], begun
        for later in loop.looks(problem, update, begun, limits):
            trace.append(np.where(np.asarray(run.code) == RUNNING, np.asarray(later.last, float), np.nan))
            run = later
            bar.update(settings.check_every / len(slices))
        outcomes.append(_Outcome.of(problem, run, np.array(trace).T, len(ranks)))
    outcome = outcomes[0] if len(outcomes) == 1 else _Outcome.joined(outcomes)
    if not np.isfinite(outcome.score.min(axis=1)).all():
        raise FloatingPointError(
            f"No restart stayed finite at K = {ranks[int(np.argmax(~np.isfinite(outcome.score.min(axis=1))))]}; "
            "rescale the data towards 1, or lower the weights of the penalties."
        )
    return outcome.closed(problem, settings, ranks)


def _begun(problem: Problem, settings: Settings, ranks: list[int], padded: int, keys: list[Any]) -> Run:
    """All restarts of all ranks at their starts, from one program where the start knows how to pad."""
    update, init = settings.update, settings.init
    if isinstance(init, AbstractPadded):
        live = jnp.repeat(jnp.asarray(ranks), len(keys[0]))
        return loop.start(problem, update, init, padded, jnp.concatenate(keys), live)
    runs = [loop.start(problem, update, init, rank, k) for rank, k in zip(ranks, keys, strict=True)]
    runs = [loop.padded(problem, update, run.factors, padded) for run in runs]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *runs)


@dataclass(frozen=True)
class _Outcome:
    """What is left of a batch: numbers for every restart, factors only for the best of each rank."""

    objective: np.ndarray
    code: np.ndarray
    steps: np.ndarray
    trace: np.ndarray
    loss: np.ndarray
    labels: np.ndarray
    best: Bilinear

    @property
    def score(self) -> np.ndarray:
        """(ranks, restarts) the objective, infinite where a restart broke."""
        return np.where(self.code == NON_FINITE, np.inf, self.objective)

    @classmethod
    def of(cls, problem: Problem, run: Run, trace: np.ndarray, ranks: int) -> "_Outcome":
        objective, code, steps = (
            np.asarray(a).reshape(ranks, -1) for a in (np.asarray(run.objective, float), run.code, run.steps)
        )
        loss, labels = _noted(problem, run.best)
        score = np.where(code == NON_FINITE, np.inf, objective)
        kept = np.argmin(score, axis=1) + np.arange(ranks) * score.shape[1]
        return cls(
            objective,
            code,
            steps,
            trace.reshape(ranks, score.shape[1], -1),
            np.asarray(loss, float).reshape(ranks, -1),
            np.asarray(labels).reshape(ranks, score.shape[1], -1),
            _kept(run.best, jnp.asarray(kept)),
        )

    @classmethod
    def joined(cls, parts: list["_Outcome"]) -> "_Outcome":
        """Batches of restarts of one rank."""
        padded = pad_alike([part.trace for part in parts])
        first = parts[int(np.argmin([part.score.min() for part in parts]))]
        along = {
            name: np.concatenate([getattr(part, name) for part in parts], axis=1)
            for name in ("objective", "code", "steps", "loss", "labels")
        }
        return cls(trace=np.concatenate(padded, axis=1), best=first.best, **along)

    def closed(self, problem: Problem, settings: Settings, ranks: list[int]) -> Survey:
        """The survey of these ranks, the best factors polished where the data were compressed."""
        best, score = self.best, self.score
        objective = score.min(axis=1)
        if problem.matrix.is_compressed:
            best, objective = loop.polish(problem, settings.update, best, problem.matrix.polish_steps)
        outcomes = tuple(
            Restarts.of(
                self.objective[i],
                self.steps[i],
                [Status.of(code) for code in self.code[i]],
                self.trace[i],
                int(np.argmin(score[i])),
                problem.matrix.dtype,
            )
            for i in range(len(ranks))
        )
        maps, profiles = np.asarray(best.maps_t), np.asarray(best.profiles)
        factors = tuple((maps[i, :rank], profiles[i, :rank]) for i, rank in enumerate(ranks))
        return Survey(tuple(ranks), outcomes, self.loss, self.labels, factors, objective)


@jax.jit
def _kept(factors: Bilinear, places: Int[Array, " ranks"]) -> Bilinear:
    return jax.tree.map(lambda leaf: leaf[places], factors)


@eqx.filter_jit
def _noted(problem: Problem, factors: Bilinear) -> tuple[Float[Array, " restarts"], Int[Array, "restarts some"]]:
    """The data term of each restart, and the largest component at some pixels."""
    pixels = problem.matrix.shape[0]
    noted = np.linspace(0, pixels - 1, min(pixels, NOTED_PIXELS)).astype(int)

    def one(factors):
        share = factors.maps_t[:, noted] * jnp.linalg.norm(problem.spectra(factors), axis=1)[:, None]
        return problem.data_term(factors), jnp.argmax(share, axis=0)

    return loop.over_restarts(problem, one, factors)
