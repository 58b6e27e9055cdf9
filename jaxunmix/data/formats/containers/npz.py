"""NumPy's archive of arrays, `.npz`."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ...image import SpectrumImage
from ..base import Format
from ..items import META, Item
from .dimensions import texts, with_axes
from .layouts import own_items, pack
from .npy import read_header


@contextmanager
def read_npz(path: Path) -> Iterator[list[Item]]:
    """The arrays of an .npz file."""
    with zipfile.ZipFile(path) as archive:
        found: dict[str, Item] = {}
        for member in archive.namelist():
            if member.endswith(".npy"):
                with archive.open(member) as file:
                    shape, dtype = read_header(file)
                name = member[:-4]
                found[name] = Item(name, shape, dtype, lambda m=member: _read_member(archive, m))  # type: ignore[misc]
        yield own_items(found) if META in found else [_label_axes(item, found) for item in found.values()]


def _label_axes(item: Item, found: dict[str, Item]) -> Item:
    """With the names of its axes, where an array of as many texts is called `dims`, or `<item>_dims`."""
    for key in (f"{item.name}_dims", "dims"):
        names = found.get(key)
        if names is not None and names.dtype.kind in "US" and names.shape == (len(item.shape),) and len(item.shape) > 1:
            return with_axes(item, texts(names.read()), found)
    return item


def _read_member(archive: zipfile.ZipFile, member: str) -> np.ndarray:
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def write_npz(img: SpectrumImage, path: Path) -> None:
    """Write .npz; integers are compressed, at the fastest level (numpy's own is ten times as slow)."""
    arrays = pack(img)
    arrays[META] = np.array(arrays[META].tobytes().decode())
    method = zipfile.ZIP_DEFLATED if img.data.dtype.kind in "iu" else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method, compresslevel=1) as archive:
        for name, values in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, values, allow_pickle=False)


NPZ = Format("npz", (".npz",), read_npz, write_npz)
