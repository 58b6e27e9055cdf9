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
from jaxtyping import Array, Float, Key

from ..._util.validation import check_instance, check_whole_number
from ..path import Density, PerPoint, Points, choose
from .base import Explorer, Info
from .hmc import HMC
from .mixture import Mixture, fit_mixture, standard_mixture

# A fit looks at this many points of a cloud.
FITTED = 1024


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

    def __check_init__(self) -> None:
        check_instance(self.local, Explorer, "Jumps: local", "HMC()")
        check_whole_number(self.components, "Jumps: components", 1)
        check_whole_number(self.jumps, "Jumps: jumps", 0)

    def init(self, density: Density, groups: int) -> JumpSettings:
        first = standard_mixture(self.components, density.size, jnp.result_type(float))
        mixture = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (groups, *leaf.shape)), first)
        return JumpSettings(self.local.init(density, groups), mixture)

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
    """The logarithm of the mixture's density, up to a constant, at points that lie group after group."""
    cloud = z.reshape(len(mixture.mean), -1, z.shape[-1])
    return jax.vmap(Mixture.log_density)(mixture, cloud).reshape(-1)


def _draw(key: Key[Array, ""], mixture: Mixture, draws: int, points: int) -> Float[Array, "draws points size"]:
    groups, _, size = mixture.mean.shape
    keys, each = jax.random.split(key), draws * points // groups
    uniform = jax.random.uniform(keys[0], (groups, each), mixture.mean.dtype)
    normal = jax.random.normal(keys[1], (groups, each, size), mixture.mean.dtype)
    found = jax.vmap(Mixture.draw)(mixture, uniform, normal).reshape(groups, draws, -1, size)
    return jnp.swapaxes(found, 0, 1).reshape(draws, points, size)


def _fit(points: Points, components: int) -> Mixture:
    """A mixture without the standard normal component, which has no meaning in these coordinates."""
    # Means of components without points, and the least variances, are those of scores.
    scale, centre = jnp.std(points, 0) + jnp.finfo(points.dtype).tiny, jnp.mean(points, 0)
    scores = fit_mixture((points - centre) / scale, components, prior=None, standard_share=0.0)
    mean, factor = centre + scale * scores.mean, scale[:, None] * scores.factor
    return Mixture(scores.log_weight, mean, factor, scores.inverse / scale)
