"""Text -> a table of numbers with the names of its columns; what it means is not asked here."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...image import SpectrumImage
from ...units import candidates, tidy
from ..items import Item
from ..select import axis_name
from .cells import Dialect, find_dialect, split_cells, split_names
from .headings import read_heading

_COMMENTS = "#%!"
_COLUMN = re.compile(r"column\.(\d+):\s*(\S.*)", re.IGNORECASE)  # of XDI, which larch writes in any text file


@dataclass(frozen=True)
class Table:
    """Numbers in rows and columns.

    Attributes:
        names: one for each column, empty where there are none.
        sure: whether they stand in a line of their own; else in the last comment, which may have been meant otherwise.
        values: (rows, columns), NaN where a cell is empty.
    """

    names: list[str]
    sure: bool
    values: np.ndarray


def spectrum_item(
    name: str, axis: np.ndarray | None, values: np.ndarray, axis_label: str = "energy", units: str = ""
) -> Item:
    """An item of one spectrum, or of several as rows, on an axis."""

    def describe(read: np.ndarray) -> SpectrumImage:
        dim, unit = axis_name(axis_label) or (axis_label or "energy", None)
        unit = tidy(units) or unit
        coords = {} if axis is None else {dim: axis}
        dims = (*("x",)[: read.ndim - 1], dim)
        return SpectrumImage.from_array(read, 1, dims, coords, {dim: unit} if unit and coords else {}, name=name)

    return Item(name, values.shape, values.dtype, lambda: values, describe)


def parse_table(text: str, path: Path) -> Table:
    """The one table of a text: rows of numbers, before them comments, other lines, and a line of names.

    Raises:
        ValueError: a line among the numbers that is none, or of another length; no numbers, or text before them in
            each row; names that do not fit; commas and points that could be read in two ways.
    """
    lines = [(i, raw.strip(" \r\f")) for i, raw in enumerate(text.splitlines(), 1) if raw.strip(" \t\r\f;,")]
    lines = [(i, line) for i, line in lines if not re.fullmatch(r"sep=.", line)]  # Excel's
    comments = [line.lstrip()[0] in _COMMENTS for _, line in lines]
    plain = [line for (_, line), comment in zip(lines, comments, strict=True) if not comment]
    dialect = find_dialect(plain[-100:], path)
    first = next((k for k, (_, ln) in enumerate(lines) if not comments[k] and _is_row(dialect, ln)), len(lines))
    if first == len(lines):
        raise ValueError(f"cannot read {path.name}: {_why_no_rows(plain)}")
    values = _parse_plain(lines[first:], dialect)
    values = _parse_rows(lines[first:], dialect, path) if values is None else values
    heads = [line for (_, line), comment in zip(lines[:first], comments, strict=False) if not comment]
    notes = [line for (_, line), comment in zip(lines[:first], comments, strict=False) if comment]
    names, sure = _find_names(heads, notes, values, dialect, path)
    used = ~np.isnan(values).all(axis=0) | np.array([bool(n) for n in names] or [False] * values.shape[1])
    names = [n for n, keep in zip(names, used, strict=True) if keep] if names else []
    return Table(_named(names, path), sure, values[:, used])


def _why_no_rows(lines: list[str]) -> str:
    """What a text without rows of numbers holds, in words."""
    for separator in (";", "\t", ",", ""):
        rows = [cells for line in lines if len(cells := split_cells(line, separator)) > 1]
        labels = [cells[0] for cells in rows if Dialect(separator, ".").numbers(cells[1:]) is not None]
        if len(labels) > len(lines) / 2:
            return f"its rows begin with text ('{labels[-1][:40]}') before the numbers; save it without that column"
    return "it holds no row of numbers"


def _is_row(dialect: Dialect, line: str) -> bool:
    """Whether a line is one of numbers; one that begins with empty cells is the line of names of an index."""
    row = dialect.row(line)
    if row is None or dialect.split(line)[0]:
        return row is not None
    filled = np.array([r for r in row if not np.isnan(r)])
    return len(filled) < 3 or not (np.all(np.diff(filled) > 0) or np.all(np.diff(filled) < 0))


def _parse_plain(lines: list[tuple[int, str]], dialect: Dialect) -> np.ndarray | None:
    """The rows as NumPy reads them, ten times as fast; None if there is more to them than numbers."""
    if dialect.decimal != "." or any(line.lstrip()[0] in _COMMENTS for _, line in lines):
        return None
    try:
        return np.loadtxt([line for _, line in lines], delimiter=dialect.separator or None, comments=None, ndmin=2)
    except ValueError:
        return None


def _parse_rows(lines: list[tuple[int, str]], dialect: Dialect, path: Path) -> np.ndarray:
    found = []
    for number, line in lines:
        start = line.lstrip()
        if start[0] in _COMMENTS:
            if re.match(r"#[SL]\s", start):
                raise ValueError(f"{path.name}, line {number}: a further table begins; save one table in each file")
            continue
        cells = dialect.split(line)
        row = dialect.numbers(cells)
        if row is None:
            raise ValueError(f"{path.name}, line {number}: not numbers: {start[:60]!r}")
        found.append((number, row, cells[-1] == "" and len(cells) > 1))
    if found and all(open_end for _, _, open_end in found):  # a separator at the end of each line
        found = [(number, row[:-1], False) for number, row, _ in found]
    for number, row, _ in found:
        if len(row) != len(found[0][1]):
            raise ValueError(f"{path.name}, line {number}: {len(row)} columns, but {len(found[0][1])} above it")
    return np.array([row for _, row, _ in found])


def _find_names(
    heads: list[str], notes: list[str], rows: np.ndarray, dialect: Dialect, path: Path
) -> tuple[list[str], bool]:
    """Names of the columns, and whether they stand in a line of their own."""
    count = rows.shape[1]
    separators = [dialect.separator, "\t", ";", ","]
    fitting = [names for line in heads[-2:] if (names := _head_names(line, count, dialect, rows)) is not None]
    if heads and (names := _head_names(heads[-1], count, dialect, rows)) is not None:
        if len(fitting) == 2 and all(_is_unit(n) for n in names):
            units = [u.strip("()[] ") for u in names]
            return [f"{n} ({u})" if u and _is_axis(n) else n for n, u in zip(fitting[0], units, strict=True)], True
        return names, True
    if heads and dialect.separator and dialect.separator in heads[-1]:
        cells = split_cells(heads[-1], dialect.separator)
        raise ValueError(
            f"{path.name}: {count} columns, named {cells}; give each its own name"
            + (" (decimal commas between commas?)" if dialect.separator == "," else "")
        )
    if not notes:
        return [], False
    told = re.match(r"#L\s+(.*)", notes[-1].lstrip())
    last = told.group(1) if told else notes[-1].lstrip().lstrip(_COMMENTS)
    found = split_names(last if last[:1] == "\t" else last.lstrip(), count, separators)
    if found is not None:
        return found, told is not None
    listed = {match.group(1): match.group(2) for n in notes if (match := _COLUMN.search(n))}
    columns = [listed.get(str(i + 1), "").split("||")[0].strip() for i in range(count)]
    return (columns, True) if all(columns) else ([], False)


def _head_names(line: str, count: int, dialect: Dialect, rows: np.ndarray) -> list[str] | None:
    if dialect.separator:
        names = split_cells(line, dialect.separator)
        names = names[:-1] if len(names) == count + 1 and names[-1] == "" else names
    else:
        names = split_names(line, count, ["\t"]) or line.split()
    if len(names) == count - 1 and count > 2 and is_counting(rows[:, 0]):
        names = ["", *names]  # R gives the numbers of the rows no name
    # A number in the first cell and text in others would be a spoilt row; numbers are written as such.
    numbers = [dialect.numbers([n]) for n in names]
    names = [str(v[0]) if v is not None and "," in n else n for n, v in zip(names, numbers, strict=True)]
    return names if len(names) == count else None


def is_counting(values: np.ndarray) -> bool:
    """Whether these are the numbers of rows, from 0 or 1 on."""
    return values[0] in (0, 1) and bool(np.array_equal(values, values[0] + np.arange(len(values))))


def _is_axis(name: str) -> bool:
    heading = read_heading(name)
    return heading.dim is not None or heading.place is not None


def _is_unit(text: str) -> bool:
    return not text or bool(candidates(text)) or text.strip("()[]").lower() in ("a.u.", "arb. units", "1", "-", "%")


def _named(names: list[str], path: Path) -> list[str]:
    filled = [n for n in names if n]
    if len(set(filled)) < len(filled):
        raise ValueError(f"{path.name}: {len(names)} columns, named {names}; give each its own name")
    return names
