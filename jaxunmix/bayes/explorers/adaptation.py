"""Step sizes and covariances that explorers learn from their points."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..path import Density, Points
from .base import Info
from .linalg import factor_covariances

PerGroup = Float[Array, " groups"]


class LocalSettings(NamedTuple):
    """What moves within a mode have learned of each temperature: their step, and the shape of the cloud.

    Attributes:
        log_step: (groups,).
        weight: (groups,), the points that the moments stand for.
        mean: (groups, size).
        covariance: (groups, size, size).
        factor: (groups, size, size), lower triangular, factor @ factor' being the covariance, shrunk to its diagonal.
    """

    log_step: PerGroup
    weight: PerGroup
    mean: Float[Array, "groups size"]
    covariance: Float[Array, "groups size size"]
    factor: Float[Array, "groups size size"]


def blank(density: Density, groups: int, step: float) -> LocalSettings:
    """Settings before anything is known: no whitening, and this step."""
    size, dtype = density.size, jnp.result_type(float)
    eye = jnp.broadcast_to(jnp.eye(size, dtype=dtype), (groups, size, size))
    log_step = jnp.full(groups, jnp.log(step), dtype)
    return LocalSettings(log_step, jnp.zeros(groups, dtype), jnp.zeros((groups, size), dtype), eye, eye)


def learn(settings: LocalSettings, z: Points, info: Info | None, memory: float | Array) -> LocalSettings:
    """The step steered by the sweep's signal, the moments brought up to date with the cloud.

    The covariance S of n points in d dimensions is shrunk to its diagonal by (d / (n + d))^2, so that it can always be
    factored. The step's gain grows with the square root of the walkers, up to 1.
    """
    groups, size = settings.mean.shape
    cloud = z.reshape(groups, -1, size)
    walkers = cloud.shape[1]
    kept = memory * settings.weight
    share = walkers / (kept + walkers)
    mean = jnp.mean(cloud, 1)
    about = cloud - mean[:, None]
    covariance = jnp.einsum("gwi,gwj->gij", about, about) / walkers
    shift = mean - settings.mean
    between = (share * (1 - share))[:, None, None] * shift[:, :, None] * shift[:, None, :]
    covariance = between + settings.covariance + share[:, None, None] * (covariance - settings.covariance)
    mean = settings.mean + share[:, None] * shift
    log_step = settings.log_step
    if info is not None:
        signal = jnp.mean(info.signal.reshape(groups, -1), 1)
        log_step = jnp.clip(log_step + min(1.0, walkers**0.5 / 8) * signal, -20.0, 3.0)
    count = kept + walkers
    return LocalSettings(log_step, count, mean, covariance, factor_covariances(covariance, count))
