"""Ways through the weights of several penalties: one after the other, all combinations, at random, or by a model."""

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np

# The weight of a penalty, by its place among the problem's.
Weights = dict[int, float]
SEARCHES = ("line", "grid", "random", "bayes")
# How often a line is made longer at an end that is best.
WIDENINGS = 4
# Steps of a line at first, how far beyond the greatest trial it goes, and how often it is halved about the best.
STEP, REACH, HALVINGS = 4.0, 16.0, 2


def search_line(
    places: Sequence[int], trials: Sequence[Sequence[float]], score: Callable[[Weights], float]
) -> list[list[tuple[Weights, float]]]:
    """One weight after the other, each with the best of those before it.

    First in steps of about four, from the least of the trials to well above the greatest, and further at an end that is
    best; then twice halfway, on a logarithmic scale, between the best and its neighbours.

    Args:
        places: of the penalties, in the order in which they are chosen.
        trials: for each the range of weights to try.
        score: what is lost with some weights; those left out are 0.

    Returns:
        For each penalty what was tried: the weights and their scores, by increasing weight of that penalty, 0 first.
    """
    best: Weights = {}
    lines = []
    for place, row in zip(places, trials, strict=True):
        tried = dict.fromkeys((0.0, *_coarse(row)), 0.0)
        for weight in tried:
            tried[weight] = score({**best, place: weight})
        for _ in range(WIDENINGS):
            beyond = _beyond(tried)
            if beyond is None:
                break
            tried[beyond] = score({**best, place: beyond})
        for _ in range(HALVINGS):
            for between in _halfway(tried):
                tried[between] = score({**best, place: between})
        lines.append([({**best, place: w}, tried[w]) for w in sorted(tried)])
        best[place] = min(tried, key=lambda w: tried[w])
    return lines


def _coarse(row: Sequence[float]) -> list[float]:
    low, high = min(row), REACH * max(row)
    steps = max(2, round(np.log(high / low) / np.log(STEP)) + 1)
    return [float(w) for w in np.geomspace(low, high, steps)]


def _beyond(tried: dict[float, float]) -> float | None:
    """A step beyond the end that is best; None where the best lies inside, or no penalty is best."""
    weights = sorted(w for w in tried if w > 0)
    best = min(tried, key=lambda w: tried[w])
    if best == weights[-1]:
        return best**2 / weights[-2]
    return best**2 / weights[1] if best == weights[0] else None


def _halfway(tried: dict[float, float]) -> list[float]:
    """The geometric means of the best weight and its neighbours."""
    weights = sorted(w for w in tried if w > 0)
    best = min(tried, key=lambda w: tried[w])
    if best not in weights:
        return []
    at = weights.index(best)
    return [float(np.sqrt(best * w)) for w in (*weights[max(at - 1, 0) : at], *weights[at + 1 : at + 2])]


def search_grid(
    places: Sequence[int], trials: Sequence[Sequence[float]], score: Callable[[Weights], float]
) -> list[tuple[Weights, float]]:
    """All combinations of the weights, 0 among them; see `search_line`."""
    rows = [(0.0, *row) for row in trials]
    return [(w, score(w)) for values in product(*rows) if (w := dict(zip(places, values, strict=True))) is not None]


def search_random(
    places: Sequence[int],
    trials: Sequence[Sequence[float]],
    score: Callable[[Weights], float],
    number: int,
    rng: np.random.Generator,
) -> list[tuple[Weights, float]]:
    """Log-uniform draws over the ranges of the weights (Bergstra and Bengio, J. Mach. Learn. Res. 13 (2012) 281)."""
    tried: list[tuple[Weights, float]] = [({}, score({}))]
    for _ in range(number):
        weights = {p: float(np.exp(rng.uniform(*np.log(_ends(row))))) for p, row in zip(places, trials, strict=True)}
        tried.append((weights, score(weights)))
    return tried


def search_bayes(
    places: Sequence[int],
    trials: Sequence[Sequence[float]],
    score: Callable[[Weights], float],
    number: int,
    seed: int,
) -> list[tuple[Weights, float]]:
    """Where a tree-structured Parzen estimator expects the most (Bergstra et al., NIPS 2011), by optuna.

    Raises:
        ImportError: optuna is not there.
    """
    try:
        import optuna
    except ImportError as error:
        raise ImportError('search="bayes" asks for optuna: pip install "jaxunmix[search]".') from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    tried: list[tuple[Weights, float]] = [({}, score({}))]

    def objective(trial: "optuna.Trial") -> float:
        pairs = zip(places, trials, strict=True)
        weights = {p: trial.suggest_float(str(p), *_ends(row), log=True) for p, row in pairs}
        tried.append((weights, score(weights)))
        return tried[-1][1]

    optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed)).optimize(objective, n_trials=number)
    return tried


def _ends(row: Sequence[float]) -> tuple[float, float]:
    """From a step below the least to a step above the greatest."""
    ordered = sorted(row)
    ratio = ordered[1] / ordered[0] if len(ordered) > 1 else 10.0
    return ordered[0] / ratio, ordered[-1] * ratio
