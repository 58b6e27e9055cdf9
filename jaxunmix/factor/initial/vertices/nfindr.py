"""N-FINDR: the pixels that span the largest simplex."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from ....matrix.base import TINY, AbstractMatrix, matmul
from .base import AbstractVertices, Points, Spectra, farthest_of_several, largest, leading_points, lift

# Sets of pixels from which the exchange begins side by side: a single one may end at a smaller simplex.
STARTS = 8
# Rounds of exchanges of all vertices at most; a few are enough, as each exchange enlarges the simplex.
ROUNDS = 100
# An exchange that enlarges the simplex by less than this, relatively, is rounding.
GAIN = 1e-5


class NFINDR(AbstractVertices):
    r"""Spectra of the pixels that span the largest simplex, maps by clipped least squares.

    Winter, Proc. SPIE 3753 (1999) 266: of the pixels in their K - 1 leading principal components y, those K that
    maximise the volume

    $V = |\det E| / (K - 1)!, \quad E = \begin{pmatrix} 1 & \dots & 1 \\ y_1 & \dots & y_K \end{pmatrix},$

    found by exchanging one vertex at a time until no exchange enlarges it. In the column of vertex j the determinant
    is linear, $\det E = c_j \cdot (1, y)$ with its cofactors $c_j$, which are orthogonal to the other vertices: one
    product gives the volumes for all pixels in place of vertex j. The largest simplex of 8 starts is kept, each the
    vertices of vertex component analysis for other random numbers; from one start the exchange ended at a smaller
    simplex in 4 of 60 sets of 12 random points. The spectra are those of the pixels in the mean and the K - 1
    components, which leave most noise out.

    The pixels are taken as they are, so maps should sum to about the same in all of them; where the brightness varies,
    take `VCA`, `SuccessiveProjection`, or divide the image by it first (`preprocess.normalise`).

    Args:
        tries: keys, of which the one whose spectra leave the least residual with non-negative maps is kept.
    """

    command = "nfindr"

    tries: int = eqx.field(default=1, static=True)

    def is_random(self, rank: int) -> bool:
        return True

    def find(self, matrix: AbstractMatrix, rank: int, key: Key[Array, ""]) -> Spectra:
        # The mean may need a direction of its own beside the K - 1 along which the pixels differ.
        points, v = leading_points(matrix, min(rank + 1, *matrix.shape))
        mean = points.mean(axis=1, keepdims=True)
        _, axes = jnp.linalg.eigh(matmul(points - mean, (points - mean).T))
        axes = axes.T[::-1][: rank - 1]
        scores = matmul(axes, points - mean)
        chosen = largest_simplex(scores, key)
        return matmul((matmul(axes.T, scores[:, chosen]) + mean).T, v)


def largest_simplex(scores: Points, key: Key[Array, ""]) -> Int[Array, " components"]:
    """The pixels that span the largest simplex, one more than the scores have directions; see `NFINDR`."""
    # The ratio of two volumes is the same in any unit of each direction.
    scores = scores / jnp.maximum(jnp.max(jnp.abs(scores), axis=1, keepdims=True), TINY)
    lifted = lift(scores)
    starts = farthest_of_several(lifted, jax.random.split(key, STARTS))
    return largest(lifted, jax.lax.map(lambda start: _exchange(lifted, start), starts))


def _exchange(points: Points, chosen: Int[Array, " components"]) -> Int[Array, " components"]:
    """Exchange one vertex after the other for the pixel that enlarges the simplex most, until none does."""
    rank = len(chosen)

    def exchange(j, carry):
        chosen, changed = carry
        volumes = jnp.abs(matmul(cofactors(points[:, chosen], j), points))
        best = jnp.argmax(volumes)
        better = volumes[best] > (1 + GAIN) * volumes[chosen[j]]
        return jnp.where(better, chosen.at[j].set(best), chosen), changed | better

    def sweep(carry):
        chosen, _, rounds = carry
        return *jax.lax.fori_loop(0, rank, exchange, (chosen, jnp.zeros((), bool))), rounds + 1

    start = chosen, jnp.ones((), bool), jnp.zeros((), int)
    return jax.lax.while_loop(lambda carry: carry[1] & (carry[2] < ROUNDS), sweep, start)[0]


def cofactors(vertices: Float[Array, "components components"], j: int | Array) -> Float[Array, " components"]:
    """The cofactors of column j up to a factor: the unit vector that is orthogonal to all other columns.

    In the order in which column j is the last, the last column of Q in the QR decomposition; unlike the inverse it
    exists for vertices that lie in a plane too.
    """
    others = jnp.roll(vertices, -1 - j, axis=1)
    return jnp.linalg.qr(others, mode="complete")[0][:, -1]
