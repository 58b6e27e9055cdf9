"""Text tables as people have them: recognised where one thing can be meant, else asked about."""

import numpy as np
import pytest

from jaxunmix.data.formats.select import ArrayChoiceError
from jaxunmix.data.io import list_arrays, load

ENERGY = np.array([400.0, 402.5, 405.0, 407.5, 410.0])
# (energies, detectors), none of which rises or falls throughout
COUNTS = np.array([[3, 9, 1, 7], [8, 2, 6, 1], [2, 5, 9, 4], [7, 1, 3, 8], [1, 8, 2, 5]], float)


def text_of(rows, separator=",", comma=False):
    lines = [separator.join(f"{v:g}" for v in row) for row in rows]
    return "\n".join(line.replace(".", ",") if comma else line for line in lines) + "\n"


def with_energy(separator=",", comma=False):
    return text_of(np.column_stack([ENERGY, COUNTS]), separator, comma)


@pytest.fixture
def write(tmp_path):
    def write(text, name="a.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes(text.encode(encoding))
        return path

    return write


# --- columns of a beamline file

LARCH = "".join(
    f"# Column.{i + 1}: {name}\n" for i, name in enumerate(("energy eV", "i0", "itrans", "ifluor", "irefer"))
)


@pytest.mark.parametrize(
    ("head", "separator", "unit"),
    [
        ("# energy i0 itrans ifluor irefer\n", " ", None),
        ("# a comment\n# of several words, and more of them\n#energy\ti0\titrans\tifluor\tirefer\n", "\t", None),
        ("#F scan.dat\n#S 1 ascan\n#N 5\n#L Energy  i0  itrans  ifluor  irefer\n", " ", None),
        ("# Energy (eV)  i0  itrans  ifluor  irefer\n", "  ", "eV"),
        ("Energy (KEV),i0,itrans,ifluor,irefer\n", ",", "keV"),
        ("E / eV;i0;itrans;ifluor;irefer\n", ";", "eV"),
        ('"Energy, eV","i0","itrans","ifluor","irefer"\n', ",", "eV"),
        ("energy_meV\ti0\titrans\tifluor\tirefer\n", "\t", "meV"),
        ("Energy,i0,itrans,ifluor,irefer\neV,counts,counts,counts,\n", ",", "eV"),
        (LARCH, " ", "eV"),
        ("#" + "".join(n.ljust(12) for n in ("Mono Energy", "i0", "itrans", "ifluor", "irefer")) + "\n", "   ", None),
    ],
)
def test_columns_with_headings_of_many_kinds(write, head, separator, unit):
    path = write(head + with_energy(separator), "a.dat")
    with pytest.raises(ArrayChoiceError, match=r"i0.*\n.*itrans"):
        load(path)
    img = load(path, "itrans")
    assert img.data.dims == ("energy",)
    np.testing.assert_array_equal(img.data, COUNTS[:, 1])
    np.testing.assert_array_equal(img.data.energy, ENERGY)
    assert img.data.energy.attrs.get("units") == unit
    several = load(path, columns=["i0", "IFLUOR"])
    assert several.data.dims == ("x", "energy")
    np.testing.assert_array_equal(several.data, COUNTS[:, [0, 2]].T)
    assert several.data.coords["column"].values.tolist() == ["i0", "ifluor"]


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("", "first column goes from 400 to 410 as an axis would"),
        ("a,b,c,d,e\n", "none of its columns is called as an axis"),
        ("energy,energy_readback,c,d,e\n", "several may be the axis"),
        ("# made of five words only\n", "none of its columns"),
    ],
)
def test_columns_whose_axis_is_not_known_are_asked_about(write, head, message):
    path = write(head + with_energy())
    with pytest.raises(ValueError, match=rf"a\.csv: 5 rows of 5 numbers.*{message}[^\n]*\n.*axis=.*--axis.*--columns"):
        load(path)
    assert list_arrays(path)
    img = load(path, axis=1, columns="2:")
    np.testing.assert_array_equal(img.data, COUNTS.T)
    np.testing.assert_array_equal(img.data.energy, ENERGY)
    assert img.provenance[0]["parameters"]["axis"] == 1
    np.testing.assert_array_equal(load(path, axis="1", columns="3,5").data, COUNTS[:, [1, 3]].T)
    pixels = load(path, axis="none")
    assert pixels.data.dims == ("x", "energy")
    np.testing.assert_array_equal(pixels.data[:, 1:], COUNTS)


@pytest.mark.parametrize("separator", [",", ";", "\t", " "])
@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.dat"])
def test_an_axis_that_is_not_the_first_column(write, separator, name):
    path = write(text_of(np.column_stack([COUNTS[:, :1], ENERGY]), separator), name)
    with pytest.raises(ValueError, match="second column, not the first"):
        load(path)
    np.testing.assert_array_equal(load(path, axis=2).data, COUNTS[:, 0])


def test_energies_that_jitter_are_an_axis_too(write):
    energy = np.arange(100.0)
    energy[40] = 41.5
    path = write(text_of(np.column_stack([energy, *np.random.default_rng(0).random((3, 100))])))
    with pytest.raises(ValueError, match="first column goes from 0 to 99"):
        load(path)


def test_named_column_of_the_axis_or_its_values(write):
    path = write("bragg,mu,i0\n" + text_of(np.column_stack([ENERGY, COUNTS[:, :2]])))
    for given in ({"energy": "bragg"}, {"axis": "Bragg"}, {"energy": ENERGY}):
        img = load(path, "mu", **given)
        np.testing.assert_array_equal(img.data.energy, ENERGY)
        np.testing.assert_array_equal(img.data, COUNTS[:, 0])


# --- the axis in a row


@pytest.mark.parametrize("separator", [",", "\t", ";", " "])
def test_a_first_row_that_rises_is_asked_about(write, separator):
    path = write(text_of([ENERGY, *COUNTS.T], separator), "a.txt")
    with pytest.raises(ValueError, match=r"first row goes from 400 to 410 as an axis would \(axis='row'\)"):
        load(path)
    img = load(path, axis="row")
    np.testing.assert_array_equal(img.data, COUNTS.T)
    np.testing.assert_array_equal(img.data.energy, ENERGY)
    assert load(path, axis="none").data.shape == (5, 5)


@pytest.mark.parametrize(
    ("corner", "separator", "start"),
    [("index", ",", 0), ("", ",", 0), ("Unnamed: 0", ",", 0), ("", "\t", 1), ("", ";", 0)],
)
def test_an_index_is_no_data(write, corner, separator, start):
    head = separator.join([corner, *(f"{e:g}" for e in ENERGY)]) + "\n"
    path = write(head + text_of(np.column_stack([np.arange(4) + start, COUNTS.T]), separator))
    img = load(path)
    np.testing.assert_array_equal(img.data, COUNTS.T)
    np.testing.assert_array_equal(img.data.energy, ENERGY)
    assert "an index" in img.provenance[0]["parameters"]["left_out"]
    columns = np.column_stack([np.arange(5), ENERGY, COUNTS[:, 0]])
    path = write(f"{corner}{separator}energy{separator}mu\n" + text_of(columns, separator))
    np.testing.assert_array_equal(load(path).data, COUNTS[:, 0])


@pytest.mark.parametrize("first", [[0.3, 0.6, 0.9, 1.2], [9, 7, 8, 3], [1, 1, 2, 2]])
def test_a_column_before_the_energies_that_may_be_anything_is_asked_about(write, first):
    path = write("," + ",".join(f"{e:g}" for e in ENERGY) + "\n" + text_of(np.column_stack([first, COUNTS.T])))
    with pytest.raises(ValueError, match=r"named by numbers from 400 to 410, but before them there is column 1"):
        load(path)
    np.testing.assert_array_equal(load(path, axis="row", columns="2:").data.energy, ENERGY)


def test_the_corner_may_name_the_row_or_the_column(write):
    pixels = write("energy,1,2,3,4\n" + with_energy())
    np.testing.assert_array_equal(load(pixels, "2").data.energy, ENERGY)
    both = write("energy,400,402,404,406\n" + with_energy())
    with pytest.raises(ValueError, match="both the names of the columns and column 1"):
        load(both)


def test_names_of_the_rows_energies_in_a_comment(write):
    path = write("# " + " ".join(f"{e:g}" for e in ENERGY) + "\n" + text_of(COUNTS.T, " "), "a.txt")
    np.testing.assert_array_equal(load(path).data.energy, ENERGY)


# --- places


PLACES = [(0.5 * x, 2.0 * y) for y in range(3) for x in range(2)]
CUBE = np.random.default_rng(1).integers(0, 99, (3, 2, 5)).astype(float)


def long_table(separator=","):
    rows = [(*p, e, v) for p, s in zip(PLACES, CUBE.reshape(6, 5), strict=True) for e, v in zip(ENERGY, s, strict=True)]
    return rows, text_of(rows, separator)


@pytest.mark.parametrize(
    ("head", "separator", "unit"),
    [
        ("x,y,energy,counts\n", ",", None),
        ("#X\t#Y\t#Energy\t#Intensity\n", "\t", None),
        ("x (um) y (um) energy (eV) counts\n", " ", "um"),
    ],
)
def test_a_long_table_is_a_map(write, head, separator, unit):
    rows, text = long_table(separator)
    img = load(write(head + text, "a.txt"))
    assert img.data.dims == ("y", "x", "energy")
    np.testing.assert_array_equal(img.data, CUBE)
    np.testing.assert_array_equal(img.data.x, [0, 0.5])
    np.testing.assert_array_equal(img.data.energy, ENERGY)
    assert img.data.x.attrs.get("units") == unit
    mixed = [rows[i] for i in np.random.default_rng(2).permutation(len(rows))]
    np.testing.assert_array_equal(load(write(head + text_of(mixed, separator), "a.txt")).data, CUBE)


@pytest.mark.parametrize(
    ("head", "columns"), [("", (3, 4)), ("fast,slow,energy,counts\n", ("energy", "counts")), ("a,b,c,d\n", ("c", "d"))]
)
def test_a_long_table_without_known_places_is_asked_about(write, head, columns):
    path = write(head + long_table()[1])
    with pytest.raises(ValueError, match=r"cannot be known"):
        load(path)
    img = load(path, axis=columns[0], columns=columns[1])
    assert img.data.shape == (2, 3, 5)
    np.testing.assert_array_equal(img.data.transpose(*img.data.dims[1::-1], ...), CUBE)


def test_a_long_table_with_a_row_missing_is_refused(write):
    path = write("x,y,energy,counts\n" + long_table()[1].rsplit("\n", 2)[0] + "\n")
    with pytest.raises(ValueError, match=r"a\.csv: 'energy' repeats, and not with the same values at each of the 6"):
        load(path)


def test_places_before_the_energies(write):
    head = "x,y," + ",".join(f"{e:g}" for e in ENERGY) + "\n"
    table = np.column_stack([PLACES, CUBE.reshape(6, 5)])
    img = load(write(head + text_of(table)))
    assert img.data.dims == ("y", "x", "energy")
    np.testing.assert_array_equal(img.data, CUBE)
    scattered = load(write(head + text_of(table[[0, 3, 4]])))
    assert scattered.data.dims == ("pixel", "energy")
    np.testing.assert_array_equal(scattered.data.x, [0, 0.5, 0])
    unnamed = write("\t\t" + head[4:].replace(",", "\t") + text_of(table, "\t"), "a.txt")
    with pytest.raises(ValueError, match="before them there is column 1 and column 2"):
        load(unnamed)
    assert load(unnamed, axis="row", columns="3:").data.shape == (2, 3, 5)


# --- decimal signs, encodings, other text


@pytest.mark.parametrize("separator", [";", "\t", "  "])
@pytest.mark.parametrize("head", ["", "energy{0}mu{0}i0\n", "# energy{0}mu{0}i0\n"])
def test_decimal_commas(write, separator, head):
    values = np.column_stack([ENERGY + 0.25, COUNTS[:, 0] / 8, COUNTS[:, 1] / 1000])
    path = write(head.format(separator) + text_of(values, separator, comma=True), "a.txt")
    img = load(path, axis=1, columns=[2, 3])
    np.testing.assert_array_equal(img.data.energy, values[:, 0])
    np.testing.assert_array_equal(img.data, values[:, 1:].T)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("400,05,1,50\n402,06,2,50\n", "decimal commas between commas"),
        ("energy,mu\n400,53,1,00\n402,06,2,00\n", "decimal commas between commas|4 columns, named"),
        ("1,500;2,500\n1,600;3,700\n", "'1,500' may have a decimal comma or one between thousands"),
        ("1.500,5;2\n1.600,5;3\n", "signs between thousands"),
        ("energy;mu\n400;1\n401;2\nend of scan\n", "line 4: not numbers"),
        ("#L energy  mu\n1 2\n2 3\n#L energy  i0\n1 2\n", "line 4: a further table begins"),
        ("1 2\n2 3\n#S 2 ascan\n1 2\n", "line 3: a further table begins"),
        ("#S 1 ascan\n#L energy  mu\n#S 2 ascan\n#C aborted\n", "no row of numbers"),
        ("energy,mu,mu\n1,2,3\n2,3,4\n", "give each its own name"),
        ("energy,mu\n1,2,3\n3,3,4\n", "3 columns, named"),
        ("", "no row of numbers"),
        (",400,401,402\nsample 1,5,2,3\nsample 2,1,6,2\n", r"rows begin with text \('sample 2'\)"),
        ("day;i0;mu\n2024-01-01;1;2\n2024-01-02;3;1\n", r"rows begin with text \('2024-01-02'\)"),
    ],
)
def test_what_is_refused_says_why(write, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        load(write(text))
    assert "a.csv" in str(caught.value)


def test_whole_numbers_between_commas_are_not_decimal(write):
    img = load(write("energy,mu\n400,1\n401,\n402,3\n"))
    np.testing.assert_array_equal(img.data.energy, [400, 401, 402])
    np.testing.assert_array_equal(img.data, [1, np.nan, 3])


TABBED = np.array([[400, 3, 9], [401, 8, 2], [402, 2, 5]], float)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mono Energy\tI 0\tmu det\n400\t3\t9\n401\t8\t2\n402\t2\t5\n", TABBED),  # blanks within names
        ("energy\ti0\tmu\n400\t\t9\n401\t8\t2\n402\t2\t\n", [[400, np.nan, 9], [401, 8, 2], [402, 2, np.nan]]),
        ("energy\ti0\tmu\t\n400\t3\t9\t\n401\t8\t2\t\n402\t2\t5\t\n", TABBED),  # one at each end
        ("energy\t\ti0\tmu\n400\t\t3\t9\n401\t\t8\t2\n402\t\t2\t5\n", TABBED),  # an empty column
        ("\tenergy\ti0\tmu\n0\t400\t3\t9\n1\t401\t8\t2\n2\t402\t2\t5\n", TABBED),  # an index without a name
        ("#energy\t i0\tmu \n 400\t 3\t 9\n 401\t 8\t 2\n 402\t 2\t 5\n", TABBED),  # and blanks beside them
    ],
)
def test_tabs_that_matter(write, text, expected):
    path = write(text, "a.txt")
    names = [name for name, _, _ in list_arrays(path)]
    assert len(names) == 2
    img = load(path, columns=names)
    np.testing.assert_array_equal(img.data, np.array(expected)[:, 1:].T)
    np.testing.assert_array_equal(img.data.energy, TABBED[:, 0])


def test_a_tab_before_the_energies_is_an_empty_corner(write):
    """As pandas writes spectra in rows; without it the first of five numbers would stand over the index."""
    rows = text_of(np.column_stack([np.arange(4), COUNTS.T]), "\t")
    for corner in ("\t", "  \t", '""\t'):
        img = load(write(corner + "\t".join(f"{e:g}" for e in ENERGY) + "\n" + rows, "a.txt"))
        np.testing.assert_array_equal(img.data, COUNTS.T)
        np.testing.assert_array_equal(img.data.energy, ENERGY)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252", "utf-32"])
def test_encodings(write, encoding):
    path = write("# Länge in µm\nenergy,µ\n" + text_of(np.column_stack([ENERGY, COUNTS[:, 0]])), encoding=encoding)
    img = load(path, "µ")
    np.testing.assert_array_equal(img.data, COUNTS[:, 0])


@pytest.mark.parametrize(
    ("raw", "message"), [("energy,mu\n1,2\n".encode("utf-16-le"), "UTF-16"), (b"\x89PNG\0", "no text")]
)
def test_what_is_no_text_is_refused(tmp_path, raw, message):
    path = tmp_path / "a.csv"
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"cannot read a\.csv: it is no text.*UTF-16"):
        load(path)


@pytest.mark.parametrize(
    "before",
    [
        "Sample: LaNiO3\nDate: 2024\n",
        "Instrument XY\n\n\n",
        "Notes, many, of them\n2024\n",
        "sep=,\n",
        "'quoted'\n# x\n",
    ],
)
def test_text_before_the_names(write, before):
    img = load(write(before + "energy,mu\n" + text_of(np.column_stack([ENERGY, COUNTS[:, 0]]))))
    np.testing.assert_array_equal(img.data.energy, ENERGY)
    assert img.data.name == "mu"


@pytest.mark.parametrize(
    ("columns", "axis", "message"),
    [
        ("enrgy", None, r"columns='enrgy' is none of its 5 columns; near it: \['energy'\]"),
        ("9", None, "columns='9' is none of its 5 columns"),
        ("4:2", None, "columns='4:2' is none"),
        (["mu", 2], None, "one of them twice"),
        ("energy", None, "column 1 .'energy'. is the axis"),
        (None, "q", "axis='q' is none of its 5 columns"),
        ("mu", "mu", "column 2 .'mu'. is the axis"),
    ],
)
def test_bad_columns_and_axes(write, columns, axis, message):
    path = write("energy,mu,i0,i1,i2\n" + with_energy())
    with pytest.raises(ValueError, match=rf"a\.csv: .*{message}"):
        load(path, columns=columns, axis=axis)


def test_columns_and_axis_are_for_text(tmp_path):
    np.savez(tmp_path / "a.npz", data=COUNTS)
    with pytest.raises(ValueError, match=r"a\.npz: axis= .* is for tables of text"):
        load(tmp_path / "a.npz", axis=1)
