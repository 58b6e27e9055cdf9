"""HyperSpy's layout in HDF5, `.hspy`."""

from pathlib import Path

import h5py

from ...image import SpectrumImage
from ..base import Format
from .hdf5 import filters, read_hdf5
from .hyperspy_layout import write_hyperspy


def write_hspy(img: SpectrumImage, path: Path) -> None:
    """Write HyperSpy's .hspy (HDF5)."""
    with h5py.File(path, "w") as file:
        write_hyperspy(img, file, "HyperSpy", lambda g, n, v: g.create_dataset(n, data=v, **filters(v)))


HSPY = Format("HyperSpy HDF5", (".hspy",), read_hdf5, write_hspy)
