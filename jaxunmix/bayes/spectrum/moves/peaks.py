r"""Markov moves for peaks: local, relocation to where the residual is, exchange of roles, from a mixture.

Relocation is in `relocation`, moves of edge and white line in `edge`, the exchange between points in `crossover`.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key

from ...explorers.base import Explorer, Info
from ...explorers.mixture import Mixture, fit_mixture, standard_mixture
from ...path import PerPoint, Points, choose
from ..marginal import SHAPES, CollapsedSpectrum, CollapsedTerms, Spans, change_columns, put
from ..truncated_normal import FIXED, STEP
from .crossover import crossed
from .edge import bound, exchanged, from_mixture, reshaped, scales
from .random_numbers import RandomNumbers, draw_random_numbers
from .relocation import edge_relocated, middles, pick_place, place_weights

# The columns of edge and white line.
LINE = (STEP, 3)
# The shares of the points that draw part of their u anew with a move, and of that part.
FRESH, FRESH_PART = 0.5, 0.3
# A position moves by less than a width.
PLACE = 0.3
TARGET, FIRST_STEP, LARGEST_STEP, GAIN = 0.3, 0.3, 0.5, 1.5
# Edge and white line are bound to the peak next to it: a mixture of so many components is fitted to the six numbers, in
# a cloud of other points at the same b, of which there must be enough.
COMPONENTS, LEAST_MEMBERS, MOST_MEMBERS = 8, 64, 512
# A round of moves of edge and white line: nearby (0), exchange of the white line with a peak (1), and from the mixture,
# together with the nearest peak (2).
ROUND, ROUND_WITHOUT_PEAKS = (0, 2, 0, 1, 0, 2), (0, 2, 0, 0, 0, 2)


class PeakSettings(NamedTuple):
    """What was learned of each group, and what of the density is needed to learn it.

    Attributes:
        peaks, shapes: (groups,), steps in quantiles of local moves of peaks, and of edge and white line.
        mixture: (groups, ...), of edge, white line and the nearest peak, in normal scores.
        line: (groups, 2), mean and sd of E_WL as shares of the window of the peaks.
        live: (groups, slots), 1 for the peaks that there are.
    """

    peaks: Float[Array, " groups"]
    shapes: Float[Array, " groups"]
    mixture: Mixture
    line: Float[Array, "groups 2"]
    live: Float[Array, "groups slots"]


class _At(NamedTuple):
    """Points, and what is known of them."""

    z: Points
    columns: Array
    terms: CollapsedTerms
    value: PerPoint


class PeakMoves(Explorer):
    """Moves for a `CollapsedSpectrum`.

    Attributes:
        local: local moves of each peak in a sweep.
        relocations: of each peak in a sweep.
        crossovers: exchanges between points in a sweep. Points of a group then know of each other: they are draws from
            its density as before, but what becomes of one tells of the others.
        edges: relocations of the edge in a sweep.
        shapes: rounds in a sweep of moves of edge and white line: three local ones, an exchange of the white line with
            a peak, and two in which both are drawn anew together with the nearest peak.
        cells: of the grid of relocation, in position and in width.
        block: on a CPU a sweep takes about so many points at a time, whose columns then stay in its cache; with 14
            peaks it takes 0.6 of the time that it takes with 1,024 points at once.
    """

    local: int = eqx.field(static=True, default=3)
    relocations: int = eqx.field(static=True, default=1)
    shapes: int = eqx.field(static=True, default=2)
    crossovers: int = eqx.field(static=True, default=0)
    edges: int = eqx.field(static=True, default=0)
    cells: tuple[int, int] = eqx.field(static=True, default=(64, 6))
    block: int = eqx.field(static=True, default=128)

    def init(self, density: Any, groups: int) -> PeakSettings:
        dtype = density.energy.dtype
        prior = density.prior
        step = jnp.full(groups, FIRST_STEP, dtype)
        window = prior.peak[1] - prior.peak[0]
        line = jnp.stack([prior.white_line[0] - prior.peak[0], prior.white_line[1]]) / window
        # Before there is a cloud: the prior.
        first = standard_mixture(COMPONENTS + 1, SHAPES + 2, dtype), line, density.live
        return PeakSettings(step, step, *jax.tree.map(lambda a: jnp.broadcast_to(a, (groups, *a.shape)), first))

    def tune(self, settings: Any, z: Points, info: Info | None, memory: float | Array = 0.0) -> PeakSettings:
        groups = len(settings.peaks)
        each = len(z) // groups
        if info is None and each >= LEAST_MEMBERS:
            members = z.reshape(groups, each, -1)[:, :: -(-each // MOST_MEMBERS)]
            x = jax.vmap(lambda z, line, live: bound(z, line, live)[0])(members, settings.line, settings.live)
            return settings._replace(mixture=jax.vmap(partial(fit_mixture, components=COMPONENTS))(x))
        if info is None:
            return settings

        gain = GAIN * jnp.sqrt(1 - jnp.asarray(memory, z.dtype))

        def towards(step, excess):
            return jnp.minimum(step * jnp.exp(gain * jnp.mean(excess.reshape(len(step), -1), 1)), LARGEST_STEP)

        # Where there are peaks their acceptance is told, and the signal is that of edge and white line.
        peaks, shapes = towards(settings.peaks, info.acceptance - TARGET), towards(settings.shapes, info.signal)
        return settings._replace(peaks=peaks, shapes=shapes)

    def sweep(
        self, key: Key[Array, ""], density: Any, z: Points, terms: Any, beta: PerPoint, settings: Any
    ) -> tuple[Points, Any, Info]:
        groups, each = _blocks(len(settings.peaks), len(z), self.block)
        blocks = len(z) // (groups * each)
        rest = blocks * groups // len(settings.peaks)
        keys = jax.random.split(key, blocks)
        settings = jax.tree.map(lambda a: jnp.repeat(a, rest, axis=0), settings)
        parts = jax.tree.map(lambda a: a.reshape(blocks, -1, *a.shape[1:]), (z, terms, beta, settings))

        def one(of):
            key, part = of
            return self._sweep(key, density, *part)

        found = lax.map(one, (keys, parts))
        return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), found)

    def _sweep(
        self, key: Key[Array, ""], density: Any, z: Points, terms: Any, beta: PerPoint, settings: Any
    ) -> tuple[Points, Any, Info]:
        at = _At(z, density.columns(z), terms, density.log_density(terms, beta))
        each = len(z) // len(settings.peaks)
        live = jnp.sum(density.live).astype(int)
        most = self.relocations * density.slots, self.local * density.slots, len(ROUND) * self.shapes
        most = *most, *(number for number in (self.crossovers, self.edges) if number)
        places, peaks, shapes, *others = draw_random_numbers(key, density, len(z), [max(number, 1) for number in most])
        if self.relocations:
            at = self._relocated(places, density, at, beta, live)
        if self.crossovers:
            cross = partial(_crossed, density, beta, each, others.pop(0))
            at = lax.fori_loop(0, self.crossovers, cross, at)
        if self.edges:
            at = lax.fori_loop(0, self.edges, partial(_edge, density, beta, others.pop(0)), at)
        at, local = self._walked(peaks, density, at, beta, live, jnp.repeat(settings.peaks, each))
        step = jnp.repeat(settings.shapes, each)

        def shape(i, carry):
            at, total = carry
            which = i % len(ROUND)
            kind = jnp.where(live > 0, jnp.asarray(ROUND)[which], jnp.asarray(ROUND_WITHOUT_PEAKS)[which])
            at, ok = _shape(shapes.of(i), density, at, beta, kind, step, settings)
            return at, total + ok * (which % 2 == 0)

        at, told = lax.fori_loop(0, most[2], shape, (at, jnp.zeros_like(beta)))
        told = told / max(3 * self.shapes, 1)
        acceptance = jnp.where(live > 0, local, told)
        return at.z, at.terms, Info(acceptance, told - TARGET)

    def _relocated(
        self, random: RandomNumbers, density: CollapsedSpectrum, at: _At, beta: PerPoint, live: Array
    ) -> _At:
        """Every peak in turn to where the residual of the others is."""
        grid, seen = _seen(density, at, self.cells)

        def relocate(i, carry):
            at, seen = carry
            own, k = random.of(i), i % live
            weights = place_weights(density, at.columns, at.terms, beta, FIXED + k, grid, seen)
            old = _peak(at.z, k, density.slots)
            (centre, width), ratio = pick_place(own.uniform, weights, weights, old, self.cells)
            at, _ = _moved(own, density, at, beta, k, (centre, width, ratio))
            return at, _seen_again(seen, at.columns, k, grid)

        return lax.fori_loop(0, self.relocations * live, relocate, (at, seen))[0]

    def _walked(
        self, random: RandomNumbers, density: CollapsedSpectrum, at: _At, beta: PerPoint, live: Array, step: PerPoint
    ) -> tuple[_At, Array]:
        """Every peak in turn a little, and the acceptance."""

        def walk(i, carry):
            at, total = carry
            own, k = random.of(i), i % live
            at, ok = _moved(own, density, at, beta, k, _nearby(own, _peak(at.z, k, density.slots), step))
            return at, total + ok

        at, total = lax.fori_loop(0, self.local * live, walk, (at, jnp.zeros_like(beta)))
        return at, total / jnp.maximum(self.local * live, 1)


def _blocks(groups: int, points: int, best: int) -> tuple[int, int]:
    """How many groups a block has, and points of each of them: whole groups, or an even part of one."""
    each = points // groups
    if jax.default_backend() != "cpu":
        return groups, each
    if each > best:
        return 1, _divisor(each, best)
    return _divisor(groups, best / each), each


def _divisor(number: int, best: float | int) -> int:
    """Of a number, that which is nearest to the best by its ratio."""
    return min((n for n in range(1, number + 1) if number % n == 0), key=lambda n: abs(math.log(n / best)))


def _peak(z: Points, k: Array, slots: int) -> tuple[Array, Array]:
    """Quantiles of position and width of peak k."""
    return z[:, SHAPES + k], z[:, SHAPES + slots + k]


def _seen(density: CollapsedSpectrum, at: _At, cells: tuple[int, int]) -> tuple[Array, Array]:
    """Columns of a peak in each cell of a grid, (cells, channels), and those of the points as they are seen by them."""
    grid = density.peak_columns(*middles(cells, at.z.dtype)).astype(jnp.float32)
    return grid, jnp.einsum("pln,gn->plg", at.columns.astype(grid.dtype), grid)


def _seen_again(seen: Array, columns: Array, k: Array, grid: Array) -> Array:
    """What is seen of the columns after that of peak k has changed."""
    column = columns[:, FIXED + k].astype(grid.dtype)
    return put(seen, (column @ grid.T)[:, None], ((FIXED + k, 1),), 1)


def _moved(random: RandomNumbers, density: CollapsedSpectrum, at: _At, beta: PerPoint, k: Array, proposed: tuple):
    """Peak k of all points, if accepted, at the proposed (quantile of position, of width, log ratio of the ways)."""
    centre, width, ratio = proposed
    inside = (centre > 0) & (centre < 1) & (width > 0) & (width < 1)
    z = put(at.z, jnp.stack([centre, width], 1), ((SHAPES + k, 1), (SHAPES + density.slots + k, 1)), 1)
    column = (density.peak_columns(centre, width) * density.live[k])[:, None]
    return _decided(random, density, at, beta, (z, ratio, inside), column, ((FIXED + k, 1),))


def _decided(random: RandomNumbers, density: CollapsedSpectrum, at: _At, beta, proposed, new: Array, spans: Spans):
    """Metropolis and Hastings for (z, log ratio of the ways, whether within the cube) and the columns that change."""
    z, ratio, inside = proposed
    inside = inside & (density.stratum(z) == density.stratum(at.z))
    uniforms = _refreshed(random, at.terms.uniforms)
    z = z.at[:, -density.heights :].set(uniforms)
    terms = change_columns(at.terms, at.columns, new, spans, density.target)._replace(uniforms=uniforms)
    if density.poisson:
        terms = terms._replace(columns=put(at.columns, new, spans, 1))
    value = density.log_density(terms, beta)
    ok = inside & (jnp.log(random.decide) < value - at.value + ratio)
    columns = put(at.columns, new, spans, 1, ok)
    z, terms, value = choose(ok, (z, terms, value), (at.z, at.terms, at.value))
    return _At(z, columns, terms, value), ok


def _crossed(
    density: CollapsedSpectrum, beta: PerPoint, each: int, random: RandomNumbers, i: int | Array, at: _At
) -> _At:
    """Metropolis and Hastings for one exchange between points: the two of a pair are one point of the product."""
    own = random.of(i)
    z, columns, partner, possible = crossed(own, density, at.z, at.columns, each)
    gram = jnp.einsum("pln,pmn->plm", columns, columns)
    terms = CollapsedTerms(gram, columns @ density.target, at.terms.uniforms, columns if density.poisson else None)
    value = density.log_density(terms, beta)
    possible = possible & (density.stratum(z) == density.stratum(at.z))
    decide = jnp.log(own.decide[jnp.minimum(jnp.arange(len(z)), partner)])
    gain = value - at.value
    ok = possible & possible[partner] & (decide < gain + gain[partner])
    return _At(*choose(ok, (z, columns, terms, value), tuple(at)))


def _edge(density: CollapsedSpectrum, beta: PerPoint, random: RandomNumbers, i: int | Array, at: _At) -> _At:
    """The edge to where the residual of all else wants it."""
    own = random.of(i)
    *proposed, step = edge_relocated(own, density, at.z, at.columns, at.terms, beta)
    return _decided(own, density, at, beta, proposed, step, ((STEP, 1),))[0]


def _refreshed(random: RandomNumbers, uniforms: Array) -> Array:
    """Part of the uniform numbers of half of the points anew."""
    anew = (random.fresh < FRESH) & (random.refreshed < FRESH_PART)
    return jnp.where(anew, random.refreshed / FRESH_PART, uniforms.T).T


def _nearby(random: RandomNumbers, old: tuple[Array, Array], step: PerPoint) -> tuple[Array, Array, Array]:
    """A step in position, in width, or in both."""
    kind, by = 3 * random.uniform[0], random.normal[:2] * scales(random.uniform[1], step)
    centre = old[0] + jnp.where(kind < 2, PLACE * by[0], 0)
    return centre, old[1] + jnp.where(kind > 1, by[1], 0), jnp.zeros_like(step)


def _shape(random: RandomNumbers, density: CollapsedSpectrum, at: _At, beta, kind, step, settings) -> tuple[_At, Array]:
    """One move of edge and white line of all points, of the `ROUND`."""
    k = random.peak % jnp.maximum(jnp.sum(density.live).astype(int), 1)
    each = jnp.broadcast_to(k, len(at.z))
    *proposed, each = lax.switch(
        kind,
        (
            lambda: (*reshaped(random, at.z, step), each),
            lambda: (*exchanged(random, density, at.z, k), each),
            lambda: from_mixture(random, at.z, settings),
        ),
    )
    new = density.changed_columns(proposed[0], each)
    return _decided(random, density, at, beta, proposed, new, (LINE, (FIXED + each, 1)))
