"""What the readers of files share: items, and the record as JSON."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from ..image import SpectrumImage

META = "jaxunmix"  # the array (or group) that holds what arrays alone cannot say, as JSON


@dataclass(frozen=True, eq=False)
class Item:
    """One array of a file: its name, shape and dtype, and how to read it.

    `describe` labels its values, where the file says how, and `trust` tells what the spectrum's axes rest on: what
    the "file" says; what its "reader" made of it, which is doubted where an axis of the map has a spectrum's units;
    the "position" alone, which gives way to the names and units of the axes; or, where the reader marks every axis
    as one of the map, nothing at all ("unmarked"). `preferred` marks what the format itself means by the spectrum,
    among other columns. `units` are those of the values; `record` is what reading
    did to the numbers, for the provenance; `question` is what must be answered before they can be used, unless their
    axis is given.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]
    describe: Callable[[np.ndarray], SpectrumImage] | None = None
    preferred: bool = False
    trust: Literal["file", "reader", "position", "unmarked"] = "file"
    units: str | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    question: str | None = None


def with_provenance(img: SpectrumImage, records: list[dict[str, Any]]) -> SpectrumImage:
    """The same image with these records."""
    return replace(img, provenance=tuple(records))


def meta_text(array: Any) -> str:
    """The text of an array of UTF-8 bytes, or of one string."""
    values = np.asarray(array[...])
    return values.astype(np.uint8).tobytes().decode() if values.dtype.kind in "ui" else str(values)


def to_json(value: Any) -> str:
    """JSON text; numpy arrays become {"array": [...], "dtype", "shape"} and numbers stay exact."""

    def encode(v: Any) -> Any:
        if isinstance(v, np.ndarray):
            return {"array": v.ravel().tolist(), "dtype": str(v.dtype), "shape": list(v.shape)}
        if isinstance(v, np.generic):
            return v.item()
        raise ValueError(f"{type(v).__name__} cannot be written as JSON: {v!r}; give numbers, text, lists or dicts")

    return json.dumps(value, default=encode)


def from_json(text: str) -> Any:
    """The reverse of `to_json`."""

    def decode(d: dict[str, Any]) -> Any:
        if set(d) == {"array", "dtype", "shape"}:
            return np.array(d["array"], d["dtype"]).reshape(d["shape"])
        return d

    return json.loads(text, object_hook=decode)
