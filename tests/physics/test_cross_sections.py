import json
from pathlib import Path

import numpy as np
import pytest

from jaxunmix.physics.atoms import OCCUPATION, SUBSHELLS, symbol_of
from jaxunmix.physics.cross_sections import BETHE, bethe, bote_salvat, casnati, load_bote_salvat, load_emtables
from jaxunmix.physics.emission import production

# Coefficients of seven elements, from NIST's public-domain implementation (BoteSalvatICX.jl).
TABLE = Path(__file__).parent / "bote_salvat.json"
PUBLISHED = load_bote_salvat(TABLE)
# Element, subshell, beam in eV and square cm, computed by the authors' own program, as NIST's tests have them.
VECTORS = [
    ("Mg", "L3", 7.71792e1, 3.85315e-18),
    ("Mg", "L3", 1.29569e4, 1.24124e-18),
    ("Mg", "L3", 5.78762e6, 1.30393e-19),
    ("V", "L1", 2.90068e8, 5.64142e-21),
    ("V", "L1", 1.53993e4, 2.63509e-20),
    ("Rh", "M3", 6.68344e8, 1.62343e-20),
    ("Rh", "M3", 1.22321e3, 2.11571e-19),
    ("Ho", "K", 1.63117e5, 1.36404e-23),
    ("Pt", "M5", 2.98538e3, 2.02808e-20),
]


def cases(shells):
    for z, row in json.loads(TABLE.read_text()).items():
        lightest = {"K": 5, "L": 19, "M": 39}
        for subshell, edge in zip(SUBSHELLS, row["edge"], strict=False):
            if subshell in shells and int(z) >= lightest[subshell[0]]:
                for beam in np.geomspace(5, 300, 12):
                    yield symbol_of(int(z)), subshell, 1e-3 * edge, float(beam)


def deviations(formula, shells, least=2.0):
    return np.array([formula(*c) / PUBLISHED(*c) - 1 for c in cases(shells) if c[3] > least * c[2]])


@pytest.mark.parametrize(("element", "subshell", "beam", "published"), VECTORS)
def test_bote_salvat_in_both_branches_against_the_authors_program(element, subshell, beam, published):
    assert np.isclose(1e-24 * PUBLISHED(element, subshell, 0.0, 1e-3 * beam), published, rtol=6e-3)


def test_exponent_of_the_fourth_root_is_positive():
    """With -1/4 in its place K of Ho at 163 keV would be far too small; U = 2.9, so take the other branch."""
    row = json.loads(TABLE.read_text())["23"]
    one = {"a": row["A"][0], "g": row["G"][0], "b": row["Be"][0], "A": row["Anlj"][0]}
    beam, edge = 200.0, 1e-3 * row["edge"][0]
    right = bote_salvat(one, edge, beam)
    gamma = 1 + beam / 510.99895
    wrong = bote_salvat(one | {"g": [*one["g"][:2], one["g"][2] * gamma, one["g"][3]]}, edge, beam)
    # The exponent turns gamma^(-1/2) into gamma^(1/2).
    assert -0.06 < wrong / right - 1 < -0.02
    assert abs(bethe("V", "K", edge, beam) / right - 1) < 0.02


@pytest.mark.parametrize(
    ("shells", "largest", "typical"),
    [
        ({"K"}, 0.04, 0.02),
        ({"L1"}, 0.02, 0.01),
        ({"L2", "L3"}, 0.04, 0.02),
        ({"M1"}, 0.04, 0.02),
        ({"M2", "M3"}, 0.09, 0.05),
        ({"M4", "M5"}, 0.06, 0.04),
    ],
)
def test_default_cross_sections_of_elements_that_took_no_part_in_the_fit(shells, largest, typical):
    found = deviations(bethe, shells)
    assert len(found) > 20
    assert np.abs(found).max() < largest
    assert np.sqrt(np.square(found).mean()) < typical


def test_deviation_of_casnati_is_as_documented():
    found = {s: deviations(casnati, {s}) for s in ("K", "L2", "M5")}
    assert 0.3 < found["K"].max() < 0.46
    assert np.abs(found["L2"]).max() < 0.19
    assert -0.34 < found["M5"].min() < -0.25
    at_200 = [
        casnati(e, "K", edge, 200.0) / bethe(e, "K", edge, 200.0) - 1 for e, edge in (("O", 0.5373), ("Fe", 7.083))
    ]
    assert np.allclose(at_200, [0.15, 0.07], atol=0.02)


def test_casnati_against_a_value_worked_by_hand():
    # Ni at U = 4, every factor written out.
    edge, u = 8.331, 4.0
    j = 510.99895 / edge
    factor = (1 + 2 * j) / (u + 2 * j) * ((u + j) / (1 + j)) ** 2
    top = (1 + u) * (u + 2 * j) * (1 + j) ** 2
    factor *= (top / (j**2 * (1 + 2 * j) + u * (u + 2 * j) * (1 + j) ** 2)) ** 1.5
    ratio = edge / 0.013605693
    expected = 2 * 2.80028e7 / ratio**2 * factor * ratio ** (-0.0318 + 0.079 - 0.1135 / 16)
    expected *= 10.57 * np.exp(-0.434 + 0.317 / 16) * np.log(4) / 4
    assert np.isclose(casnati("Ni", "K", edge, 4 * edge), expected, rtol=1e-4)


@pytest.mark.parametrize("formula", [bethe, casnati, PUBLISHED])
def test_cross_sections_vanish_below_the_edge_and_never_are_negative(formula):
    assert formula("V", "K", 5.465, 5.4) == 0
    assert all(formula("V", "K", 5.465, beam) >= 0 for beam in np.linspace(5.5, 12, 20))


def test_light_elements_take_the_constants_of_heavier_ones():
    assert set(BETHE) == {"K", "L1", "L2", "M1", "M2", "M4"}
    # The square of the edge and the electrons is all that is left.
    pair = [bethe(e, "L3", 0.1, 100.0) for e in ("Si", "K")]
    assert pair[0] == pair[1]
    assert bethe("Fe", "L3", 0.7, 100.0) == 2 * bethe("Fe", "L2", 0.7, 100.0)
    assert OCCUPATION["M5"] == 6


def test_bote_salvat_table_without_the_element():
    with pytest.raises(ValueError, match="no coefficients of Fe K; add them"):
        PUBLISHED("Fe", "K", 7.1, 200.0)
    assert PUBLISHED("Mg", "M1", 0.007, 200.0) == 0


def line_table(tmp_path, content):
    path = tmp_path / "table.json"
    path.write_text(json.dumps(content))
    return path


def test_table_of_lines_in_the_layout_of_emtables(tmp_path):
    rows = {"26": {"KL3": {"energy": 6.4039, "cs": 6.3e-23}, "L3M5": {"energy": 0.7045, "cs": 7.1e-23}}}
    table = load_emtables(line_table(tmp_path, {"table": rows, "metadata": {"beam_energy": 200, "lines": True}}))
    found = production("Fe", 200.0, table)
    assert [(line.family, line.energy_keV) for line in found] == [("K", 6.4039), ("L", 0.7045)]
    assert np.allclose([line.barn for line in found], [63, 71])
    with pytest.raises(ValueError, match=r"table is for 200\.0 keV, beam_keV=80"):
        production("Fe", 80.0, table)
    with pytest.raises(ValueError, match="no O; it has Fe"):
        production("O", 200.0, table)


def test_table_without_names_of_lines_is_refused(tmp_path):
    rows = {"26": {"energies": [6.4], "cs": [6.3e-23]}}
    with pytest.raises(ValueError, match="named lines; make the table with lines=True"):
        load_emtables(line_table(tmp_path, {"table": rows, "metadata": {"beam_energy": 200}}))
