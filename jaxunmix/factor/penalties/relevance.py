"""Which components the data need: automatic relevance determination."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..._util.validation import check_choice, check_number
from ...matrix.base import TINY
from ..model import Bilinear
from .base import BOTH, AbstractPenalty, Bound, Reference, Scale, Weight, as_weight


class ARD(AbstractPenalty):
    r"""Automatic relevance determination: components that the data do not need switch themselves off.

    The entries of component k have a prior of an unknown scale of its own, its relevance lambda_k, and lambda_k an
    inverse-gamma prior of shape a and scale B. At its best value the relevance leaves the objective, and minus the
    logarithm of the posterior becomes

    $$\frac{D(X | M S)}{\varphi} + C \sum_k \log(f_k + B), \qquad \lambda_k = \frac{f_k + B}{C},$$

    a concave function of f_k, which lies below its tangent: so it is a penalty with a separable bound, and each step
    of `HALS` or `Multiplicative` is the published step at the relevances of the moment (Tan and Fevotte, IEEE Trans.
    Pattern Anal. Mach. Intell. 35 (2013) 1592, equations 26 to 34, for beta-divergences and both blocks; Shiga et al.,
    Ultramicroscopy 170 (2016) 43, for least squares and the maps). With u the entries as shares of a mean pixel (or
    channel), as every penalty here measures them, and n entries in the block:

    | block | form | f_k | C | B |
    |---|---|---|---|---|
    | one | "l1", exponential prior | sum u | n + a + 1 | (a - 1) / K |
    | one | "l2", half-normal prior | sum u^2 / 2 | n / 2 + a + 1 | (pi / 2) (a - 1) / K^2 |
    | both | "l1" | 2 sqrt(t N F) | N + F + a + 1 | sqrt((a - 1)(a - 2) / K) |
    | both | "l2" | sqrt(t' N F) | (N + F) / 2 + a + 1 | (pi / 2) (a - 1) / K |

    with N pixels and F channels; t is the component's share of the sum of all entries (of their root mean square times
    N F under least squares), t' the same of their norms. For both blocks f(map) + f(spectrum) depends on how a
    component's size is shared between the two, and the least of it, which the published alternation ends at, is taken.
    "l1" also makes the entries few ("sparser"); "l2" only asks for few components.

    phi is 1 under Poisson. Under least squares it is the variance of the noise. Where that is not given it is estimated
    along: the objective is then the posterior with the variance at its best,
    $\frac{n}{2} \log(2 L / n) + C \sum_k \log(f_k + B)$ for n entries and L the loss with all other penalties, in
    units of the data's mean square.

    Start from more components than there can be; `fit` leaves out those that have switched off, and
    `solution.relevance` has the relevances of the others.

    Args:
        block: "maps", "spectra", or "both" with one relevance for a map and its spectrum.
        weight: of the prior; 1 is the posterior.
        form: "l1" or "l2".
        shape: a, above 1, and above 2 for "l1" on both; None takes log(N + F), as Tan and Fevotte do. Smaller prunes
            harder.
        scale: B, in the units of f; None takes the mean of the data, see the table.
        noise_variance: of an entry (with weights: of one of weight 1); None estimates it along. Least squares only.

    Raises:
        ValueError: a shape or scale out of range, or a negative variance.
    """

    block: str = eqx.field(static=True)
    weight: Weight = eqx.field(default=1.0, converter=as_weight)
    form: str = eqx.field(default="l1", static=True)
    shape: float | None = eqx.field(default=None, static=True)
    scale: float | None = eqx.field(default=None, static=True)
    noise_variance: float | None = eqx.field(default=None, static=True)
    blocks = (*AbstractPenalty.blocks, BOTH)
    asks_nonnegative = True
    is_relevance = True

    def __check_init__(self) -> None:
        check_choice(self.form, ("l1", "l2"), "ARD: form")
        least = 2 if self.block == BOTH and self.form == "l1" else 1
        if self.shape is not None:
            check_number(self.shape, "ARD: shape", above=least)
        if self.scale is not None:
            check_number(self.scale, "ARD: scale", above=0)
        if self.noise_variance is not None:
            check_number(self.noise_variance, "ARD: noise_variance", above=0)

    @property
    def estimates_noise(self) -> bool:
        return self.noise_variance is None

    def value(self, factors: Bilinear, reference: Reference) -> Float[Array, ""]:
        amount, scale, size = self._amount(factors, reference), self._scale(factors), self._entries(factors)
        strength = jnp.asarray(self.weight) * self._dispersion(reference) * self._count(factors)
        return strength * jnp.sum(jnp.log(amount / size + scale / size))

    def bound(self, factors: Bilinear, reference: Reference, block: str) -> Bound:
        rows, other = (factors.maps_t, factors.spectra) if block == "maps" else (factors.spectra, factors.maps_t)
        strength = jnp.asarray(self.weight) * self._dispersion(reference) * self._count(factors)
        slope = strength / (self._amount(factors, reference) + self._scale(factors))
        if self.block == BOTH:
            return self._bound_of_both(slope, rows, other, reference)
        if self.form == "l2":
            unit = self._unit(reference) ** 2
            if block == self.block:
                steep = (slope * unit * reference.size(other) ** 2)[:, None]
                return Bound(steep * rows, steep)
            return reference.quadratic(slope * unit * jnp.sum(other**2, axis=1), rows)
        if block == self.block:
            linear = (slope * self._unit(reference) * reference.size(other))[:, None]
            return Bound(linear, jnp.zeros((1, 1), rows.dtype))
        return reference.linear(slope * self._unit(reference) * jnp.sum(other, axis=1), rows)

    def _bound_of_both(self, slope: Scale, rows: Array, other: Array, reference: Reference) -> Bound:
        """Below the tangent of f, the root of a product, in the block's own factor of it."""
        power = 1 if self.form == "l1" else 2
        mine, its = jnp.linalg.norm(rows, axis=1, ord=power), jnp.linalg.norm(other, axis=1, ord=power)
        ratio = its / jnp.maximum(mine, TINY)
        if self.form == "l1":
            ratio = jnp.sqrt(ratio)
        steep = jnp.where(mine > TINY, slope * self._unit(reference) * ratio, 0)[:, None]
        return Bound(steep, jnp.zeros((1, 1), rows.dtype)) if self.form == "l1" else Bound(steep * rows, steep)

    def relevance(self, factors: Bilinear, reference: Reference) -> tuple[Scale, Bool[Array, " components"]]:
        """(K,) lambda, as the share of a mean entry that an entry of the component has; and whether it is off.

        It is where all of it together is less than a mean pixel (of the spectra: channel) has.
        """
        amount = self._amount(factors, reference)
        one = 1 if self.form == "l1" else 0.5
        if self.block == BOTH:
            pixels, channels = factors.maps_t.shape[1], factors.spectra.shape[1]
            one = 2 * min(pixels, channels) ** 0.5 if self.form == "l1" else channels**0.5
        return (amount + self._scale(factors)) / self._count(factors), amount < one

    def check(self, pixels: int, channels: int) -> None:
        least = 2 if self.block == BOTH and self.form == "l1" else 1
        if self.shape is None and jnp.log(pixels + channels) <= least:
            raise ValueError(f"ARD: {pixels} pixels and {channels} channels are too few for the default shape.")

    def _amount(self, factors: Bilinear, reference: Reference) -> Scale:
        """F of each component."""
        unit = self._unit(reference)
        if self.block == BOTH:
            power = 1 if self.form == "l1" else 2
            product = jnp.sum(factors.maps_t**power, axis=1) * jnp.sum(factors.spectra**power, axis=1)
            alive = product > 0
            root = jnp.where(alive, jnp.sqrt(jnp.where(alive, product, 1)), 0)
            return unit * root * (2 if self.form == "l1" else 1)
        size = reference.size(self._other(factors))
        if self.form == "l1":
            return unit * size * jnp.sum(self._rows(factors), axis=1)
        return (unit * size) ** 2 * jnp.sum(self._rows(factors) ** 2, axis=1) / 2

    def _unit(self, reference: Reference) -> Float[Array, ""]:
        if self.block != BOTH:
            return reference.maps_unit if self.block == "maps" else reference.spectra_unit
        return 1 / jnp.sqrt(reference.mean) if self.form == "l1" else 1 / reference.mean

    def _entries(self, factors: Bilinear) -> int:
        pixels, channels = factors.maps_t.shape[1], factors.spectra.shape[1]
        return {"maps": pixels, "spectra": channels, BOTH: pixels + channels}[self.block]

    def _shape(self, factors: Bilinear) -> Any:
        if self.shape is not None:
            return self.shape
        return jnp.log(float(factors.maps_t.shape[1] + factors.spectra.shape[1]))

    def _count(self, factors: Bilinear) -> Any:
        entries = self._entries(factors)
        return (entries if self.form == "l1" else entries / 2) + self._shape(factors) + 1

    def _scale(self, factors: Bilinear) -> Any:
        if self.scale is not None:
            return self.scale
        shape, rank = self._shape(factors), factors.rank
        if self.form == "l2":
            return jnp.pi / 2 * (shape - 1) / (rank if self.block == BOTH else rank**2)
        return jnp.sqrt((shape - 1) * (shape - 2) / rank) if self.block == BOTH else (shape - 1) / rank

    def _dispersion(self, reference: Reference) -> Any:
        return reference.dispersion if self.noise_variance is None else self.noise_variance
