"""Moves of edge and white line.

Edge, white line and the nearest peak are bound to each other: a broad line on one side of the edge and a narrow one on
the other fit nearly alike, with a peak that makes up for the difference, and no path of good fits leads from one to the
other. Their six numbers are drawn together from a mixture of normal distributions that was fitted to independent points
(independence sampler; L. Tierney, Ann. Stat. 22 (1994) 1701). At noises where both modes had a share, one such
move in some thirty passed between them on a spectrum where others hardly ever did.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr
from jaxtyping import Array, Float

from ...path import PerPoint, Points
from ..marginal import SHAPES, CollapsedSpectrum, log_quantile, normal_score, put
from .random_numbers import RandomNumbers

# Local steps are log-uniform between these, in units of the tuned one.
SMALLEST, LARGEST = 0.1, 5.0


def scales(uniform: PerPoint, step: PerPoint) -> PerPoint:
    """The steps times a factor that is uniform in its logarithm."""
    return step * SMALLEST * (LARGEST / SMALLEST) ** uniform


def bound(z: Points, line: Array, live: Array) -> tuple[Float[Array, "points 6"], Array]:
    """Edge, white line and the peak nearest to it in normal scores, and which peak that is."""
    slots = len(live)
    peaks = z[:, SHAPES : SHAPES + slots]
    apart = jnp.abs(peaks - line[0] - line[1] * normal_score(z[:, :1]))
    k = jnp.argmin(jnp.where(live > 0, apart, jnp.inf), axis=1)
    index = SHAPES + k[:, None] + jnp.array([0, slots])
    return normal_score(jnp.concatenate([z[:, :SHAPES], jnp.take_along_axis(z, index, 1)], 1)), k


def from_mixture(random: RandomNumbers, z: Points, settings: Any) -> tuple[Points, Array, Array, Array]:
    """Edge, white line and the peak nearest to it anew, and the log ratio of the densities of the mixture."""
    groups = len(settings.peaks)

    def one(uniform, normal, z, mixture, line, live):
        old, k = bound(z, line, live)
        new = mixture.draw(uniform, normal)
        log_density = [mixture.log_density(x) + jnp.sum(x**2, 1) / 2 for x in (old, new)]
        quantiles = ndtr(new)
        moved = z.at[:, :SHAPES].set(quantiles[:, :SHAPES])
        for part, column in enumerate((SHAPES + k, SHAPES + len(live) + k), SHAPES):
            moved = put(moved, quantiles[:, part : part + 1], ((column, 1),), 1)
        inside = jnp.all((quantiles > 0) & (quantiles < 1), 1) & (bound(moved, line, live)[1] == k)
        return moved, log_density[0] - log_density[1], inside, k

    uniform, normal, members = (a.reshape(groups, -1, *a.shape[1:]) for a in (random.uniform[0], random.normal.T, z))
    found = jax.vmap(one)(uniform, normal, members, settings.mixture, settings.line, settings.live)
    return jax.tree.map(lambda a: a.reshape(len(z), *a.shape[2:]), found)


def reshaped(random: RandomNumbers, z: Points, step: PerPoint) -> tuple[Points, Array, Array]:
    """A step of one of edge, white line and their widths, of both positions, or of all four."""
    kinds = jnp.concatenate([jnp.eye(SHAPES), jnp.asarray([[1.0, 1, 0, 0], [1, 1, 1, 1]])]).astype(z.dtype)
    kind = (len(kinds) * random.uniform[0]).astype(int)
    by = random.normal[:SHAPES].T * kinds[kind] * scales(random.uniform[1], step)[:, None]
    shapes = z[:, :SHAPES] + by
    return z.at[:, :SHAPES].set(shapes), jnp.zeros_like(step), jnp.all((shapes > 0) & (shapes < 1), 1)


def exchanged(random: RandomNumbers, density: CollapsedSpectrum, z: Points, k: Array) -> tuple[Points, Array, Array]:
    """White line and peak k take each other's place and width; the edge stays, or goes with the white line.

    In quantiles the volume changes by the ratio of the prior densities in eV.
    """
    prior, slots = density.prior, density.slots
    follow = random.uniform[0] < 0.5
    s = density.shapes(z)
    centre, width = s.centres[:, k], s.widths[:, k]
    edge = s.edge + jnp.where(follow, centre - s.white_line, 0)
    new, old = (((at - prior.white_line[0]) / prior.white_line[1]) for at in (centre, s.white_line))
    new_edge, old_edge = (edge - centre) / prior.edge, (s.edge - s.white_line) / prior.edge
    place = (s.white_line - prior.peak[0]) / (prior.peak[1] - prior.peak[0])
    line_width, peak_width = log_quantile(width, prior.line_width), log_quantile(s.line_width, prior.peak_width)
    moved = z.at[:, 0].set(ndtr(new)).at[:, 1].set(ndtr(new_edge)).at[:, 3].set(line_width)
    moved = moved.at[:, SHAPES + k].set(place).at[:, SHAPES + slots + k].set(peak_width)
    quantiles = jnp.stack([moved[:, 0], moved[:, 1], line_width, place, peak_width])
    margin = 4 * jnp.finfo(z.dtype).eps
    inside = jnp.all((quantiles > margin) & (quantiles < 1 - margin), 0)
    ratio = (old**2 - new**2 + old_edge**2 - new_edge**2) / 2
    return jnp.where(inside[:, None], moved, z), ratio, inside
