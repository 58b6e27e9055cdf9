"""How arrays make an image: our own layout, and the recognition of HyperSpy's, in any container.

A reader gives the arrays of a file as `Item`s, whose values are read when asked for. An item that knows its
own labels has `describe`, which turns its values into a `SpectrumImage`.
"""

from typing import Any

import numpy as np
import xarray as xr

from ...image import SpectrumImage
from ..items import META, Item, from_json, meta_text, to_json, with_provenance
from .hyperspy_layout import hyperspy_items

MASKS = ("keep_pixels", "keep_channels")


def pack(img: SpectrumImage) -> dict[str, np.ndarray]:
    """A spectrum image as plain arrays; the entry "jaxunmix" holds labels and provenance as UTF-8 JSON."""
    data = img.data
    arrays = {"data": data.values}
    coords: dict[str, Any] = {}
    for name, coord in data.coords.items():
        coords[str(name)] = {"dims": list(coord.dims), "attrs": dict(coord.attrs)}
        if coord.dtype.kind in "iufb":
            arrays[f"coord_{name}"] = coord.values
        else:
            coords[str(name)]["values"] = coord.values.astype(str).tolist()
    for key, keep in (("keep_pixels", img.keep_pixels), ("keep_channels", img.keep_channels)):
        if keep is not None:
            arrays[key] = keep.values
    meta = {
        "dims": list(data.dims),
        "signal_dims": list(img.signal_dims),
        "name": None if data.name is None else str(data.name),
        "attrs": dict(data.attrs),
        "coords": coords,
        "provenance": list(img.provenance),
    }
    arrays[META] = np.frombuffer(to_json(meta).encode(), np.uint8)
    return arrays


def unpack(arrays: dict[str, Any], values: np.ndarray) -> SpectrumImage:
    """The reverse of `pack`; `values` are those of arrays["data"]."""
    meta = from_json(meta_text(arrays[META]))
    data = xr.DataArray(values, dims=meta["dims"], name=meta["name"], attrs=meta["attrs"])
    for name, coord in meta["coords"].items():
        given = coord["values"] if "values" in coord else np.asarray(arrays[f"coord_{name}"][...])
        data = data.assign_coords({name: xr.DataArray(given, dims=coord["dims"], attrs=coord["attrs"])})
    keep: dict[str, Any] = {k: np.asarray(arrays[k][...], bool) for k in MASKS if k in arrays}
    img = SpectrumImage.from_array(data, tuple(meta["signal_dims"]), **keep)
    return with_provenance(img, meta["provenance"])


def own_items(found: dict[str, Item]) -> list[Item]:
    """The items of a file that `pack` made: the image, and its masks."""
    data = found["data"]

    def describe(values: np.ndarray) -> SpectrumImage:
        wanted = {k: v.read() for k, v in found.items() if k != "data"}
        return unpack(wanted, values)

    masks = [i for k, i in found.items() if k.startswith("keep_")]
    return [Item("data", data.shape, data.dtype, data.read, describe, preferred=True), *masks]


def tree_items(root: Any, found: dict[str, Item]) -> list[Item]:
    """The items of a tree of arrays, by their paths; our own and HyperSpy's layout are recognised.

    Args:
        root: the group of the whole file.
        found: its arrays by their paths.
    """
    if META in found and "data" in found:
        return own_items(found)
    if "Experiments" in root and (signals := hyperspy_items(root["Experiments"])):
        return signals
    return list(found.values())
