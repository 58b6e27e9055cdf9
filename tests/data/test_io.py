"""Files: what is written comes back, what is damaged or ambiguous is refused with the remedy."""

import gzip
import json
import os
import pickle
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxunmix.data.formats.select import ArrayChoiceError
from jaxunmix.data.image import SpectrumImage
from jaxunmix.data.io import list_arrays, load, load_dataset, save, save_dataset

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
FORMATS = ["npz", "h5", "hdf5", "hspy", "zarr", "zspy", "nc"]
KEEP_PIXELS = np.array([[True, False, True], [True, True, True]])
KEEP_CHANNELS = np.array([True, True, False, True])


def shared(name):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"shared/data/{name} is not beside the repository")
    return path


def example(dtype=np.uint16):
    img = SpectrumImage.from_array(
        np.arange(24).reshape(2, 3, 4).astype(dtype),
        coords={"energy": [528.0, 529.0, 531.0, 535.0], "x": [0, 0.5, 1.0], "y": [2.0, 1.0]},
        units={"energy": "eV", "x": "s", "intensity": "counts"},
        keep_pixels=KEEP_PIXELS,
        keep_channels=KEEP_CHANNELS,
        name="O K/1",
    )
    steps = ({"step": "a", "parameters": {"b": None, "c": [1, 2.5], "d": "é"}, "undo": {"e": np.arange(3.0)}},)
    return replace(img, provenance=steps)


def assert_same(one, two):
    assert two.data.dims == one.data.dims
    assert two.data.dtype == one.data.dtype
    assert two.data.name == one.data.name
    assert two.signal_dims == one.signal_dims
    np.testing.assert_array_equal(two.data.values, one.data.values)
    assert two.data.attrs == one.data.attrs
    for dim in one.data.coords:
        np.testing.assert_allclose(two.data.coords[dim], one.data.coords[dim], rtol=1e-12)
        assert two.data.coords[dim].attrs.get("units") == one.data.coords[dim].attrs.get("units")
    for a, b in ((one.keep_pixels, two.keep_pixels), (one.keep_channels, two.keep_channels)):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            np.testing.assert_array_equal(a.values, b.values)
    assert str(two.provenance) == str(one.provenance)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64])
def test_round_trip(tmp_path, suffix, dtype):
    path = tmp_path / f"a.{suffix}"
    save(example(dtype), path)
    assert_same(example(dtype), load(path))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", FORMATS)
def test_saving_twice_replaces(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    save(example(), path)
    other = SpectrumImage.from_array(np.ones((5, 3, 3), np.float32), signal_dims=2)
    save(other, path)
    back = load(path)
    np.testing.assert_array_equal(back.data.values, 1)
    assert back.signal_dims == ("ky", "kx")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shape=st.lists(st.integers(1, 3), min_size=1, max_size=4), data=st.data())
def test_round_trip_of_any_shape(tmp_path, shape, data):
    signal = data.draw(st.integers(1, len(shape)))
    suffix = data.draw(st.sampled_from(["npz", "h5", "hspy", "nc"]))
    img = SpectrumImage.from_array(np.random.default_rng(0).normal(size=shape), signal)
    save(img, tmp_path / f"a.{suffix}")
    back = load(tmp_path / f"a.{suffix}")
    assert back.data.dims == img.data.dims
    assert back.signal_dims == img.signal_dims
    np.testing.assert_array_equal(back.data.values, img.data.values)


@pytest.mark.parametrize("suffix", ["npz", "npy", "h5", "hspy", "nc", "prj"])
@pytest.mark.parametrize("damage", ["truncated", "foreign", "empty"])
def test_damaged_files(tmp_path, suffix, damage):
    path = tmp_path / f"broken.{suffix}"
    if damage == "truncated":
        if suffix == "npy":
            np.save(path, np.ones((50, 60)))
        elif suffix == "prj":
            path.write_bytes(athena_project())
        else:
            save(example(), path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        path.write_bytes(b"not what the suffix says" * 10 if damage == "foreign" else b"")
    with pytest.raises(ValueError, match=r"cannot read broken\."):
        load(path)


def test_no_pickle_is_ever_read(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    np.save(tmp_path / "a.npy", np.array([Trap(), 1], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "b.npz", cube=np.array([[Trap(), 1]], dtype=object))
    (tmp_path / "c.npz").write_bytes(pickle.dumps({"cube": Trap()}))
    for name, message in (("a.npy", "Python objects"), ("b.npz", "Python objects"), ("c.npz", "cannot read")):
        with pytest.raises(ValueError, match=message):
            load(tmp_path / name)
    with pytest.raises(ValueError, match="astype"):
        load(tmp_path / "b.npz", array="cube")
    assert not (tmp_path / "sprung").exists()


def test_missing_file_names_similar_ones(tmp_path):
    np.save(tmp_path / "cube_high.npy", np.ones((2, 3)))
    with pytest.raises(FileNotFoundError, match=r"cube_high\.npy"):
        load(tmp_path / "cube_hihg.npy")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        load(tmp_path / "no" / "a.npy")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        save(example(), tmp_path / "no" / "a.npz")


def test_unknown_suffix_lists_the_known(tmp_path):
    (tmp_path / "a.qqq").write_text("x")
    with pytest.raises(ValueError, match=r"\.npz.*\.hspy"):
        load(tmp_path / "a.qqq")
    with pytest.raises(ValueError, match=r"\.npz.*\.nc"):
        save(example(), tmp_path / "a.qqq")
    with pytest.raises(ValueError, match="npz"):
        save(example(), tmp_path / "a.npy")


def test_a_failed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.npz"
    save(example(), path)
    broken = replace(example(), provenance=({"step": "a", "parameters": {"f": object()}},))
    with pytest.raises(ValueError, match="JSON"):
        save(broken, path)
    assert_same(example(), load(path))
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_a_folder_that_is_no_zarr_is_not_overwritten(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "thesis.txt").write_text("precious")
    with pytest.raises(ValueError, match="not overwritten"):
        save(example(), tmp_path / "a.zarr")
    assert (tmp_path / "a.zarr" / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize("suffix", ["zarr", "zspy"])
def test_damaged_zarr(tmp_path, suffix):
    pytest.importorskip("zarr")
    (tmp_path / f"a.{suffix}").mkdir()
    (tmp_path / f"b.{suffix}").write_text("no folder")
    for name in ("a", "b"):
        with pytest.raises(ValueError, match="cannot read"):
            load(tmp_path / f"{name}.{suffix}")


def test_damaged_labels_are_no_traceback_of_zipfile(tmp_path):
    """The values are whole, but an axis stored after them is not."""
    path = tmp_path / "a.npz"
    save(example(np.float64), path)
    raw = bytearray(path.read_bytes())
    at = raw.index(np.array([528.0, 529.0]).tobytes())
    raw[at] ^= 255
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"cannot read a\.npz"):
        load(path)


@pytest.mark.parametrize("suffix", FORMATS)
def test_one_spectrum_with_an_axis_of_any_name(tmp_path, suffix):
    img = SpectrumImage.from_array(np.arange(4.0), dims=["shift"], coords={"shift": [1, 2, 4, 8.0]})
    save(img, tmp_path / f"a.{suffix}")
    assert_same(replace(img, provenance=()), replace(load(tmp_path / f"a.{suffix}"), provenance=()))


@pytest.mark.parametrize("suffix", ["npz", "h5", "zarr", "nc"])
def test_text_labels_beside_the_axes_are_kept(tmp_path, suffix):
    img = SpectrumImage.from_array(np.ones((2, 3)))
    img = replace(img, data=img.data.assign_coords(sample=("x", ["Fe foil", "oxide"])))
    save(img, tmp_path / f"a.{suffix}")
    assert load(tmp_path / f"a.{suffix}").data.coords["sample"].values.tolist() == ["Fe foil", "oxide"]


# --- choosing the array, its axis and its mask


def test_several_arrays_are_listed(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(
        path,
        one=np.ones((2, 3, 4)),
        two=np.ones((2, 3, 4), np.uint8),
        energy=np.arange(4.0),
        ok=np.ones((2, 3), bool),
    )
    with pytest.raises(ArrayChoiceError, match=r"one  \(2, 3, 4\)  float64\n  two  \(2, 3, 4\)  uint8") as caught:
        load(path)
    assert "energy" not in str(caught.value)
    assert 'array="..."' in str(caught.value)
    assert "--array" in str(caught.value)
    assert caught.value.candidates == (("one", (2, 3, 4), "float64"), ("two", (2, 3, 4), "uint8"))
    img = load(path, "two")
    assert img.data.dtype == np.uint8
    np.testing.assert_array_equal(img.data.energy, np.arange(4.0))
    with pytest.raises(ArrayChoiceError, match="0 arrays called 'three'"):
        load(path, "three")
    assert ("ok", (2, 3), "bool") in list_arrays(path)


@pytest.mark.parametrize(
    ("name", "dim", "units"),
    [
        ("energy_keV", "energy", "keV"),
        ("energy_ev", "energy", "eV"),
        ("wavenumber_cm1", "wavenumber", "1/cm"),
        ("mz", "mz", "m/z"),
        ("bias_V", "bias", "V"),
        ("cube_energy_eV", "energy", "eV"),
        ("energy", "energy", None),
    ],
)
def test_axis_is_found_by_its_name(tmp_path, name, dim, units):
    values = np.linspace(1, 2, 4)
    np.savez(tmp_path / "a.npz", cube=np.ones((2, 3, 4)), i0=np.ones(4), **{name: values})
    img = load(tmp_path / "a.npz")
    assert img.data.dims == ("y", "x", dim)
    np.testing.assert_array_equal(img.data.coords[dim], values)
    assert img.data.coords[dim].attrs.get("units") == units


def test_axis_given_by_name_or_values(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, cube=np.ones((2, 3, 4)), loss=np.arange(4.0), energy=np.arange(4.0) + 7)
    np.testing.assert_array_equal(load(path, energy="loss").data.energy, np.arange(4.0))
    np.testing.assert_array_equal(load(path, energy=np.arange(4.0) + 1).data.energy, np.arange(4.0) + 1)
    with pytest.raises(ValueError, match="it holds"):
        load(path, energy="eloss")
    with pytest.raises(ValueError, match=r"expected \(4,\)"):
        load(path, energy=[1.0, 2.0])


def test_energy_first_is_not_taken_for_pixels(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, cube=np.ones((4, 2, 3)), energy_eV=np.arange(4.0))
    with pytest.raises(ValueError, match="fits axis 0"):
        load(path)
    img = load(path, dims=("energy", "y", "x"), signal_dims="energy")
    assert img.data.dims == ("y", "x", "energy")
    np.testing.assert_array_equal(img.data.energy, np.arange(4.0))


def test_mask_by_shape(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, cube=np.ones((2, 3, 4)), good=KEEP_PIXELS, lines=KEEP_CHANNELS, other=np.ones((3, 2), bool))
    np.testing.assert_array_equal(load(path, mask="good").keep_pixels, KEEP_PIXELS)
    np.testing.assert_array_equal(load(path, mask="lines").keep_channels, KEEP_CHANNELS)
    np.save(tmp_path / "m.npy", KEEP_PIXELS)
    np.testing.assert_array_equal(load(path, mask=tmp_path / "m.npy").keep_pixels, KEEP_PIXELS)
    with pytest.raises(ValueError, match=r"expected \(2, 3\).*or \(4,\)"):
        load(path, mask="other")
    with pytest.raises(ValueError, match="it holds"):
        load(path, mask="bad")
    np.savez(path, cube=np.ones((4, 4)), m=np.array([1, 0, 1, 1], bool))
    with pytest.raises(ValueError, match="fits the pixels"):
        load(path, mask="m")


def test_scale_and_provenance_of_a_load(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, counts_x100=np.full((2, 3), 250, np.uint16))
    img = load(path, scale=0.01, units={"intensity": "counts"})
    assert img.data.dtype == np.float32
    np.testing.assert_allclose(img.data, 2.5)
    assert img.data.attrs["units"] == "counts"
    assert img.provenance[0]["parameters"]["scale"] == 0.01
    json.dumps(img.provenance)


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


# --- text


def test_columns_with_names(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("energy (eV),mu,i0\n1.0,2,3\n2.0,4,5\n3.5,6,7\n")
    with pytest.raises(ArrayChoiceError, match="mu"):
        load(path)
    img = load(path, "mu")
    assert img.data.dims == ("energy",)
    np.testing.assert_array_equal(img.data, [2, 4, 6])
    np.testing.assert_array_equal(img.data.energy, [1, 2, 3.5])
    assert img.data.energy.attrs["units"] == "eV"
    assert img.matrix("dense").shape == (1, 3)


def test_columns_without_names(tmp_path):
    path = tmp_path / "a.txt"
    np.savetxt(path, [[1, 5], [2, 6], [3, 8]])
    np.testing.assert_array_equal(load(path).data.energy, [1, 2, 3])
    np.savetxt(path, np.arange(12.0).reshape(3, 4))
    assert load(path).data.dims == ("x", "energy")
    path.write_text("# energy mu\n1 2\n3 4\n")
    np.testing.assert_array_equal(load(path).data, [2, 4])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a b\n1 2\nx y\n", "line 3: not numbers"),
        ("1 2\n1 2 3\n", "line 2: 3 columns"),
        ("# only\n", "no row"),
    ],
)
def test_bad_columns(tmp_path, text, message):
    path = tmp_path / "a.dat"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load(path)


def test_xdi_absorption(tmp_path):
    path = tmp_path / "a.xdi"
    path.write_text(
        "# XDI/1.0\n# Column.1: energy eV\n# Column.2: itrans\n# Column.3: i0\n# ///\n# note\n#----\n"
        "7000 1.0 2.0\n7001 1.0 4.0\n"
    )
    img = load(path)
    np.testing.assert_allclose(img.data, np.log([2, 4]))
    np.testing.assert_array_equal(load(path, "i0").data, [2, 4])
    assert img.data.energy.attrs["units"] == "eV"
    path.write_text("# XDI/1.0\n# Column.1: energy eV\n# Column.2: mutrans\n1 0.5\n2 0.7\n")
    np.testing.assert_array_equal(load(path).data, [0.5, 0.7])


def athena_project():
    text = """# Athena project file -- Demeter version 0.9.24
$old_group = 'abcd';
@args = ('annotation','','label','Fe\\'s foil, 1','bkg_e0','7112');
@x = ('7000','7001.5','7003');
@y = ('0.1','0.2','0.4');
[record]   # create object and set arrays in parent

$old_group = 'efgh';
@args = ('label','oxide');
@x = (7000,7002);
@y = (0.5,0.75);
[record]

$old_group = 'ijkl';
@args = ('label','oxide');
@x = ('7000','7002');
@y = ('1.5','1.75');
[record]
"""
    return gzip.compress(text.encode(), mtime=0)


def test_athena_project(tmp_path):
    path = tmp_path / "a.prj"
    path.write_bytes(athena_project())
    assert [n for n, _, _ in list_arrays(path)] == ["Fe's foil, 1", "oxide", "oxide (ijkl)"]
    with pytest.raises(ArrayChoiceError, match="oxide"):
        load(path)
    foil = load(path, "Fe's foil, 1")
    np.testing.assert_array_equal(foil.data.energy, [7000, 7001.5, 7003])
    np.testing.assert_array_equal(foil.data, [0.1, 0.2, 0.4])
    np.testing.assert_array_equal(load(path, "oxide (ijkl)").data, [1.5, 1.75])


# --- results


def test_dataset_round_trip(tmp_path):
    ds = xr.Dataset(
        {
            "maps": (
                ("component", "y"),
                np.ones((2, 3), np.float32),
                {"ok": True, "note": None, "units": "s"},
            ),
            "done": ("component", [True, False]),
        },
        coords={"component": [0, 1], "label": ("component", ["a", "b"])},
        attrs={"flag": False, "none": None, "nested": {"a": [1, None]}, "n": 3, "text": "x", "empty": ""},
    )
    save_dataset(ds, tmp_path / "r.nc")
    back = load_dataset(tmp_path / "r.nc")
    xr.testing.assert_equal(back, ds)
    assert back.attrs == ds.attrs
    assert back.attrs["flag"] is False
    assert back["maps"].attrs == ds["maps"].attrs
    assert back["maps"].dtype == np.float32
    assert back["done"].dtype == bool
    assert ds.attrs["flag"] is False
    assert ds["maps"].attrs["note"] is None
    save_dataset(back, tmp_path / "r.nc")
    assert [p.name for p in tmp_path.iterdir()] == ["r.nc"]


def test_dataset_errors(tmp_path):
    with pytest.raises(ValueError, match="'f' of the dataset"):
        save_dataset(xr.Dataset(attrs={"f": object()}), tmp_path / "r.nc")
    with pytest.raises(FileNotFoundError):
        load_dataset(tmp_path / "r.nc")
    (tmp_path / "r.nc").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"cannot read r\.nc"):
        load_dataset(tmp_path / "r.nc")


# --- HyperSpy


def test_hyperspy_reads_what_we_write(tmp_path, hs):
    save(example(), tmp_path / "a.hspy")
    signal = hs.load(tmp_path / "a.hspy")
    np.testing.assert_array_equal(signal.data, example().data.values)
    assert signal.axes_manager.navigation_shape == (3, 2)
    x, y = signal.axes_manager.navigation_axes
    assert (x.name, x.scale, x.units, y.name, y.scale, y.offset) == ("x", 0.5, "s", "y", -1.0, 2.0)
    np.testing.assert_array_equal(signal.axes_manager.signal_axes[0].axis, [528, 529, 531, 535])
    np.testing.assert_array_equal(signal.metadata.jaxunmix.navigation_mask, ~KEEP_PIXELS)
    assert signal.metadata.General.title == "O K/1"
    signal.save(tmp_path / "b.hspy")
    assert_same(example(), load(tmp_path / "b.hspy"))


def test_we_read_what_hyperspy_writes(tmp_path, hs):
    signal = hs.signals.Signal1D(np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    signal.axes_manager[-1].name, signal.axes_manager[-1].units = "Energy", "keV"
    signal.axes_manager[-1].scale, signal.axes_manager[-1].offset = 0.01, 0.2
    signal.save(tmp_path / "a.hspy")
    img = load(tmp_path / "a.hspy")
    assert img.data.dims == ("y", "x", "Energy")
    np.testing.assert_allclose(img.data.Energy, 0.2 + 0.01 * np.arange(4))
    patterns = hs.signals.Signal2D(np.ones((2, 3, 4, 5)))
    patterns.save(tmp_path / "b.hspy")
    assert load(tmp_path / "b.hspy").data.dims == ("y", "x", "ky", "kx")


def test_vendor_formats_go_through_rosettasciio(tmp_path, hs):
    signal = hs.signals.Signal1D(np.arange(24, dtype=np.uint16).reshape(2, 3, 4))
    signal.axes_manager[-1].scale = 0.5
    signal.save(tmp_path / "a.rpl")
    img = load(tmp_path / "a.rpl")
    assert img.navigation_shape == (2, 3)
    np.testing.assert_array_equal(img.data.values, signal.data)
    np.testing.assert_allclose(np.diff(img.data.coords[img.signal_dims[0]]), 0.5)


# --- real files


@pytest.mark.parametrize(
    ("name", "dims", "shape", "units"),
    [
        ("sims_poplar/poplar.npz", ("y", "x", "mz"), (256, 256, 200), "m/z"),
        ("eds_sem_dacite/p45_high.npz", ("y", "x", "energy"), (75, 100, 1121), "keV"),
        ("raman_thp1/thp1_layer5.npz", ("y", "x", "wavenumber"), (40, 40, 500), "1/cm"),
        ("xas_stxm_fe2p/stxm_71214078.npz", ("y", "x", "energy"), (125, 125, 123), "eV"),
        ("xas_fe_minerals/fe_lib_hxn.npz", ("x", "energy"), (11, 196), "eV"),
    ],
)
def test_real_files_open_without_options(name, dims, shape, units):
    img = load(shared(name))
    assert img.data.dims == dims
    assert img.data.shape == shape
    assert img.data.coords[dims[-1]].attrs["units"] == units


def test_real_files_that_must_be_asked_about():
    with pytest.raises(ArrayChoiceError, match="LSMO_STO_linescan_low"):
        load(shared("eels_lsmo_lines/lsmo_linescans.npz"))
    img = load(shared("eels_lsmo_lines/lsmo_linescans.npz"), "LSMO_STO_linescan_core")
    assert float(img.data.energy[0]) == 395
    assert load(shared("xas_foils/foils.npz"), "Mn_mu").data.energy.size == 447


def test_real_xdi_files():
    for path in sorted(shared("xas_library/Mn").glob("*.xdi")):
        mu = load(path)
        edge = float(mu.data.energy[int(np.abs(np.gradient(mu.data.values, mu.data.energy.values)).argmax())])
        assert 6530 < edge < 6570
