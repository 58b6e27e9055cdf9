"""Text files of spectra: columns (csv, txt, dat), XDI, and Athena projects.

Sources: XDI 1.0 (Ravel and Newville, J. Phys.: Conf. Ser. 712 (2016) 012148); the Athena project format as
Demeter writes it (gzipped Perl assignments, which are parsed here and never run).
"""

import gzip
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..image import SpectrumImage
from .items import Item
from .select import axis_name


def _spectrum(
    name: str, axis: np.ndarray | None, values: np.ndarray, axis_label: str = "energy", units: str = ""
) -> Item:
    """An item of one spectrum, or of several as rows, on an axis."""

    def describe(read: np.ndarray) -> SpectrumImage:
        found = axis_name(axis_label) or ("energy", None)
        unit = units or found[1]
        dims = (*("x",)[: read.ndim - 1], found[0])
        coords = {} if axis is None else {found[0]: axis}
        return SpectrumImage.from_array(read, 1, dims, coords, {found[0]: unit} if unit and coords else {}, name=name)

    return Item(name, values.shape, values.dtype, lambda: values, describe)


@contextmanager
def read_columns(path: Path) -> Iterator[list[Item]]:
    """Columns of numbers, separated by comma, semicolon or blanks; an optional line of names; # starts a comment.

    With names, the axis is the one column called energy, eV, wavenumber, wavelength, mz or bias, and every other
    column is a spectrum; if there is no such column, `load` asks for `array=` and `energy=` by name. Without
    names, two columns are an axis and a spectrum, and more are a table: rows are pixels, columns channels.
    """
    names, table = _parse_columns(path.read_text(encoding="utf-8-sig"), path)
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
    spectra = [_spectrum(n, table[:, axes[0]], v, label, units) for n, v in values.items()]
    yield spectra


def _parse_columns(text: str, path: Path) -> tuple[list[str], np.ndarray]:
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
            names = [c.strip('"') for c in re.split(r"[,;\t]", stripped)] if re.search(r"[,;\t]", stripped) else cells
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


def _split_units(name: str) -> tuple[str, str]:
    """The name and units of "energy (eV)" or "energy eV".

    >>> _split_units("energy (eV)"), _split_units("mu")
    (('energy', 'eV'), ('mu', ''))
    """
    match = re.fullmatch(r"(\S+?)\s*[\s(\[]\s*([^()\[\]\s]+)[)\]]?.*", name.strip())
    return (match.group(1), match.group(2)) if match else (name.strip(), "")


@contextmanager
def read_xdi(path: Path) -> Iterator[list[Item]]:
    """An XDI file: each column by its name; and the absorption, where the file only has what it is made of.

    mutrans = ln(i0 / itrans), mufluor = ifluor / i0 and murefer = ln(itrans / irefer) are computed unless the
    file has them. Where there is exactly one of mutrans and mufluor, it alone is offered without being named.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    if not re.match(r"\s*#\s*XDI", text):
        raise ValueError(f"cannot read {path.name}: not an XDI file (its first line must begin with '# XDI/')")
    header = dict(re.findall(r"(?m)^#[ \t]*Column\.(\d+):[ \t]*(\S.*?)[ \t]*$", text))
    _, table = _parse_columns("\n".join(line for line in text.splitlines() if not line.startswith("#")), path)
    columns: dict[str, np.ndarray] = {}
    units = ""
    for i in range(table.shape[1]):
        name, *rest = header.get(str(i + 1), f"column{i + 1}").split("||")[0].split()
        columns[name] = table[:, i]
        units = rest[0] if name == "energy" and rest else units
    if "energy" not in columns:
        raise ValueError(f"{path.name} has no energy column, only {list(columns)}; convert angle to energy first")
    energy = columns.pop("energy")
    made = _absorption(columns)
    items = [_spectrum(n, energy, v, "energy", units or "eV") for n, v in (made | columns).items()]
    yield [replace(i, preferred=i.name in ("mutrans", "mufluor")) for i in items]


def _absorption(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    made = {}
    with np.errstate(divide="ignore", invalid="ignore"):  # a dead detector gives inf or nan, refused by matrix()
        for name, top, bottom, log in (
            ("mutrans", "i0", "itrans", True),
            ("mufluor", "ifluor", "i0", False),
            ("murefer", "itrans", "irefer", True),
        ):
            if name not in columns and {top, bottom} <= columns.keys():
                ratio = columns[top] / columns[bottom]
                made[name] = np.log(ratio) if log else ratio
    return made


@contextmanager
def read_athena(path: Path) -> Iterator[list[Item]]:
    """An Athena project: mu(E) of each group by its label (a repeated label gets the group's name appended)."""
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8", errors="replace")
    if "@x" not in text or "@y" not in text:
        raise ValueError(f"cannot read {path.name}: not an Athena project (no @x and @y in it)")
    items: dict[str, Item] = {}
    for block in re.split(r"(?m)^\$old_group\s*=\s*", text)[1:]:
        group = block.split(";", 1)[0].strip().strip("'\"")
        lists = {k: _perl_list(v) for k, v in re.findall(r"(?ms)^@(\w+)\s*=\s*\((.*?)\);\s*$", block)}
        if not {"x", "y"} <= lists.keys():
            continue
        options = lists.get("args", [])
        label = dict(zip(options[::2], options[1::2], strict=False)).get("label") or group
        label = f"{label} ({group})" if label in items else label
        x, y = (np.array(lists[k], float) for k in ("x", "y"))
        if x.shape != y.shape:
            raise ValueError(f"{path.name}, group '{label}': {x.size} energies but {y.size} values")
        items[label] = _spectrum(label, x, y, "energy", "eV")
    yield list(items.values())


def _perl_list(text: str) -> list[str]:
    quoted = re.findall(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"|([^\s,'\"]+)", text)
    return [re.sub(r"\\(.)", r"\1", a or b or c) for a, b, c in quoted]
