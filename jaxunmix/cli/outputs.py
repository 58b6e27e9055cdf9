"""Where a command speaks and writes: lines on stderr, the folder of its results, and what was typed."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

# What was typed, for the page.
COMMAND: ContextVar[str] = ContextVar("COMMAND")


def say(text: str) -> None:
    """A line on stderr."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def open_folder(path: Path, result: str, quiet: bool) -> Iterator[Path]:
    """The folder for the results: made before the fit, so that a bad path costs nothing, and kept if it is used."""
    if path.exists() and not path.is_dir():
        raise ValueError(f"--out {path} is a file; name a folder")
    if (path / result).exists() and not quiet:
        say(f"note: the result in {path} will be replaced")
    made = not path.exists()
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield path
    finally:
        if made and not any(path.iterdir()):
            path.rmdir()
