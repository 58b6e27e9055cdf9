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


@pytest.mark.parametrize("kind", ["EELS", "", None])
def test_what_hyperspy_notes_beside_a_signal_in_nexus(tmp_path, kind):
    with h5py.File(tmp_path / "a.nxs", "w") as file:
        data = file.create_group("entry1/a map")
        data.attrs.update({"NX_class": "NXdata", "signal": "data", "axes": ["x", "Energy"]})
        data.update({"data": np.ones((2, 3)), "x": np.arange(2.0), "Energy": np.arange(3.0)})
        data["Energy"].attrs["units"] = "eV"
        noted = file.create_group("entry1/auxiliary/hyperspy_metadata")
        if kind is not None:
            noted.update({"Signal/signal_type": kind, "Signal/quantity": "Current (nA)", "General/title": "a map"})
    img = load(tmp_path / "a.nxs")
    assert img.data.attrs == {"EELS": {"units": "nA", "signal_type": "EELS"}, "": {"units": "nA"}, None: {}}[kind]
    assert img.data.name == ("data" if kind is None else "a map")
    assert img.data.dims == ("x", "Energy")
