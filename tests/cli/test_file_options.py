"""What the commands do with files that must be asked about, and with options that do not fit."""

import re

import numpy as np
import pytest

from jaxunmix import cli
from jaxunmix.cli.inputs import Preparation, Source, load_image
from jaxunmix.cli.spectrum import mean_spectrum
from jaxunmix.data.image import SpectrumImage
from jaxunmix.data.io import save

ENERGY = np.linspace(400, 410, 6)
CUBE = np.random.default_rng(0).integers(0, 20, (3, 4, 6)).astype(float)


def prepared(file, array=None, dims=None, signal_dims=None, steps=None, **source):
    given = Source(file, array, dims, signal_dims, None, None, None, **source)
    return load_image(given, steps or Preparation(None, None, False, None), None, True)


@pytest.fixture
def files(tmp_path):
    spoilt = CUBE.copy()
    spoilt[0, 1] = np.nan
    energy = ENERGY.copy()
    energy[3] = energy[2]
    np.savez(tmp_path / "spoilt.npz", data=spoilt, energy_eV=ENERGY)
    np.savez(tmp_path / "twice.npz", data=CUBE, energy_eV=energy)
    np.savez(tmp_path / "plain.npz", data=CUBE, energy_eV=ENERGY, ok=np.ones((3, 4), int), odd=np.full((3, 4), 3))
    np.savetxt(tmp_path / "columns.dat", np.column_stack([ENERGY, CUBE.reshape(12, 6).T]))
    np.savetxt(tmp_path / "row.csv", [ENERGY, *CUBE.reshape(12, 6)], delimiter=",")
    (tmp_path / "names.csv").write_text("x,y\n1,5\n2,3\n3,9\n")
    upper = SpectrumImage.from_array(CUBE, dims=("y", "x", "Energy"), coords={"Energy": ENERGY}, units={"Energy": "eV"})
    save(upper, tmp_path / "upper.h5")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("twice.npz", r"'energy' is not strictly monotonic: 404.* at index 2.*\non the command line: --merge-repeated"),
        ("spoilt.npz", r"6 of 72 values are NaN.*\non the command line: --mask-non-finite"),
        ("columns.dat", r"columns\.dat: 6 rows of 13 numbers.*first column goes from 400 to 410[^$]*--axis"),
        ("row.csv", r"row\.csv: .*first row goes from 400 to 410[^$]*--axis"),
        ("names.csv", r"names\.csv: .*none of its columns is called as an axis"),
        ("columns.dat --axis q", r"columns\.dat: axis='q' is none of its 13 columns"),
        ("columns.dat --axis 1 --columns 40", "columns='40' is none of its 13 columns"),
        ("plain.npz --axis 1", r"plain\.npz: axis= \(--axis\) is for tables of text"),
        ("plain.npz --array data --crop energi=1:2", "--crop: 'energi' is none of the dims"),
        ("plain.npz --array data --bin z=2", "--bin: 'z' is none of the dims"),
        ("plain.npz --array data --crop energy=1: --crop ENERGY=:405", "--crop names one axis twice"),
        ("plain.npz --array data --mask odd", "mask holds 3; give booleans, or 0 and 1"),
        ("plain.npz --array data --units energy", "--units energy: write AXIS=UNIT"),
        ("plain.npz --array data --units energy=keV", "the file says that 'energy' is in eV"),
        ("plain.npz --array data --units y=um", "'y' has no values"),
        ("plain.npz --array data --dims y,,energy", "--dims 'y,,energy': write names with commas"),
    ],
)
def test_each_message_names_what_was_found_and_what_to_do(run, files, words, message):
    code, out, err = run("rank", *words.replace("plain", str(files / "plain")).split(), "--out", "o")
    assert code == 2
    assert out == ""
    assert "report it" not in err
    assert re.search(message, err, re.DOTALL), err


@pytest.mark.parametrize(
    ("name", "options", "shape"),
    [
        ("columns.dat", {"axis": "1", "columns": "2:"}, (12, 6)),
        ("columns.dat", {"axis": "1", "columns": "3,5"}, (2, 6)),
        ("row.csv", {"axis": "row"}, (12, 6)),
        ("twice.npz", {"merge": 0.0}, (3, 4, 5)),
        ("plain.npz", {"array": "data", "dims": " y , x, energy ", "signal_dims": "Energy "}, (3, 4, 6)),
    ],
)
def test_the_options_answer(files, name, options, shape):
    img = prepared(files / name, **options)
    assert img.data.shape == shape
    assert len(img.signal_dims) == 1


def test_axes_are_named_as_in_the_readme(files):
    steps = Preparation(["energy=404:"], ["X=2"], False, None)
    img = prepared(files / "upper.h5", steps=steps)
    assert img.data.dims == ("y", "x", "Energy")
    assert img.data.shape == (3, 2, 4)
    spoilt = prepared(files / "spoilt.npz", steps=Preparation(None, None, False, None, True))
    assert spoilt.grid.size == 11


def spectrum_of(energy, unit):
    units = {} if unit is None else {"energy": unit}
    return SpectrumImage.from_array(np.arange(3.0), coords={"energy": energy}, units=units)


@pytest.mark.parametrize(
    ("energy", "unit", "expected"),
    [
        ([7.1, 7.15, 7.2], "keV", [7100, 7150, 7200]),
        ([7.1, 7.15, 7.2], "kev", [7100, 7150, 7200]),
        ([7100, 7150, 7200], "EV", [7100, 7150, 7200]),
        ([7100, 7150, 7200], None, [7100, 7150, 7200]),
        ([1, 2, 3], "eV", [1, 2, 3]),
    ],
)
def test_spectra_are_decomposed_in_electronvolts(energy, unit, expected):
    np.testing.assert_allclose(mean_spectrum(spectrum_of(energy, unit))[0], expected)


@pytest.mark.parametrize(
    ("energy", "unit", "message"),
    [
        ([7.1, 7.15, 7.2], None, r"'energy', 7.1 to 7.2, have no unit.*--units energy=keV"),
        ([1, 2, 3], "nm", "'nm' is a unit of length"),
        ([1, 2, 3], "MEV", "may be meV or MeV"),
        ([1, 2, 3], "channels", "'channels' is not known"),
    ],
)
def test_other_units_are_refused(energy, unit, message):
    with pytest.raises(ValueError, match=message):
        mean_spectrum(spectrum_of(energy, unit))


def test_the_options_are_those_of_all_commands_that_read_files(capsys):
    for command in ("unmix", "rank", "spectrum"):
        assert cli.main([command, "--help"]) == 0
        told = capsys.readouterr().out
        for option in ("--columns", "--axis", "--units", "--merge-repeated", "--merge-within", "--mask-non-finite"):
            assert option in told
