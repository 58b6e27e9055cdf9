"""Arrays of unequal length side by side."""

from collections.abc import Sequence

import numpy as np


def pad_alike(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The arrays with NaN behind the end of their last axis, so that all have the longest one's length."""
    longest = max((array.shape[-1] for array in arrays), default=0)
    return [
        np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, longest - array.shape[-1])], constant_values=np.nan)
        for array in arrays
    ]
