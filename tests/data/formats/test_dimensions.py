"""Names and units of axes that a file holds are believed, in whatever order the axes stand."""

import itertools
import shutil
import warnings

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse
import xarray as xr

from jaxunmix.data.io import list_arrays, load

SIZES = {"y": 2, "x": 3, "energy": 4}
ENERGY = np.array([7.1, 7.2, 7.4, 7.5])
ORDERS = list(itertools.permutations(SIZES))


def cube(order, dtype=np.float64):
    """Values that tell where they stand, with axes in that order."""
    values = np.arange(24).reshape(2, 3, 4).astype(dtype)
    return values.transpose([list(SIZES).index(d) for d in order])


def write_netcdf4(path, order, name, units):
    dataset(order, name, units).to_netcdf(path, engine="h5netcdf")


def write_netcdf3(path, order, name, units):
    dataset(order, name, units).to_netcdf(path, engine="scipy", format="NETCDF3_64BIT")


def dataset(order, name, units):
    dims = [name if d == "energy" else d for d in order]
    return xr.Dataset({"counts": (dims, cube(order))}, {name: (name, ENERGY, {"units": units})})


def write_scales(path, order, name, units):
    with h5py.File(path, "w") as file:
        file["scan/counts"] = cube(order)
        file[f"scan/{name}"] = ENERGY
        file[f"scan/{name}"].attrs["units"] = units
        file[f"scan/{name}"].make_scale(name)
        file["scan/counts"].dims[order.index("energy")].attach_scale(file[f"scan/{name}"])


def write_labels(path, order, name, units):
    with h5py.File(path, "w") as file:
        file["counts"] = cube(order)
        file[name] = ENERGY
        file[name].attrs["unit"] = np.bytes_(units)
        for dim, label in zip(file["counts"].dims, order, strict=True):
            dim.label = name if label == "energy" else label


def write_nexus(path, order, name, units):
    with h5py.File(path, "w") as file:
        file["entry/detector/counts"] = cube(order)
        data = file["entry"].create_group("map")
        data.attrs.update(
            {"NX_class": "NXdata", "signal": "counts", "axes": [name if d == "energy" else "." for d in order]}
        )
        data["counts"] = h5py.SoftLink("/entry/detector/counts")
        data[name] = ENERGY
        data[name].attrs["units"] = units


def write_zarr(path, order, name, units, version=3):
    zarr = pytest.importorskip("zarr")
    dims = [name if d == "energy" else d for d in order]
    root = zarr.open_group(str(path), mode="w", zarr_format=version)
    for key, values, its in (("counts", cube(order), dims), (name, ENERGY, [name])):
        more = {"dimension_names": its} if version == 3 else {"attributes": {"_ARRAY_DIMENSIONS": its}}
        root.create_array(key, data=np.ascontiguousarray(values), **more)
    root[name].attrs["units"] = units


def write_zarr2(path, order, name, units):
    write_zarr(path, order, name, units, 2)


def write_npz(path, order, name, units):
    dims = np.array([name if d == "energy" else d for d in order])
    unit = "" if units is None else f"_{units}"
    np.savez(path, counts=cube(order), dims=dims, **{name + unit: ENERGY})


WRITERS = {
    "netcdf4": (write_netcdf4, "a.nc"),
    "netcdf3": (write_netcdf3, "a.nc"),
    "scales": (write_scales, "a.h5"),
    "labels": (write_labels, "a.hdf5"),
    "nexus": (write_nexus, "a.nxs"),
    "zarr3": (write_zarr, "a.zarr"),
    "zarr2": (write_zarr2, "a.zarr"),
    "npz": (write_npz, "a.npz"),
}


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
@pytest.mark.parametrize("kind", WRITERS)
def test_the_axis_that_is_called_energy_is_the_spectrums(tmp_path, kind, order):
    write, name = WRITERS[kind]
    write(tmp_path / name, order, "energy", "keV")
    img = load(tmp_path / name)
    assert img.signal_dims == ("energy",)
    expected = cube([*(d for d in order if d != "energy"), "energy"])
    np.testing.assert_array_equal(img.data.values, expected)
    np.testing.assert_array_equal(img.data.energy, ENERGY)
    assert img.data.energy.attrs["units"] == "keV"
    assert img.data.energy.dtype.isnative
    if kind not in ("scales", "nexus"):  # which name that axis only
        assert img.navigation_dims == tuple(d for d in order if d != "energy")
    assert set(img.navigation_dims) == {"y", "x"}


@pytest.mark.parametrize(
    ("name", "units"), [("loss", "eV"), ("shift", "1/cm"), ("channel", "m/z"), ("wavelength", "nm")]
)
@pytest.mark.parametrize("kind", [k for k in WRITERS if k != "npz"])
def test_or_whose_units_are_a_spectrums(tmp_path, kind, name, units):
    write, file = WRITERS[kind]
    write(tmp_path / file, ("energy", "y", "x"), name, units)
    img = load(tmp_path / file)
    assert img.signal_dims == (name,)
    assert img.data.coords[name].attrs["units"] == units
    img = load(tmp_path / file, signal_dims="x")
    assert img.signal_dims == ("x",)
    img = load(tmp_path / file, dims=("a", "b", "c"), signal_dims="a")
    assert img.data.dims == ("b", "c", "a")
    np.testing.assert_array_equal(img.data.values, cube(("y", "x", "energy")))


def test_where_two_could_be_meant_it_is_a_question(tmp_path):
    values = {"energy": ("energy", ENERGY, {"units": "eV"}), "wavelength": ("wavelength", [1.0, 2], {"units": "nm"})}
    ds = xr.Dataset({"map": (("energy", "wavelength", "x"), np.ones((4, 2, 3)))}, values)
    ds.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match=r"axis 'energy' \(4 entries in eV\).*signal_dims=\"energy\""):
        load(tmp_path / "a.nc")
    assert load(tmp_path / "a.nc", signal_dims="wavelength").data.dims == ("energy", "x", "wavelength")
    ds = xr.Dataset({"map": (("a", "b"), np.ones((4, 3)))}, {"a": ("a", ENERGY, {"units": "nm"})})
    ds.to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match=r"axis 'a' \(4 entries in nm\)"):
        load(tmp_path / "b.nc")
    ds.rename(a="y").to_netcdf(tmp_path / "c.nc", engine="h5netcdf")  # a place in nm is none
    assert load(tmp_path / "c.nc").data.dims == ("y", "b")


def test_patterns_are_known_by_their_names(tmp_path):
    ds = xr.Dataset({"map": (("qy", "qx", "y", "x"), np.ones((4, 5, 2, 3)))})
    ds.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    assert load(tmp_path / "a.nc").data.dims == ("y", "x", "qy", "qx")


@pytest.mark.parametrize(("count", "said"), [(1, "spectrum"), (2, "image")])
def test_nexus_says_how_many_axes_are_the_spectrums(tmp_path, count, said):
    with h5py.File(tmp_path / "a.nxs", "w") as file:
        data = file.create_group("entry/data")
        data.attrs.update({"NX_class": "NXdata", "signal": "data", "interpretation": said})
        data["data"] = np.ones((2, 3, 4))
        data["other"] = np.ones((2, 3, 4))
    img = load(tmp_path / "a.nxs")
    assert len(img.signal_dims) == count


def test_units_beside_an_axis_of_hdf5_are_kept(tmp_path):
    """As made/kev.h5 of the files in the wild; and those of the values."""
    for attribute, value in (("units", "keV"), ("unit", np.bytes_(b"keV")), ("Units", ["keV"])):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["mu"] = np.ones((1, 4))
            file["mu"].attrs[attribute] = "V"
            file["energy"] = ENERGY
            file["energy"].attrs[attribute] = value
        img = load(tmp_path / "a.h5")
        assert img.data.energy.attrs["units"] == "keV"
        assert img.data.attrs["units"] == "V"


def test_netcdf3_is_in_the_byte_order_of_the_machine(tmp_path):
    write_netcdf3(tmp_path / "a.nc", ("energy", "y", "x"), "energy", "eV")
    assert (tmp_path / "a.nc").read_bytes()[:3] == b"CDF"
    img = load(tmp_path / "a.nc")
    assert img.data.dtype.isnative
    assert img.data.energy.dtype.isnative
    content = (tmp_path / "a.nc").read_bytes()
    (tmp_path / "b.nc").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"cannot read b\.nc"):
        load(tmp_path / "b.nc")
    (tmp_path / "c.nc").write_bytes(b"CDF\x05" + content[4:])
    with pytest.raises(ValueError, match=r"cannot read c\.nc.*CDF-5.*nccopy"):
        load(tmp_path / "c.nc")


@pytest.mark.parametrize("dtype", [np.float16, ">f2", ">f4", ">u2", ">i4", ">f8"])
def test_values_are_native_and_wide_enough(tmp_path, dtype):
    values = np.full((2, 3, 40), 60000).astype(dtype)
    np.savez(tmp_path / "a.npz", map=values, energy=np.arange(40, dtype=">f8"))
    np.save(tmp_path / "a.npy", values)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["map"] = values
    for name in ("a.npz", "a.npy", "a.h5"):
        img = load(tmp_path / name)
        wide = np.float32 if np.dtype(dtype).itemsize == 2 and np.dtype(dtype).kind == "f" else dtype
        assert img.data.dtype == np.dtype(wide).newbyteorder("=")
        np.testing.assert_array_equal(img.data, values)
        assert np.isfinite(img.data.values.sum())


@pytest.mark.parametrize("share", [0, 0.05, 0.5, 0.9])
def test_netcdf_that_ends_early_leaves_nothing_on_the_terminal(tmp_path, capfd, share):
    write_netcdf4(tmp_path / "a.nc", ("y", "x", "energy"), "energy", "eV")
    content = (tmp_path / "a.nc").read_bytes()
    (tmp_path / "a.nc").write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"cannot read a\.nc"):
        load(tmp_path / "a.nc")
    assert capfd.readouterr().err == ""


# --- MATLAB


def test_matlab(tmp_path):
    values = cube(("y", "x", "energy"))
    more = {"energy": ENERGY, "ok": np.ones((2, 3), bool), "note": "text", "cell": np.array([1, "a"], object)}
    inside = {"energy_keV": ENERGY, "map": values}
    scipy.io.savemat(tmp_path / "a.mat", {"map": values, **more})
    img = load(tmp_path / "a.mat")
    np.testing.assert_array_equal(img.data, values)
    np.testing.assert_array_equal(img.data.energy, ENERGY)
    scipy.io.savemat(tmp_path / "b.mat", {"scan": inside, "few": scipy.sparse.eye(3).tocsc()})
    assert ("scan/map", (2, 3, 4), "float64") in list_arrays(tmp_path / "b.mat")
    assert load(tmp_path / "b.mat").data.energy.attrs["units"] == "keV"
    np.testing.assert_array_equal(load(tmp_path / "b.mat", "few").data, np.eye(3))
    scipy.io.savemat(tmp_path / "c.mat", {"map": cube(("energy", "y", "x")), "energy": ENERGY})
    with pytest.raises(ValueError, match="fits axis 0"):
        load(tmp_path / "c.mat")


def test_matlab_of_version_7_3_is_turned_round(tmp_path):
    """HDF5 has the axes in the reverse of the order in which MATLAB shows them."""
    values = cube(("y", "x", "energy"))
    with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as file:
        for name, array in {"map": values, "energy": ENERGY[None], "scan/map": values[:1, :, 0]}.items():
            file[name] = array.T
            file[name].attrs["MATLAB_class"] = np.bytes_(b"double")
        file["title"] = np.frombuffer(b"text", np.uint8)[:, None]
        file["title"].attrs["MATLAB_class"] = np.bytes_(b"char")
        file["ok"] = np.ones((3, 2), np.uint8)
        file["ok"].attrs["MATLAB_class"] = np.bytes_(b"logical")
        file["#refs#/a"] = values
    img = load(tmp_path / "a.mat", mask="ok")
    np.testing.assert_array_equal(img.data, values)
    np.testing.assert_array_equal(img.data.energy, ENERGY)
    assert list_arrays(tmp_path / "a.mat") == [
        ("energy", (4,), "float64"),
        ("map", (2, 3, 4), "float64"),
        ("ok", (2, 3), "bool"),
        ("scan/map", (3,), "float64"),
    ]


@pytest.mark.parametrize("damage", ["empty", "foreign", "cut"])
def test_damaged_matlab(tmp_path, damage):
    scipy.io.savemat(tmp_path / "a.mat", {"map": cube(("y", "x", "energy"))})
    content = (tmp_path / "a.mat").read_bytes()
    made = {"empty": b"", "foreign": b"not what the suffix says" * 20, "cut": content[: len(content) // 2]}
    (tmp_path / "a.mat").write_bytes(made[damage])
    with pytest.raises(ValueError, match=r"cannot read a\.mat"):
        load(tmp_path / "a.mat")


# --- zarr


def test_every_store_of_zarr(tmp_path):
    zarr = pytest.importorskip("zarr")
    values = cube(("y", "x", "energy"))
    for version in (2, 3):
        array = zarr.create_array(str(tmp_path / "one.zarr"), data=values, zarr_format=version, overwrite=True)
        assert array.shape == values.shape
        np.testing.assert_array_equal(load(tmp_path / "one.zarr").data, values)
        write_zarr(tmp_path / "whole.zarr", ("y", "x", "energy"), "energy", "eV", version)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # version 3 has no place for it yet
            zarr.consolidate_metadata(str(tmp_path / "whole.zarr"))
        np.testing.assert_array_equal(load(tmp_path / "whole.zarr").data, values)
        shutil.make_archive(str(tmp_path / "whole.zarr"), "zip", tmp_path / "whole.zarr")
        img = load(tmp_path / "whole.zarr.zip")
        np.testing.assert_array_equal(img.data, values)
        assert img.data.energy.attrs["units"] == "eV"
        shutil.rmtree(tmp_path / "whole.zarr")
    (tmp_path / "b.zip").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"cannot read b\.zip"):
        load(tmp_path / "b.zip")


# --- the files themselves


@pytest.mark.parametrize(
    ("name", "dims", "units", "dtype"),
    [
        ("efirst.nc", ("y", "x", "energy"), "eV", "float64"),
        ("elast.nc", ("y", "x", "energy"), "eV", "float64"),
        ("nc3.nc", ("y", "x", "energy"), "eV", "float64"),
        ("map.mat", ("y", "x", "energy"), None, "float64"),
        ("map73.mat", ("y", "x", "energy"), None, "float64"),
        ("f16.npz", ("y", "x", "energy"), "eV", "float32"),
        ("kev.h5", ("x", "energy"), "keV", "float64"),
        ("eds.hspy", ("y", "x", "Energy"), "keV", "float32"),
    ],
)
def test_files_in_the_wild(shared_data, name, dims, units, dtype):
    path = shared_data / "files_in_the_wild" / "made" / name
    if not path.exists():
        pytest.skip(f"shared/data/files_in_the_wild/made/{name} is not here")
    img = load(path)
    assert img.data.dims == dims
    assert img.data.coords[dims[-1]].attrs.get("units") == units
    assert img.data.dtype == dtype
    same = path.with_name("ok.npz")
    if img.data.shape == (6, 7, 80) and name not in ("eds.hspy", "f16.npz") and same.exists():
        np.testing.assert_allclose(img.data, load(same).data)
        np.testing.assert_allclose(img.data.energy, load(same).data.energy)
