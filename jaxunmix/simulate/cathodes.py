"""2D-XAS of a battery cathode, after Tanimoto et al.: hand-shaped domains, each with a spectrum of its own.

Source: H. Tanimoto et al., "Non-negative matrix factorization for 2D-XAS images of lithium ion batteries",
J. Phys. Commun. 5 (2021) 115005. Lengths are in units in which the map has area 1, so that the same key gives
the same scene at any resolution, but for pieces that hang on a thread of pixels.
"""

from dataclasses import replace
from itertools import cycle

import jax
import numpy as np
from jaxtyping import PRNGKeyArray
from scipy import ndimage
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from .._util.validation import check_flag, check_key, check_number
from ..data.image import SpectrumImage
from .components import peak, step, uniform
from .truth import Truth, check_counts, check_positive, check_shape, gaussian, image, make_truth, noise_level

# The least share of the weakest direction in the size of the differences, sigma_K / |M (S - r)|. At 400 x 400 x 100
# and 5.62 dB it is 1.67 times the edge of the noise, which most spectra drawn blindly miss from six domains on.
_WEAKEST = 0.09
_TRIALS = 32
_EXCHANGES = 300
_LAYOUTS = 12
# Shape of a domain's skeleton: length and bend. The core lies within the first ring.
_KINDS = ("ring", "core", "finger", "blob", "finger", "ring", "blob", "finger")


def battery_xas(
    key: PRNGKeyArray,
    shape: tuple[int, int] = (400, 400),
    channels: int = 100,
    domains: int = 8,
    snr_db: float | int = 5.62,
    *,
    raw: bool = False,
    pixel_um: float | int = 1.0,
) -> tuple[SpectrumImage, Truth]:
    r"""2D-XAS of a cathode at the Co K edge: domains shaped as by hand, and spectra less alike than one edge shifted.

    $X = MS + N(0, \sigma^2)$ over the photon energy E from 7700 to 7740 eV, one domain in each pixel (M is 0 or
    1). Each spectrum is an edge of the error function and two Gaussians G of height 1,
    $R_k(E) = \frac12 + \frac12 \mathrm{erf}((E - E_k) / w_k) + \sum_{g=1}^2 a_{kg} G(E; \mu_{kg}, s_{kg})$, all
    of whose numbers are random, in the two-point normalisation
    $S_k(E) = [R_k(E) - R_k(E_1)] / [R_k(E_m) - R_k(E_1)]$: 0 at the first energy, 1 at the last. So is the
    reference r (`truth.reference`), which the analysis subtracts from each pixel. It lies outside the affine hull
    of the spectra, so that the differences $S_k - r$ span as many dimensions as there are domains. Spectra are
    drawn anew, one at a time by the best of 32, until the smallest singular value of $M (S - \mathbf 1 r^T)$ is 9 %
    of its norm, or 300 times: enough for nine domains, mostly for ten; twelve reach 5 % or more.
    `Truth.signal_to_noise` tells how that compares with the noise.

    The signal of the ratio is what is factorised:
    $\mathrm{SNR} = 10 \log_{10} (\overline{[M (S - \mathbf 1 r^T)]^2} / \sigma^2)$, the mean over pixels and
    channels. Domains are connected, save on maps of a few pixels, and cover about 3 to 30 % of the map each, more
    where they are fewer than six.

    With `raw`, X is absorbance before its normalisation, $X_i = b_i + t_i [S_{k(i)} + N(0, \sigma^2)]$, with a
    smooth edge step t (0.6 to 1.6) and offset b (0.2 to 0.6): noise and truth are in units of the edge step.
    `preprocess.normalise_edge` takes the noise of two channels for signal and leaves an error of
    $N(E) - [1 - S(E)] N(E_1) - S(E) N(E_m)$ to first order, 1.5 to 1.7 times $\sigma$ and correlated along the
    energy. Where eight maps of `Truth.oracle` correlated with the truth by 0.98 and more without `raw`, with it they
    did by 0.62 to 0.99 at 5.62 dB, by 0.83 and more at 10 dB and by 0.95 and more at 15 dB.

    Args:
        key: random key.
        shape: (y, x) pixels.
        channels: number of energy channels, domains + 2 or more: the normalisation fixes two.
        domains: number of domains, 2 or more and not more than pixels.
        snr_db: the ratio in decibels.
        raw: leave the two-point normalisation to the analysis.
        pixel_um: size of a pixel in micrometres.

    Raises:
        ValueError: an argument out of its range.

    Example:
        >>> image, truth = battery_xas(jax.random.key(0), shape=(40, 50), domains=4)
        >>> truth.maps.shape, truth.spectra[:, 0], truth.spectra[:, -1]
        ((2000, 4), array([0., 0., 0., 0.], dtype=float32), array([1., 1., 1., 1.], dtype=float32))
    """
    check_key(key)
    check_shape(shape)
    check_counts(channels=channels, domains=domains)
    check_positive(pixel_um=pixel_um)
    check_number(snr_db, "snr_db")
    check_flag(raw, "raw")
    _check_domains(domains, shape, channels)
    key_shapes, key_spectra, key_noise, key_raw = jax.random.split(key, 4)
    labels = domain_labels(key_shapes, shape, domains).ravel()
    shares = np.bincount(labels, minlength=domains) / labels.size
    energy = np.linspace(7700.0, 7740.0, channels)
    spectra, reference, lines = domain_spectra(key_spectra, energy, shares)
    # Rows of the same mean square as the map's, without its size.
    sd = noise_level(np.sqrt(domains * shares)[:, None] * (spectra - reference), snr_db)
    truth = make_truth(np.eye(domains)[labels], spectra, [f"domain {k}" for k in range(domains)], reference, sd)
    truth = replace(truth, white_lines=lines)
    values = gaussian(key_noise, truth.expected, sd)
    if raw:
        fields = np.tanh(_waves(key_raw, *_axes(shape), fields=2, cycles=1.0)).reshape(2, -1, 1).astype(np.float32)
        values = 0.4 + 0.2 * fields[0] + (1.1 + 0.5 * fields[1]) * values
    return image(values, shape, {"energy": energy}, "eV", pixel_um, "2D-XAS of a cathode", "µm", ""), truth


def _check_domains(domains: int, shape: tuple[int, int], channels: int) -> None:
    if domains < 2:
        raise ValueError(f"domains={domains}: give 2 or more")
    if domains > shape[0] * shape[1]:
        raise ValueError(f"domains={domains} in {shape[0] * shape[1]} pixels: ask for fewer domains or a larger shape")
    if channels < domains + 2:
        raise ValueError(f"channels={channels} for domains={domains}: give {domains + 2} channels or more")


def domain_spectra(
    key: PRNGKeyArray, energy: np.ndarray, shares: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spectra (K, channels) and a reference (channels,) whose differences are independent, and K white lines in eV.

    Args:
        key: random key.
        energy: (channels,) in eV.
        shares: (K,) of the map's area.
    """
    count = len(shares) + 1
    pool, lines = _edges(key, energy, _TRIALS * _EXCHANGES + 8 * count)
    # An edge on the tail of a peak at the first energy would fall below 0, as no absorbance does.
    pool, lines = (each[pool.min(axis=1) >= 0] for each in (pool, lines))
    rows, own = pool[:count], lines[:count]
    pool, lines = pool[count:], lines[count:]
    weakest = _weakest(rows[None], shares)[0]
    for place, start in zip(cycle(range(count)), range(0, len(pool) - _TRIALS, _TRIALS), strict=False):
        if weakest >= _WEAKEST:
            break
        trials = np.repeat(rows[None], _TRIALS, axis=0)
        trials[:, place] = pool[start : start + _TRIALS]
        found = _weakest(trials, shares)
        if found.max() > weakest:
            best = np.argmax(found)
            rows, weakest = trials[best], found.max()
            own[place] = lines[start + best]
    return rows[:-1], rows[-1], own[:-1]


def _edges(key: PRNGKeyArray, energy: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Edges, each with a white line and a peak before or after it, 0 at the first and 1 at the last energy.

    Returns:
        The spectra (count, channels), and the energies of their white lines.
    """
    draw = uniform(key, (8, count, 1), 0.0, 1.0)
    edge = 7715 + 9 * draw[0]
    lines = edge + 1 + 5 * draw[3]
    white_line = (0.4 + 0.8 * draw[2]) * peak(energy, lines, 1.1 + 1.9 * draw[4])
    other = (0.15 + 0.5 * draw[5]) * peak(energy, 7706 + 28 * draw[6], 1.1 + 2.2 * draw[7])
    rows = step(energy, edge, 1.2 + 2.8 * draw[1]) + white_line + other
    return (rows - rows[:, :1]) / (rows[:, -1:] - rows[:, :1]), np.array(lines[:, 0])


def _weakest(rows: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """sigma_K / |M (S - r)| of spectra and the reference, (trials, K + 1, channels), from the map's shares."""
    weighted = np.sqrt(shares)[:, None] * (rows[:, :-1] - rows[:, -1:])
    values = np.linalg.eigvalsh(weighted @ np.swapaxes(weighted, -1, -2))
    return np.sqrt(np.maximum(values[:, 0], 0) / values.sum(axis=1))


def domain_labels(key: PRNGKeyArray, shape: tuple[int, int], domains: int) -> np.ndarray:
    """Number of the domain of each pixel, (y, x): the warped cells of curves, their borders moved for their areas."""
    high = max(0.3, 2 / domains)
    # One grid for all resolutions, so that they show the same scene.
    coarse = _axes(shape, count=80)
    best, least = None, np.inf
    for attempt in jax.random.split(key, _LAYOUTS):
        key_curves, key_plane, key_areas = jax.random.split(attempt, 3)
        curves = _skeletons(key_curves, shape, domains)
        distance = _distance(key_plane, curves, *coarse)
        weights = _weights(key_areas, curves, distance)
        labels = _connected(np.argmin(distance - weights[:, None, None], axis=0))
        shares = np.bincount(labels.ravel(), minlength=domains) / labels.size
        excess = max(0.03 / max(shares.min(), 1e-9), shares.max() / high)
        if excess < least:
            best, least = (key_plane, curves, weights), excess
        if excess <= 1:
            break
    assert best is not None
    key_plane, curves, weights = best
    distance = _distance(key_plane, curves, *_axes(shape)) - weights[:, None, None]
    return _none_empty(_connected(np.argmin(distance, axis=0)), distance)


def _axes(shape: tuple[int, int], count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Places of the rows and columns, or of so many instead."""
    y, x = ((np.arange(n) + 0.5) * size / n for size, n in ((size, count or size) for size in shape))
    return y / np.sqrt(np.prod(shape)), x / np.sqrt(np.prod(shape))


def _waves(key: PRNGKeyArray, y: np.ndarray, x: np.ndarray, fields: int, cycles: float) -> np.ndarray:
    """Smooth random fields of variance 1, (fields, y, x): 16 plane waves each, of about so many cycles per length."""
    draw = uniform(key, (3, fields, 16), 0.0, 1.0)
    wave, angle, phase = 2 * np.pi * cycles * (0.5 + draw[0]), 2 * np.pi * draw[1], 2 * np.pi * draw[2]
    # A plane wave is a product of one factor down and one across: no cosine for each pixel.
    down = np.exp(1j * (y[:, None, None] * wave * np.sin(angle) + phase)).transpose(1, 0, 2)
    across = np.exp(1j * x[:, None, None] * wave * np.cos(angle)).transpose(1, 2, 0)
    return (down @ across).real / np.sqrt(8)


def _skeletons(key: PRNGKeyArray, shape: tuple[int, int], domains: int) -> list[np.ndarray]:
    """A curve (points, 2) for each domain, apart from one another: the best of 256 places, one after the other."""
    box = np.asarray(shape) / np.sqrt(np.prod(shape))
    size = 1 / np.sqrt(domains)
    key_order, *keys = jax.random.split(key, domains + 1)
    placed: list[np.ndarray] = []
    for kind, each in zip(cycle(_KINDS), keys, strict=False):
        key_curve, key_place = jax.random.split(each)
        places = uniform(key_place, (256, 1, 2), 0.0, 1.0) * box
        if kind == "core" and len(placed) == 1:
            places = placed[0].mean(axis=0)
        curves = places + size * _curves(key_curve, kind, 256)
        outside = np.maximum(np.maximum(-curves, curves - box) + 0.25 * size, 0).max(axis=(1, 2))
        apart = np.full(256, 0.6 * size)
        if placed:
            others = cdist(curves.reshape(-1, 2), np.concatenate(placed)).reshape(256, -1)
            apart = np.minimum(apart, others.min(axis=1))
        placed.append(curves[np.argmax(apart - 2 * outside)])
    # Which domain is the ring should not be known from its number.
    order = np.argsort(uniform(key_order, (domains,), 0.0, 1.0))
    return [placed[k] for k in order]


def _curves(key: PRNGKeyArray, kind: str, count: int) -> np.ndarray:
    """Random curves about 0, (count, 32, 2), of a length near 1."""
    draw = uniform(key, (4, count, 1), 0.0, 1.0)
    along = np.linspace(0.0, 1.0, 32)
    heading, length = 2 * np.pi * draw[2] + 0 * along, 0.25 * draw[1]
    if kind == "ring":
        turn = 2 * np.pi * (0.72 + 0.26 * draw[0])
        heading, length = heading + turn * along, turn * (0.4 + 0.15 * draw[1])
    elif kind == "finger":
        heading += 4.8 * (draw[0] - 0.5) * along + 0.5 * np.sin(2 * np.pi * (1.2 * along + draw[3]))
        length = 1.3 + draw[1]
    steps = np.stack([np.sin(heading), np.cos(heading)], axis=-1) * length[..., None] / 32
    curves = np.cumsum(steps, axis=1)
    return curves - curves.mean(axis=1, keepdims=True)


def _distance(key: PRNGKeyArray, curves: list[np.ndarray], y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Distance to each curve in a warped plane, (K, y, x), with a roughness of each domain's own."""
    key_warp, key_rough = jax.random.split(key)
    size = 1 / np.sqrt(len(curves))
    warp = 0.12 * size * _waves(key_warp, y, x, 2, 0.5 / size)
    plane = np.stack([y[:, None] + warp[0], x + warp[1]], axis=-1)
    near = np.stack([KDTree(curve).query(plane)[0] for curve in curves])
    return near + 0.05 * size * _waves(key_rough, y, x, len(curves), 1.2 / size)


def _weights(key: PRNGKeyArray, curves: list[np.ndarray], distance: np.ndarray) -> np.ndarray:
    """What to take from each domain's distance for areas that differ by up to a factor of five, (K,)."""
    count = len(curves)
    key_area, key_order = jax.random.split(key)
    spread = (np.arange(count) + uniform(key_area, (count,), 0.0, 1.0)) / count
    wanted = min(5.0, 0.5 + count / 2) ** spread[np.argsort(uniform(key_order, (count,), 0.0, 1.0))]
    wanted /= wanted.sum()
    gaps = np.array([min(cdist(a, b).min() for b in curves if b is not a) for a in curves])
    weights = np.zeros(count)
    for _ in range(100):
        miss = np.sqrt(wanted) - np.sqrt(_shares(distance, weights))
        # Below half the gap each, no domain loses its own curve, which keeps it in one piece.
        weights = np.clip(weights + 0.3 * miss / np.sqrt(count), -0.4 * gaps, 0.4 * gaps)
    return weights


def _shares(distance: np.ndarray, weights: np.ndarray) -> np.ndarray:
    nearest = np.argmin(distance - weights[:, None, None], axis=0)
    return np.bincount(nearest.ravel(), minlength=len(weights)) / nearest.size


def _connected(labels: np.ndarray) -> np.ndarray:
    """The largest piece of each domain stays; the others go to their nearest neighbours."""
    for _ in range(4):
        kept = np.zeros(labels.shape, dtype=bool)
        for label in np.unique(labels):
            pieces = ndimage.label(labels == label)[0]
            kept |= pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
        if kept.all():
            break
        nearest = ndimage.distance_transform_edt(~kept, return_distances=False, return_indices=True)
        labels = labels[tuple(nearest)]
    return labels


def _none_empty(labels: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """A pixel for each domain that a map of few pixels left without."""
    for empty in np.flatnonzero(np.bincount(labels.ravel(), minlength=len(distance)) == 0):
        spare = np.bincount(labels.ravel())[labels] > 1
        labels.flat[np.argmin(np.where(spare, distance[empty], np.inf))] = empty
    return labels
