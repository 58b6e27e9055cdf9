"""Mixing the components with one another, which one block cannot see and the others decide."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...matrix.base import TINY, matmul
from ..model import Rows
from ..penalties.base import NOTHING
from ..separable import BY_ROWS
from ..updates.multiplicative import gradient_parts
from .problem import Coupled, CoupledProblem

# Shares of the step that are tried, the largest first.
SHARES = (1.0, 0.3)


def mix(problem: CoupledProblem, factors: Coupled) -> Coupled:
    r"""Rows of the shared side mixed as the other blocks ask for it, and undone in one block.

    The model of block b is the same with the maps M T and the spectra $T^{-1} S_b$ as with M and S_b, for any
    T = I + E. So the other blocks can choose E as if b were not there. `sweep` alone would need thousands of rounds for
    that: it changes M while S_b stands still, and a block of little noise allows only small changes then. E is the
    minimum of the separable bound of the other blocks,

    $E_{\cdot j} = -(M' D_j M)^{-1} M' g_j,$

    with their slopes g and curvatures D in component j. Entries that would leave their bounds are put on them, and the
    step is taken only where the objective of all blocks falls.
    """
    side, undoing = problem.share[0], _that_undo(problem, problem.share[0])
    if not undoing:
        return factors
    objective = problem.objective(factors)
    for b in undoing:
        factors, objective = _mix_around(problem, factors, objective, b, side)
    return factors


def _that_undo(problem: CoupledProblem, side: str) -> list[int]:
    """The blocks that can undo a mixing; none where the shared rows keep sums or shapes, which it would break."""
    if any(item.kind not in BY_ROWS for item in problem.constraints[side] if item.block == problem.block_name(0, side)):
        return []
    found = []
    for b, part in enumerate(problem.parts):
        own = problem.block_name(b, "spectra" if side == "maps" else "maps")
        kinds = {item.kind for item in part.problem.constraints if item.block == own}
        if part.own is not None and kinds <= BY_ROWS and not part.problem.constraints.is_fully_fixed(own):
            found.append(b)
    return found


def _mix_around(
    problem: CoupledProblem, factors: Coupled, least: Float[Array, ""], b: int, side: str
) -> tuple[Coupled, Float[Array, ""]]:
    """The factors mixed around one block, and their objective, which was `least` before."""
    rows = factors.shared[side]
    rank = len(rows)
    slope, steep = _slopes(problem, factors, b, side)
    forms = jax.vmap(lambda curvature: matmul(rows * curvature, rows.T))(steep)
    ridge = jnp.finfo(rows.dtype).eps * rank * jnp.trace(forms, axis1=1, axis2=2)[:, None, None] + TINY
    push = matmul(slope, rows.T)
    change = -jnp.linalg.solve(forms + ridge * jnp.eye(rank, dtype=rows.dtype), push[:, :, None])[:, :, 0]
    change = jnp.where(jnp.isfinite(change), change, 0)
    change = change - jnp.diag(jnp.diag(change))
    best = factors
    for share in SHARES:
        tried = _mix_rows(problem, factors, b, side, share * change)
        reached = problem.objective(tried)
        lower = reached < least
        best = jax.tree.map(lambda new, old, lower=lower: jnp.where(lower, new, old), tried, best)
        least = jnp.where(lower, reached, least)
    return best, least


def _slopes(problem: CoupledProblem, factors: Coupled, b: int, side: str) -> tuple[Rows, Rows]:
    """Slopes and curvatures of the bound of all blocks but one in the shared rows."""
    rows = factors.shared[side]
    slope, steep = jnp.zeros_like(rows), jnp.zeros_like(rows)
    for other, part in enumerate(problem.parts):
        if other == b:
            continue
        first, second = gradient_parts(part.problem, factors.of_block(other), problem.block_name(other, side))
        bound = problem.bound(other, side, factors)
        floor = NOTHING * jnp.max(jnp.abs(rows)) + TINY
        slope = slope + problem.weights[other] * (second - first + bound.gradient)
        steep = steep + problem.weights[other] * (second / jnp.maximum(rows, floor) + bound.curvature)
    return slope, steep


def _mix_rows(
    problem: CoupledProblem, factors: Coupled, b: int, side: str, change: Float[Array, "components components"]
) -> Coupled:
    """Row j of the shared side gets sum_i change_ji row_i, and the own rows of a block undo it."""
    rows, own = factors.shared[side], factors.own[b]
    assert own is not None, "a block whose sides are both shared undoes nothing"
    mixing = jnp.eye(len(rows), dtype=rows.dtype) + change
    # M T with T' = mixing, so that the other side is multiplied by the inverse of T.
    undone = jnp.linalg.solve(mixing.T, own)
    constraints, name = problem.constraints[side], problem.block_name(b, side)
    moved = constraints.keep_fixed(name, constraints.clip(name, matmul(mixing, rows)), rows)
    other = "spectra" if side == "maps" else "maps"
    known, block = problem.parts[b].problem.constraints, problem.block_name(b, other)
    undone = known.keep_fixed(block, known.clip(block, undone), own)
    return factors.with_shared(side, moved).with_own(b, undone)
