"""RosettaSciIO's readers of a suffix, each tried in turn."""

import contextlib
import importlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ...axes import from_hyperspy_axes
from ...image import SpectrumImage
from ..items import Item, with_provenance
from .missing import MissingPackageError, needs
from .signal import VendorSignal, finish_signal

# Notes of readers that say nothing of the data: which packages would make them faster, or give HyperSpy's classes.
_NOISE = ("lumispy", "numba", "signal class", "signal_type")


def vendor_items(path: Path, known: str) -> list[Item]:
    """Signals of a vendor's file, by the first of RosettaSciIO's readers of its suffix that reads it.

    Args:
        path: the file.
        known: the suffixes that are read without RosettaSciIO, for the message.

    Raises:
        MissingPackageError: the only reader needs a package.
        ValueError: no reader knows the suffix, or none reads the file; the message says what each found.
    """
    suffix = path.suffix.lower().lstrip(".")
    plugins = [p for p in _plugins(path, known) if suffix in {e.lower() for e in p["file_extensions"]}]
    if not plugins:
        raise ValueError(f"'{path.suffix}' is none of {known}, and RosettaSciIO does not know it either")
    return read_by(path, plugins)


def named_items(path: Path, reader: str) -> list[Item]:
    """Signals of a file whose format is known by its content.

    Args:
        path: the file.
        reader: RosettaSciIO's name of the format.

    Raises:
        MissingPackageError: RosettaSciIO, or a package that its reader needs, is not installed.
        ValueError: the reader does not read it.
    """
    return read_by(path, [p for p in _plugins(path, None, reader) if p["name"] == reader])


def _plugins(path: Path, known: str | None, reader: str = "a vendor's format") -> list[dict[str, Any]]:
    try:
        from rsciio import IO_PLUGINS
    except ImportError as error:
        if known is None:
            raise needs(path, f"{reader} in this file", "rosettasciio") from error
        raise ValueError(
            f"'{path.suffix}' is none of {known}; if it is a vendor's format: pip install 'jaxunmix[vendor]'"
        ) from error
    return IO_PLUGINS


def read_by(path: Path, plugins: Sequence[dict[str, Any]]) -> list[Item]:
    """The signals by the first reader that finds any, else an error that tells what each said."""
    said: list[tuple[str, Exception | str]] = []
    for plugin in plugins:
        name = plugin["name"]
        with _notes() as notes:
            found = _signals(path, plugin)
        if isinstance(found, Exception):
            said.append((name, found))
        elif any(s.data.size for s in found):
            return [_item(path, i, s, name, notes) for i, s in enumerate(found)]
        else:
            said.append((name, notes[-1] if notes else "found no data"))
    first = said[0][1]
    if len(said) == 1 and isinstance(first, MissingPackageError):
        raise first
    causes = "; ".join(f"{name}: {_one_sentence(path, what)}" for name, what in said)
    last = next((what for _, what in said if isinstance(what, Exception)), None)
    raise ValueError(
        f"cannot read {path.name}: damaged, or of another format than its suffix says ({causes})"
    ) from last


def _signals(path: Path, plugin: dict[str, Any]) -> list[VendorSignal] | Exception:
    """What one reader finds, or the error it ends with."""
    try:
        records = importlib.import_module(plugin["api"]).file_reader(str(path))
        return [finish_signal(r) for r in records if "data" in r]
    except ImportError as error:
        return needs(path, f"the reader {plugin['name']}", error.name or str(error))
    except Exception as error:  # whatever a reader does with a file that it does not know
        return error.with_traceback(None)  # whose frames would keep the file open


def _one_sentence(path: Path, what: Exception | str) -> str:
    """The first line of what a reader said, without the folders of the file."""
    prefix = f"cannot read {path.name}: "
    if isinstance(what, str | MissingPackageError):
        text = str(what)
    elif isinstance(what, AssertionError | IndexError | KeyError | AttributeError | TypeError) and len(str(what)) < 40:
        text = f"{type(what).__name__} {what}"  # of the reader's own code: says nothing by itself
    else:
        text = str(what) or type(what).__name__
    lines = text.strip().splitlines() or [type(what).__name__]
    return lines[0].replace(str(path), path.name).removeprefix(prefix).rstrip(" .")


@contextlib.contextmanager
def _notes() -> Iterator[list[str]]:
    """What the readers log as warnings meanwhile, kept for the record and off the terminal."""
    found: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            if record.levelno >= logging.WARNING and not any(word in text for word in _NOISE):
                found.append(text)

    logger = logging.getLogger("rsciio")
    handlers, passed_on = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [Keep()], False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield found
    finally:
        logger.handlers, logger.propagate = handlers, passed_on


def _item(path: Path, i: int, signal: VendorSignal, reader: str, notes: list[str]) -> Item:
    title = signal.title or "signal"
    name = f"{i}:{title}"

    def describe(values: np.ndarray) -> SpectrumImage:
        axes, dropped = _usable(signal.axes)
        for text in dropped:
            warnings.warn(f"{path.name}: {text}", stacklevel=2)
        given = from_hyperspy_axes(axes)
        given["units"] |= signal.units
        img = SpectrumImage.from_array(values, **given, name=title)
        if signal.signal_type:
            img.data.attrs["signal_type"] = signal.signal_type
        parameters: dict[str, Any] = {"file": path.name, "array": name, "reader": reader}
        told = [n.replace(str(path), path.name) for n in notes] + dropped
        if told:
            parameters["notes"] = told
        return with_provenance(img, [{"step": "load", "parameters": parameters}])

    trust: Literal["reader", "position", "unmarked"] = "reader" if signal.flagged else "position"
    if all(a["navigate"] for a in signal.axes):
        trust = "unmarked"
    return Item(name, signal.data.shape, signal.data.dtype, lambda: signal.data, describe, trust=trust)


def _usable(axes: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """The axes, and in words those whose coordinate is left out because it is none.

    If the reader marks no axis as a spectrum's, the last one is taken for it; `Item.trust` says that this is a guess.
    """
    usable, dropped = [], []
    for axis in axes:
        axis = {k: v for k, v in axis.items() if v is not None}
        problem = _problem(axis)
        if problem is not None:
            axis = {k: v for k, v in axis.items() if k not in ("axis", "scale", "offset", "units")}
            axis["uncalibrated"] = True
            dropped.append(
                f"the coordinate of axis '{axis.get('name', '')}' is left out, because {problem}; its "
                f"{axis['size']} entries are numbered, or give coords="
            )
        usable.append(axis)
    if all(a["navigate"] for a in usable):
        usable[-1] = usable[-1] | {"navigate": False}
    return usable, dropped


def _problem(axis: dict[str, Any]) -> str | None:
    if "axis" in axis:
        values = np.asarray(axis["axis"], float)
        if not np.isfinite(values).all():
            return "not all of its values are finite"
        steps = np.diff(values)
        return None if (steps > 0).all() or (steps < 0).all() else "its values do not rise or fall throughout"
    if "scale" not in axis:
        return None if "expression" in axis else "the file has none that can be used"
    if not np.isfinite([float(axis["scale"]), float(axis.get("offset", 0))]).all():
        return "its scale or offset is not finite"
    return "its scale is 0" if float(axis["scale"]) == 0 and axis["size"] > 1 else None
