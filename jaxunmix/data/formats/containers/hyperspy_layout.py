"""HyperSpy's file layout, the same in HDF5 (.hspy) and zarr (.zspy): Experiments/<title>/{data, axis-0, ...}.

Its masks are True = exclude. It has no place for masks and provenance, which go to metadata/jaxunmix.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ...axes import from_hyperspy_axes, quantity_units, text_or_none
from ...image import SpectrumImage
from ..items import META, Item, from_json, meta_text, to_json, with_provenance


def hyperspy_items(experiments: Any) -> list[Item]:
    """The signals below `Experiments`, by title."""
    items = []
    for title in experiments:
        group = experiments[title]
        if hasattr(group, "keys") and "data" in group and ("axis-0" in group or not group["data"].shape):
            data = group["data"]
            items.append(
                Item(
                    title,
                    tuple(data.shape),
                    np.dtype(data.dtype),
                    lambda d=data: np.asarray(d[...]),  # type: ignore[misc]
                    lambda values, g=group: _from_hyperspy_group(g, values),  # type: ignore[misc]
                )
            )
    return items


def _from_hyperspy_group(group: Any, values: np.ndarray) -> SpectrumImage:
    axes = [_axis(group[f"axis-{i}"]) for i in range(values.ndim)]
    metadata = group["metadata"] if "metadata" in group else {}  # noqa: SIM401, an h5py group may lack get
    own = metadata[META] if META in metadata else {}  # noqa: SIM401
    arrays = {k: np.asarray(own[k][...]) for k in ("navigation_mask", "signal_mask", "provenance") if k in own}
    general = _attributes(metadata["General"]) if "General" in metadata else {}
    signal = _attributes(metadata["Signal"]) if "Signal" in metadata else {}
    title = text_or_none(general.get("title"))
    given = from_hyperspy_axes(axes)
    given["units"] |= quantity_units(signal.get("quantity"))
    img = SpectrumImage.from_array(
        values,
        **given,
        keep_pixels=_keep(arrays.get("navigation_mask")),
        keep_channels=_keep(arrays.get("signal_mask")),
        name=None if title == "__unnamed__" else title,
    )
    if kind := text_or_none(signal.get("signal_type")):
        img.data.attrs.setdefault("signal_type", kind)
    return with_provenance(img, from_json(meta_text(arrays["provenance"]))) if "provenance" in arrays else img


def with_nexus_metadata(item: Item, node: Any) -> Item:
    """The item with the title, signal type and units that HyperSpy writes beside a signal in NeXus.

    Args:
        item: the signal, which knows its axes.
        node: its dataset in HDF5.
    """
    metadata = node.parent.parent.get("auxiliary/hyperspy_metadata")
    describe = item.describe
    if describe is None or not hasattr(metadata, "keys"):
        return item
    kind, quantity, title = (
        _read_text(metadata, k) for k in ("Signal/signal_type", "Signal/quantity", "General/title")
    )

    def describe_with_metadata(values: np.ndarray) -> SpectrumImage:
        img = describe(values)
        told = {"units": quantity_units(quantity).get("intensity"), "signal_type": kind}
        data = img.data.assign_attrs({k: v for k, v in told.items() if v}).rename(title or img.data.name)
        return replace(img, data=data)

    return replace(item, describe=describe_with_metadata)


def _read_text(group: Any, name: str) -> str | None:
    value = group[name][()] if name in group and hasattr(group[name], "shape") else None
    return text_or_none(value.decode(errors="replace") if isinstance(value, bytes) else value)


def _keep(mask: np.ndarray | None) -> np.ndarray | None:
    return None if mask is None else ~mask.astype(bool)  # HyperSpy: True = exclude


def _axis(group: Any) -> dict[str, Any]:
    values = {"axis": np.asarray(group["axis"][...])} if "axis" in group else {}
    return _attributes(group) | values


def _attributes(group: Any) -> dict[str, Any]:
    decoded = {k: v.decode() if isinstance(v, bytes) else v for k, v in group.attrs.items()}
    return {k: None if isinstance(v, str) and v == "_None_" else v for k, v in decoded.items()}


def write_hyperspy(img: SpectrumImage, root: Any, kind: str, create: Callable[[Any, str, np.ndarray], Any]) -> None:
    """Write one signal; `kind` is "HyperSpy" or "ZSpy", `create(group, name, values)` makes an array."""
    root.attrs["file_format"] = kind
    root.attrs["file_format_version"] = "3.3"
    title = str(img.data.name or "__unnamed__").replace("/", "-")
    group = root.create_group("Experiments").create_group(title)
    group.attrs["package"] = "jaxunmix"
    group.attrs["package_version"] = ""
    create(group, "data", img.data.values)
    for i, dim in enumerate(img.data.dims):
        _write_axis(group.create_group(f"axis-{i}"), img.hyperspy_axis(str(dim)), create)
    for name in ("original_metadata", "learning_results", "attributes"):
        group.create_group(name)
    metadata = group.create_group("metadata")
    metadata.create_group("General").attrs["title"] = str(img.data.name or "")
    signal = metadata.create_group("Signal")
    signal.attrs["signal_type"] = str(img.data.attrs.get("signal_type", ""))
    if img.data.attrs.get("units"):
        signal.attrs["quantity"] = f"Intensity ({img.data.attrs['units']})"
    own = metadata.create_group(META)
    for name, keep in (("navigation_mask", img.keep_pixels), ("signal_mask", img.keep_channels)):
        if keep is not None:
            create(own, name, ~keep.values)  # HyperSpy: True = exclude
    if img.provenance:
        create(own, "provenance", np.frombuffer(to_json(list(img.provenance)).encode(), np.uint8))


def _write_axis(group: Any, axis: dict[str, Any], create: Callable[[Any, str, np.ndarray], Any]) -> None:
    values = axis.pop("axis", None)
    kind = "UniformDataAxis" if values is None else "DataAxis"
    defaults = {"scale": 1.0, "offset": 0.0} if values is None else {}
    if values is not None:
        create(group, "axis", np.asarray(values))
    fields = {"_type": kind, "is_binned": False, "units": None} | defaults | axis
    for key, value in fields.items():
        group.attrs[key] = "_None_" if value is None else value
