"""A coupled problem from those of its blocks: what is shared, what each block keeps, and what is refused."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp

from ..._util.validation import check_instance, check_mapping
from ..constraints.base import AbstractConstraint, Constraints
from ..constraints.fixed import Fixed
from ..constraints.orthogonal import Orthogonal
from ..penalties.ridge import Ridge
from ..problem import Problem
from ..separable import BY_NEAREST, BY_ROWS
from ..solve.checks import default_update
from .deviation import SIDES, Deviation, DeviationPenalty
from .problem import CoupledProblem, Part

QUADRATIC = BY_ROWS | BY_NEAREST | {"disjoint"}


def build(
    problems: Any,
    rank: int,
    share: tuple[str, ...],
    deviations: Any,
    find_noise: Callable[[Mapping[str, Problem]], dict[str, float]],
) -> CoupledProblem:
    """The coupled problem; see `fit_coupled` for what is refused."""
    known = _read_problems(problems, rank, share)
    moved = _read_deviations(deviations, known, share)
    names, first = tuple(known), next(iter(known.values()))
    constraints = {}
    for side in share:
        block = "maps" if side == "maps" else first.profile_block
        asked = [c for problem in known.values() for c in problem.constraints if c.block == block]
        constraints[side] = Constraints(_different(asked), first.profile_block, first.features)
        quadratic = all(p.is_least_squares and (side == "maps" or p.basis is None) for p in known.values())
        _check_shared(f"the shared {block}", constraints[side], quadratic, block)
    parts = []
    for name, problem in known.items():
        own_deviations = {}
        if name in moved:
            own_deviations[moved[name].block] = _deviation_problem(name, problem, moved[name])
        parts.append(_part(problem, share, own_deviations, rank))
    noise = find_noise(known)
    weights = jnp.asarray([1 / noise[name] ** 2 for name in names], first.matrix.dtype)
    scale = sum(
        (
            w * jnp.sum(p.matrix.squares if p.loss.beta == 2 else p.matrix.pixel_sums)
            for w, p in zip(weights, known.values(), strict=True)
        ),
        start=jnp.zeros((), first.matrix.dtype),
    )
    return CoupledProblem(names, tuple(parts), weights, share, constraints, scale)


def _read_problems(problems: Any, rank: int, share: tuple[str, ...]) -> dict[str, Problem]:
    check_mapping(problems, "problems", '{"eels": problem_1, "edx": problem_2}')
    if len(problems) < 2:
        raise ValueError(f"problems has {len(problems)} blocks; a coupled fit takes two or more, one alone is for fit.")
    known = {}
    for name, problem in problems.items():
        if not isinstance(name, str):
            raise ValueError(f"problems: the names of blocks are words, got {name!r}.")
        known[name] = check_instance(problem, Problem, f"problems[{name!r}]", "Problem(X)")
    first_name, first = next(iter(known.items()))
    for name, problem in known.items():
        _check_block(name, problem, rank)
        sizes = {"maps": (problem.matrix.shape[0], "pixels"), "spectra": (problem.features, "channels or features")}
        wanted = {"maps": first.matrix.shape[0], "spectra": first.features}
        for side in share:
            size, words = sizes[side]
            if size != wanted[side]:
                raise ValueError(
                    f"the blocks share {side}, so that they have the same {words}: {first_name!r} has {wanted[side]}, "
                    f"{name!r} {size}; crop or bin one of the images, or share something else."
                )
        if "spectra" in share and problem.profile_block != first.profile_block:
            raise ValueError(
                f"the blocks share spectra: {first_name!r} fits {first.profile_block}, {name!r} "
                f"{problem.profile_block}; give a basis to both or to none."
            )
    if not any(min(p.matrix.shape) >= rank for p in known.values()):
        raise ValueError(f"rank {rank} is above the smaller side of every block; fit fewer components.")
    return known


def _check_block(name: str, problem: Problem, rank: int) -> None:
    where = f"problems[{name!r}]"
    if problem.matrix.is_compressed:
        raise ValueError(f"{where}: Compressed data are for fit alone; give the full matrix.")
    if problem.loss.beta not in (1, 2) or not problem.loss.link.is_identity or not problem.loss.is_split:
        raise ValueError(f"{where}: the loss {problem.loss.label} is not served; use Frobenius() or Poisson().")
    if problem.resolution is not None:
        raise ValueError(f"{where}: a Resolution is not served; sharpen or blur the images alike first.")
    for penalty in problem.penalties:
        if penalty.is_relevance:
            raise ValueError(f"{where}: ARD decides for one block alone; fit_coupled has a fixed number of components.")
        if not penalty.has_bound:
            raise ValueError(
                f"{where}: the penalty {penalty.label!r} has no separable bound, which a shared side needs."
            )
        if penalty.is_auto:
            raise ValueError(f'{where}: the weight of {type(penalty).__name__} is "auto"; choose it by tune first.')
    for kind in ("norm", "product", "closure"):
        for constraint in problem.constraints.of(kind):
            raise ValueError(
                f'{where}: {type(constraint).__name__}("{constraint.block}") is not served by fit_coupled; leave it '
                "out."
            )
    if problem.basis is not None and problem.basis.ndim == 3 and len(problem.basis) != rank:
        raise ValueError(f"{where}: the basis is for {len(problem.basis)} components, the rank is {rank}.")
    problem.constraints.check_rank(rank)


def _read_deviations(deviations: Any, known: Mapping[str, Problem], share: tuple[str, ...]) -> dict[str, Deviation]:
    example = '{"edx": Deviation("maps", 0.1)}'
    deviations = {} if deviations is None else check_mapping(deviations, "deviations", example)
    for name, deviation in deviations.items():
        if name not in known:
            raise ValueError(f"deviations names {name!r}, which is no block; the blocks are {', '.join(known)}.")
        check_instance(deviation, Deviation, f"deviations[{name!r}]", 'Deviation("maps", 0.1)')
        if deviation.block not in share:
            raise ValueError(
                f'deviations[{name!r}]: the {deviation.block} are not shared, so that nothing deviates; share="both" '
                "shares maps and spectra."
            )
    if len(deviations) == len(known):
        raise ValueError("deviations: every block deviates, so that nothing says what is shared; leave one block out.")
    return dict(deviations)


def _deviation_problem(name: str, problem: Problem, deviation: Deviation) -> Problem:
    """The penalties and constraints of a deviation, as those of a problem with the block's data."""
    where = f"deviations[{name!r}]"
    if deviation.block == "spectra" and problem.basis is not None:
        raise ValueError(f"{where}: the block has a basis; a deviation of its spectra is not served.")
    terms = (Ridge(deviation.block, deviation.weight), *deviation.penalties)
    found = problem.replace(penalties=terms, constraints=deviation.constraints)
    block = "maps" if deviation.block == "maps" else problem.profile_block
    _check_shared(where, found.constraints, problem.is_least_squares, block)
    nonnegative = found.constraints.is_nonnegative(block)
    if not problem.is_least_squares and not nonnegative:
        raise ValueError(
            f"{where}: the block is not plain least squares, where N has to be non-negative; add "
            f'NonNegative("{block}").'
        )
    for penalty in deviation.penalties:
        if penalty.asks_nonnegative and not nonnegative:
            raise ValueError(f'{where}: {type(penalty).__name__} needs NonNegative("{block}") among its constraints.')
    return found


def _check_shared(where: str, constraints: Constraints, quadratic: bool, block: str) -> None:
    kept = QUADRATIC if quadratic else BY_ROWS
    for constraint in constraints:
        name = f'{type(constraint).__name__}("{constraint.block}")'
        if constraint.kind not in kept or (isinstance(constraint, Orthogonal) and constraint.is_soft):
            raise ValueError(
                f"{where}: {name} is not kept there"
                + (
                    "."
                    if quadratic
                    else "; with counts, weights or a basis a shared side keeps signs, limits and fixed rows."
                )
            )
    if not quadratic and not constraints.is_nonnegative(block):
        raise ValueError(
            f"{where}: with counts, weights or a basis among the blocks they have to be non-negative; add "
            f'NonNegative("{block}").'
        )


def _different(constraints: list[AbstractConstraint]) -> list[AbstractConstraint]:
    """Without those that say the same again."""
    found: list[AbstractConstraint] = []
    for constraint in constraints:
        if not any(type(c) is type(constraint) and bool(eqx.tree_equal(c, constraint)) for c in found):
            found.append(constraint)
    return found


def _part(problem: Problem, share: tuple[str, ...], deviations: dict[str, Problem], rank: int) -> Part:
    """A block with the problem and the update of its own side."""
    sides = [side for side in SIDES if side not in share]
    if not sides:
        return Part(problem, None, None, deviations)
    held = "maps" if "maps" in share else problem.profile_block
    terms = list(problem.penalties)
    for side, deviating in deviations.items():
        columns = problem.matrix.shape[0] if side == "maps" else problem.features
        rows = jnp.zeros((rank, columns), problem.matrix.dtype)
        terms += [DeviationPenalty(side, inner.weight, inner, rows) for inner in deviating.penalties]
    # Of the side that is held only its sign matters, to the penalties that ask for it.
    kept = [c for c in problem.constraints if c.block != held or c.kind == "sign"]
    own = problem.replace(penalties=tuple(terms), constraints=(Fixed(held), *kept))
    update = default_update(own)
    update.check(own)
    return Part(problem, own, update, deviations)
