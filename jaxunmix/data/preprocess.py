"""Preprocessing: pure functions SpectrumImage -> SpectrumImage, each recorded in the provenance.

A record is {"step", "parameters"} and, where the mathematics is reversible, "undo": the elementwise operations
that `undo` applies. Statistics (means, norms, extremes) are those of the live pixels and channels; masked cells
are left as they are unless said otherwise. Integers become floating-point where the result is not whole:
float32 from up to 16 bits, else float64; float32 stays float32.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import xarray as xr

from . import labels
from .image import SpectrumImage
from .regions import Limit, floating, over_channels, over_pixels
from .regions import bin as bin
from .regions import crop as crop
from .regions import interpolate as interpolate
from .regions import mask as mask
from .regions import mask_empty as mask_empty


def undo(img: SpectrumImage) -> SpectrumImage:
    """Reverse the last step.

    Whole numbers come back exactly where they had up to 16 bits, and floats to rounding.

    Raises:
        ValueError: if there is no step, or the last one lost information.
    """
    if not img.provenance:
        raise ValueError("no step to undo: the provenance is empty")
    record = img.provenance[-1]
    if "undo" not in record:
        raise ValueError(f"step '{record.get('step')}' is not reversible; start again from the data before it")
    past = record["undo"]
    values = img.data.values
    for operation in past["operations"]:
        values = _apply(values, operation, tuple(map(str, img.data.dims)))
    dtype = np.dtype(past["dtype"])
    if dtype.kind in "iu" and values.dtype.kind == "f":
        values = np.rint(np.nan_to_num(values))
    back = replace(img, data=_with_values(img, values.astype(dtype, copy=False), past.get("units")))
    if "masks" in past:
        back = replace(
            back,
            keep_pixels=labels.as_mask(past["masks"]["pixels"], img.data, img.navigation_dims, "keep_pixels"),
            keep_channels=labels.as_mask(past["masks"]["channels"], img.data, img.signal_dims, "keep_channels"),
        )
    return replace(back, provenance=img.provenance[:-1])


def _apply(values: np.ndarray, operation: Mapping[str, Any], dims: tuple[str, ...]) -> np.ndarray:
    if operation["do"] == "exp":
        return np.exp(values)
    shape = [n if d in operation["dims"] else 1 for d, n in zip(dims, values.shape, strict=True)]
    factor = np.asarray(operation["values"], values.dtype if values.dtype.kind == "f" else None).reshape(shape)
    return values * factor if operation["do"] == "multiply" else values + factor


def _do(what: str, values: Any, dims: Sequence[str] = ()) -> dict[str, Any]:
    return {"do": what, "values": np.asarray(values), "dims": list(dims)}


def _step(
    img: SpectrumImage,
    name: str,
    parameters: dict[str, Any],
    values: np.ndarray,
    operations: list[dict[str, Any]] | None = None,
    units: str | None = None,
) -> SpectrumImage:
    """The image with new values and one more record; `units` replaces those of the intensity."""
    old = img.data.attrs.get("units")
    record: dict[str, Any] = {"step": name, "parameters": parameters}
    if operations is not None:
        record["undo"] = {"operations": operations, "dtype": str(img.data.dtype), "units": old}
    data = _with_values(img, values, old if units is None else units)
    return replace(img, data=data, provenance=(*img.provenance, record))


def _with_values(img: SpectrumImage, values: np.ndarray, units: str | None) -> xr.DataArray:
    data = img.data.copy(data=values)
    data.attrs.pop("units", None)
    return data if units is None else data.assign_attrs(units=units)


def _refuse(img: SpectrumImage, bad: Any, what: str, remedy: str) -> None:
    """Raise if any live pixel is bad, naming the first."""
    if bad.any():
        row = labels.nth_live(img.keep_pixels, int(np.argmax(bad)))
        raise ValueError(f"{what} at {int(bad.sum())} pixels, the first at {img.place(row)}; {remedy}")


def normalise(img: SpectrumImage, how: Literal["sum", "max", "norm"] = "sum") -> SpectrumImage:
    """Divide each spectrum by its sum, maximum or Euclidean norm over the live channels. Reversible.

    An empty spectrum (all zero) stays zero.

    Raises:
        ValueError: a spectrum that is not empty has a sum or maximum of zero or below; NaN.
    """
    live = img.finite_live()
    if how == "sum":
        size = live.sum(axis=1, dtype=np.float64)
    elif how == "max":
        size = live.max(axis=1).astype(np.float64)
    elif how == "norm":
        size = np.sqrt(np.einsum("ij,ij->i", live, live, dtype=np.float64))
    else:
        raise ValueError(f'normalise: how={how!r}; give "sum", "max" or "norm"')
    empty = size == 0
    if empty.any():
        empty &= ~live.any(axis=1)
    _refuse(img, (size <= 0) & ~empty, f"normalise: the {how} is not positive", 'use how="norm"')
    scale = over_pixels(img, np.where(empty, 1, size), 1)
    values = np.divide(img.data.values, scale.astype(floating(img)), dtype=floating(img))
    return _step(img, "normalise", {"how": how}, values, [_do("multiply", scale, img.navigation_dims)], "1")


def mean_centre(img: SpectrumImage) -> SpectrumImage:
    """Subtract the mean spectrum of the live pixels: X_pc - mean_p X_pc. Reversible."""
    mean = over_channels(img, img.finite_live().mean(axis=0, dtype=np.float64), 0)
    values = np.subtract(img.data.values, mean.astype(floating(img)), dtype=floating(img))
    return _step(img, "mean_centre", {}, values, [_do("add", mean, img.signal_dims)])


def log(img: SpectrumImage, offset: float | int = 0.0) -> SpectrumImage:
    """Natural logarithm, ln(X + offset). Reversible; where a masked cell has no logarithm it becomes NaN.

    Raises:
        ValueError: a live value is not above -offset; the message names the first.
    """
    low = img.finite_live() <= -offset
    if low.any():
        _refuse(img, low.any(axis=1), f"log: values not above {-offset:g}", "give a larger offset, or mask them")
    with np.errstate(divide="ignore", invalid="ignore"):
        shifted = np.add(img.data.values, np.asarray(offset, floating(img)), dtype=floating(img))
        values = _finite_or_nan(img, np.log(shifted, out=shifted))
    units = f"ln({img.data.attrs.get('units', '1')})"
    return _step(img, "log", {"offset": offset}, values, [_do("exp", 0), _do("add", -offset)], units)


def _finite_or_nan(img: SpectrumImage, values: np.ndarray) -> np.ndarray:
    if img.keep_pixels is not None or img.keep_channels is not None:  # live values have been checked
        values[~np.isfinite(values)] = np.nan
    return values


def clip_negative(img: SpectrumImage, largest: Limit = None) -> SpectrumImage:
    """Set values below 0 to 0: the remedy for slightly negative values under a Poisson loss. Not reversible.

    The record tells how many of the live values were below 0, and their sum.

    Args:
        img: the image.
        largest: the largest magnitude that may be clipped; None for any.

    Raises:
        ValueError: a value is below -largest; the message names the pixel.
    """
    live = img.finite_live()
    below = live < 0
    if largest is not None and below.any():
        limit = live.min(axis=1) < -largest
        _refuse(img, limit, f"clip_negative: values below {-largest:g}", "use shift_to_positive, or allow more")
    report = {"largest": largest, "count": int(below.sum()), "sum": float(live[below].sum(dtype=np.float64))}
    values = np.maximum(img.data.values, img.data.dtype.type(0))
    return _step(img, "clip_negative", report, values)


def shift_to_positive(img: SpectrumImage) -> SpectrumImage:
    """Add one constant so that the smallest live value is 0; nothing where none is negative. Reversible."""
    low = img.finite_live().min()
    offset = -float(low) if low < 0 else 0.0
    if img.data.dtype.kind in "iu":
        values = img.data.values.astype(np.int64) + int(offset) if offset else img.data.values
    else:
        values = img.data.values + img.data.dtype.type(offset)
    return _step(img, "shift_to_positive", {"offset": offset}, values, [_do("add", -offset)])


def poisson_scale(img: SpectrumImage) -> SpectrumImage:
    """Scale counts so that their Poisson noise is even: X_pc / sqrt(g_p h_c). Reversible.

    g is the mean over channels (a map), h the mean over pixels (a spectrum): Keenan and Kotula, Surf. Interface
    Anal. 36 (2004) 203. Empty pixels and dead channels get the factor 1 and stay zero. The record's parameters
    hold `pixel_factors` sqrt(g) and `channel_factors` sqrt(h), over all pixels and channels: multiply maps and
    spectra by them to come back to counts.

    Raises:
        ValueError: negative values.
    """
    live = img.finite_live()
    _refuse(img, live.min(axis=1) < 0, "poisson_scale: negative values", "use clip_negative first")
    g = np.sqrt(live.mean(axis=1, dtype=np.float64))
    h = np.sqrt(live.mean(axis=0, dtype=np.float64))
    g, h = over_pixels(img, np.where(g > 0, g, 1), 1), over_channels(img, np.where(h > 0, h, 1), 1)
    values = np.divide(img.data.values, g.astype(floating(img)), dtype=floating(img))
    values /= h.astype(floating(img))
    factors = {"pixel_factors": g.reshape(img.navigation_shape), "channel_factors": h}
    undone = [_do("multiply", g, img.navigation_dims), _do("multiply", h, img.signal_dims)]
    return _step(img, "poisson_scale", factors, values, undone, "1")


def subtract_reference(img: SpectrumImage, spectrum: Any) -> SpectrumImage:
    """Subtract one spectrum from every pixel, X_pc - r_c. Reversible.

    Args:
        img: the image.
        spectrum: values over the signal dims; a DataArray or a SpectrumImage of one pixel is checked to be on
            the same grid.

    Raises:
        ValueError: another shape or grid, or NaN at a live channel.
    """
    reference = _on_channels(img, spectrum, "subtract_reference")
    values = np.subtract(img.data.values, reference.astype(floating(img)), dtype=floating(img))
    return _step(img, "subtract_reference", {}, values, [_do("add", reference, img.signal_dims)])


def _on_channels(img: SpectrumImage, spectrum: Any, what: str) -> np.ndarray:
    """A spectrum as float64 over the signal dims, after checking its grid."""
    if isinstance(spectrum, SpectrumImage):
        spectrum = spectrum.data.squeeze([d for d in spectrum.navigation_dims if spectrum.data.sizes[d] == 1])
    if isinstance(spectrum, xr.DataArray):
        for dim in set(img.signal_dims) & set(spectrum.coords) & set(img.data.coords):
            ours, theirs = img.data.coords[dim].values, spectrum.coords[dim].values
            if ours.shape != theirs.shape or not np.allclose(ours, theirs, rtol=1e-9, atol=0):
                raise ValueError(f"{what}: the spectrum is on another {dim} grid; use preprocess.interpolate first")
        if set(spectrum.dims) == set(img.signal_dims):
            spectrum = spectrum.transpose(*img.signal_dims)
    values = np.asarray(spectrum, np.float64)
    if values.shape != img.signal_shape:
        raise ValueError(
            f"{what}: a spectrum of shape {values.shape}; expected {img.signal_shape} over {img.signal_dims}"
        )
    live = values.ravel() if img.keep_channels is None else values[img.keep_channels.values]
    if not np.isfinite(live).all():
        raise ValueError(f"{what}: the spectrum is NaN or infinite at live channels; mask these channels")
    return np.nan_to_num(values)


_Window = tuple[Limit, Limit] | None


def normalise_edge(img: SpectrumImage, pre: _Window = None, post: _Window = None) -> SpectrumImage:
    """Scale each spectrum to 0 before the edge and 1 after it: (X - a) / (b - a). Reversible.

    By default a and b are the values at the lowest and highest live energy, the two-point form of 2D-XAS; with
    windows they are means over the live channels in them.

    Args:
        img: the image, with one signal dim.
        pre: (low, high) energies before the edge, None for no limit.
        post: (low, high) energies after the edge.

    Raises:
        ValueError: more than one signal dim, an empty window, or a pixel without a step, which is named.
    """
    if len(img.signal_dims) != 1:
        raise ValueError(f"normalise_edge needs one signal dim; here they are {img.signal_dims}")
    live = img.finite_live()
    energy = _live_energy(img)
    a = live[:, _window(energy, pre, "pre", np.min)].mean(axis=1, dtype=np.float64)
    b = live[:, _window(energy, post, "post", np.max)].mean(axis=1, dtype=np.float64)
    _refuse(img, a == b, "normalise_edge: no step", "leave these pixels out with preprocess.mask")
    base, step = over_pixels(img, a, 0), over_pixels(img, b - a, 1)
    values = np.subtract(img.data.values, base.astype(floating(img)), dtype=floating(img))
    values /= step.astype(floating(img))
    undone = [_do("multiply", step, img.navigation_dims), _do("add", base, img.navigation_dims)]
    shown = {"pre": None if pre is None else list(pre), "post": None if post is None else list(post)}
    return _step(img, "normalise_edge", shown, values, undone, "1")


def _live_energy(img: SpectrumImage) -> np.ndarray:
    dim = img.signal_dims[0]
    values = img.data.coords[dim].values if dim in img.data.coords else np.arange(img.data.sizes[dim])
    return values if img.keep_channels is None else values[img.keep_channels.values]


def _window(energy: np.ndarray, window: _Window, name: str, end: Any) -> np.ndarray:
    if window is None:
        return energy == end(energy)
    low, high = (default if limit is None else limit for limit, default in zip(window, (-np.inf, np.inf), strict=True))
    inside = (energy >= low) & (energy <= high)
    if not inside.any():
        raise ValueError(
            f"normalise_edge: no live channel in {name}={window}; they are {energy.min():g} to {energy.max():g}"
        )
    return inside


def optical_density(img: SpectrumImage, i0: Any) -> SpectrumImage:
    """Optical density -ln(X / i0) of transmitted counts. Reversible; masked cells without one become NaN.

    Args:
        img: the image of transmitted intensities.
        i0: the incident intensity: one number, or a spectrum over the signal dims.

    Raises:
        ValueError: counts or i0 of zero or below; the message names the first pixel.
    """
    one = isinstance(i0, int | float | np.number)
    incident = _on_channels(img, np.full(img.signal_shape, i0) if one else i0, "optical_density")
    live_i0 = incident if img.keep_channels is None else incident[img.keep_channels.values]
    if (live_i0 <= 0).any():
        raise ValueError("optical_density: i0 is zero or below at live channels; mask these channels")
    low = img.finite_live().min(axis=1) <= 0
    _refuse(img, low, "optical_density: counts of zero or below", "leave them out with mask, or bin first")
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.divide(img.data.values, incident.astype(floating(img)), dtype=floating(img))
        values = _finite_or_nan(img, np.negative(np.log(ratio, out=ratio), out=ratio))
    undone = [_do("multiply", -1.0), _do("exp", 0), _do("multiply", incident, img.signal_dims)]
    return _step(img, "optical_density", {}, values, undone, "OD")


def peak_top_energy(img: SpectrumImage, window: _Window = None, channels: int = 7) -> xr.DataArray:
    """Energy of the peak top in each pixel, by a Gaussian fitted to the channels around the maximum.

    ln y = a + b E + c E^2 by least squares with weights y^2, the top at -b / 2c; the weights are then taken from
    the fit, twice: Guo, IEEE Signal Process. Mag. 28 (2011) 134, eqs. 8 and 9. No baseline is fitted.

    Args:
        img: the image, with one signal dim.
        window: (low, high) energies to look in; None for all live channels.
        channels: how many channels around the maximum are fitted, 3 or more.

    Returns:
        (*navigation), in units of the energy; NaN at masked pixels and where these channels hold no peak.
    """
    if len(img.signal_dims) != 1 or channels < 3:
        raise ValueError(f"peak_top_energy: one signal dim ({img.signal_dims}) and channels >= 3 ({channels})")
    energy = _live_energy(img)
    inside = np.ones(len(energy), bool) if window is None else _window(energy, window, "window", np.max)
    energy, y = energy[inside].astype(float), img.finite_live()[:, inside]
    if len(energy) < channels:
        raise ValueError(f"peak_top_energy: {len(energy)} channels in {window}, fewer than channels={channels}")
    top = np.clip(y.argmax(axis=1) - channels // 2, 0, len(energy) - channels)
    index = top[:, None] + np.arange(channels)
    y = np.take_along_axis(y, index, axis=1).astype(float)
    middle = energy[index].mean(axis=1, keepdims=True)
    x = energy[index] - middle
    powers = x[..., None] ** np.arange(3)
    logs, weights = np.log(np.where(y > 0, y, 1)), np.maximum(y, 0)
    for _ in range(3):
        weighted = powers * (weights**2)[..., None]
        normal = np.einsum("pni,pnj->pij", weighted, powers)
        fit = np.einsum("pij,pj->pi", np.linalg.pinv(normal), np.einsum("pni,pn->pi", weighted, logs))
        weights = np.where(y > 0, np.exp(np.minimum(np.einsum("pni,pi->pn", powers, fit), 700)), 0)
        weights /= np.maximum(weights.max(axis=1, keepdims=True), 1e-300)
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = np.where(fit[:, 2] < 0, -fit[:, 1] / (2 * fit[:, 2]), np.nan)
    shift[~((shift >= x.min(axis=1)) & (shift <= x.max(axis=1)))] = np.nan
    out = img.to_maps(middle + shift[:, None]).isel(component=0, drop=True).rename("peak_top_energy")
    dim = img.signal_dims[0]
    units = img.data.coords[dim].attrs.get("units") if dim in img.data.coords else None
    return out if units is None else out.assign_attrs(units=units)
