"""Microscopy at the scale of atoms: an image of two oxide lattices, and tunnelling spectra of a gapped surface."""

from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from .._util.validation import check_key, check_number
from ..data.image import SpectrumImage
from .components import domain_fractions, peak, smooth_fields, step, uniform
from .truth import Truth, check_counts, check_positive, check_shape, image, make_truth, noise_level, poisson

# meV: Boltzmann's constant times 4.2 K.
_KT = 0.08617333 * 4.2


@dataclass(frozen=True)
class Lattice:
    """A rectangular cell of columns of atoms, seen along the beam.

    Attributes:
        name: of the phase.
        cell: (along y, along x) in nm.
        columns: (place along y, place along x, brightness) of each, places in fractions of the cell.
    """

    name: str
    cell: tuple[float, float]
    columns: tuple[tuple[float, float, float], ...]

    def picture(self, y: np.ndarray, x: np.ndarray, width: float) -> np.ndarray:
        """Brightness (y, x) at places in nm: Gaussian columns of standard deviation `width` on a background of 0.15."""
        total = np.full((len(y), len(x)), 0.15)
        for place_y, place_x, brightness in self.columns:
            sides = []
            for at, place, period in zip((y, x), (place_y, place_x), self.cell, strict=True):
                away = (at / period - place + 0.5) % 1 - 0.5
                sides.append(peak(away + np.array([[-1], [0], [1]]), 0.0, width / period).sum(axis=0))
            total += brightness * np.outer(*sides)
        return total

    def mean(self, width: float) -> float:
        """Of the picture, over a cell."""
        area = 2 * np.pi * width**2 / (self.cell[0] * self.cell[1])
        return 0.15 + area * sum(brightness for _, _, brightness in self.columns)


# SrCoO3 and SrCoO2.5 in likeness: every second plane of CoO2 of the latter has lost half its oxygen, the Sr planes
# beside it have moved apart, and its Co are out of their rows. Round numbers, not a structure determination.
PEROVSKITE = Lattice("perovskite", (0.385, 0.385), ((0.0, 0.0, 1.0), (0.5, 0.5, 0.55)))
BROWNMILLERITE = Lattice(
    "brownmillerite", (0.79, 0.39), ((0.0, 0.0, 1.0), (0.46, 0.0, 1.0), (0.23, 0.5, 0.55), (0.73, 0.5, 0.35))
)


def oxide_lattice(
    key: PRNGKeyArray,
    shape: tuple[int, int] = (256, 256),
    counts: float | int = 100.0,
    pixel_nm: float | int = 0.04,
) -> tuple[SpectrumImage, Truth]:
    r"""An image of atomic columns by STEM: perovskite on the left of a wavy interface, brownmillerite on the right.

    $X \sim \mathrm{Poisson}(c [(1 - f) L_1 + f L_2])$ at each pixel, with lattices $L_k$ of Gaussian columns (0.07 nm)
    at random offsets: a square cell of 0.385 nm, and one of 0.79 nm along y and 0.39 nm along x, whose doubling shows
    as superlattice peaks at ky = 1 / 0.79 and 3 / 0.79 1/nm. The fraction f of brownmillerite is
    $\frac12 + \frac12 \mathrm{erf}((x - x_0(y)) / w)$, w = 0.2 nm.

    For `preprocess.sliding_fft`, which tells the phases apart by their frequencies; a window should hold a few cells,
    64 pixels and more.

    Args:
        key: random key.
        shape: (y, x) pixels.
        counts: expected electrons in a pixel, c times the mean of the perovskite.
        pixel_nm: size of a pixel in nm, 0.1 or less so that the columns are resolved.

    Returns:
        The image, dims (y, x, detector) with one detector, and the truth. Its maps are the fractions of the phases;
        its spectra are their means over a cell, so that `expected` is the image averaged over cells, without lattice.

    Example:
        >>> image, truth = oxide_lattice(jax.random.key(0), shape=(40, 60))
        >>> image.data.shape, truth.names, image.to_maps(truth.maps).shape
        ((40, 60, 1), ('perovskite', 'brownmillerite'), (2, 40, 60))
    """
    check_key(key)
    check_shape(shape)
    check_positive(counts=counts, pixel_nm=pixel_nm)
    check_number(pixel_nm, "pixel_nm", above=0, most=0.1)
    key_offset, key_place, key_noise = jax.random.split(key, 3)
    width = 0.07
    y, x = (pixel_nm * np.arange(n) for n in shape)
    offsets = uniform(key_offset, (2, 2), 0.0, 1.0)
    phases = (PEROVSKITE, BROWNMILLERITE)
    pictures = [one.picture(y + dy, x + dx, width) for one, (dy, dx) in zip(phases, offsets, strict=True)]
    draw = uniform(key_place, (3,), 0.0, 1.0)
    turns = 2 * np.pi * np.arange(shape[0])[:, None] / shape[0]
    place = 0.45 + 0.1 * draw[0] + 0.05 * np.sin(turns + 2 * np.pi * draw[1]) + 0.02 * np.sin(2.4 * turns + 6 * draw[2])
    share = step(x, pixel_nm * shape[1] * place, 0.2)
    scale = counts / PEROVSKITE.mean(width)
    values = poisson(key_noise, scale * ((1 - share) * pictures[0] + share * pictures[1]))
    maps = np.stack([1 - share, share], axis=-1).reshape(-1, 2)
    truth = make_truth(maps, scale * np.array([[one.mean(width)] for one in phases]), [one.name for one in phases])
    return image(values, shape, {"detector": np.zeros(1)}, "", pixel_nm, "STEM of oxide lattices"), truth


def tunnelling_spectroscopy(
    key: PRNGKeyArray,
    shape: tuple[int, int] = (48, 48),
    channels: int = 121,
    gap_mV: float | int = 20.0,
    defects: int = 8,
    snr_db: float | int = 30.0,
    pixel_nm: float | int = 0.5,
) -> tuple[SpectrumImage, Truth]:
    r"""Scanning tunnelling spectroscopy, dI/dV in nS over the bias V from -3 to 3 gaps: gapped, metallic, and defects.

    $X = |MS + N + i N'|$, the magnitude that a lock-in amplifier gives, never negative, with normal N and N' of
    standard deviation `noise_sd`; M S + N as long as that is well below the signal. The spectra are

    - "gapped", $\mathrm{Re} \, (|E| - i \Gamma) / \sqrt{(|E| - i \Gamma)^2 - \Delta^2}$ with $\Gamma = 0.05 \Delta$
      (Dynes et al., Phys. Rev. Lett. 41 (1978) 1509), smeared by the Fermi function at 4.2 K, and 0.1 of leakage;
    - "metallic", 0.8 and a slope of 0.1 in a gap;
    - "defect", a state within the gap, at 0.35 gaps and of full width 0.3 gaps (Lorentzian), over 0.5 of "gapped".

    Gapped and metallic areas are smooth domains; defects are spots of 2.5 pixels (standard deviation), with a
    fraction of 0.9 at their centres. Fractions sum to one.

    Args:
        key: random key.
        shape: (y, x) pixels.
        channels: number of values of the bias.
        gap_mV: half the gap, Delta, in mV.
        defects: number of defects.
        snr_db: 10 log10 of the mean square of the signal over the variance of the noise.
        pixel_nm: size of a pixel in nm.

    Example:
        >>> image, truth = tunnelling_spectroscopy(jax.random.key(0), shape=(8, 9))
        >>> image.data.sizes["bias"], truth.names
        (121, ('gapped', 'metallic', 'defect'))
    """
    check_key(key)
    check_shape(shape)
    check_counts(channels=channels, defects=defects)
    check_positive(gap_mV=gap_mV, pixel_nm=pixel_nm)
    check_number(snr_db, "snr_db")
    key_fields, key_defects, key_noise = jax.random.split(key, 3)
    pure = domain_fractions(smooth_fields(key_fields, shape, 2, 2.5), 4.0)
    y, x = np.indices(shape)
    spots = np.zeros(shape)
    for cy, cx in uniform(key_defects, (defects, 2), 0.0, 1.0) * np.asarray(shape):
        spots = np.maximum(spots, 0.9 * peak(y, cy, 2.5) * peak(x, cx, 2.5))
    maps = np.concatenate([(1 - spots)[..., None] * pure, spots[..., None]], axis=-1).reshape(-1, 3)
    bias = np.linspace(-3.0, 3.0, channels) * gap_mV
    spectra = _conductances(bias, float(gap_mV))
    sd = noise_level(maps @ spectra, snr_db)
    truth = make_truth(maps, spectra, ("gapped", "metallic", "defect"), noise_sd=sd)
    noise = sd * np.asarray(jax.random.normal(key_noise, (2, *truth.expected.shape)), np.float64)
    values = np.hypot(truth.expected + noise[0], noise[1]).astype(np.float32)
    return image(values, shape, {"bias": bias}, "mV", pixel_nm, "tunnelling spectroscopy", "nm", "nS"), truth


def _conductances(bias: np.ndarray, gap: float) -> np.ndarray:
    """Spectra (3, channels) of the gapped, the metallic and the defect state, in nS; bias and gap in mV."""
    # The derivative of the Fermi function, over ten times kT on each side.
    spread = np.linspace(-10, 10, 401)
    weight = 1 / np.cosh(spread / 2) ** 2
    energy = np.abs(bias[:, None] + _KT * spread) - 0.05j * gap
    density = np.abs((energy / np.sqrt(energy**2 - gap**2)).real)
    gapped = 0.1 + 0.9 * density @ weight / weight.sum()
    metallic = 0.8 + 0.1 * bias / gap
    state = 1 / (1 + ((bias - 0.35 * gap) / (0.15 * gap)) ** 2)
    return np.stack([gapped, metallic, 0.5 * gapped + state])
