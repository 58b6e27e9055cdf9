"""How close an estimate is to the truth, and how well a model describes the data.

Everything here is NumPy on the host: the arrays are small beside the fit that made them. Spectra are
(K, channels), maps (pixels, K), data (pixels, channels); any array-like will do.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from scipy.special import kl_div

from .._util.blocks import row_blocks
from .._util.validation import check_instance, check_whole_number, float_array, real_array


@dataclass(frozen=True)
class Match:
    """Which estimated component stands for which true one.

    Attributes:
        order: for each true component the index of its estimate, -1 where there is none.
        angles: spectral angle in degrees per true component, NaN where there is none.
        unmatched: indices of the estimates that no true component took.
        missing: indices of the true components without an estimate.
    """

    order: np.ndarray
    angles: np.ndarray
    unmatched: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()

    @property
    def mean_angle(self) -> float:
        """Mean angle in degrees over the matched components; `missing` says what it leaves out."""
        return float(np.mean(self.angles[self.order >= 0]))

    def reorder(self, values: ArrayLike, axis: int = 0) -> np.ndarray:
        """Puts the components of `values` into the order of the truth, NaN for those missing.

        Args:
            values: an array with the estimated components along `axis`.
            axis: 0 for spectra (K, channels), 1 for maps (pixels, K).
        """
        array, number = float_array(values, "values"), check_whole_number(axis, "axis")
        if not -array.ndim <= number < array.ndim or array.shape[number] <= self.order.max(initial=0):
            raise ValueError(
                f"values has the shape {array.shape}: give {self.order.max(initial=0) + 1} components or more along "
                f"axis {axis}"
            )
        moved = np.moveaxis(array, number, 0)
        result = moved[np.maximum(self.order, 0)]
        result[self.order < 0] = np.nan
        return np.moveaxis(result, 0, axis)


def match(estimate: ArrayLike, truth: ArrayLike) -> Match:
    r"""Assigns estimated to true spectra so that the sum of the spectral angles is least.

    The assignment is optimal (Hungarian method), not greedy: with $\theta_{kj}$ the angle between the true
    spectrum k and the estimate j, it minimises $\sum_k \theta_{k,\pi(k)}$ over one-to-one maps $\pi$. Scale
    does not matter, the sign does. Where the numbers of components differ, the surplus is listed.

    Args:
        estimate: (K, channels), or (K, ...) for patterns.
        truth: (K', channels), or (K', ...), of the same channels.

    Returns:
        A `Match`; `.reorder(estimate)` has the rows of the truth.

    Raises:
        ValueError: where the channels differ, a value is not finite or there is no component.

    Example:
        >>> found = match([[0.0, 2.0], [3.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]])
        >>> found.order.tolist(), found.mean_angle
        ([1, 0], 0.0)
    """
    a, b = _rows(estimate, "estimate"), _rows(truth, "truth")
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"estimate has {a.shape[1]} channels and truth {b.shape[1]}: give both on the same axis, "
            "for example by interpolating the truth"
        )
    table = np.stack([spectral_angle(a, np.broadcast_to(row, a.shape)) for row in b])
    true_index, estimate_index = linear_sum_assignment(table)
    order = np.full(len(b), -1)
    order[true_index] = estimate_index
    angles = np.full(len(b), np.nan)
    angles[true_index] = table[true_index, estimate_index]
    return Match(
        order=order,
        angles=angles,
        unmatched=tuple(sorted(set(range(len(a))) - set(estimate_index.tolist()))),
        missing=tuple(np.flatnonzero(order < 0).tolist()),
    )


def spectral_angle(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    r"""Angle between spectra in degrees, row by row.

    $\theta = 2\,\mathrm{atan2}(|\hat a - \hat b|, |\hat a + \hat b|)$ with unit vectors $\hat a, \hat b$:
    equal to $\arccos(\hat a \cdot \hat b)$, and exact for small angles, where the arc cosine is not (Kahan
    2006). An angle with a zero spectrum has no meaning; it is given as 90 degrees, that of having nothing in
    common.

    Args:
        a: (..., channels).
        b: of the same shape.

    Returns:
        (...,) degrees, from 0 to 180.

    Raises:
        ValueError: where the shapes differ or a value is not finite.

    Example:
        >>> spectral_angle([[1.0, 0.0], [1.0, 0.0]], [[1.0, 1.0], [0.0, 0.0]]).round(6).tolist()
        [45.0, 90.0]
    """
    a, b = float_array(a, "a"), float_array(b, "b")
    if a.shape != b.shape or a.ndim == 0:
        raise ValueError(f"a has the shape {a.shape} and b {b.shape}: spectra are compared row by row, see match")
    _check_finite(a, "a")
    _check_finite(b, "b")
    unit_a, unit_b = _unit(a), _unit(b)
    apart = np.linalg.norm(unit_a - unit_b, axis=-1)
    along = np.linalg.norm(unit_a + unit_b, axis=-1)
    both = unit_a.any(axis=-1) & unit_b.any(axis=-1)
    return np.asarray(np.where(both, np.degrees(2 * np.arctan2(apart, along)), 90.0))


def map_error(
    maps: ArrayLike,
    truth: ArrayLike,
    matched: Match | None = None,
    scale: Literal["optimal", "sum", "none"] = "optimal",
) -> np.ndarray:
    r"""Mean square error of each true map after the matching.

    $\frac1N \sum_i (s_k m_{i\pi(k)} - t_{ik})^2$, where the scale $s_k$ is the one that makes it least
    ("optimal": $s_k = m \cdot t / m \cdot m$, as the data do not determine the scale of a map), 1 ("none"),
    or with the maps of each pixel divided by their sum, in the estimate and in the truth ("sum": fractions).

    Args:
        maps: (pixels, K).
        truth: (pixels, K').
        matched: the assignment, usually `match(spectra, true_spectra)`; None matches the maps by their angle.
        scale: "optimal", "sum" or "none".

    Returns:
        (K',): the error of each true component in the squared unit of the truth, NaN for those missing.

    Raises:
        ValueError: where the pixels differ, a value is not finite, or `scale` is none of the three.
    """
    m, t = _rows(maps, "maps"), _rows(truth, "truth")
    _check_same_pixels(m, t, "maps", "truth")
    check_instance(matched, (Match, type(None)), "matched", "match(spectra, true_spectra)")
    if not isinstance(scale, str) or scale not in ("optimal", "sum", "none"):
        raise ValueError(f"scale={scale!r}: use 'optimal', 'sum' or 'none'")
    if scale == "sum":
        m, t = _fractions(m), _fractions(t)
    m = (matched or match(m.T, t.T)).reorder(m, axis=1)
    # In units of their largest entries, so that no square leaves double precision before the last.
    unit_m, unit_t = _units(m), _units(t)
    if scale == "optimal":
        m, t = m / unit_m, t / unit_t
        power = np.sum(m * m, axis=0)
        m = m * (np.sum(m * t, axis=0) / np.where(power == 0, 1.0, power))
        return _in_squares(np.mean((m - t) ** 2, axis=0), unit_t)
    unit = np.maximum(unit_m, unit_t)
    return _in_squares(np.mean((m / unit - t / unit) ** 2, axis=0), unit)


def correlation(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Pearson correlation of each column of `a` with the same column of `b`.

    Args:
        a: (pixels,) or (pixels, K).
        b: of the same shape.

    Returns:
        () or (K,), from -1 to 1; 0 where a column is constant, as it then tells nothing.

    Raises:
        ValueError: where the shapes differ or a value is not finite.
    """
    a, b = float_array(a, "a"), float_array(b, "b")
    if a.shape != b.shape or a.ndim not in (1, 2):
        raise ValueError(f"a has the shape {a.shape} and b {b.shape}: give both as (pixels,) or (pixels, K)")
    return np.asarray(np.sum(_standard(a, "a") * _standard(b, "b"), axis=0))


def cross_correlation(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Table of the Pearson correlations over pixels between all maps of two sets.

    Args:
        a: (pixels, K).
        b: (pixels, K').

    Returns:
        (K, K'), from -1 to 1; 0 where a map is constant.

    Raises:
        ValueError: where the pixels differ or a value is not finite.

    Example:
        >>> cross_correlation([[0.0, 1.0], [1.0, 0.0]], [[1.0], [3.0]]).round(6).tolist()
        [[1.0], [-1.0]]
    """
    a, b = _rows(a, "a"), _rows(b, "b")
    _check_same_pixels(a, b, "a", "b")
    return _standard(a, "a").T @ _standard(b, "b")


def relative_residual(data: ArrayLike, maps: ArrayLike, spectra: ArrayLike) -> float:
    r"""Relative Frobenius residual $\|X - MS\|_F / \|X\|_F$.

    Args:
        data: X, (pixels, channels).
        maps: M, (pixels, K).
        spectra: S, (K, channels).

    Raises:
        ValueError: where the shapes do not fit, a value is not finite, or the data are all zero.
    """
    data = real_array(data, "data")
    unit = _unit_of(data)
    pairs = ((x / unit, y / unit) for x, y in _model_chunks(data, maps, spectra))
    squares = np.sum([(np.sum((x - y) ** 2), np.sum(x * x)) for x, y in pairs], axis=0)
    if squares[1] == 0:
        raise ValueError("data are all zero: a relative residual needs a signal")
    _check_sums(squares)
    return float(np.sqrt(squares[0] / squares[1]))


def explained_variance(data: ArrayLike, maps: ArrayLike, spectra: ArrayLike) -> float:
    r"""Share of the variance about the mean spectrum that the model explains.

    $1 - \sum_{ij} (x_{ij} - (MS)_{ij})^2 / \sum_{ij} (x_{ij} - \bar x_j)^2$: 1 for a perfect model, 0 for one
    no better than the mean spectrum everywhere, negative for a worse one.

    Args:
        data: X, (pixels, channels).
        maps: M, (pixels, K).
        spectra: S, (K, channels).

    Raises:
        ValueError: where the shapes do not fit, a value is not finite, or all spectra are the same.
    """
    data = real_array(data, "data")
    unit = _unit_of(data)
    mean = np.atleast_2d(data).mean(axis=0, dtype=float) / unit if data.size else 0.0
    pairs = ((x / unit, y / unit) for x, y in _model_chunks(data, maps, spectra))
    squares = np.sum([(np.sum((x - y) ** 2), np.sum((x - mean) ** 2)) for x, y in pairs], axis=0)
    if squares[1] == 0:
        raise ValueError("data have the same spectrum in every pixel: there is no variance to explain")
    _check_sums(squares)
    return float(1 - squares[0] / squares[1])


def deviance(data: ArrayLike, maps: ArrayLike, spectra: ArrayLike) -> np.ndarray:
    r"""Poisson deviance of each pixel, twice the generalised Kullback-Leibler divergence.

    $D_i = 2 \sum_j [x_{ij} \ln(x_{ij} / y_{ij}) - x_{ij} + y_{ij}]$ with $Y = MS$. At many counts per channel
    a right model has a mean near the number of channels; at few counts it is smaller.

    Args:
        data: X, (pixels, channels), counts.
        maps: M, (pixels, K), with `maps @ spectra` not negative.
        spectra: S, (K, channels).

    Returns:
        (pixels,); infinite where counts fall on a channel to which the model gives none.

    Raises:
        ValueError: where the shapes do not fit, a value is not finite, or a count or the model is negative.
    """
    parts = []
    for x, y in _model_chunks(data, maps, spectra):
        if x.min(initial=0) < 0 or y.min(initial=0) < 0:
            raise ValueError(
                "data or maps @ spectra are negative somewhere: a Poisson deviance is for counts, use relative_residual"
            )
        parts.append(2 * np.sum(kl_div(x, y), axis=1))
    return np.concatenate(parts)


def _model_chunks(data: ArrayLike, maps: ArrayLike, spectra: ArrayLike) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the data and the model in double precision a block of pixels at a time."""
    x, m, s = real_array(data, "data"), _rows(maps, "maps"), _rows(spectra, "spectra")
    if x.ndim != 2 or x.size == 0 or (m.shape[0], s.shape[1]) != x.shape or m.shape[1] != s.shape[0]:
        raise ValueError(
            f"data {x.shape}, maps {m.shape} and spectra {s.shape} do not fit: "
            "give (pixels, channels), (pixels, K) and (K, channels)"
        )
    _check_finite(x, "data")
    for block in row_blocks(*x.shape):
        yield x[block].astype(float), m[block] @ s


def _rows(values: ArrayLike, name: str) -> np.ndarray:
    """Brings (K, ...) to (K, channels) in double precision."""
    array = float_array(values, name)
    if array.ndim < 2 or array.size == 0:
        raise ValueError(f"{name} has the shape {array.shape}: give two dimensions, none of them empty")
    _check_finite(array, name)
    return array.reshape(len(array), -1)


def _check_finite(array: np.ndarray, name: str) -> None:
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        raise ValueError(f"{name} is not finite at {tuple(bad[0].tolist())}: leave masked values out before")


def _units(columns: np.ndarray) -> np.ndarray:
    """For each column a power of two near its largest entry where squares could leave double precision, else 1."""
    largest = np.max(np.abs(columns), axis=0, initial=0.0)
    odd = (largest > 0) & ~((largest > 1e-100) & (largest < 1e100))
    return np.where(odd, np.exp2(np.floor(np.log2(np.where(odd, largest, 1.0)))), 1.0)


def _unit_of(data: np.ndarray) -> float:
    """As `_units`, of all entries together."""
    if not data.size:
        return 1.0
    ends = np.array([data.min(), data.max()], dtype=float)
    return float(_units(ends)) if np.isfinite(ends).all() else 1.0


def _in_squares(values: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Mean squares back in the unit of the truth, refused where double precision has no room for them."""
    with np.errstate(over="ignore", under="ignore"):
        result = values * unit * unit
    if np.isinf(result).any() or ((result == 0) & (values > 0)).any():
        raise ValueError("the mean squares leave the range of double precision; rescale maps and truth towards 1")
    return result


def _check_sums(squares: np.ndarray) -> None:
    if not np.isfinite(squares).all():
        raise ValueError("maps @ spectra are beyond the range of double precision beside the data; rescale them")


def _check_same_pixels(a: np.ndarray, b: np.ndarray, name_a: str, name_b: str) -> None:
    if len(a) != len(b):
        raise ValueError(f"{name_a} has {len(a)} pixels and {name_b} {len(b)}: give both as (pixels, K)")


def _unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1; zero rows stay zero. Scaled first, so that no square over- or underflows."""
    largest = np.max(np.abs(rows), axis=-1, keepdims=True, initial=0.0)
    scaled = rows / np.where(largest == 0, 1.0, largest)
    norm = np.linalg.norm(scaled, axis=-1, keepdims=True)
    return np.asarray(scaled / np.where(norm == 0, 1.0, norm))


def _standard(columns: np.ndarray, name: str) -> np.ndarray:
    """Columns with mean 0 and length 1, zero where a column is constant."""
    _check_finite(columns, name)
    centred = columns - columns.mean(axis=0)
    # The mean of equal numbers may differ from them in the last digit: that is no variation.
    spread = np.max(np.abs(centred), axis=0, initial=0.0)
    size = np.max(np.abs(columns), axis=0, initial=0.0)
    centred = np.where(spread <= 8 * np.finfo(float).eps * size, 0.0, centred)
    return _unit(centred.T).T


def _fractions(maps: np.ndarray) -> np.ndarray:
    total = maps.sum(axis=1, keepdims=True)
    return maps / np.where(total == 0, 1.0, total)
