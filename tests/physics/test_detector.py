import jax
import numpy as np
import pytest

from jaxunmix.physics.atoms import mass_attenuation
from jaxunmix.physics.detector import (
    MANGANESE_KEV,
    Detector,
    Layer,
    escape_share,
    material_attenuation,
    pile_up_column,
    thin_window,
    windowless,
)


def efficiency(detector, *energies):
    return np.asarray(detector.efficiency(detector.attenuation(np.array(energies))))


def test_efficiency_by_hand():
    energy = np.array([0.5249, 15.0])
    mu = mass_attenuation(("Si",), energy)[0] * 2.33e-7
    expected = np.exp(-30 * mu) * (1 - np.exp(-450e3 * mu))
    assert np.allclose(efficiency(windowless(), *energy), expected, rtol=1e-5)
    grid = Detector((Layer("Si", 380e3, 2.33, cover=0.23),))
    assert np.allclose(efficiency(grid, *energy), expected * (0.77 + 0.23 * np.exp(-380e3 * mu)), rtol=1e-5)


def test_efficiencies_of_the_presets():
    # A polymer is more transparent just below the edge of carbon than above; at 3 keV only the grid is in the way.
    carbon, nitrogen, oxygen, calcium, zirconium = efficiency(thin_window(), 0.277, 0.392, 0.525, 3.69, 15.7)
    assert 0.3 < carbon < 0.5
    assert 0.2 < nitrogen < carbon
    assert nitrogen < oxygen < 0.6
    assert 0.74 < calcium < 0.8
    assert 0.5 < zirconium < 0.9
    assert (efficiency(windowless(), 0.277, 0.525, 3.69) > efficiency(thin_window(), 0.277, 0.525, 3.69)).all()


def test_resolution_is_the_stated_one_at_manganese_and_grows_with_energy():
    detector = windowless(fwhm_keV=0.130)
    fwhm = np.sqrt(8 * np.log(2)) * np.asarray(detector.sigma_keV(np.array([0.0, MANGANESE_KEV, 15.0])))
    assert np.isclose(fwhm[1], 0.130, rtol=1e-5)
    assert np.allclose(fwhm[2] ** 2 - fwhm[1] ** 2, 5.545 * 0.115 * 3.66e-3 * (15.0 - MANGANESE_KEV), rtol=1e-3)
    assert 0.05 < fwhm[0] < 0.06


def test_attenuation_of_a_compound_is_that_of_its_elements():
    energy = np.array([1.0, 5.0])
    silicon, nitrogen = mass_attenuation(("Si", "N"), energy)
    share = 3 * 28.0855 / (3 * 28.0855 + 4 * 14.0067)
    expected = 3.2e-7 * (share * silicon + (1 - share) * nitrogen)
    assert np.allclose(material_attenuation("Si3N4", 3.2, energy), expected, rtol=1e-4)


def test_escape_peaks_start_at_silicons_edge_and_get_weaker():
    found = escape_share(np.array([0.525, 1.74, 1.9, 2.1, 4.0, 6.4, 10.0]))
    assert (found[:2] == 0).all()
    assert (np.diff(found[2:]) < 0).all()
    # Reed and Ware: below 2 %, some tenths of a percent for Fe.
    assert 0.008 < found[2] < 0.02
    assert 0.002 < found[5] < 0.006


def test_pile_up_lies_at_the_sums():
    energy = 0.005 + 0.01 * np.arange(500)
    spectrum = np.zeros(500)
    spectrum[100], spectrum[150] = 3.0, 1.0
    column = np.asarray(pile_up_column(spectrum, energy))
    # Sums are at 2.01, 2.51 and 3.01 keV, half way between two channels, in the proportion 9 : 6 : 1.
    assert np.allclose(column[[200, 201, 250, 251, 300, 301]], np.array([9, 9, 6, 6, 1, 1]) / 32, atol=1e-6)
    assert np.isclose(column.sum(), 1)
    assert np.count_nonzero(column > 1e-7) == 6


@pytest.mark.parametrize("start", [0.0, 0.2, -0.1])
def test_pile_up_of_a_line_on_axes_that_start_elsewhere(start):
    energy = start + 0.01 * np.arange(400)
    column = np.asarray(pile_up_column(np.exp(-0.5 * ((energy - 1.2) / 0.05) ** 2), energy))
    assert np.isclose(column @ energy, 2.4, atol=1e-3)
    assert np.isclose(np.sqrt(column @ (energy - 2.4) ** 2), 0.05 * np.sqrt(2), rtol=1e-2)


def test_pile_up_is_traced():
    energy = 0.1 + 0.01 * np.arange(50)
    gradient = jax.grad(lambda s: pile_up_column(s, energy)[20])(np.linspace(1.0, 2.0, 50, dtype=np.float32))
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Detector(silicon_um=-1.0), "silicon_um=-1"),
        (lambda: Detector((Layer("C", -5.0, 2.0),)), "thickness_nm of C must be 0 or more, got -5"),
        (lambda: windowless(fwhm_keV=0.1), r"fwhm_keV=0\.1 is below 0\.11"),
        (lambda: material_attenuation("Si3Qq", 1.0, np.ones(2)), "unknown|cannot be read"),
        (lambda: pile_up_column(np.ones(5), np.arange(4.0)), "must be of one length"),
        (lambda: pile_up_column(np.ones(5), 10 + np.arange(5.0)), "no sum of two energies"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
