"""Files that are written whole or not at all."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and vanishes otherwise."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no such folder: {path.parent}; make it first")
    if path.is_dir() and not any((path / n).exists() for n in ("zarr.json", ".zgroup")):
        raise ValueError(f"{path} is a folder and no zarr group; it is not overwritten")
    temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield temporary
        if path.is_dir():  # a folder cannot be replaced in one step
            old = temporary.with_name(temporary.name + ".old")
            os.replace(path, old)
            os.replace(temporary, path)
            shutil.rmtree(old)
        else:
            os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)
