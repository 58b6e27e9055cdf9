"""Vertex component analysis: the purest pixels of the data."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ...._util.validation import check_instance, check_key, check_whole_number
from ....matrix.base import TINY, AbstractMatrix, accurate_sum, matmul
from .base import AbstractVertices, farthest, leading_points, lift


class VCA(AbstractVertices):
    """Spectra of the purest pixels by vertex component analysis, maps by clipped least squares.

    Nascimento and Dias, IEEE Trans. Geosci. Remote Sens. 43 (2005) 898: the data are projected onto their leading
    directions (principal components at low signal-to-noise, perspective projection at high), then the pixel
    farthest along a random direction orthogonal to the vertices found so far is taken, K times.

    Fit it with `Fixed("spectra")` for the classical VCA + non-negative least squares.

    Args:
        tries: keys, of which the one whose spectra leave the least residual with non-negative maps is kept.
    """

    command = "vca"

    tries: int = eqx.field(default=1, static=True)

    def is_random(self, rank: int) -> bool:
        return True

    def find(self, matrix: AbstractMatrix, rank: int, key: Key[Array, ""]) -> Float[Array, "components channels"]:
        return vca(matrix, rank, key)


def vca(matrix: AbstractMatrix, rank: int, key: Key[Array, ""]) -> Float[Array, "components channels"]:
    """The spectra of the purest pixels; see `initial.VCA`. They may dip below zero with the noise."""
    check_instance(matrix, AbstractMatrix, "vca: matrix", "Dense(X)")
    check_key(key)
    pixels, channels = matrix.shape
    check_whole_number(rank, "vca: rank", 1, min(pixels, channels))
    if rank == 1:
        return matrix.channel_sums[None] / pixels  # one component has no corners to look for
    x, v = leading_points(matrix, min(rank + 5, pixels, channels))
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
    top = x[:rank]
    depth = matmul(top.mean(axis=1), top)
    lit = depth > 1e-6 * jnp.max(depth)
    perspective = jnp.where(lit, top / jnp.where(lit, depth, 1), 0)
    chosen = farthest(jnp.where(noisy, lift(few), perspective), key)

    projected = matmul(principal[: rank - 1].T, few) + mean
    picked = jnp.where(noisy, projected[:, chosen], x.at[rank:].set(0)[:, chosen])
    return matmul(picked.T, v)
