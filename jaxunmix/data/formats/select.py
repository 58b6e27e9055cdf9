"""Which array of a file is the spectrum image, and which of the others are its axis and mask."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..axes import as_mask, default_dims, find_dim, names, truth_values, with_coords
from ..image import SpectrumImage
from .believe import by_names, check_map
from .items import Item
from .names import axis_name as axis_name


class ArrayChoiceError(ValueError):
    """The file holds several arrays and none was chosen, or none of that name."""

    def __init__(self, path: Path, candidates: Sequence[Item], why: str, also: str = ""):
        lines = [f"  {i.name}  {i.shape}  {i.dtype}" for i in candidates]
        super().__init__(
            f'{path.name} {why}; choose one by array="..." (command line: --array ...){also}:\n' + "\n".join(lines)
        )
        self.candidates = tuple((i.name, i.shape, str(i.dtype)) for i in candidates)


def candidates(items: Sequence[Item]) -> list[Item]:
    """Numeric arrays of two or more dims; where there are none, the numeric 1-D arrays that are no axis."""
    numeric = [i for i in items if i.dtype.kind in "iuf" and i.shape and 0 not in i.shape]
    high = [i for i in numeric if len(i.shape) >= 2]
    return high or [i for i in numeric if len(i.shape) == 1 and axis_name(i.name) is None] or numeric


def choose_item(items: Sequence[Item], array: str | None, path: Path, also: str = "") -> Item:
    """The item called `array`, or the only candidate, or the only one with the most (three or more) dims.

    `also` is another way of choosing, for the message.
    """
    if array is not None:
        found = [i for i in items if i.name == array] or [i for i in items if i.name.endswith("/" + array)]
        if len(found) == 1:
            if found[0].dtype.hasobject:
                raise ValueError(_object_message(path, found[0]))
            return found[0]
        raise ArrayChoiceError(path, found or items, f"has {len(found)} arrays called '{array}'", also)
    if len(items) > 1 and all(i.question is not None for i in items):
        raise ValueError(items[0].question)
    possible = candidates(items)
    if not possible:
        objects = [i for i in items if i.dtype.hasobject]
        if objects:
            raise ValueError(_object_message(path, objects[0]))
        raise ArrayChoiceError(path, items, "holds no array of real numbers with any entries")
    most = max(len(i.shape) for i in possible)
    top = [i for i in possible if len(i.shape) == most]
    preferred = [i for i in possible if i.preferred]
    if len(preferred) == 1:
        return preferred[0]
    if len(possible) == 1 or (len(top) == 1 and most >= 3):
        return top[0]
    raise ArrayChoiceError(path, possible, f"holds {len(possible)} arrays that could be the spectrum image", also)


def _object_message(path: Path, item: Item) -> str:
    return (
        f"array '{item.name}' of {path.name} holds Python objects, which only pickle could read, and reading a pickle "
        "can run any program; save it again as numbers: numpy.savez(path, data=array.astype(float))"
    )


def build_image(
    item: Item,
    items: Sequence[Item],
    signal_dims: int | str | Sequence[str] | None,
    dims: Sequence[str] | None,
    energy: Any,
    made: Callable[[Callable[[], SpectrumImage]], SpectrumImage] = lambda make: make(),
) -> SpectrumImage:
    """Label the chosen array, by its own labels or by an axis among the other arrays.

    `made` calls the function that makes an image, and merges channels that repeat where the user has asked for it; see
    `data.repeats.Merging`.
    """
    values = plain(item.read())
    if item.question is not None and energy is None:
        raise ValueError(item.question)
    if item.describe is not None:
        describe = item.describe
        img = made(lambda: describe(values))
        if signal_dims is None and dims is None:
            img = by_names(img) if item.trust in ("position", "unmarked") else img
        else:
            img = _relabelled(img, signal_dims, dims)
        if energy is None and item.trust == "position":
            energy = _missing_axis(img, item, items)
    else:
        energy = _automatic_axis(item, items, signal_dims, dims) if energy is None else energy
        dims = _named_by_axis(item, energy, signal_dims, dims)
        units = {} if item.units is None else {"intensity": item.units}
        img = SpectrumImage.from_array(
            values, 1 if signal_dims is None else signal_dims, dims, units=units, name=item.name
        )
    labelled = img
    img = img if energy is None else made(lambda: _with_energy(labelled, energy, items))
    if signal_dims is None and dims is None:
        check_map(img, item.trust)
    return img


def plain(values: np.ndarray) -> np.ndarray:
    """In the machine's byte order, and of at least 32 bits where they are floating-point: half ones overflow soon."""
    if values.dtype.kind == "f" and values.dtype.itemsize == 2:
        return values.astype(np.float32)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _relabelled(
    img: SpectrumImage, signal_dims: int | str | Sequence[str] | None, dims: Sequence[str] | None
) -> SpectrumImage:
    if signal_dims is None and dims is None:
        return img
    data = img.data
    if dims is not None:
        if len(dims) != data.ndim:
            raise ValueError(f"dims={tuple(dims)} for an array of shape {data.shape}; give one name per axis")
        data = data.rename(dict(zip(data.dims, dims, strict=True)))
    if img.keep_pixels is not None or img.keep_channels is not None:
        raise ValueError("the file's masks belong to its own dims; load it without dims and signal_dims")
    moved = SpectrumImage.from_array(data, len(img.signal_dims) if signal_dims is None else signal_dims)
    return replace(moved, provenance=img.provenance)


def _automatic_axis(item: Item, items: Sequence[Item], signal_dims: Any, dims: Sequence[str] | None) -> str | None:
    """The one axis that belongs to the item: by a shared prefix or number, else by its folder, else in the file."""
    axes = [i for i in items if len(i.shape) == 1 and i.dtype.kind in "iuf" and i is not item and axis_name(i.name)]
    near = [i for i in axes if i.name.rpartition("/")[0] == item.name.rpartition("/")[0]]
    position = _signal_position(item, signal_dims, dims)
    if position is None:
        return None
    length = item.shape[position]
    for group in ([i for i in near if _belongs(i.name, item.name)], near, axes):
        fits = [i for i in group if i.shape[0] == length]
        if len(fits) == 1 and (item.shape.count(length) == 1 or dims is not None):
            return fits[0].name
    if dims is None and signal_dims is None and len(near) == 1:
        size = near[0].shape[0]
        if size != length and size in item.shape:
            raise ValueError(
                f"'{near[0].name}' has {size} values and fits axis {item.shape.index(size)} of '{item.name}' "
                f'{item.shape}, not the last; name the axes, as dims=("energy", "y", "x"), signal_dims="energy"'
            )
    return None


def _missing_axis(img: SpectrumImage, item: Item, items: Sequence[Item]) -> str | None:
    """As `_automatic_axis`, for an image with names of its axes and no values for the spectrum's."""
    if len(img.signal_dims) != 1 or img.signal_dims[0] in img.data.coords:
        return None
    order = (*img.navigation_dims, *img.signal_dims)
    return _automatic_axis(replace(item, shape=img.data.shape), items, img.signal_dims, order)


def _signal_position(item: Item, signal_dims: Any, dims: Sequence[str] | None) -> int | None:
    if signal_dims in (None, 1):
        return -1
    spectral = () if isinstance(signal_dims, int) else names(signal_dims)
    found = find_dim(spectral[0], dims) if len(spectral) == 1 and dims is not None else None
    if found is None or dims is None or len(dims) != len(item.shape):
        return None
    return list(dims).index(found)


def _belongs(axis: str, item: str) -> bool:
    """Whether names share what is left of an axis name: "V_energy_eV" and "V_mu", "energy_07" and "mu_07"."""
    axis, item = axis.rsplit("/", 1)[-1], item.rsplit("/", 1)[-1]
    prefix = re.split(r"energ|wavenum|raman|bias|m_?z$", axis, maxsplit=1, flags=re.IGNORECASE)[0]
    number = re.search(r"_\d+$", axis)
    return bool(prefix and f"{item}_".startswith(prefix)) or bool(number and item.endswith(number.group()))


def _named_by_axis(item: Item, energy: Any, signal_dims: Any, dims: Sequence[str] | None) -> Sequence[str] | None:
    if dims is not None or signal_dims not in (None, 1) or not isinstance(energy, str):
        return dims
    found = axis_name(energy)
    return None if found is None else (*default_dims(len(item.shape), 1)[:-1], found[0])


def _with_energy(img: SpectrumImage, energy: Any, items: Sequence[Item]) -> SpectrumImage:
    if len(img.signal_dims) != 1:
        raise ValueError(f"energy= is for one signal axis; here they are {img.signal_dims}: use coords=")
    units = None
    if isinstance(energy, str):
        axis = by_name(items, energy, "energy")
        units = axis.units or (axis_name(axis.name) or ("", None))[1]
        energy = plain(axis.read())
    dim = img.signal_dims[0]
    data = with_coords(img.data, {dim: energy}, {dim: units} if units else {})
    return replace(img, data=data)


def by_name(items: Sequence[Item], name: str, option: str) -> Item:
    """The item of that name, for an option that names an array of the same file."""
    for item in items:
        if item.name == name:
            return item
    raise ValueError(f"{option}='{name}' is no array of this file; it holds {[i.name for i in items]}")


def with_mask(img: SpectrumImage, mask: Any, items: Sequence[Item]) -> SpectrumImage:
    """Leave out where `mask` is False; over pixels or channels by its shape."""
    if isinstance(mask, str | Path):
        held = [i for i in items if i.name == str(mask)]
        if not held and not str(mask).endswith(".npy"):
            by_name(items, str(mask), "mask")
        mask = held[0].read() if held else np.load(mask, allow_pickle=False)
    mask = truth_values(mask, "mask")
    if mask.dtype != bool:
        raise ValueError(f"mask has dtype {mask.dtype}; give booleans, True = keep")
    pixels, channels = mask.shape == img.navigation_shape, mask.shape == img.signal_shape
    if pixels and channels:
        raise ValueError(
            f"mask of shape {mask.shape} fits the pixels {img.navigation_dims} and the channels {img.signal_dims}; "
            "use preprocess.mask(img, pixels=...) or (img, channels=...)"
        )
    if not pixels and not channels:
        raise ValueError(
            f"mask has shape {mask.shape}; expected {img.navigation_shape} over the pixels {img.navigation_dims} "
            f"or {img.signal_shape} over the channels {img.signal_dims}"
        )
    old = img.keep_pixels if pixels else img.keep_channels
    dims = img.navigation_dims if pixels else img.signal_dims
    what = "keep_pixels" if pixels else "keep_channels"
    new = as_mask(mask if old is None else mask & old.values, img.data, dims, what)
    return replace(img, keep_pixels=new) if pixels else replace(img, keep_channels=new)
