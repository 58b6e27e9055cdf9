"""Columns, XDI and Athena projects."""

import gzip

import numpy as np
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
