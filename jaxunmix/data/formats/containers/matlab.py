"""MATLAB's `.mat`: up to version 7, and 7.3, which is HDF5."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
import scipy.sparse

from ..base import Format
from ..items import Item
from .dimensions import text


@contextmanager
def read_mat(path: Path) -> Iterator[list[Item]]:
    """The arrays of the workspace, by their names, those of structures as structure/field.

    Axes are in the order in which MATLAB shows them. MATLAB has no arrays of one axis: rows and columns are read as
    such.
    """
    if h5py.is_hdf5(path):
        with h5py.File(path, "r") as file:
            yield _items_73(file)
    else:
        yield [_in_memory(name, values) for name, values in _workspace(path)]


def _items_73(file: h5py.File) -> list[Item]:
    items: list[Item] = []

    def visit(name: str, node: Any) -> None:
        if name.startswith("#") or not isinstance(node, h5py.Dataset) or node.shape is None:
            return  # "#refs#" holds the insides of cells and objects
        kind = text(node.attrs.get("MATLAB_class"))
        if kind in ("char", "cell", "function_handle") or "MATLAB_empty" in node.attrs:
            return
        dtype = np.dtype(bool) if kind == "logical" else node.dtype
        shape = _matlab_shape(node.shape[::-1])

        def read(node: h5py.Dataset = node) -> np.ndarray:
            # HDF5 has the axes of MATLAB's memory, the slowest first: the reverse of the order that MATLAB shows.
            return np.ascontiguousarray(np.asarray(node[...]).T.reshape(shape)).astype(dtype, copy=False)

        items.append(Item(name, shape, dtype, read))

    file.visititems(visit)
    return items


def _workspace(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    for name, value in scipy.io.loadmat(path).items():
        if not name.startswith("__"):
            yield from _fields(name, value)


def _fields(name: str, value: Any) -> Iterator[tuple[str, np.ndarray]]:
    """An array under its name, or those in a structure."""
    if scipy.sparse.issparse(value):
        yield name, value.toarray()
    elif isinstance(value, np.ndarray) and value.dtype.names is not None and value.size == 1:
        for field in value.dtype.names:
            yield from _fields(f"{name}/{field}", value[field].item())
    elif isinstance(value, np.ndarray) and value.dtype.kind in "iufbc":
        yield name, value


def _in_memory(name: str, values: np.ndarray) -> Item:
    values = values.reshape(_matlab_shape(values.shape))
    return Item(name, values.shape, values.dtype, lambda: np.ascontiguousarray(values))


def _matlab_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (max(shape),) if len(shape) == 2 and 1 in shape else tuple(shape)


MATLAB = Format("MATLAB's .mat", (".mat",), read_mat)
