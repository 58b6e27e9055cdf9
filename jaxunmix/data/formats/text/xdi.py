"""XDI 1.0, X-ray absorption spectra (Ravel and Newville, J. Phys.: Conf. Ser. 712 (2016) 012148)."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...units import candidates, tidy
from ..base import Format
from ..items import Item
from .decoding import read_text
from .layout import Columns, resolve_columns
from .parsing import Table, parse_table, spectrum_item

_LOWEST_EV = 20.0  # below every edge in eV, above none in keV but those of the heaviest elements


@contextmanager
def read_xdi(path: Path, columns: Columns | None = None) -> Iterator[list[Item]]:
    """An XDI file: each column by its name; and the absorption, where the file only has what it is made of.

    mutrans = ln(i0 / itrans), mufluor = ifluor / i0 and murefer = ln(itrans / irefer) are computed unless the
    file has them. Where there is exactly one of mutrans and mufluor, it alone is offered without being named. Names
    and units are compared without case. Several `columns` become the pixels of an image.
    """
    text = read_text(path)
    if not re.match(r"\s*#\s*XDI", text, re.IGNORECASE):
        raise ValueError(f"cannot read {path.name}: not an XDI file (its first line must begin with '# XDI/')")
    table, unit = _parse(text, path)
    at = next((i for i, n in enumerate(table.names) if n.lower() == "energy"), None)
    if at is None:
        raise ValueError(f"{path.name} has no energy column, only {table.names}; convert angle to energy first")
    energy = table.values[:, at]
    if columns is not None:
        chosen = list(resolve_columns(table, columns, "columns", path))
        item = spectrum_item("columns", energy, np.ascontiguousarray(table.values[:, chosen].T), "energy", unit)
        yield [item]
        return
    read = {n: table.values[:, i] for i, n in enumerate(table.names) if i != at}
    items = [spectrum_item(n, energy, v, "energy", unit) for n, v in (_compute_absorption(read) | read).items()]
    yield [replace(i, preferred=i.name.lower() in ("mutrans", "mufluor")) for i in items]


def _parse(text: str, path: Path) -> tuple[Table, str]:
    """The table with the names of its columns, and the unit of the energy, "" where it is not known."""
    header = dict(re.findall(r"(?mi)^#[ \t]*Column\.(\d+):[ \t]*(\S.*?)[ \t]*$", text))
    table = parse_table("\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#")), path)
    names, unit = [], ""
    for i in range(table.values.shape[1]):
        words = header.get(str(i + 1), f"column{i + 1}").split("||")[0].split() or [f"column{i + 1}"]
        names.append(words[0])
        if words[0].lower() == "energy":
            # XDI's own unit is eV, but energies of a few are those of someone who did not say keV.
            implied = "eV" if np.nanmax(table.values[:, i]) > _LOWEST_EV else ""
            unit = _energy_unit(words[1], path) if len(words) > 1 else implied
    return replace(table, names=names), unit


def _energy_unit(text: str, path: Path) -> str:
    found = candidates(text)
    if len(found) > 1:
        raise ValueError(
            f"{path.name}: the unit of the energy, '{text}', may be {' or '.join(found)}; correct its case"
        )
    return tidy(text)


def _compute_absorption(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    made = {}
    known = {name.lower(): values for name, values in columns.items()}
    with np.errstate(divide="ignore", invalid="ignore"):  # a dead detector gives inf or nan, refused by matrix()
        for name, top, bottom, log in (
            ("mutrans", "i0", "itrans", True),
            ("mufluor", "ifluor", "i0", False),
            ("murefer", "itrans", "irefer", True),
        ):
            if name not in known and {top, bottom} <= known.keys():
                ratio = known[top] / known[bottom]
                made[name] = np.log(ratio) if log else ratio
    return made


XDI = Format("XDI", (".xdi",), read_xdi, options=("columns",))
