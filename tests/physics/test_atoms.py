import numpy as np
import pytest
import xraydb

from jaxunmix.physics import atoms
from jaxunmix.physics.atoms import cascade, check_element, edges, fluorescence_yield, lines, mass_attenuation, yield_sd
from jaxunmix.physics.cross_sections import bethe


def line(element, name):
    return next(found for found in lines(element) if found.name == name)


def intensities(element, start):
    return sum(found.intensity for found in lines(element) if found.name.startswith(start))


def ionised(element, beam=200.0):
    return {s: bethe(element, s, edge, beam) for s, edge in edges(element).items()}


# X-ray Data Booklet, table 1-2.
@pytest.mark.parametrize(
    ("element", "name", "energy"),
    [
        ("O", "Ka1", 0.5249),
        ("Mg", "Ka1", 1.2536),
        ("Si", "Ka1", 1.7400),
        ("Ca", "Ka1", 3.6917),
        ("Fe", "Ka1", 6.4038),
        ("Fe", "Kb1", 7.0580),
        ("Fe", "La1", 0.7050),
        ("Dy", "La1", 6.4952),
        ("Au", "La1", 9.7133),
        ("Au", "Ma", 2.1229),
    ],
)
def test_line_energies_are_those_of_the_tables(element, name, energy):
    assert np.isclose(line(element, name).energy_keV, energy, rtol=3e-3)
    assert line(element, name).energy_keV == 1e-3 * xraydb.xray_lines(element)[name].energy


@pytest.mark.parametrize("element", ["Fe", "Cu", "Dy", "Au"])
def test_relative_intensities_are_those_of_xraydb(element):
    for found in lines(element):
        assert found.intensity == xraydb.xray_lines(element)[found.name].intensity
    # Scofield: K alpha 2 to 1 is about a half, K beta to alpha of Fe about 0.13-0.14.
    assert 0.49 < intensities(element, "Ka2") / intensities(element, "Ka1") < 0.6
    assert intensities("Fe", "Kb") / intensities("Fe", "Ka") == pytest.approx(0.14, abs=0.01)


@pytest.mark.parametrize(("element", "ratio"), [("Mg", 0.0), ("Si", 0.028), ("Ca", 0.126)])
def test_k_beta_of_light_elements(element, ratio):
    assert intensities(element, "Kb") / intensities(element, "Ka") == pytest.approx(ratio, abs=1e-3)
    assert intensities(element, "K") == pytest.approx(1.0, abs=1e-4)


# Krause, J. Phys. Chem. Ref. Data 8 (1979) 307; his uncertainty of K is 10 % at Mg and 3 % from Ca on.
@pytest.mark.parametrize(
    ("element", "published"),
    [("Mg", 0.030), ("Si", 0.050), ("Ca", 0.163), ("Fe", 0.340), ("Cu", 0.440), ("Ag", 0.831)],
)
def test_yields_of_k(element, published):
    assert np.isclose(fluorescence_yield(element, "K"), published, rtol=0.06)


def test_yields_of_deeper_shells_are_those_of_the_table():
    assert fluorescence_yield("Au", "L3") == 0.32
    assert fluorescence_yield("H", "L3") == 0.0


def test_cascade_of_an_atom_without_decays_is_none(monkeypatch):
    monkeypatch.setattr(atoms, "AUGER_VACANCIES", 0.0)
    found = cascade("O", {"K": 3.0})
    assert found == {"K": 3.0}


def test_cascade_exceeds_direct_ionisation():
    # Published tables with cascades: 17 % Fe L3, 28 % Au L3, 44 % Au M5, with other rates than Elam's.
    found = {}
    for element, subshell in (("Fe", "L3"), ("Au", "L3"), ("Au", "M5"), ("Au", "K")):
        direct = ionised(element)
        found[element, subshell] = cascade(element, direct)[subshell] / direct[subshell]
    assert found["Au", "K"] == 1
    assert 1.15 < found["Fe", "L3"] < 1.45
    assert 1.19 < found["Au", "L3"] < 1.29
    assert 1.40 < found["Au", "M5"] < 1.50


def test_cascade_by_hand():
    # One vacancy in L1 of Au: to L2 directly, to L3 directly and through L2; no more is moved to L.
    found = cascade("Au", {"L1": 1.0, "L2": 0.0, "L3": 0.0})
    assert np.isclose(found["L2"], 0.08)
    assert np.isclose(found["L3"], 0.53 + 0.08 * 0.122)


def test_attenuation_of_the_elements():
    energy = np.array([0.5249, 6.4])
    found = mass_attenuation(("O", "Fe"), energy)
    assert found.shape == (2, 2)
    # Henke, Gullikson and Davis (1993): O at its own K alpha 1.2e3, NIST: Fe at 6.4 keV 71.
    assert np.isclose(found[0, 0], 1.2e3, rtol=0.1)
    assert np.isclose(found[1, 1], 71, rtol=0.05)
    below = mass_attenuation(("O",), np.array([-0.5, 0.01, 0.1]))
    assert np.allclose(below, below[0, -1])


@pytest.mark.parametrize(
    ("element", "family", "sd"),
    [("C", "K", 0.3), ("O", "K", 0.15), ("Si", "K", 0.1), ("Fe", "K", 0.04), ("Au", "L", 0.08)],
)
def test_widths_of_yields_cover_the_difference_between_tables(element, family, sd):
    assert yield_sd(element, family) == sd
    if family == "K":
        assert abs(xraydb.xray_edges(element)["K"].fyield / fluorescence_yield(element, "K") - 1) < 2 * sd
    assert yield_sd(element, "M") == 0.25


def test_unknown_elements_are_named_with_the_nearest():
    with pytest.raises(ValueError, match="unknown element 'fe'; did you mean 'Fe'"):
        check_element("fe")
    with pytest.raises(ValueError, match="did you mean"):
        check_element("Qq")
    with pytest.raises(ValueError, match="use one of K, L, M"):
        yield_sd("O", "N")
