r"""Markov moves made for peaks: local ones, relocation of a peak to where the residual is, exchange of roles.

A peak that sits where another already is cannot walk through bad fits to the place where one is missing. It is taken
out, and every place and width on a grid is weighed at once. With the residual r of the others,
$\rho = b\, \varphi' r$, and what they leave of the column, $d = 1 + b\, \varphi'\varphi - b^2 |C^{-1} A \varphi|^2$,
adding the column multiplies q_b by about

    exp(rho^2 / 2 d) d^(-1/2) 2 Phi(rho / sqrt d).

The new place is drawn from those weights, uniformly within its cell, and accepted or refused by Metropolis and
Hastings, with the weights of the old cell for the way back: both are given the same other peaks.
"""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import log_ndtr, logsumexp, ndtr
from jaxtyping import Array, Float, Key

from .collapsed import (
    FIXED,
    GAUSS,
    LORENTZ,
    SHAPES,
    STEP,
    CollapsedSpectrum,
    Terms,
    change_columns,
    factorise,
)
from .density import PerPoint, Points, choose
from .explorers import Explorer, Info

# Shares of a uniform draw among the cells, and of the points that draw part of their u anew with a move.
ANYWHERE, FRESH, FRESH_PART = 0.1, 0.5, 0.3
# Local steps are log-uniform between these, in units of the tuned one; a position moves by less than a width.
SMALLEST, LARGEST, PLACE = 0.1, 5.0, 0.3
TARGET, FIRST_STEP, LARGEST_STEP, GAIN = 0.3, 0.3, 0.5, 1.5
# Powers of the inverse of the root of x^5 = x + 1: multiples of them fill a cube of four dimensions evenly.
EVEN = tuple(1.1673039782614187**-i for i in range(1, SHAPES + 1))
# Points of the cloud that edge and white line are taken from; the sds of the kernel of each are those of its nearest
# neighbours, times a factor: a width common to all would span the gap between two modes, and miss both.
CLOUD, NEIGHBOURS, BANDWIDTH, LEAST_KERNEL = 128, 16, 0.7, 1e-4
# A round of moves of edge and white line: three nearby (0), exchange with a peak (1), from the cloud (2), and from it
# with a peak placed anew (3); and what it is where there are no peaks.
ROUND, ROUND_WITHOUT_PEAKS = (0, 0, 0, 1, 2, 3), (0, 0, 0, 0, 2, 2)


class PeakSettings(NamedTuple):
    """What was learned of each group.

    Attributes:
        peaks, shapes: (groups,), steps in quantiles of local moves of peaks, and of edge and white line.
        cloud: (groups, members, 4), edges and white lines of other points at the same b.
        kernels: (groups, members, 4), the sds of the kernel of each.
    """

    peaks: Float[Array, " groups"]
    shapes: Float[Array, " groups"]
    cloud: Float[Array, "groups members 4"]
    kernels: Float[Array, "groups members 4"]


class _At(NamedTuple):
    """Points, and what is known of them."""

    z: Points
    columns: Array
    terms: Terms
    value: PerPoint


class PeakMoves(Explorer):
    """Moves for a `CollapsedSpectrum`.

    Attributes:
        local: local moves of each peak in a sweep.
        relocations: of each peak in a sweep.
        shapes: rounds in a sweep of moves of edge and white line: three local ones, an exchange of the white line with
            a peak, and two to the place and width of both in a cloud, in the second with a peak placed anew.
        cells: of the grid of relocation, in position and in width.
        coarse: of the grid for a peak placed anew together with edge and white line.
    """

    local: int = eqx.field(static=True, default=3)
    relocations: int = eqx.field(static=True, default=1)
    shapes: int = eqx.field(static=True, default=2)
    cells: tuple[int, int] = eqx.field(static=True, default=(64, 6))
    coarse: tuple[int, int] = eqx.field(static=True, default=(32, 3))

    def init(self, density: Any, groups: int) -> PeakSettings:
        dtype = density.energy.dtype
        # Before there is a cloud: the prior, in a sequence that fills the cube evenly.
        cloud = (0.5 + jnp.outer(jnp.arange(CLOUD), jnp.asarray(EVEN, dtype))) % 1
        step = jnp.full(groups, FIRST_STEP, dtype)
        cloud = jnp.broadcast_to(cloud.astype(dtype), (groups, CLOUD, SHAPES))
        return PeakSettings(step, step, cloud, _kernels(cloud))

    def tune(self, settings: PeakSettings, z: Points, info: Info | None, memory: float | Array = 0.0) -> PeakSettings:
        members = z.reshape(len(settings.peaks), -1, z.shape[1])[:, :, :SHAPES]
        if members.shape[1] >= CLOUD:
            cloud = members[:, :: members.shape[1] // CLOUD][:, :CLOUD]
            settings = settings._replace(cloud=cloud, kernels=_kernels(cloud))
        if info is None:
            return settings

        gain = GAIN * jnp.sqrt(1 - jnp.asarray(memory, z.dtype))

        def towards(step, excess):
            return jnp.minimum(step * jnp.exp(gain * jnp.mean(excess.reshape(len(step), -1), 1)), LARGEST_STEP)

        # Where there are peaks their acceptance is told, and the signal is that of edge and white line.
        peaks, shapes = towards(settings.peaks, info.acceptance - TARGET), towards(settings.shapes, info.signal)
        return settings._replace(peaks=peaks, shapes=shapes)

    def sweep(
        self, key: Key[Array, ""], density: Any, z: Points, terms: Any, beta: PerPoint, settings: PeakSettings
    ) -> tuple[Points, Any, Info]:
        columns = density.columns(z)
        at = _At(z, columns, terms, density.log_density(terms, beta))
        each = len(z) // len(settings.peaks)
        live = jnp.sum(density.live).astype(int)
        peak_step, step = jnp.repeat(settings.peaks, each), jnp.repeat(settings.shapes, each)
        keys = jax.random.split(key)
        zero = jnp.zeros_like(beta)

        def peak(i, carry):
            at, local = carry
            k, relocate = i % jnp.maximum(live, 1), i // jnp.maximum(live, 1) < self.relocations
            at, ok = self._peak(jax.random.fold_in(keys[0], i), density, at, beta, k, relocate, peak_step)
            return at, local + ok * ~relocate

        at, local = lax.fori_loop(0, (self.local + self.relocations) * live, peak, (at, zero))

        def shape(i, carry):
            at, total = carry
            which = i % len(ROUND)
            kind = jnp.where(live > 0, jnp.asarray(ROUND)[which], jnp.asarray(ROUND_WITHOUT_PEAKS)[which])
            at, ok = _shape(jax.random.fold_in(keys[1], i), density, at, beta, kind, step, settings, self.coarse)
            return at, total + ok * (which < 3)

        at, shapes = lax.fori_loop(0, len(ROUND) * self.shapes, shape, (at, zero))
        shapes = shapes / (3 * self.shapes)
        acceptance = jnp.where(live > 0, local / jnp.maximum(self.local * live, 1), shapes)
        return at.z, at.terms, Info(acceptance, shapes - TARGET)

    def _peak(self, key, density, at, beta, k, relocate, step) -> tuple[_At, Array]:
        """One move of peak k of all points."""
        keys = jax.random.split(key, 3)
        slots = density.slots
        old = at.z[:, SHAPES + k], at.z[:, SHAPES + slots + k]
        centre, width, ratio = lax.cond(
            relocate,
            lambda: _relocated(keys[0], density, at, beta, k, old, self.cells),
            lambda: _nearby(keys[0], old, step),
        )
        inside = (centre > 0) & (centre < 1) & (width > 0) & (width < 1)
        column = density.peak_columns(centre, width) * density.live[k]
        uniforms = _refreshed(keys[1], at.terms.uniforms)
        columns = at.columns.at[:, FIXED + k].set(column)
        terms = change_columns(at.terms, columns, (FIXED + k)[None], density.target)._replace(uniforms=uniforms)
        if density.poisson:
            terms = terms._replace(columns=columns)
        value = density.log_density(terms, beta)
        ok = inside & (jnp.log(jax.random.uniform(keys[2], value.shape, value.dtype)) < value - at.value + ratio)
        z = at.z.at[:, SHAPES + k].set(centre).at[:, SHAPES + slots + k].set(width)
        z = z.at[:, -density.heights :].set(uniforms)
        columns = at.columns.at[:, FIXED + k].set(jnp.where(ok[:, None], column, at.columns[:, FIXED + k]))
        z, terms, value = choose(ok, (z, terms, value), (at.z, at.terms, at.value))
        return _At(z, columns, terms, value), ok


def _refreshed(key: Key[Array, ""], uniforms: Array) -> Array:
    """Part of the uniform numbers of half of the points drawn anew."""
    keys = jax.random.split(key, 3)
    who = jax.random.uniform(keys[0], (len(uniforms), 1)) < FRESH
    which = jax.random.uniform(keys[1], uniforms.shape) < FRESH_PART
    return jnp.where(who & which, jax.random.uniform(keys[2], uniforms.shape, uniforms.dtype), uniforms)


def _scales(key: Key[Array, ""], step: PerPoint) -> PerPoint:
    between = jax.random.uniform(key, step.shape, step.dtype, math.log(SMALLEST), math.log(LARGEST))
    return step * jnp.exp(between)


def _nearby(key: Key[Array, ""], old: tuple[Array, Array], step: PerPoint) -> tuple[Array, Array, Array]:
    """A step in position, in width, or in both."""
    keys = jax.random.split(key, 3)
    kind = jax.random.randint(keys[0], step.shape, 0, 3)
    by = jax.random.normal(keys[1], (2, *step.shape), step.dtype) * _scales(keys[2], step)
    centre = old[0] + jnp.where(kind != 1, PLACE * by[0], 0)
    return centre, old[1] + jnp.where(kind != 0, by[1], 0), jnp.zeros_like(step)


def _relocated(key, density: CollapsedSpectrum, at: _At, beta, k, old, cells) -> tuple[Array, Array, Array]:
    """A place and width of peak k on the grid by the weights of the residual, and the ratio of the ways."""
    weights = place_weights(density, at.columns, at.terms, beta, k, cells)
    (centre, width), ratio = _pick_place(key, weights, weights, old, cells)
    return centre, width, ratio


def _pick_place(
    key: Key[Array, ""], weights: Array, weights_back: Array, old: Any, cells: tuple[int, ...]
) -> tuple[list[Array], Array]:
    """Quantiles, uniform in a cell drawn by the weights, and the log ratio of the ways back and forth.

    The cells are those of a grid of len(cells) axes, flattened; the way back goes by the other weights.
    """
    keys = jax.random.split(key)
    number = math.prod(cells)
    shares, shares_back = (
        (1 - ANYWHERE) * jax.nn.softmax(each, 1) + ANYWHERE / number for each in (weights, weights_back)
    )
    below = jnp.cumsum(shares, 1)
    at = jax.random.uniform(keys[0], (len(shares), 1), shares.dtype) * below[:, -1:]
    cell = jnp.minimum(jnp.sum(below <= at, 1), number - 1)
    within = jax.random.uniform(keys[1], (len(cells), *cell.shape), old[0].dtype)
    new = [(i + w) / n for i, w, n in zip(jnp.unravel_index(cell, cells), within, cells, strict=True)]
    place = tuple(jnp.clip((o * n).astype(int), 0, n - 1) for o, n in zip(old, cells, strict=True))
    before = jnp.ravel_multi_index(place, cells, mode="clip")
    there = jnp.take_along_axis(shares, cell[:, None], 1)[:, 0]
    back = jnp.take_along_axis(shares_back, before[:, None], 1)[:, 0]
    return new, (jnp.log(back) - jnp.log(there)).astype(old[0].dtype)


class _Others(NamedTuple):
    """What the other columns leave, in single precision: weights of a proposal need only be alike on both ways.

    The residual, in which large numbers cancel, is formed in full precision.
    """

    beta: Array
    residual: Array
    whitened: Array

    def products(self, grid: Array) -> tuple[Array, Array, Array]:
        """Rho and d of each column of a grid (cells, channels), and what the others cover of it."""
        covered = jnp.einsum("pln,gn->plg", self.whitened, grid)
        d = jnp.maximum(1 + self.beta * (jnp.sum(grid**2, 1) - jnp.sum(covered**2, 1)), 1)
        return self.beta * (self.residual @ grid.T), d, covered


def _without(density: CollapsedSpectrum, columns: Array, terms: Terms, beta: PerPoint, out: Array) -> _Others:
    gram = terms.gram.at[:, out, :].set(0).at[:, :, out].set(0)
    moment = terms.moment.at[:, out].set(0)
    others = columns.at[:, out].set(0)
    identity = jnp.broadcast_to(jnp.eye(density.heights, dtype=beta.dtype), gram.shape)
    _, rows = factorise(gram, beta, jnp.concatenate([identity, beta[:, None, None] * moment[:, None]], 1))
    mean = jnp.einsum("kjp,jp->pk", rows[:-1], rows[-1])
    residual = density.target - jnp.einsum("pk,pkn->pn", mean, others)
    whitened = jnp.transpose(jnp.sqrt(beta) * rows[:-1], (2, 1, 0)).astype(jnp.float32) @ others.astype(jnp.float32)
    return _Others(beta.astype(jnp.float32)[:, None], residual.astype(jnp.float32), whitened)


def place_weights(density: CollapsedSpectrum, columns, terms: Terms, beta, k, cells) -> Float[Array, "points cells"]:
    """The logarithm of what a peak in each cell of the grid adds to q_b when peak k is taken out."""
    grid = density.peak_columns(*_middles(cells, density.energy.dtype)).astype(jnp.float32)
    rho, d, _ = _without(density, columns, terms, beta, (FIXED + k)[None]).products(grid)
    signal = rho / jnp.sqrt(d)
    return signal**2 / 2 - jnp.log(d) / 2 + log_ndtr(signal)


def _middles(cells: tuple[int, int], dtype: Any) -> tuple[Array, Array]:
    """Quantiles at the middles of the cells, position by position."""
    place, width = ((jnp.arange(n, dtype=dtype) + 0.5) / n for n in cells)
    return jnp.repeat(place, cells[1]), jnp.tile(width, cells[0])


def _kernels(cloud: Array) -> Array:
    """The sds of the kernel of each point of a cloud (groups, members, size)."""
    ends = jnp.quantile(cloud, jnp.asarray([0.25, 0.75], cloud.dtype), axis=1)
    scaled = cloud / (ends[1] - ends[0] + LEAST_KERNEL)[:, None]
    apart = jnp.sum((scaled[:, :, None] - scaled[:, None]) ** 2, -1)
    nearest = lax.top_k(-apart, NEIGHBOURS)[1]
    near = jax.vmap(lambda points, index: points[index])(cloud, nearest)
    return BANDWIDTH * jnp.std(near, axis=2) + LEAST_KERNEL


def _from_cloud(key: Key[Array, ""], z: Points, settings: PeakSettings) -> tuple[Points, Array, Array]:
    """Edge and white line of one of a cloud, jittered, and the log ratio of the densities of the cloud there and back.

    A broad line on one side of the edge and a narrow one on the other fit nearly alike, and no path of good fits leads
    from one to the other. The cloud has points of both; smoothed by kernels it is a density to propose from.
    """
    keys = jax.random.split(key)
    cloud, kernels = settings.cloud, settings.kernels
    groups = len(cloud)
    each = len(z) // groups
    pick = jax.random.randint(keys[0], (groups, each, 1), 0, cloud.shape[1])
    middle, width = (jnp.take_along_axis(a, pick, 1) for a in (cloud, kernels))
    new = middle + width * jax.random.normal(keys[1], (groups, each, SHAPES), z.dtype)
    log_size = jnp.sum(jnp.log(kernels), 2)[:, None]

    def log_density(at):
        apart = (at[:, :, None] - cloud[:, None]) / kernels[:, None]
        return logsumexp(-0.5 * jnp.sum(apart**2, -1) - log_size, 2)

    old = z[:, :SHAPES].reshape(groups, each, SHAPES)
    ratio = (log_density(old) - log_density(new)).reshape(-1)
    new = new.reshape(-1, SHAPES)
    return z.at[:, :SHAPES].set(new), ratio, jnp.all((new > 0) & (new < 1), 1)


def _from_cloud_with_peak(
    key: Key[Array, ""], density: CollapsedSpectrum, at: _At, beta: PerPoint, k: Array, settings: PeakSettings, cells
) -> tuple[Points, Array, Array]:
    """Edge and white line of one of a cloud, and peak k where the residual then is.

    A peak beside the edge makes up for where the edge is: either is bound by the other.
    """
    keys = jax.random.split(key)
    z, ratio, inside = _from_cloud(keys[0], at.z, settings)
    which = jnp.asarray([STEP, LORENTZ, GAUSS])
    columns = at.columns.at[:, which].set(density.changed_columns(z, k)[:, :3])
    terms = change_columns(at.terms, columns, which, density.target)
    there = place_weights(density, columns, terms, beta, k, cells)
    back = place_weights(density, at.columns, at.terms, beta, k, cells)
    place = SHAPES + k, SHAPES + density.slots + k
    (centre, width), peak_ratio = _pick_place(keys[1], there, back, tuple(z[:, i] for i in place), cells)
    z = z.at[:, place[0]].set(centre).at[:, place[1]].set(width)
    return z, ratio + peak_ratio, inside


def _shape(key, density: CollapsedSpectrum, at: _At, beta, kind, step, settings, cells) -> tuple[_At, Array]:
    """One move of edge and white line of all points, of the `ROUND`."""
    keys = jax.random.split(key, 4)
    k = jax.random.randint(keys[3], (), 0, jnp.maximum(jnp.sum(density.live).astype(int), 1))
    z, ratio, inside = lax.switch(
        kind,
        (
            lambda: _reshaped(keys[0], at.z, step),
            lambda: _exchanged(keys[0], density, at.z, k),
            lambda: _from_cloud(keys[0], at.z, settings),
            lambda: _from_cloud_with_peak(keys[0], density, at, beta, k, settings, cells),
        ),
    )
    z = z.at[:, -density.heights :].set(_refreshed(keys[1], at.terms.uniforms))
    which = jnp.stack([jnp.asarray(STEP), jnp.asarray(LORENTZ), jnp.asarray(GAUSS), FIXED + k])
    columns = at.columns.at[:, which].set(density.changed_columns(z, k))
    terms = change_columns(at.terms, columns, which, density.target)._replace(uniforms=z[:, -density.heights :])
    if density.poisson:
        terms = terms._replace(columns=columns)
    value = density.log_density(terms, beta)
    ok = inside & (jnp.log(jax.random.uniform(keys[2], value.shape, value.dtype)) < value - at.value + ratio)
    return _At(*choose(ok, (z, columns, terms, value), tuple(at))), ok


def _reshaped(key: Key[Array, ""], z: Points, step: PerPoint) -> tuple[Points, Array, Array]:
    """A step of one of edge, white line and their widths, of both positions, or of all four."""
    keys = jax.random.split(key, 3)
    kinds = jnp.concatenate([jnp.eye(SHAPES), jnp.asarray([[1.0, 1, 0, 0], [1, 1, 1, 1]])]).astype(z.dtype)
    kind = jax.random.randint(keys[0], step.shape, 0, len(kinds))
    by = jax.random.normal(keys[1], (len(z), SHAPES), z.dtype) * kinds[kind] * _scales(keys[2], step)[:, None]
    shapes = z[:, :SHAPES] + by
    return z.at[:, :SHAPES].set(shapes), jnp.zeros_like(step), jnp.all((shapes > 0) & (shapes < 1), 1)


def _exchanged(key: Key[Array, ""], density: CollapsedSpectrum, z: Points, k: Array) -> tuple[Points, Array, Array]:
    """White line and peak k take each other's place and width; the edge stays, or goes with the white line.

    In quantiles the volume changes by the ratio of the prior densities in eV.
    """
    prior, slots = density.prior, density.slots
    follow = jax.random.bernoulli(key, shape=(len(z),))
    s = density.shapes(z)
    centre, width = s.centres[:, k], s.widths[:, k]
    edge = s.edge + jnp.where(follow, centre - s.white_line, 0)
    new, old = (((at - prior.white_line[0]) / prior.white_line[1]) for at in (centre, s.white_line))
    new_edge, old_edge = (edge - centre) / prior.edge, (s.edge - s.white_line) / prior.edge
    place = (s.white_line - prior.peak[0]) / (prior.peak[1] - prior.peak[0])
    line_width, peak_width = (
        jnp.log(w / ends[0]) / jnp.log(ends[1] / ends[0])
        for w, ends in ((width, prior.line_width), (s.line_width, prior.peak_width))
    )
    moved = z.at[:, 0].set(ndtr(new)).at[:, 1].set(ndtr(new_edge)).at[:, 3].set(line_width)
    moved = moved.at[:, SHAPES + k].set(place).at[:, SHAPES + slots + k].set(peak_width)
    quantiles = jnp.stack([moved[:, 0], moved[:, 1], line_width, place, peak_width])
    margin = 4 * jnp.finfo(z.dtype).eps
    inside = jnp.all((quantiles > margin) & (quantiles < 1 - margin), 0)
    ratio = (old**2 - new**2 + old_edge**2 - new_edge**2) / 2
    return jnp.where(inside[:, None], moved, z), ratio, inside
