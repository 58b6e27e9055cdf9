r"""Curvature of the Poisson likelihood: the errors of coefficients whose maps are not known either.

The model is $m_{pc} = \sum_k w_{pk} s_{kc}$, $s_{kc} = \sum_f a_{kf} B_{kfc}$, and the Fisher information of counts is
$\sum_{pc} v_{pc} \, \partial m_{pc} \, \partial m_{pc} / m_{pc}$ (weights v count as exposure). With
$G_p = B \, \mathrm{diag}(v_p / m_p) \, B^T$ its blocks are

$I_{aa} = \sum_p w_{pk} w_{pk'} G_p$, $I_{wa} = a G_p w_p$, $I_{ww} = a G_p a^T$ of each pixel by itself,

and what is left for the coefficients when the maps are fitted with them is the Schur complement
$I_{aa} - \sum_p I_{aw} I_{ww}^{-1} I_{wa}$, the curvature of the profile likelihood (Murphy and van der Vaart, J. Am.
Stat. Assoc. 95 (2000) 449). Nothing larger than (K features)^2 per pixel of a block is stored.

Entries that do not move take no part: known ones, and those at zero. Iterates approach zero without reaching it; an
entry counts as being there if one Newton step of it alone would cross zero (the active set of Bertsekas, SIAM J.
Control Optim. 20 (1982) 221), with the gradient of the whole objective.

Maps that are held at zero also bend the phases: where a phase is absent, noise would take half of its map below zero,
and only the other half is fitted. At the true phases the score of the coefficients then is not zero on average: each
held map adds its own score u < 0 times $r = I_{aw} / I_{ww}$ (given the maps that move). Taking u as half of a normal
distribution, $E|u| = \sqrt{2 I_{ww} / \pi}$, the coefficients are off by the covariance times the sum of
$-r \sqrt{2 I_{ww} / \pi}$. Zeros that were given at the start stay whatever the sign of u and add with that sign, so
that they cancel. The bias falls with the counts of a pixel as the errors do, but not with the number of pixels, an
effect of Neyman and Scott's kind (Econometrica 16 (1948) 1).
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax import lax
from jaxtyping import Array, Bool, Float

from ..factor.constraints.proportional import spread_of
from ..factor.model import Bilinear
from ..factor.problem import Problem
from ..factor.solution import Solution

# Elements of the arrays of one block of pixels, in double precision 16 MB.
BLOCK_ELEMENTS = 2**21
# Eigenvalues of a matrix with a unit diagonal below this count as this: what nothing determines has a huge error.
FLAT = 1e-12


class Curvature(NamedTuple):
    """What the curvature says.

    Attributes:
        covariance: (K, features, K, features) of the coefficients, up to the scale between them and the maps;
            0 where an entry does not move.
        bias: (K, features), estimated error of the coefficients from maps that are held at zero, to first order.
        at_zero: (K, features), entries that are held at zero by their sign, not by being known.
        known: (K, features), entries that `Fixed` keeps.
        map_sd: (pixels, parts), see `curvature`.
    """

    covariance: Float[np.ndarray, "components features components features"]
    bias: Float[np.ndarray, "components features"]
    at_zero: Bool[np.ndarray, "components features"]
    known: Bool[np.ndarray, "components features"]
    map_sd: Float[np.ndarray, "pixels parts"]


class _Pixels(NamedTuple):
    maps: Float[Array, "... components"]
    gradient: Float[Array, "... components"]
    weights: Float[Array, "... channels"] | None


class _Phases(eqx.Module):
    """What all pixels share; one basis stands for all components where they share it."""

    basis: Float[Array, "bases features channels"]
    coefficients: Float[Array, "components features"]
    spectra: Float[Array, "components channels"]
    parts: Float[Array, "components parts"]
    movable: Bool[Array, " components"]
    nonnegative: bool = eqx.field(static=True)
    summed: bool = eqx.field(static=True)


class _Sums(NamedTuple):
    """Information in the coefficients with maps known and with maps free; the pull of maps held at zero."""

    own: Float[Array, "entries entries"]
    profiled: Float[Array, "entries entries"]
    pull: Float[Array, " entries"]


def curvature(problem: Problem, solution: Solution, parts: Float[np.ndarray, "components parts"]) -> Curvature:
    """The covariance of the coefficients, and of the maps where they are turned into shares of parts.

    Sums are in double precision, a block of pixels at a time.

    Args:
        problem: with the Poisson loss and a basis; its penalties tell which entries are at zero, but their curvature
            is not added.
        solution: of this problem.
        parts: (K, parts), the amount of each part (such as an element) in a unit of each component. `map_sd` is the
            standard deviation of maps @ parts, divided by its sum over the parts, given the coefficients.
    """
    maps, coefficients = np.asarray(solution.maps, np.float64), np.asarray(solution.coefficients, np.float64)
    assert problem.basis is not None
    slopes = _gradient(problem, _factors(problem, solution))
    of_maps, of_coefficients = np.asarray(slopes.maps_t.T, np.float64), np.asarray(slopes.profiles, np.float64)
    summed = bool(problem.constraints.of("sum", "maps"))
    if summed:
        of_maps = of_maps - _mean(of_maps, maps)
    basis = np.asarray(problem.basis, np.float64).reshape(-1, *problem.basis.shape[-2:])
    with jax.enable_x64():
        phases = _Phases(
            basis=jnp.asarray(basis),
            coefficients=jnp.asarray(coefficients),
            spectra=jnp.einsum(
                "kf,kfc->kc", coefficients, np.broadcast_to(basis, (len(coefficients), *basis.shape[1:]))
            ),
            parts=jnp.asarray(parts),
            movable=jnp.asarray(_movable_maps(problem, solution.rank) & maps.any(axis=0)),
            nonnegative=problem.constraints.is_nonnegative("maps"),
            summed=summed,
        )
        weights = None if problem.weights is None else jnp.asarray(problem.weights, np.float64)
        sums, map_sd = _over_pixels(phases, _Pixels(jnp.asarray(maps), jnp.asarray(of_maps), weights))
    sums = jax.tree.map(np.asarray, sums)
    covariance, at_zero, known = _covariance(problem, coefficients, of_coefficients, sums.own, sums.profiled)
    bias = (covariance @ sums.pull).reshape(coefficients.shape)
    return Curvature(covariance.reshape(coefficients.shape * 2), bias, at_zero, known, np.asarray(map_sd))


def _factors(problem: Problem, solution: Solution) -> Bilinear:
    dtype = problem.matrix.dtype
    return Bilinear(jnp.asarray(solution.maps.T, dtype), jnp.asarray(solution.coefficients, dtype))


@eqx.filter_jit
def _gradient(problem: Problem, factors: Bilinear) -> Bilinear:
    return jax.grad(problem.objective)(factors)


def _mean(gradient: np.ndarray, entries: np.ndarray) -> np.ndarray:
    """The multiplier of the sum of each row: the gradient of the entries that are free to move."""
    return (gradient * entries).sum(axis=1, keepdims=True) / np.maximum(entries.sum(axis=1, keepdims=True), 1e-300)


def _movable_maps(problem: Problem, rank: int) -> np.ndarray:
    free = problem.constraints.free("maps", rank)
    return np.ones(rank, bool) if free is None else np.array(free).reshape(rank)


@eqx.filter_jit
def _over_pixels(phases: _Phases, pixels: _Pixels) -> tuple[_Sums, Float[Array, "pixels parts"]]:
    """The sums over all pixels, and the standard deviations of their shares."""
    count, entries = len(pixels.maps), phases.coefficients.size
    size = BLOCK_ELEMENTS // max(phases.basis.size, entries**2)
    size = max(1, min(count, size))

    def cut(rows: Array) -> Array:
        rows = jnp.pad(rows, ((0, -count % size), (0, 0)))
        return rows.reshape(-1, size, rows.shape[1])

    def add(carry: _Sums, block: _Pixels) -> tuple[_Sums, Array]:
        *sums, sd = _block(phases, block)
        return jax.tree.map(jnp.add, carry, _Sums(*sums)), sd

    zero = jnp.zeros((entries, entries), phases.spectra.dtype)
    sums, sd = lax.scan(add, _Sums(zero, zero, zero[0]), jax.tree.map(cut, pixels))
    return sums, sd.reshape(-1, sd.shape[-1])[:count]


def _block(phases: _Phases, pixels: _Pixels) -> tuple[Array, Array, Array, Array]:
    """The sums over one block of pixels; padded ones have empty maps, which add nothing."""
    maps, (rank, features) = pixels.maps, phases.coefficients.shape
    rows = phases.basis.reshape(-1, phases.basis.shape[-1])
    inverse = _inverse_model(maps @ phases.spectra, pixels.weights)
    gram = ((inverse[:, None] * rows).reshape(-1, rows.shape[1]) @ rows.T).reshape(-1, len(rows), len(rows))
    if len(phases.basis) == 1:
        gram = jnp.tile(gram, (1, rank, rank))
    spread = jnp.repeat(maps, features, axis=1)
    own = (spread[:, :, None] * gram * spread[:, None]).sum(axis=0)
    mixed = (jnp.eye(rank)[:, :, None] * phases.coefficients).reshape(rank, -1)
    cross = mixed @ gram
    between = cross @ mixed.T
    cross = cross * spread[:, None]
    diagonal = jnp.diagonal(between, axis1=1, axis2=2)
    moves = phases.movable & (diagonal > 0)
    if phases.nonnegative:
        moves &= (maps > 0) & (pixels.gradient <= maps * diagonal)
    inverse = _restricted_inverse(between, moves, phases.summed)
    taken = inverse @ cross
    profiled = own - jnp.einsum("pki,pkj->ij", cross, taken)
    # What held entries would tell beside those that move, and how much of it the coefficients share.
    held = phases.movable & ~moves & (diagonal > 0)
    left = jnp.diagonal(between - between @ inverse @ between, axis1=1, axis2=2)
    root = jnp.where(held & (left > FLAT * diagonal), jnp.sqrt(2 / np.pi / jnp.where(left > 0, left, 1)), 0)
    root *= jnp.sign(pixels.gradient)
    pull = -jnp.einsum("pk,pki->i", root, cross - between @ taken)
    return own, profiled, pull, _map_sd(phases, pixels)


def _inverse_model(model: Float[Array, "pixels channels"], weights: Array | None) -> Float[Array, "pixels channels"]:
    """Exposure over expected counts; 0 where nothing is expected, since there nothing that is live emits."""
    inverse = jnp.where(model > 0, 1 / jnp.where(model > 0, model, 1), 0)
    return inverse if weights is None else inverse * weights


def _map_sd(phases: _Phases, pixels: _Pixels) -> Float[Array, "pixels parts"]:
    """Standard deviation of each pixel's shares, with the coefficients given.

    All live maps take part, those at zero too, and the information is that of one count more of each component: of a
    single one it then gives the variance of the posterior under a flat prior, (n + 1) / |s|^2 for n counts.
    """
    areas = phases.spectra.sum(axis=1)
    more = jnp.where(phases.movable & (areas > 0), 1 / jnp.where(areas > 0, areas, 1), 0)
    inverse = _inverse_model((pixels.maps + more) @ phases.spectra, pixels.weights)
    between = (inverse[:, None] * phases.spectra) @ phases.spectra.T
    told = jnp.diagonal(between, axis1=1, axis2=2) > 0
    covariance = _restricted_inverse(between, phases.movable & told, phases.summed)
    amounts = pixels.maps @ phases.parts
    total = amounts.sum(axis=1)
    some = (total > 0) & (told | ~phases.movable).all(axis=1)
    safe = jnp.where(some, total, 1)[:, None, None]
    slopes = (phases.parts - amounts[:, None] / safe * phases.parts.sum(axis=1)[:, None]) / safe
    variance = jnp.sum(slopes * (covariance @ slopes), axis=1)
    return jnp.where(some[:, None], jnp.sqrt(jnp.maximum(variance, 0)), jnp.nan)


def _restricted_inverse(
    matrix: Float[Array, "pixels components components"], moves: Bool[Array, "pixels components"], summed: bool
) -> Float[Array, "pixels components components"]:
    """The inverse on the entries that move, 0 elsewhere; `summed`: only so that their sum stays."""
    both = moves[:, :, None] & moves[:, None]
    size = jnp.sqrt(jnp.where(moves, jnp.diagonal(matrix, axis1=1, axis2=2), 1))
    sizes = size[:, :, None] * size[:, None]
    values, vectors = jnp.linalg.eigh(jnp.where(both, matrix / sizes, jnp.eye(matrix.shape[-1])))
    inverse = (vectors / jnp.maximum(values, FLAT)[:, None]) @ jnp.swapaxes(vectors, 1, 2)
    inverse = jnp.where(both, inverse / sizes, 0)
    if not summed:
        return inverse
    column = inverse.sum(axis=2)
    total = column.sum(axis=1)
    return inverse - column[:, :, None] * column[:, None] / jnp.where(total > 0, total, 1)[:, None, None]


def _variables(ties: list[Any], features: int) -> tuple[np.ndarray, np.ndarray]:
    """What each free number puts into the coefficients, (variables, features), and one column that it alone sets."""
    spread = spread_of(ties, features)
    leads = np.setdiff1d(np.arange(features), [c for tie in ties for c in tie.columns[1:]])
    # Each number measured by its own column.
    return spread / spread[np.arange(len(leads)), leads][:, None], leads


def _covariance(
    problem: Problem, coefficients: np.ndarray, gradient: np.ndarray, own: np.ndarray, profiled: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The inverse of the profiled information where the coefficients may move, and which of them may not."""
    (rank, features), block, constraints = coefficients.shape, problem.profile_block, problem.constraints
    spread, leads = _variables(constraints.of("ratio", block), features)
    into = np.kron(np.eye(rank), spread)
    own, profiled, values = into @ own @ into.T, into @ profiled @ into.T, coefficients[:, leads]
    free = constraints.free(block, rank)
    known = np.zeros(coefficients.shape, bool) if free is None else np.broadcast_to(~np.asarray(free), (rank, features))
    scaled = _has_free_scale(problem, coefficients, known)
    simplex = constraints.one("sum", block)
    weight = spread @ (np.zeros(features) if simplex is None else simplex.members(features).astype(float))
    diagonal, slope = np.diag(own).reshape(values.shape), gradient @ spread.T
    shared = np.where(known[:, leads], 0, values) * (weight > 0)
    slope = slope - np.where(scaled[:, None], 0, _mean(slope / np.where(weight > 0, weight, 1), shared)) * weight
    at_zero = constraints.is_nonnegative(block) & ((values <= 0) | (slope > values * diagonal)) & ~known[:, leads]
    live = ~known[:, leads] & ~at_zero & (diagonal > 0)
    size = np.sqrt(np.where(live, diagonal, 1))
    # In units in which the information with known maps has a unit diagonal: what must stay orthogonal to each row.
    held = np.where(scaled[:, None], values * size, weight / size) * live
    covariance = np.zeros(own.shape)
    entries = np.flatnonzero(live)
    if len(entries):
        walls = scipy.linalg.block_diag(*held)[:, entries]
        walls = walls / np.maximum(np.linalg.norm(walls, axis=1, keepdims=True), 1e-300)
        inside, sizes = scipy.linalg.null_space(walls), size.ravel()[entries]
        covariance[np.ix_(entries, entries)] = _inverse_inside(profiled[np.ix_(entries, entries)], sizes, inside)
    return into.T @ covariance @ into, (at_zero.astype(float) @ (spread > 0)) > 0, known


def _inverse_inside(information: np.ndarray, sizes: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The inverse on the subspace `inside`, of coordinates that are measured in 1 / sizes."""
    values, vectors = np.linalg.eigh(inside.T @ (information / np.outer(sizes, sizes)) @ inside)
    root = inside @ (vectors / np.sqrt(np.maximum(values, FLAT)))
    return root @ root.T / np.outer(sizes, sizes)


def _has_free_scale(problem: Problem, coefficients: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Components whose coefficients may be multiplied by a number that the maps are divided by."""
    nonzero = (known & (coefficients != 0)).any(axis=1)
    return _movable_maps(problem, len(coefficients)) & ~nonzero & (not problem.constraints.of("sum", "maps"))
