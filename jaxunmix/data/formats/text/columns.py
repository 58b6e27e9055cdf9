"""Tables of numbers: `.csv`, `.txt` and `.dat`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..base import Format
from ..items import Item
from .decoding import read_text
from .layout import Columns
from .parsing import parse_table
from .tables import table_items


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
    """
    yield table_items(parse_table(read_text(path), path), path, columns, axis)


COLUMNS = Format("text", (".csv", ".txt", ".dat"), read_columns, options=("columns", "axis"))
