r"""Cross-sections of inner shells for ionisation by electrons, in barn.

A source of cross-sections is a function `(element, subshell, edge_keV, beam_keV) -> barn` with subshells "K", "L1",
..., "M5": `bethe` and `casnati` need no table, `load_bote_salvat` makes one of a table of coefficients. A `LineTable`
holds cross-sections of whole lines, with the yield in them. All of it is plain NumPy, done once when a model is made.

Below, I is the energy of the edge, E of the beam, U = E / I, $\beta$ the electron's speed over that of light,
$\gamma = 1 + E / mc^2$, R = 13.6057 eV, $a_0$ Bohr's radius and n the number of electrons of the subshell.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from .._util.validation import check_choice, check_mapping, check_number, check_path
from .atoms import OCCUPATION, SUBSHELLS, atomic_number, symbol_of

CrossSections: TypeAlias = Callable[[str, str, float, float], float]

REST_KEV = 510.99895
RYDBERG_KEV = 0.013605693
BOHR_BARN = 2.8002852e7  # a0^2

# b, c and d of `bethe`: coefficients of 1, x and x^2, x = ln(Z / 40). Fitted to the formulas of Bote et al. (2009).
BETHE: Mapping[str, tuple[tuple[float, float, float], ...]] = {
    "K": ((0.4453, -0.0286, 0.0205), (0.7896, -0.2847, -0.1607), (0.6615, -0.6388, -0.2216)),
    "L1": ((0.3573, -0.0339, -0.1401), (0.8586, -0.0596, 0.2814), (0.7777, -0.3317, 0.2096)),
    "L2": ((0.5816, -0.1977, -0.1888), (0.7165, 0.1856, 0.6021), (0.5773, -0.3697, 0.6920)),
    "M1": ((0.2374, 0.1848, -0.2051), (0.8072, 0.1227, -0.1687), (0.7930, -0.6614, 0.2809)),
    "M2": ((0.3089, 0.2754, -0.2490), (0.8749, 0.5065, -0.6714), (1.0025, -0.2286, -0.3628)),
    "M4": ((0.7179, 1.0242, -1.5066), (0.1973, -0.5525, 2.0245), (0.4512, -0.6906, 1.1763)),
}
_SHARED = {"L3": "L2", "M3": "M2", "M5": "M4"}
_LIGHTEST = {"K": 1, "L": 19, "M": 39}


def _beta_squared(energy_keV: float) -> float:
    return energy_keV * (energy_keV + 2 * REST_KEV) / (energy_keV + REST_KEV) ** 2


def _check_shell(element: Any, subshell: Any, edge_keV: Any, beam_keV: Any) -> int:
    """Refuse what is no subshell or no energy; the atomic number."""
    check_choice(subshell, tuple(OCCUPATION), "subshell")
    check_number(edge_keV, "edge_keV", above=0)
    check_number(beam_keV, "beam_keV", above=0)
    return atomic_number(element)


def bethe(element: str, subshell: str, edge_keV: float, beam_keV: float) -> float:
    r"""Relativistic Bethe formula with a threshold, its constants fitted to distorted-wave calculations; the default.

    $\sigma = \frac{4 \pi a_0^2 n R^2}{I m c^2 \beta^2 / 2} \left[ b \left( \ln \frac{\beta^2 \gamma^2 m c^2}{2 I} -
    \beta^2 \right) + c \left(1 - \frac{1}{U}\right) - d \frac{\ln U}{U} \right]$

    with b, c and d of `BETHE`. The logarithm is that of Bethe (Ann. Phys. 397 (1930) 325), with the relativistic
    terms of Fano (Phys. Rev. 102 (1956) 385); the other two terms are those of binary encounters.

    The constants were fitted to Bote, Salvat, Jablonski and Powell (At. Data Nucl. Data Tables 95 (2009) 871) at
    2-400 keV for 13 elements from O to Th. At U > 2 the fit deviates by (root mean square / largest): K 1.1 / 4 %,
    L1 0.6 / 2 %, L2 and L3 1.1 / 4 %, M1 0.9 / 4 %, M2 and M3 4 / 9 %, M4 and M5 2 / 6 %, and by no more for seven
    elements from C to Pt that took no part in it. Closer to the edge it is up to 40 % (K of heavy elements) or 14 %
    (L, M). Those calculations are themselves good to some 5 % (K) to 20 % (M). L of elements lighter than K and M of
    those lighter than Y take the constants of these.

    Args:
        element: symbol.
        subshell: "K", "L1", ..., "M5".
        edge_keV: I.
        beam_keV: E.

    Returns:
        barn; 0 below the edge.
    """
    z = _check_shell(element, subshell, edge_keV, beam_keV)
    if beam_keV <= edge_keV:
        return 0.0
    z = max(z, _LIGHTEST[subshell[0]])
    powers = np.log(z / 40) ** np.arange(3)
    b, c, d = np.asarray(BETHE[_SHARED.get(subshell, subshell)]) @ powers
    beta = _beta_squared(beam_keV)
    u = beam_keV / edge_keV
    logarithm = np.log(beam_keV * (beam_keV + 2 * REST_KEV) / (2 * REST_KEV * edge_keV)) - beta
    bracket = b * logarithm + c * (1 - 1 / u) - d * np.log(u) / u
    scale = 4 * np.pi * BOHR_BARN * OCCUPATION[subshell] * RYDBERG_KEV**2 / (edge_keV * REST_KEV * beta / 2)
    return float(max(scale * bracket, 0.0))


def casnati(element: str, subshell: str, edge_keV: float, beam_keV: float) -> float:
    r"""The empirical formula of Casnati, Tartari and Baraldi, J. Phys. B 15 (1982) 155.

    $\sigma = n a_0^2 \left(\frac{R}{I}\right)^2 F \psi \phi \frac{\ln U}{U}$, with
    $\psi = (I / R)^{-0.0318 + 0.3160 / U - 0.1135 / U^2}$, $\phi = 10.57 \exp(-1.736 / U + 0.317 / U^2)$ and
    Gryzinski's relativistic factor F.

    Made for K of C to Au at U < 20. Against Bote et al. (2009) it is within 6 % for O to Ca at 10-30 keV and high by
    4-17 % for Fe and Cu there; at 200 keV it is high by 15 % (O), 11 % (Si), 7 % (Fe, Zr), 14 % (Ba) and 41 % (Au).
    L1 is high by 30-60 %, L2 and L3 are within 19 %, M is off by -33 to +100 %: `bethe` is the better choice, and this
    one is for comparisons.

    Args:
        element: symbol; not used, as the formula scales with the edge alone.
        subshell: "K", "L1", ..., "M5".
        edge_keV: I.
        beam_keV: E.

    Returns:
        barn; 0 below the edge.
    """
    _check_shell(element, subshell, edge_keV, beam_keV)
    if beam_keV <= edge_keV:
        return 0.0
    u, j = beam_keV / edge_keV, REST_KEV / edge_keV
    inner = (1 + j) ** 2
    root = (1 + u) * (u + 2 * j) * inner / (j**2 * (1 + 2 * j) + u * (u + 2 * j) * inner)
    gryzinski = (1 + 2 * j) / (u + 2 * j) * (u + j) ** 2 / inner * root**1.5
    psi = (edge_keV / RYDBERG_KEV) ** (-0.0318 + 0.3160 / u - 0.1135 / u**2)
    phi = 10.57 * np.exp(-1.736 / u + 0.317 / u**2)
    scale = OCCUPATION[subshell] * BOHR_BARN * (RYDBERG_KEV / edge_keV) ** 2
    return float(scale * gryzinski * psi * phi * np.log(u) / u)


def bote_salvat(coefficients: Mapping[str, Any], edge_keV: float, beam_keV: float) -> float:
    r"""Analytical formulas of Bote et al., At. Data Nucl. Data Tables 95 (2009) 871, for electrons.

    Up to U = 16: $\sigma = 4 \pi a_0^2 \frac{U - 1}{U^2} \left[ a_1 + a_2 U + \frac{a_3}{1 + U} +
    \frac{a_4}{(1 + U)^3} + \frac{a_5}{(1 + U)^5} \right]^2$. Above, with X = p / mc:
    $\sigma = 4 \pi a_0^2 \frac{U}{U + b} \frac{A}{\beta^2} \left\{ (\ln X^2 - \beta^2) \left(1 + \frac{g_1}{X}\right) +
    g_2 + g_3 (1 - \beta^2)^{1/4} + \frac{g_4}{X} \right\}$.

    Args:
        coefficients: "a" (5), "g" (4), "b" and "A" of one subshell.
        edge_keV: I.
        beam_keV: E.

    Returns:
        barn; 0 below the edge.
    """
    if beam_keV <= edge_keV:
        return 0.0
    u = beam_keV / edge_keV
    if u <= 16:
        a = coefficients["a"]
        bracket = a[0] + a[1] * u + a[2] / (1 + u) + a[3] / (1 + u) ** 3 + a[4] / (1 + u) ** 5
        return float(4 * np.pi * BOHR_BARN * (u - 1) * (bracket / u) ** 2)
    g, beta = coefficients["g"], _beta_squared(beam_keV)
    x = np.sqrt(beam_keV * (beam_keV + 2 * REST_KEV)) / REST_KEV
    braces = (2 * np.log(x) - beta) * (1 + g[0] / x) + g[1] + g[2] * (1 - beta) ** 0.25 + g[3] / x
    return float(4 * np.pi * BOHR_BARN * u / (u + coefficients["b"]) * coefficients["A"] / beta * braces)


def load_bote_salvat(path: str | Path) -> CrossSections:
    """Cross-sections from a table of the coefficients of Bote et al. (2009).

    The layout is that of the table's public versions, as JSON: atomic number -> {"A": (subshells, 5), "G":
    (subshells, 4), "Be": (subshells,), "Anlj": (subshells,), "edge": (subshells,) in eV}, subshells from K to M5 as far
    as the element has them. The edges of the table are used, as they belong to the fit.

    Args:
        path: of the file.

    Returns:
        a source of cross-sections. It raises ValueError for elements or subshells that are not in the table.
    """
    table = json.loads(check_path(path, "path").read_text(encoding="utf-8"))

    def cross_section(element: str, subshell: str, edge_keV: float, beam_keV: float) -> float:
        row, index = table.get(str(atomic_number(element))), SUBSHELLS.index(subshell)
        if row is None or index >= len(row["edge"]):
            if beam_keV <= edge_keV or (row is not None and edge_keV < 0.1):
                return 0.0
            raise ValueError(f"{path} has no coefficients of {element} {subshell}; add them or use another source")
        one = {"a": row["A"][index], "g": row["G"][index], "b": row["Be"][index], "A": row["Anlj"][index]}
        return bote_salvat(one, 1e-3 * row["edge"][index], beam_keV)

    return cross_section


@dataclass(frozen=True)
class LineTable:
    """Cross-sections of emission lines, yield and relative intensity and perhaps cascades in them.

    Attributes:
        lines: symbol -> [(line such as "KL3", keV, barn)].
        beam_keV: of the table.
    """

    lines: Mapping[str, list[tuple[str, float, float]]]
    beam_keV: float

    def __post_init__(self) -> None:
        check_mapping(self.lines, "lines", '{"Fe": [("KL3", 6.404, 120.0)]}')
        check_number(self.beam_keV, "beam_keV", above=0)


def load_emtables(path: str | Path) -> LineTable:
    """Cross-sections of lines from a JSON file in the layout of emtables and espm.

    The layout: {"table": {atomic number: {line: {"energy": keV, "cs": square cm}}}, "metadata": {"beam_energy": keV}},
    lines named by subshells ("KL3", "L3M5", "M5N7").

    The tables that come with espm 1.1 were made with a wrong exponent in the formula of Bote et al., -1/4 for +1/4: at
    200 keV they are low by 0.4 % (O K), 1.1 % (Si K), 4.7 % (Fe K), 6.6 % (Cu K) and 10.5 % (Au L3).

    Args:
        path: of the file.

    Raises:
        ValueError: another layout, such as lists of lines without their names.
    """
    content = json.loads(check_path(path, "path").read_text(encoding="utf-8"))
    try:
        beam, table = float(content["metadata"]["beam_energy"]), content["table"]
        lines = {
            symbol_of(int(z)): [(name, float(line["energy"]), 1e24 * line["cs"]) for name, line in rows.items()]
            for z, rows in table.items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is not in the layout of emtables with named lines; make the table with lines=True"
        ) from error
    return LineTable(lines, beam)
