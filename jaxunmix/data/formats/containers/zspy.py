"""HyperSpy's layout in zarr, `.zspy`."""

from pathlib import Path

import numpy as np

from ...image import SpectrumImage
from ..base import Format
from .hyperspy_layout import write_hyperspy
from .zarr import open_zarr, read_zarr


def write_zspy(img: SpectrumImage, path: Path) -> None:
    """Write HyperSpy's .zspy (zarr of version 2, which HyperSpy reads)."""
    group = open_zarr(path, "w", 2)
    write_hyperspy(img, group, "ZSpy", lambda g, n, v: g.create_array(n, data=np.ascontiguousarray(v)))


ZSPY = Format("HyperSpy zarr", (".zspy",), read_zarr, write_zspy)
