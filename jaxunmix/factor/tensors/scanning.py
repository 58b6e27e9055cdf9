"""CP at several numbers of components, and what speaks for each."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Array, Key

from ..._util.validation import check_several
from .entries import read_entries
from .fitting import fit_tensor
from .outcome import TensorSolution


def scan_ranks(array: Any, ranks: Iterable[int], *, key: Key[Array, ""] | None = None, **options: Any) -> xr.Dataset:
    """Fit CP with each number of components, and see how consistent its core is.

    Args:
        array: as `fit_tensor` takes it.
        ranks: numbers of components, such as range(1, 6).
        key: randomness, the same for each number.
        **options: more arguments of `fit_tensor`, such as `restarts` and `weights`.

    Returns:
        A Dataset over "rank" with "core_consistency" in percent (NaN where a component is nothing), "relative_error",
        |X - model| / |X| over the entries that have weight, and "objective".

    Raises:
        ValueError: as `fit_tensor` does, or no ranks.
    """
    several = list(check_several(ranks, "ranks", "range(1, 6)"))
    if not several:
        raise ValueError("ranks is empty; give some, such as range(1, 6).")
    weights = options.get("weights")
    entries = read_entries(array, weights)
    rows = []
    for rank in several:
        found = fit_tensor(array, rank, key=key, **options)
        rows.append((_consistency(found, array, weights), _error(found, entries), float(found.objective)))
    columns = np.array(rows).T
    names = ("core_consistency", "relative_error", "objective")
    return xr.Dataset({name: ("rank", column) for name, column in zip(names, columns, strict=True)}, {"rank": several})


def _consistency(found: TensorSolution, array: Any, weights: Any) -> float:
    alive = all(np.any(np.asarray(factor) != 0, axis=0).all() for factor in found.factors) and bool(found.core.all())
    return found.core_consistency(array, weights) if alive else np.nan


def _error(found: TensorSolution, entries: Any) -> float:
    weights = 1.0 if entries.weights is None else entries.weights
    left = np.sum(weights * (entries.values - np.asarray(found.reconstruct())) ** 2)
    return float(np.sqrt(left / np.sum(weights * entries.values.astype(float) ** 2)))
