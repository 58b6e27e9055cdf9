"""What RosettaSciIO's readers say of a file is kept, and what they make of a bad one is said in a sentence."""

import logging
import sys
import types

import h5py
import numpy as np
import pytest

from jaxunmix.cli import main
from jaxunmix.data.formats.vendor.missing import MissingPackageError
from jaxunmix.data.io import list_arrays, load

rsciio = pytest.importorskip("rsciio", reason="RosettaSciIO is an optional extra")
VALUES = np.arange(24.0).reshape(4, 2, 3)


def axis(name, navigate, **more):
    return {"name": name, "navigate": navigate, "scale": 0.5, "offset": 1.0, "units": "nm", "size": 0} | more


def energy(navigate=True, **more):
    return axis("Energy loss", navigate, units="eV", scale=1.0, offset=300.0, **more)


@pytest.fixture
def reader(monkeypatch, tmp_path):
    """Put readers of the suffix .vnd in place, and give the path of a file of that kind."""

    def put(*results):
        plugins = []
        for i, result in enumerate(results):
            module = types.ModuleType(f"fake_reader_{i}")

            def file_reader(filename, result=result):
                if isinstance(result, BaseException):
                    raise result
                return result() if callable(result) else result

            module.file_reader = file_reader
            monkeypatch.setitem(sys.modules, module.__name__, module)
            plugins.append({"name": f"Fake{i}", "api": module.__name__, "file_extensions": ["vnd", "VND"]})
        monkeypatch.setattr(rsciio, "IO_PLUGINS", plugins)
        path = tmp_path / "a.vnd"
        path.write_bytes(b"as it is")
        return path

    return put


def record(values=VALUES, axes=None, **more):
    axes = [energy(), axis("y", False), axis("x", False)] if axes is None else axes
    return {"data": values, "axes": axes, "metadata": {"General": {"title": "map"}}} | more


def test_functions_that_finish_a_signal_are_called(reader):
    axes = [energy(), axis("y", False), axis("t", False), axis("x", False)]
    more = {
        "post_process": [lambda s: s.to_signal1D(optimize=True), lambda s: s.squeeze()],
        "metadata": {"General": {"title": "map"}, "Signal": {"signal_type": "EELS"}},
        "original_metadata": {"Brightness": {"Units": "Counts"}},
        "mapping": {"Brightness.Units": ("Signal.quantity", lambda u: f"Electrons ({u})")},
        "package": "exspy",
        "attributes": {"_lazy": False},
        "learning_results": {},
    }
    img = load(reader([record(VALUES[:, :, None], axes, **more)]))
    assert img.data.dims == ("y", "x", "Energy loss")
    assert img.signal_dims == ("Energy loss",)
    np.testing.assert_array_equal(img.data, np.moveaxis(VALUES, 0, -1))
    np.testing.assert_array_equal(img.data["Energy loss"], [300, 301, 302, 303])
    assert img.data.attrs == {"units": "Counts", "signal_type": "EELS"}
    assert img.data.name == "map"
    assert img.provenance[0]["parameters"] == {"file": "a.vnd", "array": "0:map", "reader": "Fake0"}


def test_other_functions_that_finish_a_signal(reader):
    post = [lambda s: s.transpose(), lambda s: (s.change_dtype("uint8"), s.change_dtype("rgb8"))[0] or s]
    axes = [axis("c", True), axis("y", False), axis("x", False)]
    img = load(reader([record(VALUES, axes, post_process=post)]))
    assert img.data.dims == ("y", "x", "c")
    assert img.signal_dims == ("c",)
    assert img.data.dtype == np.uint8
    img = load(reader([record(VALUES, axes, post_process=[lambda s: s.to_signal2D()])]))
    assert img.data.dims == ("x", "c", "y")
    with pytest.raises(ValueError, match=r"a\.vnd.*Fake0.*HyperSpy's 'rebin'.*from_hyperspy"):
        load(reader([record(post_process=[lambda s: s.rebin(2)])]))


class Lazy:
    """An array of a library that computes when asked to."""

    shape = VALUES.shape

    def compute(self):
        return VALUES


def test_lazy_arrays_are_read(reader):
    img = load(reader([record(Lazy(), [axis("y", True), axis("x", True), energy(False)])]))
    np.testing.assert_array_equal(img.data, VALUES)


def test_axes_that_a_reader_does_not_mark(reader):
    """By `record_by`, or by their names, or else all are the signal's, as HyperSpy has it."""
    plain = [{"name": n, "scale": 1.0, "offset": 0.0, "units": None} for n in ("a", "b", "c")]
    by = {"metadata": {"Signal": {"record_by": "spectrum"}}}
    assert load(reader([record(VALUES, plain, **by)])).signal_dims == ("c",)
    assert load(reader([record(VALUES, plain)])).signal_dims == ("a", "b", "c")
    plain[0]["name"] = "wavelength"
    assert load(reader([record(VALUES, plain)])).data.dims == ("b", "c", "wavelength")
    marked = [axis("y", True), axis("x", True), axis("b", True)]
    with pytest.raises(ValueError, match=r'marks all its axes.*signal_dims="b"'):
        load(reader([record(VALUES, marked)]))
    assert load(reader([record(VALUES, marked)]), signal_dims="b").data.dims == ("y", "x", "b")


@pytest.mark.parametrize("units", ["eV", "keV", "1/cm", "m/z", "mrad"])
def test_a_spectrum_among_the_axes_of_a_map_is_a_question(reader, units):
    axes = [axis("shift", True, units=units), axis("y", False), axis("x", False)]
    path = reader([record(VALUES, axes)])
    with pytest.raises(
        ValueError, match=rf"axis 'shift' \(4 entries in {units}\).*signal_dims=\"shift\".*--signal-dims"
    ):
        load(path)
    assert load(path, signal_dims="shift").data.dims == ("y", "x", "shift")
    assert load(path, signal_dims=["y", "x"]).signal_dims == ("y", "x")


def test_each_reader_of_a_suffix_is_tried(reader):
    good = [record(VALUES, [axis("y", True), axis("x", True), energy(False)])]
    for bad in ([], AssertionError("magic"), TypeError("not mine\nmore of it"), ImportError("x", name="skimage")):
        img = load(reader(bad, good))
        assert img.provenance[0]["parameters"]["reader"] == "Fake1"

    def warns():
        logging.getLogger("rsciio.fake").warning("magic number 17 is not known")
        return []

    error = ModuleNotFoundError("No module named 'skimage'", name="skimage")
    path = reader(warns, ValueError("no header in it.\nSecond line"), error, KeyError("Axes"), [])
    with pytest.raises(ValueError, match=r"cannot read a\.vnd") as caught:
        load(path)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path.parent) not in text
    for said in ("Fake0: magic number 17", "Fake1: no header in it;", "Fake2", "pip install scikit-image"):
        assert said in text
    assert "Fake3: KeyError 'Axes'" in text
    assert "Fake4: found no data" in text


@pytest.mark.parametrize(
    ("module", "package"),
    [("skimage", "scikit-image"), ("PIL.Image", "pillow"), ("mrcz", "mrcz"), ("pyUSID", "pyUSID")],
)
def test_a_missing_package_is_named_with_what_pip_calls_it(reader, module, package):
    error = ModuleNotFoundError(f"No module named '{module}'", name=module)
    with pytest.raises(MissingPackageError, match=rf"a\.vnd.*Fake0 needs {package}.*pip install {package}") as caught:
        load(reader(error))
    assert isinstance(caught.value, ImportError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("name", "more", "why"),
    [
        ("Z", {"scale": None, "units": None}, "has none"),
        ("Z", {"scale": 0.0}, "scale is 0"),
        ("Z", {"scale": np.nan}, "not finite"),
        ("Z", {"axis": np.array([1.0, 3, 2, 4])}, "rise or fall"),
        ("Z", {"axis": np.array([1.0, np.nan, 2, 4])}, "not all"),
    ],
)
def test_a_coordinate_that_cannot_be_used_is_left_out_with_a_note(reader, name, more, why):
    axes = [axis(name, True, **more), axis("x", True), energy(False)]
    with pytest.warns(UserWarning, match=rf"a\.vnd: the coordinate of axis 'Z' .*{why}"):
        img = load(reader([record(VALUES, axes)]))
    assert img.data.dims == ("Z", "x", "Energy loss")
    assert set(img.data.coords) == {"x", "Energy loss"}
    (note,) = img.provenance[0]["parameters"]["notes"]
    assert why in note


def test_renishaw_with_a_depth_that_does_not_change(shared_data):
    path = shared_data / "files_in_the_wild" / "public" / "renishaw_test_focustrack_invariant.wdf"
    if not path.exists():
        pytest.skip("the public files are not here")
    with pytest.warns(UserWarning, match="axis 'Z'"):
        img = load(path)
    assert img.data.dims == ("Z", "Raman Shift")
    assert img.data.coords["Raman Shift"].attrs["units"] == "1/cm"
    assert any("'Z'" in note for note in img.provenance[0]["parameters"]["notes"])


@pytest.mark.parametrize("suffix", ["bcf", "dm3", "dm4", "msa", "wdf", "ser", "mib", "blo", "img", "tif", "prz", "emd"])
@pytest.mark.parametrize("content", [b"", b"nope", b"this is no such file, " * 20, bytes(range(256)) * 8])
def test_damaged_files_are_refused_in_a_sentence(tmp_path, suffix, content):
    path = tmp_path / f"trunc.{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"cannot read trunc\.{suffix}") as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("share", [0.0005, 0.01, 0.5, 0.999])
def test_a_file_that_ends_early(shared_data, tmp_path, share):
    source = shared_data / "files_in_the_wild" / "public" / "EELS_SI.dm4"
    if not source.exists():
        pytest.skip("the public files are not here")
    content = source.read_bytes()
    path = tmp_path / "cut.dm4"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"cannot read cut\.dm4"):
        load(path)


@pytest.mark.parametrize("suffix", ["bcf", "dm4", "msa"])
def test_the_command_line_ends_with_2_and_no_traceback(tmp_path, capsys, suffix):
    path = tmp_path / f"Nope.{suffix}"
    path.write_bytes(b"there is no map here")
    assert main(["unmix", str(path), "--components", "2", "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr()
    assert f"cannot read Nope.{suffix}" in told.err + told.out
    assert "Traceback" not in told.err + told.out


# --- HDF5


def delmic(file):
    for i, shape in enumerate([(1, 1, 1, 3, 2), (5, 1, 1, 3, 2)]):
        group = file.create_group(f"Acquisition{i}")
        group.create_group("PhysicalData")
        group.create_group("SVIData")
        group["ImageData/Image"] = np.ones(shape)


@pytest.mark.parametrize(
    ("make", "reader_name"),
    [
        (delmic, "Delmic"),
        (lambda f: f.attrs.update({"TofDAQ Version": 1.99}), "Tofwerk"),
        (lambda f: f.update({"Version": [b'{"format": "Velox", "version": "1.1"}']}), "EMD"),
        (lambda f: f.create_group("data").attrs.update({"version_major": 0, "version_minor": 2}), "EMD"),
        (lambda f: f.update({"entry/instrument/detector/description": b"DECTRIS ARINA"}), "Arina"),
    ],
)
def test_vendors_hdf5_goes_to_its_reader(tmp_path, monkeypatch, make, reader_name):
    asked = []

    def named_items(path, reader):
        asked.append(reader)
        raise ValueError(f"{path.name} was for {reader}")

    monkeypatch.setattr("jaxunmix.data.formats.containers.hdf5.named_items", named_items)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["entry/data/data"] = np.ones((2, 3))
        make(file)
    with pytest.raises(ValueError, match=f"was for {reader_name}"):
        load(tmp_path / "a.h5")
    assert asked == [reader_name]


def test_what_no_vendor_signed_is_read_here(tmp_path):
    """Also where the suffix is a vendor's, or nobody's."""
    for name in ("a.h5", "a.emd", "a.cxi"):
        with h5py.File(tmp_path / name, "w") as file:
            file["entry/cube"] = VALUES
            file["Version"] = "1"
        assert load(tmp_path / name).data.shape == VALUES.shape


def test_a_filter_that_is_missing_is_named(tmp_path, monkeypatch):
    there = h5py.h5z.filter_avail
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda code: code != 32008 and there(code))  # if hdf5plugin is there
    with h5py.File(tmp_path / "a.h5", "w") as file:
        space = h5py.h5s.create_simple((4, 2, 3))
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((4, 2, 3))
        properties.set_filter(32008, h5py.h5z.FLAG_OPTIONAL, (0, 2))
        h5py.h5d.create(file.id, b"cube", h5py.h5t.NATIVE_DOUBLE, space, properties)
    assert list_arrays(tmp_path / "a.h5") == [("cube", (4, 2, 3), "float64")]
    with pytest.raises(ValueError, match=r"a\.h5: '/cube'.*bitshuffle.*pip install hdf5plugin"):
        load(tmp_path / "a.h5")


def test_public_file_whose_filter_may_be_missing(shared_data):
    path = shared_data / "files_in_the_wild" / "public" / "test_00_data_000001.h5"
    if not path.exists():
        pytest.skip("the public files are not here")
    try:
        import hdf5plugin  # noqa: F401
    except ImportError:
        with pytest.raises(ImportError, match=r"bitshuffle.*pip install hdf5plugin"):
            load(path)
    else:
        assert load(path).data.shape == (16, 192, 192)
