"""Names and units of axes that stand beside arrays in HDF5 and zarr."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import h5py
import numpy as np

from ...axes import default_dims, with_coords
from ...image import SpectrumImage
from ..believe import may_be_spectral
from ..items import Item

_UNITS = ("units", "unit", "Units", "Unit", "UNITS", "UNIT")
# HDF5's dimension of netCDF that has no variable: its scale holds no values.
_NO_VARIABLE = "This is a netCDF dimension but not a netCDF variable"


def text(value: Any) -> str | None:
    """An attribute as text: one string, as text or bytes, also in an array of one; else None."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.ravel()[0]
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return str(value) if isinstance(value, str) and value else None


def texts(value: Any) -> list[str | None]:
    """An attribute as a list of texts; one string is cut at its commas."""
    if isinstance(value, list | tuple | np.ndarray) and np.ndim(value) == 1:
        return [text(v) for v in value]
    one = text(value)
    return [] if one is None else [part.strip() for part in one.strip("[]").replace(":", ",").split(",")]


def units_of(attrs: Mapping[str, Any]) -> str | None:
    """Units among the attributes of an array."""
    return next((u for k in _UNITS if k in attrs and (u := text(attrs[k]))), None)


def hdf5_axes(node: h5py.Dataset) -> list[str | None]:
    """For each axis of a dataset its name, or the path of the dataset that holds its values, or None.

    From the axes of NeXus, HDF5's dimension scales, or their labels.
    """
    found = _nexus_axes(node)
    for i, dim in enumerate(node.dims):
        if found[i] is not None:
            continue
        scales = [s for s in dim.values() if s.shape == (node.shape[i],)]
        if scales:
            path = scales[0].name.lstrip("/")
            empty = (text(scales[0].attrs.get("NAME")) or "").startswith(_NO_VARIABLE)
            found[i] = path.rsplit("/", 1)[-1] if empty else path
        elif dim.label:
            found[i] = dim.label
    return found


def _nexus_axes(node: h5py.Dataset) -> list[str | None]:
    group = node.parent
    found: list[str | None] = [None] * node.ndim
    # Old files have the names of the axes beside the array itself.
    given = group.attrs.get("axes") if is_nexus_signal(node) else node.attrs.get("axes")
    for i, name in enumerate(texts(given)) if given is not None else ():
        if name in (None, ".", "") or not isinstance(group.get(name), h5py.Dataset):
            continue
        place = np.ravel(group.attrs.get(f"{name}_indices", i))
        if len(place) == 1 and 0 <= int(place[0]) < node.ndim and group[name].shape == (node.shape[int(place[0])],):
            found[int(place[0])] = f"{group.name}/{name}".strip("/")
    return found


def is_nexus_signal(node: h5py.Dataset) -> bool:
    """Whether the group of a dataset is NeXus data and the dataset what it is about."""
    attrs = node.parent.attrs
    return text(attrs.get("NX_class")) == "NXdata" and text(attrs.get("signal")) == node.name.rsplit("/", 1)[-1]


def interpretation(node: h5py.Dataset) -> int | None:
    """How many of the last axes NeXus calls a spectrum's (1) or an image's (2); None where it does not say."""
    said = text(node.attrs.get("interpretation"))
    if said is None and is_nexus_signal(node):
        said = text(node.parent.attrs.get("interpretation"))
    count = {"spectrum": 1, "image": 2}.get(said or "")
    return count if count is not None and count <= node.ndim else None


def nexus_groups(file: h5py.File) -> list[tuple[str, h5py.Dataset]]:
    """What NeXus data are about, and their axes, under the paths by which they are known there."""
    found: list[tuple[str, h5py.Dataset]] = []

    def visit(name: str, node: Any) -> None:
        if isinstance(node, h5py.Group) and text(node.attrs.get("NX_class")) == "NXdata":
            wanted = [text(node.attrs.get("signal")), *texts(node.attrs.get("axes"))]
            held = [(key, node.get(key)) for key in wanted if key]
            found.extend((f"{name}/{k}".strip("/"), n) for k, n in held if isinstance(n, h5py.Dataset) and n.shape)

    file.visititems(visit)
    return found


def with_axes(
    item: Item, axes: list[str | None], items: Mapping[str, Item], said: int | None = None, preferred: bool = False
) -> Item:
    """The item with its axes' names, values and units; unchanged where none is known.

    Args:
        item: the array.
        axes: for each of its axes the name, or the path of the array of its values, or None.
        items: all arrays of the file by their paths, where the values are looked up: by the path, or in the folder
            of the item or at the top.
        said: how many of the last axes are a spectrum's, where the file says so.
        preferred: whether it is what the file itself means by its data.
    """
    item = replace(item, preferred=preferred)
    if (not any(axes) and said is None) or len(axes) != len(item.shape):
        return item
    signal = 1 if said is None else said
    folder = item.name.rpartition("/")[0]

    def axis_of(i: int) -> Item | None:
        name = axes[i] or ""
        for path in (name, f"{folder}/{name}" if folder else name):
            held = items.get(path)
            if held is not None and held.shape == (item.shape[i],) and held.dtype.kind in "iuf" and held is not item:
                return held
        return None

    def describe(values: np.ndarray) -> SpectrumImage:
        held = [axis_of(i) for i in range(len(axes))]
        given = [None if a is None else a.rsplit("/", 1)[-1] for a in axes]
        dims = _fill_names(given, [None if a is None else a.units for a in held], signal)
        img = SpectrumImage.from_array(values, signal, dims, name=item.name.rsplit("/", 1)[-1])
        coords = {d: a.read() for d, a in zip(dims, held, strict=True) if a is not None}
        units = {d: a.units for d, a in zip(dims, held, strict=True) if a is not None and a.units}
        if item.units:
            units["intensity"] = item.units
        data = with_coords(img.data, coords, units)
        return SpectrumImage(data, img.signal_dims)

    return replace(item, describe=describe, trust="position" if said is None else "reader")


def _fill_names(given: list[str | None], units: list[str | None], signal: int) -> list[str]:
    """Names for those axes that have none, and that are not among the others."""
    default = default_dims(len(given), signal)
    taken = [g for g in given if g is not None]
    if len(set(taken)) < len(taken):  # two of one name
        return list(default)
    found = [g is not None and may_be_spectral(g, u) for g, u in zip(given, units, strict=True)]
    if any(found):  # the others are the map's: none may be called as a spectrum's is
        spare = iter([d for d in default_dims(len(found) - sum(found), 0) if d not in taken])
        return [next(spare) if g is None else g for g in given]
    return [f"axis{i}" if g is None and default[i] in taken else g or default[i] for i, g in enumerate(given)]
