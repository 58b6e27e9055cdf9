r"""Links between what is linear, maps @ spectra, and the mean of the data.

    X ~ link(maps @ spectra)

Kannan, Ievlev, Laanait, Ziatdinov, Vasudevan, Jesse, Kalinin, Adv. Struct. Chem. Imaging 4 (2018) 6: link functions
of constrained linear unmixing. A link belongs to a loss, `losses.Frobenius(link=links.Logistic())`.
"""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr
from jaxtyping import Array, Float

from .._util.validation import check_number
from ..matrix.base import TINY

Entries = Float[Array, "..."]
# How near to the ends of its range an entry is moved before the inverse of a link is taken, as a share of the range.
MARGIN = 1e-3


class AbstractLink(eqx.Module):
    """The mean of an entry as a function of what is linear."""

    @abc.abstractmethod
    def __call__(self, linear: Entries) -> Entries:
        """The mean."""

    @abc.abstractmethod
    def inverse(self, mean: Entries) -> Entries:
        """What is linear, from a mean moved into the range of the link; where a fit starts."""

    @property
    def label(self) -> str:
        """Its name in a result."""
        return type(self).__name__

    def divergence(self, divergence: Callable, x: Entries, linear: Entries) -> Entries:
        """A divergence from the mean, as one from what is linear."""
        return divergence(x, self(linear))

    @property
    def is_identity(self) -> bool:
        """Whether the mean is what is linear."""
        return False

    @property
    def counts_interval(self) -> bool:
        """Whether an entry stands for the interval that is rounded to it, not for a number."""
        return False

    def check(self, smallest: float, largest: float) -> None:
        """Refuse data outside the range of the link.

        Raises:
            ValueError: naming the range and the entry outside it.
        """
        low, high = self.range
        if smallest < low or largest > high:
            outside = smallest if smallest < low else largest
            raise ValueError(
                f"{type(self).__name__}: the mean lies in {low:g}..{high:g}, an entry is {outside:.4g}; {self.remedy}"
            )

    @property
    def range(self) -> tuple[float, float]:
        """The least and the greatest mean."""
        return -np.inf, np.inf

    @property
    def remedy(self) -> str:
        """What to do about data outside the range."""
        return "scale the data first with preprocess.normalise_range."


class Identity(AbstractLink):
    """The mean is maps @ spectra."""

    @property
    def is_identity(self) -> bool:
        return True

    def __call__(self, linear: Entries) -> Entries:
        return linear

    def inverse(self, mean: Entries) -> Entries:
        return mean


class Logistic(AbstractLink):
    r"""Bounded data: $m = low + (high - low) / (1 + e^{-\eta})$, such as a share, or a detector that saturates.

    Args:
        low: the least mean.
        high: the greatest.
    """

    low: float = eqx.field(default=0.0, static=True)
    high: float = eqx.field(default=1.0, static=True)

    def __check_init__(self) -> None:
        check_number(self.low, "Logistic: low")
        check_number(self.high, "Logistic: high")
        if not self.low < self.high:
            raise ValueError(f"Logistic: low must be below high, got {self.low:g} and {self.high:g}.")

    @property
    def range(self) -> tuple[float, float]:
        return float(self.low), float(self.high)

    def __call__(self, linear: Entries) -> Entries:
        return self.low + (self.high - self.low) * jax.nn.sigmoid(linear)

    def inverse(self, mean: Entries) -> Entries:
        share = jnp.clip((mean - self.low) / (self.high - self.low), MARGIN, 1 - MARGIN)
        return jnp.log(share) - jnp.log1p(-share)


class Exponential(AbstractLink):
    r"""Factors that multiply: $m = e^{\eta}$, such as an attenuation by several layers."""

    @property
    def range(self) -> tuple[float, float]:
        return 0.0, np.inf

    @property
    def remedy(self) -> str:
        return "leave the link out, or clip small negative values with preprocess.clip_negative."

    def __call__(self, linear: Entries) -> Entries:
        return jnp.exp(linear)

    def inverse(self, mean: Entries) -> Entries:
        floor = MARGIN * jnp.mean(jnp.abs(mean)) + TINY
        return jnp.log(jnp.maximum(mean, floor))


class Log(AbstractLink):
    r"""Intensities that add, seen on a logarithmic scale: $m = \ln(\eta + offset)$ with $\eta \ge 0$.

    It is the link of data that were logarithmised, as by `preprocess.log` with the same offset.

    Args:
        offset: what was added before the logarithm, above 0.
    """

    offset: float = eqx.field(default=1.0, static=True)

    def __check_init__(self) -> None:
        check_number(self.offset, "Log: offset", above=0)

    def __call__(self, linear: Entries) -> Entries:
        return jnp.log(jnp.maximum(linear + self.offset, TINY))

    def inverse(self, mean: Entries) -> Entries:
        return jnp.maximum(jnp.exp(mean) - self.offset, 0)


class Rounding(AbstractLink):
    r"""Data that were rounded: an entry x stands for the interval x - step/2 .. x + step/2.

    With Gaussian noise of standard deviation s before rounding an entry has the likelihood

    $$ \Phi\!\left(\frac{x + step/2 - \eta}{s}\right) - \Phi\!\left(\frac{x - step/2 - \eta}{s}\right), $$

    and its divergence is -s^2 times the logarithm of it (less its value at the middle of the interval): what is
    rounded away costs nothing, and far outside it is the squared distance from the interval, halved.

    Args:
        step: between two values that the data can have.
        noise: s in units of the step.
    """

    step: float = eqx.field(default=1.0, static=True)
    noise: float = eqx.field(default=0.3, static=True)

    def __check_init__(self) -> None:
        check_number(self.step, "Rounding: step", above=0)
        check_number(self.noise, "Rounding: noise", above=0)

    @property
    def counts_interval(self) -> bool:
        return True

    def __call__(self, linear: Entries) -> Entries:
        return linear

    def inverse(self, mean: Entries) -> Entries:
        return mean

    def divergence(self, divergence: Callable, x: Entries, linear: Entries) -> Entries:
        """The negative logarithm of the interval's probability, times s^2, 0 where `linear` is x."""
        sd = self.noise * self.step
        # By symmetry the interval lies at or below the mean, where the logarithms of both tails are exact.
        middle, half = -jnp.abs(x - linear) / sd, 0.5 / self.noise
        best = 2 * jax.scipy.special.ndtr(half) - 1
        return -(sd**2) * (_log_between(middle - half, middle + half) - jnp.log(best))


def _log_between(low: Entries, high: Entries) -> Entries:
    """The logarithm of the probability of a standard normal number between `low` and `high`."""
    upper, lower = log_ndtr(high), log_ndtr(low)
    return upper + jnp.log(-jnp.expm1(lower - upper))


def check_link(link: Any) -> AbstractLink:
    """A link, and not its class or its name."""
    if not isinstance(link, AbstractLink):
        raise ValueError(f"link must be one of jaxunmix.links, such as links.Logistic(), got {link!r}.")
    return link
