"""Time-of-flight secondary-ion mass spectrometry: fragments of four phases, in maps and in depth."""

import re
from collections.abc import Mapping

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from .._util.validation import check_key
from ..data.image import SpectrumImage
from .components import domain_fractions, layer_fractions, smooth_fields, unit_sum
from .truth import Truth, check_counts, check_positive, check_volume, image, make_truth, poisson

# Mole fractions of the isotopes by mass number: Berglund and Wieser, Pure Appl. Chem. 83 (2011) 397.
ISOTOPES: Mapping[str, Mapping[int, float]] = {
    "H": {1: 0.999885, 2: 0.000115},
    "C": {12: 0.9893, 13: 0.0107},
    "O": {16: 0.99757, 17: 0.00038, 18: 0.00205},
    "Na": {23: 1.0},
    "Si": {28: 0.92223, 29: 0.04685, 30: 0.03092},
    "Cl": {35: 0.7576, 37: 0.2424},
    "K": {39: 0.932581, 40: 0.000117, 41: 0.067302},
    "Ti": {46: 0.0825, 47: 0.0744, 48: 0.7372, 49: 0.0541, 50: 0.0518},
    "Sr": {84: 0.0056, 86: 0.0986, 87: 0.0700, 88: 0.8258},
}
# Positive ions and their relative yields: the ions are those seen, the yields chosen for likeness, not measured.
FRAGMENTS: Mapping[str, Mapping[str, float]] = {
    "hydrocarbon": {
        "CH3": 0.25,
        "C2H3": 0.6,
        "C2H5": 0.7,
        "C3H3": 0.35,
        "C3H5": 1.0,
        "C3H7": 0.9,
        "C4H7": 0.8,
        "C4H9": 0.75,
        "C5H9": 0.5,
        "C5H11": 0.3,
        "C6H9": 0.2,
        "C6H11": 0.25,
        "C7H13": 0.12,
    },
    "silicone": {"Si": 0.35, "SiCH3": 0.5, "SiCH3O": 0.2, "SiC3H9": 1.0, "Si2C4H13O": 0.1, "Si2C5H15O": 0.6},
    "salt": {"Na": 1.0, "K": 0.7, "NaOH2": 0.1, "Na2Cl": 0.3, "NaKCl": 0.15, "K2Cl": 0.1},
    "titanate": {"Ti": 0.8, "TiO": 1.0, "TiOH": 0.2, "Sr": 0.9, "SrO": 0.15, "SrOH": 0.5},
}


def tof_sims(
    key: PRNGKeyArray,
    shape: tuple[int, ...] = (64, 64),
    counts: float | int = 30.0,
    channels: int = 200,
    pixel_um: float | int = 1.0,
    layer_um: float | int = 0.01,
) -> tuple[SpectrumImage, Truth]:
    r"""ToF-SIMS of a hydrocarbon, a silicone, a salt and a titanate: a map of few counts, or layers in depth.

    $X \sim \mathrm{Poisson}(MS)$ over the whole-numbered m/z = 1, 2, ..., `channels`. A spectrum is 97 % fragments,
    each with the isotopes of its elements, and 3 % of a background $e^{-m / 60}$ of metastable ions. The phases share
    nominal masses, as they do in measurements: C3H7 and SiCH3 at 43, C3H3 and K at 39, C6H9 and Na2Cl at 81, C7H13 and
    NaKCl at 97.

    In a map, (y, x), the hydrocarbon is a smooth film over patches of the other three. In a volume, (z, y, x), the
    phases are layers, in the order above from the surface, with interfaces that are rough, by 8 % of the depth, and
    mixed by the beam. Fractions sum to one.

    Args:
        key: random key.
        shape: (y, x) or (z, y, x) pixels.
        counts: expected total of each spectrum.
        channels: number of masses; the heaviest ions have m/z up to 151.
        pixel_um: size of a pixel along y and x in micrometres.
        layer_um: depth that is sputtered from one layer to the next, in micrometres.

    Example:
        >>> image, truth = tof_sims(jax.random.key(0), shape=(3, 8, 8))
        >>> image.data.dims, truth.names
        (('z', 'y', 'x', 'mz'), ('hydrocarbon', 'silicone', 'salt', 'titanate'))
    """
    check_key(key)
    check_volume(shape)
    check_counts(channels=channels)
    check_positive(counts=counts, pixel_um=pixel_um, layer_um=layer_um)
    key_maps, key_noise = jax.random.split(key)
    fractions = _patches(key_maps, shape) if len(shape) == 2 else _layers(key_maps, shape)
    mass = np.arange(1.0, channels + 1)
    background = unit_sum(np.exp(-mass / 60))
    rows = [_ions(fragments, channels) for fragments in FRAGMENTS.values()]
    spectra = unit_sum(np.stack([0.97 * row + 0.03 * background for row in rows]))
    truth = make_truth(counts * fractions.reshape(-1, len(rows)), spectra, tuple(FRAGMENTS))
    values = poisson(key_noise, truth.expected)
    sizes = (layer_um, pixel_um, pixel_um)[-len(shape) :]
    return image(values, tuple(shape), {"mz": mass}, "m/z", sizes, "ToF-SIMS", "µm"), truth


def _ions(fragments: Mapping[str, float], channels: int) -> np.ndarray:
    """Spectrum of sum one over all masses, of which those up to `channels` are returned."""
    total = np.zeros(max(channels, 400))
    for formula, amount in fragments.items():
        masses = isotope_pattern(formula)
        total[: len(masses) - 1] += amount * masses[1:]
    return (total / total.sum())[:channels]


def isotope_pattern(formula: str) -> np.ndarray:
    """Probabilities of the nominal masses 0, 1, 2, ... of a molecule, the convolution of those of its atoms.

    >>> np.round(isotope_pattern("Na2Cl")[80:84], 4).tolist()
    [0.0, 0.7576, 0.0, 0.2424]
    """
    pattern = np.ones(1)
    for element, number in re.findall(r"([A-Z][a-z]?)(\d*)", formula):
        atom = np.zeros(max(ISOTOPES[element]) + 1)
        for mass, fraction in ISOTOPES[element].items():
            atom[mass] = fraction
        for _ in range(int(number or 1)):
            pattern = np.convolve(pattern, atom)
    return pattern


def _patches(key: PRNGKeyArray, shape: tuple[int, ...]) -> np.ndarray:
    """(y, x, 4): a film that varies slowly, from 5 to 55 %, over patches."""
    key_film, key_patches = jax.random.split(key)
    film = 0.3 + 0.25 * np.tanh(smooth_fields(key_film, shape, 1, 1.5)[0])
    patches = domain_fractions(smooth_fields(key_patches, shape, 3, 4.0), 8.0)
    return np.concatenate([film[..., None], (1 - film[..., None]) * patches], axis=-1)


def _layers(key: PRNGKeyArray, shape: tuple[int, ...]) -> np.ndarray:
    """(z, y, x, 4): layers from the surface on, with their interfaces at a quarter, a half and three quarters."""
    depth = shape[0]
    rough = 0.08 * np.tanh(smooth_fields(key, tuple(shape[1:]), 3, 3.0))
    places = [depth * ((k + 1) / 4 + rough[k]) - 0.5 for k in range(3)]
    z = np.arange(depth, dtype=float)[:, None, None] + np.zeros(shape)
    return unit_sum(layer_fractions(z, places, max(0.5, 0.04 * depth)))
