"""Agreement between restarts."""

from dataclasses import dataclass

import numpy as np

from ..factor.problem import Problem
from .criterion import AbstractCriterion, Evidence, Verdict, check_curve_length


@dataclass(frozen=True)
class Dispersion(AbstractCriterion):
    """The last rank before the restarts cease to agree on which pixels belong together.

    C_pq is the share of restarts in which pixels p and q have the same largest component, and the dispersion
    sum_pq 4 (C_pq - 1/2)^2 / n^2 is 1 where all agree (Kim and Park, Bioinformatics 23 (2007) 1495, equation 14),
    here over up to 1,000 pixels. The rank before the largest fall that lasts is taken, that is the largest of
    D(K) - max_{J > K} D(J): below the true K as well restarts may differ, when two ways of merging components are
    equally good, but agree again at it. The margin is that fall. At K = 1 all agree, which says nothing: None.
    """

    command = "dispersion"

    def check(self, problem: Problem, ranks: list[int], restarts: int) -> None:
        check_curve_length(self.name, ranks, 2)
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


def _dispersion(labels: np.ndarray) -> float:
    """(restarts, pixels) -> the dispersion of their consensus matrix."""
    together = np.mean([row[:, None] == row for row in labels], axis=0)
    return float(np.mean(4 * (together - 0.5) ** 2))
