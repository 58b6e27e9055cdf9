r"""Edges, lines, yields and attenuation of the elements, and the way vacancies go.

Energies of edges and lines, relative intensities, Coster-Kronig rates, yields of L and M, and attenuation are those of
Elam, Ravel and Sieber (Radiat. Phys. Chem. 63 (2002) 121), read from xraydb. Yields of K are Bambynek's, see
`fluorescence_yield`. Plain NumPy.
"""

import difflib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import xraydb
from jaxtyping import Float

from .._util.validation import check_number

SUBSHELLS = ("K", "L1", "L2", "L3", "M1", "M2", "M3", "M4", "M5")
OCCUPATION: Mapping[str, int] = dict(zip(SUBSHELLS, (2, 2, 2, 4, 2, 2, 4, 4, 6), strict=True))
FAMILIES = ("K", "L", "M")
LOWEST_KEV = 0.1
"""Below, Elam's tables of attenuation cannot be relied on; the value at this energy is taken."""

AUGER_VACANCIES = 1.6
"""Mean number of vacancies that an Auger decay leaves in the next shell, see `cascade`."""

_BAMBYNEK = (0.0370, 0.03112, 5.44e-5, -1.25e-6)
# K beta over K alpha where M is being filled: Elam's table has 0.12-0.13 for all of them. Na and Mg have no electron
# for it; the others as tabulated in xraylib (Schoonjans et al., Spectrochim. Acta B 66 (2011) 776).
_BETA = {"Na": 0.0, "Mg": 0.0, "Al": 0.0132, "Si": 0.0277, "P": 0.0445, "S": 0.0617, "Cl": 0.0807, "Ar": 0.1020}
_BETA |= {"K": 0.1156, "Ca": 0.1257}
_SPREAD = {"K": ((8, 0.30), (11, 0.15), (21, 0.10), (31, 0.04), (99, 0.03)), "L": ((38, 0.25), (51, 0.12), (99, 0.08))}


class Line(NamedTuple):
    """An emission line: its name after Siegbahn, family, energy, and vacancies' share that emits it."""

    name: str
    family: str
    energy_keV: float
    subshell: str
    final: str
    intensity: float


@lru_cache(maxsize=1)
def _symbols() -> tuple[str, ...]:
    return tuple(xraydb.atomic_symbol(z) for z in range(1, 99))


def check_element(element: str) -> str:
    """The symbol itself.

    Raises:
        ValueError: not the symbol of an element from H to Cf; the nearest is named.
    """
    if isinstance(element, str) and element in _symbols():
        return element
    near = difflib.get_close_matches(str(element).capitalize(), _symbols(), n=1, cutoff=0.0)
    raise ValueError(f"unknown element {element!r}; did you mean {near[0]!r}?")


def atomic_number(element: str) -> int:
    """Z of a symbol."""
    return _symbols().index(check_element(element)) + 1


def symbol_of(number: int) -> str:
    """The symbol of an atomic number."""
    return _symbols()[number - 1]


def atomic_mass(element: str) -> float:
    """Relative atomic mass."""
    return float(xraydb.atomic_mass(check_element(element)))


@lru_cache(maxsize=128)
def edges(element: str) -> Mapping[str, float]:
    """Energies of the subshells K to M5 in keV, as far as the element has them (above 5 eV).

    >>> round(edges("Fe")["K"], 3)
    7.112
    """
    found = xraydb.xray_edges(check_element(element))
    return {s: 1e-3 * found[s].energy for s in SUBSHELLS if s in found and found[s].energy > 5}


@lru_cache(maxsize=1024)
def fluorescence_yield(element: str, subshell: str) -> float:
    r"""Share of the vacancies of a subshell that are filled with emission.

    K, from B on: $(\omega / (1 - \omega))^{1/4} = 0.0370 + 0.03112 Z + 5.44 \cdot 10^{-5} Z^2 - 1.25 \cdot 10^{-6}
    Z^3$, Bambynek's fit of measured values (Hubbell et al., J. Phys. Chem. Ref. Data 23 (1994) 339). Elam's table,
    calculated, is lower by half for B and C, 16 % for O, 15 % for Si, 13 % for Ca, and within 7 % from Sc on. L and M:
    Elam's table.

    >>> round(fluorescence_yield("Si", "K"), 4)
    0.0504
    """
    z = atomic_number(element)
    if subshell == "K" and z >= 5:
        ratio = np.polynomial.polynomial.polyval(z, _BAMBYNEK) ** 4
        return float(ratio / (1 + ratio))
    found = xraydb.xray_edges(element)
    return float(found[subshell].fyield) if subshell in found else 0.0


def yield_sd(element: str, family: str) -> float:
    """Relative standard deviation of the fluorescence yields of a family, "K", "L" or "M".

    A choice of ours, after the uncertainties that Krause gives (J. Phys. Chem. Ref. Data 8 (1979) 307) and the
    differences between tables, for K 3 % (median) to 14.5 % (95th percentile): K 30 % up to N, 15 % up to Ne, 10 % up
    to Ca, 4 % up to Zn, 3 % beyond; L 25 % up to Rb, 12 % up to Sn, 8 % beyond; M 25 %. Cross-sections and the shares
    of Coster-Kronig transitions are not in it.

    >>> yield_sd("O", "K"), yield_sd("Fe", "L")
    (0.15, 0.25)
    """
    if family not in FAMILIES:
        raise ValueError(f"family={family!r}: use one of {', '.join(FAMILIES)}")
    z = atomic_number(element)
    return 0.25 if family == "M" else next(sd for last, sd in _SPREAD[family] if z < last or last == 99)


def attenuation_sd(element: str, energy_keV: float) -> float:
    """Relative standard deviation of an element's mass attenuation at an energy.

    A choice of ours, after the differences between tables, mostly 1-8 %: 10 % below 0.3 keV, 7 % below 1 keV, 4 % below
    3 keV, 2 % beyond, and 10 % within 5 % of one of the element's edges.

    >>> attenuation_sd("Fe", 0.525), attenuation_sd("Fe", 7.2)
    (0.07, 0.1)
    """
    energy_keV = check_number(energy_keV, "energy_keV", above=0)
    if any(abs(energy_keV / edge - 1) < 0.05 for edge in edges(element).values()):
        return 0.10
    return next((sd for top, sd in ((0.3, 0.10), (1.0, 0.07), (3.0, 0.04)) if energy_keV < top), 0.02)


@lru_cache(maxsize=128)
def lines(element: str) -> tuple[Line, ...]:
    """Emission lines of K, L and M; the intensities of those from one subshell sum to about 1.

    Elam's intensities, except for K beta over K alpha of Na to Ca, which the table has far too high (0.127 for Si;
    0.028 is taken here).
    """
    found = []
    for name, line in xraydb.xray_lines(check_element(element)).items():
        if line.initial_level[0] in FAMILIES:
            subshell = line.initial_level
            if subshell == "M4,5":
                subshell = "M5" if fluorescence_yield(element, "M5") else "M4"
            energy, final = 1e-3 * line.energy, line.final_level
            found.append(Line(name, subshell[0], energy, subshell, final, float(line.intensity)))
    if element not in _BETA:
        return tuple(found)
    beta, wanted = sum(line.intensity for line in found if line.name.startswith("Kb")), _BETA[element]
    factors = {"Ka": 1 / ((1 - beta) * (1 + wanted)), "Kb": wanted / (max(beta, 1e-9) * (1 + wanted))}
    return tuple(line._replace(intensity=line.intensity * factors.get(line.name[:2], 1.0)) for line in found)


@lru_cache(maxsize=1024)
def _coster_kronig(element: str, initial: str, final: str) -> float:
    return float(xraydb.ck_probability(element, initial, final, total=False))


def _shares(final: str) -> dict[str, float]:
    """Subshells of a level such as "L3" or "M4,5", and their shares."""
    names = [f"{final[0]}{digit}" for digit in final[1:].split(",")]
    known = [name for name in names if name in OCCUPATION]
    total = sum(OCCUPATION[name] for name in known)
    return {name: OCCUPATION[name] / total for name in known}


def cascade(element: str, ionised: Mapping[str, float]) -> dict[str, float]:
    """Vacancies of each subshell, those that come from deeper ones included.

    A vacancy moves to the final level of the line it emits and within its shell by Coster-Kronig transitions; the rest
    decays by Auger emission and leaves, on average, `AUGER_VACANCIES` in the next shell, shared like its electrons.
    That last step is approximate, and so is leaving out the vacancies of the electrons that Coster-Kronig transitions
    eject; shells beyond the next one get vacancies from emission only.

    Args:
        element: symbol.
        ionised: cross-section of each subshell.

    Returns:
        vacancies in the units of `ionised`.
    """
    vacancies = dict(ionised)

    def add(subshell: str, amount: float) -> None:
        if subshell in vacancies:
            vacancies[subshell] += amount

    for subshell in ionised:
        here, shell = vacancies[subshell], subshell[0]
        omega = fluorescence_yield(element, subshell)
        moved = 0.0
        for other in SUBSHELLS[SUBSHELLS.index(subshell) + 1 :]:
            if other[0] == shell:
                rate = _coster_kronig(element, subshell, other)
                moved += rate
                add(other, here * rate)
        for line in lines(element):
            if line.subshell == subshell:
                for final, share in _shares(line.final).items():
                    add(final, here * omega * line.intensity * share)
        auger = AUGER_VACANCIES * max(1 - omega - moved, 0.0)
        following = {"K": "L1,2,3", "L": "M1,2,3,4,5"}.get(shell)
        for final, share in _shares(following).items() if following else ():
            add(final, here * auger * share)
    return vacancies


def mass_attenuation(elements: Sequence[str], energy_keV: Float[np.ndarray, " n"]) -> Float[np.ndarray, "elements n"]:
    """Mass attenuation coefficients in square cm per g, scattering included.

    From Elam's tables, with the edges they have; below `LOWEST_KEV` the value there.

    Args:
        elements: symbols.
        energy_keV: in any order.
    """
    energy = 1e3 * np.maximum(np.asarray(energy_keV, np.float64), LOWEST_KEV)
    # A shade above 100 eV, at which xraydb would warn.
    rows = [xraydb.mu_elam(check_element(e), np.maximum(energy, 100.001)) for e in elements]
    return np.stack(rows) if rows else np.zeros((0, len(energy)))
