"""HDF5, and NeXus in it."""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ...image import SpectrumImage
from ..base import Format
from ..items import Item
from ..vendor.missing import needs
from ..vendor.readers import named_items
from ..vendor.signatures import reader_of
from .dimensions import hdf5_axes, interpretation, is_nexus_signal, nexus_groups, units_of, with_axes
from .hyperspy_layout import with_nexus_metadata
from .layouts import pack, tree_items

# Registered filters that hdf5plugin brings.
_FILTERS = {32001: "blosc", 32004: "lz4", 32008: "bitshuffle", 32013: "zfp", 32015: "zstd", 32026: "blosc2"}


@contextmanager
def read_hdf5(path: Path) -> Iterator[list[Item]]:
    """The datasets of an HDF5 file, by their paths; our own, HyperSpy's and vendors' layouts are recognised."""
    with contextlib.suppress(ImportError):
        import hdf5plugin  # noqa: F401, where it is installed its filters are there from now on
    with h5py.File(path, "r") as file:
        reader = reader_of(file)
        if reader is None:
            yield _items(path, file)
            return
    yield named_items(path, reader)


def _items(path: Path, file: h5py.File) -> list[Item]:
    nodes: dict[str, h5py.Dataset] = {}

    def visit(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and node.shape is not None:
            nodes[name] = node

    file.visititems(visit)
    for name, node in nexus_groups(file):  # which often are links, that are not visited
        nodes.setdefault(name, node)
    plain = {name: _item(path, name, node) for name, node in nodes.items()}
    found = tree_items(file, plain)
    if any(item is not plain.get(item.name) for item in found):
        return found  # our own layout or HyperSpy's
    return [_label_axes(item, nodes[item.name], plain) for item in found]


def _item(path: Path, name: str, node: h5py.Dataset) -> Item:
    def read() -> np.ndarray:
        _check_filters(path, node)
        return np.asarray(node[...])

    return Item(name, node.shape, node.dtype, read, units=units_of(node.attrs))


def _label_axes(item: Item, node: h5py.Dataset, plain: dict[str, Item]) -> Item:
    if len(item.shape) == 0 or item.dtype.kind not in "iuf":
        return item
    meant = is_nexus_signal(node)
    item = with_axes(item, hdf5_axes(node), plain, interpretation(node), meant)
    return with_nexus_metadata(item, node) if meant else item


def _check_filters(path: Path, node: h5py.Dataset) -> None:
    """Name the filter that is missing: HDF5 itself only says that it cannot read."""
    properties = node.id.get_create_plist()
    for i in range(properties.get_nfilters()):
        code, _, _, name = properties.get_filter(i)
        if not h5py.h5z.filter_avail(code):
            known = _FILTERS.get(code) or name.decode(errors="replace").partition(";")[0] or "an unknown one"
            raise needs(path, f"'{node.name}' is compressed by the filter {known} ({code}), and it", "hdf5plugin")


def write_hdf5(img: SpectrumImage, path: Path) -> None:
    """Write .h5: one dataset for each array of `pack`."""
    with h5py.File(path, "w") as file:
        for name, values in pack(img).items():
            file.create_dataset(name, data=values, **filters(values))


def filters(values: np.ndarray) -> dict[str, Any]:
    """How h5py stores an array: integers compressed."""
    return {"compression": "gzip", "shuffle": True} if values.dtype.kind in "iu" and values.size > 1000 else {}


HDF5 = Format("HDF5", (".h5", ".hdf5", ".hdf"), read_hdf5, write_hdf5)
NEXUS = Format("HDF5", (".nxs",), read_hdf5)
