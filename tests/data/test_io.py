"""Files: what is written comes back, what is damaged or ambiguous is refused with the remedy."""

import gzip
import json
import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxunmix.data.formats.select import ArrayChoiceError
from jaxunmix.data.image import SpectrumImage
from jaxunmix.data.io import load, load_dataset, save, save_dataset

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
            path.write_bytes(gzip.compress(b"@x = (1, 2); @y = (3, 4);", mtime=0))
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


def test_scale_and_provenance_of_a_load(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, counts_x100=np.full((2, 3), 250, np.uint16))
    img = load(path, scale=0.01, units={"intensity": "counts"})
    assert img.data.dtype == np.float32
    np.testing.assert_allclose(img.data, 2.5)
    assert img.data.attrs["units"] == "counts"
    assert img.provenance[0]["parameters"]["scale"] == 0.01
    json.dumps(img.provenance)


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
