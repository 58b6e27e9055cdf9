"""The positive parts of the leading singular vectors."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from ...matrix.base import TINY
from ...matrix.compressed import leading_svd
from ..model import Bilinear
from ..problem import Problem
from .base import SUBSPACE_SEED, AbstractInitial, to_profiles


class NNDSVD(AbstractInitial):
    """From the positive parts of the leading singular vectors; no randomness.

    Boutsidis and Gallopoulos, Pattern Recognit. 41 (2008) 1350, with their zeros filled by the mean (NNDSVDa), so
    that multiplicative updates, which never leave a zero, can move every entry; here by a tenth of the mean level.
    """

    command = "nndsvd"

    def is_random(self, rank: int) -> bool:
        return False

    def __call__(self, problem: Problem, rank: int, key: Key[Array, ""]) -> Bilinear:
        u, s, v = leading_svd(problem.matrix, rank, jax.random.key(SUBSPACE_SEED))
        sides = [(jnp.maximum(sign * u, 0), jnp.maximum(sign * v, 0)) for sign in (1, -1)]
        norms = [(jnp.linalg.norm(a, axis=1), jnp.linalg.norm(b, axis=1)) for a, b in sides]
        first = (norms[0][0] * norms[0][1] >= norms[1][0] * norms[1][1])[:, None]
        a, b = (jnp.where(first, p, n) for p, n in zip(*sides, strict=True))
        na, nb = (jnp.where(first[:, 0], p, n) for p, n in zip(*norms, strict=True))
        size = jnp.sqrt(s * na * nb)
        maps = a * (size / jnp.maximum(na, TINY))[:, None]
        spectra = b * (size / jnp.maximum(nb, TINY))[:, None]
        fill = jnp.sqrt(jnp.mean(jnp.abs(problem.matrix.channel_sums)) / problem.matrix.shape[0] / rank) * 0.1
        maps, spectra = (jnp.where(x > 0, x, fill) for x in (maps, spectra))
        return Bilinear(maps, to_profiles(problem, spectra))
