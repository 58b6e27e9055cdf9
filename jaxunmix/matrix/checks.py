"""What an array must be before it becomes a matrix."""

from typing import Any

import jax
import numpy as np
import scipy.sparse

from .._util.validation import check_real


def check_array(array: Any) -> Any:
    """Refuse what is no (pixels, channels) array of real numbers, before anything is computed.

    Returns:
        The array: as it is where JAX or SciPy has it, else NumPy's.
    """
    if hasattr(array, "signal_dims"):
        raise ValueError("X is an image: give its live pixels and channels, img.matrix().")
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        raise ValueError(
            "X is a masked array with masked entries: Problem(X) leaves these out, by weights of 0; else leave out "
            "whole pixels or channels."
        )
    if not (isinstance(array, jax.Array) or scipy.sparse.issparse(array)):
        try:
            array = np.asarray(array)
        except (TypeError, ValueError) as error:
            raise ValueError(f"X must be (pixels, channels) real numbers, but is no array: {error}") from error
    shape = np.shape(array)
    if len(shape) != 2:
        raise ValueError(
            f"X must be (pixels, channels), got {len(shape)} dimensions of {shape}; "
            "reshape it, or let SpectrumImage.from_array(...).matrix() do so."
        )
    if 0 in shape:
        axis = "pixels" if shape[0] == 0 else "channels"
        raise ValueError(f"X of {shape} has no {axis}; check the crop or the masks.")
    check_real(array.dtype, "X")
    return array


def place_of_non_finite(array: Any) -> str:
    """What to say of an array with entries that are not finite: how many, where the first is, the remedy."""
    entries = array.toarray() if scipy.sparse.issparse(array) else np.asarray(array)
    places = np.argwhere(~np.isfinite(entries))
    if not len(places):
        return "X has entries too large for the float type in use; rescale the data."
    pixel, channel = places[0]
    return (
        f"X has {len(places)} entries that are not finite, the first ({entries[pixel, channel]}) at pixel {pixel}, "
        f"channel {channel}; mask these pixels or channels, or give the plain array with weights of 0 there."
    )
