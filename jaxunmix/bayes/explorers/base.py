"""Markov moves within one temperature, for many points at many temperatures at once.

Points are flat, (points, size), and lie group after group: with `groups` temperatures and `walkers` points at each,
point g * walkers + w is walker w of group g. Settings (step sizes, whitening) have the groups as leading axis. Every
sweep leaves q_b of each point unchanged while its settings stay as they are; `tune` is for the warm-up.
"""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ..path import Density, PerPoint, Points


class Info(NamedTuple):
    """How a sweep of each point went.

    Attributes:
        acceptance: (points,), the mean acceptance probability (of `Slice`: the share of lines that moved the point).
        signal: (points,), what `tune` steers: positive where the step should grow.
    """

    acceptance: PerPoint
    signal: PerPoint


class Explorer(eqx.Module):
    """A Markov move for a batch of points at their temperatures."""

    @abc.abstractmethod
    def init(self, density: Density, groups: int) -> Any:
        """Settings to begin with: a pytree of arrays with leading axis `groups`."""

    @abc.abstractmethod
    def sweep(
        self, key: Key[Array, ""], density: Density, z: Points, terms: Any, beta: PerPoint, settings: Any
    ) -> tuple[Points, Any, Info]:
        """One sweep of every point: the points, `density.evaluate` of them, and how it went."""

    @abc.abstractmethod
    def tune(self, settings: Any, z: Points, info: Info | None, memory: float | Array = 0.0) -> Any:
        """Settings learned from the cloud of points z and, unless None, from the last sweep.

        `memory` is the weight of what was learned before: 0 takes the moments from this cloud alone.
        """


def _rotate(factor: Float[Array, "groups size size"], points: Points, transpose: bool = False) -> Points:
    """F p, or F' p, of each point with the factor of its group."""
    groups, size, _ = factor.shape
    equation = "gji,gwj->gwi" if transpose else "gij,gwj->gwi"
    rotated = jnp.einsum(equation, factor, points.reshape(groups, -1, size))
    return rotated.reshape(-1, size)


def _probability(change: PerPoint) -> PerPoint:
    """min(1, exp(change)), and 0 where it is not a number."""
    return jnp.where(jnp.isnan(change), 0.0, jnp.exp(jnp.minimum(change, 0)))
