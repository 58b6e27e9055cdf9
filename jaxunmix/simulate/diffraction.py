"""Diffraction patterns of grains."""

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from .._util.validation import check_key
from ..data.image import SpectrumImage
from .components import spot_patterns, uniform, unit_sum
from .truth import Truth, check_counts, check_pair, check_positive, check_shape, image, make_truth, poisson


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
