"""Electron energy loss whose energy axis drifts from pixel to pixel, with the low loss that was taken with it."""

from dataclasses import replace
from typing import Any

import jax
import numpy as np
import scipy.interpolate
from jaxtyping import PRNGKeyArray

from ..._util.validation import check_key, check_number, float_array
from ...data.image import SpectrumImage
from ..components import OXIDES, oxide_spectra, peak, smooth_fields, step, uniform
from ..truth import Truth, check_counts, check_positive, check_shape, gaussian, image, make_truth, poisson

# Nodes in a channel of the splines that spectra are taken from between channels.
NODES = 8


def oxide_interface(
    key: PRNGKeyArray,
    shape: tuple[int, int] = (64, 64),
    counts: float = 1000.0,
    channels: int = 200,
    drift: float = 3.0,
    jitter: float = 0.0,
    width: float = 4.0,
    pixel_nm: float = 0.5,
) -> tuple[SpectrumImage, Truth]:
    r"""STEM-EELS of an interface of TiO2 and MnO with a particle of Fe2O3, while the energy axis drifts.

    $X_{p} \sim \mathrm{Poisson}(\sum_k M_{pk} S_k(E - \delta_p))$ over the energy loss E from 380 to 778 eV, with the
    spectra of `eels_oxides`. The shift $\delta$ is a smooth random function of the time of the scan, row by row, which
    runs from 0 to `drift`, and a jump of its own for each row. The interface is wavy, the particle round and of soft
    rims, at a random place on the interface.

    Args:
        key: random key.
        shape: (y, x) pixels.
        counts: expected total of each spectrum.
        channels: number of energy channels.
        drift: the range of the smooth part of the shifts, in eV.
        jitter: standard deviation of the jumps from row to row, in eV.
        width: of the interfaces, in pixels.
        pixel_nm: size of a pixel in nm.

    Returns:
        The image and the truth: `truth.shifts` in eV, and spectra without shift.
    """
    check_key(key)
    check_shape(shape)
    check_counts(channels=channels)
    check_positive(counts=counts, width=width, pixel_nm=pixel_nm)
    for name, value in (("drift", drift), ("jitter", jitter)):
        check_number(value, name, 0)
    key_scene, key_drift, key_jumps, key_noise = jax.random.split(key, 4)
    energy = np.linspace(380.0, 778.0, channels)
    shifts = drifts(key_drift, key_jumps, shape, drift, jitter)
    fractions = interface_fractions(key_scene, shape, width).reshape(-1, 3)
    truth = make_truth(counts * fractions, oxide_spectra(energy), tuple(OXIDES))
    expected = counts * np.sum(fractions[:, :, None] * _shifted_oxides(energy, shifts), axis=1)
    values = poisson(key_noise, np.maximum(expected, 0))
    img = image(values, shape, {"energy": energy}, "eV", pixel_nm, "EELS of a drifting oxide interface")
    return img, replace(truth, shifts=shifts.astype(np.float32))


def zero_loss(
    key: PRNGKeyArray,
    shifts: Any,
    shape: tuple[int, int] = (64, 64),
    counts: float = 1e5,
    channels: int = 200,
    fwhm: float = 1.2,
    readout: float = 5.0,
) -> SpectrumImage:
    r"""The low loss that is taken together with a core loss: a zero-loss peak that drifts as that does, and a plasmon.

    $X_p \sim \mathrm{Poisson}(z(E - \delta_p)) + N(0, \sigma^2)$ over the energy loss E from -20 to 79.6 eV, with a
    Gaussian peak of four fifths of the counts at the zero loss and a plasmon at 23 eV of the others.

    Args:
        key: random key.
        shifts: (pixels,) in eV, such as `truth.shifts` of `oxide_interface`.
        shape: (y, x) pixels.
        counts: expected total of each spectrum.
        channels: number of energy channels.
        fwhm: full width at half maximum of the zero-loss peak, in eV.
        readout: standard deviation of the noise of the camera's read-out, in counts.
    """
    check_key(key)
    check_shape(shape)
    check_counts(channels=channels)
    check_positive(counts=counts, fwhm=fwhm)
    check_number(readout, "readout", 0)
    shifts = float_array(shifts, "shifts")
    if shifts.shape != (shape[0] * shape[1],) or not np.isfinite(shifts).all():
        raise ValueError(f"shifts of shape {shifts.shape}: give a finite one for each of {shape[0] * shape[1]} pixels")
    energy = np.linspace(-20.0, 79.6, channels)
    place = energy - shifts[:, None]
    sd = fwhm / np.sqrt(8 * np.log(2))
    width = energy[1] - energy[0]
    # Of the integral 1 per eV, as the mean over a channel sees it.
    zero = (step(place + width / 2, 0.0, np.sqrt(2) * sd) - step(place - width / 2, 0.0, np.sqrt(2) * sd)) / width
    plasmon = peak(place, 23.0, 4.0) / (4.0 * np.sqrt(2 * np.pi))
    expected = counts * width * (0.8 * zero + 0.2 * plasmon)
    key_counts, key_readout = jax.random.split(key)
    values = gaussian(key_readout, poisson(key_counts, expected), readout)
    return image(values, shape, {"energy": energy}, "eV", 0.5, "low loss")


def drifts(
    key: PRNGKeyArray, key_jumps: PRNGKeyArray, shape: tuple[int, int], drift: float, jitter: float
) -> np.ndarray:
    """(pixels,) a smooth random function of the time of the scan from 0 to `drift`, and a jump for each row."""
    pixels = shape[0] * shape[1]
    # Half of a periodic function is not periodic.
    walk = smooth_fields(key, (2 * pixels,), 1, 2.0)[0, :pixels]
    low, high = walk.min(), walk.max()
    jumps = np.asarray(jax.random.normal(key_jumps, (shape[0],)), float)
    return drift * (walk - low) / max(high - low, 1e-12) + jitter * np.repeat(jumps, shape[1])


def interface_fractions(key: PRNGKeyArray, shape: tuple[int, int], width: float) -> np.ndarray:
    """(y, x, 3): left and right of a wavy interface, and a round particle that lies on it."""
    y, x = np.indices(shape)
    draws = uniform(key, (5,), 0.0, 1.0)
    turns = 2 * np.pi * y / shape[0]
    wave = 0.06 * np.sin(turns + 2 * np.pi * draws[0]) + 0.03 * np.sin(2.4 * turns + 2 * np.pi * draws[1])
    right = step(x, shape[1] * (0.4 + 0.2 * draws[2] + wave), width)
    centre = shape[0] * (0.3 + 0.4 * draws[3]), shape[1] * (0.4 + 0.2 * draws[2])
    radius = min(shape) * (0.15 + 0.05 * draws[4])
    inside = step(-np.hypot(y - centre[0], x - centre[1]), -radius, width / 2)
    return np.stack([(1 - right) * (1 - inside), right * (1 - inside), inside], axis=-1)


def _shifted_oxides(energy: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """(pixels, 3, channels), the spectra of the oxides at E - shift, of the sums that they have without one."""
    width = (energy[-1] - energy[0]) / max(len(energy) - 1, 1)
    fine = np.arange(energy[0] - shifts.max() - width, energy[-1] - shifts.min() + width, width / NODES)
    # Of unit sum each: brought back to that of the channels of the image.
    curves = scipy.interpolate.CubicSpline(fine, oxide_spectra(fine), axis=1)
    curves_sum = curves(energy).sum(axis=1)
    return np.moveaxis(curves(energy - shifts[:, None]), 0, 1) / curves_sum[:, None]
