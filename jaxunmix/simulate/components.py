"""What the simulated images are made of: spectra of oxides, phases and edges, spot patterns, layers and grains."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray
from scipy.special import erf

# In eV: the L3 and L2 white lines, their heights over the L continuum, and the first O K peak, whose place
# depends on the metal. Places are near the measured ones; heights are chosen for likeness, not measured.
OXIDES: Mapping[str, tuple[float, float, float, float, float]] = {
    "TiO2": (458.0, 463.5, 2.5, 2.0, 531.5),
    "MnO": (641.0, 652.0, 5.0, 2.2, 537.0),
    "Fe2O3": (709.5, 722.5, 5.0, 2.0, 530.0),
}
# Energy in keV and rounded strength of the K and L lines of each element.
LINES: Mapping[str, tuple[tuple[float, float], ...]] = {
    "O": ((0.525, 0.6),),
    "Mg": ((1.254, 0.9),),
    "Al": ((1.487, 1.0),),
    "Si": ((1.740, 1.0),),
    "Ca": ((3.692, 0.9), (4.013, 0.11)),
    "Fe": ((0.705, 0.4), (6.404, 0.8), (7.058, 0.11)),
}
# Atoms per formula unit; the first phase is the matrix that holds grains of the others.
PHASES: Mapping[str, Mapping[str, float]] = {
    "olivine": {"O": 4.0, "Mg": 1.8, "Fe": 0.2, "Si": 1.0},
    "feldspar": {"O": 8.0, "Ca": 1.0, "Al": 2.0, "Si": 2.0},
    "magnetite": {"O": 4.0, "Fe": 3.0},
}


def oxide_spectra(energy: np.ndarray) -> np.ndarray:
    """EELS of the oxides, (3, channels) of sum one, over the energy loss in eV."""
    decay = (energy / 430.0) ** -3.0
    rows = []
    for l3, l2, height3, height2, place in OXIDES.values():
        metal = step(energy, l3, 1.0) * 2 / 3 + step(energy, l2, 1.0) / 3
        for line, height, half_width in ((l3, height3, 1.2), (l2, height2, 1.6)):
            metal += height * half_width**2 / ((energy - line) ** 2 + half_width**2)
        oxygen = step(energy, place, 1.0) + 0.9 * peak(energy, place + 1.5, 1.5)
        oxygen += 0.5 * peak(energy, place + 9.0, 4.0)
        rows.append(decay * (1 + 0.5 * oxygen + 0.35 * metal))
    return unit_sum(np.stack(rows))


def phase_spectra(energy: np.ndarray, phases: Mapping[str, Mapping[str, float]] = PHASES) -> np.ndarray:
    """EDX of the phases, (phases, channels) of sum one, over the photon energy in keV."""
    bremsstrahlung = unit_sum((1 - np.exp(-energy / 0.5)) * (200.0 - energy) / energy)
    rows = []
    for composition in phases.values():
        lines = np.zeros_like(energy)
        for element, amount in composition.items():
            for place, strength in LINES[element]:
                # keV: electronic noise, and the Fano factor times 3.8 eV per electron-hole pair.
                sigma = np.sqrt(0.019**2 + 0.12 * 3.8e-3 * place)
                lines += amount * strength / sigma * peak(energy, place, sigma)
        rows.append(0.85 * unit_sum(lines) + 0.15 * bremsstrahlung)
    return np.stack(rows)


def spot_patterns(key: PRNGKeyArray, ky: np.ndarray, kx: np.ndarray, domains: int) -> np.ndarray:
    """Patterns of turned square lattices, (domains, ky * kx) of sum one; k in 1/nm."""
    key_angle, key_spacing = jax.random.split(key)
    # Equal shares of the square lattice's 90 degrees, and a random place in each: no two come out the same.
    angles = (np.arange(domains) + uniform(key_angle, (domains,), 0.2, 0.8)) * np.pi / 2 / domains
    spacings = uniform(key_spacing, (domains,), 2.8, 4.2)
    index = np.stack(np.meshgrid(np.arange(-4, 5), np.arange(-4, 5)), axis=-1).reshape(-1, 2)
    rows = []
    for angle, spacing in zip(angles, spacings, strict=True):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        image = 0.02 * np.outer(peak(ky, 0.0, 5.0), peak(kx, 0.0, 5.0))
        for gy, gx in spacing * index @ turn.T:
            envelope = np.exp(-(gy**2 + gx**2) / 32)
            image += envelope * np.outer(peak(ky, gy, 0.45), peak(kx, gx, 0.45))
        rows.append(image.ravel())
    return unit_sum(np.stack(rows))


def peak_spectra(key: PRNGKeyArray, energy: np.ndarray, components: int, peaks: int = 4) -> np.ndarray:
    """Random Gaussians between 0 and 100 eV, (components, channels)."""
    draws = uniform(key, (3, components, peaks, 1), 0.0, 1.0)
    places, widths, heights = 100 * draws[0], 1.5 + 4.5 * draws[1], 0.2 + 0.8 * draws[2]
    return np.sum(heights * peak(energy, places, widths), axis=1)


def edge_spectra(key: PRNGKeyArray, energy: np.ndarray, components: int, spread: float) -> np.ndarray:
    """Edges at 22 eV give or take half the spread; on each a white line and a weaker peak above it."""
    draw = uniform(key, (8, components, 1), 0.0, 1.0)
    edge = 22 + spread * (draw[0] - 0.5)
    white_line = (0.4 + 0.5 * draw[2]) * peak(energy, edge + 3 + 3 * draw[3], 2 + draw[4])
    above = (0.1 + 0.25 * draw[5]) * peak(energy, edge + 12 + 30 * draw[6], 4 + 4 * draw[7])
    return step(energy, edge, 2 + 2 * draw[1]) + white_line + above


def layer_fractions(x: np.ndarray, places: Sequence[np.ndarray | float], width: float) -> np.ndarray:
    """Fractions of the layers between the interfaces, on a last axis; they sum to one."""
    passed = [np.ones(x.shape), *(step(x, place, width) for place in places), np.zeros(x.shape)]
    return np.maximum(np.stack([before - after for before, after in pairwise(passed)], axis=-1), 0.0)


def grain_fractions(key: PRNGKeyArray, shape: tuple[int, int], grains: int) -> np.ndarray:
    """Fractions of the matrix and two kinds of grain, (y, x, 3): ellipses with soft rims, later on top."""
    y, x = np.indices(shape)
    fractions = np.zeros((*shape, 3)) + np.eye(3)[0]
    for index, (cy, cx, size, aspect, angle) in enumerate(uniform(key, (grains, 5), 0.0, 1.0)):
        along, across = np.cos(np.pi * angle), np.sin(np.pi * angle)
        dy, dx = y - cy * shape[0], x - cx * shape[1]
        distance = np.hypot(along * dx + across * dy, (1 + aspect) * (along * dy - across * dx))
        cover = step(-distance, -(0.08 + 0.1 * size) * min(shape), 1.5)[..., None]
        fractions = (1 - cover) * fractions + cover * np.eye(3)[1 + index % 2]
    return fractions


def smooth_fields(key: PRNGKeyArray, shape: tuple[int, ...], fields: int, cycles: float) -> np.ndarray:
    """Random fields of mean 0 and standard deviation 1, (fields, *shape), of up to about so many waves along an axis.

    White noise with the frequencies q, in waves along the axis, damped by exp(-q^2 / 2 cycles^2); periodic.
    """
    noise = np.asarray(jax.random.normal(key, (fields, *shape), dtype=jnp.float32), np.float64)
    axes = tuple(range(1, noise.ndim))
    waves = np.meshgrid(*(size * np.fft.fftfreq(size) for size in shape), indexing="ij")
    damping = np.exp(-sum(np.square(wave) for wave in waves) / (2 * cycles**2))
    smooth = np.fft.ifftn(np.fft.fftn(noise, axes=axes) * damping, axes=axes).real
    smooth -= smooth.mean(axis=axes, keepdims=True)
    return smooth / np.maximum(smooth.std(axis=axes, keepdims=True), 1e-12)


def domain_fractions(fields: np.ndarray, sharpness: float) -> np.ndarray:
    """Fractions (*shape, K) of fields (K, *shape), a softmax: domains whose borders are the thinner the sharper."""
    field = sharpness * np.moveaxis(fields, 0, -1)
    return unit_sum(np.exp(field - field.max(axis=-1, keepdims=True)))


def peak(x: np.ndarray, place: np.ndarray | float, sigma: np.ndarray | float) -> np.ndarray:
    """Gaussian of height 1."""
    return np.exp(-(((x - place) / sigma) ** 2) / 2)


def step(x: np.ndarray, place: np.ndarray | float, width: np.ndarray | float) -> np.ndarray:
    """Step of the error function, from 0 to 1."""
    return 0.5 + 0.5 * erf((x - place) / width)


def unit_sum(rows: np.ndarray) -> np.ndarray:
    """Rows of sum one."""
    return rows / rows.sum(axis=-1, keepdims=True)


def uniform(key: PRNGKeyArray, shape: tuple[int, ...], low: float, high: float) -> np.ndarray:
    """Uniform random numbers in double precision, drawn in single."""
    draw = jax.random.uniform(key, shape, dtype=jnp.float32, minval=low, maxval=high)
    return np.asarray(draw, dtype=np.float64)
