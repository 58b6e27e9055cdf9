"""Containers that others wrote."""

import h5py
import numpy as np
import pytest
import xarray as xr

from jaxunmix.data.io import load


def test_plain_hdf5_and_zarr(tmp_path):
    zarr = pytest.importorskip("zarr")
    values = np.arange(24.0).reshape(2, 3, 4)
    with h5py.File(tmp_path / "a.nxs", "w") as file:
        file["entry/data/counts"] = values
        file["entry/data/energy_eV"] = np.arange(4.0)
        file["entry/title"] = "text"
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    group.create_array("entry/data/counts", data=values)
    group.create_array("entry/data/energy_eV", data=np.arange(4.0))
    for name in ("a.nxs", "a.zarr"):
        img = load(tmp_path / name)
        np.testing.assert_array_equal(img.data.values, values)
        assert img.data.energy.attrs["units"] == "eV"
        assert load(tmp_path / name, "counts").data.shape == (2, 3, 4)


def test_foreign_netcdf_keeps_its_labels(tmp_path):
    ds = xr.Dataset(
        {"spectra": (("t", "shift"), np.ones((2, 3), np.float32), {"units": "V"})},
        coords={"shift": ("shift", [1.0, 2.0, 3.0], {"units": "s"})},
    )
    ds.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    img = load(tmp_path / "a.nc")
    assert img.data.dims == ("t", "shift")
    assert img.data.coords["shift"].attrs["units"] == "s"
    assert img.data.dtype == np.float32
