"""X-ray absorption: domains of oxidation states, and single spectra of an edge with peaks."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import xarray as xr
from jaxtyping import PRNGKeyArray

from .._util.random import numpy_generator
from .._util.validation import as_number, check_key, check_number, check_several, check_whole_number, real_number
from ..data.image import SpectrumImage
from ..physics import lineshapes
from .components import edge_spectra
from .truth import Truth, check_counts, check_positive, check_shape, gaussian, image, make_truth, noise_level

# Tries to place the peaks apart before the distance asked for is halved.
_TRIES = 2000


def edge_spectrum(
    key: PRNGKeyArray,
    peaks: int = 3,
    noise: float | int = 5e-3,
    window: tuple[float | int, float | int] = (7700.0, 7740.0),
    channels: int = 100,
) -> tuple[np.ndarray, np.ndarray, xr.Dataset]:
    """An arctangent edge of height one, a white line above it, and Gaussians apart from it and from each other.

    Args:
        key: the randomness.
        peaks: the number of Gaussians.
        noise: sd of the normal noise, in edge heights.
        window: first and last energy, eV.
        channels: the number of energies.

    Returns:
        energy (channels,) in eV, intensity (channels,), and the truth: E_WL, E0, edge_width, line_width, peak_centre,
        peak_width (full widths at half maximum) in eV; baseline, step, lorentzian, gaussian and peak_height; noise.

    Raises:
        ValueError: a number of peaks below 0, a noise that is not positive, a window that does not increase.
    """
    check_key(key)
    check_whole_number(peaks, "peaks")
    check_whole_number(channels, "channels")
    real_number(noise, "noise")
    low, high = (as_number(end, "window") for end in check_several(window, "window", "(7700, 7740)"))
    if peaks < 0 or not 0 < noise < np.inf or not window[0] < window[1] or channels < 2:
        raise ValueError(
            "edge_spectrum: peaks must be 0 or more, noise positive, the window increasing and channels 2 or more, got "
            f"{peaks}, {noise}, {window} and {channels}."
        )
    rng = numpy_generator(key)
    low, high = window
    span = high - low
    edge = low + span * rng.uniform(0.42, 0.48)
    line = edge + span * rng.uniform(0.08, 0.14)
    centre = _apart(rng, peaks, (low + 0.05 * span, high - 0.05 * span), line)
    parts = {
        "E_WL": line,
        "E0": edge,
        "edge_width": span * rng.uniform(0.04, 0.06),
        "line_width": span * rng.uniform(0.06, 0.09),
        "baseline": 0.02,
        "step": 1.0,
        "lorentzian": rng.uniform(0.2, 0.4),
        "gaussian": rng.uniform(0.2, 0.4),
        "noise": float(noise),
        "peak_centre": ("peak", centre),
        "peak_width": ("peak", span * rng.uniform(0.025, 0.06, peaks)),
        "peak_height": ("peak", rng.uniform(0.08, 0.4, peaks)),
    }
    truth = xr.Dataset(parts)
    energy = np.linspace(low, high, channels)
    return energy, spectrum(energy, truth) + noise * rng.standard_normal(channels), truth


def spectrum(energy: np.ndarray, truth: Mapping[Any, Any]) -> np.ndarray:
    """The expected intensity of such parts."""
    p = {name: np.asarray(truth[name], float) for name in truth}
    line = p["E_WL"], p["line_width"]
    found = p["baseline"] + p["step"] * lineshapes.arctangent_step(energy, p["E0"], p["edge_width"])
    found += p["lorentzian"] * lineshapes.lorentzian(energy, *line) / lineshapes.lorentzian_peak(line[1])
    found += p["gaussian"] * lineshapes.gaussian(energy, *line) / lineshapes.gaussian_peak(line[1])
    for centre, width, height in zip(p["peak_centre"], p["peak_width"], p["peak_height"], strict=True):
        found += height * lineshapes.gaussian(energy, centre, width) / lineshapes.gaussian_peak(width)
    return np.asarray(found, float)


def _apart(rng: np.random.Generator, peaks: int, ends: tuple[float, float], line: float) -> np.ndarray:
    """Increasing positions, as far apart as there is room for."""
    distance = min(0.05, 0.6 / (peaks + 1)) * (ends[1] - ends[0])
    while True:
        for _ in range(_TRIES):
            found = np.sort(rng.uniform(*ends, peaks))
            if np.all(np.diff(found) > distance) and np.all(np.abs(found - line) > 0.03 * (ends[1] - ends[0])):
                return found
        distance /= 2


def xas_domains(
    key: PRNGKeyArray,
    shape: tuple[int, int] = (64, 64),
    channels: int = 100,
    domains: int = 4,
    snr_db: float = 30.0,
    pixel_um: float = 1.0,
) -> tuple[SpectrumImage, Truth]:
    r"""2D-XAS of sharply bounded domains whose spectra resemble one another.

    $X = MS + N(0, \sigma^2)$ over the photon energy E from 7700 to 7800 eV (the Co K edge), one domain in
    each pixel (M is 0 or 1) and absorbance
    $S_k(E) = \frac12 + \frac12 \mathrm{erf}((E - E_k) / w_k) + \sum_{g=1}^2 a_{kg} G(E; \mu_{kg}, s_{kg})$
    with Gaussians G of height 1 and the edge $E_k$ near 7722 eV. A domain is the cells nearest to up to three
    random seeds.

    Args:
        key: random key.
        shape: (y, x) pixels.
        channels: number of energy channels.
        domains: number of domains, not more than pixels.
        snr_db: 10 log10 of the mean square of the signal over the variance of the noise.
        pixel_um: size of a pixel in micrometres.
    """
    check_key(key)
    check_shape(shape)
    check_counts(channels=channels, domains=domains)
    check_positive(pixel_um=pixel_um)
    check_number(snr_db, "snr_db")
    pixels = shape[0] * shape[1]
    if domains > pixels:
        raise ValueError(f"domains={domains} in {pixels} pixels: ask for fewer domains or a larger shape")
    key_seeds, key_spectra, key_noise = jax.random.split(key, 3)
    # Distinct pixels as seeds: each is nearest to itself, so that no domain can be empty.
    seeds = np.asarray(jax.random.permutation(key_seeds, pixels))[: 3 * domains]
    grid = np.stack(np.unravel_index(np.arange(pixels), shape), axis=1)
    distance = np.stack([np.sum((grid - seed) ** 2, axis=1) for seed in grid[seeds]], axis=1)
    labels = np.argmin(distance, axis=1) % domains
    energy = np.linspace(7700.0, 7800.0, channels)
    spectra = edge_spectra(key_spectra, energy - 7700.0, domains, spread=4.0)
    sd = noise_level(spectra[labels], snr_db)
    truth = make_truth(np.eye(domains)[labels], spectra, [f"domain {k}" for k in range(domains)], noise_sd=sd)
    values = gaussian(key_noise, truth.expected, sd)
    return image(values, shape, {"energy": energy}, "eV", pixel_um, "XAS of domains", "µm", ""), truth
