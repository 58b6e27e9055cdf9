"""Uniform or normal entries."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ...matrix.base import TINY, accurate_sum, matmul
from ..model import Bilinear
from ..problem import Problem
from .base import AbstractPadded, Live, keep_first


class Random(AbstractPadded):
    """Uniform entries (normal where a block may be negative), scaled so that the model has the data's norm."""

    command = "random"

    def is_random(self, rank: int) -> bool:
        return True

    def padded(self, problem: Problem, rank: int, key: Key[Array, ""], live: Live) -> Bilinear:
        maps_key, profiles_key = jax.random.split(key)
        matrix, constraints = problem.matrix, problem.constraints
        maps = _draw(maps_key, (rank, matrix.shape[0]), constraints.is_nonnegative("maps"), matrix.dtype)
        nonnegative = constraints.is_nonnegative(problem.profile_block)
        profiles = _draw(profiles_key, (rank, problem.features), nonnegative, matrix.dtype)
        if problem.basis is not None:
            profiles = profiles / jnp.linalg.norm(problem.basis, axis=-1)
        maps, profiles = keep_first(maps, live), keep_first(profiles, live)
        spectra = problem.spectra(Bilinear(maps, profiles))
        norm = jnp.sum(matmul(maps, maps.T) * matmul(spectra, spectra.T))
        scale = (accurate_sum(matrix.squares) / jnp.maximum(norm, TINY)) ** 0.25
        return Bilinear(maps * scale, profiles * scale)


def _draw(key: Key[Array, ""], shape: tuple[int, int], nonnegative: bool, dtype: Any) -> Float[Array, "rows columns"]:
    if nonnegative:
        return jax.random.uniform(key, shape, dtype, minval=1e-3)
    return jax.random.normal(key, shape, dtype)
