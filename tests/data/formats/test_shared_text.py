"""Text files as people have them, in the shared folder: each row of its README that is of text."""

import numpy as np
import pytest

from jaxunmix import preprocess
from jaxunmix.data.formats.select import ArrayChoiceError
from jaxunmix.data.io import load


def test_athena_applies_the_energy_shift(wild):
    img = load(wild / "public/zn_solution.prj", "09BM_znsoln.001")
    assert abs(float(preprocess.edge_energy(img)) - 9665.5) < 0.1
    assert img.provenance[0]["parameters"]["energy_shift_eV"] == -5.04
    names = ("05BM_znsoln.001", "13BM_znsoln.001", "33BM_znsoln.002")
    others = [float(preprocess.edge_energy(load(wild / "public/zn_solution.prj", name))) for name in names]
    assert max(others) - min(others) < 1  # they were aligned so


def test_athena_json(wild):
    img = load(wild / "public/FeFoil_QXAFS_Compare.prj", "Fe_foil_250msec_qxafs.001")
    assert abs(float(preprocess.edge_energy(img)) - 7110.85) < 0.2
    assert img.data.energy.attrs["units"] == "eV"


def test_beamline_columns(wild):
    with pytest.raises(ArrayChoiceError, match="I0"):
        load(wild / "public/APS20BM_2001.dat")
    img = load(wild / "public/APS20BM_2001.dat", "I0")
    assert img.data.shape == (412,)
    np.testing.assert_allclose(img.data.energy[[0, -1]], [6911.767, 8084.09], atol=0.01)
    with pytest.raises(ValueError, match="first column goes from 400 to 600"):
        load(wild / "made/nohead_cols.dat")


def test_jittering_energies(wild):
    path = wild / "public/SLS_PHOENIX_2023.dat"
    with pytest.raises(ValueError, match=r"1584.000108 at index 178.*merge_repeated"):
        load(path, "MgKa_sum_cps_c2")
    assert load(path, "MgKa_sum_cps_c2", merge_repeated=True).data.size == 301
    assert load(path, "MgKa_sum_cps_c2", merge_repeated=0.05).data.size == 300
    assert load(wild / "made/dup.npz", merge_repeated=True).data.shape == (6, 7, 79)


@pytest.mark.parametrize(
    ("name", "array", "ends", "unit"),
    [
        ("public/fe_xanes_8ch.xdi", "I0", (7012, 7108.6), "eV"),
        ("made/upper.xdi", None, (0.4, 0.6), "keV"),
        ("made/u.xdi", None, (7.1, 7.2), "keV"),
    ],
)
def test_xdi(wild, name, array, ends, unit):
    img = load(wild / name, array)
    np.testing.assert_allclose(img.data.energy[[0, -1]], ends, atol=0.01)
    assert img.data.energy.attrs["units"] == unit


def test_tables_of_one_data_set(wild):
    plain = load(wild / "made/ok.npz").data
    with pytest.raises(ValueError, match="first row goes from 400 to 600"):
        load(wild / "made/headerwave.csv")
    for img in (load(wild / "made/pandas.csv"), load(wild / "made/headerwave.csv", axis="row")):
        np.testing.assert_array_equal(img.data, plain.values.reshape(42, 80))
        np.testing.assert_allclose(img.data.energy, plain.energy, atol=0.005)
    for name in ("decimal_comma.csv", "decimal_comma_tab.txt", "latin1.csv", "preamble.csv"):
        img = load(wild / "made" / name)
        np.testing.assert_array_equal(img.data, plain[0, 0])
        np.testing.assert_allclose(img.data.energy, plain.energy, atol=0.005)


def test_masks_and_names(wild):
    assert load(wild / "made/ok.npz", mask=wild / "made/mask01.npy").keep_pixels is not None
    masked = preprocess.mask_non_finite(load(wild / "made/nanborder.npz"))
    assert masked.grid.size == 30
    assert np.isfinite(masked.live()).all()
    assert preprocess.crop(load(wild / "made/eds.hspy"), energy=(0.2, None)).data.sizes["Energy"] == 78
