"""Spectra from pooled pixels, then the map of every pixel: counts too few to tell spectra and maps at once."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
import scipy.sparse
from jaxtyping import Array, Float, Int, Key

from .._util.padding import pad_alike
from .._util.validation import check_callable, check_flag, check_instance, check_key, check_number, check_whole_number
from ..data.grid import Grid
from .constraints.fixed import Fixed
from .initial.given import Given
from .problem import Problem
from .solution import Restarts, Solution
from .solve.checks import PROBLEM
from .solve.fitting import fit
from .updates.multiplicative import Multiplicative
from .updates.shear import Sheared

# Counts that a pooled pixel should have: on simulated minerals errors fell up to about here, at 18 and 293 counts.
WANTED_COUNTS = 1000
# Pooled pixels for each component, at least.
LEAST_PIXELS = 16
# Starts that go on from the largest sums to finer ones.
FINALISTS = 6

Refresh = Callable[[Float[np.ndarray, "components features"]], Any]


@dataclass(frozen=True)
class Pooled:
    """The outcome of `fit_pooled`.

    Attributes:
        solution: maps of every pixel, with the spectra of `pooled`; its restarts are those of `pooled`, without
            alternatives.
        problem: what the maps were fitted in, with the basis of the last round.
        pooled: the fit of the pooled pixels, whose coefficients have the errors of `quantify(pool, pooled, basis)`.
        pool: what they were fitted in.
        size: cells along each side of a pooled pixel.
        changes: the largest change of a coefficient, relative to its component's largest, in each round of `refresh`.
    """

    solution: Solution
    problem: Problem
    pooled: Solution
    pool: Problem
    size: int
    changes: tuple[float, ...]


def fit_pooled(
    problem: Problem,
    rank: int,
    grid: Grid | None = None,
    *,
    key: Key[Array, ""],
    size: int | None = None,
    restarts: int = 36,
    max_steps: int = 500,
    rtol: float | int = 1e-6,
    refresh: Refresh | None = None,
    rounds: int = 10,
    progress: bool = False,
) -> Pooled:
    r"""Fit spectra to pooled pixels from many starts, then maps to every pixel with these spectra.

    Maps and spectra that are fitted together to a few counts in each pixel share the noise: with K unknowns for each
    pixel, whose number grows with the data, the spectra stay wrong however large the map is (Neyman and Scott,
    Econometrica 16 (1948) 1). Sums of `size` x `size` pixels are the same mixtures with less noise, and the sums are
    Poisson too. So the spectra come from them, by `Sheared` updates with all penalties but the Laplacian, and the maps
    of the single pixels with all penalties. What is lost are phases that appear only in mixtures within a pooled pixel
    but purer in a single one.

    Args:
        problem: under Poisson; weights of its penalties chosen (see `tune`).
        rank: the number of components K.
        grid: `img.grid`; None takes that of a Laplacian.
        key: randomness of the starts.
        size: cells along each side of a pooled pixel; None pools until there are 1,000 counts in each, as long as 16 K
            of them are left.
        restarts: starts of the pooled fit.
        max_steps: of each fit.
        rtol: as in `fit`.
        refresh: a function of the coefficients that gives a basis for each component, (K, features, channels), such
            as `lambda c: model.basis(composition(c))`: absorption by the current composition of each phase. It is
            frozen while a fit runs, and made anew from what the fit found until no coefficient changes by 1e-3.
        rounds: of `refresh` at most.
        progress: a bar on stderr.

    Raises:
        ValueError: no grid, another loss, or maps under a constraint that pooling cannot keep.
    """
    check_instance(problem, Problem, "problem", PROBLEM)
    check_pooling(rank, key, size, restarts, max_steps, progress)
    check_number(rtol, "rtol", 0)
    check_whole_number(rounds, "rounds", 0)
    if refresh is not None:
        check_callable(refresh, "refresh", "lambda c: model.basis(composition(c))")
    grid = grid_of(problem, grid)
    size = pool_size(problem, grid, rank) if size is None else size
    found, restarts_of = search(problem, rank, grid, size, key, restarts, max_steps, progress)
    pool, block, cells = pooled(problem, grid, size)
    changes: list[float] = []
    while refresh is not None and len(changes) < rounds and (not changes or changes[-1] > 1e-3):
        assert found.coefficients is not None, "refresh is for problems with a basis"
        pool = pool.replace(basis=refresh(np.asarray(found.coefficients)))
        later = fit(pool, rank, Multiplicative(), start_of(found), max_steps=max_steps, rtol=rtol)
        changes.append(_change(found.coefficients, later.coefficients))
        found = later
    found = replace(found, restarts=restarts_of)
    kept = for_maps(problem, pool.basis)
    solution = fit(kept, rank, Multiplicative(), spread(kept, found, block, cells), max_steps=max_steps, rtol=rtol)
    described = (*solution.description, ("pooled", size))
    solution = replace(solution, restarts=restarts_of, description=described)
    return Pooled(solution, kept, found, pool, size, tuple(changes))


def check_pooling(rank: Any, key: Any, size: Any, restarts: Any, max_steps: Any, progress: Any) -> None:
    """Refuse what are no whole numbers and no key, before the first of many fits."""
    check_key(key)
    check_flag(progress, "progress")
    for name, value, least in (("rank", rank, 1), ("restarts", restarts, 1), ("max_steps", max_steps, 0)):
        check_whole_number(value, name, least)
    if size is not None:
        check_whole_number(size, "size", 1)


def search(
    problem: Problem,
    rank: int,
    grid: Grid,
    size: int,
    key: Key[Array, ""],
    restarts: int,
    max_steps: int,
    progress: bool = False,
) -> tuple[Solution, Restarts]:
    """(the best fit of sums of `size`, all starts): many starts on the largest sums, a few of which go on.

    The starts are fitted in groups; the best of each group goes on to finer sums, where phases that are rarely pure
    show better, half as many to each: there the least objective decides.
    """
    groups = min(FINALISTS, restarts)
    level = max(size, pool_size(problem, grid, rank, np.inf))
    pool, block, cells = pooled(problem, grid, level)
    found = [
        fit(
            pool,
            rank,
            Sheared(),
            restarts=restarts // groups,
            key=group,
            max_steps=max_steps,
            progress=progress,
            alternatives=None,
        )
        for group in jax.random.split(key, groups)
    ]
    starts = _join([one.restarts for one in found])
    # Each goes on alone: traces of an element that a phase does not have vanish slowly.
    found = [fit(pool, rank, Sheared(), start_of(one), max_steps=2 * max_steps, rtol=1e-8) for one in found]
    while level > size:
        found = sorted(found, key=lambda one: float(one.objective))[: -(-len(found) // 2)]
        level = max(size, level // 2)
        pool, finer, parts = pooled(problem, grid, level)
        _, first = np.unique(finer, return_index=True)
        share = (parts / cells[block[first]])[:, None]
        begun = [_start_above_zero(one, np.asarray(one.maps)[block[first]] * share) for one in found]
        found = [fit(pool, rank, Sheared(), start, max_steps=max_steps, rtol=1e-8) for start in begun]
        block, cells = finer, parts
    return min(found, key=lambda one: float(one.objective)), starts


def _join(parts: list[Restarts]) -> Restarts:
    """All restarts of several fits."""
    objective = np.concatenate([np.asarray(part.objective) for part in parts])
    return Restarts.of(
        objective,
        np.concatenate([np.asarray(part.steps) for part in parts]),
        [status for part in parts for status in part.status],
        np.concatenate(pad_alike([np.asarray(part.trace) for part in parts])),
        int(np.argmin(objective)),
        objective.dtype,
    )


def pool_size(problem: Problem, grid: Grid, rank: int, wanted: float = WANTED_COUNTS) -> int:
    """Cells along each side, a power of two, until there are so many counts in each sum (see `fit_pooled`)."""
    counts = float(np.asarray(problem.matrix.pixel_sums, float).mean())
    size, dims = 1, len(grid.shape)
    while counts * size**dims < wanted and grid.size >= LEAST_PIXELS * rank * (2 * size) ** dims:
        size *= 2
    return size


def pooled(
    problem: Problem, grid: Grid, size: int
) -> tuple[Problem, Int[np.ndarray, " pixels"], Float[np.ndarray, " blocks"]]:
    """(the problem of the sums, the sum that each pixel is in, the live pixels in each sum).

    Raises:
        ValueError: see `fit_pooled`.
    """
    constraints = problem.constraints
    if any(constraints.of(kind, "maps") for kind in ("sum", "fixed", "disjoint")):
        raise ValueError("pooling keeps no constraint on single pixels (Simplex, Fixed or Orthogonal maps).")
    if problem.loss.beta != 1 or problem.weights is not None:
        raise ValueError("pooling sums counts: it serves losses.Poisson() without weights.")
    if size < 1:
        raise ValueError(f"size must be 1 or more cells, got {size}.")
    place = np.stack([axis[grid.mask] // size for axis in np.indices(grid.shape)])
    flat = np.ravel_multi_index(tuple(place), tuple(-(-n // size) for n in grid.shape))
    _, block, cells = np.unique(flat, return_inverse=True, return_counts=True)
    summing = scipy.sparse.csr_array((np.ones(len(block)), (block, np.arange(len(block)))))
    sums = summing @ problem.matrix.to_host()
    sums = sums.toarray() if scipy.sparse.issparse(sums) else sums
    penalties = [p for p in problem.penalties if not p.is_smoothing]
    made = problem.replace(matrix=np.asarray(sums, problem.matrix.dtype), penalties=penalties)
    return made, block, cells.astype(float)


def grid_of(problem: Problem, grid: Grid | None) -> Grid:
    """The grid that is given, or that of a Laplacian; refused where it does not fit the pixels."""
    check_instance(grid, (Grid, type(None)), "grid", "img.grid")
    grid = grid or next((p.pixel_grid for p in problem.penalties if p.pixel_grid is not None), None)
    if grid is None:
        raise ValueError("pooling asks for grid=img.grid: the matrix does not know which pixels are neighbours.")
    if grid.size != problem.matrix.shape[0]:
        raise ValueError(
            f"the grid {grid.shape} has {grid.size} cells in use, the data {problem.matrix.shape[0]} pixels; take "
            "grid=img.grid of the image that made the matrix."
        )
    return grid


def _change(old: Any, new: Any) -> float:
    return float(np.max(np.abs(new - old) / np.maximum(np.abs(old).max(axis=1, keepdims=True), 1e-30)))


def for_maps(problem: Problem, basis: Any) -> Problem:
    """The problem with spectra that stay as they are."""
    constraints = (*problem.constraints.of("sign"), Fixed(problem.profile_block))
    return problem.replace(basis=basis, constraints=constraints)


def spread(problem: Problem, found: Solution, block: np.ndarray, cells: np.ndarray) -> Given:
    """Each pixel's share of its pooled pixel, nowhere zero."""
    return _start_above_zero(found, (np.asarray(found.maps) / cells[:, None])[block])


def _start_above_zero(found: Solution, maps: np.ndarray) -> Given:
    """These maps, nowhere zero, with the spectra of a fit."""
    return start_of(found, np.maximum(maps, 1e-3 * maps.mean(axis=0)))


def start_of(found: Solution, maps: np.ndarray | None = None) -> Given:
    """A start from where a fit ended, or from its spectra and other maps."""
    maps = np.asarray(found.maps) if maps is None else maps
    if found.coefficients is None:
        return Given(maps, found.spectra)
    return Given(maps, coefficients=found.coefficients)
