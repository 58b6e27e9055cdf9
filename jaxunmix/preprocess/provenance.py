"""What the steps of preprocessing share: the record of a step and the way back, and the live cells.

A record is {"step", "parameters"} and, where the mathematics is reversible, "undo": elementwise operations in the
order in which `reverse` applies them.

    exp               e^X
    multiply, add     X * values or X + values, with values over `dims`
    add_polynomial    X + sum_n values[..., n] x^n, with values (*navigation, terms) and x over the signal dim;
                      only where x >= start (*navigation), if there is a start
    add_product       X + sum_k values[..., k] rows[k], with values (*navigation, K) and rows (K, channels)
    add_power_law     X + values x^-exponent, with values and exponent (*navigation) and x over the signal dim;
                      nothing is added where x is NaN
    put               values at the flat places `where`
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from .._util.validation import check_instance, check_limits, float_array
from ..data.axes import as_mask, nth_live
from ..data.image import SpectrumImage
from .region import Limit

Limits = tuple[Limit, Limit]
Window = Limits | None


def take_step(
    img: SpectrumImage,
    name: str,
    parameters: dict[str, Any],
    values: np.ndarray,
    operations: list[dict[str, Any]] | None = None,
    units: str | None = None,
) -> SpectrumImage:
    """The image after a step: new values and one more record; `units` replaces those of the intensity."""
    _check_result(img, name, values)
    old = img.data.attrs.get("units")
    record: dict[str, Any] = {"step": name, "parameters": parameters}
    if operations is not None:
        record["undo"] = {"operations": operations, "dtype": str(img.data.dtype), "units": old}
    data = _with_values(img, values, old if units is None else units)
    return replace(img, data=data, provenance=(*img.provenance, record))


def check_image(img: Any, what: str) -> SpectrumImage:
    """Refuse what is no image."""
    return check_instance(img, SpectrumImage, f"{what}: the image", "SpectrumImage.from_array(values)")


def _check_result(img: SpectrumImage, name: str, values: np.ndarray) -> None:
    """Refuse live values that have left the range of their type: the image had none that were not finite."""
    with np.errstate(all="ignore"):
        if values.dtype.kind != "f" or np.isfinite(values.sum()):
            return
        live = replace(img, data=img.data.copy(data=values)).live()
        bad = ~np.isfinite(live) & np.isfinite(img.live())
    refuse(img, bad.any(axis=1), f"{name}: results beyond the range of {values.dtype}", "rescale the image first")


def operation(what: str, values: Any, dims: Sequence[str] = ()) -> dict[str, Any]:
    """One operation of the way back."""
    return {"do": what, "values": np.asarray(values), "dims": list(dims)}


def polynomial(coefficients: np.ndarray, x: np.ndarray, start: np.ndarray | None = None) -> dict[str, Any]:
    """The operation that adds a polynomial of its own to each pixel.

    Args:
        coefficients: (*navigation, terms), of ascending powers.
        x: (channels,) the variable, best scaled to between -1 and 1.
        start: (*navigation) nothing is added where x is below it.
    """
    return {"do": "add_polynomial", "values": coefficients, "x": x} | ({} if start is None else {"start": start})


def reverse(img: SpectrumImage) -> SpectrumImage:
    """The image before its last step, whose record has the operations.

    Raises:
        ValueError: if there is no step, or the last one lost information.
    """
    check_image(img, "undo")
    if not img.provenance:
        raise ValueError("no step to undo: the provenance is empty")
    record = img.provenance[-1]
    if "undo" not in record:
        raise ValueError(f"step '{record.get('step')}' is not reversible; start again from the data before it")
    past = record["undo"]
    values = img.data.values
    for one in past["operations"]:
        values = apply_operation(values, one, tuple(map(str, img.data.dims)))
    dtype = np.dtype(past["dtype"])
    if dtype.kind in "iu" and values.dtype.kind == "f":
        values = np.rint(np.nan_to_num(values))
    back = replace(img, data=_with_values(img, values.astype(dtype, copy=False), past.get("units")))
    if "masks" in past:
        back = replace(
            back,
            keep_pixels=as_mask(past["masks"]["pixels"], img.data, img.navigation_dims, "keep_pixels"),
            keep_channels=as_mask(past["masks"]["channels"], img.data, img.signal_dims, "keep_channels"),
        )
    return replace(back, provenance=img.provenance[:-1])


def apply_operation(values: np.ndarray, one: Mapping[str, Any], dims: tuple[str, ...] = ()) -> np.ndarray:
    """The values after one operation; `dims` are those of the values."""
    if one["do"] == "exp":
        return np.exp(values)
    if one["do"] == "put":
        back = values.copy()
        back.ravel()[one["where"]] = one["values"]
        return back
    dtype = values.dtype if values.dtype.kind == "f" else np.dtype(float)
    if one["do"] == "add_polynomial":
        powers = one["x"] ** np.arange(one["values"].shape[-1])[:, None]
        curves = one["values"].astype(dtype) @ powers.astype(dtype)
        if "start" in one:
            curves *= one["x"] >= one["start"][..., None]
        return np.add(curves, values, out=curves)
    if one["do"] == "add_product":
        return values + (one["values"] @ one["rows"]).astype(dtype)
    if one["do"] == "add_power_law":
        law = np.exp(-one["exponent"][..., None] * np.log(one["x"]))
        return values + np.nan_to_num(one["values"][..., None] * law).astype(dtype)
    shape = [n if d in one["dims"] else 1 for d, n in zip(dims, values.shape, strict=True)]
    factor = np.asarray(one["values"], values.dtype if values.dtype.kind == "f" else None).reshape(shape)
    return values * factor if one["do"] == "multiply" else values + factor


def _with_values(img: SpectrumImage, values: np.ndarray, units: str | None) -> xr.DataArray:
    data = img.data.copy(data=values)
    data.attrs.pop("units", None)
    return data if units is None else data.assign_attrs(units=units)


def refuse(img: SpectrumImage, bad: Any, what: str, remedy: str) -> None:
    """Raise if any live pixel is bad, naming the first."""
    if bad.any():
        row = nth_live(img.keep_pixels, int(np.argmax(bad)))
        raise ValueError(f"{what} at {int(bad.sum())} pixels, the first at {img.place(row)}; {remedy}")


def finite_or_nan(img: SpectrumImage, values: np.ndarray) -> np.ndarray:
    """NaN for what is not finite, which can only be in masked cells: live values have been checked."""
    if img.keep_pixels is not None or img.keep_channels is not None:
        values[~np.isfinite(values)] = np.nan
    return values


def on_channels(img: SpectrumImage, spectrum: Any, what: str, noun: str = "spectrum") -> np.ndarray:
    """A spectrum as float64 over the signal dims, after checking its grid; `noun` is what the messages call it."""
    if isinstance(spectrum, SpectrumImage):
        spectrum = spectrum.data.squeeze([d for d in spectrum.navigation_dims if spectrum.data.sizes[d] == 1])
    if isinstance(spectrum, xr.DataArray):
        for dim in set(img.signal_dims) & set(spectrum.coords) & set(img.data.coords):
            ours, theirs = img.data.coords[dim].values, spectrum.coords[dim].values
            if ours.shape != theirs.shape or not np.allclose(ours, theirs, rtol=1e-9, atol=0):
                raise ValueError(
                    f"{what}: another {dim} grid than that of the {noun}; use preprocess.interpolate first"
                )
        if set(spectrum.dims) == set(img.signal_dims):
            spectrum = spectrum.transpose(*img.signal_dims)
    values = float_array(spectrum, f"{what}: the {noun}")
    if values.shape != img.signal_shape:
        raise ValueError(f"{what}: {noun} of shape {values.shape}; expected {img.signal_shape} over {img.signal_dims}")
    live = values.ravel() if img.keep_channels is None else values[img.keep_channels.values]
    if not np.isfinite(live).all():
        raise ValueError(f"{what}: the {noun} is NaN or infinite at live channels; mask these channels")
    return np.nan_to_num(values)


def energies(img: SpectrumImage, what: str) -> np.ndarray:
    """The coordinate of the only signal dim, or the channel numbers, as float64: (channels,), masked ones too.

    Raises:
        ValueError: more than one signal dim.
    """
    check_image(img, what)
    if len(img.signal_dims) != 1:
        raise ValueError(f"{what} needs one signal dim; here they are {img.signal_dims}")
    dim = img.signal_dims[0]
    values = img.data.coords[dim].values if dim in img.data.coords else np.arange(img.data.sizes[dim])
    return values.astype(np.float64)


def live_energies(img: SpectrumImage, what: str) -> np.ndarray:
    """As `energies`, of the live channels."""
    values = energies(img, what)
    return values if img.keep_channels is None else values[img.keep_channels.values]


def inside(img: SpectrumImage, energy: np.ndarray, window: Limits, what: str) -> np.ndarray:
    """Which energies of an image lie in a window, both limits included; `what` names the window in the message.

    Raises:
        ValueError: none does.
    """
    limits = zip(check_limits(window, what), (-np.inf, np.inf), strict=True)
    low, high = (default if limit is None else limit for limit, default in limits)
    within = (energy >= low) & (energy <= high)
    if not within.any():
        unit = energy_units(img).get("units", "")
        place = f"{energy.min():g} to {energy.max():g} {unit}".rstrip()
        raise ValueError(f"{what}={window} holds no live channel; they are at {place}: give it in the unit of the axis")
    return within


def energy_units(img: SpectrumImage) -> dict[str, str]:
    """Attributes of a result in units of the signal axis."""
    dim = img.signal_dims[0]
    units = img.data.coords[dim].attrs.get("units") if dim in img.data.coords else None
    return {} if units is None else {"units": units}


def as_map(img: SpectrumImage, values: np.ndarray, name: str, attrs: Mapping[str, str] | None = None) -> xr.DataArray:
    """One number per live pixel as a map, NaN where masked."""
    out = img.to_maps(values[:, None]).isel(component=0, drop=True).rename(name)
    return out.assign_attrs(attrs or {})
