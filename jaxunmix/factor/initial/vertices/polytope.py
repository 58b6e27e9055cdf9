"""Random corners of the polytope of non-negative entries."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from ....matrix.base import TINY, matmul

# Steps of hit-and-run before a point is moved to a corner.
STEPS = 8
# A limit whose distance falls by less than this, relatively to its slope, is parallel to the direction.
PARALLEL = 1e-4

Scores = Float[Array, "draws directions"]
Entries = Float[Array, "draws entries"]


class Polytope(NamedTuple):
    """The scores s with distance + s @ slopes >= 0 in each entry, where all distances are positive at s = 0."""

    distance: Float[Array, " entries"]
    slopes: Float[Array, "directions entries"]


def draw_corners(polytope: Polytope, draws: int, key: Key[Array, ""]) -> Scores:
    """Random corners of a polytope: hit-and-run inside of it, then along faces of falling dimension to a corner.

    Hit-and-run draws a point uniformly in the long run (Smith, Oper. Res. 32 (1984) 1296): from s along a random
    direction d, to a random point of the chord in the polytope. From there the point moves along random directions,
    each orthogonal to the limits that have been met, to the next limit, until there are as many as directions.
    """
    directions = len(polytope.slopes)
    walk, end = jax.random.split(key)

    def step(i, scores):
        heading, along = jax.random.split(jax.random.fold_in(walk, i))
        heading = jax.random.normal(heading, scores.shape, scores.dtype)
        none = jnp.zeros((draws, 0, directions), scores.dtype)
        ahead, _ = _room(polytope, scores, heading, none)
        behind, _ = _room(polytope, scores, -heading, none)
        share = jax.random.uniform(along, (draws, 1), scores.dtype)
        return scores + heading * (share * (ahead + behind)[:, None] - behind[:, None])

    def move(i, carry):
        scores, met = carry
        heading = jax.random.normal(jax.random.fold_in(end, i), scores.shape, scores.dtype)
        heading = _orthogonal(heading, met)
        room, entry = _room(polytope, scores, heading, met)
        normal = _orthogonal(polytope.slopes[:, entry].T, met)
        return scores + heading * room[:, None], met.at[:, i].set(normal)

    scores = jax.lax.fori_loop(0, STEPS, step, jnp.zeros((draws, directions), polytope.slopes.dtype))
    met = jnp.zeros((draws, directions, directions), scores.dtype)
    return jax.lax.fori_loop(0, directions, move, (scores, met))[0]


def _room(
    polytope: Polytope, scores: Scores, heading: Scores, met: Float[Array, "draws limits directions"]
) -> tuple[Float[Array, " draws"], Int[Array, " draws"]]:
    """How far each draw can go along its heading, and the entry that stops it."""
    distance = jnp.maximum(polytope.distance + matmul(scores, polytope.slopes), 0)
    fall = -matmul(heading, polytope.slopes)
    steep = jnp.linalg.norm(heading, axis=1)[:, None] * jnp.linalg.norm(polytope.slopes, axis=0)
    room = jnp.where(_is_falling(fall, steep), distance / jnp.maximum(fall, TINY), jnp.inf)
    entry = jnp.argmin(room, axis=1)
    nearest = jnp.take_along_axis(room, entry[:, None], axis=1)[:, 0]
    # Where nothing stops it, the data say nothing about this direction.
    return jnp.where(jnp.isfinite(nearest), nearest, 0), entry


def _is_falling(fall: Entries, steep: Entries) -> Bool[Array, "draws entries"]:
    return fall > PARALLEL * steep + TINY


def _orthogonal(rows: Scores, met: Float[Array, "draws limits directions"]) -> Scores:
    """Unit vectors of the rows' parts that are orthogonal to the unit vectors `met`, of which some may be zero."""
    # Twice, as once leaves rounding.
    for _ in range(2):
        shares = jnp.einsum("nlk,nk->nl", met, rows, precision="highest")
        rows = rows - jnp.einsum("nlk,nl->nk", met, shares, precision="highest")
    return rows / jnp.maximum(jnp.linalg.norm(rows, axis=1, keepdims=True), TINY)
