"""Weights of penalties from the data: counts that a fit has not seen tell how well it predicts."""

from dataclasses import dataclass, replace

import jax
import numpy as np
import scipy.sparse
from jaxtyping import Array, Float, Key
from tqdm import tqdm

from .._util.random import numpy_generator
from .._util.validation import check_instance, real_number
from ..data.grid import Grid
from .penalties.base import AbstractPenalty, as_weight
from .pooling import check_pooling, for_maps, grid_of, pool_size, pooled, search, spread
from .problem import Problem
from .solution import Solution
from .solve.checks import PROBLEM
from .solve.fitting import fit
from .updates.multiplicative import Multiplicative

Weights = dict[int, float]


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
    check_instance(problem, Problem, "problem", PROBLEM)
    check_pooling(rank, key, size, restarts, max_steps, progress)
    penalties = problem.penalties
    waiting = [i for i, p in enumerate(penalties) if p.is_auto]
    _check(problem, waiting, share)
    grid = grid_of(problem, grid)
    thin_key, fit_key = jax.random.split(key)
    train, test = _thinned(problem, share, thin_key)
    size = pool_size(train, grid, rank, np.inf) if size is None else size
    smooth = [i for i in waiting if penalties[i].is_smoothing]
    sparse = [i for i in waiting if i not in smooth]
    fits_of = [sum(len(penalties[i].trials) for i in some) for some in (sparse, smooth)]
    curves: dict[int, Curve] = {}
    with tqdm(total=max(1, fits_of[0]) + fits_of[1], unit="fit", disable=not progress, leave=False) as bar:
        judge, block, cells = pooled(_with_weights(test, {}), grid, size)

        def coarse(weights: Weights) -> Solution:
            bar.update()
            return search(_with_weights(train, weights), rank, grid, size, fit_key, restarts, max_steps)[0]

        found = None
        for i in sparse:
            fits = [coarse({**_best(curves), i: weight}) for weight in penalties[i].trials]
            curves[i] = _curve(penalties[i], judge, fits, share)
            found = fits[penalties[i].trials.index(curves[i].best)]
        found = coarse({}) if found is None else found
        for i in smooth:
            fits, start = [], spread(train, found, block, cells)
            for weight in penalties[i].trials:
                part = for_maps(_with_weights(train, {**_best(curves), i: weight}), train.basis)
                fits.append(fit(part, rank, Multiplicative(), start, max_steps=max_steps))
                bar.update()
            curves[i] = _curve(penalties[i], test, fits, share)
    tuned = _with_weights(problem, {i: curve.chosen for i, curve in curves.items()})
    tuning = Tuning(tuple(curves[i] for i in waiting), share, size)
    return tuned.replace(tuning=tuning)


def _check(problem: Problem, waiting: list[int], share: float) -> None:
    if problem.loss.beta != 1 or problem.weights is not None:
        raise ValueError("tune divides counts in two: it serves losses.Poisson() without weights.")
    if not waiting:
        raise ValueError('tune found no penalty with the weight "auto": there is nothing to choose.')
    if not 0 < real_number(share, "share") < 1:
        raise ValueError(f"share must lie between 0 and 1, got {share}.")
    for penalty in (problem.penalties[i] for i in waiting):
        if not penalty.trials or penalty.block != "maps":
            raise ValueError(
                'tune chooses weights of L1, LogSparsity and Laplacian on the "maps"; give the other '
                f"{type(penalty).__name__} a number."
            )
    if not _is_whole(problem):
        raise ValueError("tune draws each count into one of two sets: X must hold whole counts, not fractions of them.")


def _is_whole(problem: Problem) -> bool:
    entries = scipy.sparse.coo_array(problem.matrix.to_host()).data
    return bool((entries == entries.round()).all())


def _thinned(problem: Problem, share: float, key: Key[Array, ""]) -> tuple[Problem, Problem]:
    """The problem on some of the counts, and on the others."""
    rng = numpy_generator(key)
    whole = problem.matrix.to_host()
    if scipy.sparse.issparse(whole):
        drawn = whole.copy()
        drawn.data = rng.binomial(whole.data.astype(int), share).astype(whole.dtype)
        drawn.eliminate_zeros()
    else:
        drawn = rng.binomial(whole.astype(int), share).astype(whole.dtype)
    like = problem.matrix.like
    return problem.replace(matrix=like(drawn)), problem.replace(matrix=like(whole - drawn))


def _with_weights(problem: Problem, weights: Weights) -> Problem:
    """The problem with these weights, by the place of the penalty, and 0 for those still open."""
    penalties = [
        replace(p, weight=as_weight(weights.get(i, 0.0))) if p.is_auto else p for i, p in enumerate(problem.penalties)
    ]
    return problem.replace(penalties=penalties)


def _best(curves: dict[int, Curve]) -> Weights:
    return {i: curve.best for i, curve in curves.items()}


def _curve(penalty: AbstractPenalty, judge: Problem, fits: list[Solution], share: float) -> Curve:
    """Each fit's deviance on the other counts; differences pixel by pixel tell how sure the choice is."""
    scores = np.array([_deviance(judge, one, (1 - share) / share) for one in fits])
    best = int(np.argmin(scores.sum(axis=1)))
    differences = scores - scores[best]
    error = np.sqrt(scores.shape[1]) * differences.std(axis=1)
    weights, name = penalty.trials, f'{type(penalty).__name__}("maps")'
    return Curve(name, np.array(weights), differences.sum(axis=1), error, weights[best], share * weights[best])


def _deviance(judge: Problem, found: Solution, ratio: float) -> Float[np.ndarray, " pixels"]:
    """Minus the log-likelihood of each pixel, without what no model changes."""
    maps, spectra = ratio * np.asarray(found.maps), np.asarray(found.spectra)
    expected = maps @ spectra.sum(axis=1)
    counts = scipy.sparse.coo_array(judge.matrix.to_host())
    model = np.einsum("ik,ki->i", maps[counts.row], spectra[:, counts.col])
    seen = np.bincount(counts.row, counts.data * np.log(np.maximum(model, 1e-30)), minlength=len(maps))
    return expected - seen
