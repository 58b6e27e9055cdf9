"""Intensities: scales, offsets, references, and the way back."""

from typing import Any, Literal

import numpy as np

from .._util.validation import check_choice, check_number
from ..data.axes import nth_live
from ..data.image import SpectrumImage
from .provenance import check_image, finite_or_nan, on_channels, operation, refuse, reverse, take_step
from .region import Limit, floating, over_channels, over_pixels


def undo(img: SpectrumImage) -> SpectrumImage:
    """Reverse the last step.

    Whole numbers come back exactly where they had up to 16 bits, and floats to rounding.

    Raises:
        ValueError: if there is no step, or the last one lost information.
    """
    return reverse(img)


def normalise(img: SpectrumImage, how: Literal["sum", "mean", "max", "norm"] = "sum") -> SpectrumImage:
    """Divide each spectrum by its sum, mean, maximum or Euclidean norm over the live channels. Reversible.

    An empty spectrum (all zero) stays zero.

    Raises:
        ValueError: a spectrum that is not empty has a sum, mean or maximum of zero or below; NaN.
    """
    live = check_image(img, "normalise").finite_live()
    if how == "sum":
        size = live.sum(axis=1, dtype=np.float64)
    elif how == "mean":
        size = live.mean(axis=1, dtype=np.float64)
    elif how == "max":
        size = live.max(axis=1).astype(np.float64)
    elif how == "norm":
        size = _norms(live)
    else:
        raise ValueError(f'normalise: how={how!r}; give "sum", "mean", "max" or "norm"')
    empty = size == 0
    if empty.any():
        empty &= ~live.any(axis=1)
    refuse(img, (size <= 0) & ~empty, f"normalise: the {how} is not positive", 'use how="norm"')
    scale = over_pixels(img, np.where(empty, 1, size), 1)
    values = np.divide(img.data.values, scale.astype(floating(img)), dtype=floating(img))
    return take_step(img, "normalise", {"how": how}, values, [operation("multiply", scale, img.navigation_dims)], "1")


def _norms(live: np.ndarray) -> np.ndarray:
    """Euclidean norms of the rows; of those whose squares leave double precision from rows scaled first."""
    with np.errstate(over="ignore", under="ignore"):
        size = np.sqrt(np.einsum("ij,ij->i", live, live, dtype=np.float64))
    odd = ~((size > 1e-150) & (size < 1e150))
    if odd.any():
        largest = np.abs(live[odd].astype(np.float64)).max(axis=1)
        scaled = live[odd] / np.where(largest > 0, largest, 1)[:, None]
        size[odd] = largest * np.sqrt(np.einsum("ij,ij->i", scaled, scaled, dtype=np.float64))
    return size


def normalise_range(img: SpectrumImage, over: Literal["pixel", "channel", "image"] = "pixel") -> SpectrumImage:
    """Put the least live value at 0 and the greatest at 1: (X - min) / (max - min). Reversible.

    Args:
        img: the image.
        over: "pixel" for each spectrum by itself, "channel" for the map of each channel, "image" for all at once.

    Raises:
        ValueError: a spectrum, a channel or the whole image is constant, so that it has no range; NaN.

    >>> img = SpectrumImage.from_array([[2.0, 3.0, 4.0], [0.0, 5.0, 20.0]])
    >>> normalise_range(img).data.values.tolist()
    [[0.0, 0.5, 1.0], [0.0, 0.25, 1.0]]
    """
    live = check_image(img, "normalise_range").finite_live()
    check_choice(over, ("pixel", "channel", "image"), "normalise_range: over")
    axis = {"pixel": 1, "channel": 0, "image": None}[over]
    low, high = (np.asarray(end(axis=axis), np.float64) for end in (live.min, live.max))
    with np.errstate(over="ignore"):
        span = np.asarray(high - low)
    _refuse_constant(img, live, span, over)
    if not np.isfinite(span).all():
        raise ValueError("normalise_range: a range beyond that of double precision; rescale the image first")
    dims: tuple[str, ...] = ()
    if over == "pixel":
        low, span, dims = over_pixels(img, low, 0), over_pixels(img, span, 1), img.navigation_dims
    elif over == "channel":
        low, span, dims = over_channels(img, low, 0), over_channels(img, span, 1), img.signal_dims
    # In double precision: of single the range may be less than the rounding of an offset.
    with np.errstate(over="ignore", invalid="ignore"):  # of masked cells
        values = ((img.data.values.astype(np.float64) - low) / span).astype(floating(img))
    operations = [operation("multiply", span, dims), operation("add", low, dims)]
    return take_step(img, "normalise_range", {"over": over}, values, operations, "1")


def _refuse_constant(img: SpectrumImage, live: np.ndarray, span: np.ndarray, over: str) -> None:
    """Refuse what has no range; the message names the first."""
    what, remedy = "normalise_range: constant values", "leave them out with preprocess.mask"
    if over == "pixel":
        refuse(img, span == 0, what, remedy)
    elif over == "channel" and (span == 0).any():
        first = img.place(channel=nth_live(img.keep_channels, int(np.argmin(span))))
        raise ValueError(f"{what} at {int((span == 0).sum())} channels, the first at {first}; {remedy}")
    elif over == "image" and span == 0:
        raise ValueError(f"{what} throughout the image: all are {live.flat[0]}; it has no range to normalise by")


def weight_channels(img: SpectrumImage, weights: Any) -> SpectrumImage:
    """Multiply each channel by a weight, w_c X_pc: how much engineered features count in a fit. Reversible.

    Spectra that are found of the image are those of the data times the weights.

    Args:
        img: the image.
        weights: (channels,) over the signal dims, above 0; a DataArray or a SpectrumImage of one pixel is checked to
            be on the same grid. The weights of masked channels are not used.

    Raises:
        ValueError: another shape or grid, or a weight of a live channel that is not above 0.

    >>> weight_channels(SpectrumImage.from_array([[2.0, 3.0], [4.0, 5.0]]), [1, 10]).data.values.tolist()
    [[2.0, 30.0], [4.0, 50.0]]
    """
    check_image(img, "weight_channels")
    img.finite_live()
    weight = on_channels(img, weights, "weight_channels", "weights")
    live = weight.ravel() if img.keep_channels is None else weight[img.keep_channels.values]
    ends = np.finfo(floating(img))
    bad = ~((live >= ends.tiny) & (live <= ends.max))
    if bad.any():
        first = int(np.argmax(bad))
        place = img.place(channel=nth_live(img.keep_channels, first))
        raise ValueError(
            f"weight_channels: a weight of {live[first]:g} at {place}; give weights above 0 in the range of "
            f"{ends.dtype}, and leave out channels with preprocess.mask"
        )
    weight = over_channels(img, live, 1)
    with np.errstate(over="ignore", under="ignore"):
        values = np.multiply(img.data.values, weight.astype(floating(img)), dtype=floating(img))
    back = [operation("multiply", 1 / weight, img.signal_dims)]
    return take_step(img, "weight_channels", {"weights": weight}, values, back)


def mean_centre(img: SpectrumImage) -> SpectrumImage:
    """Subtract the mean spectrum of the live pixels: X_pc - mean_p X_pc. Reversible."""
    check_image(img, "mean_centre")
    mean = over_channels(img, img.finite_live().mean(axis=0, dtype=np.float64), 0)
    values = np.subtract(img.data.values, mean.astype(floating(img)), dtype=floating(img))
    return take_step(img, "mean_centre", {}, values, [operation("add", mean, img.signal_dims)])


def log(img: SpectrumImage, offset: float | int = 0.0) -> SpectrumImage:
    """Natural logarithm, ln(X + offset). Reversible; where a masked cell has no logarithm it becomes NaN.

    Raises:
        ValueError: a live value is not above -offset; the message names the first.
    """
    check_image(img, "log")
    offset = check_number(offset, "log: offset")
    low = img.finite_live() <= -offset
    if low.any():
        refuse(img, low.any(axis=1), f"log: values not above {-offset:g}", "give a larger offset, or mask them")
    with np.errstate(divide="ignore", invalid="ignore"):
        shifted = np.add(img.data.values, np.asarray(offset, floating(img)), dtype=floating(img))
        values = finite_or_nan(img, np.log(shifted, out=shifted))
    units = f"ln({img.data.attrs.get('units', '1')})"
    return take_step(img, "log", {"offset": offset}, values, [operation("exp", 0), operation("add", -offset)], units)


def clip_negative(img: SpectrumImage, largest: Limit = None) -> SpectrumImage:
    """Set values below 0 to 0: the remedy for slightly negative values under a Poisson loss. Not reversible.

    The record tells how many of the live values were below 0, and their sum.

    Args:
        img: the image.
        largest: the largest magnitude that may be clipped; None for any.

    Raises:
        ValueError: a value is below -largest; the message names the pixel.
    """
    live = check_image(img, "clip_negative").finite_live()
    largest = None if largest is None else check_number(largest, "clip_negative: largest", 0)
    below = live < 0
    if largest is not None and below.any():
        limit = live.min(axis=1) < -largest
        refuse(img, limit, f"clip_negative: values below {-largest:g}", "use shift_to_positive, or allow more")
    report = {"largest": largest, "count": int(below.sum()), "sum": float(live[below].sum(dtype=np.float64))}
    values = np.maximum(img.data.values, img.data.dtype.type(0))
    return take_step(img, "clip_negative", report, values)


def shift_to_positive(img: SpectrumImage) -> SpectrumImage:
    """Add one constant so that the smallest live value is 0; nothing where none is negative. Reversible."""
    low = check_image(img, "shift_to_positive").finite_live().min()
    whole = img.data.dtype.kind in "iu"
    # As a number of Python's own: a float has no room for all whole numbers of 64 bits.
    offset: float | int = (-int(low) if whole else -float(low)) if low < 0 else 0.0
    if whole:
        if offset and int(img.data.values.max()) + offset > np.iinfo(np.int64).max:
            raise ValueError("shift_to_positive: results beyond the range of int64; convert the image to float64 first")
        values = img.data.values.astype(np.int64) + offset if offset else img.data.values
    else:
        values = img.data.values.astype(floating(img), copy=False) + floating(img).type(offset)
    return take_step(img, "shift_to_positive", {"offset": offset}, values, [operation("add", -offset)])


def poisson_scale(img: SpectrumImage) -> SpectrumImage:
    """Scale counts so that their Poisson noise is even: X_pc / sqrt(g_p h_c). Reversible.

    g is the mean over channels (a map), h the mean over pixels (a spectrum): Keenan and Kotula, Surf. Interface
    Anal. 36 (2004) 203. Empty pixels and dead channels get the factor 1 and stay zero. The record's parameters
    hold `pixel_factors` sqrt(g) and `channel_factors` sqrt(h), over all pixels and channels: multiply maps and
    spectra by them to come back to counts.

    Raises:
        ValueError: negative values.
    """
    live = check_image(img, "poisson_scale").finite_live()
    refuse(img, live.min(axis=1) < 0, "poisson_scale: negative values", "use clip_negative first")
    g = np.sqrt(live.mean(axis=1, dtype=np.float64))
    h = np.sqrt(live.mean(axis=0, dtype=np.float64))
    g, h = over_pixels(img, np.where(g > 0, g, 1), 1), over_channels(img, np.where(h > 0, h, 1), 1)
    values = np.divide(img.data.values, g.astype(floating(img)), dtype=floating(img))
    values /= h.astype(floating(img))
    factors = {"pixel_factors": g.reshape(img.navigation_shape), "channel_factors": h}
    undone = [operation("multiply", g, img.navigation_dims), operation("multiply", h, img.signal_dims)]
    return take_step(img, "poisson_scale", factors, values, undone, "1")


def subtract_reference(img: SpectrumImage, spectrum: Any) -> SpectrumImage:
    """Subtract one spectrum from every pixel, X_pc - r_c. Reversible.

    Args:
        img: the image.
        spectrum: values over the signal dims; a DataArray or a SpectrumImage of one pixel is checked to be on
            the same grid.

    Raises:
        ValueError: another shape or grid, or NaN at a live channel.
    """
    check_image(img, "subtract_reference")
    reference = on_channels(img, spectrum, "subtract_reference")
    values = np.subtract(img.data.values, reference.astype(floating(img)), dtype=floating(img))
    return take_step(img, "subtract_reference", {}, values, [operation("add", reference, img.signal_dims)])
