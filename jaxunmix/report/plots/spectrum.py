"""Figures of the decomposition of a spectrum. Public through `plots`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from ..._util.validation import check_instance, check_instances, float_array
from ...bayes.spectrum.result import Decomposition, Decompositions
from .axes import COLOURS, GREY, SMALL, STYLES, TEXT, colour, new_figure, plain, tidy

# Curves drawn from the posterior, and free energies beyond the least that are cut off, nats.
_CURVES, _HIGH = 40, 60.0


def decomposition(result: Decomposition) -> Figure:
    """Draws the spectrum with its parts at the best fit, draws of each part from the posterior, and the residual.

    Args:
        result: a `Decomposition`; the chosen number of peaks is drawn.
    """
    check_instance(result, Decomposition, "result", "decompose_spectrum(energy, intensity, key=key)")
    figure = new_figure(4.6)
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
    upper.plot(result.energy, result.intensity, ".", color=GREY, markersize=3, label="spectrum")
    upper.set_ylabel("intensity", fontsize=TEXT)
    upper.legend(fontsize=SMALL, frameon=False, ncols=2)
    residual = result.intensity - result.components().sel(component="fit").values
    lower.axhspan(-result.noise, result.noise, color=GREY, alpha=0.25, linewidth=0)
    lower.plot(result.energy, residual, ".-", color=GREY, markersize=3, linewidth=0.6)
    lower.set_ylabel("residual", fontsize=TEXT)
    lower.set_xlabel("energy (eV)", fontsize=TEXT)
    for axes in (upper, lower):
        axes.tick_params(labelsize=SMALL)
    return figure


def _look(part: int) -> dict[str, Any]:
    """Colour and dashes of a part: black is left to the fit, and a colour that comes again is dashed otherwise."""
    *colours, _ = COLOURS
    return {"color": colours[part % len(colours)], "linestyle": STYLES[part // len(colours) % len(STYLES)]}


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
    check_instance(result, Decomposition, "result", "decompose_spectrum(energy, intensity, key=key)")
    figure = new_figure(2.6)
    left, middle, right = figure.subplots(1, 3)
    names = "peaks", "free_energy", "error", "probability"
    peaks, energies, errors, shares = (result.table[name].values for name in names)
    left.errorbar(peaks, energies, errors, fmt="o-", color=colour(0), markersize=3)
    for k, value, share in zip(peaks, energies, shares, strict=True):
        if share > 0.005:
            place = {"textcoords": "offset points", "fontsize": SMALL, "ha": "center"}
            left.annotate(f"{float(share):.2f}", (k, value), (0, 7), **place)
    left.margins(x=0.15, y=0.12)
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    _label(left, "peaks", "free energy (nats)")
    _draw_surface(middle, result)
    _label(middle, "noise (sd)", "F(K, b) (nats)")
    shown = tuple(result.interval("E_WL", 0.995))
    right.hist(result.fit.posterior["E_WL"], 40, range=shown, density=True, color=colour(0))
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
            axes.plot(fit.noise[near], fit.free_energy[near], color=colour(i), linewidth=1.1, label=str(fit.peaks))
            axes.legend(title="peaks", fontsize=SMALL, title_fontsize=SMALL, frameon=False)
    axes.xaxis.set_major_locator(MaxNLocator(3))


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, fontsize=TEXT)
    axes.set_ylabel(y, fontsize=TEXT)
    axes.tick_params(labelsize=SMALL)


def decompositions(results: Decompositions, names: Sequence[str] | None = None) -> Figure:
    """Draws several spectra, each with the parts of its best fit under it.

    Args:
        results: the `Decompositions`; the chosen number of peaks of each is drawn.
        names: one for each spectrum.

    Raises:
        ValueError: another number of names than of spectra.
    """
    names = _named(results, names)
    columns = min(2, len(results))
    rows = -(-len(results) // columns)
    figure = new_figure(0.5 + 1.9 * rows)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, name, result in zip(panels.ravel(), names, results.spectra, strict=False):
        _draw_parts(axes, result)
        number = f"{result.peaks} peak{'' if result.peaks == 1 else 's'}"
        axes.set_title(f"{plain(name)}: {number}", fontsize=TEXT)
        tidy(axes)
    for axes in panels.ravel()[len(results) :]:
        axes.set_axis_off()
    for axes in panels[-1]:
        axes.set_xlabel("energy (eV)", fontsize=TEXT)
    for axes in panels[:, 0]:
        axes.set_ylabel("intensity", fontsize=TEXT)
    # That of the most peaks names the colours of all.
    most = panels.ravel()[int(np.argmax([result.peaks for result in results.spectra]))]
    handles, labels = most.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=7, fontsize=SMALL, frameon=False)
    return figure


def _draw_parts(axes: Axes, result: Decomposition) -> None:
    """The best fit, its parts and the spectrum."""
    best = result.components(np.linspace(result.energy[0], result.energy[-1], 600))
    axes.plot(result.energy, result.intensity, ".", color=GREY, markersize=3, label="spectrum")
    axes.plot(best["energy"], best.sel(component="fit"), color="black", linewidth=0.9, label="fit")
    baseline = best.sel(component="baseline")
    for i, curve in enumerate(_drawable(best)):
        name = str(curve["component"].item())
        axes.plot(best["energy"], curve, color=colour(i), linewidth=1.1, label=name)
        if name != "edge":
            axes.fill_between(best["energy"], baseline, curve, color=colour(i), alpha=0.15, linewidth=0)


def white_lines(
    results: Decompositions, names: Sequence[str] | None = None, expected: ArrayLike | None = None
) -> Figure:
    """Draws the posteriors of the white line's energy of several spectra, and how surely they differ.

    Left, for each spectrum a histogram of its posterior, to its own maximum, over intervals of 90 % at each of
    its places; right the probability that the white line of the row's spectrum lies above that of the column's.

    Args:
        results: the `Decompositions`; the chosen number of peaks of each counts.
        names: one for each spectrum.
        expected: (spectra,), energies in eV to compare with, drawn as crosses; NaN for none.

    Raises:
        ValueError: another number of names or of energies than of spectra.
    """
    names, count = _named(results, names), len(results)
    marks = np.full(count, np.nan) if expected is None else float_array(expected, "expected")
    if marks.shape != (count,):
        raise ValueError(f"expected has shape {marks.shape}: give ({count},), an energy for each spectrum")
    figure = new_figure(max(2.4, 0.9 + 0.32 * count))
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    places = np.arange(count)
    for i, result in enumerate(results.spectra):
        density, edges = np.histogram(result.fit.posterior["E_WL"], 30, range=tuple(result.interval("E_WL", 0.995)))
        height = 0.75 * density / density.max()
        left.stairs(i - height, edges, baseline=i, fill=True, color=colour(i), alpha=0.6)
        at = result.places("E_WL")
        left.plot([at["low"], at["high"]], (i, i), color=colour(i), linewidth=2.5, solid_capstyle="butt")
    left.plot(marks, places, "x", color="black", markersize=5, label="expected")
    left.set_yticks(places, [plain(name) for name in names])
    left.set_ylim(count - 0.6, -0.95)
    left.ticklabel_format(axis="x", useOffset=False)
    left.xaxis.set_major_locator(MaxNLocator(5))
    left.set_xlabel("white line (eV)", fontsize=TEXT)
    if np.any(np.isfinite(marks)):
        left.legend(fontsize=SMALL, frameon=False, loc="lower left", bbox_to_anchor=(0, 1))
    tidy(left)
    _draw_probabilities(right, results.above("E_WL"))
    return figure


def _draw_probabilities(axes: Axes, above: np.ndarray) -> None:
    """The matrix with its numbers, as many as can be read."""
    places = np.arange(len(above))
    axes.imshow(above, cmap="RdBu_r", vmin=0, vmax=1)
    for i, j in np.ndindex(*above.shape):
        if i != j:
            shade = "white" if abs(above[i, j] - 0.5) > 0.35 else "black"
            axes.text(j, i, f"{above[i, j]:.2f}", ha="center", va="center", fontsize=SMALL - 1, color=shade)
    axes.set_xticks(places)
    axes.set_yticks(places)
    axes.set_title("P(row's line above column's)", fontsize=TEXT)
    axes.tick_params(labelsize=SMALL, length=0)


def _named(results: Decompositions, names: Sequence[str] | None) -> Sequence[str]:
    check_instance(results, Decompositions, "results", "decompose_spectrum of several spectra")
    names = [f"spectrum {i}" for i in range(len(results))] if names is None else names
    check_instances(names, str, "names", '"LiCoO2"')
    if len(names) != len(results):
        raise ValueError(f"{len(names)} names for {len(results)} spectra: give one for each")
    return names
