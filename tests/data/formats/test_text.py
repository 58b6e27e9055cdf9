"""Columns, XDI and Athena projects."""

import csv
import gzip
import json

import numpy as np
import pandas as pd
import pytest

from jaxunmix.data.formats.select import ArrayChoiceError
from jaxunmix.data.io import list_arrays, load


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
    np.savetxt(path, [[1, 0, 5, 2], [0, 3, 1, 4], [2, 2, 0, 1]])
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


SPECTRA = pd.DataFrame([[3, 8, 2, 7], [9, 2, 5, 1], [1, 6, 9, 3]], columns=[400.5, 402.0, 405.0, 410.0])


@pytest.mark.parametrize(
    ("frame", "options"),
    [
        (SPECTRA, {}),
        (SPECTRA, {"sep": ";", "decimal": ","}),
        (SPECTRA, {"sep": "\t", "encoding": "utf-16"}),
        (SPECTRA, {"index_label": "index", "quoting": csv.QUOTE_ALL}),
        (SPECTRA.set_axis(pd.Index(SPECTRA.columns, name="energy"), axis=1), {}),
        (SPECTRA.set_axis(range(1, 4), axis=0), {"lineterminator": "\r\n"}),
    ],
)
def test_spectra_as_pandas_writes_them(tmp_path, frame, options):
    frame.to_csv(tmp_path / "a.csv", **options)
    img = load(tmp_path / "a.csv")
    assert img.data.dims == ("x", "energy")
    np.testing.assert_array_equal(img.data, SPECTRA.values)
    np.testing.assert_array_equal(img.data.energy, SPECTRA.columns)


@pytest.mark.parametrize(
    ("frame", "options", "message", "given", "dim"),
    [
        (SPECTRA, {"index": False}, r"first row goes from 400\.5 to 410", None, "x"),
        (SPECTRA, {"index_label": "sample"}, r"from 400\.5 to 410, but before them there is column 1", "2:", "sample"),
        (SPECTRA.set_axis([3, 5, 8], axis=0), {}, r"before them there is column 1", "2:", "column1"),
    ],
)
def test_what_pandas_writes_and_may_be_something_else_is_asked_about(tmp_path, frame, options, message, given, dim):
    frame.to_csv(tmp_path / "a.csv", **options)
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "a.csv")
    img = load(tmp_path / "a.csv", axis="row", columns=given)
    assert img.data.dims == (dim, "energy")
    np.testing.assert_array_equal(img.data, SPECTRA.values)
    np.testing.assert_array_equal(img.data.energy, SPECTRA.columns)
    if dim != "x":
        np.testing.assert_array_equal(img.data[dim], frame.index)


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("options", [{}, {"sep": ";", "decimal": ","}, {"sep": "\t"}])
def test_maps_as_pandas_writes_them(tmp_path, options, index):
    cube = np.random.default_rng(0).integers(0, 9, (2, 3, 4)) / 4
    places = pd.MultiIndex.from_product([[0.5, 1], [0, 2, 4]], names=["y (um)", "x (um)"])
    wide = pd.DataFrame(cube.reshape(6, 4), index=places, columns=pd.Index(SPECTRA.columns, name="energy (eV)"))
    wide.to_csv(tmp_path / "wide.csv", **options)
    wide.stack().rename("counts").reset_index().to_csv(tmp_path / "long.csv", index=index, **options)
    for name in ("wide.csv", "long.csv"):
        img = load(tmp_path / name)
        assert img.data.dims == ("y", "x", "energy")
        np.testing.assert_array_equal(img.data, cube)
        np.testing.assert_array_equal(img.data.y, [0.5, 1])
        np.testing.assert_array_equal(img.data.energy, SPECTRA.columns)
        assert img.data.x.attrs["units"] == "um"
        assert (img.data.energy.attrs.get("units") == "eV") == (name == "long.csv")  # a header has no place for it


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


@pytest.mark.parametrize("shift", ["-5.04", "2", "0", "undef", None])
def test_athena_shows_energies_with_the_shift_of_the_group(tmp_path, shift):
    path = tmp_path / "a.prj"
    given = "" if shift is None else f"'bkg_eshift',{shift if shift == 'undef' else repr(shift)},"
    path.write_text(
        f"$old_group = 'abcd';\n@args = ('titles',['one, two','three'],{given}'label','foil');\n"
        "@x = ('7000','7001.5','7003');\n@y = ('0.1','0.2','0.4');\n[record]\n"
    )
    img = load(path, "foil")
    number = 0 if shift in (None, "undef") else float(shift)
    np.testing.assert_allclose(img.data.energy, np.array([7000, 7001.5, 7003]) + number)
    assert img.provenance[0]["parameters"].get("energy_shift_eV", 0) == number


def athena_json():
    def group(label, **args):
        return {"args": {"label": label, "bkg_e0": "7112", **args}, "x": ["7000", "7001.5"], "y": [0.5, "0.75"]}

    return {
        "_____header1": "# Athena project file -- Demeter version 0.9.26",
        "zzzz": group("oxide", bkg_eshift="1.5"),
        "aaaa": group("foil", bkg_eshift=0),
        "bbbb": group("foil", bkg_eshift=""),
        "_____journal": [],
        "_____order": ["aaaa", "zzzz"],
    }


@pytest.mark.parametrize("pack", [gzip.compress, bytes])
def test_athena_json(tmp_path, pack):
    path = tmp_path / "a.prj"
    path.write_bytes(pack(json.dumps(athena_json()).encode()))
    assert [n for n, _, _ in list_arrays(path)] == ["foil", "oxide", "foil (bbbb)"]
    np.testing.assert_array_equal(load(path, "foil").data.energy, [7000, 7001.5])
    oxide = load(path, "oxide")
    np.testing.assert_array_equal(oxide.data.energy, [7001.5, 7003])
    np.testing.assert_array_equal(oxide.data, [0.5, 0.75])
    assert oxide.provenance[0]["parameters"]["energy_shift_eV"] == 1.5


@pytest.mark.parametrize("text", ['{"aaaa": {"args": {}, "x": [', '{"a": 1}', "nothing", ""])
def test_bad_athena(tmp_path, text):
    path = tmp_path / "a.prj"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"cannot read a\.prj: .*not an Athena project"):
        load(path)


@pytest.mark.parametrize(
    ("columns", "unit", "name"),
    [
        ("# column.1: Energy keV\n# column.2: I0\n# column.3: ITRANS\n", "keV", "mutrans"),
        ("# Column.1: ENERGY KEV\n# Column.2: MuTrans\n# Column.3: i0\n", "keV", "MuTrans"),
        ("# COLUMN.1: energy ev || PV:name\n# COLUMN.2: i0\n# COLUMN.3: IFluor\n", "eV", "mufluor"),
        ("# Column.1: energy\n# Column.2: mutrans\n# Column.3: i0\n", None, "mutrans"),
    ],
)
def test_xdi_names_and_units_have_no_case(tmp_path, columns, unit, name):
    path = tmp_path / "a.xdi"
    path.write_text(f"# xdi/1.0\n{columns}#---\n7.1 2 1\n7.2 3 1\n")
    img = load(path)
    assert img.data.name == name
    np.testing.assert_array_equal(img.data.energy, [7.1, 7.2])
    assert img.data.energy.attrs.get("units") == unit
    assert load(path, columns="2:3").data.shape == (2, 2)


def test_xdi_unit_that_may_be_two(tmp_path):
    path = tmp_path / "a.xdi"
    path.write_text("# XDI/1.0\n# Column.1: energy MEV\n# Column.2: mutrans\n#---\n7.1 2\n7.2 3\n")
    with pytest.raises(ValueError, match=r"a\.xdi: the unit of the energy, 'MEV', may be meV or MeV"):
        load(path)
