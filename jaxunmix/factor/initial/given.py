"""Known factors."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from ..._util.validation import check_instance, real_array
from ...matrix.base import TINY, accurate_sum, matmul
from ..model import Bilinear
from ..problem import Problem
from .base import AbstractInitial, to_profiles
from .random import Random


class Given(AbstractInitial):
    """Known factors; what is not given is drawn by `rest`.

    Args:
        maps: (pixels, K) or None.
        spectra: (K, channels) or None. With fewer rows than the rank, these are the first components.
        coefficients: (K, features) in place of the spectra, for a problem with a basis.
        rest: start of the blocks and components that are not given.

    Raises:
        ValueError: shapes that do not fit the data or the rank; entries that are not finite, or negative where
            the problem forbids it.
    """

    maps: Float[np.ndarray, "pixels components"] | None
    spectra: Float[np.ndarray, "components channels"] | None
    coefficients: Float[np.ndarray, "components features"] | None
    rest: AbstractInitial
    is_given = True

    def __init__(
        self,
        maps: Any = None,
        spectra: Any = None,
        coefficients: Any = None,
        rest: AbstractInitial | None = None,
    ):
        if maps is None and spectra is None and coefficients is None:
            raise ValueError("Given: give maps, spectra or coefficients.")
        if spectra is not None and coefficients is not None:
            raise ValueError("Given: give spectra or coefficients, not both.")
        check_instance(rest, (AbstractInitial, type(None)), "Given: rest", "initial.Random()")
        self.maps, self.spectra, self.coefficients = (_as_block(b) for b in (maps, spectra, coefficients))
        self.rest = Random() if rest is None else rest

    def is_random(self, rank: int) -> bool:
        maps = 0 if self.maps is None else self.maps.shape[1]
        return self.rest.is_random(rank) and min(maps, 0 if self._second is None else len(self._second)) < rank

    def check(self, problem: Problem, rank: int) -> None:
        """Refuse blocks that do not fit (see the class)."""
        pixels, channels = problem.matrix.shape
        if self.coefficients is not None and problem.basis is None:
            raise ValueError("Given: coefficients ask for a problem with a basis; give spectra.")
        second, columns = ("spectra", channels) if self.coefficients is None else ("coefficients", problem.features)
        blocks = (("maps", None if self.maps is None else self.maps.T, pixels), (second, self._second, columns))
        for name, rows, length in blocks:
            if rows is None:
                continue
            if rows.shape[1] != length or rows.shape[0] > rank:
                orientation = f"({length}, K)" if name == "maps" else f"(K, {length})"
                raise ValueError(
                    f"Given: {name} must be {orientation} with K <= {rank}; transposed, it is {rows.shape}."
                )
            signed = problem.profile_block if name == "spectra" else name
            nonnegative = problem.constraints.is_nonnegative(signed)
            if nonnegative and rows.min() < 0:
                raise ValueError(
                    f"Given: {name} hold negative values (min {rows.min():.4g}), which the problem forbids."
                )

    def __call__(self, problem: Problem, rank: int, key: Key[Array, ""]) -> Bilinear:
        maps = None if self.maps is None else jnp.asarray(self.maps.T, problem.matrix.dtype)
        profiles = None
        if self._second is not None:
            profiles = jnp.asarray(self._second, problem.matrix.dtype)
            profiles = to_profiles(problem, profiles) if self.coefficients is None else profiles
        if maps is not None and profiles is not None and len(maps) == len(profiles) == rank:
            return Bilinear(maps, profiles)
        drawn = self.rest(problem, rank, key)
        profiles = drawn.profiles if profiles is None else drawn.profiles.at[: len(profiles)].set(profiles)
        if maps is not None:
            return Bilinear(drawn.maps_t.at[: len(maps)].set(maps), profiles)
        # The drawn maps fit the drawn spectra's scale: bring the model back to the data's norm.
        maps = drawn.maps_t
        spectra = problem.spectra(Bilinear(maps, profiles))
        norm = jnp.sum(matmul(maps, maps.T) * matmul(spectra, spectra.T))
        return Bilinear(maps * jnp.sqrt(accurate_sum(problem.matrix.squares) / jnp.maximum(norm, TINY)), profiles)

    @property
    def _second(self) -> np.ndarray | Array | None:
        return self.spectra if self.coefficients is None else self.coefficients


def _as_block(block: Any) -> np.ndarray | None:
    if block is None:
        return None
    block = real_array(block, "Given: a block")
    if block.ndim != 2 or not block.size or block.dtype.kind not in "iuf" or not np.isfinite(block).all():
        raise ValueError(f"Given: each block must be a two-dimensional array of finite numbers, got {block.shape}.")
    return block.astype(np.result_type(block.dtype, np.float32))
