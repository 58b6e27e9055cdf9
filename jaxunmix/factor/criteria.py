"""What chooses the number of components, each from the same evidence; `rank` says which to trust."""

import abc
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Array, Key

from . import crossvalidation
from .losses import Frobenius
from .problem import Problem
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
        return _tail(self.centred, self.squares[1], ranks - 1) / np.prod(self.shape)

    def tail(self, ranks: np.ndarray) -> np.ndarray:
        """(ranks,) |X|^2 less its first `rank` squared singular values."""
        return _tail(self.energies, self.squares[0], ranks)


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


@dataclass(frozen=True)
class BiCrossValidation(AbstractCriterion):
    """The fewest components that predict blocks unseen by the fit as well as any; see `crossvalidation`.

    `values` are mean squared residuals over all held-out blocks, `error` the standard error over the folds of the
    difference from the least (paired, fold by fold). The smallest rank within `within` errors of the least is taken
    (the rule of one standard error of Breiman et al., Classification and Regression Trees, 1984, section 3.4.3):
    fits from few starts, or not converged, let ranks above the true one predict a hair better. The margin is the
    smallest distance of another rank from the least, in errors: below 2 the ranks are not told apart.

    Args:
        folds: each holds out every folds-th pixel and channel, 20 as in Tanimoto et al., J. Phys. Commun. 5 (2021)
            115005, who take the least (`within=0`).
        restarts: starts for each fit.
        max_steps: of each fit; give 200 where spectra are alike, whose fits settle slowly.
        within: standard errors.
    """

    folds: int = 20
    restarts: int = 2
    max_steps: int = 50
    within: float | int = 1.0

    def check(self, problem: Problem, ranks: list[int], restarts: int) -> None:
        if self.restarts < 1 or self.max_steps < 1 or self.within < 0:
            raise ValueError(f"{self}: restarts and max_steps must be 1 or more, within not negative.")
        crossvalidation.check_folds(problem.matrix.shape, ranks, self.folds)
        if problem.basis is not None or problem.weights is not None:
            raise ValueError("BiCrossValidation serves no problem with basis or weights; use rank.AIC() or rank.BIC().")
        if any(getattr(p, "grid", None) is not None or not hasattr(p, "bound") for p in problem.penalties):
            raise ValueError(
                "BiCrossValidation leaves out pixels, which a grid or a function of the factors does not know of; "
                "leave that penalty out of the scan."
            )

    def __call__(self, evidence: Evidence) -> Verdict:
        settings = evidence.settings
        ranks, problem, key = evidence.ranks.tolist(), evidence.problem, evidence.key
        starts = self.restarts if settings.init.is_random(ranks[-1]) else 1
        settings = replace(settings, restarts=starts, max_steps=min(self.max_steps, settings.max_steps))
        table = crossvalidation.residuals(problem, ranks, self.folds, settings, key, evidence.progress)
        each = int(np.prod([size // self.folds for size in evidence.shape]))
        values = table.mean(axis=1) / each
        least = int(np.argmin(values))
        apart = (table - table[least]) / each
        error = apart.std(axis=1, ddof=1) / np.sqrt(self.folds)
        scores = apart.mean(axis=1) / np.maximum(error, np.finfo(float).tiny)
        best = int(np.argmax(scores <= self.within))
        margin, nearest = min(zip(np.delete(scores, best), np.delete(ranks, best), strict=True), default=(np.nan, None))
        reason = f"held-out residual least at {ranks[least]}, "
        if nearest is None:
            reason = f"{ranks[0]} is the only rank"
        elif best == least:
            reason += f"{margin:.1f} standard errors below that of {nearest}" + ": not told apart" * bool(margin < 2)
        else:
            reason += f"{ranks[best]} within {scores[best]:.1f} standard errors of it: not told apart, the fewest taken"
        return Verdict(ranks[best], values, error, float(margin), reason + _at_the_end(best, ranks))


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

    tolerance: float = 0.02

    def check(self, problem: Problem, ranks: list[int], restarts: int) -> None:
        _at_least(self.name, ranks, 5)

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

    def check(self, problem: Problem, ranks: list[int], restarts: int) -> None:
        _at_least(self.name, ranks, 3)

    def __call__(self, evidence: Evidence) -> Verdict:
        x, y = evidence.ranks.astype(float), np.log(np.maximum(evidence.mse, TINY_MSE))
        x, y = (x - x[0]) / (x[-1] - x[0]), (y - y[-1]) / max(y[0] - y[-1], TINY_MSE)
        below, best = 1 - x - y, int(evidence.ranks[np.argmax(1 - x - y)])
        return Verdict(best, below, None, _gap(below), f"distance below the chord of ln(mse) is largest at {best}")


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

    def check(self, problem: Problem, ranks: list[int], restarts: int) -> None:
        _at_least(self.name, ranks, 3)
        if not isinstance(problem.loss, Frobenius) or problem.weights is not None:
            remedy = "use losses.Frobenius() without weights, on counts after preprocess.poisson_scale."
            raise ValueError(f"Crossing compares with PCA, which minimises squares: {remedy}")

    def __call__(self, evidence: Evidence) -> Verdict:
        ranks, entries = evidence.ranks, np.prod(evidence.shape)
        values = evidence.mse - evidence.tail(ranks + 1) / entries
        verdict = _least(ranks, values, "the residual less that of PCA with one direction more")
        at = np.array([verdict.best])
        step = float((evidence.tail(at) - evidence.tail(at + 1))[0]) / entries
        margin = float(np.diff(np.sort(values))[0] / max(step, TINY_MSE))
        below = np.append(0, ranks[evidence.mse <= evidence.pca_mse(ranks)])[-1]
        where = f"cross after {below}" if 0 < below < ranks[-1] else "do not cross"
        return replace(verdict, margin=margin, reason=f"{verdict.reason}; the curves themselves {where}")


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

    limit: float | int = 3.27

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

    def check(self, problem: Problem, ranks: list[int], restarts: int) -> None:
        if ranks[-1] >= min(problem.matrix.shape):
            raise ValueError(f"Malinowski: IND has no value at the full rank {ranks[-1]}; leave that rank out.")

    def __call__(self, evidence: Evidence) -> Verdict:
        ranks, (c, r) = evidence.ranks, sorted(evidence.shape)
        values = np.sqrt(evidence.tail(ranks) / (r * (c - ranks))) / (c - ranks) ** 2
        return _least(ranks, values, "IND")


@dataclass(frozen=True)
class AIC(AbstractCriterion):
    """Akaike's information criterion: N ln(mse) + 2 p under least squares, 2 D + 2 p for other losses.

    With N entries and the p = K (pixels + channels - K) free numbers of a product of rank K (IEEE Trans. Autom.
    Control 19 (1974) 716). D is the divergence of the loss. The constraints make the true number of parameters
    smaller, so it is biased towards few. The margin is relative to the range of the values.
    """

    def __call__(self, evidence: Evidence) -> Verdict:
        return _information(evidence, 2.0, "AIC")


@dataclass(frozen=True)
class BIC(AbstractCriterion):
    """Schwarz's criterion: as `AIC`, with p ln N in place of 2 p (Ann. Stat. 6 (1978) 461).

    As each pixel brings K parameters of its own its assumptions do not hold here, and at low signal it asks for
    too few: a component must explain about ln(N) / channels of the residual.
    """

    def __call__(self, evidence: Evidence) -> Verdict:
        return _information(evidence, float(np.log(np.prod(evidence.shape))), "BIC")


@dataclass(frozen=True)
class Dispersion(AbstractCriterion):
    """The last rank before the restarts cease to agree on which pixels belong together.

    C_pq is the share of restarts in which pixels p and q have the same largest component, and the dispersion
    sum_pq 4 (C_pq - 1/2)^2 / n^2 is 1 where all agree (Kim and Park, Bioinformatics 23 (2007) 1495, equation 14),
    here over up to 1,000 pixels. The rank before the largest fall that lasts is taken, that is the largest of
    D(K) - max_{J > K} D(J): below the true K as well restarts may differ, when two ways of merging components are
    equally good, but agree again at it. The margin is that fall. At K = 1 all agree, which says nothing: None.
    """

    def check(self, problem: Problem, ranks: list[int], restarts: int) -> None:
        _at_least(self.name, ranks, 2)
        if restarts < 3:
            raise ValueError(f"Dispersion compares restarts: {restarts} are too few, give restarts=10.")

    def __call__(self, evidence: Evidence) -> Verdict:
        labels = evidence.survey.labels
        values = np.array([_dispersion(of_rank) for of_rank in labels])
        falls = values[:-1] - np.maximum.accumulate(values[:0:-1])[::-1]
        at = int(np.argmax(falls))
        rank, fall = int(evidence.ranks[at]), float(falls[at])
        if rank == 1 or fall <= 0:
            return Verdict(None, values, None, 0.0, "at no rank above 1 do the restarts agree better than beyond")
        return Verdict(rank, values, None, fall, f"the dispersion falls for good after {rank}, by {fall:.3f}")


def _information(evidence: Evidence, price: float, name: str) -> Verdict:
    pixels, channels = evidence.shape
    ranks, entries = evidence.ranks, float(pixels * channels)
    parameters = ranks * (pixels + channels - ranks).astype(float)
    squares = isinstance(evidence.problem.loss, Frobenius)
    fit = entries * np.log(np.maximum(evidence.mse, TINY_MSE)) if squares else 2 * evidence.loss
    return _least(ranks, fit + price * parameters, name)


def _tail(energies: np.ndarray, total: float, ranks: np.ndarray) -> np.ndarray:
    rest = max(total - energies.sum(), 0.0)
    return np.array([energies[min(rank, len(energies)) :].sum() + rest for rank in ranks])


def _least(ranks: np.ndarray, values: np.ndarray, what: str) -> Verdict:
    best = int(np.argmin(values))
    reason = f"{what} is least at {ranks[best]}" + _at_the_end(best, ranks)
    return Verdict(int(ranks[best]), values, None, _gap(-values), reason)


def _gap(values: np.ndarray) -> float:
    """The distance of the largest value from the next, relative to the range."""
    if len(values) < 2:
        return float("nan")
    down = np.sort(values)[::-1]
    return float((down[0] - down[1]) / max(down[0] - down[-1], np.finfo(float).tiny))


def _at_the_end(best: int, ranks: Sequence[int] | np.ndarray) -> str:
    """A least value at an end of the range may not be the least of all."""
    if len(ranks) < 2 or 0 < best < len(ranks) - 1:
        return ""
    return f"; the range ends at {ranks[best]}, so look further"


def _at_least(name: str, ranks: list[int], count: int) -> None:
    if len(ranks) < count:
        raise ValueError(f"{name} reads a curve: give {count} ranks or more, got {len(ranks)}.")


def _dispersion(labels: np.ndarray) -> float:
    """(restarts, pixels) -> the dispersion of their consensus matrix."""
    together = np.mean([row[:, None] == row for row in labels], axis=0)
    return float(np.mean(4 * (together - 0.5) ** 2))
