"""netCDF, whose variables have names for their axes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import h5py
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
    with xr.open_dataset(path, **options, **engine_of(path)) as ds:
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
                    return SpectrumImage.from_array(_native(data))
                keep: dict[str, Any] = {k: ds[k].values.astype(bool) for k in MASKS if k in ds}
                img = SpectrumImage.from_array(data.rename(meta["name"]), tuple(meta["signal_dims"]), **keep)
                return with_provenance(img, meta["provenance"])

            meant = key == "data" if meta is not None else alone == [key]
            trust: Literal["file", "position"] = "position" if meta is None else "file"
            units = var.attrs.get("units")
            items.append(Item(str(key), var.shape, var.dtype, lambda v=var: v.values, describe, meant, trust, units))  # type: ignore[misc]
        yield items


def engine_of(path: Path) -> dict[str, Any]:
    """What reads it, as options of `xarray.open_dataset`: netCDF-3 begins with CDF, netCDF-4 is HDF5.

    Raises:
        OSError: not HDF5, or damaged.
        ValueError: a kind of netCDF that is not read.
    """
    with path.open("rb") as file:
        begins = file.read(4)
    if begins[:3] != b"CDF":
        with h5py.File(path, "r") as file:  # h5netcdf leaves a traceback on the terminal where this fails
            file.attrs.get("_nc3_strict")
        return {"engine": "h5netcdf"}
    if begins[3:] not in (b"\x01", b"\x02"):
        raise ValueError(
            f"cannot read {path.name}: netCDF of the kind CDF-{begins[3] if begins[3:] else '?'}, which scipy does not "
            "read; convert it: nccopy -k nc4 old.nc new.nc"
        )
    return {"engine": "scipy", "mmap": False}  # with a map of the file no value could outlive it


def _native(data: xr.DataArray) -> xr.DataArray:
    """Coordinates in the byte order of the machine; netCDF-3 has the other."""
    turned = {
        k: c.astype(c.dtype.newbyteorder("="))
        for k, c in data.coords.items()
        if c.dtype.kind in "iuf" and not c.dtype.isnative
    }
    return data.assign_coords(turned)


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


NETCDF = Format("netCDF", (".nc",), read_netcdf, write_netcdf)
