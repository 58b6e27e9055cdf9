"""Folders of zarr."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...image import SpectrumImage
from ..base import Format
from ..items import Item
from .layouts import pack, tree_items


def open_zarr(path: Path, mode: str, version: int | None = None) -> Any:
    """Open a zarr directory."""
    try:
        import zarr
    except ImportError as error:
        raise ImportError(f"'{path.name}' needs zarr: pip install 'jaxunmix[zarr]'") from error
    return zarr.open_group(str(path), mode=mode, zarr_format=version)  # type: ignore[arg-type]


@contextmanager
def read_zarr(path: Path) -> Iterator[list[Item]]:
    """The arrays of a zarr directory, by their paths; our own and HyperSpy's layout are recognised."""
    group = open_zarr(path, "r")
    found = {
        name: Item(name, node.shape, np.dtype(node.dtype), lambda n=node: np.asarray(n[...]))  # type: ignore[misc]
        for name, node in group.members(max_depth=None)
        if hasattr(node, "shape")
    }
    yield tree_items(group, found)


def write_zarr(img: SpectrumImage, path: Path) -> None:
    """Write a zarr group, one array for each array of `pack`."""
    group = open_zarr(path, "w", 3)
    for name, values in pack(img).items():
        group.create_array(name, data=np.ascontiguousarray(values))


ZARR = Format("zarr", (".zarr",), read_zarr, write_zarr)
