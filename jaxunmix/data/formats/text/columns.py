"""Tables of numbers: `.csv`, `.txt` and `.dat`."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..base import Format
from ..items import Item
from .decoding import read_text
from .layout import Columns
from .parsing import parse_table
from .tables import table_items

_ROW = re.compile(r"^\s*[^#\s]", re.MULTILINE)  # a line that is no comment


@contextmanager
def read_columns(path: Path, columns: Columns | None = None, axis: str | int | None = None) -> Iterator[list[Item]]:
    """Numbers separated by comma, semicolon, tab or blanks, with decimal points or commas; `#` starts a comment.

    The names of the columns are the last line of text above the numbers, or the last comment. By them it is known

    - that a column is the axis (energy, eV, wavenumber, wavelength, m/z or bias): the others are spectra;
    - that the names are its values (numbers that rise): each row is a spectrum, after columns x, y of its place and
      an index, which is no data;
    - that each row is one intensity (x, y and an axis that repeats).

    Without names, two columns are an axis and a spectrum, and more are rows of pixels, if no column or row rises as an
    axis would. Otherwise it is asked, which `axis` (a column, "row" or "none") and `columns` (of intensities) answer;
    columns left over that place each row once on a grid are then the places of the pixels.

    A SPEC file may hold several scans: the names of their arrays begin with "scan" and the number.
    """
    text = read_text(path)
    scans = _split_scans(text)
    if len(scans) > 1:
        yield _scan_items(scans, path, columns, axis)
        return
    (only,) = scans.values() or [text]
    yield table_items(parse_table(only, path), path, columns, axis)


def _split_scans(text: str) -> dict[str, str]:
    r"""The text of each scan of a SPEC file that has rows, by its number; the lines above it are left blank.

    >>> list(_split_scans("#S 1 ascan\n1 2\n#S 2 ascan\n#C aborted\n#S 1 ascan\n1 2\n"))
    ['scan1', 'scan1.2']
    """
    starts = [*re.finditer(r"(?m)^#S\s+(\d+)", text)]
    if not starts or _ROW.search(text, 0, starts[0].start()):
        return {}  # of another program
    ends = [*(start.start() for start in starts[1:]), len(text)]
    found: dict[str, str] = {}
    numbers: list[str] = []
    for start, end in zip(starts, ends, strict=True):
        number = start.group(1)
        numbers.append(number)
        times = numbers.count(number)  # a program that starts again counts from 1 again
        part = text[start.start() : end]
        if _ROW.search(part):
            above = "\n" * text.count("\n", 0, start.start())
            found[f"scan{number}" + (f".{times}" if times > 1 else "")] = above + part
    return found


def _scan_items(scans: dict[str, str], path: Path, columns: Columns | None, axis: str | int | None) -> list[Item]:
    """The items of each scan; of one that cannot be read, an item that says so when it is chosen."""
    items: list[Item] = []
    for scan, text in scans.items():
        try:
            found = table_items(parse_table(text, path), path, columns, axis)
        except ValueError as error:
            found = [_unread(len(_ROW.findall(text)), error)]
        items += [replace(item, name=f"{scan}/{item.name}") for item in found]
    return items


def _unread(rows: int, error: ValueError) -> Item:
    """An item for a scan that cannot be read, which is among those to choose from."""

    def read() -> np.ndarray:
        raise error

    return Item("unread", (rows,), np.dtype(float), read, question=str(error))


COLUMNS = Format("text", (".csv", ".txt", ".dat"), read_columns, options=("columns", "axis"))
