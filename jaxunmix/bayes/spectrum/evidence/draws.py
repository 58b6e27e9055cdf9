"""Draws of the posterior of one number of peaks, with the evidence and the runs that they come from."""

from dataclasses import dataclass, field, replace

import numpy as np


@dataclass(frozen=True)
class Draws:
    """Draws of a posterior, in no order.

    Attributes:
        z: (draws, size), points of the density.
        beta: (draws,), b of each.
        run: (draws,), which of the independent tempered runs each comes from; -1 for draws of a mixture.
        log_evidence: ln p(D | K).
        error: its standard error.
        expected: of each run the share of the draws that it would have if all runs had the same evidence.
        of_weights: the part of the error that comes from weights of what other numbers of peaks have lent.
        weights: (draws,), adding up to one; None where all draws weigh the same.
        independent: how many independent draws these are worth; where a mixture was drawn from, those of the mixture.
        reached: the share of the posterior that is within reach of the mixture; 0 where none was drawn from.
        reached_error: its standard error.
    """

    z: np.ndarray
    beta: np.ndarray
    run: np.ndarray
    log_evidence: float
    error: float
    expected: dict[int, float] = field(default_factory=dict)
    of_weights: float = 0.0
    weights: np.ndarray | None = None
    independent: float | int = 0.0
    reached: float = 0.0
    reached_error: float = 0.0

    @property
    def shares(self) -> dict[int, tuple[float, float]]:
        """Of each run the share of the draws that it has, and the one that is expected."""
        return {run: (float(np.mean(self.run == run)), own) for run, own in self.expected.items()}

    def take(self, index: np.ndarray | slice) -> "Draws":
        """Some of the draws, all with the same weight."""
        return replace(self, z=self.z[index], beta=self.beta[index], run=self.run[index], weights=None)

    def pick(self, number: int, rng: np.random.Generator) -> "Draws":
        """So many draws by their weights."""
        return self.take(rng.choice(len(self.beta), number, p=self.weights))
