r"""Mixtures of normal distributions, fitted to a cloud of points by expectation and maximisation, to propose from.

A component with few points must keep a volume. Its covariance is drawn towards the pooled one as by nu further points,

    C_k = (S_k + nu W) / (n_k + nu),        W = sum_k S_k / n

(C. Fraley and A. E. Raftery, J. Classif. 24 (2007) 155), or towards its own diagonal: then components of far different
widths keep theirs, which those of rare and narrow modes would lose to the pooled one. Where points are normal scores a
standard normal component is added to each fit: what a proposal cannot reach it cannot leave either.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import gammaln, logsumexp
from jaxtyping import Array, Float

from .linalg import cholesky, factor_covariances, invert_triangular

STEPS, PRIOR, STANDARD = 15, 1.0, 0.05
# Variances below these shares of that of the whole cloud are lifted to it; a cloud without any extent still has one.
LEAST_SHARE, LEAST = 1e-8, 1e-12


class Mixture(NamedTuple):
    """Components of a mixture in `size` dimensions.

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
        """The logarithm of the density, up to a constant."""
        return logsumexp(self.log_weight + _log_normal(x, self.mean, self.inverse), axis=1)

    def log_density_of_t(self, x: Float[Array, "points size"], freedom: float | int) -> Float[Array, " points"]:
        """The logarithm of the density of t distributions of these means and factors, normalised.

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
        # Of all components, as the factor of each point would take much more memory where there are many dimensions.
        each = self.mean + jnp.einsum("kij,pj->pki", self.factor, normal)
        return jnp.take_along_axis(each, which[:, None, None], axis=1)[:, 0]


def standard_mixture(components: int, size: int, dtype: jnp.dtype) -> Mixture:
    """Every component the standard normal."""
    eye = jnp.broadcast_to(jnp.eye(size, dtype=dtype), (components, size, size))
    return Mixture(jnp.zeros(components, dtype), jnp.zeros((components, size), dtype), eye, eye)


def fit_mixture(
    x: Float[Array, "points size"],
    components: int,
    *,
    prior: float | None = PRIOR,
    standard_share: float = STANDARD,
) -> Mixture:
    """The mixture of so many components that is fitted to points.

    It begins from points drawn far from each other (k-means++; D. Arthur and S. Vassilvitskii, SODA 2007), and is the
    same whenever the points are.

    Args:
        x: the points.
        components: how many to fit.
        prior: nu, the points by which covariances are drawn to the pooled one; None to draw them to their diagonals.
        standard_share: the share of a further component, the standard normal; 0 for none.
    """
    variance = jnp.var(x, axis=0)
    apart = _distances(x, _seeds(x / jnp.sqrt(variance + LEAST), components), variance + LEAST)
    shares = jax.nn.one_hot(jnp.argmin(apart, axis=1), components, dtype=x.dtype)

    def step(_: int | Array, shares: Array) -> Array:
        log_weight, mean, _, inverse = _maximised(x, shares, prior)
        return jax.nn.softmax(log_weight + _log_normal(x, mean, inverse), axis=1)

    found = _maximised(x, lax.fori_loop(0, STEPS, step, shares), prior)
    if not standard_share:
        return found
    found = found._replace(log_weight=found.log_weight + math.log1p(-standard_share))
    rest = standard_mixture(1, x.shape[1], x.dtype)
    rest = rest._replace(log_weight=rest.log_weight + math.log(standard_share))
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


def _maximised(x: Array, shares: Array, prior: float | None) -> Mixture:
    number = jnp.sum(shares, axis=0)
    mean = (shares.T @ x) / (number + LEAST)[:, None]
    from_mean = x[:, None] - mean
    scatter = jnp.einsum("pk,pki,pkj->kij", shares, from_mean, from_mean)
    factors = _towards_diagonals(x, number, scatter) if prior is None else _towards_pooled(x, number, scatter, prior)
    return Mixture(jnp.log((number + 1) / (len(x) + shares.shape[1])), mean, *factors)


def _towards_pooled(x: Array, number: Array, scatter: Array, prior: float) -> tuple[Array, Array]:
    """Factors of the covariances, drawn to the pooled one, and their inverses."""
    least = LEAST_SHARE * jnp.var(x, axis=0) + LEAST
    pooled = jnp.sum(scatter, axis=0) / len(x)
    covariance = (scatter + prior * pooled) / (number + prior)[:, None, None] + jnp.diag(least)
    identity = jnp.broadcast_to(jnp.eye(x.shape[1], dtype=x.dtype), covariance.shape)
    factor, rows = cholesky(jnp.moveaxis(covariance, 0, -1), identity)
    return jnp.moveaxis(factor, -1, 0), jnp.transpose(rows, (2, 1, 0))


def _towards_diagonals(x: Array, number: Array, scatter: Array) -> tuple[Array, Array]:
    """Factors of the covariances, drawn to their diagonals, and their inverses; an empty one is that of all points."""
    whole = jnp.cov(x, rowvar=False).reshape(scatter.shape[1:])
    covariance = jnp.where(number[:, None, None] < 2, whole, scatter / jnp.maximum(number, 1)[:, None, None])
    factor = factor_covariances(covariance, jnp.maximum(number, 1))
    return factor, jax.vmap(invert_triangular)(factor)


def _log_normal(x: Array, mean: Array, inverse: Array) -> Array:
    log_root, square = _whitened(x, mean, inverse)
    return log_root - 0.5 * square


def _whitened(x: Array, mean: Array, inverse: Array) -> tuple[Array, Array]:
    """Of each component the logarithm of the root of its precision, and the squared distances to it."""
    whitened = jnp.einsum("kij,pkj->pki", inverse, x[:, None] - mean)
    return jnp.sum(jnp.log(jnp.diagonal(inverse, axis1=1, axis2=2)), axis=1), jnp.sum(whitened**2, axis=2)
