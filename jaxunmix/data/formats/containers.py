"""Containers of arrays: npz, npy, HDF5, zarr and HyperSpy's layout in either, netCDF; nothing is unpickled.

A reader gives the arrays of a file as `Item`s, whose values are read when asked for. An item that knows its
own labels has `describe`, which turns its values into a `SpectrumImage`.
"""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from ..image import SpectrumImage
from .hyperspy_layout import hyperspy_items, write_hyperspy
from .items import META, Item, filters, from_json, meta_text, to_json, with_provenance

MASKS = ("keep_pixels", "keep_channels")

# --- what we write ------------------------------------------------------------------------------------------


def pack(img: SpectrumImage) -> dict[str, np.ndarray]:
    """A spectrum image as plain arrays; the entry "jaxunmix" holds labels and provenance as UTF-8 JSON."""
    data = img.data
    arrays = {"data": data.values}
    coords: dict[str, Any] = {}
    for name, coord in data.coords.items():
        coords[str(name)] = {"dims": list(coord.dims), "attrs": dict(coord.attrs)}
        if coord.dtype.kind in "iufb":
            arrays[f"coord_{name}"] = coord.values
        else:
            coords[str(name)]["values"] = coord.values.astype(str).tolist()
    for key, keep in (("keep_pixels", img.keep_pixels), ("keep_channels", img.keep_channels)):
        if keep is not None:
            arrays[key] = keep.values
    meta = {
        "dims": list(data.dims),
        "signal_dims": list(img.signal_dims),
        "name": None if data.name is None else str(data.name),
        "attrs": dict(data.attrs),
        "coords": coords,
        "provenance": list(img.provenance),
    }
    arrays[META] = np.frombuffer(to_json(meta).encode(), np.uint8)
    return arrays


def unpack(arrays: dict[str, Any], values: np.ndarray) -> SpectrumImage:
    """The reverse of `pack`; `values` are those of arrays["data"]."""
    meta = from_json(meta_text(arrays[META]))
    data = xr.DataArray(values, dims=meta["dims"], name=meta["name"], attrs=meta["attrs"])
    for name, coord in meta["coords"].items():
        given = coord["values"] if "values" in coord else np.asarray(arrays[f"coord_{name}"][...])
        data = data.assign_coords({name: xr.DataArray(given, dims=coord["dims"], attrs=coord["attrs"])})
    keep: dict[str, Any] = {k: np.asarray(arrays[k][...], bool) for k in MASKS if k in arrays}
    img = SpectrumImage.from_array(data, tuple(meta["signal_dims"]), **keep)
    return with_provenance(img, meta["provenance"])


def write_npz(img: SpectrumImage, path: Path) -> None:
    """Write .npz; integers are compressed, at the fastest level (numpy's own is ten times as slow)."""
    arrays = pack(img)
    arrays[META] = np.array(arrays[META].tobytes().decode())
    method = zipfile.ZIP_DEFLATED if img.data.dtype.kind in "iu" else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method, compresslevel=1) as archive:
        for name, values in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, values, allow_pickle=False)


def write_hdf5(img: SpectrumImage, path: Path) -> None:
    """Write .h5: one dataset for each array of `pack`."""
    with h5py.File(path, "w") as file:
        for name, values in pack(img).items():
            file.create_dataset(name, data=values, **filters(values))


def write_zarr(img: SpectrumImage, path: Path) -> None:
    """Write a zarr group, one array for each array of `pack`."""
    group = open_zarr(path, "w", 3)
    for name, values in pack(img).items():
        group.create_array(name, data=np.ascontiguousarray(values))


def open_zarr(path: Path, mode: str, version: int | None = None) -> Any:
    """Open a zarr directory."""
    try:
        import zarr
    except ImportError as error:
        raise ImportError(f"'{path.name}' needs zarr: pip install 'jaxunmix[zarr]'") from error
    return zarr.open_group(str(path), mode=mode, zarr_format=version)  # type: ignore[arg-type]


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


# --- what we read -------------------------------------------------------------------------------------------


@contextmanager
def read_npz(path: Path) -> Iterator[list[Item]]:
    """The arrays of an .npz file."""
    with zipfile.ZipFile(path) as archive:
        found: dict[str, Item] = {}
        for member in archive.namelist():
            if member.endswith(".npy"):
                with archive.open(member) as file:
                    shape, dtype = _npy_header(file)
                name = member[:-4]
                found[name] = Item(name, shape, dtype, lambda m=member: _read_member(archive, m))  # type: ignore[misc]
        yield _own_layout(found) if META in found else list(found.values())


def _read_member(archive: zipfile.ZipFile, member: str) -> np.ndarray:
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _npy_header(file: Any) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"npy format version {version}, which holds structured arrays only")
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    shape, _, dtype = read(file)
    return tuple(shape), dtype


def _own_layout(found: dict[str, Item]) -> list[Item]:
    data = found["data"]

    def describe(values: np.ndarray) -> SpectrumImage:
        wanted = {k: v.read() for k, v in found.items() if k != "data"}
        return unpack(wanted, values)

    masks = [i for k, i in found.items() if k.startswith("keep_")]
    return [Item("data", data.shape, data.dtype, data.read, describe, preferred=True), *masks]


@contextmanager
def read_npy(path: Path) -> Iterator[list[Item]]:
    """The one array of an .npy file, named by its file."""
    with path.open("rb") as file:
        shape, dtype = _npy_header(file)
    yield [Item(path.stem, shape, dtype, lambda: np.load(path, allow_pickle=False))]


@contextmanager
def read_hdf5(path: Path) -> Iterator[list[Item]]:
    """The datasets of an HDF5 file, by their paths; our own and HyperSpy's layout are recognised."""
    with h5py.File(path, "r") as file:
        found: dict[str, Item] = {}

        def visit(name: str, node: Any) -> None:
            if isinstance(node, h5py.Dataset) and node.shape is not None:
                found[name] = Item(name, node.shape, node.dtype, lambda: np.asarray(node[...]))

        file.visititems(visit)
        yield _tree_items(file, found)


@contextmanager
def read_zarr(path: Path) -> Iterator[list[Item]]:
    """The arrays of a zarr directory, by their paths; our own and HyperSpy's layout are recognised."""
    group = open_zarr(path, "r")
    found = {
        name: Item(name, node.shape, np.dtype(node.dtype), lambda n=node: np.asarray(n[...]))  # type: ignore[misc]
        for name, node in group.members(max_depth=None)
        if hasattr(node, "shape")
    }
    yield _tree_items(group, found)


def _tree_items(root: Any, found: dict[str, Item]) -> list[Item]:
    if META in found and "data" in found:
        return _own_layout(found)
    if "Experiments" in root:
        return hyperspy_items(root["Experiments"])
    return list(found.values())


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


def write_hspy(img: SpectrumImage, path: Path) -> None:
    """Write HyperSpy's .hspy (HDF5)."""
    with h5py.File(path, "w") as file:
        write_hyperspy(img, file, "HyperSpy", lambda g, n, v: g.create_dataset(n, data=v, **filters(v)))


def write_zspy(img: SpectrumImage, path: Path) -> None:
    """Write HyperSpy's .zspy (zarr of version 2, which HyperSpy reads)."""
    group = open_zarr(path, "w", 2)
    write_hyperspy(img, group, "ZSpy", lambda g, n, v: g.create_array(n, data=np.ascontiguousarray(v)))
