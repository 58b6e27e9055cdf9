"""What an array must be before it becomes a matrix."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.sparse


def check_array(array: Any) -> None:
    """Refuse what is no (pixels, channels) array of real numbers, before anything is computed."""
    dtype = np.dtype(getattr(array, "dtype", None) or np.asarray(array).dtype)
    shape = np.shape(array)
    if len(shape) != 2:
        raise ValueError(
            f"X must be (pixels, channels), got {len(shape)} dimensions of {shape}; "
            "reshape it, or let SpectrumImage.from_array(...).matrix() do so."
        )
    if 0 in shape:
        axis = "pixels" if shape[0] == 0 else "channels"
        raise ValueError(f"X of {shape} has no {axis}; check the crop or the masks.")
    if dtype.kind not in "iufb" and not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"X must hold real numbers, its type is {dtype}; convert it with X.astype(float).")


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
