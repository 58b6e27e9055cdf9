"""NumPy's one array, `.npy`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..base import Format
from ..items import Item


@contextmanager
def read_npy(path: Path) -> Iterator[list[Item]]:
    """The one array of an .npy file, named by its file."""
    with path.open("rb") as file:
        shape, dtype = read_header(file)
    yield [Item(path.stem, shape, dtype, lambda: np.load(path, allow_pickle=False))]


def read_header(file: Any) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype of the array at the beginning of an open file, without its values."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"npy format version {version}, which holds structured arrays only")
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    shape, _, dtype = read(file)
    return tuple(shape), dtype


NPY = Format("npy", (".npy",), read_npy, refusal="npy keeps no labels, masks or provenance; save as {stem}.npz")
