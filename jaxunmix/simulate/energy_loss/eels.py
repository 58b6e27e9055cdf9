"""Electron energy loss: oxides, and a line scan across a layer."""

from collections.abc import Mapping

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from ..._util.validation import check_key, check_number
from ...data.image import SpectrumImage
from ..components import OXIDES, layer_fractions, oxide_spectra, peak, step, uniform, unit_sum
from ..truth import Truth, check_counts, check_positive, check_shape, image, make_truth, poisson

# In eV: the onset of the Si L2,3 edge, and (place, standard deviation, height over the continuum) of its peaks. Places
# are near the measured ones; heights are chosen for likeness, not measured.
SILICON: Mapping[str, tuple[float, tuple[tuple[float, float, float], ...]]] = {
    "Si": (99.6, ((101.3, 0.9, 0.5),)),
    "Si3N4": (102.3, ((104.6, 1.2, 0.5), (112.0, 4.0, 0.3))),
    "SiO2": (104.6, ((106.2, 0.6, 0.4), (108.6, 0.9, 1.0), (115.5, 2.5, 0.7))),
}

# The same at the O K edge of a cathode of a lithium-ion battery: the layered oxide with its peak before the edge, what
# loses oxygen at the surface, without most of it, and the carbonate film.
OXYGEN: Mapping[str, tuple[float, tuple[tuple[float, float, float], ...]]] = {
    "layered oxide": (533.0, ((528.9, 1.0, 1.1), (540.5, 2.5, 1.0))),
    "rock salt": (534.0, ((532.0, 1.2, 0.5), (537.8, 1.6, 1.3), (556.0, 5.0, 0.4))),
    "carbonate": (536.5, ((533.8, 0.9, 0.9), (541.5, 3.0, 1.2), (546.5, 3.0, 0.8))),
}


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
    check_key(key)
    check_shape(shape)
    check_counts(channels=channels)
    check_positive(counts=counts, width=width, pixel_nm=pixel_nm)
    key_place, key_noise = jax.random.split(key)
    fractions = _wavy_layers(key_place, shape, width)
    energy = np.linspace(430.0, 780.0, channels)
    truth = make_truth(counts * fractions.reshape(-1, 3), oxide_spectra(energy), tuple(OXIDES))
    values = poisson(key_noise, truth.expected)
    return image(values, shape, {"energy": energy}, "eV", pixel_nm, "EELS of oxide layers"), truth


def silicon_diode(
    key: PRNGKeyArray,
    shape: tuple[int, int] = (48, 48),
    counts: float = 20000.0,
    channels: int = 200,
    width: float = 6.0,
    background: float = 0.5,
    pixel_nm: float = 0.5,
) -> tuple[SpectrumImage, Truth]:
    r"""STEM-EELS of a silicon diode: layers of Si, Si3N4 and SiO2 at the Si L2,3 edge, over a background.

    $X \sim \mathrm{Poisson}(MS)$ over the energy loss E from 90 to 130 eV. Each spectrum is the falling background
    $b (E / 90)^{-4}$ and an edge, a step at the onset of the phase with its peaks, which the bond shifts by up to 5 eV:
    after the simulated diode of Muto and Shiga, Microscopy 69 (2020) 110, of which three phases share the edge and
    overlap at their interfaces. Fractions are as in `eels_oxides`.

    Args:
        key: random key.
        shape: (y, x) pixels.
        counts: expected total of each spectrum.
        channels: number of energy channels.
        width: w, of the interfaces, in pixels.
        background: b, its height at 90 eV over the step of the edge.
        pixel_nm: size of a pixel in nm.
    """
    check_key(key)
    check_shape(shape)
    check_counts(channels=channels)
    check_positive(counts=counts, width=width, background=background, pixel_nm=pixel_nm)
    key_place, key_noise = jax.random.split(key)
    fractions = _wavy_layers(key_place, shape, width)
    energy = np.linspace(90.0, 130.0, channels)
    rows = []
    for onset, peaks in SILICON.values():
        edge = step(energy, onset, 0.6) * (energy / onset) ** -2
        edge += sum(height * peak(energy, place, sd) for place, sd, height in peaks)
        rows.append(background * (energy / 90) ** -4 + edge)
    truth = make_truth(counts * fractions.reshape(-1, 3), unit_sum(np.stack(rows)), tuple(SILICON))
    values = poisson(key_noise, truth.expected)
    return image(values, shape, {"energy": energy}, "eV", pixel_nm, "EELS of a silicon diode"), truth


def cathode_oxygen(
    key: PRNGKeyArray,
    shape: tuple[int, int] = (48, 48),
    counts: float = 40000.0,
    channels: int = 240,
    width: float = 6.0,
    background: float = 2.0,
    exponent: float = 3.0,
    spread: float = 0.4,
    pixel_nm: float = 1.0,
) -> tuple[SpectrumImage, Truth]:
    r"""STEM-EELS of a cathode of a lithium-ion battery at the O K edge, over a background that differs by pixel.

    $X_p \sim \mathrm{Poisson}(M_p S + b_p E^{-r_p})$ over the energy loss E from 490 to 570 eV: layers of the layered
    oxide, of what has lost oxygen at its surface, and of a carbonate film, each a step at its onset with its peaks, and
    the tail of the losses before, whose exponent r goes from one side of the map to the other, as the thickness does:
    after the lithium-ion battery of Muto and Shiga, Microscopy 69 (2020) 110. Subtract it
    (`preprocess.power_law_background`, `low_rank_background`, windows before 526 eV): the truth is the edges alone.

    Args:
        key: random key.
        shape: (y, x) pixels.
        counts: expected total of the edge in each spectrum.
        channels: number of energy channels.
        width: w, of the interfaces, in pixels.
        background: its height at the first channel over the mean of the edge.
        exponent: r in the middle of the map.
        spread: by how much r is lower at its left side and higher at its right.
        pixel_nm: size of a pixel in nm.
    """
    check_key(key)
    check_shape(shape)
    check_counts(channels=channels)
    check_positive(counts=counts, width=width, background=background, pixel_nm=pixel_nm, exponent=exponent)
    check_number(spread, "spread", 0)
    key_place, key_noise = jax.random.split(key)
    fractions = _wavy_layers(key_place, shape, width).reshape(-1, 3)
    energy = np.linspace(490.0, 570.0, channels)
    rows = []
    for onset, peaks in OXYGEN.values():
        edge = step(energy, onset, 1.2) * (energy / onset) ** -3
        rows.append(edge + sum(height * peak(energy, place, sd) for place, sd, height in peaks))
    truth = make_truth(counts * fractions, unit_sum(np.stack(rows)), tuple(OXYGEN))
    slope = exponent + spread * np.broadcast_to(np.linspace(-1, 1, shape[1]), shape).reshape(-1, 1)
    tail = background * counts / channels * (energy / energy[0]) ** -slope
    values = poisson(key_noise, truth.expected + tail)
    return image(values, shape, {"energy": energy}, "eV", pixel_nm, "EELS of a cathode at the O K edge"), truth


def _wavy_layers(key: PRNGKeyArray, shape: tuple[int, int], width: float) -> np.ndarray:
    """(y, x, 3), the fractions of three layers with wavy interfaces about one and two thirds of the map."""
    y, x = np.indices(shape)
    turns = 2 * np.pi * y / shape[0]
    waves = [0.04 * np.sin(turns + p) + 0.02 * np.sin(2.4 * turns + q) for p, q in uniform(key, (2, 2), 0.0, 2 * np.pi)]
    return layer_fractions(x, [shape[1] * (1 / 3 + waves[0]), shape[1] * (2 / 3 + waves[1])], width)


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
    check_key(key)
    check_counts(length=length, channels=channels)
    check_positive(counts=counts, width=width, pixel_nm=pixel_nm)
    energy = np.linspace(430.0, 780.0, channels)
    fractions = layer_fractions(np.arange(length), [length / 3, 2 * length / 3], width)
    truth = make_truth(counts * fractions, oxide_spectra(energy), tuple(OXIDES))
    values = poisson(key, truth.expected)
    return image(values, (length,), {"energy": energy}, "eV", pixel_nm, "EELS line scan"), truth
