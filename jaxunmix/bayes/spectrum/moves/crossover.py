"""Crossover between points: two of them exchange all that lies in a window of energy.

What is right of a spectrum at one energy hardly depends on what is right at another, but few points are right
everywhere: with 14 peaks all points at the noise of the data descended from 6 of 2,048 at twice that noise, and from
168 with eight exchanges a sweep. Two that are right in different places make one that is right in both, and one that
is wrong in both, at hardly any cost in the product of their densities (F. Liang and W. H. Wong, J. Am. Stat. Assoc. 96
(2001) 653): 7 in 100 exchanges are accepted there. A place that no point has found they do not find.
"""

from itertools import pairwise

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from ...path import Points
from ..marginal import SHAPES, CollapsedSpectrum
from ..truncated_normal import FIXED
from .random_numbers import RandomNumbers

# The narrowest window, as a share of that of the peaks.
NARROWEST = 0.03


def crossed(
    random: RandomNumbers, density: CollapsedSpectrum, z: Points, columns: Array, each: int
) -> tuple[Points, Array, Int[Array, " points"], Bool[Array, " points"]]:
    """Points after an exchange with their partners, their columns, the partners, and for which points it is possible.

    Both points of a pair have one window, and what lies in it goes over: peaks, by the order of their numbers, and
    edge and white line where both white lines do. It needs as many peaks in the window of either, so that the way back
    is the same exchange. The volume stays, as all peaks have one prior.

    Args:
        random: of one move; what is of a pair is that of its first point.
        density: of the spectrum.
        z: (points, size).
        columns: (points, heights, channels), those of the points.
        each: partners are found among so many points that follow each other.
    """
    points, slots, prior = len(z), density.slots, density.prior
    within = jnp.arange(points) % each
    index = jnp.arange(points)
    partner = index - within + (random.peak - within) % each
    first = jnp.minimum(index, partner)
    middle, half = random.uniform[0, first, None], NARROWEST ** random.uniform[1, first, None] / 2

    line = (density.shapes(z).white_line[:, None] - prior.peak[0]) / (prior.peak[1] - prior.peak[0])
    lines = jnp.abs(line - middle) < half
    lines = lines & lines[partner]
    peaks = (jnp.abs(z[:, SHAPES : SHAPES + slots] - middle) < half) & (density.live > 0)
    rank = jnp.cumsum(peaks, 1)
    alike = peaks[:, :, None] & peaks[partner][:, None] & (rank[:, :, None] == rank[partner][:, None])
    source = jnp.argmax(alike, 2)

    def with_peaks_of_partner(array: Array) -> Array:
        over = (points, slots, *[1] * (array.ndim - 2))
        other = jnp.take_along_axis(array[partner], source.reshape(over), 1)
        return jnp.where(peaks.reshape(over), other, array)

    ends = [0, SHAPES, SHAPES + slots, SHAPES + 2 * slots, density.size]
    shapes, centres, widths, rest = (z[:, start:stop] for start, stop in pairwise(ends))
    shapes = jnp.where(lines, shapes[partner], shapes)
    z = jnp.concatenate([shapes, with_peaks_of_partner(centres), with_peaks_of_partner(widths), rest], 1)
    fixed = jnp.where(lines[..., None], columns[partner, :FIXED], columns[:, :FIXED])
    columns = jnp.concatenate([fixed, with_peaks_of_partner(columns[:, FIXED:])], 1)
    count = rank[:, -1]
    possible = (count == count[partner]) & (partner != index) & (lines[:, 0] | (count > 0))
    return z, columns, partner, possible
