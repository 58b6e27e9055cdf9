"""What `load` makes of a file against what `hyperspy.load` does: values, axes and kind of signal."""

import contextlib
import itertools
import shutil
import warnings

import numpy as np
import pytest

from jaxunmix.data.axes import quantity_units
from jaxunmix.data.io import load

EACH = {(navigation, spectral) for navigation in range(3) for spectral in (1, 2)}
# RosettaSciIO's names of the formats it writes, and the numbers of navigation and signal axes that each can hold.
WRITERS = {
    "Blockfile": {(1, 2), (2, 2)},
    "DigitalSurf": EACH - {(2, 2)},
    "EMD": EACH,
    "HSPY": EACH,
    "Image": {(0, 2)},
    "MRCZ": {(1, 2)},
    "MSA": {(0, 1)},
    "NeXus": EACH,
    "PantaRhei": EACH,
    "Ripple": EACH - {(2, 2)},
    "Semper": EACH - {(2, 2)},
    "TIFF": {(0, 2), (1, 2)},
    "TVIPS": {(1, 2), (2, 2)},
    "USID": EACH,
    "ZSPY": EACH,
    "numpy": EACH,
}
# Formats that do not say which axes are the map's: HyperSpy takes all for the signal's.
UNMARKED = ("USID", "numpy")
# Suffixes of images for which pillow writes black and white only, which is no intensity.
BLACK_AND_WHITE = {"msp", "xbm"}
DTYPES = ("u1", "<i2", ">i4", ">f8", ">u2", "<f4", ">f4")
# All of them with one navigation axis; these, of which each format takes some, with none and with two.
FEW = DTYPES[-3:]
# Files that HyperSpy reads too, and RosettaSciIO's name of the format, where several know the suffix.
FILES = {
    "public/EELS_SI.dm4": None,
    "public/test1.blo": None,
    "public/xaxis_other.img": "Hamamatsu",
    "public/sparc-hyperspectral.h5": "Delmic",
    "public/renishaw_test_focustrack_invariant.wdf": None,
    "made/eds.hspy": None,
}


@contextlib.contextmanager
def quiet():
    """HyperSpy and the readers warn of what is of no concern here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def text(value):
    return value if isinstance(value, str) and value not in ("", "<undefined>") else None


def assert_alike(ours, signal, marked=True, uncalibrated=()):
    """Compare values, axes, units and kind of signal.

    Args:
        ours: what `load` gives.
        signal: HyperSpy's.
        marked: whether the file says which axes are the map's.
        uncalibrated: names of the axes that HyperSpy numbers because the file has no coordinate of them.
    """
    assert ours.data.shape == signal.data.shape
    np.testing.assert_array_equal(ours.data.values, signal.data)
    assert ours.data.dtype == signal.data.dtype.newbyteorder("=")
    axes = signal.axes_manager._axes
    assert [d in ours.signal_dims for d in ours.data.dims] == [not a.navigate for a in axes] or not marked
    names = [text(a.name) for a in axes]
    for dim, name, axis in zip(ours.data.dims, names, axes, strict=True):
        if name is not None and names.count(name) == 1:
            assert dim == name
        if name in uncalibrated or (axis.is_uniform and axis.scale == 0):
            assert dim not in ours.data.coords
            continue
        np.testing.assert_allclose(ours.data.coords[dim], axis.axis, rtol=1e-12, atol=1e-12)
        assert ours.data.coords[dim].attrs.get("units") == text(axis.units)
    told = signal.metadata.Signal
    assert ours.data.attrs.get("signal_type", "") == told.signal_type
    quantity = told.get_item("quantity", default=None)
    assert ours.data.attrs.get("units") == quantity_units(quantity).get("intensity")


@pytest.mark.parametrize("name", FILES)
def test_files_of_others(shared_data, hs, name):
    path = shared_data / "files_in_the_wild" / name
    if not path.exists():
        pytest.skip(f"shared/data/files_in_the_wild/{name} is not here")
    with quiet():
        signal = hs.load(path, reader=FILES[name])
        ours = load(path)
    # A file whose depth does not change has no coordinate of depth, which HyperSpy numbers.
    assert_alike(ours, signal, uncalibrated=("Z",) if "invariant" in name else ())


def test_all_that_rosettasciio_writes_is_compared():
    rsciio = pytest.importorskip("rsciio", reason="RosettaSciIO is an optional extra")
    assert {p["name"] for p in rsciio.IO_PLUGINS if p["writes"]} <= set(WRITERS)


def example(hs, navigation, spectral, dtype, square=False):
    """A signal, in the other byte order than Intel's with a title, a kind and units of its values."""
    shape = (2, 3, 4)[3 - navigation :] + ((6, 6) if square else (5, 6))[2 - spectral :]
    values = (np.arange(np.prod(shape)) % 200).reshape(shape).astype(dtype)
    signal = {1: hs.signals.Signal1D, 2: hs.signals.Signal2D}[spectral](values)
    names = ("z", "y", "x")[3 - navigation :] + (("Energy",) if spectral == 1 else ("height", "width"))
    for i, (axis, name) in enumerate(zip(signal.axes_manager._axes, names, strict=True)):
        axis.name, axis.scale, axis.offset = name, 0.5 * (i + 1), 1.5 * i - 1
        axis.units = "um" if i < navigation else "keV" if spectral == 1 else "1/nm"
    if dtype.startswith(">"):
        told = signal.metadata
        told.General.title, told.Signal.quantity = "a map", "Current (nA)"
        told.Signal.signal_type = "EELS" if spectral == 1 else "electron_diffraction"
    return signal


@pytest.fixture
def plugin_of(monkeypatch):
    """RosettaSciIO's entry for a format, whose writer can be called here."""

    def find(name):
        rsciio = pytest.importorskip("rsciio", reason="RosettaSciIO is an optional extra")
        if name == "ZSPY":
            write_with_zarr_3(monkeypatch)
        if name == "USID" and not hasattr(np, "product"):  # which pyUSID calls, and NumPy 2 has no more
            monkeypatch.setattr(np, "product", np.prod, raising=False)
        plugin = next((p for p in rsciio.IO_PLUGINS if p["name"] == name), None)
        return plugin or pytest.skip(f"this RosettaSciIO does not know {name}")

    return find


def write_with_zarr_3(monkeypatch):
    """RosettaSciIO 0.15 reads by zarr 3, and writes if it finds zarr 2's names; the files are the same."""
    zarr = pytest.importorskip("zarr", reason="zarr is an optional extra")
    missing = [(zarr, n, type(n, (), {})) for n in ("ZipStore", "DBMStore", "LMDBStore")]
    for module, name, stand_in in [(zarr.storage, "NestedDirectoryStore", zarr.storage.LocalStore), *missing]:
        if not hasattr(module, name):
            monkeypatch.setattr(module, name, stand_in, raising=False)
    monkeypatch.setitem(zarr.config.config, "default_zarr_format", 2)


def save(signal, folder, writer, suffix, **options):
    """The file that RosettaSciIO writes, or None where the format does not take such a signal."""
    folder.mkdir()
    try:
        with quiet():
            signal.save(folder / f"a.{suffix}", file_format=writer, **options)
    except ImportError as error:
        pytest.skip(f"{writer} needs {error.name}, which is not installed")
    except Exception:  # which shapes and dtypes a format takes, only its writer knows
        return None
    return next(folder.glob(f"a*.{suffix}"), None)


def compare(hs, path, writer):
    """Whether both read the file, and then that they read the same."""
    with quiet():
        signal = hs.load(path, reader=writer)
        # NeXus gives the axes as further signals.
        signal = signal[0] if isinstance(signal, list) else signal
        if signal.axes_manager.signal_dimension == 0:
            with pytest.raises(ValueError, match="marks all its axes"):
                load(path)
            return False
        ours = load(path)
    numbered = [text(a.name) for a in signal.axes_manager._axes] if writer == "numpy" else ()
    assert_alike(ours, signal, writer not in UNMARKED, numbered)
    return True


@pytest.mark.parametrize("writer", WRITERS)
def test_what_rosettasciio_writes(tmp_path, hs, plugin_of, writer):
    plugin = plugin_of(writer)
    suffix = plugin["file_extensions"][plugin["default_extension"]]
    compared = set()
    for navigation, spectral, dtype in itertools.product(range(3), (1, 2), DTYPES):
        if (navigation != 1 or writer == "ZSPY") and dtype not in FEW:  # zarr takes its time over many small files
            continue
        signal = example(hs, navigation, spectral, dtype, square=writer == "Blockfile")
        path = save(signal, tmp_path / f"{navigation}{spectral}{dtype}", writer, suffix)
        if path is not None and compare(hs, path, writer):
            compared.add((navigation, spectral, dtype))
    assert {case[:2] for case in compared} == WRITERS[writer]
    orders = {dtype[0] for _, _, dtype in compared}
    assert orders >= ({">"} if writer == "Image" else {"<", ">"})


def test_images_of_every_suffix(tmp_path, hs, plugin_of):
    compared = set()
    suffixes = {s.lower() for s in plugin_of("Image")["file_extensions"]}
    for suffix, dtype in itertools.product(sorted(suffixes), ("u1", ">u2", "<i2", "<f4")):
        path = save(example(hs, 0, 2, dtype), tmp_path / f"{suffix}{dtype}", "Image", suffix)
        if path is not None and compare(hs, path, "Image"):
            compared.add(suffix)
    assert compared == suffixes - BLACK_AND_WHITE


@pytest.mark.parametrize(
    ("writer", "axes", "options"),
    [
        ("Blockfile", (2, 2), {"endianness": ">"}),
        ("HSPY", (2, 1), {"compression": "lzf"}),
        ("MRCZ", (1, 2), {"endianness": ">"}),
        ("MSA", (0, 1), {"format": "XY"}),
        ("TIFF", (1, 2), {"byteorder": ">"}),
        ("TIFF", (1, 2), {"byteorder": "<"}),
        ("TIFF", (0, 2), {"export_scale": False}),
    ],
)
def test_what_rosettasciio_writes_otherwise(tmp_path, hs, plugin_of, writer, axes, options):
    plugin = plugin_of(writer)
    suffix = plugin["file_extensions"][plugin["default_extension"]]
    path = save(example(hs, *axes, ">u2", square=True), tmp_path / "made", writer, suffix, **options)
    assert compare(hs, path, writer)


@pytest.mark.parametrize("writer", ["HSPY", "ZSPY"])
def test_axes_whose_steps_differ(tmp_path, hs, plugin_of, writer):
    suffix = plugin_of(writer)["file_extensions"][0]
    energy = {"_type": "DataAxis", "name": "Energy", "units": "eV", "axis": [1.0, 2, 4, 8, 9, 11], "navigate": False}
    place = {"name": "x", "size": 4, "scale": 0.5, "units": "um", "navigate": True}
    with quiet():
        signal = hs.signals.Signal1D(np.arange(24.0).reshape(4, 6), axes=[place, energy])
    assert compare(hs, save(signal, tmp_path / "made", writer, suffix), writer)


def test_zspy_in_a_zip_archive(tmp_path, hs, plugin_of):
    plugin_of("ZSPY")
    folder = save(example(hs, 2, 1, ">f4"), tmp_path / "made", "ZSPY", "zspy")
    shutil.make_archive(str(folder), "zip", folder)
    path = folder.with_name("a.zspy.zip").rename(tmp_path / "b.zspy")
    assert compare(hs, path, "ZSPY")
