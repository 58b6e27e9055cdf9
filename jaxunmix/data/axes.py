"""Labels of a spectrum image: checks and helpers for dims, coordinates, units and masks."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from .._util.validation import check_mapping

_NAVIGATION = {0: (), 1: ("x",), 2: ("y", "x"), 3: ("z", "y", "x")}
_SIGNAL = {1: ("energy",), 2: ("ky", "kx")}
_REMEDY = {
    "b": "boolean arrays are masks here; cast to uint8 if they are intensities",
    "c": "take the real part or the modulus first",
    "O": "an object array has no number type; cast it, for example array.astype(float)",
    "U": "convert text to numbers, for example array.astype(float)",
    "S": "convert text to numbers, for example array.astype(float)",
}


def default_dims(ndim: int, signal: int) -> tuple[str, ...]:
    """Names of the axes of an array that has none: the last `signal` of `ndim` axes are a spectrum.

    >>> default_dims(3, 1), default_dims(4, 2)
    (('y', 'x', 'energy'), ('y', 'x', 'ky', 'kx'))
    """
    navigation = ndim - signal
    first = _NAVIGATION.get(navigation, tuple(f"nav{i}" for i in range(navigation)))
    return first + _SIGNAL.get(signal, tuple(f"signal{i}" for i in range(signal)))


def check_numeric(dtype: np.dtype) -> None:
    """Refuse what is not an integer or a real number of at most 64 bits."""
    if dtype.kind not in "iuf":
        remedy = _REMEDY.get(dtype.kind, "give integers or real numbers")
        raise ValueError(f"intensities of dtype {dtype} are not real numbers; {remedy}")
    if dtype.itemsize > 8:
        raise ValueError(f"intensities of dtype {dtype} have more than 64 bits; cast to float64")


class UnsortedAxisError(ValueError):
    """The coordinate of an axis neither rises nor falls throughout.

    Attributes:
        dim: the axis.
        image: the image that was to be made, unchecked; None where there is none.
    """

    def __init__(self, message: str, dim: str):
        super().__init__(message)
        self.dim = dim
        self.image: Any = None


def check_axes(data: xr.DataArray) -> None:
    """Refuse empty axes, and coordinates that are not finite and strictly monotonic."""
    for dim, size in data.sizes.items():
        if size == 0:
            raise ValueError(f"axis '{dim}' has no entries (shape {data.shape}); give at least one")
        if dim in data.coords:
            _check_coord(str(dim), data.coords[dim])


def _check_coord(dim: str, coord: xr.DataArray) -> None:
    values = coord.values
    if values.dtype.kind not in "iuf":
        raise ValueError(
            f"the coordinate of '{dim}' has dtype {values.dtype}; give numbers, and "
            f"text under another name: data.assign_coords(label=('{dim}', texts))"
        )
    if not np.isfinite(values).all():
        i = int(np.argmin(np.isfinite(values)))
        raise ValueError(f"the coordinate of '{dim}' is {values[i]} at index {i}; give finite values")
    up = values[1:] > values[:-1]
    down = values[1:] < values[:-1]
    if up.all() or down.all():
        return
    wrong = ~up if up.sum() >= down.sum() else ~down
    i = int(np.argmax(wrong))
    raise UnsortedAxisError(
        f"the coordinate of '{dim}' is not strictly monotonic: {values[i]} at index {i}, "
        f"then {values[i + 1]}; sort the axis and merge equal entries first: preprocess.merge_repeated, or "
        "load(..., merge_repeated=True)",
        dim,
    )


def find_dim(wanted: str, dims: Sequence[Any], signal_dims: Sequence[str] = ()) -> str | None:
    """The axis that a user's name means: exactly, else without case where one is like it, else None.

    "energy" also means the only signal axis, whatever it is called.

    >>> find_dim("X", ("y", "x", "Energy loss")), find_dim("energy", ("y", "x", "Energy loss"), ("Energy loss",))
    ('x', 'Energy loss')
    """
    known = [str(d) for d in dims]
    if wanted in known:
        return wanted
    plain = wanted.strip().lower()
    alike = [d for d in known if d.lower() == plain]
    if len(alike) == 1:
        return alike[0]
    return signal_dims[0] if plain == "energy" and len(signal_dims) == 1 and not alike else None


def truth_values(mask: Any, what: str) -> np.ndarray:
    """A mask as booleans: whole numbers may be given in their place if all are 0 or 1.

    Raises:
        ValueError: other numbers.
    """
    values = np.asarray(mask)
    if values.dtype.kind not in "iu":
        return values
    odd = values[(values != 0) & (values != 1)]
    if odd.size:
        raise ValueError(f"{what} holds {odd.flat[0]}; give booleans, or 0 and 1: True (1) = keep")
    return values.astype(bool)


def check_mask(mask: xr.DataArray | None, data: xr.DataArray, dims: tuple[str, ...], what: str) -> None:
    """Refuse a mask that is not boolean, not over `dims`, or that leaves nothing."""
    if mask is None:
        return
    shape = tuple(data.sizes[d] for d in dims)
    if mask.dims != dims or mask.shape != shape:
        raise ValueError(f"{what} has dims {mask.dims} and shape {mask.shape}; expected {dims} of shape {shape}")
    if mask.dtype != bool:
        raise ValueError(f"{what} has dtype {mask.dtype}; give booleans, True = keep")
    if not mask.values.any():
        raise ValueError(f"{what} leaves nothing: True means keep here; use ~mask if yours means exclude")


def as_mask(mask: Any, data: xr.DataArray, dims: tuple[str, ...], what: str) -> xr.DataArray | None:
    """Label a mask over `dims` of `data`; a DataArray is brought to that order of dims."""
    if mask is None:
        return None
    if isinstance(mask, xr.DataArray):
        if set(mask.dims) != set(dims):
            raise ValueError(f"{what} has dims {mask.dims}; expected {dims}")
        mask = mask.transpose(*dims)
    values = truth_values(mask, what)
    shape = tuple(data.sizes[d] for d in dims)
    if values.shape != shape:
        raise ValueError(f"{what} has shape {values.shape}; expected {shape} over {dims}")
    out = xr.DataArray(values, dims=dims, coords={d: data.coords[d] for d in dims if d in data.coords})
    check_mask(out, data, dims, what)
    return out


def check_signal_dims(signal_dims: Any) -> None:
    """Refuse True and False, which Python takes for 1 and 0."""
    if isinstance(signal_dims, bool):
        raise ValueError(f"signal_dims={signal_dims}: give the number of the last axes that are a spectrum, or names")


def labelled(array: Any, signal_dims: int | str | Sequence[str], dims: Sequence[str] | None) -> xr.DataArray:
    """Give an array dims; a DataArray keeps its own."""
    if isinstance(array, xr.DataArray):
        if dims is not None:
            raise ValueError("dims given for a DataArray, which has its own; rename them there")
        native = array.dtype.newbyteorder("=")
        return array if array.dtype == native else array.astype(native)
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        raise ValueError("a numpy masked array; give array.data and the mask as keep_pixels or keep_channels")
    values = np.asarray(array)
    check_numeric(values.dtype)
    if values.ndim == 0:
        raise ValueError("a single number has no signal axis; give at least one spectrum (1-D)")
    # files may hold the other byte order, which jax does not take
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    check_signal_dims(signal_dims)
    count = signal_dims if isinstance(signal_dims, int) else len(names(signal_dims))
    if not 0 < count <= values.ndim:
        raise ValueError(f"signal_dims={signal_dims!r}, but the array has {values.ndim} axes {values.shape}")
    if dims is None:
        dims = default_dims(values.ndim, count)
        if not isinstance(signal_dims, int):
            dims = dims[: values.ndim - count] + names(signal_dims)
    if len(dims) != values.ndim or len(set(dims)) != len(dims):
        raise ValueError(f"dims={tuple(dims)} for an array of shape {values.shape}; give one name per axis")
    return xr.DataArray(values, dims=tuple(dims))


def names(dims: Any) -> tuple[str, ...]:
    """One name or several as a tuple."""
    return (dims,) if isinstance(dims, str) else tuple(dims)


def signal_names(data: xr.DataArray, signal_dims: int | str | Sequence[str]) -> tuple[str, ...]:
    """Names of the signal dims, given by name or by their number counted from the last."""
    check_signal_dims(signal_dims)
    if isinstance(signal_dims, int):
        found = tuple(map(str, data.dims))[-signal_dims:] if 0 < signal_dims <= data.ndim else ()
    else:
        found = tuple(find_dim(d, data.dims) or d for d in names(signal_dims))
    if not found or len(set(found)) < len(found) or any(d not in data.dims for d in found):
        raise ValueError(
            f"signal_dims={signal_dims!r}, but the array has dims {data.dims} (shape {data.shape}); "
            f"give a number from 1 to {data.ndim}, or names of these dims"
        )
    return found


def with_coords(data: xr.DataArray, coords: Mapping[str, Any], units: Mapping[str, str]) -> xr.DataArray:
    """Attach coordinates and units; "intensity" in `units` is the unit of the values."""
    for name, values in check_mapping(coords, "coords", '{"energy": values}').items():
        dim = find_dim(name, data.dims) or name
        if dim not in data.dims:
            raise ValueError(f"coords for '{dim}', but the dims are {data.dims}")
        values = np.asarray(values)
        if values.shape != (data.sizes[dim],):
            raise ValueError(f"coords for '{dim}' have shape {values.shape}; expected ({data.sizes[dim]},)")
        old = dict(data.coords[dim].attrs) if dim in data.coords else {}
        data = data.assign_coords({dim: xr.DataArray(values, dims=(dim,), attrs=old)})
    for name, unit in check_mapping(units, "units", '{"energy": "eV"}').items():
        dim = find_dim(name, tuple(data.coords)) or name
        if dim == "intensity" and dim not in data.dims:
            data = data.assign_attrs(units=unit)
        elif dim not in data.coords:
            raise ValueError(f"units for '{dim}', which has no coordinate; give coords={{'{dim}': ...}} too")
        else:
            coord = data.coords[dim]
            data = data.assign_coords({dim: coord.assign_attrs(units=unit)})
    return data


def coords_over(data: xr.DataArray, dims: Sequence[str]) -> dict[Any, xr.Variable]:
    """Those coordinates of `data` that need no other dims than `dims`."""
    return {k: c.variable for k, c in data.coords.items() if set(c.dims) <= set(dims)}


def uniform_step(values: np.ndarray) -> float | None:
    """The step of an axis if it is uniform to 1e-6 of a step, else None.

    >>> uniform_step(np.array([1.0, 1.5, 2.0])), uniform_step(np.array([1.0, 1.5, 2.1]))
    (0.5, None)
    """
    if len(values) < 2:
        return 1.0
    values = np.asarray(values, float)
    step = float((values[-1] - values[0]) / (len(values) - 1))
    line = values[0] + step * np.arange(len(values))
    return step if np.abs(values - line).max() <= 1e-6 * abs(step) else None


def text_or_none(value: Any) -> str | None:
    """A non-empty text, else None: HyperSpy marks what is not set by `Undefined`."""
    return value if isinstance(value, str) and value not in ("", "<undefined>") else None


def nth_live(keep: xr.DataArray | None, n: int) -> int:
    """Flat index (masked cells included) of the n-th live cell."""
    return n if keep is None else int(np.flatnonzero(keep.values)[n])


def cells(data: xr.DataArray, dims: Sequence[str]) -> int:
    """Number of cells over `dims`."""
    return math.prod(data.sizes[d] for d in dims)


def from_hyperspy_axes(axes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """HyperSpy's axes, in the order of the array, as arguments of `SpectrumImage.from_array`.

    Args:
        axes: name, navigate, size, units, and offset and scale or the values as `axis`; where `uncalibrated` is
            true, the axis gets no coordinate.

    Raises:
        ValueError: no axis is a signal axis, or one is given by a function.
    """
    navigate = [bool(a.get("navigate", False)) for a in axes]
    if all(navigate):
        raise ValueError("the signal has no signal axis; call signal.transpose(signal_axes=1) in HyperSpy first")
    order = sorted(range(len(axes)), key=lambda i: not navigate[i])
    default = dict(zip(order, default_dims(len(axes), navigate.count(False)), strict=True))
    dims = [text_or_none(a.get("name")) or default[i] for i, a in enumerate(axes)]
    if len(set(dims)) < len(dims):  # which HyperSpy allows: those that are not unique get the usual names
        dims = [default[i] if dims.count(d) > 1 else d for i, d in enumerate(dims)]
    if len(set(dims)) < len(dims):
        dims = [default[i] for i in range(len(axes))]
    return {
        "signal_dims": [d for d, n in zip(dims, navigate, strict=True) if not n],
        "dims": dims,
        "coords": {d: _axis_values(d, a) for d, a in zip(dims, axes, strict=True) if not a.get("uncalibrated")},
        "units": {
            d: u
            for d, a in zip(dims, axes, strict=True)
            if not a.get("uncalibrated") and (u := text_or_none(a.get("units")))
        },
    }


def _axis_values(dim: str, axis: Mapping[str, Any]) -> np.ndarray:
    if axis.get("axis") is not None:
        return np.asarray(axis["axis"], float)
    if "scale" not in axis:
        raise ValueError(
            f"axis '{dim}' is given by a function; call axis.convert_to_non_uniform_axis() in HyperSpy first"
        )
    return float(axis.get("offset", 0)) + float(axis["scale"]) * np.arange(int(axis["size"]))


def quantity_units(quantity: Any) -> dict[str, str]:
    """Units of the intensity in HyperSpy's `quantity`.

    >>> quantity_units("Intensity (counts)"), quantity_units(None)
    ({'intensity': 'counts'}, {})
    """
    text = text_or_none(quantity) or ""
    return {"intensity": text[text.rindex("(") + 1 : -1]} if text.endswith(")") and "(" in text else {}


def excluded(mask: Any, shape: tuple[int, ...], what: str) -> np.ndarray:
    """The values of a HyperSpy mask in the order of the array.

    Args:
        mask: an array, in the order (x, y, z) of HyperSpy's shapes; or a signal, whose data have the array's order.
        shape: of the axes it is over, in the order of the array.
        what: its name.

    Raises:
        ValueError: an array of another shape.
    """
    if isinstance(getattr(mask, "data", None), np.ndarray):
        return np.asarray(mask.data, bool)
    values = np.asarray(mask, bool)
    if values.shape != shape[::-1]:
        turned = f"; give {what}=mask.T" if values.shape == shape else ""
        raise ValueError(
            f"{what} has shape {values.shape}; HyperSpy's masks are in the order of its shapes (x, y), here "
            f"{shape[::-1]}{turned}"
        )
    return values.T
