"""Signal axes that jitter or repeat. Public through `preprocess`."""

from dataclasses import replace
from typing import Any

import numpy as np

from .._util.validation import check_instance, check_number, float_array
from ..data.image import SpectrumImage
from ..data.repeats import Merging


def merge_repeated(img: SpectrumImage, energies: Any = None, *, tolerance: float | int = 0.0) -> SpectrumImage:
    """Sort the signal axis and take the mean of channels that were measured at one energy. Not reversible.

    The mean is over the live channels, as is that of their energies; a new channel is live if one of its parts is.
    Whole numbers become floating-point where any are averaged. The mean of counts has less noise than counts have.

    Args:
        img: the image, with one signal dim.
        energies: values of that dim in any order, with repetitions: an image takes no such axis, so make it without
            one. None for those of the image. A file is read so by `load(..., merge_repeated=True)`.
        tolerance: channels no further than this from the lowest of them are one, in the unit of the axis.

    Raises:
        ValueError: more than one signal dim, no energies, or not one for each channel.
    """
    check_instance(img, SpectrumImage, "merge_repeated: the image", "SpectrumImage.from_array(values)")
    if len(img.signal_dims) != 1:
        raise ValueError(f"merge_repeated needs one signal dim; here they are {img.signal_dims}")
    dim = img.signal_dims[0]
    made = Merging(check_number(tolerance, "merge_repeated: tolerance"))
    energies = None if energies is None else float_array(energies, "merge_repeated: energies")
    if energies is None and dim not in img.data.coords:
        raise ValueError(f"merge_repeated: '{dim}' has no values to sort by; give energies=")
    if energies is not None and np.shape(energies) != img.signal_shape:
        raise ValueError(f"merge_repeated: energies of shape {np.shape(energies)}; expected {img.signal_shape}")
    merged = made(lambda: img if energies is None else _with_energies(img, dim, energies))
    nothing = {"step": "merge_repeated", "parameters": {"dim": dim, "tolerance": float(tolerance), "channels": None}}
    return replace(merged, provenance=(*img.provenance, *(made.records or [nothing])))


def _with_energies(img: SpectrumImage, dim: str, energies: Any) -> SpectrumImage:
    attrs = dict(img.data.coords[dim].attrs) if dim in img.data.coords else {}
    keep = None if img.keep_channels is None else img.keep_channels.drop_vars(dim, errors="ignore")
    data = img.data.assign_coords({dim: (dim, energies, attrs)})
    return replace(img, data=data, keep_channels=keep)
