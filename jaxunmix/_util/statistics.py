"""Averages of exponentials, and errors of estimates from independent parts."""

import math
from collections.abc import Sequence

import numpy as np


def log_mean(values: np.ndarray) -> float:
    """Ln of the mean of exponentials."""
    return float(np.logaddexp.reduce(values) - math.log(len(values)))


def spread(values: np.ndarray) -> float:
    """The error of their `log_mean` from how independent ones differ: the larger of the jackknife's and the mean's."""
    runs = len(values)
    of_runs = jackknife([log_mean(np.delete(values, r)) for r in range(runs)])
    return max(of_runs, float(np.std(values, ddof=1)) / math.sqrt(runs))


def jackknife(without: Sequence[float]) -> float:
    """The standard error of a number from its values without each of some parts."""
    return math.sqrt((len(without) - 1) / len(without) * float(np.sum((np.array(without) - np.mean(without)) ** 2)))
