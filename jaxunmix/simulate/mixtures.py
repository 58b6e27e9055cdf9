"""Mixtures of smooth peaks, without a technique."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from .._util.validation import check_flag, check_key, check_number
from ..data.image import SpectrumImage
from .components import edge_spectra, peak_spectra, unit_sum
from .truth import Truth, check_counts, check_positive, gaussian, image, make_truth, noise_level, poisson


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
    check_key(key)
    check_counts(pixels=pixels, channels=channels, components=components)
    check_number(snr_db, "snr_db")
    check_flag(correlated, "correlated")
    check_positive(counts=counts, concentration=concentration)
    if noise not in ("gaussian", "poisson", None):
        raise ValueError(f"noise={noise!r}: use 'gaussian', 'poisson' or None")
    key_maps, key_spectra, key_noise = jax.random.split(key, 3)
    alpha = jnp.full((components,), concentration, dtype=jnp.float32)
    maps = np.asarray(jax.random.dirichlet(key_maps, alpha, (pixels,)), dtype=np.float64)
    energy = np.linspace(0.0, 100.0, channels)
    if correlated:
        spectra = edge_spectra(key_spectra, energy, components, spread=3.0)
    else:
        spectra = peak_spectra(key_spectra, energy, components)
    if noise == "poisson":
        maps, spectra = counts * maps, unit_sum(spectra)
    sd = noise_level(maps @ spectra, snr_db) if noise == "gaussian" else None
    truth = make_truth(maps, spectra, [f"component {k}" for k in range(components)], noise_sd=sd)
    values = truth.expected
    if noise == "poisson":
        values = poisson(key_noise, values)
    elif sd is not None:
        values = gaussian(key_noise, values, sd)
    unit = "counts" if noise == "poisson" else ""
    return image(values, (pixels,), {"energy": energy}, "eV", 1.0, "mixture", "", unit), truth
