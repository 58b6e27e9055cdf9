"""What `load` makes of a file against what `hyperspy.load` does: values, axes and kind of signal."""

import contextlib
import itertools
import warnings

import numpy as np
import pytest

from jaxunmix.data.io import load

# RosettaSciIO's names of the formats it writes, and why one is not compared here.
WRITERS = {
    "Blockfile": None,
    "DigitalSurf": None,
    "EMD": None,
    "HSPY": None,
    "Image": None,
    "MRCZ": None,
    "MSA": None,
    "NeXus": None,
    "PantaRhei": None,
    "Ripple": None,
    "Semper": None,
    "TIFF": None,
    "TVIPS": None,
    "USID": None,
    "ZSPY": "RosettaSciIO writes it with zarr 2 only",
    "numpy": "it keeps no labels, and ours are those of a spectrum image",
}
DTYPES = ("u1", "<i2", ">u2", ">i4", "<f4", ">f4", ">f8")
# Public files and RosettaSciIO's name of the format, where several know the suffix.
PUBLIC = {
    "EELS_SI.dm4": None,
    "test1.blo": None,
    "xaxis_other.img": "Hamamatsu",
    "sparc-hyperspectral.h5": "Delmic",
    "renishaw_test_focustrack_invariant.wdf": None,
}


@contextlib.contextmanager
def quiet():
    """HyperSpy and the readers warn of what is of no concern here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def text(value):
    return value if isinstance(value, str) and value not in ("", "<undefined>") else None


def assert_alike(ours, signal, uncalibrated=()):
    assert ours.data.shape == signal.data.shape
    np.testing.assert_array_equal(ours.data.values, signal.data)
    assert ours.data.dtype == signal.data.dtype.newbyteorder("=")
    axes = signal.axes_manager._axes
    assert [d in ours.signal_dims for d in ours.data.dims] == [not a.navigate for a in axes]
    names = [text(a.name) for a in axes]
    for dim, name, axis in zip(ours.data.dims, names, axes, strict=True):
        if name is not None and names.count(name) == 1:
            assert dim == name
        if name in uncalibrated:
            assert dim not in ours.data.coords
            continue
        np.testing.assert_allclose(ours.data.coords[dim], axis.axis, rtol=1e-12, atol=1e-12)
        assert ours.data.coords[dim].attrs.get("units") == text(axis.units)
    assert ours.data.attrs.get("signal_type", "") == signal.metadata.Signal.signal_type


@pytest.mark.parametrize("name", PUBLIC)
def test_public_files(shared_data, hs, name):
    path = shared_data / "files_in_the_wild" / "public" / name
    if not path.exists():
        pytest.skip(f"shared/data/files_in_the_wild/public/{name} is not here")
    with quiet():
        signal = hs.load(path, reader=PUBLIC[name])
        ours = load(path)
    # A file whose depth does not change has no coordinate of depth, which HyperSpy numbers.
    assert_alike(ours, signal, ("Z",) if "invariant" in name else ())


def test_all_that_rosettasciio_writes_is_compared():
    rsciio = pytest.importorskip("rsciio")
    assert {p["name"] for p in rsciio.IO_PLUGINS if p["writes"]} <= set(WRITERS)


def example(hs, navigation, spectral, dtype, square):
    shape = (2, 3, 4)[3 - navigation :] + ((6, 6) if square else (5, 6))[2 - spectral :]
    values = (np.arange(np.prod(shape)) % 200).reshape(shape).astype(dtype)
    signal = {1: hs.signals.Signal1D, 2: hs.signals.Signal2D}[spectral](values)
    names = ("z", "y", "x")[3 - navigation :] + (("Energy",) if spectral == 1 else ("height", "width"))
    for i, (axis, name) in enumerate(zip(signal.axes_manager._axes, names, strict=True)):
        axis.name, axis.scale, axis.offset = name, 0.5 * (i + 1), 1.5 * i - 1
        axis.units = "um" if i < navigation else "keV" if spectral == 1 else "1/nm"
    return signal


@pytest.mark.parametrize("writer", [n for n, why in WRITERS.items() if why is None])
def test_what_rosettasciio_writes(tmp_path, hs, writer):
    from rsciio import IO_PLUGINS

    plugin = next((p for p in IO_PLUGINS if p["name"] == writer), None)
    if plugin is None:
        pytest.skip(f"this RosettaSciIO does not know {writer}")
    suffix = plugin["file_extensions"][plugin["default_extension"]]
    compared = 0
    for n, (navigation, spectral, dtype) in enumerate(itertools.product(range(3), (1, 2), DTYPES)):
        try:
            with quiet():
                signal = example(hs, navigation, spectral, dtype, square=writer == "Blockfile")
                signal.save(tmp_path / f"a{n}_.{suffix}", file_format=writer)
        except ImportError as error:
            pytest.skip(f"{writer} needs {error.name}")
        except Exception:  # which shapes and dtypes a format takes, only its writer knows
            continue
        path = next(tmp_path.glob(f"a{n}_*.{suffix}"), None)
        if path is None:
            continue
        with quiet():
            signal = hs.load(path, reader=writer)
            # NeXus gives the axes as further signals.
            signal = signal[0] if isinstance(signal, list) else signal
            if signal.axes_manager.signal_dimension == 0:
                with pytest.raises(ValueError, match="marks all its axes"):
                    load(path)
                continue
            ours = load(path)
        constant = [a.name for a in signal.axes_manager._axes if a.is_uniform and a.scale == 0]
        assert_alike(ours, signal, constant)
        compared += 1
    assert compared > 0
