"""Diffraction: patterns of grains, and scans along rods."""

from dataclasses import replace

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from .._util.validation import check_key
from ..data.image import SpectrumImage
from .components import domain_fractions, smooth_fields, spot_patterns, uniform, unit_sum
from .truth import Truth, check_counts, check_pair, check_positive, check_shape, image, make_truth, poisson

# Angstrom: of the substrate, SrTiO3 (001), and where the films' may lie, compressed or stretched against it.
_SUBSTRATE = 3.905
_FILMS = ((3.72, 3.84), (3.97, 4.15))


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
    check_key(key)
    check_shape(shape)
    check_pair(detector, "detector", "(48, 48)")
    check_counts(domains=domains)
    check_positive(counts=counts, pixel_nm=pixel_nm)
    if min(detector) < 8:
        raise ValueError(f"detector={detector}: give 8 channels or more each, spots need them")
    key_centres, key_lattice, key_noise = jax.random.split(key, 3)
    centres = uniform(key_centres, (domains, 2), 0.0, 1.0) * np.asarray(shape)
    grid = np.moveaxis(np.indices(shape), 0, -1).reshape(-1, 1, 2)
    distance = np.linalg.norm(grid - centres, axis=-1) / (0.05 * max(shape))
    nearness = np.exp(distance.min(axis=1, keepdims=True) - distance)
    axes = {"ky": np.linspace(-10.0, 10.0, detector[0]), "kx": np.linspace(-10.0, 10.0, detector[1])}
    spectra = spot_patterns(key_lattice, axes["ky"], axes["kx"], domains)
    truth = make_truth(counts * unit_sum(nearness), spectra, [f"domain {k}" for k in range(domains)])
    values = poisson(key_noise, truth.expected)
    return image(values, shape, axes, "1/nm", pixel_nm, "4D-STEM of domains"), truth


def rod_scans(
    key: PRNGKeyArray,
    shape: tuple[int, int] = (32, 32),
    channels: int = 400,
    counts: float | int = 5000.0,
    films: int = 2,
    pixel_um: float | int = 0.5,
) -> tuple[SpectrumImage, Truth]:
    r"""X-ray diffraction along the specular rod of a film on its substrate, a scan in each pixel.

    $X \sim \mathrm{Poisson}(MS)$ over the momentum transfer q from 1.3 to 3.6 1/angstrom, which holds the Bragg peaks
    001 and 002 at $q = 2 \pi l / d$ of the spacing d of each endmember, with

    - the substrate, SrTiO3 with d = 3.905 angstrom, a crystal truncation rod
      $1 / [4 \sin^2(q d / 2) + \epsilon]$ (Robinson, Phys. Rev. B 33 (1986) 3830), $\epsilon$ = 0.002;
    - films of N layers, 15 to 40, with the interference function $\sin^2(N q d / 2) / \sin^2(q d / 2)$ (Warren,
      X-ray Diffraction, 1969, chapter 3), whose fringes between the peaks tell N.

    All are times $e^{-q^2 / 8}$, a form factor, and stand on a flat background of 1 % of their counts; the waves from
    film and substrate do not interfere. Fractions are smooth domains that sum to one; the substrate is everywhere,
    with 20 % or more.

    Args:
        key: random key.
        shape: (y, x) pixels.
        channels: number of values of q.
        counts: expected total of each scan.
        films: number of films, each of another d: 3.72 to 3.84 (every second, from the second one on) or 3.97 to 4.15.
        pixel_um: size of a pixel in micrometres.

    Returns:
        The image, dims (y, x, q), and the truth, with `d_spacings`, the substrate first.

    Example:
        >>> image, truth = rod_scans(jax.random.key(0), shape=(4, 5))
        >>> image.data.sizes["q"], truth.names[0], round(float(truth.d_spacings[0]), 3)
        (400, 'substrate', 3.905)
    """
    check_key(key)
    check_shape(shape)
    check_counts(channels=channels, films=films)
    check_positive(counts=counts, pixel_um=pixel_um)
    key_maps, key_films, key_noise = jax.random.split(key, 3)
    q = np.linspace(1.3, 3.6, channels)
    spacings, layers = _films(key_films, films)
    rows = [1 / (4 * np.sin(q * _SUBSTRATE / 2) ** 2 + 2e-3)]
    rows += [_interference(q, d, n) for d, n in zip(spacings, layers, strict=True)]
    scattered = unit_sum(np.stack(rows) * np.exp(-(q**2) / 8))
    fractions = domain_fractions(smooth_fields(key_maps, shape, films + 1, 2.0), 3.0).reshape(-1, films + 1)
    fractions = 0.8 * fractions + 0.2 * np.eye(films + 1)[0]
    names = ["substrate", *(f"film {d:.3f} angstrom" for d in spacings)]
    truth = make_truth(counts * fractions, 0.99 * scattered + 0.01 / channels, names)
    truth = replace(truth, d_spacings=np.array([_SUBSTRATE, *spacings]))
    values = poisson(key_noise, truth.expected)
    return image(values, shape, {"q": q}, "1/angstrom", pixel_um, "rod scans", "µm"), truth


def _films(key: PRNGKeyArray, films: int) -> tuple[np.ndarray, np.ndarray]:
    """Spacings in angstrom and numbers of layers; films take turns to be stretched and compressed."""
    draws = uniform(key, (2, films), 0.0, 1.0)
    spacings = np.empty(films)
    for side, (low, high) in enumerate(_FILMS[::-1]):
        mine = np.arange(side, films, 2)
        # Equal shares of the range, and a random place in the middle of each: no two come out the same.
        spacings[mine] = low + (high - low) * (np.arange(len(mine)) + 0.2 + 0.6 * draws[0, mine]) / max(len(mine), 1)
    return spacings, np.floor(15 + 26 * draws[1]).clip(15, 40)


def _interference(q: np.ndarray, spacing: float, layers: float) -> np.ndarray:
    """Of so many planes, N^2 at the Bragg peaks."""
    # The ratio of sines as a sum of cosines, which has no 0 / 0.
    order = np.arange(1, int(layers))[:, None]
    return layers + 2 * np.sum((layers - order) * np.cos(order * q * spacing), axis=0).clip(-layers / 2)
