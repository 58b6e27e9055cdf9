"""Signal axes that repeat or jitter: sorted, with the mean of what was measured at one place."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from .axes import UnsortedAxisError
from .image import SpectrumImage


class Merging:
    """Makes images; one whose signal axis is not in order is refused, or put in order where that is wanted.

    Attributes:
        tolerance: None refuses; else channels no further apart than this, in the unit of the axis, become one.
        file: the name of the file that is loaded, for the refusal; None where there is none.
        records: what was done, for the provenance.
    """

    def __init__(self, tolerance: float | None, file: str | None = None):
        if tolerance is not None and not (np.isfinite(tolerance) and tolerance >= 0):
            raise ValueError(f"merge_repeated={tolerance}: give True, or a distance of 0 or above in the axis' unit")
        self.tolerance, self.file = tolerance, file
        self.records: list[dict[str, Any]] = []

    def __call__(self, make: Callable[[], SpectrumImage]) -> SpectrumImage:
        """The image that `make` gives."""
        try:
            img = make()
        except UnsortedAxisError as error:
            if self.tolerance is None or error.image is None or error.image.signal_dims != (error.dim,):
                if self.file is None:
                    raise
                raise UnsortedAxisError(f"{self.file}: {error}", error.dim) from error
            img = error.image
        if self.tolerance is None or len(img.signal_dims) != 1 or img.signal_dims[0] not in img.data.coords:
            return img
        merged, record = merge_channels(img, self.tolerance)
        if record is None:
            return img
        self.records.append(record)
        return merged


def merge_channels(img: SpectrumImage, tolerance: float) -> tuple[SpectrumImage, dict[str, Any] | None]:
    """The image with its only signal axis rising, and the record of it; None if there was nothing to do.

    Args:
        img: the image; its signal axis may be in any order, and repeat.
        tolerance: channels this far from the lowest of a group, or less, are of that group.
    """
    dim = img.signal_dims[0]
    x = np.asarray(img.data.coords[dim].values, float)
    steps = np.diff(x)
    if len(x) < 2 or (steps > tolerance).all() or (steps < -tolerance).all():
        return img, None
    order = np.argsort(x, kind="stable")
    starts = _starts(x[order], tolerance)
    live = np.ones(len(x), bool) if img.keep_channels is None else img.keep_channels.values
    keep = np.add.reduceat(live[order], starts, dtype=int) > 0
    sizes = np.diff([*starts, len(x)])
    weight = live[order] | ~np.repeat(keep, sizes)  # of channels all left out, the mean is of all
    counts = np.add.reduceat(weight, starts, dtype=int)
    values = img.data.values[..., order]
    if len(starts) < len(x):
        dtype = np.result_type(values.dtype, np.float32)
        values = np.add.reduceat(np.where(weight, values, 0).astype(dtype, copy=False), starts, axis=-1)
        values /= counts.astype(dtype)
    mean = np.add.reduceat(np.where(weight, x[order], 0), starts) / counts
    coords = {k: c for k, c in img.data.coords.items() if dim not in c.dims}
    coords[dim] = xr.DataArray(mean, dims=(dim,), attrs=img.data.coords[dim].attrs)
    data = xr.DataArray(values, dims=img.data.dims, coords=coords, name=img.data.name, attrs=img.data.attrs)
    channels = None if img.keep_channels is None else xr.DataArray(keep, dims=(dim,), coords={dim: data.coords[dim]})
    record = {
        "step": "merge_repeated",
        "parameters": {"dim": dim, "tolerance": float(tolerance), "channels": [len(x), len(starts)]},
    }
    return replace(img, data=data, keep_channels=channels), record


def _starts(x: np.ndarray, tolerance: float) -> np.ndarray:
    """Where groups begin in rising numbers: none reaches further than the tolerance from its first."""
    starts = [0]
    for i, value in enumerate(x):
        if value - x[starts[-1]] > tolerance:
            starts.append(i)
    return np.array(starts)
