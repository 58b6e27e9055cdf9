"""Preprocessing that takes part of the data: crop, bin, mask, interpolate. Public through `preprocess`."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import xarray as xr

from .._util.validation import check_flag, check_instance, check_limits, check_unmasked, check_whole_number, float_array
from ..data.axes import as_mask
from ..data.image import SpectrumImage

Limit = float | int | None


def floating(img: SpectrumImage) -> np.dtype:
    """The dtype of results that are not whole numbers: float32 from up to 16 bits, else float64."""
    return np.result_type(img.data.dtype, np.float32)


def over_pixels(img: SpectrumImage, live: np.ndarray, fill: float | int) -> np.ndarray:
    """One number per live pixel, as float64 that broadcasts against the data; `fill` where masked."""
    out = np.full(math.prod(img.navigation_shape), fill, np.float64)
    out[slice(None) if img.keep_pixels is None else img.keep_pixels.values.ravel()] = live
    return out.reshape(img.navigation_shape + (1,) * len(img.signal_dims))


def over_channels(img: SpectrumImage, live: np.ndarray, fill: float | int) -> np.ndarray:
    """One number per live channel, as float64 over the signal dims; `fill` where masked."""
    out = np.full(math.prod(img.signal_shape), fill, np.float64)
    out[slice(None) if img.keep_channels is None else img.keep_channels.values.ravel()] = live
    return out.reshape(img.signal_shape)


def crop(img: SpectrumImage, **ranges: slice | tuple[Limit, Limit]) -> SpectrumImage:
    """Keep part of some axes: `crop(img, energy=(520, 580), y=slice(0, 10))`.

    Args:
        img: the image.
        ranges: dim -> (low, high), coordinate values, both included, None for no limit; or a slice of indices.

    Raises:
        ValueError: an unknown dim; limits for a dim without coordinates; nothing left.
    """
    check_instance(img, SpectrumImage, "crop: the image", "SpectrumImage.from_array(values)")
    index: dict[str, Any] = {}
    ranges = by_dims(img, ranges, "crop")
    for dim, wanted in ranges.items():
        if isinstance(wanted, slice):
            index[dim] = np.arange(img.data.sizes[dim])[wanted]
        else:
            index[dim] = _between(img, dim, *check_limits(wanted, f"crop: {dim}"))
        if len(index[dim]) == 0:
            raise ValueError(f"crop: {dim}={wanted} leaves nothing; {_extent(img, dim)}")
        index[dim] = slice(int(index[dim][0]), int(index[dim][-1]) + 1) if _is_run(index[dim]) else index[dim]
    shown = {d: str(w) if isinstance(w, slice) else list(w) for d, w in ranges.items()}
    return _selected(img, index, {"step": "crop", "parameters": shown})


def by_dims(img: SpectrumImage, given: Mapping[str, Any], what: str) -> dict[str, Any]:
    """What was given by names of axes, by the dims that they mean.

    Raises:
        ValueError: an unknown dim, or two names for one; `what` asked for them.
    """
    found = {img.resolve_dim(name, what): value for name, value in given.items()}
    if len(found) < len(given):
        raise ValueError(f"{what}: {', '.join(given)} name one axis twice; the axes are {img.data.dims}")
    return found


def _between(img: SpectrumImage, dim: str, low: Limit, high: Limit) -> np.ndarray:
    if dim not in img.data.coords:
        raise ValueError(f"crop: '{dim}' has no coordinate to compare; give indices as slice(start, stop)")
    values = img.data.coords[dim].values
    inside = (values >= (-np.inf if low is None else low)) & (values <= (np.inf if high is None else high))
    return np.flatnonzero(inside)


def _is_run(index: np.ndarray) -> bool:
    return bool((np.diff(index) == 1).all())  # then a slice will do, which copies nothing


def _extent(img: SpectrumImage, dim: str) -> str:
    if dim not in img.data.coords:
        return f"it has {img.data.sizes[dim]} entries"
    coord = img.data.coords[dim]
    return f"it goes from {coord.values[0]:g} to {coord.values[-1]:g} {coord.attrs.get('units', '')}".rstrip()


def _selected(img: SpectrumImage, index: Mapping[str, Any], record: dict[str, Any]) -> SpectrumImage:
    keep = [
        None if m is None else m.isel({d: i for d, i in index.items() if d in m.dims})
        for m in (img.keep_pixels, img.keep_channels)
    ]
    return replace(
        img,
        data=img.data.isel(index),
        keep_pixels=keep[0],
        keep_channels=keep[1],
        provenance=(*img.provenance, record),
    )


def bin(img: SpectrumImage, *, trim: bool = False, **factors: int) -> SpectrumImage:
    """Sum neighbouring cells: `bin(img, y=2, x=2, energy=4)`.

    Coordinates are averaged. Integers are widened as far as the sum needs. A new cell is live if all its
    parts are.

    Args:
        img: the image.
        trim: leave out the last cells that do not fill a bin; else they are an error.
        factors: dim -> cells per bin.

    Raises:
        ValueError: an unknown dim, a factor below 1 or above the size, a remainder without trim.
    """
    check_instance(img, SpectrumImage, "bin: the image", "SpectrumImage.from_array(values)")
    check_flag(trim, "bin: trim")
    factors = by_dims(img, factors, "bin")
    for dim, n in factors.items():
        check_whole_number(n, f"bin: {dim}")
        size = img.data.sizes[dim]
        if not 1 <= n <= size:
            raise ValueError(f"bin: {dim}={n}, but '{dim}' has {size} entries; give 1 to {size}")
        if size % n and not trim:
            raise ValueError(f"bin: {size} entries of '{dim}' are no multiple of {n}; crop first, or trim=True")
    data = img.data
    kind = _sum_dtype(data.values, factors)
    with np.errstate(over="ignore"):
        values = _reduced(data, factors, lambda v, axes: v.sum(axis=axes, dtype=kind))
    if kind.kind == "f" and np.isinf(values).any() and not np.isinf(data.values).any():
        raise ValueError(f"bin: sums beyond the range of {kind}; rescale the image first")
    binned = xr.DataArray(values, dims=data.dims, name=data.name, attrs=data.attrs)
    for dim in map(str, data.dims):
        if dim in data.coords:
            coord = data.coords[dim]
            mean = _reduced(coord, factors, lambda v, axes: v.mean(axis=axes)) if dim in factors else coord.values
            binned = binned.assign_coords({dim: xr.DataArray(mean, dims=(dim,), attrs=coord.attrs)})
    keep = [
        None if m is None else _reduced(m, factors, lambda v, axes: v.all(axis=axes))
        for m in (img.keep_pixels, img.keep_channels)
    ]
    record = {"step": "bin", "parameters": dict(factors) | {"trim": trim}}
    return SpectrumImage(
        binned,
        img.signal_dims,
        as_mask(keep[0], binned, img.navigation_dims, "keep_pixels"),
        as_mask(keep[1], binned, img.signal_dims, "keep_channels"),
        (*img.provenance, record),
    )


def _reduced(data: xr.DataArray, factors: Mapping[str, int], how: Any) -> np.ndarray:
    """Split each axis into (bins, cells per bin) and reduce the latter by `how(values, axes)`."""
    shape: list[int] = []
    cut: list[slice] = []
    for dim, size in data.sizes.items():
        n = factors.get(str(dim), 1)
        shape += [size // n, n]
        cut.append(slice(0, size // n * n))
    values = data.values[tuple(cut)].reshape(shape)
    return how(values, tuple(range(1, len(shape), 2)))


def _sum_dtype(values: np.ndarray, factors: Mapping[str, int]) -> np.dtype:
    """A type that the sums fit: of whole numbers double precision where 64 bits do not hold them."""
    dtype, cells = values.dtype, math.prod(int(n) for n in factors.values())
    if dtype.kind == "f":
        return np.result_type(dtype, np.float32)
    info = np.iinfo(dtype)
    wide = np.iinfo(f"{dtype.kind}8")
    if dtype.itemsize == 8 and not wide.min <= cells * int(values.min()) <= cells * int(values.max()) <= wide.max:
        return np.dtype(np.float64)
    bits = 64 if info.max * cells >= 2**32 else 32 if info.max * cells >= 2**16 else 16
    return np.dtype(f"{dtype.kind}{max(bits, 8 * dtype.itemsize) // 8}")


def mask(img: SpectrumImage, pixels: Any = None, channels: Any = None) -> SpectrumImage:
    """Leave out pixels or channels, on top of those already left out. Reversible.

    Args:
        img: the image.
        pixels: bool over the navigation dims, True = keep.
        channels: bool over the signal dims, True = keep; such as `img.data.energy > 0.2`.

    Raises:
        ValueError: a mask of another shape or dtype, or one that leaves nothing.
    """
    return _masked(img, pixels, channels, "mask")


def _masked(img: SpectrumImage, pixels: Any, channels: Any, name: str) -> SpectrumImage:
    check_instance(img, SpectrumImage, f"{name}: the image", "SpectrumImage.from_array(values)")
    check_unmasked(pixels, f"{name}: pixels")
    check_unmasked(channels, f"{name}: channels")
    old = {"pixels": img.keep_pixels, "channels": img.keep_channels}
    both = {}
    for what, new, dims in (("pixels", pixels, img.navigation_dims), ("channels", channels, img.signal_dims)):
        given = as_mask(new, img.data, dims, f"keep_{what}")
        before = old[what]
        joint = given if before is None or given is None else given.copy(data=given.values & before.values)
        both[what] = before if joint is None else joint
    left = {k: None if m is None else int(m.size - m.values.sum()) for k, m in both.items()}
    record = {
        "step": name,
        "parameters": {"left_out": left},
        "undo": {
            "operations": [],
            "dtype": str(img.data.dtype),
            "units": img.data.attrs.get("units"),
            "masks": {k: None if m is None else m.values for k, m in old.items()},
        },
    }
    return replace(
        img,
        keep_pixels=both["pixels"],
        keep_channels=both["channels"],
        provenance=(*img.provenance, record),
    )


def mask_empty(img: SpectrumImage) -> SpectrumImage:
    """Leave out pixels whose spectrum, and channels whose map, is zero throughout. Reversible.

    Raises:
        ValueError: if nothing is left.
    """
    check_instance(img, SpectrumImage, "mask_empty: the image", "SpectrumImage.from_array(values)")
    live = img.finite_live() != 0
    pixels = over_pixels(img, live.any(axis=1), 0).astype(bool).reshape(img.navigation_shape)
    channels = over_channels(img, live.any(axis=0), 0).astype(bool)
    return _masked(img, pixels, channels, "mask_empty")


def mask_non_finite(img: SpectrumImage, over: Literal["auto", "pixels", "channels"] = "auto") -> SpectrumImage:
    """Leave out pixels or channels that hold NaN or infinite values. Reversible.

    Args:
        img: the image.
        over: "pixels" leaves out each pixel with such a value, "channels" each channel; "auto" those that hold no
            others, and where values are still not finite then pixels or channels, whichever are fewer values.

    Raises:
        ValueError: if nothing is left.
    """
    check_instance(img, SpectrumImage, "mask_non_finite: the image", "SpectrumImage.from_array(values)")
    if over not in ("auto", "pixels", "channels"):
        raise ValueError(f'mask_non_finite: over={over!r}; give "auto", "pixels" or "channels"')
    bad = ~np.isfinite(img.live())
    pixels, channels = np.zeros(bad.shape[0], bool), np.zeros(bad.shape[1], bool)
    if over == "auto":
        pixels, channels = bad.all(axis=1), bad.all(axis=0)
        bad = bad & ~pixels[:, None] & ~channels
        rows, columns = bad.any(axis=1), bad.any(axis=0)
        over = "pixels" if rows.sum() * (~channels).sum() <= columns.sum() * (~pixels).sum() else "channels"
    if over == "pixels":
        pixels = pixels | bad.any(axis=1)
    else:
        channels = channels | bad.any(axis=0)
    if pixels.all() or channels.all():
        raise ValueError("mask_non_finite leaves nothing: every pixel, or channel, holds a NaN or infinite value")
    keep_pixels = over_pixels(img, ~pixels, 0).astype(bool).reshape(img.navigation_shape) if pixels.any() else None
    keep_channels = over_channels(img, ~channels, 0).astype(bool) if channels.any() else None
    return _masked(img, keep_pixels, keep_channels, "mask_non_finite")


def interpolate(img: SpectrumImage, values: Any, dim: str | None = None) -> SpectrumImage:
    """Linear interpolation onto another grid of one axis, such as a uniform energy.

    A new channel is live if the channels it lies between are.

    Args:
        img: the image.
        values: new coordinate values, strictly monotonic, inside the old range.
        dim: the axis; by default the only signal dim.

    Raises:
        ValueError: no coordinate to interpolate in, or values outside its range.
    """
    check_instance(img, SpectrumImage, "interpolate: the image", "SpectrumImage.from_array(values)")
    check_instance(dim, (str, type(None)), "interpolate: dim", '"energy"')
    dim = img.resolve_dim(dim, "interpolate") if dim else img.signal_dims[0] if len(img.signal_dims) == 1 else ""
    if dim not in img.data.coords:
        raise ValueError(f"interpolate: name one dim with a coordinate, of {list(img.data.coords)}")
    new = float_array(values, "interpolate: values")
    if not new.size or not np.isfinite(new).all():
        raise ValueError(f"interpolate: new {dim} must be one or more finite numbers; {_extent(img, dim)}")
    old = img.data.coords[dim].values.astype(float)
    order = np.argsort(old)
    if new.ndim != 1 or new.min() < old.min() or new.max() > old.max():
        raise ValueError(f"interpolate: new {dim} must be 1-D and inside the old range; {_extent(img, dim)}")
    high = np.clip(np.searchsorted(old[order], new), 1, len(old) - 1)
    low = high - 1
    share = (new - old[order][low]) / (old[order][high] - old[order][low])
    axis = img.data.get_axis_num(dim)
    weight = share.astype(floating(img)).reshape([-1 if i == axis else 1 for i in range(img.data.ndim)])
    source = img.data.values
    out = source.take(order[low], axis) * (1 - weight) + source.take(order[high], axis) * weight
    data = img.data.isel({dim: np.zeros(len(new), int)}).copy(data=out)
    data = data.assign_coords({dim: xr.DataArray(new, dims=(dim,), attrs=img.data.coords[dim].attrs)})
    keep = {}
    for name, m, dims in (
        ("keep_pixels", img.keep_pixels, img.navigation_dims),
        ("keep_channels", img.keep_channels, img.signal_dims),
    ):
        if m is not None and dim in dims:
            i = m.get_axis_num(dim)
            # an end point that is met exactly does not need its neighbour
            ends = np.moveaxis(m.values, i, -1)
            live = (ends[..., order[low]] | (share == 1)) & (ends[..., order[high]] | (share == 0))
            m = as_mask(np.moveaxis(live, -1, i), data, dims, name)
        keep[name] = m
    record = {"step": "interpolate", "parameters": {"dim": dim, "values": new}}
    return SpectrumImage(data, img.signal_dims, keep["keep_pixels"], keep["keep_channels"], (*img.provenance, record))
