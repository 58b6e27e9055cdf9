"""Likeness of the components to one another."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from .._util.validation import check_number
from ..factor.model import expand
from ..factor.problem import Problem
from .criterion import AbstractCriterion, Evidence, Verdict, check_curve_length


@dataclass(frozen=True)
class Likeness(AbstractCriterion):
    r"""The last rank before two components become alike.

    Once K is too large components become similar to one another (Kannan et al., Adv. Struct. Chem. Imaging 4 (2018) 6,
    who look at them): one is divided between two, of nearly one spectrum, nearly one map, or something of both. With
    $s_k$ the spectra and $\tilde m_k$ the maps less their mean over the pixels, of the best fit at K,

    $$L(K) = \max_{j \ne k} \frac{s_j \cdot s_k}{|s_j| |s_k|} \frac{\tilde m_j \cdot \tilde m_k}
      {|\tilde m_j| |\tilde m_k|}$$

    is the largest cosine between what two components, as matrices of pixels and channels, describe of the variation
    over the pixels. The rank before the first of the scan with L(K) > `limit` is taken; the measure and the limit are
    ours. The margin is the smaller distance of L at these two ranks from the limit.

    The cosine of the spectra alone says less: it is as large where true spectra are alike, and a component is as often
    divided between two maps. Of 28 simulated images of four components, of the kinds of the table of `jaxunmix.rank`, L
    found the number in 19, a wrong one in 5 and none in 4, where the best limit for the spectra alone (0.7) gave 13, 6
    and 9; both limits were chosen on these images. Below an s/n of about 2, and where pixels are evenly mixed, the
    answer is too large or none: the component that is one too many describes noise, which is like nothing. Under
    `Orthogonal` maps are never alike, and it does not decide; that there is but one component it cannot tell. Take a
    higher limit where true components come and go together. At K = 1 there is no pair, NaN.

    Args:
        limit: the cosine above which two components are alike, above 0 and below 1.
    """

    limit: float | int = 0.15
    command = "likeness"

    def __post_init__(self) -> None:
        if not 0 < check_number(self.limit, "Likeness: limit") < 1:
            raise ValueError(f"Likeness: limit must be above 0 and below 1, got {self.limit}; give 0.15.")

    def check(self, problem: Problem, ranks: list[int], restarts: int) -> None:
        check_curve_length(self.name, ranks, 2)

    def __call__(self, evidence: Evidence) -> Verdict:
        ranks, basis = evidence.ranks, evidence.problem.basis
        best = [(np.asarray(maps_t), np.asarray(profiles)) for maps_t, profiles in evidence.survey.best]
        if basis is not None:
            best = [(maps_t, np.asarray(expand(jnp.asarray(profiles), basis))) for maps_t, profiles in best]
        values = np.array([largest_cosine(*rows) for rows in best])
        alike = values > self.limit
        if not alike.any():
            return Verdict(None, values, None, 0.0, f"no two components are alike up to {ranks[-1]}; look further")
        first = int(np.argmax(alike))
        if first == 0 or ranks[first - 1] < 2:
            reason = f"two components are alike at {ranks[first]} already, by {values[first]:.2f}; try a higher limit"
            return Verdict(None, values, None, 0.0, reason)
        margin = float(min(self.limit - values[first - 1], values[first] - self.limit))
        reason = f"two components are alike at {ranks[first]}, by {values[first]:.2f}"
        return Verdict(int(ranks[first - 1]), values, None, margin, reason)


def largest_cosine(maps_t: np.ndarray, spectra: np.ndarray) -> float:
    """L of (K, pixels) and (K, channels): 0 with a component that is zero, or constant over pixels; NaN for K = 1."""
    if len(spectra) < 2:
        return float("nan")
    maps = np.asarray(maps_t, float)
    cosines = _cosines(maps - maps.mean(axis=1, keepdims=True)) * _cosines(np.asarray(spectra, float))
    return float(np.max(cosines[np.triu_indices(len(cosines), 1)]))


def _cosines(rows: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = rows / np.where(norms > 0, norms, 1)
    return np.asarray(unit @ unit.T)
