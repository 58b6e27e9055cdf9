"""Thresholds of one quantity that best reproduce a map. Public through `metrics`."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .._util.validation import check_whole_number, float_array


class Window(NamedTuple):
    """The interval of values that goes best with each map.

    Attributes:
        low: (K,) smallest value inside; NaN where no interval tells anything.
        high: (K,) largest value inside.
        correlation: (K,) of the map with 1 inside and 0 outside; 0 where no interval tells anything.
    """

    low: np.ndarray
    high: np.ndarray
    correlation: np.ndarray


def best_window(values: ArrayLike, maps: ArrayLike, grid: int = 512) -> Window:
    r"""Thresholds of a quantity, such as the peak-top energy, that reproduce each map best.

    For map k the interval [a, b] with the largest Pearson correlation over pixels of $m_{ik}$ with the indicator
    $1[a \le v_i \le b]$. Every interval between quantiles of the values is tried, from sums over the pixels below
    each; where there are no more different values than `grid`, that is every interval there is.

    Args:
        values: v, (pixels,); where it is NaN or infinite a pixel is outside every interval.
        maps: (pixels, K).
        grid: number of quantiles, 2 or more; the intervals are about half its square.

    Returns:
        low, high and correlation, (K,) each. The limits are values that occur, both included.

    Raises:
        ValueError: where the pixels differ, a map is not finite, or `grid` is below 2.

    Example:
        >>> found = best_window([1.0, 2.0, 3.0, 9.0], [[0.0], [5.0], [5.0], [0.0]])
        >>> found.low, found.high, found.correlation.round(6)
        (array([2.]), array([3.]), array([1.]))
    """
    v, m = float_array(values, "values"), float_array(maps, "maps")
    check_whole_number(grid, "grid")
    if v.ndim != 1 or m.ndim != 2 or len(v) != len(m) or m.size == 0 or grid < 2:
        raise ValueError(f"values {v.shape}, maps {m.shape}, grid={grid}: give (pixels,), (pixels, K) and 2 or more")
    bad = np.argwhere(~np.isfinite(m))
    if len(bad):
        raise ValueError(f"maps is not finite at {tuple(bad[0].tolist())}: leave masked pixels out before")
    size = np.abs(m).max(axis=0)
    # A correlation has no scale: no square leaves double precision then.
    odd = (size > 0) & ~((size > 1e-100) & (size < 1e100))
    m, size = np.where(odd, m / np.where(odd, size, 1), m), np.where(odd, 1.0, size)
    centred = m - m.mean(axis=0)
    # The mean of equal numbers may differ from them in the last digit: that is no variation.
    centred[:, np.abs(centred).max(axis=0) <= 8 * np.finfo(float).eps * size] = 0
    inside = np.isfinite(v)
    low, high, counts, sums = _bins(v[inside], centred[inside], grid)
    length = np.linalg.norm(centred, axis=0)
    sums = sums / np.where(length == 0, 1.0, length)
    first, last, correlation = np.transpose([_best(counts, column, len(v)) for column in sums.T])
    # an index of -1, where there is none, takes the NaN at the end
    low, high = np.append(low, np.nan), np.append(high, np.nan)
    return Window(low[first.astype(int)], high[last.astype(int)], correlation)


def _bins(values: np.ndarray, maps: np.ndarray, grid: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Smallest and largest value, count and sums of the maps of each bin, none of them empty."""
    tops = np.unique(values)
    if len(tops) > grid:
        tops = np.unique(np.quantile(values, np.linspace(0, 1, grid), method="higher"))
    order = np.argsort(values)
    start = np.searchsorted(values[order], tops[:-1], side="right") if len(tops) else np.zeros(0, int)
    start = np.concatenate([np.zeros(min(1, len(tops)), int), start])
    counts = np.diff(np.append(start, len(values)))
    return values[order][start], tops, counts, np.add.reduceat(maps[order], start, axis=0)


def _best(counts: np.ndarray, sums: np.ndarray, pixels: int) -> tuple[int, int, float]:
    """First and last bin, and correlation, of the best interval; -1, -1, 0 where all tell nothing."""
    n, s = (np.concatenate([[0], np.cumsum(part)]) for part in (counts, sums))
    first, last = np.triu_indices(len(counts))
    n, s = n[last + 1] - n[first], s[last + 1] - s[first]
    variance = n * (1 - n / pixels)
    correlation = np.where(variance > 0, s / np.sqrt(np.where(variance > 0, variance, 1)), 0)
    if not correlation.any():
        return -1, -1, 0.0
    best = int(correlation.argmax())
    return int(first[best]), int(last[best]), float(correlation[best])
