"""Where a coupled factorisation starts: from one block, whose shared rows the others are fitted to."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Key

from ...matrix.base import matmul
from ..initial.base import AbstractInitial, floor_rows, solve_least_squares, to_profiles
from ..model import Bilinear, Rows, expand, rows_of, with_rows
from ..problem import Problem
from ..solve.checks import default_update
from .deviation import SIDES
from .problem import Coupled, CoupledProblem

# Deviations start at this share of the mean of the shared rows where a multiplicative step moves them.
SMALL = 0.01
# Steps of a block alone before the others join.
ALONE = 100


class Start(eqx.Module):
    """Makes the factors of all blocks from a key.

    Attributes:
        problem: what is to be fitted.
        init: the start of one block.
        rank: number of components.
        first: that block, which is fitted alone at first: what it knows of the components, such as which elements are
            not in them, decides their order, which the others cannot change once they have joined.
    """

    problem: CoupledProblem
    init: AbstractInitial
    rank: int = eqx.field(static=True)
    first: int = eqx.field(static=True)

    def __call__(self, key: Key[Array, ""]) -> Coupled:
        problem = self.problem
        main = problem.parts[self.first].problem
        found = main.normalise(self.init(main, self.rank, key))
        if not self.init.is_given:
            found = _fit_alone(main, found)
        shared = {side: rows_of(found, side) for side in problem.share}
        for side, constraints in problem.constraints.items():
            block = problem.block_name(self.first, side)
            rows = rows_of(constraints.impose(with_rows(found, side, shared[side])), side)
            shared[side] = constraints.clip(block, rows)
        own: list[Rows | None] = []
        for b, part in enumerate(problem.parts):
            sides = [side for side in SIDES if side not in problem.share]
            own.append(_fit_own(part.problem, sides[0], shared) if sides else None)
            if b == self.first and sides and not part.problem.constraints.of("sum"):
                own[-1] = rows_of(found, sides[0])
        deviations = tuple(
            {side: self._deviation(b, side, shared[side]) for side in part.deviations}
            for b, part in enumerate(problem.parts)
        )
        return Coupled(shared, tuple(own), deviations)

    def _deviation(self, b: int, side: str, shared: Rows) -> Rows:
        if self.problem.is_quadratic(b, side):
            return jnp.zeros_like(shared)
        return jnp.full_like(shared, SMALL * jnp.mean(jnp.abs(shared)))


def _fit_alone(problem: Problem, factors: Bilinear) -> Bilinear:
    update = default_update(problem)
    state = update.init(problem, factors)
    alone, _ = lax.fori_loop(0, ALONE, lambda _, c: update.step(problem, *c), (factors, state))
    finite = jnp.isfinite(problem.objective(alone))
    alone = problem.normalise(alone)
    return jax.tree.map(lambda new, old: jnp.where(finite, new, old), alone, factors)


def _fit_own(problem: Problem, side: str, shared: dict[str, Array]) -> Array:
    """The own side of a block by least squares to the shared one, as its constraints ask for it."""
    matrix, block = problem.matrix, "maps" if side == "maps" else problem.profile_block
    if side == "maps":
        fixed = shared["spectra"] if problem.basis is None else expand(shared["spectra"], problem.basis)
        rows = solve_least_squares(matmul(fixed, fixed.T), matrix.onto_spectra(fixed))
        rows = floor_rows(rows, problem.constraints.is_nonnegative("maps"))
        factors = Bilinear(rows, shared["spectra"])
    else:
        maps = shared["maps"]
        spectra = solve_least_squares(matmul(maps, maps.T), matrix.onto_maps(maps))
        rows = floor_rows(to_profiles(problem, spectra), problem.constraints.is_nonnegative(block))
        factors = Bilinear(maps, rows)
    imposed = problem.constraints.impose(problem.complete(factors)).without_basis()
    return problem.constraints.clip(block, rows_of(imposed, side))
