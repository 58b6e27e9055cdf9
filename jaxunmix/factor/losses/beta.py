"""The beta-divergences between the named ones."""

import math

import equinox as eqx
import jax.numpy as jnp

from ..._util.validation import real_number
from ..links import AbstractLink, Identity, check_link
from .base import FLOOR, AbstractLoss, Entries

IDENTITY = Identity()


class Beta(AbstractLoss):
    """The beta-divergence for any beta but 0 and 1, which have classes of their own.

    Args:
        beta: between the Poisson (1) and Gaussian (2) cases the fit trusts large entries less than least squares.

    Raises:
        ValueError: beta is 0 or 1, or not finite.
    """

    exponent: float = eqx.field(static=True)

    def __init__(self, beta: float | int, *, link: AbstractLink = IDENTITY):
        real_number(beta, "Beta: beta")
        if beta in (0, 1) or not math.isfinite(beta):
            raise ValueError(f"Beta({beta}): use losses.ItakuraSaito() for 0 and losses.Poisson() for 1.")
        self.exponent = float(beta)
        self.link = check_link(link)

    @property
    def beta(self) -> float:
        return self.exponent

    @property
    def label(self) -> str:
        return f"Beta({self.exponent})" if self.link.is_identity else f"Beta({self.exponent}, link={self.link.label})"

    def divergence(self, x: Entries, model: Entries) -> Entries:
        b = self.beta
        m = jnp.maximum(model, FLOOR)
        x_b = jnp.where(x > 0, jnp.where(x > 0, x, 1) ** b, 0)
        return (x_b + (b - 1) * m**b - b * x * m ** (b - 1)) / (b * (b - 1))

    def split(self, x: Entries, model: Entries) -> tuple[Entries, Entries | None]:
        m = jnp.maximum(model, FLOOR)
        return x * m ** (self.beta - 2), m ** (self.beta - 1)
