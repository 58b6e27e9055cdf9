"""netCDF-4, whose variables have names for their axes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ...image import SpectrumImage
from ..base import Format
from ..items import META, Item, from_json, to_json, with_provenance
from .layouts import MASKS


@contextmanager
def read_netcdf(path: Path) -> Iterator[list[Item]]:
    """The variables of a netCDF file with their coordinates."""
    options: dict[str, Any] = {
        "decode_times": False,
        "decode_timedelta": False,
    }  # an axis in seconds is not a date
    with xr.open_dataset(path, engine="h5netcdf", **options) as ds:
        meta = from_json(str(ds[META].values)) if META in ds else None
        items = []
        alone = [k for k, v in ds.data_vars.items() if v.dtype.kind in "iuf" and v.ndim]
        for key in ds.variables:
            if key == META:
                continue
            var = ds[key]

            def describe(values: np.ndarray, var: Any = var) -> SpectrumImage:
                data = var.copy(data=values)
                if meta is None:
                    return SpectrumImage.from_array(data)
                keep: dict[str, Any] = {k: ds[k].values.astype(bool) for k in MASKS if k in ds}
                img = SpectrumImage.from_array(data.rename(meta["name"]), tuple(meta["signal_dims"]), **keep)
                return with_provenance(img, meta["provenance"])

            meant = key == "data" if meta is not None else alone == [key]
            items.append(Item(str(key), var.shape, var.dtype, lambda v=var: v.values, describe, meant))  # type: ignore[misc]
        yield items


def write_netcdf(img: SpectrumImage, path: Path) -> None:
    """Write netCDF-4: variables `data`, the masks, and the JSON record as text."""
    meta = {
        "signal_dims": list(img.signal_dims),
        "name": None if img.data.name is None else str(img.data.name),
        "provenance": list(img.provenance),
    }
    ds = img.data.rename("data").to_dataset()
    for key, keep in (("keep_pixels", img.keep_pixels), ("keep_channels", img.keep_channels)):
        if keep is not None:
            ds[key] = keep
    ds[META] = xr.DataArray(to_json(meta))
    ds.to_netcdf(path, engine="h5netcdf", encoding={"data": _filters_netcdf(img.data)})


def _filters_netcdf(data: xr.DataArray) -> dict[str, Any]:
    return {"zlib": True} if data.dtype.kind in "iu" and data.size > 1000 else {}


NETCDF = Format("netCDF-4", (".nc",), read_netcdf, write_netcdf)
