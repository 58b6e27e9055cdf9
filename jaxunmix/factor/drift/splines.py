r"""Spectra between their channels: cubic B-splines, and the model of shifted spectra as one matrix product.

A spectrum is $s(x) = \sum_j a_j \beta(x - j)$ with the cubic B-spline $\beta$ (Unser, IEEE Signal Process. Mag. 16
(1999) 22), x in channels, and coefficients $a_j \geq 0$, so that it is never negative and twice differentiable. At
channel c of a pixel whose shift is d it is

$s(c - d) = \sum_{o=-J}^{J} \beta(o - d) a_{c - o}$,

a sum over 2 J + 1 copies of the coefficients, each moved by whole channels. So the model of all pixels is the product
of weights $m_{pk} \beta(o - d_p - e_k)$, (pixels, K (2 J + 1)), and these copies, (K (2 J + 1), channels). The offsets
$e_k$ move whole spectra: a step of the shifts moves them too, without touching coefficients.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from ...matrix.base import matmul

Coefficients = Float[Array, "components padded"]
Copies = Float[Array, "components offsets channels"]
Shifts = Float[Array, " pixels"]
PixelMaps = Float[Array, "pixels components"]
Offsets = Float[Array, " components"]
PixelWeights = Float[Array, "pixels components offsets"]

# The B-spline is 0 from here on.
SUPPORT = 2
# By how much shifts and offsets together may exceed the largest shift.
MARGIN = 1.5
# Of the median, what a coefficient is seen with at least.
SEEN = 0.3


def reach_of(most: float) -> int:
    """J: whole channels by which coefficients are moved, for shifts of up to `most`, and offsets."""
    return math.ceil(most + MARGIN) + SUPPORT - 1


def spline(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The cubic B-spline, of integral 1."""
    size = jnp.abs(x)
    return jnp.where(size < 1, 2 / 3 - size**2 + size**3 / 2, jnp.maximum(2 - size, 0) ** 3 / 6)


def spline_slope(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Its derivative."""
    size = jnp.abs(x)
    return jnp.sign(x) * jnp.where(size < 1, 1.5 * size**2 - 2 * size, -(jnp.maximum(2 - size, 0) ** 2) / 2)


def offset_weights(shifts: Shifts, offsets: Offsets, reach: int) -> PixelWeights:
    """The B-spline at o - d_p - e_k, for each whole offset o from -J to J."""
    return spline(_distances(shifts, offsets, reach))


def offset_slopes(shifts: Shifts, offsets: Offsets, reach: int) -> PixelWeights:
    """The derivative of `offset_weights` in the shift."""
    return -spline_slope(_distances(shifts, offsets, reach))


def _distances(shifts: Shifts, offsets: Offsets, reach: int) -> PixelWeights:
    return jnp.arange(-reach, reach + 1) - (shifts[:, None] + offsets)[:, :, None]


def copies(coefficients: Coefficients, reach: int) -> Copies:
    """The coefficients moved by o = -J .. J channels, at the channels of the data.

    Args:
        coefficients: (K, channels + 2 J), from channel -J on.
        reach: J.
    """
    channels = coefficients.shape[1] - 2 * reach
    moved = [coefficients[:, reach - o : reach - o + channels] for o in range(-reach, reach + 1)]
    return jnp.stack(moved, axis=1)


def gather_copies(moved: Copies, reach: int) -> Coefficients:
    """The transpose of `copies`."""
    components, _, channels = moved.shape
    out = jnp.zeros((components, channels + 2 * reach), moved.dtype)
    for index, o in enumerate(range(-reach, reach + 1)):
        out = out.at[:, reach - o : reach - o + channels].add(moved[:, index])
    return out


def spread_maps(maps: PixelMaps, weights: PixelWeights) -> Float[Array, "pixels columns"]:
    """The weight of each copy of each spectrum in each pixel."""
    return (maps[:, :, None] * weights).reshape(len(maps), -1)


def flat(moved: Copies) -> Float[Array, "columns channels"]:
    """The copies as the rows of one matrix."""
    return moved.reshape(-1, moved.shape[-1])


def shifted_model(
    maps: PixelMaps, coefficients: Coefficients, shifts: Shifts, offsets: Offsets, reach: int
) -> Float[Array, "pixels channels"]:
    """The sum over k of m_pk s_k(c - d_p - e_k)."""
    return matmul(spread_maps(maps, offset_weights(shifts, offsets, reach)), flat(copies(coefficients, reach)))


def spectra_at(
    coefficients: Coefficients, offsets: Offsets, shift: Float[Array, ""] | float, reach: int
) -> Float[Array, "components channels"]:
    """The spectra as a pixel of this shift sees them."""
    weights = offset_weights(jnp.asarray(shift, coefficients.dtype)[None], offsets, reach)[0]
    return jnp.einsum("ko,koc->kc", weights, copies(coefficients, reach), precision="highest")


def roll_whole(coefficients: Coefficients, offsets: Offsets) -> tuple[Coefficients, Offsets]:
    """The same spectra with offsets between -1/2 and 1/2: whole channels of them go into the coefficients."""
    whole = jnp.round(offsets).astype(int)
    place = jnp.arange(coefficients.shape[1]) - whole[:, None]
    moved = jnp.take_along_axis(coefficients, jnp.clip(place, 0, coefficients.shape[1] - 1), axis=1)
    return moved, offsets - whole


def continue_unseen(
    coefficients: Coefficients, offsets: Offsets, maps: PixelMaps, shifts: Shifts, reach: int
) -> Coefficients:
    """Coefficients near the ends that the pixels of a component hardly see take the value of the nearest seen one.

    Where all of them are shifted to one side, the data say nothing of its last channels on the other.
    """
    spread = spread_maps(maps, offset_weights(shifts, offsets, reach))
    moved = copies(coefficients, reach)
    sight = gather_copies(jnp.broadcast_to(spread.sum(axis=0).reshape(*moved.shape[:2], 1), moved.shape), reach)
    seen = sight > SEEN * jnp.median(sight, axis=1, keepdims=True)
    first, last = jnp.argmax(seen, axis=1), seen.shape[1] - 1 - jnp.argmax(seen[:, ::-1], axis=1)
    place = jnp.clip(jnp.arange(seen.shape[1]), first[:, None], last[:, None])
    return jnp.take_along_axis(coefficients, place, axis=1)
