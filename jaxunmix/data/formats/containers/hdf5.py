"""HDF5, and NeXus in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ...image import SpectrumImage
from ..base import Format
from ..items import Item
from .layouts import pack, tree_items


@contextmanager
def read_hdf5(path: Path) -> Iterator[list[Item]]:
    """The datasets of an HDF5 file, by their paths; our own and HyperSpy's layout are recognised."""
    with h5py.File(path, "r") as file:
        found: dict[str, Item] = {}

        def visit(name: str, node: Any) -> None:
            if isinstance(node, h5py.Dataset) and node.shape is not None:
                found[name] = Item(name, node.shape, node.dtype, lambda: np.asarray(node[...]))

        file.visititems(visit)
        yield tree_items(file, found)


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
