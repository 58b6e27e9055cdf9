"""Spectrum images whose truth is known, for tests, benchmarks and demonstrations.

Every generator takes an explicit random key and returns `(SpectrumImage, Truth)`. The expected image is
`truth.maps @ truth.spectra` in the unit of the data. Where the data are counts, each true spectrum sums to
one and the maps are expected counts; otherwise the maps are fractions and the spectra carry the unit. (The
truth of `battery_xas(raw=True)` is that of the normalised image.) An argument out of its range is a ValueError
that names it. `edge_spectrum` gives one spectrum in place of an image.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from . import scenes
from .domains import battery_xas
from .edges import edge_spectrum
from .image import SpectrumImage
from .minerals import core_shell, mantle_minerals
from .nanosheets import nanosheets
from .truth import (
    Truth,
    check_counts,
    check_positive,
    check_shape,
    gaussian,
    image,
    make_truth,
    noise_level,
    poisson,
)

__all__ = [
    "Truth",
    "battery_xas",
    "core_shell",
    "edge_spectrum",
    "edx_phases",
    "eels_oxides",
    "line_scan",
    "mantle_minerals",
    "mixture",
    "nanosheets",
    "patterns",
    "xas_domains",
]


def mixture(
    key: PRNGKeyArray,
    pixels: int = 1000,
    channels: int = 200,
    components: int = 3,
    noise: Literal["gaussian", "poisson"] | None = None,
    *,
    snr_db: float = 30.0,
    counts: float = 1000.0,
    concentration: float = 0.3,
    correlated: bool = False,
) -> tuple[SpectrumImage, Truth]:
    r"""A plain mixture for tests and benchmarks: a row of unrelated pixels, random spectra over 0 to 100 eV.

    $X = MS$ or $MS + N(0, \sigma^2)$ or $\mathrm{Poisson}(MS)$, with $M_i \sim \mathrm{Dirichlet}(\alpha)$.
    Each spectrum is four Gaussians at random places, of random widths and heights or, if `correlated`,
    resembles an XAS edge: a sigmoid at nearly the same energy in all, and two Gaussians. For Poisson noise
    the spectra are scaled to sum one and the maps to a sum of `counts` in each pixel.

    Args:
        key: random key.
        pixels: number of pixels.
        channels: number of channels.
        components: number of components K.
        noise: "gaussian", "poisson", or None for the exact product.
        snr_db: 10 log10 of the mean square of the signal over the variance of the Gaussian noise.
        counts: expected total of each spectrum for Poisson noise.
        concentration: alpha; small values give nearly pure pixels, 1 gives evenly spread fractions.
        correlated: make the spectra alike.

    Example:
        >>> image, truth = mixture(jax.random.key(0), pixels=50, channels=30)
        >>> truth.maps.shape, truth.spectra.shape
        ((50, 3), (3, 30))
    """
    check_counts(pixels=pixels, channels=channels, components=components)
    check_positive(counts=counts, concentration=concentration)
    if noise not in ("gaussian", "poisson", None):
        raise ValueError(f"noise={noise!r}: use 'gaussian', 'poisson' or None")
    key_maps, key_spectra, key_noise = jax.random.split(key, 3)
    alpha = jnp.full((components,), concentration, dtype=jnp.float32)
    maps = np.asarray(jax.random.dirichlet(key_maps, alpha, (pixels,)), dtype=np.float64)
    energy = np.linspace(0.0, 100.0, channels)
    if correlated:
        spectra = scenes.edge_spectra(key_spectra, energy, components, spread=3.0)
    else:
        spectra = scenes.peak_spectra(key_spectra, energy, components)
    if noise == "poisson":
        maps, spectra = counts * maps, scenes.unit_sum(spectra)
    sd = noise_level(maps @ spectra, snr_db) if noise == "gaussian" else None
    truth = make_truth(maps, spectra, [f"component {k}" for k in range(components)], noise_sd=sd)
    values = truth.expected
    if noise == "poisson":
        values = poisson(key_noise, values)
    elif sd is not None:
        values = gaussian(key_noise, values, sd)
    unit = "counts" if noise == "poisson" else ""
    return image(values, (pixels,), {"energy": energy}, "eV", 1.0, "mixture", "", unit), truth


def eels_oxides(
    key: PRNGKeyArray,
    shape: tuple[int, int] = (64, 64),
    counts: float = 1000.0,
    channels: int = 400,
    width: float = 4.0,
    pixel_nm: float = 0.5,
) -> tuple[SpectrumImage, Truth]:
    r"""STEM-EELS of three oxide layers, TiO2, MnO and Fe2O3, with rough and diffuse interfaces.

    $X \sim \mathrm{Poisson}(MS)$ over the energy loss E from 430 to 780 eV,
    $S_k(E) \propto (E / E_0)^{-3} [1 + a_O K_k(E) + a_L L_k(E)]$: a power-law background, the O K edge that
    all share (a step and two peaks, moved a few eV by the metal) and the L edge of the metal, steps with the
    L3 and L2 white lines (Lorentzian). Fractions are differences of
    $\frac12 + \frac12 \mathrm{erf}((x - x_k(y)) / w)$, with wavy $x_k(y)$ about one and two thirds of the map.

    Args:
        key: random key.
        shape: (y, x) pixels.
        counts: expected total of each spectrum.
        channels: number of energy channels.
        width: w, of the interfaces, in pixels.
        pixel_nm: size of a pixel in nm.
    """
    check_shape(shape)
    check_counts(channels=channels)
    check_positive(counts=counts, width=width, pixel_nm=pixel_nm)
    key_place, key_noise = jax.random.split(key)
    y, x = np.indices(shape)
    turns = 2 * np.pi * y / shape[0]
    waves = [
        0.04 * np.sin(turns + p) + 0.02 * np.sin(2.4 * turns + q)
        for p, q in scenes.uniform(key_place, (2, 2), 0.0, 2 * np.pi)
    ]
    fractions = scenes.layer_fractions(x, [shape[1] * (1 / 3 + waves[0]), shape[1] * (2 / 3 + waves[1])], width)
    energy = np.linspace(430.0, 780.0, channels)
    truth = make_truth(counts * fractions.reshape(-1, 3), scenes.oxide_spectra(energy), tuple(scenes.OXIDES))
    values = poisson(key_noise, truth.expected)
    return image(values, shape, {"energy": energy}, "eV", pixel_nm, "EELS of oxide layers"), truth


def line_scan(
    key: PRNGKeyArray,
    length: int = 120,
    counts: float = 2000.0,
    channels: int = 400,
    width: float = 6.0,
    pixel_nm: float = 0.5,
) -> tuple[SpectrumImage, Truth]:
    r"""STEM-EELS along a line across TiO2, MnO and Fe2O3: the model of `eels_oxides` with one navigation dim.

    $X \sim \mathrm{Poisson}(MS)$; fractions are differences of
    $\frac12 + \frac12 \mathrm{erf}((x - x_k) / w)$, with $x_k$ at one and two thirds of the line.

    Args:
        key: random key.
        length: number of pixels.
        counts: expected total of each spectrum.
        channels: number of energy channels.
        width: w, of the interfaces, in pixels.
        pixel_nm: distance of the pixels in nm.
    """
    check_counts(length=length, channels=channels)
    check_positive(counts=counts, width=width, pixel_nm=pixel_nm)
    energy = np.linspace(430.0, 780.0, channels)
    fractions = scenes.layer_fractions(np.arange(length), [length / 3, 2 * length / 3], width)
    truth = make_truth(counts * fractions, scenes.oxide_spectra(energy), tuple(scenes.OXIDES))
    values = poisson(key, truth.expected)
    return image(values, (length,), {"energy": energy}, "eV", pixel_nm, "EELS line scan"), truth


def edx_phases(
    key: PRNGKeyArray,
    shape: tuple[int, int] = (64, 64),
    counts: float = 200.0,
    channels: int = 500,
    grains: int = 8,
    pixel_nm: float = 2.0,
) -> tuple[SpectrumImage, Truth]:
    r"""A light demonstration of STEM-EDX: grains of feldspar and magnetite in olivine.

    $X \sim \mathrm{Poisson}(MS)$ over the photon energy E from 0.2 to 10.2 keV,
    $S_k(E) \propto \sum_e c_{ke} \sum_l r_{el} N(E; E_l, \sigma_l) + B(E)$, with compositions c, Gaussian
    lines of rounded strength r, $\sigma_l^2 = \sigma_0^2 + F \epsilon E_l$ (130 eV full width at Mn K alpha)
    and bremsstrahlung $B \propto (1 - e^{-E / 0.5}) (E_0 - E) / E$, $E_0$ = 200 keV. There are no
    cross-sections and no absorption: good for looking at, not for quantification.

    Args:
        key: random key.
        shape: (y, x) pixels.
        counts: expected total of each spectrum.
        channels: number of energy channels.
        grains: number of grains, of the two phases by turns.
        pixel_nm: size of a pixel in nm.
    """
    check_shape(shape)
    check_counts(channels=channels, grains=grains)
    check_positive(counts=counts, pixel_nm=pixel_nm)
    key_grains, key_noise = jax.random.split(key)
    energy = np.linspace(0.2, 10.2, channels)
    fractions = scenes.grain_fractions(key_grains, shape, grains).reshape(-1, 3)
    truth = make_truth(counts * fractions, scenes.phase_spectra(energy), tuple(scenes.PHASES))
    values = poisson(key_noise, truth.expected)
    return image(values, shape, {"energy": energy}, "keV", pixel_nm, "EDX of three phases"), truth


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
    check_shape(shape)
    check_counts(channels=channels, domains=domains)
    check_positive(pixel_um=pixel_um)
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
    spectra = scenes.edge_spectra(key_spectra, energy - 7700.0, domains, spread=4.0)
    sd = noise_level(spectra[labels], snr_db)
    truth = make_truth(np.eye(domains)[labels], spectra, [f"domain {k}" for k in range(domains)], noise_sd=sd)
    values = gaussian(key_noise, truth.expected, sd)
    return image(values, shape, {"energy": energy}, "eV", pixel_um, "XAS of domains", "µm", ""), truth


def patterns(
    key: PRNGKeyArray,
    shape: tuple[int, int] = (16, 16),
    detector: tuple[int, int] = (48, 48),
    counts: float = 5000.0,
    domains: int = 3,
    pixel_nm: float = 1.0,
) -> tuple[SpectrumImage, Truth]:
    r"""4D-STEM of overlapping crystal domains: a spot pattern in each pixel.

    $X \sim \mathrm{Poisson}(MS)$ over the scattering vector k from -10 to 10 1/nm,
    $S_j(k) \propto \sum_{g \in L_j} e^{-g^2 / 32} e^{-|k - g|^2 / 2 s^2} + 0.02 e^{-k^2 / 50}$:
    spots (s = 0.45 1/nm) on a square lattice $L_j$ with its own rotation and spacing, over a smooth background. The
    fractions are a softmax of the distances to a random centre for each domain.

    Args:
        key: random key.
        shape: (y, x) pixels.
        detector: (ky, kx) channels, 8 or more each.
        counts: expected total of each pattern.
        domains: number of domains.
        pixel_nm: size of a pixel in nm.
    """
    check_shape(shape)
    check_counts(domains=domains)
    check_positive(counts=counts, pixel_nm=pixel_nm)
    if min(detector) < 8:
        raise ValueError(f"detector={detector}: give 8 channels or more each, spots need them")
    key_centres, key_lattice, key_noise = jax.random.split(key, 3)
    centres = scenes.uniform(key_centres, (domains, 2), 0.0, 1.0) * np.asarray(shape)
    grid = np.moveaxis(np.indices(shape), 0, -1).reshape(-1, 1, 2)
    distance = np.linalg.norm(grid - centres, axis=-1) / (0.05 * max(shape))
    nearness = np.exp(distance.min(axis=1, keepdims=True) - distance)
    axes = {"ky": np.linspace(-10.0, 10.0, detector[0]), "kx": np.linspace(-10.0, 10.0, detector[1])}
    spectra = scenes.spot_patterns(key_lattice, axes["ky"], axes["kx"], domains)
    truth = make_truth(counts * scenes.unit_sum(nearness), spectra, [f"domain {k}" for k in range(domains)])
    values = poisson(key_noise, truth.expected)
    return image(values, shape, axes, "1/nm", pixel_nm, "4D-STEM of domains"), truth
