"""How far the data are from the model: the beta-divergences.

For data x and model m (Fevotte and Idier, Neural Comput. 23 (2011) 2421, equation 2.2),

    d_beta(x | m) = [x^beta + (beta - 1) m^beta - beta x m^(beta - 1)] / [beta (beta - 1)],

with the limits beta = 1, the Poisson deviance's half x log(x/m) - x + m, and beta = 0, Itakura-Saito
x/m - log(x/m) - 1; beta = 2 is (x - m)^2 / 2. Sums over all entries make the objective, as in scikit-learn.
"""

import abc
import math
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..matrix.base import TINY, AbstractMatrix

Entries = Float[Array, "..."]

# Where a loss divides by powers of the model, up to the third here, the model counts as no smaller than this:
# a smaller floor would overflow float32 in the derivative and turn it into NaN.
FLOOR = 1e-12


class AbstractLoss(eqx.Module):
    """One divergence per entry, with its gradient in two parts and what it asks of the data."""

    # The name on the command line; None where it is not offered there.
    command: ClassVar[str | None] = None

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

    def check(self, matrix: AbstractMatrix) -> None:
        """Refuse data for which the loss is not defined.

        Raises:
            ValueError: negative entries (or zeros, under Itakura-Saito and beta <= 0).
        """
        smallest = float(matrix.minimum)
        name = type(self).__name__
        if self.beta != 2 and smallest < 0:
            raise ValueError(
                f"{name} asks for non-negative data, the smallest entry is {smallest:.4g}; subtract a baseline, set "
                "small negative values to zero with preprocess.clip_negative, or use losses.Frobenius()."
            )
        if self.beta <= 0 and smallest <= 0:
            raise ValueError(f"{name} asks for positive data, some entries are 0; add a small offset first.")


class Frobenius(AbstractLoss):
    """Least squares, sum (x - m)^2 / 2: noise of equal variance everywhere."""

    command = "frobenius"

    @property
    def beta(self) -> float:
        return 2.0

    def divergence(self, x: Entries, model: Entries) -> Entries:
        return 0.5 * (x - model) ** 2

    def split(self, x: Entries, model: Entries) -> tuple[Entries, Entries | None]:
        return x, model


class Poisson(AbstractLoss):
    """Counting noise, sum x log(x/m) - x + m: half the Poisson deviance, also called generalised KL."""

    command = "poisson"

    @property
    def beta(self) -> float:
        return 1.0

    def divergence(self, x: Entries, model: Entries) -> Entries:
        m = jnp.maximum(model, TINY)
        # log(m / x), not log(x / m): its derivative has no m^2, which would underflow where the model vanishes.
        return jnp.where(x > 0, -x * jnp.log(m / jnp.where(x > 0, x, 1)), 0) - x + model

    def split(self, x: Entries, model: Entries) -> tuple[Entries, Entries | None]:
        return x / jnp.maximum(model, TINY), None


class ItakuraSaito(AbstractLoss):
    """Multiplicative noise, sum x/m - log(x/m) - 1: blind to the scale of each entry."""

    command = "itakura-saito"

    @property
    def beta(self) -> float:
        return 0.0

    def divergence(self, x: Entries, model: Entries) -> Entries:
        ratio = x / jnp.maximum(model, FLOOR)
        return ratio - jnp.log(jnp.maximum(ratio, TINY)) - 1

    def split(self, x: Entries, model: Entries) -> tuple[Entries, Entries | None]:
        inverse = 1 / jnp.maximum(model, FLOOR)
        return x * inverse * inverse, inverse


class Beta(AbstractLoss):
    """The beta-divergence for any beta but 0 and 1, which have classes of their own.

    Args:
        beta: between the Poisson (1) and Gaussian (2) cases the fit trusts large entries less than least squares.

    Raises:
        ValueError: beta is 0 or 1, or not finite.
    """

    exponent: float = eqx.field(static=True)

    def __init__(self, beta: float | int):
        if beta in (0, 1) or not math.isfinite(beta):
            raise ValueError(f"Beta({beta}): use losses.ItakuraSaito() for 0 and losses.Poisson() for 1.")
        self.exponent = float(beta)

    @property
    def beta(self) -> float:
        return self.exponent

    def divergence(self, x: Entries, model: Entries) -> Entries:
        b = self.beta
        m = jnp.maximum(model, FLOOR)
        x_b = jnp.where(x > 0, jnp.where(x > 0, x, 1) ** b, 0)
        return (x_b + (b - 1) * m**b - b * x * m ** (b - 1)) / (b * (b - 1))

    def split(self, x: Entries, model: Entries) -> tuple[Entries, Entries | None]:
        m = jnp.maximum(model, FLOOR)
        return x * m ** (self.beta - 2), m ** (self.beta - 1)
