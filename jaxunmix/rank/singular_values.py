"""Criteria that read the singular values of the data."""

from dataclasses import dataclass

import numpy as np

from .._util.validation import check_number, check_several, check_whole_number, float_array
from ..factor.problem import Problem
from .criterion import TINY_MSE, AbstractCriterion, Evidence, Verdict, take_least


@dataclass(frozen=True)
class Scree(AbstractCriterion):
    """How many squared singular values stand out of the scree, the values that noise alone would have.

    Of n x m even noise of variance v the ordered s_k^2 / v follow the quantiles of the Marchenko-Pastur law, and the
    largest (sqrt(n - 1/2) + sqrt(m - 1/2))^2 + tau W with W of the Tracy-Widom law and
    tau = (sqrt(n - 1/2) + sqrt(m - 1/2)) (1/sqrt(n - 1/2) + 1/sqrt(m - 1/2))^(1/3) (Johnstone, Ann. Stat. 29 (2001)
    295). As in Kritchman and Nadler, Chemom. Intell. Lab. Syst. 94 (2008) 19, one value after the other is tested
    against this with n - k and m - k left, until one is not above `limit`; v is from all values beyond the largest
    rank (half of all at most), over the sum of the law's quantiles there. What is below 1e-6 of the largest value is
    rounding. Counts have uneven noise, out of which more values stand: scale them by `preprocess.poisson_scale`.

    `values` are ln(s_k^2) at each rank; the margin is how far the last value stands above the limit or the next
    below it, whichever is less, in tau.

    Args:
        limit: of W; noise alone exceeds 3.27 once in a thousand.
    """

    command = "scree"

    limit: float | int = 3.27

    def __post_init__(self) -> None:
        check_number(self.limit, "Scree: limit")

    def __call__(self, evidence: Evidence) -> Verdict:
        ranks, energies = evidence.ranks, evidence.energies
        heights = evidence.heights - self.limit
        values = np.log(np.maximum(energies[np.minimum(ranks, len(energies)) - 1], TINY_MSE))
        if (heights > 0).all():
            return Verdict(None, values, None, 0.0, "all stand out: is the noise even? See preprocess.poisson_scale")
        count = int(np.argmax(heights <= 0))
        margin = float(np.min(np.abs(heights[max(count - 1, 0) : count + 1])))
        best = count if count in ranks else None
        return Verdict(best, values, None, margin, f"{count} squared singular values stand out of the noise's")


@dataclass(frozen=True)
class Malinowski(AbstractCriterion):
    """The least factor indicator function IND = RE / (c - K)^2.

    RE = sqrt(sum_{k > K} s_k^2 / (r (c - K))) with c the smaller and r the larger side of the data (Malinowski, Anal.
    Chem. 49 (1977) 612). It assumes even noise. The margin is relative to the range of IND.
    """

    command = "malinowski"

    def check(self, problem: Problem, ranks: list[int], restarts: int) -> None:
        if ranks[-1] >= min(problem.matrix.shape):
            raise ValueError(f"Malinowski: IND has no value at the full rank {ranks[-1]}; leave that rank out.")

    def __call__(self, evidence: Evidence) -> Verdict:
        ranks, (c, r) = evidence.ranks, sorted(evidence.shape)
        values = np.sqrt(evidence.tail(ranks) / (r * (c - ranks))) / (c - ranks) ** 2
        return take_least(ranks, values, "IND")


# Squared singular values below this share of the largest are rounding: they come from products in single precision.
RESOLVED = 1e-6


def heights_above_noise(energies: np.ndarray, total: float | int, shape: tuple[int, ...], last: int) -> np.ndarray:
    """(s_k^2 / v - edge) / tau of the leading squared singular values, up to one beyond `last`; see `criteria.Scree`.

    Args:
        energies: squared singular values, decreasing; `last` of them or more.
        total: the sum of all, known ones or not.
        shape: of the data.
        last: signal is sought in the first `last` values (half of all at most); the others tell the noise.
    """
    energies = float_array(energies, "energies")
    if energies.ndim != 1 or not energies.size or not np.isfinite(energies).all():
        raise ValueError(f"energies of shape {energies.shape}: give one or more finite squared singular values")
    check_number(total, "total", 0)
    sides = [check_whole_number(n, "shape: a side", 1) for n in check_several(shape, "shape", "(pixels, channels)")]
    if len(sides) != 2:
        raise ValueError(f"shape must be (pixels, channels), got {shape}")
    check_whole_number(last, "last", 0)
    found = np.full(min(last + 1, len(energies)), -np.inf)
    for k in range(len(found)):
        if energies[k] <= RESOLVED * energies[0]:
            break
        first = max(min(last, min(shape) // 2), k)
        rest = max(total - energies[:first].sum(), RESOLVED**2 * total)
        n, m = (size - k for size in shape)
        variance = rest / marchenko_pastur(n, m)[first - k :].sum()
        a, b = np.sqrt(n - 0.5), np.sqrt(m - 0.5)
        edge, tau = (a + b) ** 2, (a + b) * (1 / a + 1 / b) ** (1 / 3)
        found[k] = (energies[k] / variance - edge) / tau
    return found


def marchenko_pastur(n: int, m: int) -> np.ndarray:
    """The decreasing squared singular values to expect of n x m noise of variance 1: quantiles of the law."""
    short, long = sorted(check_whole_number(side, name, 1) for name, side in (("n", n), ("m", m)))
    middle, half = short + long, 2 * np.sqrt(short * long)
    angle = np.linspace(0, np.pi, 4001)
    x = middle - half * np.cos(angle)
    weight = np.sin(angle) ** 2 / np.maximum(x, np.finfo(float).tiny)
    share = np.concatenate([[0], np.cumsum(weight[1:] + weight[:-1])])
    return np.interp(1 - (np.arange(short) + 0.5) / short, share / share[-1], x)
