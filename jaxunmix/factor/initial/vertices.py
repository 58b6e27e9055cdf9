"""Vertex component analysis: the purest pixels of the data."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ..._util.validation import check_instance, check_key, check_whole_number
from ...matrix.base import TINY, AbstractMatrix, accurate_sum, matmul
from ...matrix.compressed import leading_svd
from ..model import Bilinear
from ..problem import Problem
from .base import AbstractInitial, floor_rows, solve_least_squares, to_profiles


class VCA(AbstractInitial):
    """Spectra of the purest pixels by vertex component analysis, maps by clipped least squares.

    Nascimento and Dias, IEEE Trans. Geosci. Remote Sens. 43 (2005) 898: the data are projected onto their leading
    directions (principal components at low signal-to-noise, perspective projection at high), then the pixel
    farthest along a random direction orthogonal to the vertices found so far is taken, K times.

    Fit it with `Fixed("spectra")` for the classical VCA + non-negative least squares.
    """

    command = "vca"

    def is_random(self, rank: int) -> bool:
        return True

    def __call__(self, problem: Problem, rank: int, key: Key[Array, ""]) -> Bilinear:
        spectra = vca(problem.matrix, rank, key)
        if problem.constraints.is_nonnegative(problem.profile_block):
            spectra = jnp.maximum(spectra, 0)
        profiles = to_profiles(problem, spectra)
        spectra = problem.spectra(Bilinear(jnp.zeros((rank, 1)), profiles))
        maps = solve_least_squares(matmul(spectra, spectra.T), problem.matrix.onto_spectra(spectra))
        return Bilinear(floor_rows(maps, problem.constraints.is_nonnegative("maps")), profiles)


# The subspace that a start looks into is the same for all restarts, whatever their keys.
SUBSPACE_SEED = 0


def vca(matrix: AbstractMatrix, rank: int, key: Key[Array, ""]) -> Float[Array, "components channels"]:
    """The spectra of the purest pixels; see `initial.VCA`. They may dip below zero with the noise."""
    check_instance(matrix, AbstractMatrix, "vca: matrix", "Dense(X)")
    check_key(key)
    pixels, channels = matrix.shape
    check_whole_number(rank, "vca: rank", 1, min(pixels, channels))
    if rank == 1:
        return matrix.channel_sums[None] / pixels  # one component has no corners to look for
    u, s, v = leading_svd(matrix, min(rank + 5, pixels, channels), jax.random.key(SUBSPACE_SEED))
    x = u * s[:, None]
    mean = x.mean(axis=1, keepdims=True)
    _, principal = jnp.linalg.eigh(matmul(x - mean, (x - mean).T) / pixels)
    principal = principal.T[::-1]
    scores = matmul(principal[:rank], x - mean)
    power = accurate_sum(matrix.squares) / pixels
    signal = accurate_sum(scores**2) / pixels + jnp.sum(mean**2)
    snr = 10 * jnp.log10(
        jnp.maximum(signal - rank / channels * power, TINY) / jnp.maximum(power - signal, TINY * power)
    )
    noisy = snr < 15 + 10 * jnp.log10(rank)

    few = scores[: rank - 1]
    reach = jnp.sqrt(jnp.max(jnp.sum(few**2, axis=0)))
    flat = jnp.concatenate([few, jnp.full((1, pixels), reach)])
    top = x[:rank]
    depth = matmul(top.mean(axis=1), top)
    lit = depth > 1e-6 * jnp.max(depth)
    perspective = jnp.where(lit, top / jnp.where(lit, depth, 1), 0)
    chosen = _vertices(jnp.where(noisy, flat, perspective), key)

    projected = matmul(principal[: rank - 1].T, few) + mean
    picked = jnp.where(noisy, projected[:, chosen], x.at[rank:].set(0)[:, chosen])
    return matmul(picked.T, v)


def _vertices(points: Float[Array, "components pixels"], key: Key[Array, ""]) -> Array:
    """The pixels at the corners of the simplex."""
    rank = points.shape[0]

    def pick(i, carry):
        vertices, chosen = carry
        direction = jax.random.uniform(jax.random.fold_in(key, i), (rank,), points.dtype)
        # Project twice: once leaves rounding along the vertices that are nearly parallel.
        for _ in range(2):
            direction = direction - matmul(vertices, matmul(jnp.linalg.pinv(vertices), direction))
            direction = direction / jnp.maximum(jnp.linalg.norm(direction), TINY)
        index = jnp.argmax(jnp.abs(matmul(direction, points)))
        return vertices.at[:, i].set(points[:, index]), chosen.at[i].set(index)

    start = jnp.zeros((rank, rank), points.dtype).at[-1, 0].set(1)
    return jax.lax.fori_loop(0, rank, pick, (start, jnp.zeros(rank, int)))[1]
