"""SPEC files with several scans: each is known by its number, and which one is meant is asked."""

import numpy as np
import pytest

from jaxunmix.data.formats.select import ArrayChoiceError
from jaxunmix.data.io import list_arrays, load

ENERGY = np.array([400.0, 402.5, 405.0, 407.5, 410.0])
COUNTS = np.array([[3, 8, 2, 7, 1], [9, 2, 5, 1, 8], [1, 6, 9, 3, 2]], float)


def rows_of(*columns):
    return "".join(" ".join(f"{v:g}" for v in row) + "\n" for row in np.transpose(columns))


def spec(*scans):
    heads = "#F a.dat\n#E 1\n#O0 Theta  Two Theta\n\n"
    return heads + "\n".join(f"#S {n}\n#D Mon\n#N 2\n#L Energy  {names}\n{rows}" for n, names, rows in scans)


FIRST = ("1  ascan energy 400 410 4 1", "i0  mu", rows_of(ENERGY, *COUNTS[:2]))
SECOND = ("2  ascan energy 400 405 2 1", "mu", rows_of(ENERGY[:3], COUNTS[2, :3]) + "#C end\n")


@pytest.fixture
def write(tmp_path):
    def write(text, name="a.dat"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_several_scans_are_asked_about(write):
    path = write(spec(FIRST, SECOND))
    listed = (
        r'a\.dat holds 3 arrays.*array="\.\.\.".*--array.*\n  scan1/i0  \(5,\).*\n  scan1/mu .*\n  scan2/mu  \(3,\)'
    )
    with pytest.raises(ArrayChoiceError, match=listed):
        load(path)
    with pytest.raises(ArrayChoiceError, match="2 arrays called 'mu'"):
        load(path, "mu")
    np.testing.assert_array_equal(load(path, "scan1/mu").data, COUNTS[1])
    img = load(path, "scan2/mu")
    np.testing.assert_array_equal(img.data, COUNTS[2, :3])
    np.testing.assert_array_equal(img.data.energy, ENERGY[:3])
    assert img.data.name == "mu"
    assert img.provenance[0]["parameters"]["array"] == "scan2/mu"


def test_scans_that_cannot_be_read_are_no_hindrance(write):
    aborted = ("3  ascan energy", "mu", "#C aborted\n")
    spoilt = ("4  ascan energy", "mu", "400 1\n401 x\n")
    np.testing.assert_array_equal(load(write(spec(aborted, SECOND))).data, COUNTS[2, :3])
    path = write(spec(FIRST, spoilt, aborted, SECOND, SECOND))
    np.testing.assert_array_equal(load(path, "scan1/mu").data, COUNTS[1])
    assert [n for n, _, _ in list_arrays(path)][2:] == ["scan4/unread", "scan2/mu", "scan2.2/mu"]
    with pytest.raises(ValueError, match=r"a\.dat, line 20: not numbers: '401 x'"):
        load(path, "scan4/unread")
    with pytest.raises(ArrayChoiceError, match=r"\n  scan4/unread  \(2,\).*\n  scan2/mu"):
        load(write(spec(spoilt, SECOND)))
    with pytest.raises(ValueError, match=r"a\.dat, line 10: not numbers"):
        load(write(spec(spoilt, aborted, spoilt)))
    path = write(spec(FIRST, SECOND, ("3 ascan", "i0  mu", rows_of(ENERGY, *COUNTS[1:]))))
    several = load(path, "scan3/columns", columns="i0,mu")
    np.testing.assert_array_equal(several.data, COUNTS[1:])
    with pytest.raises(ValueError, match=r"a\.dat: columns='i0' is none of its 2 columns"):
        load(path, "scan2/unread", columns="i0,mu")
