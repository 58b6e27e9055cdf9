"""Figures of the decomposition of a spectrum. Public through `plots`."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxunmix.bayes.decomposition import Decomposition

from . import draw

# Curves drawn from the posterior, and free energies beyond the least that are cut off, nats.
_CURVES, _HIGH = 40, 60.0


def decomposition(result: Decomposition) -> Figure:
    """Draws the spectrum with its parts at the best fit, draws of each part from the posterior, and the residual.

    Args:
        result: a `Decomposition`; the chosen number of peaks is drawn.
    """
    figure = draw.new_figure(4.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    energy = np.linspace(result.energy[0], result.energy[-1], 600)
    posterior = result.fit.posterior
    for index in np.linspace(0, posterior.sizes["draw"] - 1, _CURVES).astype(int):
        for i, curve in enumerate(_drawable(result.components(energy, posterior.isel(draw=int(index))))):
            upper.plot(energy, curve, **_look(i), alpha=0.06, linewidth=1)
    best = result.components(energy)
    for i, curve in enumerate(_drawable(best)):
        upper.plot(energy, curve, **_look(i), linewidth=1.2, label=str(curve["component"].item()))
    upper.plot(energy, best.sel(component="fit"), color="black", linewidth=1, label="fit")
    upper.plot(result.energy, result.intensity, ".", color=draw.GREY, markersize=3, label="spectrum")
    upper.set_ylabel("intensity", fontsize=draw.TEXT)
    upper.legend(fontsize=draw.SMALL, frameon=False, ncols=2)
    residual = result.intensity - result.components().sel(component="fit").values
    lower.axhspan(-result.noise, result.noise, color=draw.GREY, alpha=0.25, linewidth=0)
    lower.plot(result.energy, residual, ".-", color=draw.GREY, markersize=3, linewidth=0.6)
    lower.set_ylabel("residual", fontsize=draw.TEXT)
    lower.set_xlabel("energy (eV)", fontsize=draw.TEXT)
    for axes in (upper, lower):
        axes.tick_params(labelsize=draw.SMALL)
    return figure


def _look(part: int) -> dict[str, Any]:
    """Colour and dashes of a part: black is left to the fit, and a colour that comes again is dashed otherwise."""
    *colours, _ = draw.COLOURS
    return {"color": colours[part % len(colours)], "linestyle": draw.STYLES[part // len(colours) % len(draw.STYLES)]}


def _drawable(parts: xr.DataArray) -> list[xr.DataArray]:
    """The parts, each on top of the baseline and none of them the sum."""
    baseline = parts.sel(component="baseline", drop=True)
    names = [name for name in parts["component"].values if name not in ("baseline", "fit")]
    return [parts.sel(component=name) + baseline for name in names]


def free_energy(result: Decomposition) -> Figure:
    """Draws what chose the number of peaks and the noise, and what is known of the white line.

    Left, the free energy of each number of peaks with its error, and the probability; in the middle F(K, b) over the
    noise; right the posterior of the white line's energy.

    Args:
        result: a `Decomposition`.
    """
    figure = draw.new_figure(2.6)
    left, middle, right = figure.subplots(1, 3)
    names = "peaks", "free_energy", "error", "probability"
    peaks, energies, errors, shares = (result.table[name].values for name in names)
    left.errorbar(peaks, energies, errors, fmt="o-", color=draw.colour(0), markersize=3)
    for k, value, share in zip(peaks, energies, shares, strict=True):
        if share > 0.005:
            left.annotate(f"{float(share):.2f}", (k, value), (0, 5), textcoords="offset points", fontsize=draw.SMALL)
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    _label(left, "peaks", "free energy (nats)")
    _draw_surface(middle, result)
    _label(middle, "noise (sd)", "F(K, b) (nats)")
    shown = tuple(result.interval("E_WL", 0.995))
    right.hist(result.fit.posterior["E_WL"], 40, range=shown, density=True, color=draw.colour(0))
    right.xaxis.set_major_locator(MaxNLocator(3))
    right.ticklabel_format(axis="x", useOffset=False)
    _label(right, "white line (eV)", "density (1/eV)")
    return figure


def _draw_surface(axes: Axes, result: Decomposition) -> None:
    """F(K, b) within some nats of the least."""
    least = min((float(np.min(fit.free_energy)) for fit in result.fits if fit.noise.size), default=0.0)
    for i, fit in enumerate(result.fits):
        near = fit.free_energy < least + _HIGH
        if np.any(near):
            axes.plot(fit.noise[near], fit.free_energy[near], color=draw.colour(i), linewidth=1.1, label=str(fit.peaks))
            axes.legend(title="peaks", fontsize=draw.SMALL, title_fontsize=draw.SMALL, frameon=False)
    axes.xaxis.set_major_locator(MaxNLocator(3))


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, fontsize=draw.TEXT)
    axes.set_ylabel(y, fontsize=draw.TEXT)
    axes.tick_params(labelsize=draw.SMALL)
