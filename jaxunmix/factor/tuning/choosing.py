"""Weights of penalties from the data: counts or entries that a fit has not seen tell how well it predicts."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import jax
import numpy as np
from jaxtyping import Array, Float, Key
from tqdm import tqdm

from ..._util.random import numpy_generator
from ..._util.validation import check_choice, check_instance, check_whole_number, real_number
from ...data.grid import Grid
from ..initial.given import Given
from ..penalties.base import AbstractPenalty, as_weight
from ..pooling import check_pooling, for_maps, grid_of, pool_size, pooled, search, spread
from ..problem import Problem
from ..solution import Solution
from ..solve.checks import PROBLEM
from ..solve.fitting import fit
from ..updates.multiplicative import Multiplicative
from .held_out import HeldOut, Scores, deviance, hold_out_counts, hold_out_entries, is_whole, thin
from .searching import SEARCHES, Weights, search_bayes, search_grid, search_line, search_random

# The share of the entries that is fitted, and of the counts.
ENTRIES, COUNTS = 0.9, 0.5
# Zeros of the fit that others start from are lifted to this share of the mean: some updates never leave zero.
LIFTED = 1e-3
# Starts of each weight besides that one.
AFRESH = 6


@dataclass(frozen=True, eq=False)
class Curve:
    """How well each weight of a penalty predicted.

    Attributes:
        penalty: its name and block.
        weights: those tried, for the share of the data that was fitted.
        deviance: what is lost on the held-out data less its least value; under Poisson minus the log-likelihood in
            nats, else the loss.
        error: standard deviation of that difference, from its spread over pixels.
        best: the weight of least deviance, and what was put in its place for all the data: `chosen`.
        at_end: whether `best` is the greatest or least of those tried, so that a better one may lie beyond.
        without: the deviance without the penalty; NaN where that was not tried.
    """

    penalty: str
    weights: Float[np.ndarray, " weights"]
    deviance: Float[np.ndarray, " weights"]
    error: Float[np.ndarray, " weights"]
    best: float
    chosen: float
    at_end: bool = False
    without: float = np.nan


@dataclass(frozen=True, eq=False)
class Tuning:
    """What `tune` tried: a `Curve` for each weight, and how the data were divided.

    Attributes:
        curves: one for each penalty that was "auto".
        share: of the counts or entries that was fitted.
        size: cells along each side of the pooled pixels, 1 where none were pooled.
        held_out: "counts" or "entries".
    """

    curves: tuple[Curve, ...]
    share: float
    size: int
    held_out: str = "counts"


def tune(
    problem: Problem,
    rank: int,
    *,
    key: Key[Array, ""],
    grid: Grid | None = None,
    held_out: str = "auto",
    share: float | None = None,
    search: str = "line",
    trials: int = 20,
    size: int | None = None,
    restarts: int = 18,
    max_steps: int = 400,
    progress: bool = False,
) -> Problem:
    r"""Replace each weight "auto" by one that predicts data which the fit has not seen.

    Whole counts under Poisson are thinned: every count is drawn into one of two sets, with the probability `share` for
    the first. Thinned Poisson counts are Poisson, and the two sets independent (Leiner et al., J. Am. Stat. Assoc. 120
    (2025) 135). The first set is fitted, the second judges

    $-\sum_{pc} x''_{pc} \log(r m_{pc} + b) - r m_{pc}$,   r = (1 - share) / share,

    b a thousandth of the mean, so that no single count decides where a fit says that there is nothing at all.

    What a penalty is to balance is noise, whose share in the data falls with the counts: the weight for all counts is
    `share` times the best one. Where the grid is known, weights of L1, LogSparsity and Laplacian on the maps are chosen
    on pooled pixels (see `fit_pooled`), those of the Laplacian on the maps of every pixel with the spectra found there.

    All other data are divided by entries, drawn at random: the share `share` is fitted, the loss of the others judges
    (Wold, Technometrics 20 (1978) 397). Every fit starts from the best one without penalties, and from six starts
    afresh; the better of the two counts.

    Penalties that make entries few come first, those that make neighbours alike last (Kannan et al., Adv. Struct. Chem.
    Imaging 4 (2018) 6); a row of weights whose end is best is made longer, and where it stays best a warning says so.

    Args:
        problem: with penalties of weight "auto".
        rank: the number of components K.
        key: randomness of the division, the starts and the search.
        grid: as in `fit_pooled`.
        held_out: "counts", "entries", or "auto" for counts where they can be thinned.
        share: that is fitted; None takes half of the counts, or 0.9 of the entries.
        search: "line", one weight after the other; "grid", all combinations; "random" draws; "bayes", by optuna.
        trials: draws of a random or Bayesian search.
        size: of pooled pixels; None takes the largest sums of which 16 K are left, where starts are cheap.
        restarts: starts of the first fit, or of each pooled one.
        max_steps: of each fit.
        progress: a bar on stderr.

    Returns:
        The problem with weights, and `tuning`, which says what was tried.

    Raises:
        ValueError: nothing to choose, counts that are not whole where they are to be thinned, or "auto" for a penalty
            without weights to try.
        ImportError: a Bayesian search without optuna.
    """
    check_instance(problem, Problem, "problem", PROBLEM)
    check_pooling(rank, key, size, restarts, max_steps, progress)
    check_choice(search, SEARCHES, "search")
    check_choice(held_out, ("auto", "counts", "entries"), "held_out")
    check_whole_number(trials, "trials", 1)
    waiting = [i for i, p in enumerate(problem.penalties) if p.is_auto]
    can_thin = _check(problem, waiting, share, held_out)
    thinned = held_out == "counts" or (held_out == "auto" and can_thin)
    share = (COUNTS if thinned else ENTRIES) if share is None else float(share)
    settings = _Settings(rank, restarts, max_steps, search, trials, progress)
    has_grid = grid is not None or any(p.pixel_grid is not None for p in problem.penalties)
    if thinned and search == "line" and has_grid and all(_is_pooled(problem.penalties[i]) for i in waiting):
        return _tune_pooled(problem, waiting, key, share, grid_of(problem, grid), size, settings)
    divide_key, fit_key = jax.random.split(key)
    parts = (hold_out_counts if thinned else hold_out_entries)(problem, share, divide_key)
    curves = _tune_all(parts, waiting, fit_key, settings)
    tuned = _with_weights(problem, {i: curve.chosen for i, curve in zip(waiting, curves, strict=True)})
    return tuned.replace(tuning=Tuning(tuple(curves), share, 1, "counts" if thinned else "entries"))


@dataclass(frozen=True)
class _Settings:
    rank: int
    restarts: int
    max_steps: int
    search: str
    trials: int
    progress: bool


def _check(problem: Problem, waiting: list[int], share: float | None, held_out: str) -> bool:
    """Refuse what cannot be chosen; whether the counts can be thinned."""
    if not waiting:
        raise ValueError('tune found no penalty with the weight "auto": there is nothing to choose.')
    if share is not None and not 0 < real_number(share, "share") < 1:
        raise ValueError(f"share must lie between 0 and 1, got {share}.")
    for penalty in (problem.penalties[i] for i in waiting):
        if not penalty.trials:
            raise ValueError(f"tune knows no weights to try for {type(penalty).__name__}: give it a number.")
    counted = problem.loss.beta == 1 and problem.loss.is_split and problem.weights is None
    whole = counted and problem.resolution is None and is_whole(problem)
    if held_out == "counts" and not whole:
        raise ValueError(
            "tune thins whole counts under losses.Poisson() without weights, link and resolution; take "
            'held_out="entries".'
        )
    if problem.matrix.is_compressed:
        raise ValueError("tune divides the data itself: give the full matrix, not Compressed.")
    return whole


def _is_pooled(penalty: AbstractPenalty) -> bool:
    """Whether the weight is chosen on pooled pixels and the maps that follow."""
    return penalty.block == "maps" and penalty.is_pooled


def _tune_all(parts: HeldOut, waiting: list[int], key: Key[Array, ""], settings: _Settings) -> list[Curve]:
    """Weights of any penalties, each judged by the better of two fits, see `_fit_trial`."""
    penalties = parts.train.penalties
    order = sorted(waiting, key=lambda i: penalties[i].is_smoothing)
    rows = [penalties[i].trials for i in order]
    start = fit(
        _with_weights(parts.train, {}),
        settings.rank,
        restarts=settings.restarts,
        key=key,
        max_steps=settings.max_steps,
    )
    begin, seen = _lifted(parts.train, start), dict[tuple[tuple[int, float], ...], Scores]()
    with tqdm(unit="fit", disable=not settings.progress, leave=False) as bar:

        def score(weights: Weights) -> float:
            mark = _mark(weights)
            if mark not in seen:
                seen[mark] = parts.judge(_fit_trial(_with_weights(parts.train, weights), begin, key, settings))
                bar.update()
            return float(seen[mark].sum())

        searched = _search(settings, order, rows, score, numpy_generator(key))

    def scores(weights: Weights) -> Scores:
        return seen[_mark(weights)]

    return [_curve_of(penalties[i], i, searched[order.index(i)], scores, parts.factor) for i in waiting]


def _fit_trial(problem: Problem, begin: Given, key: Key[Array, ""], settings: _Settings) -> Solution:
    """The better of what the fit without penalties leads to and of a few starts afresh."""
    steps = settings.max_steps
    going_on = fit(problem, settings.rank, None, begin, max_steps=steps)
    afresh = fit(problem, settings.rank, restarts=min(AFRESH, settings.restarts), key=key, max_steps=steps)
    return min((going_on, afresh), key=lambda found: float(found.objective))


def _mark(weights: Weights) -> tuple[tuple[int, float], ...]:
    return tuple(sorted((i, w) for i, w in weights.items() if w > 0))


def _search(
    settings: _Settings,
    order: Sequence[int],
    rows: Sequence[Sequence[float]],
    score: Callable[[Weights], float],
    rng: np.random.Generator,
) -> list[list[tuple[Weights, float]]]:
    """For each penalty what was tried of it."""
    if settings.search == "line":
        return search_line(order, rows, score)
    if settings.search == "grid":
        tried = search_grid(order, rows, score)
    elif settings.search == "random":
        tried = search_random(order, rows, score, settings.trials, rng)
    else:
        tried = search_bayes(order, rows, score, settings.trials, int(rng.integers(2**31)))
    return [tried for _ in order]


def _lifted(problem: Problem, found: Solution) -> Given:
    """A start at a fit, none of whose entries is exactly zero."""
    profiles = np.asarray(found.spectra if found.coefficients is None else found.coefficients)
    maps = np.asarray(found.maps)
    if problem.constraints.is_nonnegative("maps"):
        maps = np.maximum(maps, LIFTED * maps.mean())
    if problem.constraints.is_nonnegative(problem.profile_block):
        profiles = np.maximum(profiles, LIFTED * profiles.mean())
    return Given(maps, profiles) if found.coefficients is None else Given(maps, coefficients=profiles)


def _curve_of(
    penalty: AbstractPenalty,
    place: int,
    tried: Sequence[tuple[Weights, float]],
    scores: Callable[[Weights], Scores],
    factor: float,
) -> Curve:
    """What was tried of one penalty, by increasing weight."""
    best = min(tried, key=lambda one: one[1])[0]
    some = sorted((w.get(place, 0.0), scores(w)) for w, _ in tried if w.get(place, 0.0) > 0) if tried else []
    weights = np.array([w for w, _ in some])
    differences = np.array([s - scores(best) for _, s in some])
    none = [value for w, value in tried if not w.get(place, 0.0)]
    chosen, name = best.get(place, 0.0), f'{type(penalty).__name__}("{penalty.block}")'
    at_end = chosen in (weights[0], weights[-1])
    if at_end:
        warnings.warn(
            f"tune: the best weight of {name}, {chosen:.3g}, is an end of those tried ({weights[0]:.3g} to "
            f"{weights[-1]:.3g}); a better one may lie beyond.",
            stacklevel=4,
        )
    error = np.sqrt(differences.shape[1]) * differences.std(axis=1)
    without = min(none) - float(scores(best).sum()) if none else np.nan
    return Curve(name, weights, differences.sum(axis=1), error, chosen, factor * chosen, at_end, without)


def _tune_pooled(
    problem: Problem,
    waiting: list[int],
    key: Key[Array, ""],
    share: float,
    grid: Grid,
    size: int | None,
    settings: _Settings,
) -> Problem:
    """Weights of penalties on the maps, where the spectra are decided: on pooled pixels."""
    rank, restarts, max_steps, penalties = settings.rank, settings.restarts, settings.max_steps, problem.penalties
    thin_key, fit_key = jax.random.split(key)
    train, test = thin(problem, share, thin_key)
    size = pool_size(train, grid, rank, np.inf) if size is None else size
    smooth = [i for i in waiting if penalties[i].is_smoothing]
    sparse = [i for i in waiting if i not in smooth]
    fits_of = [sum(len(penalties[i].trials) for i in some) for some in (sparse, smooth)]
    curves: dict[int, Curve] = {}
    with tqdm(total=max(1, fits_of[0]) + fits_of[1], unit="fit", disable=not settings.progress, leave=False) as bar:
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
    return tuned.replace(tuning=Tuning(tuple(curves[i] for i in waiting), share, size))


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
    scores = np.array([deviance(judge, one, (1 - share) / share) for one in fits])
    best = int(np.argmin(scores.sum(axis=1)))
    differences = scores - scores[best]
    error = np.sqrt(scores.shape[1]) * differences.std(axis=1)
    weights, name = penalty.trials, f'{type(penalty).__name__}("maps")'
    at_end = best in (0, len(weights) - 1)
    return Curve(name, np.array(weights), differences.sum(axis=1), error, weights[best], share * weights[best], at_end)
