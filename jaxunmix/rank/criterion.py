"""What every criterion shares: the evidence it reads, and its verdict."""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Array, Key

from ..factor.problem import Problem
from .survey import Settings, Survey

# Below this a mean squared residual is taken for this, so that exact data have a logarithm.
TINY_MSE = 1e-30


@dataclass(frozen=True)
class Evidence:
    """What a criterion may look at.

    Attributes:
        problem: on the data that were fitted.
        survey: all fits, done by `settings`.
        loss: (ranks,) the data term of the best fit at each rank, on the full data.
        squares: |X|^2, and of X less its mean spectrum.
        energies: squared singular values of X, decreasing; all of them, or the leading ones.
        centred: likewise of X less its mean spectrum.
        heights: of the energies, to one beyond the largest rank, above noise in units of its spread; see `Scree`.
        key: randomness.
        progress: whether to show a bar.
    """

    problem: Problem
    survey: Survey
    settings: Settings
    loss: np.ndarray
    squares: tuple[float, float]
    energies: np.ndarray
    centred: np.ndarray
    heights: np.ndarray
    key: Key[Array, ""]
    progress: bool

    @property
    def ranks(self) -> np.ndarray:
        """The ranks of the survey, increasing."""
        return np.asarray(self.survey.ranks)

    @property
    def shape(self) -> tuple[int, int]:
        """(pixels, channels)."""
        return self.problem.matrix.shape

    @property
    def mse(self) -> np.ndarray:
        """(ranks,) the mean squared residual of the best fits; for other losses twice the mean divergence."""
        return 2 * self.loss / np.prod(self.shape)

    def pca_mse(self, ranks: np.ndarray) -> np.ndarray:
        """(ranks,) of the mean spectrum and rank - 1 principal components: as many spectra as the model has."""
        return sum_tail(self.centred, self.squares[1], ranks - 1) / np.prod(self.shape)

    def tail(self, ranks: np.ndarray) -> np.ndarray:
        """(ranks,) |X|^2 less its first `rank` squared singular values."""
        return sum_tail(self.energies, self.squares[0], ranks)


@dataclass(frozen=True)
class Verdict:
    """What one criterion says.

    Attributes:
        best: the number of components, or None where it does not decide.
        values: (ranks,) the criterion.
        error: (ranks,) the standard error of its difference from the best, or None.
        margin: how decisive it is; the criterion's docstring says in what.
        reason: in words.
    """

    best: int | None
    values: np.ndarray
    error: np.ndarray | None
    margin: float
    reason: str


class AbstractCriterion(abc.ABC):
    """Reads a number of components off the evidence. `name` is its name in the table and the decision."""

    # The name on the command line; None where it is not offered there.
    command: ClassVar[str | None] = None

    @property
    def name(self) -> str:
        return type(self).__name__

    def check(self, problem: Problem, ranks: list[int], restarts: int) -> None:  # noqa: B027
        """Refuse a scan that cannot serve the criterion, before anything is fitted.

        Raises:
            ValueError: naming what is missing.
        """

    @abc.abstractmethod
    def __call__(self, evidence: Evidence) -> Verdict:
        """The verdict on the ranks of the evidence."""


def sum_tail(energies: np.ndarray, total: float, ranks: np.ndarray) -> np.ndarray:
    """The total less the first `rank` energies, at each rank; energies beyond those known count through the total."""
    rest = max(total - energies.sum(), 0.0)
    return np.array([energies[min(rank, len(energies)) :].sum() + rest for rank in ranks])


def take_least(ranks: np.ndarray, values: np.ndarray, what: str) -> Verdict:
    """The verdict for the rank of least value; `what` names the values in the reason."""
    best = int(np.argmin(values))
    reason = f"{what} is least at {ranks[best]}" + note_end(best, ranks)
    return Verdict(int(ranks[best]), values, None, relative_gap(-values), reason)


def relative_gap(values: np.ndarray) -> float:
    """The distance of the largest value from the next, relative to the range."""
    if len(values) < 2:
        return float("nan")
    down = np.sort(values)[::-1]
    return float((down[0] - down[1]) / max(down[0] - down[-1], np.finfo(float).tiny))


def note_end(best: int, ranks: Sequence[int] | np.ndarray) -> str:
    """A least value at an end of the range may not be the least of all."""
    if len(ranks) < 2 or 0 < best < len(ranks) - 1:
        return ""
    return f"; the range ends at {ranks[best]}, so look further"


def check_curve_length(name: str, ranks: list[int], count: int) -> None:
    """Refuse fewer ranks than a curve needs."""
    if len(ranks) < count:
        raise ValueError(f"{name} reads a curve: give {count} ranks or more, got {len(ranks)}.")
