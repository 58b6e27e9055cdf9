"""Stores of zarr: folders, and such in a zip archive."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...image import SpectrumImage
from ..base import Format
from ..items import Item
from .dimensions import texts, units_of, with_axes
from .layouts import pack, tree_items


def open_zarr(path: Path, mode: str, version: int | None = None) -> Any:
    """Open a zarr directory."""
    try:
        import zarr
    except ImportError as error:
        raise ImportError(f"'{path.name}' needs zarr: pip install 'jaxunmix[zarr]'") from error
    if mode != "r":
        return zarr.open_group(str(path), mode=mode, zarr_format=version)  # type: ignore[arg-type]
    store = zarr.storage.ZipStore(path, mode="r") if path.is_file() else str(path)
    return zarr.open(store, mode="r")


@contextmanager
def read_zarr(path: Path) -> Iterator[list[Item]]:
    """The arrays of a zarr store, by their paths; our own and HyperSpy's layout are recognised."""
    root = open_zarr(path, "r")
    try:
        yield _items(path, root)
    finally:
        root.store.close()


def _items(path: Path, root: Any) -> list[Item]:
    if hasattr(root, "shape"):  # an array by itself
        nodes = {path.name.partition(".")[0]: root}
        return [with_axes(_item(name, node), _dims(node), {}) for name, node in nodes.items()]
    nodes = {name: node for name, node in root.members(max_depth=None) if hasattr(node, "shape")}
    plain = {name: _item(name, node) for name, node in nodes.items()}
    found = tree_items(root, plain)
    if any(item is not plain.get(item.name) for item in found):
        return found  # our own layout or HyperSpy's
    return [with_axes(i, _dims(nodes[i.name]), plain) if i.dtype.kind in "iuf" and i.shape else i for i in found]


def _item(name: str, node: Any) -> Item:
    dtype = np.dtype(node.dtype) if isinstance(node.dtype, np.dtype) else np.dtype(object)
    return Item(name, node.shape, dtype, lambda: np.asarray(node[...]), units=units_of(dict(node.attrs)))


def _dims(node: Any) -> list[str | None]:
    """The names of the axes, which version 3 has a place for, and xarray writes to an attribute in version 2."""
    named = getattr(node.metadata, "dimension_names", None) or texts(node.attrs.get("_ARRAY_DIMENSIONS"))
    return list(named) if len(named) == len(node.shape) else [None] * len(node.shape)


def write_zarr(img: SpectrumImage, path: Path) -> None:
    """Write a zarr group, one array for each array of `pack`."""
    group = open_zarr(path, "w", 3)
    for name, values in pack(img).items():
        group.create_array(name, data=np.ascontiguousarray(values))


ZARR = Format("zarr", (".zarr",), read_zarr, write_zarr)
ZIPPED_ZARR = Format("zarr in a zip archive", (".zip",), read_zarr)
