"""Criteria that read the curve of the residual."""

from dataclasses import dataclass, replace

import numpy as np

from .._util.validation import check_number
from ..factor.problem import Problem
from .criterion import TINY_MSE, AbstractCriterion, Evidence, Verdict, check_curve_length, relative_gap, take_least


@dataclass(frozen=True)
class Plateau(AbstractCriterion):
    """The rank at which the curve of the residual meets its plateau.

    A straight line is fitted to ln(mse) of the last third of the ranks (three at least), where only noise is left to
    describe. The smallest rank from which on no residual lies above the line by more than `tolerance` of the whole
    fall of ln(mse) is taken. Ranks well beyond the true one must be scanned. The margin is how far the rank before
    lies above the line, in tolerances.

    Args:
        tolerance: share of the fall.
    """

    command = "plateau"

    tolerance: float = 0.02

    def __post_init__(self) -> None:
        check_number(self.tolerance, "Plateau: tolerance", above=0)

    def check(self, problem: Problem, ranks: list[int], restarts: int) -> None:
        check_curve_length(self.name, ranks, 5)

    def __call__(self, evidence: Evidence) -> Verdict:
        ranks, y = evidence.ranks, np.log(np.maximum(evidence.mse, TINY_MSE))
        last = max(3, len(ranks) // 3)
        line = np.polyval(np.polyfit(ranks[-last:], y[-last:], 1), ranks)
        above = (y - line) / max(self.tolerance * (y.max() - y.min()), np.finfo(float).tiny)
        late = np.flatnonzero(above > 1)
        best = int(late[-1]) + 1 if len(late) else 0
        if best >= len(ranks) - last + 1:
            reason = "the residual still falls at the end of the ranks: no plateau"
            return Verdict(None, evidence.mse, None, 0.0, reason)
        margin, reason = float("nan"), f"flat from {ranks[0]} on"
        if best:
            margin = float(above[best - 1])
            reason = f"on the line of the last {last} from {ranks[best]} on; before, {margin:.0f} tolerances above it"
        return Verdict(int(ranks[best]), evidence.mse, None, margin, reason)


@dataclass(frozen=True)
class Elbow(AbstractCriterion):
    """The rank farthest below the straight line between the ends of the curve ln(mse).

    Satopaa et al., ICDCS Workshops 2011 (Kneedle), without smoothing. The margin is relative to the distance.
    """

    command = "elbow"

    def check(self, problem: Problem, ranks: list[int], restarts: int) -> None:
        check_curve_length(self.name, ranks, 3)

    def __call__(self, evidence: Evidence) -> Verdict:
        x, y = evidence.ranks.astype(float), np.log(np.maximum(evidence.mse, TINY_MSE))
        x, y = (x - x[0]) / (x[-1] - x[0]), (y - y[-1]) / max(y[0] - y[-1], TINY_MSE)
        below, best = 1 - x - y, int(evidence.ranks[np.argmax(1 - x - y)])
        reason = f"distance below the chord of ln(mse) is largest at {best}"
        return Verdict(best, below, None, relative_gap(below), reason)


@dataclass(frozen=True)
class Crossing(AbstractCriterion):
    """Where what a component takes off the residual falls below what PCA's next direction would.

    A component of the signal takes about s_K^2 off the squared residual, as PCA's K-th direction does, and more than
    the direction after it. Beyond the true K the constraints keep the model from following noise as freely as PCA
    does: its component takes less than even the next direction, s_{K+1}^2. The two curves of gains cross where

        mse(K) - mse_PCA(K + 1)

    is least, which is the rank taken; it is `values`, without centring in PCA, so that maps of any sum have rank K.
    The clue is the crossing of the residual with PCA's (Uesugi et al., Ultramicroscopy 221 (2021) 113168), the rule
    our own. Where the curves themselves cross depends on whether PCA counts its mean and on the maps' sums, and is
    often one or two beyond the true rank; the reason tells it, for the mean and K - 1 directions.
    The margin is the rise to the next value, over s_{K+1}^2 / entries. Noise must be even, as for `Scree`.
    """

    command = "crossing"

    def check(self, problem: Problem, ranks: list[int], restarts: int) -> None:
        check_curve_length(self.name, ranks, 3)
        if not problem.is_least_squares:
            remedy = "use losses.Frobenius() without weights, on counts after preprocess.poisson_scale."
            raise ValueError(f"Crossing compares with PCA, which minimises squares: {remedy}")

    def __call__(self, evidence: Evidence) -> Verdict:
        ranks, entries = evidence.ranks, np.prod(evidence.shape)
        values = evidence.mse - evidence.tail(ranks + 1) / entries
        verdict = take_least(ranks, values, "the residual less that of PCA with one direction more")
        at = np.array([verdict.best])
        step = float((evidence.tail(at) - evidence.tail(at + 1))[0]) / entries
        margin = float(np.diff(np.sort(values))[0] / max(step, TINY_MSE))
        below = np.append(0, ranks[evidence.mse <= evidence.pca_mse(ranks)])[-1]
        where = f"cross after {below}" if 0 < below < ranks[-1] else "do not cross"
        return replace(verdict, margin=margin, reason=f"{verdict.reason}; the curves themselves {where}")
