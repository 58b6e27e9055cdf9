"""Result and per-level history of tempered SMC."""

import enum
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np


class Status(enum.Enum):
    """Why a run ended."""

    DONE = "reached the end of the path, or the stopping rule was met"
    LEVELS = "stopped at the largest number of levels"
    LOST = "no particle had a finite weight"


@dataclass(frozen=True)
class SMCResult:
    """The outcome of `smc`, as NumPy arrays; a run that ended early repeats its last level.

    Attributes:
        betas: (runs, levels), from 0 upwards.
        log_evidence: (runs, levels), ln Z at each; of all together once they are united.
        variance: (runs, levels), of ln Z, estimated from the weights alone: too small where modes are lost.
        z: (runs, particles, size), the particles at the end.
        terms: `density.evaluate` of them, leading axes (runs, particles).
        particles: (levels, runs, kept, size), those that were kept of each level.
        kept_terms: their terms, leading axes (levels, runs, kept).
        log_weight: (levels, runs, kept), ln of what each stands for, with a mean of one: zeros without strata.
        origin: (levels, runs, kept), the point before the union that each descends from, as its number among those of
            all runs; its own place where runs have not been united.
        acceptance: (runs, levels), the mean acceptance of the moves.
        settings: what the explorer has learned at each level, leading axes (levels, runs * strata).
        ancestors: (runs, levels), how many of the first particles still have descendants.
        status: one per run.
    """

    betas: np.ndarray
    log_evidence: np.ndarray
    variance: np.ndarray
    z: np.ndarray
    terms: Any
    particles: np.ndarray
    kept_terms: Any
    log_weight: np.ndarray
    origin: np.ndarray
    acceptance: np.ndarray
    settings: Any
    ancestors: np.ndarray
    status: tuple[Status, ...]

    @property
    def united(self) -> bool:
        """Whether the runs were united before the end."""
        runs, particles = self.z.shape[:2]
        return bool(np.any(self.origin[-1] // particles != np.arange(runs)[:, None]))

    def of_descent(self, origin: np.ndarray) -> tuple[np.ndarray, float]:
        """Each run's share of points that are drawn from united runs, and the error of ln Z by their lines of descent.

        With s_j the share of the points that descend from point j of the N at the union, the relative variance of Z is
        sum_j s_j^2 - 1 / N (H. P. Chan and T. L. Lai, Ann. Stat. 41 (2013) 2877). The error by the offspring of each
        run is taken where it is larger.

        Args:
            origin: (points,), as `origin` has it.
        """
        runs, particles = self.z.shape[:2]
        share = np.bincount(origin // particles, minlength=runs) / len(origin)
        of_runs, lines = float(np.std(runs * share, ddof=1)) / math.sqrt(runs), np.bincount(origin)
        # The probability that two points have one line, without that of drawing one of them twice.
        alike = float(np.sum(lines * (lines - 1.0))) / (len(origin) * (len(origin) - 1.0))
        return share, max(of_runs, math.sqrt(max(alike - 1 / (runs * particles), 0)))

    def __repr__(self) -> str:
        levels, value = self.betas.shape[1], self.log_evidence[:, -1]
        return f"SMCResult({len(value)} runs, {levels} levels, ln Z = {np.round(value, 3).tolist()})"


class Log:
    """The history of tempered SMC so far, level by level, on the host."""

    def __init__(self, state: Any, stride: int, runs: int):
        self.stride, self.runs = stride, runs
        self.betas, self.evidence, self.variance = [np.zeros(runs)], [np.zeros(runs)], [np.zeros(runs)]
        self.acceptance = [np.ones(runs)]
        self.particles: list[np.ndarray] = []
        self.terms: list[Any] = []
        self.log_weight: list[np.ndarray] = []
        self.origin: list[np.ndarray] = []
        self.settings: list[Any] = []
        self.ancestors: list[np.ndarray] = []
        self.status = [Status.LEVELS] * runs
        self.active = np.ones(runs, bool)
        self._keep(state)

    @property
    def levels(self) -> int:
        return len(self.betas)

    def _keep(self, state: Any) -> None:
        shaped = jax.tree.map(self._shaped, (state.z, state.terms, state.ancestor, state.origin))
        z, terms, ancestor, origin = shaped
        self.particles.append(z[:, :: self.stride].copy())
        self.terms.append(jax.tree.map(lambda leaf: leaf[:, :: self.stride].copy(), terms))
        share = np.asarray(state.log_share, float)
        share = np.repeat(share + np.log(share.shape[1]), z.shape[1] // share.shape[1], axis=1)
        self.log_weight.append(share[:, :: self.stride])
        self.origin.append(origin[:, :: self.stride].copy())
        self.settings.append(jax.tree.map(np.asarray, state.settings))
        self.ancestors.append(np.array([len(np.unique(run)) for run in ancestor]))

    def _shaped(self, leaf: Any) -> np.ndarray:
        leaf = np.asarray(leaf)
        return leaf.reshape(self.runs, -1, *leaf.shape[1:])

    def add(self, state: Any, level: tuple, limit: float, stop: Callable | None) -> None:
        beta, gain, variance, acceptance = (np.asarray(value, float) for value in level)
        lost = self.active & ~np.isfinite(gain)
        if np.all(lost) and self.levels == 1:
            raise ValueError("smc: no prior draw has a finite density beyond the prior: look for an impossible datum.")
        self.betas.append(beta)
        self.evidence.append(self.evidence[-1] + np.where(self.active, gain, 0))
        self.variance.append(self.variance[-1] + np.where(self.active, variance, 0))
        self.acceptance.append(np.where(self.active, acceptance, self.acceptance[-1]))
        self._keep(state)
        ended = beta >= limit * (1 - 1e-12)
        if stop is not None:
            traces = np.stack(self.betas, 1), np.stack(self.evidence, 1)
            ended |= np.array([bool(stop(b, e)) for b, e in zip(*traces, strict=True)])
        # United runs have one evidence, and end together.
        ended |= bool(state.united) & np.any(ended)
        for run in np.flatnonzero(self.active & (ended | lost)):
            self.status[run] = Status.LOST if lost[run] else Status.DONE
        self.active = self.active & ~ended & ~lost

    def result(self, state: Any, bounded: bool) -> SMCResult:
        z, terms = jax.tree.map(self._shaped, (state.z, state.terms))
        evidence = np.stack(self.evidence, 1)
        rise = np.max(np.diff(evidence, axis=1), initial=-np.inf)
        if bounded and rise > 1e-6 * np.max(np.abs(evidence), initial=1):
            warnings.warn(f"smc: ln Z rose by {rise:.2g} in one level, which no likelihood below 1 does.", stacklevel=3)
        return SMCResult(
            betas=np.stack(self.betas, 1),
            log_evidence=evidence,
            variance=np.stack(self.variance, 1),
            z=z,
            terms=terms,
            particles=np.stack(self.particles),
            kept_terms=jax.tree.map(lambda *leaves: np.stack(leaves), *self.terms),
            log_weight=np.stack(self.log_weight),
            origin=np.stack(self.origin),
            acceptance=np.stack(self.acceptance, 1),
            settings=jax.tree.map(lambda *leaves: np.stack(leaves), *self.settings),
            ancestors=np.stack(self.ancestors, 1),
            status=tuple(self.status),
        )
