"""What every loss shares."""

import abc
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._util.tracing import is_known
from ...matrix.base import TINY, AbstractMatrix, accurate_sum
from ..links import AbstractLink, Identity, check_link

Entries = Float[Array, "..."]

# Where a loss divides by powers of the model, up to the third here, the model counts as no smaller than this:
# a smaller floor would overflow float32 in the derivative and turn it into NaN.
FLOOR = 1e-12


class AbstractLoss(eqx.Module):
    """One divergence per entry, with its gradient in two parts and what it asks of the data.

    `link` leads from what is linear, maps @ spectra, to the mean that the divergence compares the data with.
    """

    link: AbstractLink = eqx.field(default=Identity(), converter=check_link, kw_only=True)

    # The name on the command line; None where it is not offered there.
    command: ClassVar[str | None] = None
    # Whether it is the sum of squares, which needs products with the data alone.
    is_squares: ClassVar[bool] = False
    # Whether it compares entries one by one, so that its derivative comes in two parts of one sign each.
    by_entries: ClassVar[bool] = True
    # Whether its sum over entries without counts is known without looking at them.
    serves_counts: ClassVar[bool] = False
    # How penalties measure a component: 2 by its norm, 1 by its sum, where squares would be mostly noise.
    order: ClassVar[int] = 2

    @property
    def label(self) -> str:
        """Its name in a result."""
        name = type(self).__name__
        return name if self.link.is_identity else f"{name}(link={self.link.label})"

    @property
    def is_least_squares(self) -> bool:
        """Whether it is the sum of squares of what is linear."""
        return self.is_squares and self.link.is_identity

    @property
    def is_split(self) -> bool:
        """Whether `split` is the derivative in what is linear."""
        return self.by_entries and self.link.is_identity

    @property
    def takes_zero(self) -> bool:
        """Whether an entry of the data may be 0."""
        low, high = self.link.range
        return self.beta > 0 and low <= 0 <= high

    def measure(self, x: Entries, linear: Entries, weights: Entries | None = None) -> Entries:
        """The divergence from what is linear, weighted: of each entry, or of each row where it compares rows."""
        entries = self.link.divergence(self.divergence, x, linear)
        return entries if weights is None else weights * entries

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
        name = type(self).__name__
        if self.link.counts_interval and not self.is_squares:
            raise ValueError(f"links.Rounding is a likelihood of its own; give it to losses.Frobenius, not {name}.")
        if not is_known(matrix.minimum):
            return
        smallest = float(matrix.minimum)
        if not self.link.is_identity:
            self.link.check(smallest, float(jnp.max(matrix.to_dense())))
        if self.beta != 2 and smallest < 0:
            raise ValueError(
                f"{name} asks for non-negative data, the smallest entry is {smallest:.4g}; subtract a baseline, set "
                "small negative values to zero with preprocess.clip_negative, or use losses.Frobenius()."
            )
        if self.beta <= 0 and smallest <= 0:
            raise ValueError(f"{name} asks for positive data, some entries are 0; add a small offset first.")
