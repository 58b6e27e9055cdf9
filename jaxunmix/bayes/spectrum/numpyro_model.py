"""The model of one absorption spectrum in NumPyro, with nothing integrated out."""

from typing import Any

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, ArrayLike

from ..._util.validation import check_choice, check_instance, check_numbers, check_whole_number
from ...physics import lineshapes
from .priors import Priors


def spectrum_model(
    energy: ArrayLike,
    intensity: ArrayLike | None,
    peaks: int,
    noise: ArrayLike,
    priors: Priors,
    edge: str = "arctangent",
) -> None:
    """The model of `decompose_spectrum` as a NumPyro model with every parameter sampled, for any sampler.

    Where the white line is the highest, heights of peaks end at its own, and a factor of the prior, "highest", gives
    each height of the white line the weight that it has when all half-normal heights that do not are left out.

    Args:
        energy: (channels,), eV.
        intensity: (channels,); None to simulate.
        peaks: K.
        noise: sd of the noise.
        priors: complete, see `Priors.complete`.
        edge: its shape, of `lineshapes.EDGES`.
    """
    p, energy, noise = _check_inputs(energy, intensity, peaks, noise, priors, edge)
    line = numpyro.sample("E_WL", dist.Normal(*p.white_line))  # type: ignore[misc]
    start = numpyro.sample("E0", dist.Normal(line, p.edge))
    edge_width = numpyro.sample("edge_width", dist.LogUniform(*p.edge_width))  # type: ignore[misc]
    line_width = numpyro.sample("line_width", dist.LogUniform(*p.line_width))  # type: ignore[misc]
    baseline = numpyro.sample("baseline", dist.Normal(0, p.baseline))
    names = ("step", "lorentzian", "gaussian")
    step, lorentz, gauss = (
        numpyro.sample(name, dist.HalfNormal(sd))
        for name, sd in zip(names, p.heights[:3], strict=True)  # type: ignore[index]
    )
    fitted = baseline + step * lineshapes.EDGES[edge](energy, start, edge_width)
    fitted += lorentz * lineshapes.lorentzian(energy, line, line_width) / lineshapes.lorentzian_peak(line_width)
    fitted += gauss * lineshapes.gaussian(energy, line, line_width) / lineshapes.gaussian_peak(line_width)
    if peaks:
        with numpyro.plate("peak", peaks):
            centre = numpyro.sample("peak_centre", dist.Uniform(*p.peak))  # type: ignore[misc]
            width = numpyro.sample("peak_width", dist.LogUniform(*p.peak_width))  # type: ignore[misc]
            height = numpyro.sample("peak_height", _height(p, lorentz + gauss))
        shapes = lineshapes.gaussian(energy, centre[:, None], width[:, None]) / lineshapes.gaussian_peak(width)[:, None]
        fitted += height @ shapes
        if p.highest:
            lower = dist.HalfNormal(p.heights[3]).cdf(lorentz + gauss)  # type: ignore[index]
            numpyro.factor("highest", peaks * jnp.log(lower) - p.log_share(peaks))
    numpyro.sample("intensity", dist.Normal(fitted, noise), obs=intensity)


def _check_inputs(
    energy: Any, intensity: Any, peaks: Any, noise: Any, priors: Any, edge: Any
) -> tuple[Priors, Array, Array]:
    """The priors, energies and noise of the model; what does not fit is refused by its name."""
    check_whole_number(peaks, "spectrum_model: peaks", 0)
    check_choice(edge, tuple(lineshapes.EDGES), "spectrum_model: edge")
    check_instance(priors, Priors, "spectrum_model: priors", "Priors().complete(energy, intensity)")
    if None in vars(priors).values():
        raise ValueError("spectrum_model: priors has entries that are None: give priors.complete(energy, intensity).")
    energy = check_numbers(energy, "spectrum_model: energy")
    if energy.ndim != 1 or not energy.size:
        raise ValueError(f"spectrum_model: energy has shape {energy.shape}; give (channels,).")
    if intensity is not None and check_numbers(intensity, "spectrum_model: intensity").shape != energy.shape:
        raise ValueError(f"spectrum_model: intensity has shape {jnp.shape(intensity)}, energy {energy.shape}.")
    return priors, energy, check_numbers(noise, "spectrum_model: noise", above=0)


def _height(priors: Priors, line: Array) -> dist.Distribution:
    """Of a peak, given that of the white line."""
    scale = priors.heights[3]  # type: ignore[index]
    if not priors.highest:
        return dist.HalfNormal(scale)
    return dist.TruncatedNormal(0.0, scale, low=0.0, high=line)
