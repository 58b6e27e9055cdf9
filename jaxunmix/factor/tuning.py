"""Weights of penalties from the data: counts that a fit has not seen tell how well it predicts."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
import scipy.sparse
from jaxtyping import Array, Float, Key
from tqdm import tqdm

from ..data.grid import Grid
from ..matrix.counts import Counts
from ..matrix.dense import Dense
from .losses import Poisson
from .penalties.base import AbstractPenalty, Penalty, as_weight
from .penalties.l1 import L1
from .penalties.laplacian import Laplacian
from .penalties.log_sparsity import LogSparsity
from .pooling import for_maps, grid_of, pool_size, pooled, search, spread
from .problem import Problem
from .solution import Solution
from .solve.fitting import fit
from .updates.multiplicative import Multiplicative

Weights = dict[int, float]

# Those tried, the smoothing ones from strong to weak.
SPARSE_WEIGHTS = tuple(2.5e-4 * 2.0**i for i in range(7))
SMOOTH_WEIGHTS = tuple(100 * 10 ** (-i / 2) for i in range(7))


@dataclass(frozen=True, eq=False)
class Curve:
    """How well each weight of a penalty predicted.

    Attributes:
        penalty: its name and block.
        weights: those tried, for the share of the counts that was fitted.
        deviance: minus the log-likelihood of the held-out counts less its least value, in nats.
        error: standard deviation of that difference, from its spread over pixels.
        best: the weight of least deviance, and what was put in its place for all counts: `chosen`.
    """

    penalty: str
    weights: Float[np.ndarray, " weights"]
    deviance: Float[np.ndarray, " weights"]
    error: Float[np.ndarray, " weights"]
    best: float
    chosen: float


@dataclass(frozen=True, eq=False)
class Tuning:
    """What `tune` tried: a `Curve` for each weight, and how the counts were divided."""

    curves: tuple[Curve, ...]
    share: float
    size: int


def tune(
    problem: Problem,
    rank: int,
    *,
    key: Key[Array, ""],
    grid: Grid | None = None,
    share: float = 0.5,
    size: int | None = None,
    restarts: int = 18,
    max_steps: int = 400,
    progress: bool = False,
) -> Problem:
    r"""Replace each weight "auto" by one that predicts counts which the fit has not seen.

    Every count is drawn into one of two sets, with the probability `share` for the first. Thinned Poisson counts are
    Poisson, and the two sets independent (Leiner et al., J. Am. Stat. Assoc. 120 (2025) 135; for matrices Owen and
    Perry's blocks would break the maps, thinning leaves every pixel). The first set is fitted, the second judges

    $-\sum_{pc} x''_{pc} \log(r m_{pc}) - r m_{pc}$,   r = (1 - share) / share.

    Weights of L1 and LogSparsity act where the spectra are decided, on pooled pixels (see `fit_pooled`), and are judged
    there; those of the Laplacian on the maps of every pixel with these spectra. What a penalty is to balance is noise,
    whose share in the data falls with the counts: the weight for all counts is `share` times the best one.

    Args:
        problem: under Poisson, with whole counts.
        rank: the number of components K.
        key: randomness of thinning and starts.
        grid: as in `fit_pooled`.
        share: of the counts that is fitted.
        size: of pooled pixels; None takes the largest sums of which 16 K are left, where starts are cheap.
        restarts: starts of each pooled fit.
        max_steps: of each fit.
        progress: a bar on stderr.

    Returns:
        The problem with weights, and `tuning`, which tells what was tried.

    Raises:
        ValueError: another loss, fractional counts, nothing to choose, or "auto" for a penalty or block that this
            way of choosing does not serve.
    """
    waiting = [i for i, p in enumerate(problem.penalties) if isinstance(p, AbstractPenalty) and p.is_auto]
    _check(problem, waiting, share)
    grid = grid_of(problem, grid)
    thin_key, fit_key = jax.random.split(key)
    train, test = _thinned(problem, share, thin_key)
    size = pool_size(train, grid, rank, np.inf) if size is None else size
    smooth = [i for i in waiting if isinstance(problem.penalties[i], Laplacian)]
    sparse = [i for i in waiting if i not in smooth]
    trials = max(1, len(sparse) * len(SPARSE_WEIGHTS)) + len(smooth) * len(SMOOTH_WEIGHTS)
    curves: dict[int, Curve] = {}
    with tqdm(total=trials, unit="fit", disable=not progress, leave=False) as bar:
        judge, block, cells = pooled(_with_weights(test, {}), grid, size)

        def coarse(weights: Weights) -> Solution:
            bar.update()
            return search(_with_weights(train, weights), rank, grid, size, fit_key, restarts, max_steps)[0]

        found = None
        for i in sparse:
            fits = [coarse({**_best(curves), i: weight}) for weight in SPARSE_WEIGHTS]
            curves[i] = _curve(problem.penalties[i], SPARSE_WEIGHTS, judge, fits, share)
            found = fits[SPARSE_WEIGHTS.index(curves[i].best)]
        found = coarse({}) if found is None else found
        for i in smooth:
            fits, start = [], spread(train, found, block, cells)
            for weight in SMOOTH_WEIGHTS:
                part = for_maps(_with_weights(train, {**_best(curves), i: weight}), train.basis)
                fits.append(fit(part, rank, Multiplicative(), start, max_steps=max_steps))
                bar.update()
            curves[i] = _curve(problem.penalties[i], SMOOTH_WEIGHTS, test, fits, share)
    tuned = _with_weights(problem, {i: curve.chosen for i, curve in curves.items()})
    tuning = Tuning(tuple(curves[i] for i in waiting), share, size)
    return _rebuilt(tuned, tuned.penalties, tuning=tuning)


def _check(problem: Problem, waiting: list[int], share: float) -> None:
    if not isinstance(problem.loss, Poisson) or problem.weights is not None:
        raise ValueError("tune divides counts in two: it serves losses.Poisson() without weights.")
    if not waiting:
        raise ValueError('tune found no penalty with the weight "auto": there is nothing to choose.')
    if not 0 < share < 1:
        raise ValueError(f"share must lie between 0 and 1, got {share}.")
    for penalty in (problem.penalties[i] for i in waiting):
        if not isinstance(penalty, L1 | LogSparsity | Laplacian) or penalty.block != "maps":
            raise ValueError(
                'tune chooses weights of L1, LogSparsity and Laplacian on the "maps"; give the other '
                f"{type(penalty).__name__} a number."
            )
    values = problem.matrix.value if isinstance(problem.matrix, Counts) else _dense(problem)
    if not bool((values == values.round()).all()):
        raise ValueError("tune draws each count into one of two sets: X must hold whole counts, not fractions of them.")


def _thinned(problem: Problem, share: float, key: Key[Array, ""]) -> tuple[Problem, Problem]:
    """The problem on some of the counts, and on the others."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    matrix = problem.matrix
    if isinstance(matrix, Counts):
        whole = matrix.to_scipy()
        drawn = whole.copy()
        drawn.data = rng.binomial(whole.data.astype(int), share).astype(whole.dtype)
        drawn.eliminate_zeros()
        first, second = _rebuilt(problem, problem.penalties, Counts(drawn)), Counts(whole - drawn)
        return first, _rebuilt(problem, problem.penalties, second)
    values = _dense(problem)
    part = rng.binomial(values.astype(int), share).astype(values.dtype)
    first = _rebuilt(problem, problem.penalties, Dense(part))
    return first, _rebuilt(problem, problem.penalties, Dense(values - part))


def _dense(problem: Problem) -> Float[np.ndarray, "pixels channels"]:
    assert isinstance(problem.matrix, Dense), "Poisson data are Dense or Counts"
    return np.asarray(problem.matrix.values)


def _rebuilt(problem: Problem, penalties: Any, matrix: Any = None, tuning: Any = None) -> Problem:
    matrix = problem.matrix if matrix is None else matrix
    return Problem(matrix, problem.loss, problem.basis, penalties, constraints=problem.constraints, tuning=tuning)


def _with_weights(problem: Problem, weights: Weights) -> Problem:
    """The problem with these weights, by the place of the penalty, and 0 for those still open."""
    penalties = [
        replace(p, weight=as_weight(weights.get(i, 0.0))) if isinstance(p, AbstractPenalty) and p.is_auto else p
        for i, p in enumerate(problem.penalties)
    ]
    return _rebuilt(problem, penalties)


def _best(curves: dict[int, Curve]) -> Weights:
    return {i: curve.best for i, curve in curves.items()}


def _curve(penalty: Penalty, weights: tuple[float, ...], judge: Problem, fits: list[Solution], share: float) -> Curve:
    """Each fit's deviance on the other counts; differences pixel by pixel tell how sure the choice is."""
    scores = np.array([_deviance(judge, one, (1 - share) / share) for one in fits])
    best = int(np.argmin(scores.sum(axis=1)))
    differences = scores - scores[best]
    error = np.sqrt(scores.shape[1]) * differences.std(axis=1)
    name = f'{type(penalty).__name__}("maps")'
    return Curve(name, np.array(weights), differences.sum(axis=1), error, weights[best], share * weights[best])


def _deviance(judge: Problem, found: Solution, ratio: float) -> Float[np.ndarray, " pixels"]:
    """Minus the log-likelihood of each pixel, without what no model changes."""
    maps, spectra = ratio * found.maps, found.spectra
    expected = maps @ spectra.sum(axis=1)
    matrix = judge.matrix
    stored = matrix.to_scipy() if isinstance(matrix, Counts) else _dense(judge)
    counts = scipy.sparse.coo_array(stored)
    model = np.einsum("ik,ki->i", maps[counts.row], spectra[:, counts.col])
    seen = np.bincount(counts.row, counts.data * np.log(np.maximum(model, 1e-30)), minlength=len(maps))
    return expected - seen
