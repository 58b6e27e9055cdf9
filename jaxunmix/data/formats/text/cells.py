"""Lines of text -> cells: which sign separates them, and which one is the decimal sign."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
_UNIT_AFTER = re.compile(r"[^\s(\[]+(?:\s*[(\[][^)\]]*[)\]])?")


@dataclass(frozen=True)
class Dialect:
    """How the cells of a table are written: the separator ("" for any blanks), and the decimal sign."""

    separator: str
    decimal: str

    def split(self, line: str) -> list[str]:
        """The cells of a line."""
        return split_cells(line, self.separator)

    def numbers(self, cells: Sequence[str]) -> list[float] | None:
        """The numbers in the cells, an empty one being a missing value; None if one is no number or all are empty."""
        try:
            return _floats(cells) if self.decimal == "." else _floats([self._plain(c) for c in cells])
        except ValueError:
            pass
        try:
            return _floats([self._plain(c) for c in cells])
        except ValueError:
            return None

    def row(self, line: str) -> list[float] | None:
        """The numbers in a line that is written in this dialect, else None."""
        cells = self.split(line)
        # A decimal comma needs another sign beside it: 400,1 alone is two whole numbers.
        apart = self.separator in line if self.separator else self.decimal == "." or len(cells) > 1
        return self.numbers(cells) if apart else None

    def _plain(self, cell: str) -> str:
        if self.decimal == ",":
            if "." in cell:
                raise ValueError(cell)
            cell = cell.replace(",", ".")
        return re.sub(r"(?<=\d|\.)[dD](?=[+-]?\d)", "e", cell)  # Fortran's exponents


_DIALECTS = tuple(Dialect(s, d) for s in (";", "\t", ",", "") for d in (".", ",") if s != "," or d == ".")


def _floats(cells: Sequence[str]) -> list[float]:
    if not any(cells) or any("_" in c for c in cells):  # which Python takes as a sign between digits
        raise ValueError(cells)
    return [float(c) if c else float("nan") for c in cells]


def split_cells(line: str, separator: str) -> list[str]:
    """Cells of a line between separators, without quotes and blanks about them; "" splits at any blanks."""
    if separator == "":
        return [c.strip("\"'") for c in line.split()]
    if '"' in line:
        return [c.strip() for c in next(csv.reader([line], delimiter=separator, skipinitialspace=True))]
    return [c.strip(" \t'") for c in line.split(separator)]


def find_dialect(lines: Sequence[str], path: Path) -> Dialect:
    """The dialect in which most of the lines are numbers.

    Raises:
        ValueError: decimal commas or points that could be something else.
    """
    counts = [sum(d.row(line) is not None for line in lines) for d in _DIALECTS]
    best = _DIALECTS[counts.index(max(counts))]
    rows = [best.split(line) for line in lines if best.row(line) is not None]
    cells = [c for row in rows for c in row]
    if best.decimal == "," and all(_THOUSANDS.fullmatch(c) for c in cells if "," in c):
        raise ValueError(
            f"{path.name}: '{next(c for c in cells if ',' in c)}' may have a decimal comma or one between thousands, "
            "and so may all others; save it with decimal points"
        )
    if best.separator == "," and any(re.fullmatch(r"[+-]?0\d+", c) for c in cells):
        line = ",".join(rows[0])[:40]
        raise ValueError(
            f"{path.name}: decimal commas between commas ('{line}' has {len(rows[0])} cells); save it with decimal "
            "points, or with semicolons between the columns"
        )
    if not rows and any(re.search(r"\d\.\d{3},\d|\d,\d{3}\.\d", line) for line in lines):
        raise ValueError(f"{path.name}: signs between thousands ('{lines[0][:40]}'); save it without them")
    return best


def split_names(line: str, count: int, separators: Sequence[str]) -> list[str] | None:
    """The `count` names in a line by the first way of splitting it that gives so many, None if none does."""
    ways = [split_cells(line, s) for s in separators if s and s in line]
    ways += [[c.strip() for c in re.split(r"\s{2,}", line.strip())], _UNIT_AFTER.findall(line), line.split()]
    for names in ways:
        names = names[:-1] if len(names) == count + 1 and names[-1] == "" else names
        if len(names) == count:
            return [n.strip("\"' ").lstrip("#") for n in names]
    return _equal_widths(line, count)


def _equal_widths(line: str, count: int) -> list[str] | None:
    """Names in columns of one width, each beginning at the first place of its own, as LabVIEW writes them."""
    line = line.rstrip()
    for wide in range(-(-len(line) // count), (len(line) - 1) // max(count - 1, 1) + 1):
        names = [line[i * wide : (i + 1) * wide] for i in range(count)]
        begin, end = all(n[:1].strip() for n in names), all(n[-1:] == " " for n in names[:-1])
        if begin and end:
            return [n.strip() for n in names]
    return None
