"""Jumps between modes: proposals drawn from a mixture of normals fitted to the cloud of each temperature.

Local moves carry no point between separate modes. Where a mode's share of the mass is small at the temperature where
it splits off, and large further down, neither particles nor replicas weigh the modes rightly unless there are very
many of them. A jump restores the weights at every temperature where the fit knows both modes.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Key

from ..path import Density, PerPoint, Points, choose
from .adaptation import factored
from .base import Explorer, Info
from .hmc import HMC

# A fit looks at this many points of a cloud, and takes this many steps.
FITTED = 1024
EM_STEPS = 12
# Each component keeps this share of the proposals.
LEAST_SHARE = 1e-3
LOG_2PI = 1.8378770664093453


class Mixture(NamedTuple):
    """A mixture of normals for each temperature.

    Attributes:
        log_weight: (groups, components).
        mean: (groups, components, size).
        factor: (groups, components, size, size), the lower triangular factors of the covariances.
        inverse: (groups, components, size, size), the inverses of the factors.
    """

    log_weight: Float[Array, "groups components"]
    mean: Float[Array, "groups components size"]
    factor: Float[Array, "groups components size size"]
    inverse: Float[Array, "groups components size size"]


class JumpSettings(NamedTuple):
    """The settings of the local explorer, and the mixtures to jump by."""

    local: Any
    mixture: Mixture


class Jumps(Explorer):
    """A local explorer, then independence proposals from a mixture m: accepted with min(1, q(z') m(z) / q(z) m(z')).

    The mixture is fitted by expectation maximisation to the cloud that `tune` is given without `info`, and stays as
    it is otherwise. In a single mode that is nearly normal, jumps are nearly independent draws.

    Args:
        local: the moves within a mode.
        components: of each mixture.
        jumps: proposals in each sweep.
    """

    local: Explorer = HMC()
    components: int = eqx.field(static=True, default=6)
    jumps: int = eqx.field(static=True, default=2)

    def init(self, density: Density, groups: int) -> JumpSettings:
        size, dtype = density.size, jnp.result_type(float)
        log_weight = jnp.full((groups, self.components), -jnp.log(self.components), dtype)
        factor = jnp.broadcast_to(jnp.eye(size, dtype=dtype), (groups, self.components, size, size))
        mean = jnp.zeros((groups, self.components, size), dtype)
        return JumpSettings(self.local.init(density, groups), Mixture(log_weight, mean, factor, factor))

    def sweep(
        self, key: Key[Array, ""], density: Density, z: Points, terms: Any, beta: PerPoint, settings: JumpSettings
    ) -> tuple[Points, Any, Info]:
        keys = jax.random.split(key, 3)
        z, terms, info = self.local.sweep(keys[0], density, z, terms, beta, settings.local)
        proposals = _draw(keys[1], settings.mixture, self.jumps, len(z))
        threshold = jnp.log(jax.random.uniform(keys[2], (self.jumps, len(z)), z.dtype))

        def jump(carry, draws):
            z, terms, weight = carry
            proposed, threshold = draws
            reached = density.evaluate(proposed)
            new = density.log_density(reached, beta) - log_mixture(settings.mixture, proposed)
            moved = threshold < new - weight
            carry = jnp.where(moved[:, None], proposed, z), choose(moved, reached, terms), jnp.where(moved, new, weight)
            return carry, None

        weight = density.log_density(terms, beta) - log_mixture(settings.mixture, z)
        (z, terms, _), _ = lax.scan(jump, (z, terms, weight), (proposals, threshold))
        return z, terms, info

    def tune(self, settings: JumpSettings, z: Points, info: Info | None, memory: float | Array = 0.0) -> JumpSettings:
        local = self.local.tune(settings.local, z, info, memory)
        groups = len(settings.mixture.mean)
        if info is not None:
            return JumpSettings(local, settings.mixture)
        cloud = z.reshape(groups, -1, z.shape[-1])
        cloud = cloud[:, :: max(1, cloud.shape[1] // FITTED)]
        return JumpSettings(local, jax.vmap(lambda points: _fit(points, self.components))(cloud))


def log_mixture(mixture: Mixture, z: Points) -> PerPoint:
    """The logarithm of the mixture's density at points that lie group after group."""
    groups = len(mixture.mean)
    cloud = z.reshape(groups, -1, z.shape[-1])
    return logsumexp(jax.vmap(_log_parts)(mixture, cloud), axis=-1).reshape(-1)


def _log_parts(mixture: Mixture, points: Points) -> Float[Array, "points components"]:
    def one(log_weight, mean, factor, inverse):
        white = inverse @ points.T - (inverse @ mean)[:, None]
        size = jnp.sum(jnp.log(jnp.diagonal(factor))) + points.shape[1] * LOG_2PI / 2
        return log_weight - size - jnp.sum(white**2, 0) / 2

    return jax.vmap(one, out_axes=-1)(*mixture)


def _draw(key: Key[Array, ""], mixture: Mixture, draws: int, points: int) -> Float[Array, "draws points size"]:
    groups, components, size = mixture.mean.shape
    keys = jax.random.split(key)
    normal = jax.random.normal(keys[0], (draws, groups, points // groups, size), mixture.mean.dtype)
    uniform = jax.random.uniform(keys[1], (draws, groups, points // groups, 1), normal.dtype)
    share = jnp.cumsum(jnp.exp(mixture.log_weight), 1)[:, None, :-1]
    which = jnp.sum(uniform > share, -1)
    chosen = jax.nn.one_hot(which, components, dtype=normal.dtype)
    each = jnp.einsum("gkij,dgwj->dgwki", mixture.factor, normal) + mixture.mean[:, None]
    return jnp.einsum("dgwk,dgwki->dgwi", chosen, each).reshape(draws, points, size)


def _fit(points: Points, components: int) -> Mixture:
    """Expectation maximisation from centres drawn by squared distance (k-means++)."""
    scale = jnp.std(points, 0) + jnp.finfo(points.dtype).tiny
    white = (points - jnp.mean(points, 0)) / scale
    centres = _spread(white, components)
    distance = jnp.sum((white[:, None] - centres) ** 2, -1)
    share = jax.nn.one_hot(jnp.argmin(distance, 1), components, dtype=points.dtype)
    mixture = lax.fori_loop(0, EM_STEPS, lambda _, m: _maximise(white, _shares(m, white)), _maximise(white, share))
    mean = jnp.mean(points, 0) + scale * mixture.mean
    return Mixture(mixture.log_weight, mean, scale[:, None] * mixture.factor, mixture.inverse / scale)


def _spread(white: Points, components: int) -> Float[Array, "components size"]:
    uniform = jax.random.uniform(jax.random.key(0), (components,), white.dtype)
    centres = jnp.zeros((components, white.shape[1]), white.dtype)
    nearest = jnp.ones(len(white), white.dtype)

    def pick(k, carry):
        centres, nearest = carry
        share = jnp.cumsum(nearest)
        chosen = white[jnp.minimum(jnp.sum(share < uniform[k] * share[-1]), len(white) - 1)]
        away = jnp.sum((white - chosen) ** 2, 1)
        return centres.at[k].set(chosen), jnp.where(k == 0, away, jnp.minimum(nearest, away))

    return lax.fori_loop(0, components, pick, (centres, nearest))[0]


def _shares(mixture: Mixture, points: Points) -> Float[Array, "points components"]:
    return jax.nn.softmax(_log_parts(mixture, points), axis=1)


def _maximise(points: Points, share: Float[Array, "points components"]) -> Mixture:
    """The weights, means and covariances of points shared between components; an empty one takes the whole cloud."""
    size = points.shape[1]
    count = jnp.sum(share, 0)
    kept = (share / jnp.maximum(count, 1e-6)).T
    mean = kept @ points
    covariance = jax.vmap(lambda kept, mean: ((points - mean) * kept[:, None]).T @ (points - mean))(kept, mean)
    few = count < 2
    covariance = jnp.where(few[:, None, None], jnp.cov(points, rowvar=False).reshape(size, size), covariance)
    weight = count / jnp.sum(count) + LEAST_SHARE
    factor = factored(covariance, jnp.maximum(count, 1))
    return Mixture(jnp.log(weight / jnp.sum(weight)), mean, factor, jax.vmap(_invert)(factor))


def _invert(factor: Float[Array, "size size"]) -> Float[Array, "size size"]:
    """The inverse of a lower triangular matrix, row by row: a hundred times faster in batches than LAPACK's calls."""
    eye = jnp.eye(len(factor), dtype=factor.dtype)
    return lax.fori_loop(0, len(factor), lambda i, x: x.at[i].set((eye[i] - factor[i] @ x) / factor[i, i]), 0 * eye)
