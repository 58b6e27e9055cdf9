"""What a fit of drifting spectra is asked for, checked: the axis, the loss, shifts and their limits."""

from typing import Any, Literal

import numpy as np
import xarray as xr

from ..._util.validation import check_instance, check_number, float_array
from ...data.axes import nth_live
from ...data.image import SpectrumImage
from ..losses.base import AbstractLoss

# The least number of channels: two features that a shift can tell from a change of the spectrum.
LEAST = 8
# Channels of one axis differ by no more than this part of their width.
EVEN = 1e-3
MOST = 3.0


def axis_step(img: SpectrumImage, what: str) -> float:
    """The energy per channel, 1 where the axis has no coordinate; negative where it falls.

    Raises:
        ValueError: more than one signal dim, fewer than 8 live channels, masked channels between live ones, or channels
            of unequal width.
    """
    check_instance(img, SpectrumImage, f"{what}: the image", "SpectrumImage.from_array(values)")
    if len(img.signal_dims) != 1:
        raise ValueError(f"{what} needs one signal dim; here they are {img.signal_dims}")
    dim, keep = img.signal_dims[0], img.keep_channels
    live = np.arange(img.data.sizes[dim]) if keep is None else np.flatnonzero(keep.values)
    if len(live) < LEAST:
        raise ValueError(f"{what}: '{dim}' has {len(live)} live channels; shifts need {LEAST} or more")
    gaps = np.flatnonzero(np.diff(live) > 1)
    if len(gaps):
        place = img.place(channel=nth_live(keep, int(gaps[0])))
        raise ValueError(
            f"{what}: '{dim}' has masked channels after {place}, between live ones; "
            "crop to one range (preprocess.crop), or fill them"
        )
    if dim not in img.data.coords:
        return 1.0
    values = img.data.coords[dim].values[live].astype(float)
    widths = np.diff(values)
    step = float(values[-1] - values[0]) / (len(values) - 1)
    uneven = np.abs(values - values[0] - step * np.arange(len(values))) > EVEN * abs(step) * max(len(values) / 100, 1)
    if uneven.any():
        place = img.place(channel=int(live[np.argmax(uneven)]))
        raise ValueError(
            f"{what}: the channels of '{dim}' are {abs(widths).min():g} to {abs(widths).max():g} wide, uneven at "
            f"{place}; bring them onto an even axis with preprocess.interpolate"
        )
    return step


def check_loss(loss: Any) -> AbstractLoss:
    """Refuse a loss that the steps do not serve."""
    check_instance(loss, AbstractLoss, "fit_drift: loss", "losses.Poisson()")
    if not loss.link.is_identity or not (loss.is_squares or loss.serves_counts):
        raise ValueError(f"fit_drift serves losses.Frobenius() and losses.Poisson() without a link, not {loss.label}.")
    return loss


def largest_shift(most: Any, step: float, channels: int) -> float:
    """The largest shift in channels.

    Raises:
        ValueError: not above zero, or more than a quarter of the spectrum.
    """
    limit = channels / 4
    if most is None:
        return min(MOST, limit)
    found = check_number(most, "fit_drift: most", above=0) / abs(step)
    if found > limit:
        raise ValueError(
            f"fit_drift: most={most} is {found:g} channels of {channels}; give no more than a quarter of the spectrum, "
            f"{limit * abs(step):g}, and align larger shifts first (preprocess.align)"
        )
    return found


def roughness_in_channels(roughness: float | int | Literal["auto"], step: float) -> float | None:
    """The roughness in channels, None for one chosen from the data."""
    if isinstance(roughness, str):
        if roughness == "auto":
            return None
        raise ValueError(f'fit_drift: roughness must be "auto" or a number above 0, got {roughness!r}')
    return check_number(roughness, "fit_drift: roughness", above=0) / abs(step)


def given_shifts(img: SpectrumImage, shifts: Any, step: float, most: float | None) -> np.ndarray:
    """Given shifts of the live pixels, in channels.

    Args:
        img: the image.
        shifts: (pixels,) or over the navigation dims, in units of the axis.
        step: energy per channel.
        most: the most that was asked for, in channels, or None.

    Raises:
        ValueError: of another shape, not finite, or beyond the most.
    """
    if isinstance(shifts, xr.DataArray) and set(shifts.dims) == set(img.navigation_dims):
        shifts = shifts.transpose(*img.navigation_dims)
    values, what = float_array(shifts, "fit_drift: shifts"), "fit_drift: shifts"
    if values.shape == img.navigation_shape and img.keep_pixels is not None:
        values = values[img.keep_pixels.values]
    if values.size != img.grid.size or values.ndim not in (1, len(img.navigation_shape)):
        raise ValueError(f"{what} of shape {values.shape}; give one for each of {img.grid.size} pixels")
    values = values.ravel() / step
    bad = ~np.isfinite(values) | (np.abs(values) > (np.inf if most is None else most))
    if bad.any():
        row = int(np.argmax(bad))
        limit = "finite ones" if most is None else f"finite ones of no more than most={most * abs(step):g}"
        raise ValueError(
            f"{what} is {values[row] * step:g} at {img.place(nth_live(img.keep_pixels, row))}; give {limit}"
        )
    return values
