"""Two sites of one element, told apart by the tilt of the beam: EELS and EDX of the same tilts."""

import numpy as np
from jaxtyping import PRNGKeyArray

from ..._util.validation import check_key, check_number
from ...data.image import SpectrumImage
from ..components import peak, step, unit_sum
from ..truth import Truth, check_counts, check_positive, check_shape, image, make_truth, poisson

SITES = ("tetrahedral", "octahedral")
# In eV: the Mn L3 and L2 lines of each site, (place, half width, height over the continuum). Places are near those of
# divalent and trivalent manganese; heights are chosen for likeness.
LINES = {
    "tetrahedral": ((639.8, 0.8, 7.0), (650.5, 1.2, 1.5)),
    "octahedral": ((642.2, 1.3, 5.0), (653.2, 1.6, 2.0)),
}
# keV and relative strength.
EMISSION = {
    "Al": ((1.487, 1.0),),
    "Mn": ((5.899, 0.88), (6.490, 0.12)),
    "Zn": ((8.639, 0.88), (9.572, 0.12)),
}
# Photons of each element and of bremsstrahlung from each site: zinc is on the one alone, aluminium on the other.
OCCUPATION = {"tetrahedral": (0.0, 0.6, 0.4, 0.2), "octahedral": (0.8, 0.9, 0.0, 0.3)}


def channelling_eels(
    key: PRNGKeyArray,
    shape: tuple[int, int] = (40, 40),
    counts: float = 1e5,
    channels: int = 140,
    contrast: float = 0.35,
) -> tuple[SpectrumImage, Truth]:
    r"""EELS of a spinel with manganese on two sites, at each tilt of the beam (Mn L2,3, background subtracted).

    $X \sim \mathrm{Poisson}(MS)$ over the energy loss E from 630 to 665 eV. By channelling the beam is more intense on
    one site or the other as it is tilted: the map M of a site is its intensity over the two angles, the same as in
    `channelling_edx` of this shape and contrast (after the tilt series of Muto and Shiga, Microscopy 69 (2020) 110,
    figure 8).

    Args:
        key: random key, of the noise alone.
        shape: tilts about the two axes, a mrad apart.
        counts: expected total at the mean of the tilts.
        channels: number of energy channels.
        contrast: by how much the intensity on the sites varies.
    """
    _check(key, shape, counts, channels, contrast)
    energy = np.linspace(630.0, 665.0, channels)
    rows = []
    for (l3, width3, height3), (l2, width2, height2) in LINES.values():
        row = step(energy, l3, 1.0) * 2 / 3 + step(energy, l2, 1.0) / 3
        for line, width, height in ((l3, width3, height3), (l2, width2, height2)):
            row += height * width**2 / ((energy - line) ** 2 + width**2)
        rows.append(row)
    shares = np.array([occupation[1] for occupation in OCCUPATION.values()])
    maps = counts * site_intensities(shape, contrast) * shares / shares.sum()
    truth = make_truth(maps, unit_sum(np.stack(rows)), SITES)
    values = poisson(key, truth.expected)
    return image(values, shape, {"energy": energy}, "eV", 1.0, "EELS of a tilt series", "mrad"), truth


def channelling_edx(
    key: PRNGKeyArray,
    shape: tuple[int, int] = (40, 40),
    counts: float = 60.0,
    channels: int = 300,
    contrast: float = 0.35,
) -> tuple[SpectrumImage, Truth]:
    r"""EDX of the spinel of `channelling_eels` at the same tilts: aluminium, manganese and zinc over bremsstrahlung.

    $X \sim \mathrm{Poisson}(MCB)$ over the photon energy E from 1 to 10 keV, with Gaussian lines of unit sum and
    bremsstrahlung for the rows of the basis B. `truth.coefficients` are C: zinc is on the tetrahedral sites alone and
    aluminium on the octahedral ones, which is what a fit may know.

    Args:
        key: random key, of the noise alone.
        shape: tilts about the two axes, a mrad apart.
        counts: expected total at the mean of the tilts.
        channels: number of energy channels.
        contrast: by how much the intensity on the sites varies.
    """
    _check(key, shape, counts, channels, contrast)
    energy = np.linspace(1.0, 10.0, channels)
    basis = emission_rows(energy)
    atoms = np.array(list(OCCUPATION.values()))
    maps = counts * site_intensities(shape, contrast) * atoms.sum(axis=1) / atoms.sum()
    coefficients = unit_sum(atoms)
    truth = make_truth(maps, coefficients @ basis, SITES, elements=tuple(EMISSION), coefficients=coefficients)
    values = poisson(key, truth.expected)
    return image(values, shape, {"energy": energy}, "keV", 1.0, "EDX of a tilt series", "mrad"), truth


def emission_rows(energy: np.ndarray) -> np.ndarray:
    """The lines of aluminium, manganese and zinc, and bremsstrahlung of 12 keV, each of sum one, (4, channels)."""
    rows = []
    for lines in EMISSION.values():
        row = np.zeros_like(energy)
        for place, strength in lines:
            sigma = np.sqrt(0.019**2 + 0.12 * 3.8e-3 * place)
            row += strength / sigma * peak(energy, place, sigma)
        rows.append(row)
    rows.append((1 - np.exp(-energy / 0.8)) * (12.0 - energy) / energy)
    return unit_sum(np.stack(rows))


def site_intensities(shape: tuple[int, int], contrast: float) -> np.ndarray:
    """(tilts, 2), the intensity of the beam on each site, of mean one."""
    ty, tx = np.meshgrid(*(np.linspace(-2.0, 2.0, size) for size in shape), indexing="ij")

    def rock(tilt: np.ndarray) -> np.ndarray:
        return np.tanh(1.5 * tilt) * np.exp(-((tilt / 1.6) ** 2))

    odd = rock(tx) + 0.7 * rock(0.5 * tx + 0.866 * ty)
    odd = (odd / (2.5 * max(odd.std(), 1e-6))).ravel()
    even = np.exp(-((tx**2 + ty**2) / 0.5)).ravel()
    maps = 1 + contrast * np.stack([odd + 0.43 * even, -0.9 * odd + 0.29 * even], axis=1)
    return maps / maps.mean(axis=0)


def _check(key: PRNGKeyArray, shape: tuple[int, int], counts: float, channels: int, contrast: float) -> None:
    check_key(key)
    check_shape(shape)
    check_counts(channels=channels)
    check_positive(counts=counts)
    check_number(contrast, "contrast", 0, 0.4)
