"""What every start shares."""

import abc
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from ...matrix.base import matmul
from ..model import Bilinear
from ..problem import Problem

Live = int | Int[Array, ""]
# The subspace that a start looks into is the same for all restarts, whatever their keys.
SUBSPACE_SEED = 0


class AbstractInitial(eqx.Module):
    """Makes the first factors: `(problem, rank, key) -> Bilinear`, pure and jittable."""

    # The name on the command line; None where it is not offered there.
    command: ClassVar[str | None] = None

    # Whether the values and the places of components are given, not found.
    is_given: ClassVar[bool] = False

    @abc.abstractmethod
    def is_random(self, rank: int) -> bool:
        """Whether another key gives another start."""

    @abc.abstractmethod
    def __call__(self, problem: Problem, rank: int, key: Key[Array, ""]) -> Bilinear:
        """The factors to start from."""

    def check(self, problem: Problem, rank: int) -> None:
        """Refuse a problem or a number of components that the start does not fit.

        Raises:
            ValueError: naming the block and its shape.
        """


class AbstractPadded(AbstractInitial):
    """A start that can leave its last components at zero, so that one program serves many ranks."""

    @abc.abstractmethod
    def padded(self, problem: Problem, rank: int, key: Key[Array, ""], live: Live) -> Bilinear:
        """The start at `live` components, filled up to `rank` with zeros."""

    def __call__(self, problem: Problem, rank: int, key: Key[Array, ""]) -> Bilinear:
        return self.padded(problem, rank, key, rank)


def choose_pixels(key: Key[Array, ""], pixels: int, count: int) -> Int[Array, " some"]:
    """`count` pixels at random, one from each of as many runs of neighbours; all where there are no more."""
    if pixels <= count:
        return jnp.arange(pixels)
    edges = np.linspace(0, pixels, count + 1).astype(int)
    return jnp.asarray(edges[:-1]) + jax.random.randint(key, (count,), 0, jnp.asarray(np.diff(edges)))


def keep_first(rows: Float[Array, "components length"], live: Live) -> Float[Array, "components length"]:
    """The rows with all but the first `live` at zero."""
    return (
        rows
        if isinstance(live, int) and live == len(rows)
        else jnp.where(jnp.arange(len(rows))[:, None] < live, rows, 0)
    )


def floor_rows(rows: Float[Array, "components length"], nonnegative: bool) -> Float[Array, "components length"]:
    """Clipped just above zero where a block may not be negative: no entry is left for good by multiplication."""
    return jnp.maximum(rows, 1e-3 * jnp.mean(jnp.abs(rows))) if nonnegative else rows


def to_profiles(problem: Problem, spectra: Float[Array, "components channels"]) -> Float[Array, "components features"]:
    """Spectra as what the problem fits: themselves, or their least-squares coefficients."""
    if problem.basis is None:
        return spectra

    def fitted(row, basis):
        return solve_least_squares(matmul(basis, basis.T), matmul(basis, row[:, None]))[:, 0]

    profiles = jax.vmap(fitted, (0, None if problem.basis.ndim == 2 else 0))(spectra, problem.basis)
    if problem.constraints.is_nonnegative("coefficients"):
        profiles = jnp.maximum(profiles, 1e-3 * jnp.mean(jnp.abs(profiles), axis=0))
    return profiles


def solve_least_squares(
    gram: Float[Array, "rows rows"], cross: Float[Array, "rows columns"]
) -> Float[Array, "rows columns"]:
    """Gram^+ cross, with directions below the rounding left out."""
    values, vectors = jnp.linalg.eigh(gram)
    keep = values > jnp.finfo(gram.dtype).eps * gram.shape[0] * values[-1]
    inverse = jnp.where(keep, 1 / jnp.where(keep, values, 1), 0)
    return matmul(vectors * inverse, matmul(vectors.T, cross))
