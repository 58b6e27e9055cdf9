"""Random corners of the polytope of non-negative entries."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from ....matrix.base import TINY, matmul

# Steps of hit-and-run before a point is moved to a corner.
STEPS = 8
# Random part of the direction to a corner, so that it never lies along the limits alone.
BLUR = 0.1
# A limit that a step of one comes nearer to by less than this is parallel to the direction.
PARALLEL = 1e-4

Scores = Float[Array, "draws directions"]


class Polytope(NamedTuple):
    """The scores s with distance + s @ slopes >= 0 in each entry, where all distances are positive at s = 0."""

    distance: Float[Array, " entries"]
    slopes: Float[Array, "directions entries"]


class Numbers(NamedTuple):
    """The random numbers of some corners: headings of all steps, and the place on each chord."""

    headings: Float[Array, "steps draws directions"]
    places: Float[Array, "chords draws 1"]


def draw_numbers(draws: int, directions: int, key: Key[Array, ""], dtype: Any) -> Numbers:
    """Drawn once for several polytopes: what draws them takes long to compile."""
    normal = jax.random.normal(key, (STEPS + directions + 1, draws, directions + 1), dtype)
    # One generator for both compiles in half the time; the normal distribution function makes uniform numbers.
    return Numbers(normal[..., :-1], jax.scipy.special.ndtr(normal[:STEPS, :, -1:]))


def find_corners(polytope: Polytope, numbers: Numbers) -> Scores:
    """Random corners of a polytope: hit-and-run inside of it, then along faces of falling dimension to a corner.

    Hit-and-run draws a point uniformly in the long run (Smith, Oper. Res. 32 (1984) 1296): from s along a random
    direction d, to a random point of the chord in the polytope. From there each point moves along a random direction of
    its own, less its part along the limits that have been met, to the next limit, until there are as many as
    directions: sharp corners, which are the ends of most directions, are then drawn most often.
    """
    _, draws, directions = numbers.headings.shape
    # In units in which each slope has length one, an entry is the distance from its limit.
    unit = 1 / jnp.maximum(jnp.linalg.norm(polytope.slopes, axis=0), TINY)
    polytope = Polytope(polytope.distance * unit, polytope.slopes * unit)

    def step(i, scores):
        heading = _to_unit(numbers.headings[i])
        both, _ = _room(polytope, jnp.tile(scores, (2, 1)), jnp.concatenate([heading, -heading]))
        ahead, behind = both[:draws, None], both[draws:, None]
        return scores + heading * (numbers.places[i] * (ahead + behind) - behind)

    def move(i, carry):
        scores, met = carry
        heading = _orthogonal(aim + BLUR * numbers.headings[STEPS + i], met)
        room, entry = _room(polytope, scores, heading)
        normal = _orthogonal(polytope.slopes[:, entry].T, met)
        return scores + heading * room[:, None], met.at[:, i].set(normal)

    aim = numbers.headings[-1]
    scores = jax.lax.fori_loop(0, STEPS, step, jnp.zeros((draws, directions), polytope.slopes.dtype))
    met = jnp.zeros((draws, directions, directions), scores.dtype)
    return jax.lax.fori_loop(0, directions, move, (scores, met))[0]


def _room(polytope: Polytope, scores: Scores, heading: Scores) -> tuple[Float[Array, " draws"], Int[Array, " draws"]]:
    """How far each draw can go along its heading, of length one, and the entry that stops it."""
    distance = jnp.maximum(polytope.distance + matmul(scores, polytope.slopes), 0)
    fall = -matmul(heading, polytope.slopes)
    room = jnp.where(fall > PARALLEL, distance / jnp.maximum(fall, PARALLEL), jnp.inf)
    entry = jnp.argmin(room, axis=1)
    nearest = jnp.take_along_axis(room, entry[:, None], axis=1)[:, 0]
    # Where nothing stops it, the data say nothing about this direction.
    return jnp.where(jnp.isfinite(nearest), nearest, 0), entry


def _orthogonal(rows: Scores, met: Float[Array, "draws limits directions"]) -> Scores:
    """Unit vectors of the rows' parts that are orthogonal to the unit vectors `met`, of which some may be zero."""
    # Twice, as once leaves rounding.
    for _ in range(2):
        shares = jnp.einsum("nlk,nk->nl", met, rows, precision="highest")
        rows = rows - jnp.einsum("nlk,nl->nk", met, shares, precision="highest")
    return _to_unit(rows)


def _to_unit(rows: Scores) -> Scores:
    return rows / jnp.maximum(jnp.linalg.norm(rows, axis=1, keepdims=True), TINY)
