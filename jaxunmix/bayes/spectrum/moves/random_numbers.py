"""Random numbers for a batch of proposals, drawn before the proposals are made."""

from itertools import accumulate
from typing import NamedTuple

import jax
from jax import lax
from jaxtyping import Array, Key

from ..marginal import SHAPES, CollapsedSpectrum


class RandomNumbers(NamedTuple):
    """Random numbers that are drawn beforehand for a batch of proposals.

    They are drawn at once, as the program that draws random numbers takes longer to compile than that of a move.

    Attributes:
        decide: (moves, points), uniform, by which a move is accepted.
        fresh: (moves, points), uniform, by which a point draws part of its u anew.
        refreshed: (moves, heights, points), uniform: below `FRESH_PART`, over it, the new u.
        uniform: (moves, 4, points).
        normal: (moves, 6, points).
        peak: (moves,), any number from 0 up.
    """

    decide: Array
    fresh: Array
    refreshed: Array
    uniform: Array
    normal: Array
    peak: Array

    def of(self, i: int | Array) -> "RandomNumbers":
        """The random numbers of one move."""
        return jax.tree.map(lambda a: lax.dynamic_index_in_dim(a, i, keepdims=False), self)


def draw_random_numbers(
    key: Key[Array, ""], density: CollapsedSpectrum, points: int, moves: list[int]
) -> list[RandomNumbers]:
    """The random numbers of several loops, each of so many moves."""
    keys, total, dtype = jax.random.split(key, 3), sum(moves), density.energy.dtype
    uniform = jax.random.uniform(keys[0], (total, 6 + density.heights, points), dtype)
    parts = uniform[:, 0], uniform[:, 1], uniform[:, 6:], uniform[:, 2:6]
    normal = jax.random.normal(keys[1], (total, SHAPES + 2, points), dtype)
    every = RandomNumbers(*parts, normal, jax.random.randint(keys[2], (total,), 0, 2**31 - 1))
    ends = list(accumulate(moves))
    return [jax.tree.map(lambda a, end=end, n=n: a[end - n : end], every) for end, n in zip(ends, moves, strict=True)]
