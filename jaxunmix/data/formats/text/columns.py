"""Columns of numbers: `.csv`, `.txt` and `.dat`."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..base import Format
from ..items import Item
from ..select import axis_name
from .parsing import parse_columns, spectrum_item


@contextmanager
def read_columns(path: Path) -> Iterator[list[Item]]:
    """Columns of numbers, separated by comma, semicolon or blanks; an optional line of names; # starts a comment.

    With names, the axis is the one column called energy, eV, wavenumber, wavelength, mz or bias, and every other
    column is a spectrum; if there is no such column, `load` asks for `array=` and `energy=` by name. Without
    names, two columns are an axis and a spectrum, and more are a table: rows are pixels, columns channels.
    """
    names, table = parse_columns(path.read_text(encoding="utf-8-sig"), path)
    columns = names or [f"column{i + 1}" for i in range(table.shape[1])]
    axes = [i for i, n in enumerate(columns) if axis_name(n)]
    if not names and table.shape[1] == 2:
        axes = [0]
    if len(axes) != 1:
        plain = {n: table[:, i] for i, n in enumerate(columns)} if names else {"table": table}
        yield [Item(n, v.shape, v.dtype, lambda v=v: v) for n, v in plain.items()]  # type: ignore[misc]
        return
    label, units = _split_units(columns[axes[0]])
    values = {columns[i]: table[:, i] for i in range(len(columns)) if i != axes[0]}
    spectra = [spectrum_item(n, table[:, axes[0]], v, label, units) for n, v in values.items()]
    yield spectra


def _split_units(name: str) -> tuple[str, str]:
    """The name and units of "energy (eV)" or "energy eV".

    >>> _split_units("energy (eV)"), _split_units("mu")
    (('energy', 'eV'), ('mu', ''))
    """
    match = re.fullmatch(r"(\S+?)\s*[\s(\[]\s*([^()\[\]\s]+)[)\]]?.*", name.strip())
    return (match.group(1), match.group(2)) if match else (name.strip(), "")


COLUMNS = Format("text", (".csv", ".txt", ".dat"), read_columns)
