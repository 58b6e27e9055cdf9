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
        problem: the problem, on the data that the survey fitted.
        survey: all its fits.
        settings: how they were done.
        loss: (ranks,) the data term of the best fit at each rank, on the full data.
        squares: |X|^2, and of X less its mean spectrum.
        energies: squared singular values of X, decreasing; all of them, or the leading ones.
        centred: likewise of X less its mean spectrum.
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
        return self._tail(self.centred, self.squares[1], ranks - 1) / np.prod(self.shape)

    def tail(self, ranks: np.ndarray) -> np.ndarray:
        """(ranks,) |X|^2 less its first `rank` squared singular values."""
        return self._tail(self.energies, self.squares[0], ranks)

    @staticmethod
    def _tail(energies: np.ndarray, total: float, ranks: np.ndarray) -> np.ndarray:
        rest = max(total - energies.sum(), 0.0)
        return np.array([energies[min(rank, len(energies)) :].sum() + rest for rank in ranks])


@dataclass(frozen=True)
class Verdict:
    """What one criterion says.

    Attributes:
        best: the number of components, or None where it does not decide.
        values: (ranks,) the criterion.
        error: (ranks,) the standard error of its difference from the best, or None.
        margin: how decisive it is: the smallest distance of another rank from the best, in standard errors where
            there are any, otherwise relative to the range of the values; the criterion's docstring says which.
        reason: in words.
    """

    best: int | None
    values: np.ndarray
    error: np.ndarray | None
    margin: float
    reason: str


class AbstractCriterion(abc.ABC):
    """Reads a number of components off the evidence."""

    @property
    def name(self) -> str:
        """Its name in the table and the decision."""
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
    """The rank whose factors best predict blocks that the fit has not seen; see `crossvalidation` for the equation.

    `values` are mean squared residuals over all held-out blocks, `error` the standard error over the folds of the
    difference from the best rank (paired, fold by fold). The margin is in these errors: below 2 the ranks are not
    told apart. Fits from too few starts, or not converged, flatten the curve.

    Args:
        folds: each holds out every folds-th pixel and channel, 20 as in Tanimoto et al., J. Phys. Commun. 5 (2021)
            115005.
        restarts: starts for each fit.
        max_steps: of each fit; the prediction settles well before the fit of a rank above the true one does.
    """

    folds: int = 20
    restarts: int = 2
    max_steps: int = 50

    def check(self, problem: Problem, ranks: list[int], restarts: int) -> None:
        if self.restarts < 1 or self.max_steps < 1:
            raise ValueError(
                f"BiCrossValidation: restarts={self.restarts} and max_steps={self.max_steps} must be 1 or more."
            )
        crossvalidation.check_folds(problem.matrix.shape, ranks, self.folds)
        if problem.basis is not None or problem.weights is not None:
            raise ValueError(
                "BiCrossValidation serves problems without basis and weights; use rank.AIC() or rank.BIC()."
            )
        if any(getattr(p, "grid", None) is not None or not hasattr(p, "bound") for p in problem.penalties):
            raise ValueError(
                "BiCrossValidation leaves out pixels, which a grid or a function of the factors does not know of; "
                "leave that penalty out of the scan."
            )

    def __call__(self, evidence: Evidence) -> Verdict:
        settings = evidence.settings
        restarts = self.restarts if settings.init.is_random(int(evidence.ranks[-1])) else 1
        settings = replace(settings, restarts=restarts, max_steps=min(self.max_steps, settings.max_steps))
        ranks = evidence.ranks.tolist()
        table = crossvalidation.residuals(
            evidence.problem, ranks, self.folds, settings, evidence.key, evidence.progress
        )
        pixels, channels = evidence.shape
        each = (pixels // self.folds) * (channels // self.folds)
        values = table.mean(axis=1) / each
        best = int(np.argmin(values))
        apart = (table - table[best]) / each
        error = apart.std(axis=1, ddof=1) / np.sqrt(self.folds)
        others = np.delete(np.arange(len(ranks)), best)
        scores = apart.mean(axis=1)[others] / np.maximum(error[others], np.finfo(float).tiny)
        margin = float(scores.min()) if len(others) else float("nan")
        nearest = ranks[others[int(np.argmin(scores))]] if len(others) else None
        reason = (
            f"held-out residual least at {ranks[best]}, {margin:.1f} standard errors below that of {nearest}"
            + ("" if margin >= 2 else ": not told apart")
            + _at_the_end(best, ranks)
        )
        return Verdict(ranks[best], values, error, margin, reason)


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
            return Verdict(
                None, evidence.mse, None, 0.0, "the residual still falls at the end of the ranks: no plateau"
            )
        margin = float(above[best - 1]) if best else float("nan")
        reason = (
            f"from {ranks[best]} on ln(mse) follows the last {last} ranks' line; before, {margin:.0f} tolerances above"
        )
        return Verdict(int(ranks[best]), evidence.mse, None, margin, reason if best else f"flat from {ranks[0]} on")


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
        return _largest(evidence.ranks, 1 - x - y, "distance below the chord of ln(mse)")


@dataclass(frozen=True)
class Crossing(AbstractCriterion):
    """Where the residual of the model crosses that of PCA with as many spectra (the mean and K - 1 components).

    While components are missing, and where the model is right, K spectra mixed at will describe the data at least
    as well as a mean and K - 1 directions about it; beyond the true K the signed directions of PCA describe the
    noise better. The last rank at which the model is not above PCA is taken (the clue of Uesugi et al.,
    Ultramicroscopy 221 (2021) 113168, made into a rule of our own). Where the maps of every pixel sum to one, PCA
    needs one direction less and is never above: then there is no crossing, and `best` is None.

    `values` are mse / PCA's mse - 1; the margin is the smaller of its two neighbouring magnitudes at the crossing.
    """

    def __call__(self, evidence: Evidence) -> Verdict:
        ranks = evidence.ranks
        values = evidence.mse / np.maximum(evidence.pca_mse(ranks), TINY_MSE) - 1
        below = np.flatnonzero(values <= 0)
        if not len(below) or below[-1] == len(ranks) - 1:
            side = "below" if len(below) else "above"
            return Verdict(None, values, None, 0.0, f"the curve ends {side} that of PCA: no crossing among these ranks")
        last = int(below[-1])
        margin = float(min(-values[last], values[last + 1]))
        return Verdict(
            int(ranks[last]),
            values,
            None,
            margin,
            f"from {ranks[last]} to {ranks[last + 1]} the residual rises above PCA's",
        )


@dataclass(frozen=True)
class Scree(AbstractCriterion):
    """How many singular values stand out of the line that those of the noise form in a plot of logarithms.

    A straight line is fitted to ln(s_k^2) of the later half of those beyond the largest rank (or of all, where no
    more are known); the leading values above it by more than `sds` of its standard deviations, and 5 %, count
    (Cattell, Multivar. Behav. Res. 1 (1966) 245, with the ruler written down). `values` are ln(s_k^2) at each rank;
    the margin is the height of the last value above the line, over that of the next.
    """

    sds: float = 5.0

    def __call__(self, evidence: Evidence) -> Verdict:
        ranks, energies = evidence.ranks, evidence.energies
        known = energies[energies > energies[0] * 1e-12]
        tail = np.arange(min(int(ranks[-1]), len(known) // 2), max(len(known) - 1, 2))
        tail = tail[: max(len(tail) // 2, 3)]
        logs = np.log(np.maximum(energies, TINY_MSE))
        line = np.polyfit(tail, logs[tail], 1)
        spread = np.std(logs[tail] - np.polyval(line, tail))
        above = logs - np.polyval(line, np.arange(len(logs)))
        limit = max(self.sds * spread, 0.05)
        count = int(np.argmax(above <= limit)) if (above <= limit).any() else len(logs)
        margin = float(above[count - 1] - above[count]) if 0 < count < len(above) else 0.0
        values = np.array([logs[rank - 1] if rank <= len(logs) else np.nan for rank in ranks])
        inside = count if ranks[0] <= count <= ranks[-1] else None
        return Verdict(inside, values, None, margin, f"{count} squared singular values stand out of the noise's line")


@dataclass(frozen=True)
class Malinowski(AbstractCriterion):
    """The least factor indicator function IND = RE / (c - K)^2.

    RE = sqrt(sum_{k > K} s_k^2 / (r (c - K))) with c the smaller and r the larger side of the data (Malinowski, Anal.
    Chem. 49 (1977) 612). It assumes even noise. The margin is relative to the range of IND.
    """

    def check(self, problem: Problem, ranks: list[int], restarts: int) -> None:
        if ranks[-1] >= min(problem.matrix.shape):
            raise ValueError(
                f"Malinowski: IND has no value at {ranks[-1]} components of {min(problem.matrix.shape)} channels or "
                "pixels; leave out that rank."
            )

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
    """The last rank before the restarts stop agreeing on which pixels belong together.

    C_pq is the share of restarts in which pixels p and q have the same largest component, and the dispersion
    sum_pq 4 (C_pq - 1/2)^2 / n^2 is 1 where all agree (Kim and Park, Bioinformatics 23 (2007) 1495, equation 14),
    here over up to 1,000 pixels. The rank before its largest fall is taken; the margin is that fall.
    """

    def check(self, problem: Problem, ranks: list[int], restarts: int) -> None:
        _at_least(self.name, ranks, 2)
        if restarts < 3:
            raise ValueError(f"Dispersion compares restarts: {restarts} are too few, give restarts=10.")

    def __call__(self, evidence: Evidence) -> Verdict:
        labels = evidence.survey.labels
        values = np.array([_dispersion(of_rank) for of_rank in labels])
        falls = values[:-1] - values[1:]
        at = int(np.argmax(falls))
        best = int(evidence.ranks[at]) if falls[at] > 0 else None
        return Verdict(
            best, values, None, float(falls[at]), f"the dispersion falls most, by {falls[at]:.3f}, after {best}"
        )


def _information(evidence: Evidence, price: float, name: str) -> Verdict:
    pixels, channels = evidence.shape
    ranks, entries = evidence.ranks, float(pixels * channels)
    parameters = ranks * (pixels + channels - ranks).astype(float)
    if isinstance(evidence.problem.loss, Frobenius):
        fit = entries * np.log(np.maximum(evidence.mse, TINY_MSE))
    else:
        fit = 2 * evidence.loss
    return _least(ranks, fit + price * parameters, name)


def _least(ranks: np.ndarray, values: np.ndarray, what: str) -> Verdict:
    best = int(np.argmin(values))
    margin = _gap(-values)
    return Verdict(
        int(ranks[best]), values, None, margin, f"{what} is least at {ranks[best]}" + _at_the_end(best, ranks)
    )


def _largest(ranks: np.ndarray, values: np.ndarray, what: str) -> Verdict:
    best = int(np.argmax(values))
    return Verdict(int(ranks[best]), values, None, _gap(values), f"{what} is largest at {ranks[best]}")


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


def _line_error(x: np.ndarray, y: np.ndarray) -> float:
    if len(x) < 3:
        return 0.0
    return float(np.sum((y - np.polyval(np.polyfit(x, y, 1), x)) ** 2))


def _dispersion(labels: np.ndarray) -> float:
    """(restarts, pixels) -> the dispersion of their consensus matrix."""
    together = np.zeros((labels.shape[1], labels.shape[1]))
    for row in labels:
        together += row[:, None] == row[None]
    return float(np.mean(4 * (together / len(labels) - 0.5) ** 2))
