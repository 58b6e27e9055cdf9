"""Large arrays, a block of rows at a time."""

from collections.abc import Iterator

BLOCK_VALUES = 2**22  # of a block: about 32 MB in double precision


def row_blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices that cover the rows of an array, each of so few that what is computed of them stays small.

    >>> list(row_blocks(5_000_000, 2))
    [slice(0, 2097152, None), slice(2097152, 4194304, None), slice(4194304, 6291456, None)]
    """
    step = max(1, BLOCK_VALUES // columns)
    for start in range(0, rows, step):
        yield slice(start, start + step)
