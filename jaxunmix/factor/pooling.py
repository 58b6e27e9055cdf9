"""Spectra from pooled pixels, then the map of every pixel: counts too few to tell spectra and maps at once."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
import scipy.sparse
from jaxtyping import Array, Float, Int, Key

from ..data.grid import Grid
from ..matrix.counts import Counts
from ..matrix.dense import Dense
from .constraints.fixed import Fixed
from .constraints.non_negative import NonNegative
from .initial.given import Given
from .losses import Poisson
from .penalties.laplacian import Laplacian
from .problem import Problem
from .solution import Restarts, Solution
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
        solution: maps of every pixel, with the spectra of `pooled`; its restarts are those of `pooled`.
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
    grid = grid_of(problem, grid)
    size = pool_size(problem, grid, rank) if size is None else size
    found, restarts_of = search(problem, rank, grid, size, key, restarts, max_steps, progress)
    pool, block, cells = pooled(problem, grid, size)
    changes: list[float] = []
    while refresh is not None and len(changes) < rounds and (not changes or changes[-1] > 1e-3):
        assert found.coefficients is not None, "refresh is for problems with a basis"
        pool = _with_basis(pool, refresh(found.coefficients))
        later = fit(pool, rank, Multiplicative(), start_of(found), max_steps=max_steps, rtol=rtol)
        changes.append(_change(found.coefficients, later.coefficients))
        found = later
    found = replace(found, restarts=restarts_of)
    kept = for_maps(problem, pool.basis)
    solution = fit(kept, rank, Multiplicative(), spread(kept, found, block, cells), max_steps=max_steps, rtol=rtol)
    solution = replace(solution, restarts=restarts_of, info={**solution.info, "pooled": size})
    return Pooled(solution, kept, found, pool, size, tuple(changes))


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
        fit(pool, rank, Sheared(), restarts=restarts // groups, key=group, max_steps=max_steps, progress=progress)
        for group in jax.random.split(key, groups)
    ]
    starts = _joined([one.restarts for one in found])
    # Each goes on alone: traces of an element that a phase does not have vanish slowly.
    found = [fit(pool, rank, Sheared(), start_of(one), max_steps=2 * max_steps, rtol=1e-8) for one in found]
    while level > size:
        found = sorted(found, key=lambda one: one.objective)[: -(-len(found) // 2)]
        level = max(size, level // 2)
        pool, finer, parts = pooled(problem, grid, level)
        _, first = np.unique(finer, return_index=True)
        share = (parts / cells[block[first]])[:, None]
        begun = [_floored(one, one.maps[block[first]] * share) for one in found]
        found = [fit(pool, rank, Sheared(), start, max_steps=max_steps, rtol=1e-8) for start in begun]
        block, cells = finer, parts
    return min(found, key=lambda one: one.objective), starts


def _joined(parts: list[Restarts]) -> Restarts:
    """All restarts of several fits."""
    longest = max(part.trace.shape[1] for part in parts)
    traces = [np.pad(p.trace, ((0, 0), (0, longest - p.trace.shape[1])), constant_values=np.nan) for p in parts]
    objective = np.concatenate([part.objective for part in parts])
    return Restarts(
        objective=objective,
        steps=np.concatenate([part.steps for part in parts]),
        status=tuple(status for part in parts for status in part.status),
        trace=np.concatenate(traces),
        best=int(np.argmin(objective)),
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
    if problem.simplex("maps") is not None or problem.fixed("maps") is not None or problem.orthogonal is not None:
        raise ValueError("pooling keeps no constraint on single pixels (Simplex, Fixed or Orthogonal maps).")
    if not isinstance(problem.loss, Poisson) or problem.weights is not None:
        raise ValueError("pooling sums counts: it serves losses.Poisson() without weights.")
    if size < 1:
        raise ValueError(f"size must be 1 or more cells, got {size}.")
    place = np.stack([axis[grid.mask] // size for axis in np.indices(grid.shape)])
    flat = np.ravel_multi_index(tuple(place), tuple(-(-n // size) for n in grid.shape))
    _, block, cells = np.unique(flat, return_inverse=True, return_counts=True)
    summing = scipy.sparse.csr_array((np.ones(len(block)), (block, np.arange(len(block)))))
    matrix = problem.matrix
    assert isinstance(matrix, Counts | Dense), "Compressed data serve no Poisson loss"
    sums = summing @ (matrix.to_scipy() if isinstance(matrix, Counts) else np.asarray(matrix.values))
    sums = sums.toarray() if scipy.sparse.issparse(sums) else sums
    penalties = [p for p in problem.penalties if not isinstance(p, Laplacian)]
    made = Problem(
        np.asarray(sums, matrix.dtype), problem.loss, problem.basis, penalties, constraints=problem.constraints
    )
    return made, block, cells.astype(float)


def grid_of(problem: Problem, grid: Grid | None) -> Grid:
    """The grid that is given, or that of a Laplacian; refused where it does not fit the pixels."""
    found = [p.grid for p in problem.penalties if isinstance(p, Laplacian) and p.block == "maps"]
    grid = grid or next(iter(found), None)
    if grid is None:
        raise ValueError("pooling asks for grid=img.grid: the matrix does not know which pixels are neighbours.")
    if grid.size != problem.matrix.shape[0]:
        raise ValueError(
            f"the grid {grid.shape} has {grid.size} cells in use, the data {problem.matrix.shape[0]} pixels; take "
            "grid=img.grid of the image that made the matrix."
        )
    return grid


def _with_basis(problem: Problem, basis: Any) -> Problem:
    return Problem(problem.matrix, problem.loss, basis, problem.penalties, constraints=problem.constraints)


def _change(old: Any, new: Any) -> float:
    return float(np.max(np.abs(new - old) / np.maximum(np.abs(old).max(axis=1, keepdims=True), 1e-30)))


def for_maps(problem: Problem, basis: Any) -> Problem:
    """The problem with spectra that stay as they are."""
    signs = [c for c in problem.constraints if isinstance(c, NonNegative)]
    return Problem(problem.matrix, problem.loss, basis, problem.penalties, constraints=(*signs, Fixed(problem.second)))


def spread(problem: Problem, found: Solution, block: np.ndarray, cells: np.ndarray) -> Given:
    """Each pixel's share of its pooled pixel, nowhere zero."""
    return _floored(found, (found.maps / cells[:, None])[block])


def _floored(found: Solution, maps: np.ndarray) -> Given:
    """These maps, nowhere zero, with the spectra of a fit."""
    return start_of(replace(found, maps=np.maximum(maps, 1e-3 * maps.mean(axis=0))))


def start_of(found: Solution) -> Given:
    """A start from where a fit ended."""
    if found.coefficients is None:
        return Given(found.maps, found.spectra)
    return Given(found.maps, coefficients=found.coefficients)
