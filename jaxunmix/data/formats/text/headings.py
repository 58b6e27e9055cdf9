"""What the heading of a column says: an axis, a coordinate of the map, an index, or a number on an axis."""

import re
from dataclasses import dataclass

from ...units import candidates, canonical, tidy
from ..select import axis_name

_COORDINATE = re.compile(r"(x|y|z)(_?(pos|position|coord|coordinate|pixel|px|index))?")
_PLACES = {"row": "y", "line": "y", "col": "x", "column": "x"}
_INDEX = re.compile(r"|index|idx|unnamed:? ?\d*")


@dataclass(frozen=True)
class Heading:
    """What the heading of a column says.

    Attributes:
        text: the heading as it is.
        dim: the axis of a spectrum whose values the column holds, such as "energy", else None.
        place: "x", "y" or "z" if they are places on the map, else None.
        unit: as the heading has it, "" if it has none.
        number: its value if it is a number.
    """

    text: str
    dim: str | None
    place: str | None
    unit: str
    number: float | None

    @property
    def may_be_index(self) -> bool:
        """Whether it is what programs write above the numbers of rows."""
        return _INDEX.fullmatch(self.text.strip().lower()) is not None


def read_heading(text: str) -> Heading:
    """What a heading says.

    >>> read_heading("Mono Energy (KeV)").dim, read_heading("Mono Energy (KeV)").unit
    ('energy', 'keV')
    >>> read_heading("x_um").place, read_heading("mu").dim, read_heading("532.5").number
    ('x', None, 532.5)
    """
    name, unit = _split_unit(text.strip())
    plain = re.sub(r"[^0-9a-z_]+", "_", name.lower().replace("m/z", "mz"), flags=re.IGNORECASE).strip("_")
    found = axis_name(re.sub(r"[^0-9A-Za-z_]+", "_", name.replace("m/z", "mz")).strip("_"))
    if found is None and plain == "e" and unit in ("eV", "keV", "meV"):
        found = ("energy", None)
    place = _COORDINATE.fullmatch(plain)
    try:
        number = float(text)
    except ValueError:
        number = None
    return Heading(
        text,
        None if found is None else found[0],
        place.group(1) if place else _PLACES.get(plain),
        unit or (found[1] or "" if found else ""),
        number,
    )


def _split_unit(text: str) -> tuple[str, str]:
    """The name and the unit of "energy (eV)", "energy [eV]", "energy / eV", "energy, eV", "energy eV" or "x_um"."""
    match = re.fullmatch(r"(.*?\S)\s*[(\[]([^()\[\]]*)[)\]]\W*", text)
    if match:
        return match.group(1), tidy(match.group(2).strip())
    match = re.fullmatch(r"(.*?\S)(?:\s*/\s*|\s*,\s*|\s+|_)(\S+)", text)
    if match is None or text.lower() == "m/z" or not candidates(match.group(2)):
        return text, ""
    # One letter after a blank or underscore is rather part of the name.
    plain = canonical(match.group(2)) in ("m", "s", "counts", "min", "V") and "/" not in text
    return (text, "") if plain else (match.group(1), tidy(match.group(2)))
