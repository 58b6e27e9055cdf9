"""Tables of numbers as items: spectra in columns, pixels in rows, or one intensity in each row."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ...image import SpectrumImage
from ..items import Item
from .headings import Heading, read_heading
from .layout import Columns, Layout, Question, fill_grid, find_layout, index_columns, is_monotonic, told
from .parsing import Table


def table_items(table: Table, path: Path, columns: Columns | None = None, axis: str | int | None = None) -> list[Item]:
    """The items of a table; where its layout cannot be known, items that ask when they are read.

    Raises:
        ValueError: no such columns; places that are not on a grid with the axis.
    """
    layout = find_layout(table, path, columns, axis)
    if isinstance(layout, Question):
        return _asking(table, path, layout)
    if isinstance(layout.axis, int):
        if layout.places and not is_monotonic(table.values[:, layout.axis]):
            return _long_items(table, path, layout, layout.axis)
        return _column_items(table, layout, layout.axis, stacked=columns is not None)
    return [_row_item(table, path, layout)]


def _name(table: Table, column: int) -> str:
    return (table.names[column] if table.names else "") or f"column{column + 1}"


def _asking(table: Table, path: Path, asked: Question) -> list[Item]:
    rows, count = table.values.shape
    question = (
        f"{path.name}: {rows} rows of {count} numbers, and what they are cannot be known: {asked.found}.\n"
        "Say it by axis= (command line: --axis): the name of a column, or its number from 1, if it holds the axis of "
        "the spectra in the other columns; 'row' if the first row holds the axis of spectra in the rows below; 'none' "
        "if each row is a spectrum and the file has no axis. columns= (--columns) chooses the columns of intensities, "
        "such as 2:5 or a name."
    )
    if not table.names:
        return [Item("table", table.values.shape, table.values.dtype, lambda: table.values, question=question)]
    columns = [(_name(table, i), table.values[:, i]) for i in range(count)]
    return [Item(n, v.shape, v.dtype, lambda v=v: v, question=question) for n, v in columns]  # type: ignore[misc]


def _column_items(table: Table, layout: Layout, axis: int, stacked: bool) -> list[Item]:
    """Spectra in columns: each by its name, or those that the user chose as pixels in their order."""
    energy = table.values[:, axis]
    if not stacked or len(layout.data) == 1:
        return [
            labelled_item(_name(table, i), table.values[:, i], (), energy, layout.label, record=_record(table))
            for i in layout.data
        ]
    names = [_name(table, i) for i in layout.data]
    aside = {"column": ("x", names)}
    values = np.ascontiguousarray(table.values[:, list(layout.data)].T)
    return [labelled_item("columns", values, ("x",), energy, layout.label, aside=aside, record=_record(table))]


def _long_items(table: Table, path: Path, layout: Layout, axis: int) -> list[Item]:
    """One intensity in each row, with its place and energy."""
    places = table.values[:, list(layout.places)]
    found, pixel = np.unique(places, axis=0, return_inverse=True)
    energies = table.values[:, axis]
    grid = fill_grid(np.stack([pixel.ravel(), energies], axis=1)) if len(found) > 1 else None
    if grid is None:
        names = ", ".join(f"'{_name(table, i)}'" for i in layout.places)
        raise ValueError(
            f"{path.name}: '{_name(table, axis)}' repeats, and not with the same values at each of the {len(found)} "
            f"places ({names}): {len(np.unique(energies))} different ones in {len(energies)} rows; give every place "
            "the same energies, or take one spectrum out of it"
        )
    sides, order = grid
    items = []
    for i in layout.data:
        values = table.values[order, i].reshape(len(found), len(sides[1]))
        items.append(_place(_name(table, i), values, found, _headings(table, layout.places), sides[1], layout.label))
    return items


def _row_item(table: Table, path: Path, layout: Layout) -> Item:
    """Spectra in rows, with their places where the table has them."""
    data, places = list(layout.data), list(layout.places)
    body = table.values[1:] if layout.axis == "row" else table.values
    if len(body) == 0:
        raise ValueError(f"{path.name}: axis='row', but there is no row below the first")
    values = np.ascontiguousarray(body[:, data])
    energy = None
    if layout.axis == "row":
        energy = table.values[0, data]
    elif layout.axis == "head":
        energy = np.array([float(table.names[i]) for i in data])
    if layout.data == (0,) and layout.axis is None and table.values.shape[1] == 1:
        return labelled_item(_name(table, 0) if table.names else "table", values[:, 0], (), None)
    if places:
        return _place("table", values, body[:, places], _headings(table, layout.places), energy, layout.label)
    if energy is None:
        return Item("table", values.shape, values.dtype, lambda: values, record=_record(table))
    return labelled_item("table", values, ("x",), energy, layout.label, record=_record(table))


def _headings(table: Table, columns: Sequence[int]) -> list[tuple[str, str]]:
    """The axis of the map and the unit for each column of places."""
    heads = [read_heading(_name(table, i)) for i in columns]
    return [(h.place or h.text, h.unit) for h in heads]


def _place(
    name: str,
    values: np.ndarray,
    places: np.ndarray,
    headings: list[tuple[str, str]],
    energy: np.ndarray | None,
    label: Heading | None,
) -> Item:
    """Spectra (pixels, channels) on the grid of their places, slowest first; in a row where these are no grid."""
    order = sorted(range(len(headings)), key=lambda i: "zyx".find(headings[i][0]) if headings[i][0] in "zyx" else -1)
    dims = tuple(headings[i][0] for i in order)
    grid = fill_grid(places[:, order])
    if grid is None:
        aside: dict[str, Any] = {d: ("pixel", places[:, i]) for d, i in zip(dims, order, strict=True)}
        return labelled_item(name, values, ("pixel",), energy, label, aside=aside)
    sides, rows = grid
    shaped = values[rows].reshape(*(len(s) for s in sides), -1)
    coords = dict(zip(dims, sides, strict=True))
    return labelled_item(name, shaped, dims, energy, label, coords, {headings[i][0]: headings[i][1] for i in order})


def labelled_item(
    name: str,
    values: np.ndarray,
    dims: tuple[str, ...],
    energy: np.ndarray | None,
    label: Heading | None = None,
    coords: dict[str, Any] | None = None,
    units: dict[str, str] | None = None,
    aside: dict[str, Any] | None = None,
    record: dict[str, Any] | None = None,
) -> Item:
    """An item of spectra over these dims, on the axis that the heading names (else "energy" without a unit)."""
    dim = label.dim if label is not None and label.dim else "energy"
    unit = label.unit if label is not None else ""
    axes = {**(coords or {}), **({} if energy is None else {dim: energy})}
    known = {d: u for d, u in {**(units or {}), dim: unit}.items() if u and d in axes}

    def describe(read: np.ndarray) -> SpectrumImage:
        data = xr.DataArray(read, dims=(*dims, dim), name=name).assign_coords(aside or {})
        for d, v in axes.items():
            data = data.assign_coords({d: xr.DataArray(v, dims=(d,), attrs={"units": known[d]} if d in known else {})})
        return SpectrumImage.from_array(data, (dim,))

    read: Callable[[], np.ndarray] = lambda: values  # noqa: E731
    return Item(name, values.shape, values.dtype, read, describe, record=record or {})


def _record(table: Table) -> dict[str, Any]:
    """What was left out of the data, for the provenance."""
    indices = index_columns(table)
    return {"left_out": f"{told(table, indices[0])}, an index"} if indices else {}
