"""Least squares."""

from .base import AbstractLoss, Entries


class Frobenius(AbstractLoss):
    """Least squares, sum (x - m)^2 / 2: noise of equal variance everywhere."""

    command = "frobenius"
    is_squares = True
    serves_counts = True

    @property
    def beta(self) -> float:
        return 2.0

    def divergence(self, x: Entries, model: Entries) -> Entries:
        return 0.5 * (x - model) ** 2

    def split(self, x: Entries, model: Entries) -> tuple[Entries, Entries | None]:
        return x, model
