"""Successive projection: the pixel that the vertices so far explain least, again and again."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from ...._util.validation import check_flag, check_number
from ....matrix.base import TINY, AbstractMatrix, matmul
from ...problem import Problem
from ...solve.known_spectra import Limits, solve_normal_equations
from .base import AbstractVertices, Points, Spectra, leading_points


class SuccessiveProjection(AbstractVertices):
    r"""Spectra of the pixels that those found so far explain least, maps by clipped least squares; no randomness.

    Successive projection (Araujo et al., Chemom. Intell. Lab. Syst. 57 (2001) 65; its robustness to noise: Gillis and
    Vavasis, IEEE Trans. Pattern Anal. Mach. Intell. 36 (2014) 698) takes K times

    $p = \arg\max_p |r_p|^2, \quad r \leftarrow r - r_p \, (r_p \cdot r) / |r_p|^2,$

    from r = x / sum(x). With `nonnegative` (Gillis, SIAM J. Imaging Sci. 7 (2014) 1420) the residual is the distance
    from the convex hull of zero and the vertices E so far, $r_p = x_p - E h_p$ with the $h_p \ge 0$, sum at most 1,
    of least squares: this also finds vertices that depend linearly on one another, more than the rank of the data.

    Each pixel is divided by its sum over the channels: then the maps of a pixel, times the sums of their spectra,
    sum to one, and only pure pixels are corners, whatever the brightness; the method itself would take the brightest.
    Pixels much darker than the mean are no candidates, as their noise grows by the division; and all pixels are seen
    in their K leading singular directions, so that noise in the others does not count as unexplained.

    Args:
        nonnegative: the residual of non-negative coefficients instead of the projection.
        dark: a pixel whose sum is below this share of the mean is never a vertex, 0 to 1; 0 allows all with counts.
    """

    command = "spa"
    # There is no randomness, so that one try is as good as several.
    tries: int = eqx.field(default=1, init=False, static=True)

    nonnegative: bool = eqx.field(default=False, static=True)
    dark: float | int = eqx.field(default=0.05, static=True)

    def __check_init__(self):
        check_flag(self.nonnegative, "SuccessiveProjection: nonnegative")
        check_number(self.dark, "SuccessiveProjection: dark", 0, 1)

    def is_random(self, rank: int) -> bool:
        return False

    def check(self, problem: Problem, rank: int) -> None:
        """Refuse data whose sums normalise nothing.

        Raises:
            ValueError: the data sum to zero or less, as centred data do.
        """
        check_sum(problem, "SuccessiveProjection")

    def find(self, matrix: AbstractMatrix, rank: int, key: Key[Array, ""]) -> Spectra:
        points, v = leading_points(matrix, rank)
        sums = matrix.pixel_sums
        bright = (sums > 0) & (sums >= self.dark * sums.mean())
        shares = jnp.where(bright, points / jnp.where(bright, sums, 1), 0)
        chosen = least_explained(shares, rank, self.nonnegative)
        return matmul(points[:, chosen].T, v)


def check_sum(problem: Problem, name: str) -> None:
    """Refuse data that sum to zero or less where each pixel is to be divided by its sum."""
    if problem.matrix.channel_sums.sum() <= 0:
        raise ValueError(
            f"{name} divides each pixel by its sum, and the data sum to zero or less: give data that are not centred, "
            "or use initial.VCA()."
        )


def least_explained(points: Points, rank: int, nonnegative: bool) -> Int[Array, " components"]:
    """The pixels that those before them explain least; see `SuccessiveProjection`."""
    one = jnp.ones(points.shape[1], points.dtype)
    limits = Limits(jnp.zeros((), points.dtype), jnp.asarray(jnp.inf, points.dtype), one, True)

    def pick(i, carry):
        left, vertices, chosen = carry
        pixel = jnp.argmax(jnp.sum(left**2, axis=0))
        chosen = chosen.at[i].set(pixel)
        if nonnegative:
            # Vertices that are yet to come are rows of zeros, and get no share.
            vertices = vertices.at[i].set(points[:, pixel])
            shares = solve_normal_equations(
                matmul(vertices, vertices.T), matmul(vertices, points), limits, is_most=True
            )
            return points - matmul(vertices.T, shares), vertices, chosen
        axis = left[:, pixel] / jnp.maximum(jnp.linalg.norm(left[:, pixel]), TINY)
        return left - axis[:, None] * matmul(axis, left), vertices, chosen

    vertices = jnp.zeros((rank, points.shape[0]), points.dtype)
    return jax.lax.fori_loop(0, rank, pick, (points, vertices, jnp.zeros(rank, int)))[2]
