"""Units of axes: how they are written in files, and the factors between those of one kind.

>>> canonical("KEV"), canonical("cm-1"), canonical("microns"), canonical("furlong")
('keV', '1/cm', 'um', None)
>>> convert(7.1, "keV", "eV")
array(7100.)
"""

import re
from typing import Any

import numpy as np

# kind -> unit -> (its size in the first unit of the kind, other spellings)
_KINDS: dict[str, dict[str, tuple[float, str]]] = {
    "energy": {
        "eV": (1, "electronvolt electronvolts"),
        "meV": (1e-3, "millielectronvolt"),
        "keV": (1e3, "kiloelectronvolt"),
        "MeV": (1e6, "megaelectronvolt"),
    },
    "length": {
        "m": (1, "meter meters metre metres"),
        "mm": (1e-3, "millimeter millimetre"),
        "um": (1e-6, "µm μm micron microns micrometer micrometers micrometre micrometres"),
        "nm": (1e-9, "nanometer nanometers nanometre nanometres"),
        "angstrom": (1e-10, "Å \u212b angstroms ångström"),
        "pm": (1e-12, "picometer picometre"),
    },
    "wavenumber": {
        "1/m": (1, "m-1 m^-1 m⁻¹"),
        "1/cm": (1e2, "cm-1 cm^-1 cm⁻¹ cm^{-1} cm1"),
        "1/um": (1e6, "um-1 um^-1 µm-1 μm-1 µm⁻¹ 1/µm 1/μm"),
        "1/nm": (1e9, "nm-1 nm^-1 nm⁻¹"),
        "1/angstrom": (1e10, "A-1 A^-1 1/A Å-1 Å^-1 Å⁻¹ 1/Å angstrom-1 angstrom^-1"),
    },
    "angle": {
        "rad": (1, "radian radians"),
        "mrad": (1e-3, "milliradian milliradians"),
        "urad": (1e-6, "µrad μrad"),
        "deg": (np.pi / 180, "° degree degrees"),
    },
    "voltage": {"V": (1, "volt volts"), "mV": (1e-3, "millivolt"), "kV": (1e3, "kilovolt"), "MV": (1e6, "")},
    "time": {"s": (1, "sec second seconds"), "ms": (1e-3, "millisecond"), "min": (60, "minute minutes")},
    "mass over charge": {"m/z": (1, "mz Th thomson u/e Da/e")},
    "counts": {"counts": (1, "count cts")},
}
# Spellings of case that no one reads otherwise; "mev" is not among them, as it may be thousandths or millions.
_EXACT = {
    spelling: (unit, kind)
    for kind, members in _KINDS.items()
    for unit, (_, others) in members.items()
    for spelling in (unit, *others.split())
}


def candidates(text: str) -> list[str]:
    """The units that a text may stand for: one where it is clear, several where only the case tells them apart.

    >>> candidates("MeV"), candidates("MEV")
    (['MeV'], ['meV', 'MeV'])
    """
    plain = re.sub(r"\s+", "", text).strip("()[]")
    if plain in _EXACT:
        return [_EXACT[plain][0]]
    return list(dict.fromkeys(unit for spelling, (unit, _) in _EXACT.items() if spelling.lower() == plain.lower()))


def canonical(text: Any) -> str | None:
    """The unit in the spelling used here, None if it is not known or may be one of several."""
    found = candidates(text) if isinstance(text, str) else []
    return found[0] if len(found) == 1 else None


def tidy(text: str) -> str:
    """The unit in the spelling used here if it is known, else as it is.

    >>> tidy("ev"), tidy("a.u.")
    ('eV', 'a.u.')
    """
    return canonical(text) or text


def factor(unit: str, to: str) -> float:
    """By what numbers in one unit are multiplied for another.

    Raises:
        ValueError: a unit that is not known or may be one of several, or units of two kinds.
    """
    (first, kind), (second, other) = _find_unit(unit), _find_unit(to)
    if kind != other:
        raise ValueError(f"'{unit}' is a unit of {kind} and '{to}' one of {other}; give the axis in {to}")
    # the quotient of powers of ten would be off in the last digit
    up, down = _KINDS[kind][first][0], _KINDS[kind][second][0]
    ratio = up / down
    return float(round(ratio)) if abs(ratio - round(ratio)) < 1e-9 * ratio else ratio


def convert(values: Any, unit: str, to: str) -> np.ndarray:
    """Numbers in one unit as numbers in another of its kind.

    Raises:
        ValueError: as `factor`.
    """
    up, down = factor(unit, to), factor(to, unit)
    return np.asarray(np.asarray(values, float) * up if up >= 1 else np.asarray(values, float) / down)


def _find_unit(text: str) -> tuple[str, str]:
    found = candidates(text)
    if len(found) > 1:
        raise ValueError(f"the unit '{text}' may be {' or '.join(found)}; write which, in this case of letters")
    if not found:
        raise ValueError(f"the unit '{text}' is not known here; name another, such as eV, keV, nm, 1/cm or mrad")
    return found[0], _EXACT[found[0]][1]
