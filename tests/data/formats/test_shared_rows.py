"""Rows of the README of the files in the wild that are of no text; those of text are in `test_shared_text`."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import numpy as np
import pytest

from jaxunmix.cli import main
from jaxunmix.cli.inputs import Preparation, Source, load_image
from jaxunmix.cli.spectrum import mean_spectrum
from jaxunmix.data.io import load

HERE = Path(__file__)


def test_each_file_is_in_a_test(wild):
    tests = "".join(path.read_text() for path in HERE.parent.glob("test_*.py"))
    names = [path.name for folder in ("public", "made") for path in (wild / folder).iterdir()]
    assert names
    assert [name for name in names if name not in tests] == []


def test_each_row_is_of_files_that_are_there(wild):
    rows = re.findall(r"(?m)^\| ((?:public|made)/[^|]*)\|", (wild / "README.md").read_text())
    assert len(rows) == 21  # more rows, more tests


@pytest.mark.parametrize(
    ("name", "dims", "shape", "spectral", "kind"),
    [
        ("EELS_SI.dm4", ("y", "x", "Energy loss"), (2, 2, 2048), ("Energy loss",), "EELS"),
        ("test1.blo", ("y", "x", "dy", "dx"), (3, 2, 144, 144), ("dy", "dx"), "diffraction"),
        ("xaxis_other.img", ("Vertical CCD Position", "Uncalibrated X axis"), (508, 672), ..., None),
        ("sparc-hyperspectral.h5", ("Y", "X", "Wavelength"), (3, 2, 128), ("Wavelength",), "CL_SEM"),
    ],
)
def test_vendors_files(wild, name, dims, shape, spectral, kind):
    pytest.importorskip("rsciio", reason="RosettaSciIO is an optional extra")
    if name.endswith(".blo"):
        pytest.importorskip("skimage", reason="RosettaSciIO reads .blo by scikit-image")
    img = load(wild / "public" / name)
    assert img.data.dims == dims
    assert img.data.shape == shape
    assert img.signal_dims == (dims if spectral is ... else spectral)
    assert img.data.attrs.get("signal_type") == kind
    assert set(img.data.coords) == set(dims)


def test_the_extra_for_vendors_brings_what_readers_need():
    """But for pyUSID, which asks for a hundred packages, and zspy, which is read here by zarr 3."""
    try:
        offered = set(metadata("rosettasciio").get_all("Provides-Extra"))
    except PackageNotFoundError:
        pytest.skip("RosettaSciIO is an optional extra")
    project = tomllib.loads((HERE.parents[3] / "pyproject.toml").read_text())["project"]
    ours = " ".join(project["optional-dependencies"]["vendor"])
    asked = set(re.search(r"rosettasciio\[(.*?)\]", ours).group(1).split(","))
    h5py = {"app5", "arina", "tofwerk"}  # with hdf5plugin, all that these ask for
    assert "hdf5plugin" in ours
    assert asked <= offered
    no_reader = {"all", "dev", "doc", "tests", "speed", "scalebar-export"}
    assert offered - asked - h5py - no_reader <= {"usid", "zspy"}


@pytest.mark.parametrize("name", ["public/Nope.bcf", "made/trunc.bcf", "made/trunc.dm4", "made/trunc.msa"])
def test_damaged_files(wild, tmp_path, capsys, name):
    pytest.importorskip("rsciio", reason="RosettaSciIO is an optional extra")
    path = wild / name
    assert main(["unmix", str(path), "--components", "2", "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert re.fullmatch(rf"error: cannot read {re.escape(path.name)}: .*\n", told.err), told.err
    assert "report" not in told.err


@pytest.mark.parametrize(
    ("name", "ends"), [("made/u.xdi", (7100, 7200)), ("made/upper.xdi", (400, 600)), ("made/kev.h5", (7100, 7200))]
)
def test_units_are_converted(wild, name, ends):
    np.testing.assert_allclose(mean_spectrum(load(wild / name))[0][[0, -1]], ends, rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "given", "shape"),
    [
        ("made/eds.hspy", {"crop": ["energy=0.2:"]}, (6, 7, 78)),
        ("made/nanborder.npz", {"mask_non_finite": True}, (30,)),
        ("made/dup.npz", {"merge": 0.0}, (6, 7, 79)),
    ],
)
def test_options_of_the_command_line(wild, name, given, shape):
    merge = {"merge": given.pop("merge")} if "merge" in given else {}
    source = Source(wild / name, None, None, None, None, None, None, **merge)
    steps = Preparation(given.get("crop"), None, False, None, given.get("mask_non_finite", False))
    img = load_image(source, steps, None, True)
    assert (img.data.shape if len(shape) == 3 else (img.grid.size,)) == shape
