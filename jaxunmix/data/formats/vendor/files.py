"""Files whose suffix is none of ours: RosettaSciIO's readers, and then our own where the file is HDF5."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from ..containers.hdf5 import read_hdf5
from ..items import Item
from .missing import MissingPackageError
from .readers import vendor_items


@contextmanager
def read_vendor(path: Path, known: str) -> Iterator[list[Item]]:
    """The arrays of such a file.

    Args:
        path: the file.
        known: the suffixes that are ours, for the message.

    Raises:
        MissingPackageError, ValueError: see `vendor_items`.
    """
    try:
        items = vendor_items(path, known)
    except MissingPackageError:
        raise
    except ValueError:
        if not (path.is_file() and h5py.is_hdf5(path)):
            raise
        with read_hdf5(path) as held:
            yield held
        return
    yield items
