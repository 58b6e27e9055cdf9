"""What every loss shares."""

import abc
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._util.tracing import is_known
from ...matrix.base import TINY, AbstractMatrix, accurate_sum

Entries = Float[Array, "..."]

# Where a loss divides by powers of the model, up to the third here, the model counts as no smaller than this:
# a smaller floor would overflow float32 in the derivative and turn it into NaN.
FLOOR = 1e-12


class AbstractLoss(eqx.Module):
    """One divergence per entry, with its gradient in two parts and what it asks of the data."""

    # The name on the command line; None where it is not offered there.
    command: ClassVar[str | None] = None
    # Whether it is the sum of squares, which needs products with the data alone.
    is_least_squares: ClassVar[bool] = False
    # Whether its sum over entries without counts is known without looking at them.
    serves_counts: ClassVar[bool] = False
    # How penalties measure a component: 2 by its norm, 1 by its sum, where squares would be mostly noise.
    order: ClassVar[int] = 2

    @property
    def label(self) -> str:
        """Its name in a result."""
        return type(self).__name__

    @property
    @abc.abstractmethod
    def beta(self) -> float:
        """Which beta-divergence it is."""

    @abc.abstractmethod
    def divergence(self, x: Entries, model: Entries) -> Entries:
        """The divergence of each entry."""

    @abc.abstractmethod
    def split(self, x: Entries, model: Entries) -> tuple[Entries, Entries | None]:
        """The derivative in the model is -first + second; a second part of None stands for ones."""

    def total(self, matrix: AbstractMatrix) -> Float[Array, ""]:
        """The scale of the objective, to which penalties are relative: sum x^beta."""
        if self.beta == 2:
            return accurate_sum(matrix.squares)
        pixels, channels = matrix.shape
        nothing = jnp.zeros((1, pixels), matrix.dtype), jnp.zeros((1, channels), matrix.dtype)
        return matrix.divergence(lambda x, _: jnp.maximum(x, TINY) ** self.beta, *nothing, None)

    def check(self, matrix: AbstractMatrix) -> None:
        """Refuse data for which the loss is not defined.

        Raises:
            ValueError: negative entries (or zeros, under Itakura-Saito and beta <= 0).
        """
        if not is_known(matrix.minimum):
            return
        smallest = float(matrix.minimum)
        name = type(self).__name__
        if self.beta != 2 and smallest < 0:
            raise ValueError(
                f"{name} asks for non-negative data, the smallest entry is {smallest:.4g}; subtract a baseline, set "
                "small negative values to zero with preprocess.clip_negative, or use losses.Frobenius()."
            )
        if self.beta <= 0 and smallest <= 0:
            raise ValueError(f"{name} asks for positive data, some entries are 0; add a small offset first.")
