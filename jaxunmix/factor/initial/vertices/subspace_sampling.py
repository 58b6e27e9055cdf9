"""Signal subspace sampling: vertices among all non-negative spectra that the leading components can form."""

from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ...._util.validation import check_choice, check_number
from ....matrix.base import TINY, AbstractMatrix, matmul
from ....matrix.compressed import leading_svd
from ...problem import Problem
from ..base import SUBSPACE_SEED, solve_least_squares
from .base import AbstractVertices, Spectra, farthest_of_several, largest, lift
from .polytope import Polytope, draw_numbers, find_corners
from .successive_projection import check_sum

# Corners are drawn side by side: as many as keep their entries at about this many numbers, between these limits.
NUMBERS, FEWEST, MOST = 2**20, 64, 1024
# Rows of random signs that measure the noise of each entry, to about 1 / sqrt(2 * rows) of its standard deviation.
PROBES = 32
# The allowance for noise grows with the vertices, and these with the allowance.
ROUNDS = 3
# Runs of vertex component analysis on the draws, of which the largest simplex is kept.
RUNS = 8


class Subspace(NamedTuple):
    """Spectra of unit sum in the leading directions: (origin + axes @ scores) @ entries.

    Attributes:
        entries: the leading singular vectors, orthonormal.
        origin: coefficients of the mean.
        axes: of the scores, in which the pixels have unit variance.
        strength: singular values.
        noise: standard deviation of the data in each entry.
    """

    entries: Float[Array, "components entries"]
    origin: Float[Array, " components"]
    axes: Float[Array, "components scores"]
    strength: Float[Array, " components"]
    noise: Float[Array, " entries"]

    def coefficients(self, scores: Float[Array, "draws scores"]) -> Float[Array, "draws components"]:
        return self.origin + matmul(scores, self.axes.T)


class SubspaceSampling(AbstractVertices):
    r"""Vertices among all non-negative spectra that the leading components can form; they need not be pixels.

    Signal subspace sampling followed by vertex component analysis (Muto and Shiga, Microscopy 69 (2020) 110): where
    components lie over one another everywhere, no pixel is pure, and `VCA` finds mixtures. Spectra of the right form
    are drawn in place of pixels: with the mean m and the principal components V of the pixels divided by their sums,

    $P = \{ s : m_c + (s V)_c \ge -\tau_c \text{ for all channels } c \},$

    and the vertices are looked for among the draws. Where each component has channels in which the others vanish, as
    lines of their own in EDX, P is the simplex of the components themselves, and the answer is unique; where
    spectra have a common background, P is larger, and its corners have none of it.

    Hardly any random s lies in P. So the draws are made by hit-and-run, which stays inside, and each moves on along
    faces of P to a corner: vertex component analysis takes the draws that are extreme in some direction, which of a
    convex set are corners. The largest simplex of 8 runs of it is kept, because noise puts corners amid the edges,
    which a single run takes for some keys instead of the end of the edge.

    Noise moves the components too: with the singular values S, a spectrum of coefficients a has the standard deviation
    $\sigma_c |a / S|$ in channel c, for the deviation $\sigma_c$ of what the leading components leave of the data.
    $\tau_c$ is `tolerance` times the largest of the K vertices, found in three rounds.

    Args:
        block: "spectra", or "maps" for the same with the roles exchanged: maps are drawn that are non-negative in
            all pixels, and spectra are fitted to them. It serves components that are alone or absent in some pixels.
        tolerance: entries may lie below zero by so many standard deviations of their noise. About sqrt(2 ln C) for C
            channels leaves the true spectra inside; at 2 the noise of empty channels cuts them off.
        tries: keys, of which the one whose spectra leave the least residual with non-negative maps is kept.
    """

    command = "subspace-sampling"

    block: Literal["spectra", "maps"] = eqx.field(default="spectra", static=True)
    tolerance: float | int = eqx.field(default=4.0, static=True)
    tries: int = eqx.field(default=1, static=True)

    def __check_init__(self):
        check_choice(self.block, ("spectra", "maps"), "SubspaceSampling: block")
        check_number(self.tolerance, "SubspaceSampling: tolerance", 0)

    def is_random(self, rank: int) -> bool:
        return True

    def check(self, problem: Problem, rank: int) -> None:
        """Refuse data whose sums normalise nothing.

        Raises:
            ValueError: the data sum to zero or less, as centred data do.
        """
        check_sum(problem, "SubspaceSampling")

    def find(self, matrix: AbstractMatrix, rank: int, key: Key[Array, ""]) -> Spectra:
        rows = draw_vertices(signal_subspace(matrix, rank, self.block), self.tolerance, key)
        if self.block == "spectra":
            return rows
        return solve_least_squares(matmul(rows, rows.T), matrix.onto_maps(rows))


def signal_subspace(matrix: AbstractMatrix, rank: int, block: str) -> Subspace:
    """The unit-sum spectra (or maps) in the `rank` leading directions, and the noise of their entries."""
    u, s, v = leading_svd(matrix, rank, jax.random.key(SUBSPACE_SEED))
    noise = _noise(matrix, u, s, v, block)
    entries, points = (v, u * s[:, None]) if block == "spectra" else (u, v * s[:, None])
    sums = entries.sum(axis=1)
    weights = matmul(sums, points)
    # Dark pixels only blur the axes, which do not decide what is drawn, but how evenly.
    lit = weights > 0.01 * weights.mean()
    weights = jnp.where(lit, weights, 0)
    shares = jnp.where(lit, points / jnp.where(lit, weights, 1), 0)
    origin = matmul(shares, weights) / weights.sum()
    # Differences of unit-sum spectra have the sum zero: the reflection that turns the sums into a multiple of the
    # first unit vector has columns orthogonal to them.
    mirror = sums.at[0].add(jnp.where(sums[0] < 0, -1, 1) * jnp.linalg.norm(sums))
    plane = (jnp.eye(rank, dtype=sums.dtype) - 2 * jnp.outer(mirror, mirror) / jnp.sum(mirror**2))[:, 1:]
    scores = jnp.where(lit, matmul(plane.T, shares - origin[:, None]), 0)
    variances, vectors = jnp.linalg.eigh(matmul(scores * weights, scores.T) / weights.sum())
    spread = jnp.sqrt(jnp.maximum(variances, jnp.finfo(variances.dtype).eps * variances[-1]))
    return Subspace(entries, origin, matmul(plane, vectors * spread), s, noise)


def _noise(
    matrix: AbstractMatrix,
    u: Float[Array, "components pixels"],
    s: Float[Array, " components"],
    v: Float[Array, "components channels"],
    block: str,
) -> Float[Array, " entries"]:
    """Standard deviation in each channel (or pixel) of what the leading directions leave.

    For rows z of random signs the mean of (z R)^2 is the diagonal of R'R (Bekas, Kokiopoulou and Saad, Appl. Numer.
    Math. 57 (2007) 1214), with products alone, whatever the storage.
    """
    whole = matrix.whole
    along, across, product = (u, v, whole.onto_maps) if block == "spectra" else (v, u, whole.onto_spectra)
    signs = jax.random.rademacher(jax.random.key(SUBSPACE_SEED), (PROBES, along.shape[1]), along.dtype)
    left = product(signs) - matmul(matmul(signs, along.T) * s, across)
    return jnp.sqrt(jnp.mean(left**2, axis=0) / along.shape[1])


def draw_vertices(
    subspace: Subspace, tolerance: float | int, key: Key[Array, ""]
) -> Float[Array, "components entries"]:
    """The rows at the vertices of random non-negative ones; see `SubspaceSampling`."""
    entries = subspace.entries
    mean, slopes = matmul(subspace.origin, entries), matmul(subspace.axes.T, entries)
    # The mean itself is inside, also where noise or rounding takes it below zero.
    rounding = 4 * jnp.finfo(mean.dtype).eps * jnp.max(jnp.abs(mean)) + TINY
    least = jnp.maximum(-2 * mean, 0) + rounding
    draws = min(MOST, max(FEWEST, NUMBERS // len(mean)))
    corner, pick = jax.random.split(key)
    picks = jax.random.split(pick, RUNS)
    numbers = draw_numbers(draws, len(slopes), corner, mean.dtype)

    def turn(_, coefficients):
        error = jnp.max(jnp.linalg.norm(coefficients / subspace.strength, axis=1)) * subspace.noise
        corners = find_corners(Polytope(mean + jnp.maximum(tolerance * error, least), slopes), numbers)
        points = lift(corners.T)
        chosen = largest(points, farthest_of_several(points, picks))
        return subspace.coefficients(corners[chosen])

    start = jnp.broadcast_to(subspace.origin, (len(entries), len(entries)))
    return matmul(jax.lax.fori_loop(0, ROUNDS, turn, start), entries)
