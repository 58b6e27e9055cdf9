"""A signal as RosettaSciIO's readers describe it, without HyperSpy.

A reader gives a dictionary: the data, its axes, metadata, and functions that finish the signal (`post_process`), which
call methods of HyperSpy's signal. `VendorSignal` has those of them that readers use, so that HyperSpy need not be
installed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...axes import quantity_units, text_or_none


class VendorSignal:
    """Data and axes in the order of the array, and what the readers' functions call."""

    def __init__(self, record: Mapping[str, Any]):
        self.data = to_numpy(record["data"])
        self.axes, self.flagged = _axes(record, self.data.shape)
        metadata = record.get("metadata") or {}
        general, signal = metadata.get("General") or {}, metadata.get("Signal") or {}
        self.title = text_or_none(general.get("title"))
        self.signal_type = text_or_none(signal.get("signal_type"))
        self.units = quantity_units(signal.get("quantity") or _read_mapping(record, "Signal.quantity"))
        self.ragged = False

    def to_signal1D(self, optimize: bool = True) -> "VendorSignal":
        """The first axis of the array becomes the spectrum's."""
        return self._with_signal_axes([0])

    def to_signal2D(self, optimize: bool = True) -> "VendorSignal":
        """The first two axes of the array become those of the image."""
        return self._with_signal_axes([0, 1])

    def transpose(self, optimize: bool = False) -> "VendorSignal":
        """Navigation and signal axes change places."""
        return self._with_signal_axes([i for i, a in enumerate(self.axes) if a["navigate"]])

    def _with_signal_axes(self, spectral: Sequence[int]) -> "VendorSignal":
        order = [i for i in range(len(self.axes)) if i not in spectral] + list(spectral)
        self.data = self.data.transpose(order)
        self.axes = [self.axes[i] | {"navigate": i not in spectral} for i in order]
        return self

    def squeeze(self) -> "VendorSignal":
        """Without axes of one entry, as long as one axis is left."""
        kept = [i for i, n in enumerate(self.data.shape) if n != 1] or [self.data.ndim - 1]
        self.data = self.data.reshape([self.data.shape[i] for i in kept])
        self.axes = [self.axes[i] for i in kept]
        return self

    def change_dtype(self, dtype: Any, rechunk: bool = False) -> None:
        """Another dtype; colours ("rgb8") stay an axis of their own, because pixels are numbers here."""
        if not str(dtype).startswith("rgb"):
            self.data = self.data.astype(dtype)


def finish_signal(record: Mapping[str, Any]) -> VendorSignal:
    """The signal of a reader's dictionary, after the functions that the reader gives to finish it.

    Raises:
        ValueError: a function asks for more of HyperSpy than there is here.
    """
    signal = VendorSignal(record)
    for function in record.get("post_process") or ():
        try:
            signal = function(signal)
        except AttributeError as error:
            raise ValueError(
                f"its reader finishes the signal by HyperSpy's '{error.name}', which is not known here; load it with "
                "HyperSpy and take it over by SpectrumImage.from_hyperspy"
            ) from error
    return signal


def to_numpy(data: Any) -> np.ndarray:
    """An array in memory, from one that is lazy (dask, h5py) or sparse."""
    if hasattr(data, "compute"):
        data = data.compute()
    if hasattr(data, "todense"):
        data = data.todense()
    return np.asarray(data)


def _axes(record: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[list[dict[str, Any]], bool]:
    """The axes in the order of the array, each with `navigate`; and whether the reader has said it of all of them.

    Where it has not, HyperSpy goes by `record_by` in the metadata, and else takes all axes for the signal's.
    """
    given = [dict(a) for a in record.get("axes") or [{} for _ in shape]]
    if len(given) != len(shape):
        raise ValueError(f"{len(given)} axes are described, but the data have {len(shape)} {shape}")
    given = [a | {"size": n} for a, n in zip(given, shape, strict=True)]
    if all("navigate" in a for a in given):
        return [a | {"navigate": bool(a["navigate"])} for a in given], True
    by = ((record.get("metadata") or {}).get("Signal") or {}).get("record_by")
    count = {"spectrum": 1, "image": 2}.get(str(by), len(shape))
    return [a | {"navigate": i < len(shape) - count} for i, a in enumerate(given)], by in ("spectrum", "image")


def _read_mapping(record: Mapping[str, Any], wanted: str) -> Any:
    """An entry of the metadata that the reader takes from the file's own by its `mapping`."""
    for path, (target, function) in (record.get("mapping") or {}).items():
        if target != wanted:
            continue
        value: Any = record.get("original_metadata")
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None:
            return value if function is None else function(value)
    return None
