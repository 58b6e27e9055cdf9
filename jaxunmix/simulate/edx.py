"""STEM-EDX with known phases: minerals of the deep mantle, and core-shell particles on a support.

Unlike the light `edx_phases`, spectra come from cross-sections, yields, the detector and the absorption by all elements
of each phase (`physics.xray`), so that compositions can be fitted and compared.
"""

from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from .._util.validation import check_key, real_number
from ..data.image import SpectrumImage
from ..physics.xray import EmissionModel
from .components import PHASES, grain_fractions, phase_spectra
from .truth import Truth, check_counts, check_positive, check_shape, image, make_truth, poisson

# Atoms per formula unit, as such assemblages have them (Teurtrie et al., Ultramicroscopy 249 (2023) 113719, give a
# figure of theirs, no table): Si in both perovskites, Fe and Mg in two phases, heavy traces in one or two of them.
MANTLE: Mapping[str, Mapping[str, float]] = {
    "bridgmanite": {"O": 3.0, "Mg": 0.86, "Al": 0.11, "Si": 0.92, "Ca": 0.02, "Fe": 0.09, "Hf": 0.005, "Lu": 0.006},
    "ferropericlase": {"O": 1.0, "Mg": 0.8, "Fe": 0.2, "Nd": 0.002},
    "Ca-perovskite": {"O": 3.0, "Al": 0.06, "Si": 0.95, "Ca": 0.9, "Nd": 0.012, "Sm": 0.03, "U": 0.02},
}
MANTLE_ELEMENTS = ("O", "Mg", "Al", "Si", "Ca", "Fe", "Nd", "Sm", "Hf", "Lu", "U")
# g per cubic cm, near those of the minerals at ambient pressure.
MANTLE_DENSITY = (4.2, 4.1, 4.5)
# (y, x, radius) of the spheres in the unit of the map's side.
FERROPERICLASE = ((0.28, 0.25, 0.15), (0.70, 0.55, 0.12))
CALCIUM_PEROVSKITE = ((0.30, 0.70, 0.17), (0.76, 0.20, 0.11), (0.80, 0.85, 0.10))

PARTICLE: Mapping[str, Mapping[str, float]] = {
    "Pt shell": {"Pt": 0.75, "Ni": 0.25},
    "Ni core": {"Ni": 0.9, "Pt": 0.1},
    "SiN support": {"Si": 3.0, "N": 4.0},
}
PARTICLE_ELEMENTS = ("N", "Si", "Ni", "Pt")
PARTICLE_DENSITY = (19.0, 9.5, 3.2)


def mantle_minerals(
    key: PRNGKeyArray,
    counts: float | int = 18,
    shape: tuple[int, int] = (128, 128),
    channels: int = 1980,
    *,
    bremsstrahlung: float = 0.25,
    thickness_nm: float | int = 100.0,
    pixel_nm: float | int = 5.0,
) -> tuple[SpectrumImage, Truth]:
    r"""Ferropericlase and Ca-perovskite spheres in bridgmanite, after Teurtrie et al., Ultramicroscopy 249 (2023).

    $X \sim \mathrm{Poisson}(M S)$ over 0.2 keV + 10 eV per channel: S from `physics.xray.EmissionModel` (200 keV,
    take-off 22 degrees, each phase absorbing by itself) and bremsstrahlung that differs between the phases,
    each row of sum one; $M_{ik} = N f_{ik}$ with the fractions $f = \tfrac12 \sqrt{1 - d^2/R^2}$ of a sphere half as
    thick as the foil at the distance d from its centre, and the matrix filling the rest: no pixel shows a sphere's
    phase pure. The scene is the same for all keys, which draw the counts only.

    Args:
        key: random key.
        counts: N, expected counts of each spectrum; the paper has 18 and 293.
        shape: (y, x) pixels.
        channels: of 10 eV.
        bremsstrahlung: share of the counts of each phase.
        thickness_nm: of the foil.
        pixel_nm: size of a pixel.

    Returns:
        The image, and a truth with `compositions`, `coefficients` of the basis that `EmissionModel` makes of
        `MANTLE_ELEMENTS`, and maps in counts.
    """
    check_key(key)
    check_shape(shape)
    check_counts(channels=channels)
    check_positive(counts=counts, thickness_nm=thickness_nm, pixel_nm=pixel_nm)
    if not 0 <= real_number(bremsstrahlung, "bremsstrahlung") < 1:
        raise ValueError(f"bremsstrahlung={bremsstrahlung}: give a share of the counts, 0 to below 1")
    y, x = (np.indices(shape) + 0.5) / np.reshape(shape, (2, 1, 1))
    spheres = [
        sum(0.5 * np.sqrt(np.maximum(1 - ((y - cy) ** 2 + (x - cx) ** 2) / r**2, 0)) for cy, cx, r in places)
        for places in (FERROPERICLASE, CALCIUM_PEROVSKITE)
    ]
    fractions = np.stack([1 - spheres[0] - spheres[1], *spheres], axis=-1)
    energy = 0.2 + 0.01 * np.arange(channels)
    model = EmissionModel(MANTLE_ELEMENTS, energy, 200.0, 22.0, thickness_nm, np.array(MANTLE_DENSITY))
    truth = _truth(model, MANTLE, counts * fractions.reshape(-1, 3), bremsstrahlung, (0.6, 0.5, 0.4))
    values = poisson(key, truth.expected)
    return image(values, shape, {"energy": energy}, "keV", float(pixel_nm), "EDX of mantle minerals"), truth


def core_shell(
    key: PRNGKeyArray,
    counts: float | int = 200,
    shape: tuple[int, int] = (96, 96),
    channels: int = 1480,
    *,
    particles: int = 4,
    bremsstrahlung: float = 0.2,
    pixel_nm: float | int = 0.5,
) -> tuple[SpectrumImage, Truth]:
    r"""Particles with a Ni-rich core and a Pt-rich shell on a silicon nitride film.

    $X \sim \mathrm{Poisson}(M S)$ over 0.2 keV + 10 eV per channel, S as in `mantle_minerals`. The maps are the
    thicknesses that the beam passes: the film, the same everywhere; of each sphere of radius R with a core of radius
    0.6 R the core's chord $2\sqrt{0.36 R^2 - d^2}$ and the shell's, the whole chord less the core's. Core and shell
    overlap in projection and share both metals; no pixel shows the core alone.

    Args:
        key: random key; places and radii too are drawn.
        counts: mean expected counts of each spectrum.
        shape: (y, x) pixels.
        channels: of 10 eV.
        particles: how many; later ones may overlap earlier ones.
        bremsstrahlung: share of the counts of each phase.
        pixel_nm: size of a pixel.
    """
    check_key(key)
    check_shape(shape)
    check_counts(channels=channels, particles=particles)
    if not 0 <= real_number(bremsstrahlung, "bremsstrahlung") < 1:
        raise ValueError(f"bremsstrahlung={bremsstrahlung}: give a share from 0 to below 1")
    check_positive(counts=counts, pixel_nm=pixel_nm)
    place, noise = jax.random.split(key)
    y, x = np.indices(shape)
    chords = np.zeros((2, *shape))
    for cy, cx, size in np.asarray(jax.random.uniform(place, (particles, 3)), float):
        radius = (0.12 + 0.08 * size) * min(shape)
        squares = (y - (0.15 + 0.7 * cy) * shape[0]) ** 2 + (x - (0.15 + 0.7 * cx) * shape[1]) ** 2
        whole = 2 * np.sqrt(np.maximum(radius**2 - squares, 0))
        core = 2 * np.sqrt(np.maximum(0.36 * radius**2 - squares, 0))
        chords += np.stack([whole - core, core]) / (0.4 * min(shape))
    fractions = np.stack([*chords, np.full(shape, 0.3)], axis=-1)
    fractions *= counts / fractions.sum(axis=-1).mean()
    energy = 0.2 + 0.01 * np.arange(channels)
    model = EmissionModel(PARTICLE_ELEMENTS, energy, 200.0, 22.0, 20.0, np.array(PARTICLE_DENSITY))
    truth = _truth(model, PARTICLE, fractions.reshape(-1, 3), bremsstrahlung, (0.6, 0.5, 0.3))
    values = poisson(noise, truth.expected)
    return image(values, shape, {"energy": energy}, "keV", float(pixel_nm), "EDX of core-shell particles"), truth


def _truth(
    model: EmissionModel,
    phases: Mapping[str, Mapping[str, float]],
    maps: np.ndarray,
    bremsstrahlung: float,
    first: Sequence[float],
) -> Truth:
    """Spectra of sum one, of which bremsstrahlung has its share; `first` is that of its first column."""
    atoms = np.array([[phase.get(element, 0.0) for element in model.elements] for phase in phases.values()])
    atoms /= atoms.sum(axis=1, keepdims=True)
    basis = model.basis(atoms)
    lines, tail = list(basis.element_columns), list(basis.bremsstrahlung_columns)
    values = np.asarray(basis, np.float64)
    areas = values.sum(axis=2)
    total = (atoms * areas[:, lines]).sum(axis=1)
    coefficients = np.zeros(areas.shape)
    coefficients[:, lines] = atoms
    shares = np.stack([np.asarray(first), 1 - np.asarray(first)], axis=1)
    coefficients[:, tail] = shares * (bremsstrahlung / (1 - bremsstrahlung) * total)[:, None] / areas[:, tail]
    spectra = np.einsum("kf,kfc->kc", coefficients, values)
    spectra /= spectra.sum(axis=1, keepdims=True)
    return make_truth(maps, spectra, tuple(phases), elements=model.elements, coefficients=coefficients)


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
    check_key(key)
    check_shape(shape)
    check_counts(channels=channels, grains=grains)
    check_positive(counts=counts, pixel_nm=pixel_nm)
    key_grains, key_noise = jax.random.split(key)
    energy = np.linspace(0.2, 10.2, channels)
    fractions = grain_fractions(key_grains, shape, grains).reshape(-1, 3)
    truth = make_truth(counts * fractions, phase_spectra(energy), tuple(PHASES))
    values = poisson(key_noise, truth.expected)
    return image(values, shape, {"energy": energy}, "keV", pixel_nm, "EDX of three phases"), truth
