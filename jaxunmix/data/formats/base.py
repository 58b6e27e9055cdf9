"""What a format says of itself."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from ..image import SpectrumImage
from .items import Item


@dataclass(frozen=True)
class Format:
    """A kind of file: how it is called, and how it is read and written.

    Attributes:
        name: in words, for messages.
        suffixes: by which it is known, in small letters and with the dot.
        read: opens a file and gives its arrays as items, whose values are read when asked for.
        write: writes an image to a file or folder that does not exist yet; None where it is only read.
        refusal: why it is not written and what to do instead, where there is more to say than which formats are
            written; "{stem}" stands for the name of the file.
        options: names of arguments of `load` that `read` takes beside the path, by name.
    """

    name: str
    suffixes: tuple[str, ...]
    read: Callable[..., AbstractContextManager[list[Item]]]
    write: Callable[[SpectrumImage, Path], None] | None = None
    refusal: str | None = None
    options: tuple[str, ...] = ()
