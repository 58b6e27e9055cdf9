"""What every start from vertices shares: the choice between several keys, and the maps of the vertices."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from ...._util.validation import check_whole_number
from ....matrix.base import TINY, AbstractMatrix, accurate_sum, matmul
from ....matrix.compressed import leading_svd
from ...model import Bilinear
from ...problem import Problem
from ...solve.known_spectra import Limits, solve_normal_equations
from ..base import SUBSPACE_SEED, AbstractInitial, floor_rows, solve_least_squares, to_profiles

Points = Float[Array, "directions pixels"]
Spectra = Float[Array, "components channels"]


class AbstractVertices(AbstractInitial):
    """Spectra at the vertices of a simplex, maps by clipped least squares.

    Of `tries` keys the one is kept whose spectra leave the least residual |X - maps @ spectra|^2 with non-negative
    maps, which are solved for exactly; so the choice is the same on any scale of the data.
    """

    tries: eqx.AbstractVar[int]

    @abc.abstractmethod
    def find(self, matrix: AbstractMatrix, rank: int, key: Key[Array, ""]) -> Spectra:
        """The spectra at the vertices, for a rank of 2 or more. They may dip below zero with the noise."""

    def __check_init__(self):
        check_whole_number(self.tries, f"{type(self).__name__}: tries", 1)

    def __call__(self, problem: Problem, rank: int, key: Key[Array, ""]) -> Bilinear:
        matrix = problem.matrix
        check_whole_number(rank, f"{type(self).__name__}: rank", 1, min(matrix.shape))
        if rank == 1:
            # One component has no corners to look for.
            profiles = _to_profiles(problem, matrix.channel_sums[None] / matrix.shape[0])
        elif self.tries == 1:
            profiles = _to_profiles(problem, self.find(matrix, rank, key))
        else:
            keys = jax.random.split(key, self.tries)
            several = jax.vmap(lambda one: _to_profiles(problem, self.find(matrix, rank, one)))(keys)
            residuals = jax.lax.map(lambda one: residual(matrix, spectra_of(problem, one)), several)
            profiles = several[jnp.argmin(residuals)]
        spectra = spectra_of(problem, profiles)
        maps = solve_least_squares(matmul(spectra, spectra.T), matrix.onto_spectra(spectra))
        return Bilinear(floor_rows(maps, problem.constraints.is_nonnegative("maps")), profiles)


def _to_profiles(problem: Problem, spectra: Spectra) -> Float[Array, "components features"]:
    """The spectra as the problem fits them, without what the noise has left below zero where that is forbidden."""
    nonnegative = problem.constraints.is_nonnegative(problem.profile_block)
    return to_profiles(problem, jnp.maximum(spectra, 0) if nonnegative else spectra)


def spectra_of(problem: Problem, profiles: Float[Array, "components features"]) -> Spectra:
    """The spectra of profiles, whatever their maps."""
    return problem.spectra(Bilinear(jnp.zeros((len(profiles), 1), profiles.dtype), profiles))


def residual(matrix: AbstractMatrix, spectra: Spectra) -> Float[Array, ""]:
    """The least |X - W S|^2 with W >= 0, less |X|^2, which is the same for all spectra S."""
    gram, cross = matmul(spectra, spectra.T), matrix.onto_spectra(spectra)
    zero = jnp.zeros((), cross.dtype)
    maps = solve_normal_equations(gram, cross, Limits(zero, jnp.asarray(jnp.inf, cross.dtype), None, False))
    return accurate_sum(maps * (matmul(gram, maps) - 2 * cross))


def leading_points(matrix: AbstractMatrix, directions: int) -> tuple[Points, Spectra]:
    """(points, v) with X ~ points' v: the pixels in the leading singular directions v, which are orthonormal."""
    u, s, v = leading_svd(matrix, directions, jax.random.key(SUBSPACE_SEED))
    return u * s[:, None], v


def farthest(points: Points, key: Key[Array, ""]) -> Int[Array, " directions"]:
    """The pixels at the corners of a simplex, by the loop of vertex component analysis.

    As many as the points have coordinates: each is the farthest from zero along a random direction f orthogonal to
    those found so far, argmax |f . x| (Nascimento and Dias, IEEE Trans. Geosci. Remote Sens. 43 (2005) 898, lines 14
    to 19 of the algorithm).
    """
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


def lift(scores: Points) -> Float[Array, "components pixels"]:
    """The points of a hyperplane of one dimension more, at the distance of the farthest of them from the mean."""
    reach = jnp.sqrt(jnp.max(jnp.sum(scores**2, axis=0)))
    return jnp.concatenate([scores, jnp.full((1, scores.shape[1]), reach, scores.dtype)])


def farthest_of_several(points: Points, keys: Key[Array, " several"]) -> Int[Array, "several directions"]:
    """`farthest` for each key: a random direction across an edge of the simplex may find a pixel amid that edge."""
    return jax.vmap(lambda key: farthest(points, key))(keys)


def largest(points: Points, several: Int[Array, "several directions"]) -> Int[Array, " directions"]:
    """The pixels among several sets that span the largest volume."""
    volumes = jax.vmap(lambda chosen: jnp.linalg.slogdet(points[:, chosen])[1])(several)
    return several[jnp.argmax(volumes)]
