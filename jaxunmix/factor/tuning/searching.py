"""Ways through the weights of several penalties: one after the other, all combinations, at random, or by a model."""

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np

# The weight of a penalty, by its place among the problem's.
Weights = dict[int, float]
SEARCHES = ("line", "grid", "random", "bayes")
# How often a line is made longer at an end that is best.
WIDENINGS = 4


def search_line(
    places: Sequence[int], trials: Sequence[Sequence[float]], score: Callable[[Weights], float]
) -> list[list[tuple[Weights, float]]]:
    """One weight after the other, each with the best of those before it; a line whose end is best is made longer.

    Args:
        places: of the penalties, in the order in which they are chosen.
        trials: for each the weights to try, a geometric row.
        score: what is lost with some weights; those left out are 0.

    Returns:
        For each penalty what was tried: the weights and their scores, by increasing weight of that penalty, 0 first.
    """
    best: Weights = {}
    lines = []
    for place, row in zip(places, trials, strict=True):
        ordered = sorted(row)
        ratio = ordered[1] / ordered[0] if len(ordered) > 1 else 10.0
        tried = [(w, score({**best, place: w})) for w in (0.0, *ordered)]
        for _ in range(WIDENINGS):
            at = int(np.argmin([value for _, value in tried]))
            if at == len(tried) - 1:
                longer = tried[-1][0] * ratio
            elif at == 1:
                longer = tried[1][0] / ratio
            else:
                break
            tried = sorted([*tried, (longer, score({**best, place: longer}))])
        lines.append([({**best, place: w}, value) for w, value in tried])
        best[place] = min(tried, key=lambda one: one[1])[0]
    return lines


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
