"""A fit of some of the pixels and channels."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from ..._util.validation import check_instance, check_whole_number
from ...matrix.base import matmul
from ..model import Bilinear
from ..problem import Problem
from ..updates.base import AbstractUpdate
from ..updates.hals import HALS
from .base import AbstractPadded, Live, choose_pixels, floor_rows, keep_first, solve_least_squares
from .random import Random


class Coarse(AbstractPadded):
    """A fit of some of the pixels and channels, then maps and spectra of all by least squares: for large data.

    A few thousand pixels know the spectra nearly as well as all of them, at a small part of the work; the fit of
    all data then starts close to its end.

    Args:
        rest: the start on the part.
        update: how the part is fitted; None takes `HALS`.
        steps: of that fit.
        pixels: how many pixels are looked at, at most.
        channels: how many channels.
    """

    rest: AbstractPadded
    update: AbstractUpdate
    steps: int = eqx.field(static=True)
    pixels: int = eqx.field(static=True)
    channels: int = eqx.field(static=True)

    def __init__(
        self,
        rest: AbstractPadded | None = None,
        update: AbstractUpdate | None = None,
        steps: int = 100,
        pixels: int = 4096,
        channels: int = 2048,
    ):
        for name, value in (("steps", steps), ("pixels", pixels), ("channels", channels)):
            check_whole_number(value, f"Coarse: {name}")
        if min(steps, pixels, channels) < 1:
            raise ValueError(f"Coarse: steps={steps}, pixels={pixels}, channels={channels} must be 1 or more.")
        check_instance(rest, (AbstractPadded, type(None)), "Coarse: rest", "initial.Random()")
        check_instance(update, (AbstractUpdate, type(None)), "Coarse: update", "updates.HALS()")
        self.rest = Random() if rest is None else rest
        self.update = HALS() if update is None else update
        self.steps, self.pixels, self.channels = steps, pixels, channels

    def is_random(self, rank: int) -> bool:
        return True

    def suits(self, problem: Problem) -> bool:
        """Whether a part of the data poses the same problem: least squares, no basis, no weights, no penalties."""
        plain = problem.is_least_squares and problem.basis is None
        return plain and not problem.matrix.is_sparse and not problem.penalties

    def padded(self, problem: Problem, rank: int, key: Key[Array, ""], live: Live) -> Bilinear:
        if not self.suits(problem):
            raise ValueError(
                "Coarse starts plain least squares on Dense or Compressed data, without basis, weights or penalties; "
                "use initial.Random()."
            )
        pick, pick_channels, begin = jax.random.split(key, 3)
        matrix = problem.matrix
        chosen = choose_pixels(pick, matrix.shape[0], max(rank, self.pixels))
        channels = choose_pixels(pick_channels, matrix.shape[1], max(rank, self.channels))
        part = eqx.tree_at(lambda p: p.matrix, problem, matrix.take(chosen, channels))
        factors = self.rest.padded(part, rank, begin, live)
        carry = factors, self.update.init(part, factors)
        factors, _ = jax.lax.fori_loop(0, self.steps, lambda _, c: self.update.step(part, *c), carry)
        # From the maps of some pixels the spectra of all channels, and from these the maps of all pixels.
        across = matrix.take(chosen, jnp.arange(matrix.shape[1]))
        spectra = solve_least_squares(matmul(factors.maps_t, factors.maps_t.T), across.onto_maps(factors.maps_t))
        spectra = keep_first(floor_rows(spectra, problem.constraints.is_nonnegative(problem.profile_block)), live)
        maps = solve_least_squares(matmul(spectra, spectra.T), matrix.onto_spectra(spectra))
        return Bilinear(keep_first(floor_rows(maps, problem.constraints.is_nonnegative("maps")), live), spectra)
