r"""Mixtures of normal distributions, fitted to a cloud of points by expectation and maximisation, to propose from.

The covariance of each component is drawn towards the pooled one as by `PRIOR` further points,

    C_k = (S_k + nu W) / (n_k + nu),        W = sum_k S_k / n,

so that a component with few points keeps a volume; see C. Fraley and A. E. Raftery, J. Classif. 24 (2007) 155. To each
fit a standard normal component is added: what a proposal cannot reach it cannot leave either.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import gammaln, logsumexp
from jaxtyping import Array, Float

from .linalg import cholesky

STEPS, PRIOR, STANDARD = 15, 1.0, 0.05
# Variances below these shares of that of the whole cloud are lifted to it; a cloud without any extent still has one.
LEAST_SHARE, LEAST = 1e-8, 1e-12


class Mixture(NamedTuple):
    """Components of a mixture in `size` dimensions, the last of them the standard normal.

    Attributes:
        log_weight: (components,).
        mean: (components, size).
        factor: (components, size, size), lower triangular, factor @ factor' being the covariance.
        inverse: (components, size, size), of the factor.
    """

    log_weight: Float[Array, "*groups components"]
    mean: Float[Array, "*groups components size"]
    factor: Float[Array, "*groups components size size"]
    inverse: Float[Array, "*groups components size size"]

    def log_density(self, x: Float[Array, "points size"]) -> Float[Array, " points"]:
        """Up to a constant."""
        return logsumexp(self.log_weight + _log_normal(x, self.mean, self.inverse), axis=1)

    def log_density_of_t(self, x: Float[Array, "points size"], freedom: float | int) -> Float[Array, " points"]:
        """That of t distributions of these means and factors, normalised.

        `draw` gives theirs when its normal numbers are divided by the root of chi-squared ones over the freedom.
        """
        size = x.shape[1]
        log_root, square = _whitened(x, self.mean, self.inverse)
        constant = gammaln((freedom + size) / 2) - gammaln(freedom / 2) - size / 2 * jnp.log(freedom * jnp.pi)
        each = log_root - (freedom + size) / 2 * jnp.log1p(square / freedom) + constant
        return logsumexp(jax.nn.log_softmax(self.log_weight) + each, axis=1)

    def draw(self, uniform: Float[Array, " points"], normal: Float[Array, "points size"]) -> Array:
        """Draws, (points, size), made of uniform and of standard normal random numbers."""
        below = jnp.cumsum(jax.nn.softmax(self.log_weight))[:-1]
        which = jnp.sum(uniform[:, None] > below, axis=1)
        return self.mean[which] + jnp.einsum("pij,pj->pi", self.factor[which], normal)


def standard(components: int, size: int, dtype: jnp.dtype) -> Mixture:
    """Every component the standard normal."""
    eye = jnp.broadcast_to(jnp.eye(size, dtype=dtype), (components + 1, size, size))
    return Mixture(jnp.zeros(components + 1, dtype), jnp.zeros((components + 1, size), dtype), eye, eye)


def fit(x: Float[Array, "points size"], components: int, prior: float = PRIOR) -> Mixture:
    """The mixture of so many components, and the standard normal; `prior` is the nu of the covariances.

    It begins from points drawn far from each other (D. Arthur and S. Vassilvitskii, SODA 2007), and is the same
    whenever the points are.
    """
    size = x.shape[1]
    variance = jnp.var(x, axis=0)
    least = LEAST_SHARE * variance + LEAST
    apart = _distances(x, _seeds(x / jnp.sqrt(variance + LEAST), components), variance + LEAST)
    shares = jax.nn.one_hot(jnp.argmin(apart, axis=1), components, dtype=x.dtype)

    def step(_: int | Array, shares: Array) -> Array:
        log_weight, mean, _, inverse = _maximised(x, shares, least, prior)
        return jax.nn.softmax(log_weight + _log_normal(x, mean, inverse), axis=1)

    found = _maximised(x, lax.fori_loop(0, STEPS, step, shares), least, prior)
    found = found._replace(log_weight=found.log_weight + math.log1p(-STANDARD))
    rest = standard(0, size, x.dtype)
    rest = rest._replace(log_weight=rest.log_weight + math.log(STANDARD))
    return jax.tree.map(lambda *both: jnp.concatenate(both), found, rest)


def _seeds(scaled: Array, components: int) -> Array:
    """Indices of points, each drawn by its squared distance to the nearest of those before."""
    key = jax.random.key(0)

    def draw(i: int | Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        nearest, index = carry
        pick = jax.random.categorical(jax.random.fold_in(key, i), jnp.log(nearest + LEAST))
        apart = jnp.sum((scaled - scaled[pick]) ** 2, axis=1)
        return jnp.minimum(nearest, apart), index.at[i].set(pick)

    far = jnp.full(len(scaled), jnp.finfo(scaled.dtype).max / 2, scaled.dtype)
    return lax.fori_loop(0, components, draw, (far, jnp.zeros(components, int)))[1]


def _distances(x: Array, index: Array, variance: Array) -> Array:
    return jnp.sum((x[:, None] - x[index]) ** 2 / variance, axis=2)


def _maximised(x: Array, shares: Array, least: Array, prior: float) -> Mixture:
    number = jnp.sum(shares, axis=0)
    mean = (shares.T @ x) / (number + LEAST)[:, None]
    from_mean = x[:, None] - mean
    scatter = jnp.einsum("pk,pki,pkj->kij", shares, from_mean, from_mean)
    pooled = jnp.sum(scatter, axis=0) / len(x)
    covariance = (scatter + prior * pooled) / (number + prior)[:, None, None] + jnp.diag(least)
    identity = jnp.broadcast_to(jnp.eye(x.shape[1], dtype=x.dtype), covariance.shape)
    factor, rows = cholesky(jnp.moveaxis(covariance, 0, -1), identity)
    weight = jnp.log((number + 1) / (len(x) + shares.shape[1]))
    return Mixture(weight, mean, jnp.moveaxis(factor, -1, 0), jnp.transpose(rows, (2, 1, 0)))


def _log_normal(x: Array, mean: Array, inverse: Array) -> Array:
    log_root, square = _whitened(x, mean, inverse)
    return log_root - 0.5 * square


def _whitened(x: Array, mean: Array, inverse: Array) -> tuple[Array, Array]:
    """Of each component the logarithm of the root of its precision, and the squared distances to it."""
    whitened = jnp.einsum("kij,pkj->pki", inverse, x[:, None] - mean)
    return jnp.sum(jnp.log(jnp.diagonal(inverse, axis1=1, axis2=2)), axis=1), jnp.sum(whitened**2, axis=2)
