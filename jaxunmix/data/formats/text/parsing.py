"""What text files of spectra share: rows of numbers, and spectra on an axis."""

from pathlib import Path

import numpy as np

from ...image import SpectrumImage
from ...units import tidy
from ..items import Item
from ..select import axis_name


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


def parse_columns(text: str, path: Path) -> tuple[list[str], np.ndarray]:
    """Names of the columns, if there are any, and the numbers (rows, columns).

    Raises:
        ValueError: a line that is not numbers, or of another length; no numbers; names that do not fit.
    """
    rows: list[list[float]] = []
    names: list[str] = []
    comment = ""
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped:
            continue
        if stripped[0] in "#%!":
            comment = stripped.lstrip("#%! ")
            continue
        cells = _cells(stripped)
        try:
            row = [float(c) if c else np.nan for c in cells]  # an empty cell is a missing value
        except ValueError:
            if rows or names:
                raise ValueError(f"{path.name}, line {number}: not numbers: {stripped[:60]!r}") from None
            names = [c.strip("\"' ") for c in cells]
            continue
        if rows and len(row) != len(rows[0]):
            raise ValueError(f"{path.name}, line {number}: {len(row)} columns, but {len(rows[0])} above it")
        if not rows and not names and len(_cells(comment)) == len(row):
            names = _cells(comment)
        rows.append(row)
    if not rows:
        raise ValueError(f"cannot read {path.name}: it holds no row of numbers")
    if names and (len(names) != len(rows[0]) or len(set(names)) < len(names)):
        raise ValueError(f"{path.name}: {len(rows[0])} columns, named {names}; give each its own name")
    return names, np.array(rows)


def _cells(line: str) -> list[str]:
    """Cells of a line, separated by commas, semicolons, tabs or else blanks; one separator may end the line."""
    for separator in (";", ",", "\t"):
        if separator in line:
            cells = [c.strip() for c in line.split(separator)]
            return cells[:-1] if cells[-1] == "" else cells
    return line.split()
