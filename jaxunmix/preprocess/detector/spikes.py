"""Spikes: cosmic rays and stray X-rays that one readout has seen. Public through `preprocess`."""

from typing import NamedTuple

import numpy as np
import scipy.ndimage
import scipy.optimize
import xarray as xr
from jaxtyping import Bool, Float
from scipy.stats import norm

from ..._util.validation import check_number, check_whole_number
from ...data.image import SpectrumImage
from ..provenance import check_image, energies, refuse, take_step

# Rounds of low rank and sparse, unless the spikes stay the same.
ROUNDS = 8
# Levels at which the noise is measured, and the part of largest residuals that is left out at each.
LEVELS, TRIMMED = 30, 0.001
# What stands above its neighbours by less than this part of the threshold is real; above so many, by dims of the map.
SEEN, WITNESSES = 0.6, {1: 1, 2: 2}
# The deviation of neighbours taken together that makes it real, in standard deviations.
TOGETHER = 3.0
# Next to a spike this part of the threshold is enough.
WING = 0.5
# The part of each channel's residuals that are no spikes, at least.
OUTER = 0.99
MOST_RANK = 10

Values = Float[np.ndarray, "pixels channels"]
Flags = Bool[np.ndarray, "pixels channels"]


class Noise(NamedTuple):
    """Variance = readout + gain x level."""

    readout: float
    gain: float

    def variance(self, level: np.ndarray) -> np.ndarray:
        """At these levels."""
        return self.readout + self.gain * np.maximum(level, 0)


def find_spikes(img: SpectrumImage, threshold: float | int = 4.5, rank: int | None = None) -> xr.DataArray:
    r"""Find entries that stand above what their spectrum, and their neighbours, let expect.

    The image is split into low rank and sparse, X = L + S + noise, in turn: L from the singular vectors of the data
    with the spikes filled in, spikes from what is left (GoDec, Zhou and Tao, ICML (2011) 33; robust principal
    components, Candes et al., J. ACM 58 (2011) 11). The variance of the noise, $r^2 + g L$, is measured from the
    residual at some 40 levels, so that counts, cameras and even noise are served. An entry is a spike where

    $z = \sqrt{2 [x' \ln(x' / l') - x' + l'] / g} > t$, with $x' = x + r^2 / g$ and $l' = L + r^2 / g$,

    the root of the deviance: for even noise (x - L) / r, for few counts the right tail of Poisson's distribution. In
    channels whose residuals scatter more than that, z is divided by the square of their robust scatter. Next to a spike
    t / 2 is enough, for those of two or three channels.

    A real feature is seen by neighbouring pixels too: an entry stays where it is less than 0.6 t above the value of the
    second highest of its eight neighbours (the higher of two in a line scan) in the same channel, or where all of them
    together are 3 standard deviations above their spectra. So a particle of a few pixels remains; one of a single pixel
    with a line of its own cannot be told from a hit.

    Args:
        img: the image, with one signal dim and one navigation dim or more.
        threshold: t, in standard deviations; about one entry in 300,000 of pure noise is above the default.
        rank: of L; None for the singular values above those of noise, 10 at most.

    Returns:
        bool over the dims of the image, True at spikes; False at masked cells. `Problem(..., weights=~spikes)`, with
        the values as (pixels, channels), leaves them out of a fit.

    Raises:
        ValueError: fewer than 16 pixels or 4 channels; NaN; a threshold below 2; a rank below 1 or not below the data.
    """
    flags, _ = _search(img, threshold, rank, "find_spikes")
    return _label(img, flags)


def remove_spikes(img: SpectrumImage, threshold: float | int = 4.5, rank: int | None = None) -> SpectrumImage:
    """Replace spikes by what their spectrum lets expect: `find_spikes` says how they are found. Reversible.

    Whole numbers stay whole. The record has the flat places of the spikes and their number; `find_spikes` of the image
    before gives them as a mask.

    Args:
        img: the image.
        threshold: as in `find_spikes`.
        rank: as in `find_spikes`.

    Raises:
        ValueError: as `find_spikes`.
    """
    flags, low = _search(img, threshold, rank, "remove_spikes")
    where = np.flatnonzero(_label(img, flags).values)
    live = img.live()
    new = low[flags]
    whole = live.dtype.kind in "iu" or bool((live == np.rint(live)).all())
    new = np.maximum(np.rint(new), 0 if live.min() >= 0 else -np.inf) if whole else new
    values = img.data.values.copy()
    old = values.ravel()[where]
    values.ravel()[where] = new.astype(values.dtype)
    shown = {"threshold": float(threshold), "rank": rank, "found": len(where), "places": where}
    return take_step(img, "remove_spikes", shown, values, [{"do": "put", "values": old, "where": where, "dims": []}])


def _search(img: SpectrumImage, threshold: float | int, rank: int | None, what: str) -> tuple[Flags, Values]:
    """Where spikes are, and the low-rank image."""
    check_image(img, what)
    energies(img, what)
    threshold = check_number(threshold, f"{what}: threshold", 2)
    values = img.finite_live().astype(np.float64)
    if values.shape[0] < 16 or values.shape[1] < 4:
        raise ValueError(
            f"{what} needs 16 pixels and 4 channels or more to tell a spike from a spectrum; here are {values.shape}"
        )
    if rank is not None:
        check_whole_number(rank, f"{what}: rank", 1, min(values.shape) - 1)
    with np.errstate(over="ignore"):
        refuse(img, ~np.isfinite((values**2).sum(axis=1)), f"{what}: squares beyond double precision", "rescale it")
    flags = np.zeros(values.shape, bool)
    low = _local_median(img, values)
    for _ in range(ROUNDS):
        noise = measure_noise(values, low, flags)
        before, flags = flags, flag_spikes(img, values, low, noise, threshold)
        low = _low_rank(np.where(flags, low, values), rank, noise)
        if (flags == before).all() and flags.any() == before.any() and _ > 0:
            break
    return flag_spikes(img, values, low, measure_noise(values, low, flags), threshold), low


def measure_noise(values: Values, low: Values, flags: Flags) -> Noise:
    """By non-negative least squares of the variances at several levels, the highest of which hold few entries."""
    level, squares = low[~flags], (values - low)[~flags] ** 2
    order = np.argsort(level, kind="stable")
    ends = np.concatenate([np.linspace(0, 1, LEVELS + 1), 1 - 0.5 ** np.arange(5, 12)])
    bins = [part for part in np.split(order, np.unique((np.sort(ends) * len(order)).astype(int))[1:-1]) if len(part)]
    kept = [np.sort(squares[part])[: max(int(len(part) * (1 - TRIMMED)), 1)] for part in bins]
    variances = np.array([part.mean() for part in kept])
    levels = np.array([max(level[part].mean(), 0) for part in bins])
    least = max(variances.max() * 1e-9, 1e-300)
    scale = 1 / np.maximum(variances, variances.mean() * 0.01 + least)
    size = max(levels.max(), 1e-300)
    relative = levels / size
    found, _ = scipy.optimize.nnls(scale[:, None] * np.stack([relative**0, relative], axis=1), scale * variances)
    readout, gain = max(float(found[0]), least), float(found[1]) / size
    return Noise(readout, max(gain, 1e-9 * np.sqrt(readout)))


def heights(values: Values, low: Values, noise: Noise) -> Values:
    """The signed root of the deviance, z."""
    pedestal = noise.readout / noise.gain
    expected = np.maximum(low, 0) + pedestal
    excess = np.maximum((values - np.maximum(low, 0)) / expected, -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        bent = np.where(excess > -1, (1 + excess) * np.log1p(excess), 0) - excess
    return np.sign(excess) * np.sqrt(2 * expected * np.maximum(bent, 0) / noise.gain)


def flag_spikes(img: SpectrumImage, values: Values, low: Values, noise: Noise, threshold: float) -> Flags:
    """Entries above the threshold that their neighbours do not share, and their wings."""
    z = heights(values, low, noise)
    z = z / np.maximum(_scatter(z), 1) ** 2
    above = heights(values, np.maximum(low, _nearby(img, values)), noise)
    shared = _witnesses(img, z) | (above < SEEN * threshold)
    core = (z > threshold) & ~shared
    beside = scipy.ndimage.binary_dilation(core, np.ones((1, 3), bool))
    return core | (beside & (z > WING * threshold) & ~shared)


def _scatter(z: Values) -> np.ndarray:
    """Of each channel, in standard deviations: by the middle of its residuals and by all but the outermost.

    Where a strong peak moves or changes its shape from pixel to pixel, its flanks have long tails.
    """
    outer = min(OUTER, 1 - 4 / len(z))
    away = np.abs(z - np.median(z, axis=0))
    return np.max(np.quantile(away, [0.5, outer], axis=0) / norm.ppf([[0.75], [(1 + outer) / 2]]), axis=0)


def _witnesses(img: SpectrumImage, z: Values) -> Flags:
    """Where the neighbours, taken together, lie above their spectra too; no single one of them decides."""

    def around(one: np.ndarray) -> np.ndarray:
        cells = _on_grid(img, one, 0)
        box = np.ones((3,) * (cells.ndim - 1) + (1,), one.dtype)
        return _off_grid(img, scipy.ndimage.convolve(cells, box, mode="constant") - cells)

    count = around(np.ones(z.shape, np.int16))
    return around(np.clip(z, -TOGETHER, TOGETHER)) > TOGETHER * np.sqrt(np.maximum(count, 1))


def _nearby(img: SpectrumImage, values: Values) -> Values:
    """The second highest value among the neighbours of each pixel, in a line the higher one."""
    dims = sum(size > 1 for size in img.navigation_shape)
    cells = _on_grid(img, values, -np.inf)
    box = np.ones((3,) * (cells.ndim - 1) + (1,), bool)
    box[(1,) * (cells.ndim - 1)] = False
    rank = -WITNESSES.get(dims, 2)
    return _off_grid(img, scipy.ndimage.rank_filter(cells, rank, footprint=box, mode="constant", cval=-np.inf))


def _local_median(img: SpectrumImage, values: Values) -> Values:
    """The median over a pixel and its neighbours, scaled to the pixel's own total."""
    cells = _on_grid(img, values, np.nan)
    filled = np.where(np.isnan(cells), np.nanmedian(values, axis=0), cells)
    size = (3,) * (cells.ndim - 1) + (1,) if cells.ndim > 2 else (5, 1)
    return _off_grid(img, scipy.ndimage.median_filter(filled, size=size, mode="nearest"))


def _low_rank(values: Values, rank: int | None, noise: Noise) -> Values:
    """The leading singular vectors, of data scaled to a noise of 1 on the average of each pixel and each channel."""
    variance = noise.variance(values)
    rows, columns = (variance.mean(axis=axis, keepdims=True) for axis in (1, 0))
    scale = np.sqrt(rows / variance.mean() * columns)
    scaled = values / scale
    small = scaled.T @ scaled if len(scaled) >= scaled.shape[1] else scaled @ scaled.T
    sizes, vectors = np.linalg.eigh(small)
    if rank is None:
        edge = (np.sqrt(values.shape[0]) + np.sqrt(values.shape[1])) ** 2
        rank = int(np.clip((sizes > 1.1 * edge).sum(), 1, min(MOST_RANK, min(values.shape) - 1)))
    leading = vectors[:, -rank:]
    if len(scaled) >= scaled.shape[1]:
        return scaled @ leading @ leading.T * scale
    return leading @ (leading.T @ scaled) * scale


def _on_grid(img: SpectrumImage, values: np.ndarray, fill: float | int) -> np.ndarray:
    """(*navigation, channels), filled where masked."""
    keep = slice(None) if img.keep_pixels is None else img.keep_pixels.values.ravel()
    cells = np.full((int(np.prod(img.navigation_shape)), values.shape[1]), fill, values.dtype)
    cells[keep] = values
    return cells.reshape(*img.navigation_shape, values.shape[1])


def _off_grid(img: SpectrumImage, cells: np.ndarray) -> np.ndarray:
    """The transpose of `_on_grid`."""
    rows = cells.reshape(-1, cells.shape[-1])
    return rows if img.keep_pixels is None else rows[img.keep_pixels.values.ravel()]


def _label(img: SpectrumImage, flags: Flags) -> xr.DataArray:
    """Flags of the live cells over the dims of the image."""
    cells = _on_grid(img, flags, False)
    if img.keep_channels is not None:
        whole = np.zeros((*cells.shape[:-1], img.keep_channels.size), bool)
        whole[..., img.keep_channels.values] = cells
        cells = whole
    return img.data.copy(data=cells).rename("spikes").drop_attrs(deep=False)
