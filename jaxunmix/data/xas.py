"""What is specific to X-ray absorption: optical density and the normalisation of edges. Public through `preprocess`."""

from typing import Any

import numpy as np
import xarray as xr

from . import steps
from .image import SpectrumImage
from .regions import floating, over_pixels


def optical_density(img: SpectrumImage, i0: Any) -> SpectrumImage:
    """Optical density -ln(X / i0) of transmitted counts. Reversible; masked cells without one become NaN.

    Args:
        img: the image of transmitted intensities.
        i0: the incident intensity: one number, or a spectrum over the signal dims.

    Raises:
        ValueError: counts or i0 of zero or below; the message names the first pixel.
    """
    one = isinstance(i0, int | float | np.number)
    incident = steps.on_channels(img, np.full(img.signal_shape, i0) if one else i0, "optical_density")
    live_i0 = incident if img.keep_channels is None else incident[img.keep_channels.values]
    if (live_i0 <= 0).any():
        raise ValueError("optical_density: i0 is zero or below at live channels; mask these channels")
    low = img.finite_live().min(axis=1) <= 0
    steps.refuse(img, low, "optical_density: counts of zero or below", "leave them out with mask, or bin first")
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.divide(img.data.values, incident.astype(floating(img)), dtype=floating(img))
        values = steps.finite_or_nan(img, np.negative(np.log(ratio, out=ratio), out=ratio))
    undone = [
        steps.operation("multiply", -1.0),
        steps.operation("exp", 0),
        steps.operation("multiply", incident, img.signal_dims),
    ]
    return steps.taken(img, "optical_density", {}, values, undone, "OD")


def normalise_edge(img: SpectrumImage, pre: steps.Window = None, post: steps.Window = None) -> SpectrumImage:
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
    energy = steps.live_energies(img, "energy")
    a = live[:, _window(energy, pre, "pre", np.min)].mean(axis=1, dtype=np.float64)
    b = live[:, _window(energy, post, "post", np.max)].mean(axis=1, dtype=np.float64)
    steps.refuse(img, a == b, "normalise_edge: no step", "leave these pixels out with preprocess.mask")
    base, step = over_pixels(img, a, 0), over_pixels(img, b - a, 1)
    values = np.subtract(img.data.values, base.astype(floating(img)), dtype=floating(img))
    values /= step.astype(floating(img))
    undone = [steps.operation("multiply", step, img.navigation_dims), steps.operation("add", base, img.navigation_dims)]
    shown = {"pre": None if pre is None else list(pre), "post": None if post is None else list(post)}
    return steps.taken(img, "normalise_edge", shown, values, undone, "1")


def _window(energy: np.ndarray, window: steps.Window, name: str, end: Any) -> np.ndarray:
    if window is None:
        return energy == end(energy)
    low, high = (default if limit is None else limit for limit, default in zip(window, (-np.inf, np.inf), strict=True))
    inside = (energy >= low) & (energy <= high)
    if not inside.any():
        raise ValueError(
            f"normalise_edge: no live channel in {name}={window}; they are {energy.min():g} to {energy.max():g}"
        )
    return inside


def peak_top_energy(img: SpectrumImage, window: steps.Window = None, channels: int = 7) -> xr.DataArray:
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
    energy = steps.live_energies(img, "energy")
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
