"""Paths of densities from a prior to a posterior, and the split of a NumPyro model into the two.

A path is a family q_b(z) on flat points z, b >= 0. At b = 0 it is a normalised prior that can be drawn from; at b = 1
(or wherever a sampler stops) it is the posterior times its evidence, so that the evidence is

    Z(b) = integral of q_b(z) dz,        Z(0) = 1.

The common path is tempering, q_b(z) = p(z) L(z)^b. Samplers know nothing but `Density`, so another path, such as one
with parameters integrated out, needs only its own class.
"""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from .._util.validation import check_callable, check_whole_number

Points = Float[Array, "points size"]
PerPoint = Float[Array, " points"]


class TemperedTerms(NamedTuple):
    """What a tempered density needs to know of each point to give its value at any b.

    Attributes:
        prior: ln p, (points,).
        factor: the logarithm of prior factors that the prior's draws know nothing of, (points,).
        likelihood: ln L, (points,).
    """

    prior: PerPoint
    factor: PerPoint
    likelihood: PerPoint


class Density(eqx.Module):
    """A path of densities q_b from a normalised prior (b = 0) to a posterior, on flat points of `size` numbers.

    A subclass gives the four of them; each point is independent of the others.
    """

    size: eqx.AbstractVar[int]

    @abc.abstractmethod
    def sample(self, key: Key[Array, ""], points: int) -> Points:
        """Independent draws from q_0."""

    @abc.abstractmethod
    def evaluate(self, z: Points) -> Any:
        """All that `log_density` needs of the points: a pytree of arrays whose leading axis is points."""

    @abc.abstractmethod
    def log_density(self, terms: Any, beta: PerPoint) -> PerPoint:
        """The logarithm of q_b, cheaply for any b; at b = 0 the prior, also where the likelihood is zero."""

    def united(self, yes: Bool[Array, ""]) -> "Density":
        """The density whose moves need not keep points in the parts of the prior that they began in, if `yes`."""
        return self


class TemperedDensity(Density):
    """Tempering: q_b = p L^b (p f L^b where there are prior factors f), from `TemperedTerms`."""

    def log_density(self, terms: TemperedTerms, beta: PerPoint) -> PerPoint:
        """The sum ln p + ln f + b ln L; at b = 0 ln p alone."""
        # A likelihood of -inf has no place in a product with zero, nor its gradient.
        likelihood = jnp.where(beta > 0, terms.likelihood, 0)
        tempered = terms.prior + jnp.where(beta > 0, terms.factor, 0) + beta * likelihood
        return jnp.where(jnp.isnan(tempered), -jnp.inf, tempered)


class FunctionDensity(TemperedDensity):
    """A tempered density from plain functions of one point.

    Args:
        size: the numbers of a point.
        draw: key -> (size,), a draw from the prior.
        log_prior: (size,) -> scalar, normalised.
        log_likelihood: (size,) -> scalar.
    """

    size: int = eqx.field(static=True)
    draw: Callable
    log_prior: Callable
    log_likelihood: Callable

    def __check_init__(self) -> None:
        check_whole_number(self.size, "FunctionDensity: size", 1)
        for name in ("draw", "log_prior", "log_likelihood"):
            check_callable(getattr(self, name), f"FunctionDensity: {name}", "lambda z: -jnp.sum(z**2)")

    def sample(self, key: Key[Array, ""], points: int) -> Points:
        return jax.vmap(self.draw)(jax.random.split(key, points))

    def evaluate(self, z: Points) -> TemperedTerms:
        prior = jax.vmap(self.log_prior)(z)
        return TemperedTerms(prior, jnp.zeros_like(prior), jax.vmap(self.log_likelihood)(z))


def value_and_grad(density: Density, z: Points, beta: PerPoint) -> tuple[PerPoint, Points, Any]:
    """The logarithm of q_b at each point, its gradient, and the terms."""

    def total(z):
        terms = density.evaluate(z)
        values = density.log_density(terms, beta)
        return jnp.sum(values), (values, terms)

    (_, (values, terms)), gradient = jax.value_and_grad(total, has_aux=True)(z)
    return values, gradient, terms


def take(terms: Any, index: Array) -> Any:
    """The terms of some of the points."""
    return jax.tree.map(lambda leaf: leaf[index], terms)


def choose(mask: Array, new: Any, old: Any) -> Any:
    """Per point, the new terms where `mask`, else the old."""
    return jax.tree.map(lambda a, b: jnp.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, b), new, old)
