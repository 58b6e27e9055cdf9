"""The free energy -ln Z from tempered samples: several estimators, and an error that covers what it claims.

Every estimator goes through the differences ln q_{t+1} - ln q_t at the samples of both rungs, so it holds for any path,
linear in b or not:

- BAR: Bennett's acceptance ratio between neighbours (Bennett 1976; Shirts and Chodera 2008), the value;
- forward and backward stepping stones: the mean of q_{t+1} / q_t under q_t, and of its inverse under q_{t+1} (Xie et
  al. 2011);
- thermodynamic integration of b <d ln q_b / db> over ln b through a cubic spline; the first pair, where ln b has no
  beginning and the slope under the prior a large variance, is taken from BAR. The trapezoidal rule over b was 1.2 nats
  off where 22 rungs spread over six decades of b.
"""

import warnings
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpyro.infer import MCMC
from scipy.interpolate import CubicSpline
from scipy.special import expit, logsumexp
from scipy.stats import t as student

from ..._util.statistics import jackknife, log_mean, spread
from ..._util.validation import check_flag, check_instance
from .exchange import Record, ReplicaRun
from .sequential_result import SMCResult

BLOCKS = 20
# Beyond these the user is warned; differences in nats.
FEWEST_ROUND_TRIPS = 5
CHAINS_APART = 1.5
METHODS_APART = 1.0
HIGHEST_REJECTION = 0.75


@dataclass(frozen=True)
class FreeEnergy:
    """A free energy with its error.

    Attributes:
        value: -ln Z in nats.
        error: one standard error: the largest of a jackknife over blocks of sweeps, the spread between chains, and half
            of what the halves of the run differ by. For `smc`: the larger of that by the weights and that by the spread
            of the runs, or by lines of descent where runs were united.
        estimates: -ln Z by each method.
        diagnostics: what the warnings look at, and more; see `diagnose`.
        warnings: why the value may be wrong although its error is small.
    """

    value: float
    error: float
    estimates: dict[str, float]
    diagnostics: dict[str, Any] = field(repr=False)
    warnings: tuple[str, ...] = ()


def free_energy(source: MCMC | ReplicaRun | Record | SMCResult, *, warn: bool = True) -> FreeEnergy:
    """The free energy -ln Z of a finished run.

    Args:
        source: a NumPyro `MCMC` over `ReplicaExchange`, a `replica_exchange` run or its record, or an `smc` result.
        warn: whether to issue the warnings, or only to list them in the result.

    Returns:
        A `FreeEnergy`.

    Raises:
        ValueError: an `MCMC` over another kernel or not yet run, or fewer than 20 sweeps.
    """
    check_flag(warn, "free_energy: warn")
    result = _of_particles(source) if isinstance(source, SMCResult) else _of_record(record_of(source))
    if warn:
        for text in result.warnings:
            warnings.warn(f"free energy: {text}", stacklevel=2)
    return result


def record_of(source: Any) -> Record:
    """The record of a run with axes (chains, sweeps, ...); all ladders of all chains count as chains.

    Raises:
        ValueError: there is none.
    """
    if isinstance(source, ReplicaRun):
        return source.record
    if isinstance(source, Record):
        return source
    check_instance(source, MCMC, "free_energy: source", "what smc or replica_exchange returns")
    if source._states is None or "record" not in source._states:
        raise ValueError("free_energy: run MCMC with a ReplicaExchange kernel first; other kernels know no evidence.")
    record = source._states["record"]
    return Record(*(_chains_first(np.asarray(leaf), name) for name, leaf in zip(Record._fields, record, strict=True)))


def _chains_first(leaf: np.ndarray, name: str) -> np.ndarray:
    """(chains, sweeps, walkers, ...) to (chains * walkers, sweeps, ...)."""
    inner = 0 if name == "log_density" else 1
    if leaf.ndim == 2 + inner:
        return leaf
    leaf = np.swapaxes(leaf, 1, 2)
    return leaf.reshape(-1, *leaf.shape[2:])


def _of_record(record: Record) -> FreeEnergy:
    sweeps = record.up.shape[1]
    if sweeps < BLOCKS:
        raise ValueError(f"free_energy: {sweeps} sweeps are too few to estimate an error; run {BLOCKS} or more.")
    estimates = {method: -value for method, value in estimate(record).items()}
    chains = np.array([_bar(_part(record, np.s_[c : c + 1])).sum() for c in range(len(record.up))])
    edges = np.linspace(0, sweeps, BLOCKS + 1).astype(int)
    blocks = [np.r_[0:low, high:sweeps] for low, high in pairwise(edges)]
    left_out = [_bar(_part(record, np.s_[:, block])).sum() for block in blocks]
    of_blocks = jackknife(left_out)
    halves = [_bar(_part(record, half)).sum() for half in (np.s_[:, : sweeps // 2], np.s_[:, sweeps // 2 :])]
    drift = abs(halves[1] - halves[0])
    error = max(of_blocks, _standard_error(chains), drift / 2)
    found = diagnose(record) | {"chains": -chains, "jackknife": of_blocks, "drift": float(drift)}
    return FreeEnergy(estimates["bar"], float(error), estimates, found, _warnings(estimates, found))


def _standard_error(values: np.ndarray) -> float:
    """Of the mean of a few independent values, widened by what Student's t asks for at one standard deviation."""
    if len(values) < 2:
        return 0.0
    return float(student.ppf(0.8413, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))


def _part(record: Record, part: Any) -> Record:
    return Record(*(leaf[part] for leaf in record))


def estimate(record: Record) -> dict[str, float]:
    """The value of ln Z by each method."""
    bar = _bar(record)
    up, down = (np.moveaxis(leaf, -1, 0).reshape(leaf.shape[-1], -1) for leaf in (record.up, record.down))
    betas = record.betas[0, -1]
    slope = np.mean(record.slope, axis=(0, 1))
    area = CubicSpline(np.log(betas[1:]), betas[1:] * slope[1:]).integrate(*np.log(betas[[1, -1]]))
    return {
        "bar": float(bar.sum()),
        "forward": float(np.sum(logsumexp(up, axis=1) - np.log(up.shape[1]))),
        "backward": float(-np.sum(logsumexp(down, axis=1) - np.log(down.shape[1]))),
        "integration": float(bar[0] + area),
    }


def _bar(record: Record) -> np.ndarray:
    """The logarithm of Z_{t+1} / Z_t for each pair, from as many samples of both, by bisection of the balance.

    d solves sum over x_t of 1 / (1 + exp(d - up)) = sum over x_{t+1} of 1 / (1 + exp(-d - down)).
    """
    up, down = (np.moveaxis(leaf, -1, 0).reshape(leaf.shape[-1], -1) for leaf in (record.up, record.down))
    finite = np.where(np.isfinite(up), up, np.nan), np.where(np.isfinite(down), down, np.nan)
    low = np.fmin(np.nanmin(finite[0], axis=1), np.nanmin(-finite[1], axis=1)) - 50.0
    high = np.fmax(np.nanmax(finite[0], axis=1), np.nanmax(-finite[1], axis=1)) + 50.0
    for _ in range(60):
        middle = (low + high) / 2
        excess = np.sum(expit(up - middle[:, None]), 1) - np.sum(expit(down + middle[:, None]), 1)
        low, high = np.where(excess > 0, middle, low), np.where(excess > 0, high, middle)
    return (low + high) / 2


def diagnose(record: Record) -> dict[str, Any]:
    """How well the replicas pass.

    Returns:
        rejection (pairs,) of swaps; barrier, their sum; round_trips, from the hot end to the cold one and back, of all
        replicas; passages_down, from hot to cold; flow (rungs,), the share of the replicas at each rung that were
        last at the hot end, which falls evenly from 1 to 0 where nothing stalls; acceptance (rungs,) of the moves.
    """
    rejection = np.mean(record.rejection, axis=(0, 1))
    trips = [_passages(index) for index in np.asarray(record.replica)]
    hot, seen = np.sum([flow for _, _, flow in trips], axis=0)
    flow = np.where(seen > 0, hot / np.maximum(seen, 1), np.nan)
    return {
        "betas": record.betas[0, -1],
        "rejection": rejection,
        "barrier": float(rejection.sum()),
        "round_trips": int(sum(trip for trip, _, _ in trips)),
        "passages_down": int(sum(down for _, down, _ in trips)),
        "flow": flow,
        "acceptance": np.mean(record.acceptance, axis=(0, 1)),
    }


def _passages(index: np.ndarray) -> tuple[int, int, np.ndarray]:
    """Round trips, passages from hot to cold, and at each rung how often the replica there was last hot, and known.

    Of one ladder's index process (sweeps, rungs).
    """
    rungs = index.shape[1]
    last = np.zeros(rungs, int)
    trips = down = 0
    hot, seen = np.zeros(rungs), np.zeros(rungs)
    begun = np.zeros(rungs, bool)
    for row in index:
        top, bottom = row[0], row[-1]
        if last[top] == -1:
            trips += int(begun[top])
        begun[top] = True
        last[top] = 1
        down += last[bottom] == 1
        last[bottom] = -1
        hot += last[row] == 1
        seen += last[row] != 0
    return trips, int(down), np.stack([hot, seen])


def _warnings(estimates: dict[str, float], found: dict[str, Any]) -> tuple[str, ...]:
    chains = found["chains"]
    tests = (
        (found["round_trips"] < FEWEST_ROUND_TRIPS, f"{found['round_trips']} round trips: replicas do not pass"),
        (np.ptp(chains) > CHAINS_APART, f"the chains differ by {np.ptp(chains):.2g} nats"),
        (
            abs(estimates["forward"] - estimates["backward"]) > METHODS_APART,
            f"forward and backward stepping stones differ by {abs(estimates['forward'] - estimates['backward']):.2g}",
        ),
        (
            abs(estimates["integration"] - estimates["bar"]) > METHODS_APART,
            f"thermodynamic integration and BAR differ by {abs(estimates['integration'] - estimates['bar']):.2g}",
        ),
        (found["drift"] > METHODS_APART, f"the halves of the run differ by {found['drift']:.2g}: run longer"),
        (
            found["rejection"].max() > HIGHEST_REJECTION,
            f"a pair rejects {found['rejection'].max():.0%} of its swaps: take more temperatures",
        ),
    )
    return tuple(text for wrong, text in tests if wrong)


def _of_particles(result: SMCResult) -> FreeEnergy:
    runs = -result.log_evidence[:, -1]
    within = np.sqrt(np.mean(result.variance[:, -1]) / len(runs))
    found = {"chains": runs, "ancestors": result.ancestors[:, -1], "status": result.status}
    wrong = [f"the runs differ by {np.ptp(runs):.2g} nats"] if np.ptp(runs) > CHAINS_APART else []
    wrong += [f"run {i}: {s.value}" for i, s in enumerate(result.status) if s.name != "DONE"]
    # Tempered runs estimate Z without bias, not its logarithm. United runs have one Z: its error is that by descent.
    value = -log_mean(-runs)
    apart = result.of_descent(result.origin[-1].ravel())[1] if result.united else spread(-runs)
    error = max(float(within), _standard_error(runs), apart)
    return FreeEnergy(value, error, {"smc": value}, found, tuple(wrong))
