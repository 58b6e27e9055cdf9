"""Arrays as matrices: dense, or counts where most entries are zero."""

from typing import Any

import numpy as np
import scipy.sparse

from .._util.tracing import is_known
from .base import AbstractMatrix
from .checks import check_array
from .counts import Counts
from .dense import Dense

# Below this share of non-zeros the passes over the counts alone are faster (tests/benchmarks).
SPARSE_DENSITY = 0.1


def as_matrix(array: Any, kind: str = "auto") -> AbstractMatrix:
    """A matrix for the solvers from an array, (pixels, channels).

    Args:
        array: a matrix (returned as it is), an array, or a scipy sparse matrix.
        kind: "auto" takes `Counts` for non-negative whole numbers of which fewer than 10 % are not zero, where its
            passes are faster, and `Dense` otherwise.

    Raises:
        ValueError: as `Dense` and `Counts`; a kind that is neither.
    """
    if isinstance(array, AbstractMatrix):
        return array
    if kind not in ("auto", "dense", "counts"):
        raise ValueError(f'kind must be "auto", "dense" or "counts", got {kind!r}.')
    if not is_known(array):
        return Dense(array)
    array = check_array(array)
    if scipy.sparse.issparse(array):
        return Dense(array) if kind == "dense" else Counts(array)
    if kind == "auto":
        kind = "counts" if _mostly_empty_counts(array) else "dense"
    return Counts(array) if kind == "counts" else Dense(array)


def _mostly_empty_counts(array: Any) -> bool:
    array = np.asarray(array)
    some = array[:: max(1, len(array) // 500)]
    # A look at some pixels settles nearly all cases without a pass over the data.
    if any(np.count_nonzero(part) >= SPARSE_DENSITY * part.size for part in (some, array)):
        return False
    entries = array[array != 0]
    return bool(np.all(entries > 0) and np.all(entries == np.floor(entries)) and np.all(np.isfinite(entries)))
