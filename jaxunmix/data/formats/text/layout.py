"""What the columns of a table are: found where only one thing can be meant, else a question.

A layout is recognised by names. Without names two columns are an axis and a spectrum, and a table in which nothing
rises or repeats as an axis or places would is one of pixels and channels.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from .headings import Heading, read_heading
from .parsing import Table, is_counting

Columns = str | int | Sequence[str | int]


@dataclass(frozen=True)
class Layout:
    """What the columns are.

    Attributes:
        axis: the column with the axis of the spectra, "head" if the names are its values, "row" if the first row has
            them, None if there is none.
        data: columns of intensities.
        places: columns with the places of the pixels.
        label: the heading of the axis, if there is one.
    """

    axis: int | str | None
    data: tuple[int, ...]
    places: tuple[int, ...] = ()
    label: Heading | None = None


@dataclass(frozen=True)
class Question:
    """Why the layout cannot be known, in words."""

    found: str


def find_layout(table: Table, path: Path, columns: Columns | None, axis: str | int | None) -> Layout | Question:
    """The layout, by what the user says and else by what can be recognised.

    Raises:
        ValueError: no such columns, or such as have no places on the axis.
    """
    heads = [read_heading(n) for n in table.names]
    data = None if columns is None else resolve_columns(table, columns, "columns", path)
    if axis is not None:
        return _answer(table, heads, data, axis, path)
    found = _by_names(table, heads, data is not None) if heads else _by_numbers(table)
    if isinstance(found, Question) or data is None:
        return found
    if found.axis in data:
        raise ValueError(f"{path.name}: {told(table, int(found.axis))} is the axis; leave it out of columns=")
    if found.axis == "head" and any(heads[i].number is None for i in data):
        raise ValueError(f"{path.name}: columns={columns!r} have no numbers for names, which are the axis here")
    return replace(found, data=data, places=_left_over(table, found.axis, data))


def told(table: Table, column: int) -> str:
    """A column in words."""
    name = table.names[column] if table.names else ""
    return f"column {column + 1} ('{name}')" if name else f"column {column + 1}"


def resolve_columns(table: Table, wanted: Columns, option: str, path: Path) -> tuple[int, ...]:
    """Numbers from 0 of the columns that are meant by name, number from 1, or range such as "3:8" or "3:".

    Raises:
        ValueError: there is no such column, or one is named twice.
    """
    found: list[int] = []
    for one in [wanted] if isinstance(wanted, str | int) else list(wanted):
        found += _resolve(table, one, option, path)
    if len(set(found)) < len(found) or not found:
        raise ValueError(f"{path.name}: {option}={wanted!r} names no column, or one of them twice")
    return tuple(found)


def _resolve(table: Table, one: str | int, option: str, path: Path) -> list[int]:
    text, count = str(one).strip(), table.values.shape[1]
    if text in table.names and not isinstance(one, int):
        return [table.names.index(text)]
    alike = [i for i, n in enumerate(table.names) if n.lower() == text.lower()]
    if len(alike) == 1 and not isinstance(one, int):
        return alike
    if text.isdecimal() and 1 <= int(text) <= count:
        return [int(text) - 1]
    low, colon, high = text.partition(":")
    ends = [int(low) if low else 1, int(high) if high else count] if (low + high).isdecimal() and colon else [0, 0]
    if 1 <= ends[0] <= ends[1] <= count:
        return list(range(ends[0] - 1, ends[1]))
    if "," in text:
        return [i for part in text.split(",") for i in _resolve(table, part, option, path)]
    near = difflib.get_close_matches(text, table.names, n=3)
    known = f"; near it: {near}" if near else f", named {table.names[:20]}" if table.names else ", which have no names"
    raise ValueError(f"{path.name}: {option}={one!r} is none of its {count} columns{known}; a number counts from 1")


def _answer(table: Table, heads: list[Heading], data: tuple[int, ...] | None, axis: str | int, path: Path) -> Layout:
    word, indices = str(axis).strip().lower(), index_columns(table)
    everything = tuple(i for i in range(table.values.shape[1]) if i not in indices)
    if word in ("none", "row") and axis not in table.names:
        numbers = tuple(i for i in everything if heads and heads[i].number is not None)
        places = tuple(i for i in everything if heads and heads[i].place and not numbers)
        if word == "none":
            chosen = data or tuple(i for i in everything if i not in places)
            return Layout(None, chosen, _left_over(table, None, chosen))
        chosen = data or (numbers if len(numbers) > 1 else everything)
        named = bool(heads) and all(heads[i].number is not None for i in chosen)
        first = "head" if named else "row"
        return Layout(first, chosen, _left_over(table, first, chosen))
    (column,) = resolve_columns(table, axis, "axis", path)[:1]
    if data is not None and column in data:
        raise ValueError(f"{path.name}: {told(table, column)} is the axis; leave it out of columns=")
    label = heads[column] if heads else None
    others = tuple(i for i in everything if i != column)
    if data is None and not is_monotonic(table.values[:, column]) and heads:
        places = tuple(i for i in others if heads[i].place)
        data = tuple(i for i in others if i not in places) if _complete(table, (*places, column)) else None
    chosen = data or others
    return Layout(column, chosen, _left_over(table, column, chosen), label)


def index_columns(table: Table) -> tuple[int, ...]:
    """Columns that only number the rows, as programs write them before a table."""
    first = read_heading(table.names[0]) if table.names else None
    return (0,) if first is not None and first.may_be_index and is_counting(table.values[:, 0]) else ()


def _left_over(table: Table, axis: int | str | None, data: tuple[int, ...]) -> tuple[int, ...]:
    """Columns beside axis and data that place each row once on a whole grid; named places even where they do not."""
    heads = [read_heading(n) for n in table.names]
    if isinstance(axis, int) and is_monotonic(table.values[:, axis]):
        return ()
    indices = index_columns(table)
    rest = tuple(i for i in range(table.values.shape[1]) if i not in (*data, *indices) and i != axis)
    end = (axis,) if isinstance(axis, int) else ()
    skip = 1 if axis == "row" else 0
    named = tuple(i for i in rest if heads and heads[i].place)
    for some in (rest, named):
        if some and _complete(table, (*some, *end), skip):
            return some
    return named if len({heads[i].place for i in named}) == len(named) else ()


def _by_names(table: Table, heads: list[Heading], chosen: bool) -> Layout | Question:
    """The layout that headings tell; `chosen` if the user says which columns are the intensities."""
    indices, count = index_columns(table), len(heads)
    lead = next((i for i, h in enumerate(heads) if h.number is not None), count)
    tail = [h.number for h in heads[lead:] if h.number is not None]
    if len(tail) == count - lead >= 3 and lead <= 3 and is_monotonic(np.array(tail)):
        return _by_numbers_in_names(table, heads, lead, np.array(tail))
    axes = [i for i, h in enumerate(heads) if h.dim]
    rest = [i for i in range(count) if i not in indices]
    if not axes and not table.sure and len(rest) == 2:
        return _by_numbers(table)
    if len(rest) == 1 and not axes:
        return Layout(None, (rest[0],))
    if len(axes) != 1:
        listed = ", ".join(f"'{h.text}'" for h in heads[:12]) + (", ..." if count > 12 else "")
        which = "none of its columns is called as an axis would be" if not axes else "several may be the axis: "
        return Question(which + ", ".join(told(table, i) for i in axes) + f" (columns: {listed})")
    axis = axes[0]
    others = tuple(i for i in rest if i != axis)
    if not others:
        return Layout(None, (axis,))
    if is_monotonic(table.values[:, axis]):
        return Layout(axis, others, (), heads[axis])
    named = tuple(i for i in others if heads[i].place)
    data = tuple(i for i in others if i not in named)
    if named and data:
        return Layout(axis, data, named, heads[axis])
    grid = None if chosen else _find_grid(table, axis, others)
    if grid is not None:
        names = " and ".join(told(table, i) for i in grid)
        return Question(f"{told(table, axis)} repeats, once for each value of {names}, which may be places")
    return Layout(axis, others, (), heads[axis])


def _by_numbers_in_names(table: Table, heads: list[Heading], lead: int, tail: np.ndarray) -> Layout | Question:
    """The layout where names are the values of an axis, after columns with other names."""
    indices = index_columns(table)
    before = [i for i in range(lead) if i not in indices]
    data = tuple(range(lead, len(heads)))
    corner = heads[0] if lead == 1 and heads[0].dim else None
    if corner is not None and is_monotonic(table.values[:, 0]) and not is_counting(table.values[:, 0]):
        if is_counting(tail):  # the numbers of pixels
            return Layout(0, data, (), corner)
        return Question(f"both the names of the columns and {told(table, 0)} rise as an axis would")
    unknown = [i for i in before if not heads[i].place]
    if unknown and corner is None:
        return Question(
            f"its columns are named by numbers from {tail[0]:g} to {tail[-1]:g}, but before them there is "
            + " and ".join(told(table, i) for i in unknown)
        )
    places = tuple(i for i in before if heads[i].place)
    return Layout(None if is_counting(tail) else "head", data, places, corner)


def _by_numbers(table: Table) -> Layout | Question:
    """The layout of a table without names."""
    values = table.values
    rows, count = values.shape
    if count == 1:
        return Layout(None, (0,))
    if count == 2:
        if is_monotonic(values[:, 1]) and not _rises(values[:, 0]) and rows >= 3:
            return Question(f"its second column, not the first, goes {_ends(values[:, 1])} as an axis would")
        return Layout(0, (1,))
    found = []
    if rows >= 3 and _rises(values[:, 0]):
        found.append(f"its first column goes {_ends(values[:, 0])} as an axis would (axis=1)")
    others = [i for i in range(1, min(count, 4)) if rows >= 10 and is_monotonic(values[:, i])]
    found += [f"column {i + 1} goes {_ends(values[:, i])} as an axis would (axis={i + 1})" for i in others]
    if is_monotonic(values[0]):
        found.append(f"its first row goes {_ends(values[0])} as an axis would (axis='row')")
    grid = _find_grid(table, None, range(min(count, 3))) if rows >= 4 else None
    if grid is not None:
        columns = " and ".join(str(i + 1) for i in grid)
        found.append(f"columns {columns} hold each pair of values once, as places on a map or an axis would")
    return Question("; ".join(found)) if found else Layout(None, tuple(range(count)))


def _find_grid(table: Table, axis: int | None, columns: Sequence[int]) -> tuple[int, ...] | None:
    """The fewest of the first columns that, with the axis, take each combination of their values once."""
    end = () if axis is None else (axis,)
    for size in range(1 if end else 2, 4):
        for some in combinations(list(columns)[:4], size):
            if _complete(table, (*some, *end)):
                return some
    return None


def _complete(table: Table, columns: Sequence[int], skip: int = 0) -> bool:
    return fill_grid(table.values[skip:, list(columns)]) is not None


def fill_grid(places: np.ndarray) -> tuple[list[np.ndarray], np.ndarray] | None:
    """The values along each side of a whole grid, and the row of each of its cells; None if it is no such.

    Args:
        places: (rows, sides).
    """
    if not np.isfinite(places).all():
        return None
    found = [np.unique(column, return_inverse=True) for column in places.T]
    sides = [values for values, _ in found]
    shape = [len(values) for values in sides]
    # one row for each cell, and at least two values along each side: a constant places nothing
    if np.prod([float(n) for n in shape]) != len(places) or (len(shape) > 1 and min(shape) < 2):
        return None
    flat = np.ravel_multi_index([inverse for _, inverse in found], shape)
    order = np.argsort(flat)
    return (sides, order) if np.array_equal(flat[order], np.arange(len(flat))) else None


def is_monotonic(values: np.ndarray) -> bool:
    """Whether numbers rise or fall from each to the next."""
    steps = np.diff(values)
    return bool(np.isfinite(values).all() and ((steps > 0).all() or (steps < 0).all()))


def _rises(values: np.ndarray) -> bool:
    """Whether numbers rise or fall throughout, or all but throughout, as measured energies do."""
    steps = np.diff(values)
    most = max(np.mean(steps > 0), np.mean(steps < 0))
    return is_monotonic(values) or bool(len(values) >= 10 and np.isfinite(values).all() and most >= 0.9)


def _ends(values: np.ndarray) -> str:
    return f"from {values[0]:g} to {values[-1]:g}"
