"""Oxides beside a phase that has no edge, so that subtracting the background hides it."""

from dataclasses import replace

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from ..._util.validation import check_key
from ...data.image import SpectrumImage
from ..components import domain_fractions, peak, smooth_fields, step
from ..truth import Truth, check_counts, check_positive, check_shape, image, make_truth, poisson
from .eels import OXYGEN

# The height at 490 eV over the step of the edge, and the exponent, of the background of each phase.
BACKGROUNDS = {"layered oxide": (3.0, 3.0), "rock salt": (2.4, 3.4), "carbon": (3.5, 4.6)}


def oxides_and_carbon(
    key: PRNGKeyArray,
    shape: tuple[int, int] = (40, 40),
    counts: float = 40000.0,
    channels: int = 160,
    pixel_nm: float = 1.0,
) -> tuple[SpectrumImage, Truth]:
    r"""STEM-EELS of two oxides and carbon at the O K edge, with the background: carbon has no edge there.

    $X \sim \mathrm{Poisson}(MS)$, $S_k = b_k (E / 490)^{-r_k} + a_k(E)$ over the energy loss E from 490 to 570 eV, with
    the edges a of the layered oxide and the rock salt of `cathode_oxygen`, and a = 0 for the carbon. Where the
    background is subtracted first nothing is left of the carbon (after Muto and Shiga, Microscopy 69 (2020)
    110, figure 9).

    Args:
        key: random key.
        shape: (y, x) pixels.
        counts: expected total of a spectrum, on average.
        channels: number of energy channels.
        pixel_nm: size of a pixel in nm.

    Returns:
        The image and the truth; `truth.backgrounds` are the parts b of its spectra.
    """
    check_key(key)
    check_shape(shape)
    check_counts(channels=channels)
    check_positive(counts=counts, pixel_nm=pixel_nm)
    key_place, key_noise = jax.random.split(key)
    energy = np.linspace(490.0, 570.0, channels)
    edges, tails = np.zeros((3, channels)), np.zeros((3, channels))
    for k, (name, (height, exponent)) in enumerate(BACKGROUNDS.items()):
        tails[k] = height * (energy / 490.0) ** -exponent
        if name in OXYGEN:
            onset, peaks = OXYGEN[name]
            edges[k] = step(energy, onset, 1.2) * (energy / onset) ** -3
            edges[k] += sum(size * peak(energy, place, sd) for place, sd, size in peaks)
    sums = (edges + tails).sum(axis=1, keepdims=True)
    fractions = domain_fractions(smooth_fields(key_place, shape, 3, 2.5), 3.0).reshape(-1, 3)
    maps = counts * fractions * sums.ravel() / sums.mean()
    truth = make_truth(maps, (edges + tails) / sums, tuple(BACKGROUNDS))
    values = poisson(key_noise, truth.expected)
    img = image(values, shape, {"energy": energy}, "eV", pixel_nm, "EELS of oxides and carbon")
    return img, replace(truth, backgrounds=(tails / sums).astype(np.float32))
