"""What a coupled factorisation minimises, and its factors."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..constraints.base import AbstractConstraint, Constraints
from ..model import Bilinear, Rows
from ..penalties.base import Bound
from ..problem import Problem
from ..updates.base import AbstractUpdate
from .deviation import SIDES, DeviationPenalty


class Coupled(eqx.Module):
    """The factors of all blocks.

    Attributes:
        shared: of each shared side its rows, (components, pixels) or (components, features).
        own: of each block the rows of the side that is not shared; None where both are.
        deviations: of each block the rows that are added to the shared ones, by side.
    """

    shared: dict[str, Array]
    own: tuple[Array | None, ...]
    deviations: tuple[dict[str, Array], ...]

    def rows(self, b: int, side: str) -> Rows:
        """The rows of one side of a block."""
        if side not in self.shared:
            own = self.own[b]
            assert own is not None, "a side is shared or a block's own"
            return own
        rows, deviation = self.shared[side], self.deviations[b].get(side)
        return rows if deviation is None else rows + deviation

    def of_block(self, b: int) -> Bilinear:
        """The factors of one block."""
        return Bilinear(self.rows(b, "maps"), self.rows(b, "spectra"))

    def with_shared(self, side: str, rows: Rows) -> "Coupled":
        """With the shared rows of a side replaced."""
        return Coupled({**self.shared, side: rows}, self.own, self.deviations)

    def with_own(self, b: int, rows: Rows) -> "Coupled":
        """With the own rows of a block replaced."""
        return Coupled(self.shared, (*self.own[:b], rows, *self.own[b + 1 :]), self.deviations)

    def with_deviation(self, b: int, side: str, rows: Rows) -> "Coupled":
        """With a deviation replaced."""
        changed = {**self.deviations[b], side: rows}
        return Coupled(self.shared, self.own, (*self.deviations[:b], changed, *self.deviations[b + 1 :]))


class Part(NamedTuple):
    """One block of a coupled problem.

    Attributes:
        problem: as it was given.
        own: the problem of its own side while the shared sides are held; it has the deviations' penalties too.
        update: what moves the own side.
        deviations: the problem of each deviation: its penalties and constraints.
    """

    problem: Problem
    own: Problem | None
    update: AbstractUpdate | None
    deviations: dict[str, Problem]


class CoupledProblem(eqx.Module):
    r"""Minimise $\sum_b w_b (J_b(W_b, S_b) + R_b(N_b))$, with the sides that are shared equal in all blocks up to N_b.

    Attributes:
        names: of the blocks.
        parts: the blocks.
        weights: w_b, one over the variance of the noise under least squares, 1 for counts.
        share: the sides that are shared.
        constraints: those of the shared rows, by side.
        scale: the sum of all weighted squares, to the rounding of which the objective is known.
    """

    names: tuple[str, ...] = eqx.field(static=True)
    parts: tuple[Part, ...]
    weights: Float[Array, " blocks"]
    share: tuple[str, ...] = eqx.field(static=True)
    constraints: dict[str, Constraints]
    scale: Float[Array, ""]

    @property
    def is_pinned(self) -> bool:
        """Whether constraints give components a size, which then cannot be moved between the sides."""
        asked = [p.problem.constraints for p in self.parts]
        asked += [deviation.constraints for p in self.parts for deviation in p.deviations.values()]
        return any(_gives_size(item) for constraints in asked for item in constraints)

    def block_name(self, b: int, side: str) -> str:
        """What a block calls a side: its spectra are coefficients where it has a basis."""
        return "maps" if side == "maps" else self.parts[b].problem.profile_block

    def is_quadratic(self, b: int, side: str) -> bool:
        """Whether the loss of a block is a quadratic of one form for all columns of a side."""
        problem = self.parts[b].problem
        return problem.is_least_squares and (side == "maps" or problem.basis is None)

    def own_problem(self, b: int, factors: Coupled) -> Problem | None:
        """The problem of a block's own side, its penalties on deviations at the present ones."""
        problem = self.parts[b].own
        if problem is None:
            return None
        held = [i for i, p in enumerate(problem.penalties) if isinstance(p, DeviationPenalty)]
        if not held:
            return problem
        now = [factors.deviations[b][problem.penalties[i].block] for i in held]
        return eqx.tree_at(lambda q: [q.penalties[i].rows for i in held], problem, now)

    def deviating(self, b: int, side: str, factors: Coupled) -> Bilinear:
        """The factors of a block with the deviation alone on its side, as the penalties on it see them."""
        rows = {other: factors.rows(b, other) for other in SIDES} | {side: factors.deviations[b][side]}
        return Bilinear(rows["maps"], rows["spectra"])

    def bound(self, b: int, side: str, factors: Coupled) -> Bound:
        """The bound of a block's penalties as its rows of one side move, those on deviations of the other included."""
        zero = jnp.zeros((1, 1), factors.rows(b, side).dtype)
        part, name = self.parts[b], self.block_name(b, side)
        bounds = [part.problem.bound(factors.of_block(b), name)]
        for other, problem in part.deviations.items():
            if other != side:
                bounds.append(problem.bound(self.deviating(b, other, factors), name))
        return _sum([one for one in bounds if one is not None], zero)

    def deviation_bound(self, b: int, side: str, factors: Coupled) -> Bound:
        """The bound of all that sees a deviation move: the block's penalties and those on the deviation."""
        zero, own = self.bound(b, side, factors), self.parts[b].deviations[side]
        mine = own.bound(self.deviating(b, side, factors), self.block_name(b, side))
        return zero if mine is None else Bound(zero.gradient + mine.gradient, zero.curvature + mine.curvature)

    def objective(self, factors: Coupled) -> Float[Array, ""]:
        """What is minimised."""
        total = jnp.zeros((), self.weights.dtype)
        for b, part in enumerate(self.parts):
            value = part.problem.objective(factors.of_block(b))
            for side, problem in part.deviations.items():
                value = value + problem.penalty(self.deviating(b, side, factors))
            total = total + self.weights[b] * value
        return total


def _gives_size(item: AbstractConstraint) -> bool:
    """Whether a constraint gives components a size. Entries that are known to be zero do not."""
    values = getattr(item, "values", None)
    if item.kind == "fixed" and values is not None:
        return bool(np.any(np.nan_to_num(values) != 0))
    return item.kind in ("sum", "closure", "bounds", "fixed", "set", "ratio")


def _sum(bounds: list[Bound], zero: Array) -> Bound:
    return Bound(sum((b.gradient for b in bounds), start=zero), sum((b.curvature for b in bounds), start=zero))
