"""Directions of clusters of pixels: many small clusters, joined until as many are left as wanted."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from ..._util.validation import check_whole_number
from ...matrix.base import TINY, matmul
from ...matrix.compressed import leading_svd
from ..model import Bilinear
from ..problem import Problem
from . import clusters
from .base import (
    SUBSPACE_SEED,
    AbstractPadded,
    Live,
    choose_pixels,
    floor_rows,
    keep_first,
    solve_least_squares,
    to_profiles,
)


def directions(
    points: Float[Array, "directions pixels"], rank: int, live: int | Int[Array, ""], seeds: int, key: Key[Array, ""]
) -> Float[Array, "components directions"]:
    """Unit vectors of `live` clusters of the points, out of `seeds` small ones, then zeros up to `rank` rows.

    See `initial.Clusters` for the steps.
    """
    joined, alive = _joined(*_clusters(points, _seeds(points, seeds, key)), live)
    order = jnp.argsort(~alive, stable=True)[:rank]
    return jnp.where(alive[order][:, None], joined[order], 0)


def _seeds(
    points: Float[Array, "directions pixels"], count: int, key: Key[Array, ""]
) -> Float[Array, "clusters directions"]:
    """Unit vectors of pixels drawn by the part of them that no earlier seed explains."""
    squares = jnp.sum(points**2, axis=0)

    def draw(i, carry):
        seeds, left = carry
        pixel = jax.random.categorical(jax.random.fold_in(key, i), jnp.log(jnp.maximum(left, TINY)))
        seed = points[:, pixel] / jnp.sqrt(jnp.maximum(squares[pixel], TINY))
        return seeds.at[i].set(seed), jnp.minimum(left, squares - jnp.maximum(matmul(seed, points), 0) ** 2)

    start = jnp.zeros((count, points.shape[0]), points.dtype), squares
    return jax.lax.fori_loop(0, count, draw, start)[0]


def _clusters(
    points: Float[Array, "directions pixels"], seeds: Float[Array, "clusters directions"], rounds: int = 8
) -> tuple[Float[Array, "clusters directions"], Float[Array, " clusters"]]:
    """Directions and energies of spherical k-means, each pixel weighted by its length along its direction."""

    def assigned(directions):
        along = jnp.maximum(matmul(directions, points), 0)
        own = jnp.arange(len(directions))[:, None] == jnp.argmax(along, axis=0)[None]
        return jnp.where(own, along, 0)

    def turn(_, directions):
        mean = matmul(assigned(directions), points.T)
        length = jnp.linalg.norm(mean, axis=1, keepdims=True)
        return jnp.where(length > 0, mean / jnp.maximum(length, TINY), directions)

    directions = jax.lax.fori_loop(0, rounds, turn, seeds)
    return directions, jnp.sum(assigned(directions) ** 2, axis=1)


def _joined(
    directions: Float[Array, "clusters directions"], energy: Float[Array, " clusters"], live: int | Int[Array, ""]
) -> tuple[Float[Array, "clusters directions"], Bool[Array, " clusters"]]:
    """The clusters joined in pairs, the cheapest first, until `live` are left; and which these are."""

    def join(_, carry):
        directions, energy, alive = carry
        cosine = jnp.clip(matmul(directions, directions.T), 0, 1)
        a, b = energy[:, None], energy[None]
        top = (a + b) / 2 + jnp.sqrt((a - b) ** 2 / 4 + a * b * cosine**2)
        pairs = jnp.triu(alive[:, None] & alive[None], 1)
        i, j = jnp.unravel_index(jnp.argmin(jnp.where(pairs, a + b - top, jnp.inf)), pairs.shape)
        # The leading direction of a u u' + b v v' lies along (top - b) u + b cos v up to scale.
        mean = (top[i, j] - energy[j]) * directions[i] + energy[j] * cosine[i, j] * directions[j]
        mean = jnp.where(cosine[i, j] > 0, mean, jnp.where(energy[i] >= energy[j], directions[i], directions[j]))
        mean = mean / jnp.maximum(jnp.linalg.norm(mean), TINY)
        return directions.at[i].set(mean), energy.at[i].set(top[i, j]).at[j].set(0), alive.at[j].set(False)

    alive = jnp.ones(len(energy), bool)
    directions, _, alive = jax.lax.fori_loop(0, len(energy) - live, join, (directions, energy, alive))
    return directions, alive


class Clusters(AbstractPadded):
    """Directions of clusters of pixels: many small clusters, joined until K are left. The start of orthogonal NMF.

    On some of the pixels, seen in 2K leading directions: `oversample` K seeds, drawn as k-means++ does with the
    part of each pixel that no seed explains, |x|^2 - max(0, x.u)^2 (Arthur and Vassilvitskii, SODA 2007; here for
    directions, which is the objective of orthogonal NMF itself); a few rounds of assignment and mean; then the two
    clusters are joined whose union costs least, for energies a, b at the angle t the amount
    (a + b)/2 - sqrt((a - b)^2/4 + a b cos^2 t), until K are left (Ward, J. Am. Stat. Assoc. 58 (1963) 236). Single
    seeds often miss a small domain and split a large one, from which no local step comes back; joining mends that.

    Args:
        oversample: seeds for each component.
        pixels: how many pixels are looked at, at most.
    """

    command = "clusters"

    oversample: int = eqx.field(default=4, static=True)
    pixels: int = eqx.field(default=4096, static=True)

    def __check_init__(self):
        check_whole_number(self.oversample, "Clusters: oversample")
        check_whole_number(self.pixels, "Clusters: pixels")
        if self.oversample < 1 or self.pixels < 1:
            raise ValueError(f"Clusters: oversample={self.oversample} and pixels={self.pixels} must be 1 or more.")

    def is_random(self, rank: int) -> bool:
        return True

    def padded(self, problem: Problem, rank: int, key: Key[Array, ""], live: Live) -> Bilinear:
        matrix = problem.matrix
        u, s, v = leading_svd(matrix, min(2 * rank, *matrix.shape), jax.random.key(SUBSPACE_SEED))
        pick, seed = jax.random.split(key)
        chosen = choose_pixels(pick, matrix.shape[0], max(rank, self.pixels))
        points = (u * s[:, None])[:, chosen]
        seeds = min(self.oversample * rank, points.shape[1])
        spectra = matmul(clusters.directions(points, rank, live, seeds, seed), v)
        if problem.constraints.is_nonnegative(problem.profile_block):
            spectra = jnp.maximum(spectra, 0)
        profiles = to_profiles(problem, spectra)
        spectra = problem.spectra(Bilinear(jnp.zeros((rank, 1)), profiles))
        maps = solve_least_squares(matmul(spectra, spectra.T), matrix.onto_spectra(spectra))
        maps = floor_rows(maps, problem.constraints.is_nonnegative("maps"))
        return Bilinear(keep_first(maps, live), keep_first(profiles, live))
