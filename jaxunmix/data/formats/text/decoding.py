"""Bytes -> text, by the marks that files carry and else by what fits."""

import codecs
from pathlib import Path

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as the mark of utf-16 does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(path: Path) -> str:
    """The text of a file: as its byte order mark says, else UTF-8, else the Western code page of Windows.

    Only comments and names can differ between the latter two: numbers are the same bytes in both.

    Raises:
        ValueError: bytes that no text has.
    """
    raw = path.read_bytes()
    for mark, encoding in _MARKS:
        if raw.startswith(mark):
            try:
                return raw.decode(encoding)
            except UnicodeDecodeError as error:
                raise ValueError(f"cannot read {path.name}: begins as {encoding} text, but {error}") from error
    if b"\0" in raw:
        where = raw.index(b"\0")
        raise ValueError(
            f"cannot read {path.name}: it is no text (a zero byte at {where}); if it is UTF-16, save it with a byte "
            "order mark or as UTF-8"
        )
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace")
