"""The page of one fit."""

import os
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..._util.validation import check_instance
from ...data.image import SpectrumImage
from ...metrics.scores import match, relative_residual
from ...simulate.truth import Truth
from .. import plots
from ..plots.axes import colour
from ..plots.factors import find_variable
from . import html
from .relevance import relevance_section
from .restarts import restarts_section

# What each outcome means and what to do about it.
_STATUS = {
    "CONVERGED": ("converged", "The objective no longer falls: nothing to do."),
    "MAX_STEPS": (
        "stopped at the step limit",
        "The objective was still falling. Raise max_steps, or rtol if this is close enough, and fit again.",
    ),
    "INTERRUPTED": (
        "interrupted",
        "The best factors until then are shown. Run it again, from the checkpoint if there is one.",
    ),
    "NON_FINITE": (
        "became NaN or infinite",
        "The last finite factors are shown and should not be used. Look for extreme values in the data, lower "
        "the weights of the penalties, or take another update.",
    ),
}


def write(
    path: str | os.PathLike[str],
    result: xr.Dataset,
    img: SpectrumImage | None = None,
    truth: Truth | None = None,
    title: str | None = None,
    command: str | None = None,
) -> Path:
    """Writes one HTML file that needs no other: no scripts, no links, figures inside.

    The file appears whole or not at all: it is written under another name and then moved into place.

    Args:
        path: where to; an existing file is replaced.
        result: Dataset of `Solution.to_xarray`.
        img: the image that was fitted; adds its description, the total map and the residuals.
        truth: for simulated data, of the live pixels and channels; adds the comparison.
        title: heading, by default the name of the image.
        command: what was run, to be printed on the page.

    Returns:
        The path.

    Raises:
        ValueError: where `result` lacks maps or spectra, or does not fit `img` or `truth`, or the path is a folder.
        OSError: where the file cannot be written.
    """
    html.check_page(path, img, title=title, command=command)
    check_instance(truth, (Truth, type(None)), "truth", "the truth of a simulation")
    for variable in ("maps", "spectra"):
        find_variable(result, variable)
    name = str(img.data.name) if img is not None and img.data.name is not None else None
    heading = title or name or "Unmixing result"
    body = [
        html.section("Data", html.table(html.data_rows(result, img))),
        html.section("Fit", html.table(_fit_rows(result, img)) + _caution(result)),
        html.section("Components", _figures(result, img, truth) + _component_table(result, truth)),
        html.section("Relevance", relevance_section(result)),
        html.section("Restarts", restarts_section(result)),
        html.section("Processing steps", html.provenance(result, img)),
        html.section("To make it again", html.reproduction(result, command)),
    ]
    return html.write(path, heading, body)


def _fit_rows(result: xr.Dataset, img: SpectrumImage | None) -> list[tuple[str, str]]:
    attrs = result.attrs
    rows = [("Components K", str(result.sizes["component"]))]
    for key, words in (
        ("loss", "Loss"),
        ("update", "Update"),
        ("initial", "Start"),
        ("penalties", "Penalties"),
        ("constraints", "Constraints"),
    ):
        rows.append((words, html.listed(str(attrs.get(key, "")))))
    if "objective" in attrs:
        rows.append(("Objective", f"{float(attrs['objective']):.7g}"))
    rows += [("Status", _status(attrs)), ("Steps", str(attrs.get("steps", "")))]
    if "restart_objective" in result:
        rows.append(("Restarts", _spread(result["restart_objective"].values)))
    if img is not None and np.any(img.live()):
        rows.append(("Relative residual", f"{_residual(result, img):.4g}"))
    return rows


def _status(attrs: dict[Any, Any]) -> str:
    status = str(attrs.get("status", ""))
    words, advice = _STATUS.get(status.upper(), (status, str(attrs.get("status_meaning", ""))))
    return ". ".join(filter(None, (words[:1].upper() + words[1:], advice)))


def _spread(objectives: np.ndarray) -> str:
    finite = objectives[np.isfinite(objectives)].astype(float)
    if finite.size == 0:
        return f"none of {objectives.size} ended with a finite objective"
    best = finite.min()
    near = int(np.sum(finite <= best + 1e-3 * abs(best)))
    worst = 100 * (finite.max() - best) / (abs(best) or 1.0)
    text = f"{near} of {objectives.size} within 0.1 % of the best; the farthest {worst:.2g} % above it"
    bad = objectives.size - finite.size
    return text + (f"; {bad} not finite" if bad else "")


def _residual(result: xr.Dataset, img: SpectrumImage) -> float:
    maps, spectra = (result[name].values.reshape(result.sizes["component"], -1) for name in ("maps", "spectra"))
    live = np.isfinite(maps).all(axis=0), np.isfinite(spectra).all(axis=0)
    return relative_residual(img.live(), maps[:, live[0]].T, spectra[:, live[1]])


def _caution(result: xr.Dataset) -> str:
    if "restart_objective" not in result:
        return ""
    return (
        '<p class="dim">Restarts that agree make a chance result less likely. A lower objective is not by itself '
        "a better answer: different maps and spectra can describe the data equally well, and more components "
        "always describe them more closely. Judge the spectra by what is known of the material.</p>"
    )


def _figures(result: xr.Dataset, img: SpectrumImage | None, truth: Truth | None) -> str:
    count = result.sizes["component"]
    shaded = "alternative_spectra" in result and result["spectra"].ndim == 2
    band = "; shaded: the range of the restarts that fit as well" if shaded else ""
    shown = [html.figure(plots.overview(result, img), f"Maps and spectra of the {count} components{band}")]
    if truth is not None:
        figure = plots.comparison(result, truth.maps, truth.spectra, truth.names)
        shown.append(html.figure(figure, "The truth of the simulation, and the estimate matched to it"))
    if img is not None:
        figure = plots.residuals(result, img)
        shown.append(html.figure(figure, "What the model leaves of the data, per pixel and per channel"))
    if "trace" in result:
        shown.append(html.figure(plots.convergence(result), "The objective during the fit, and of each restart"))
    return "\n".join(shown)


def _component_table(result: xr.Dataset, truth: Truth | None) -> str:
    """Share of the total intensity and place of the highest point of each component."""
    maps, spectra = result["maps"], result["spectra"]
    count = result.sizes["component"]
    flat = np.nan_to_num(spectra.values.reshape(count, -1).astype(float))
    weight = np.nansum(np.abs(maps.values.reshape(count, -1).astype(float)), axis=1) * np.abs(flat).sum(axis=1)
    share = weight / (weight.sum() or 1.0)
    angles = _angles(result, truth)
    head = ["Component", "Share of the intensity", "Highest at", *(["Truth"] if truth is not None else [])]
    lines = []
    for k in range(count):
        name = str(result["component"].values[k]) if "component" in result.coords else str(k)
        swatch = f'<span class="swatch" style="background:{colour(k)}"></span>'
        cells = [f"<td>{swatch}{escape(name)}</td>", html.cell(f"{100 * share[k]:.1f} %", number=True)]
        cells.append(html.cell(_peak(spectra, flat[k])))
        if truth is not None:
            cells.append(html.cell(angles[k]))
        lines.append(cells)
    return html.grid(head, lines)


def _peak(spectra: xr.DataArray, row: np.ndarray) -> str:
    """Where a spectrum, without sign, is highest."""
    if not row.any():
        return "nowhere: the spectrum is zero"
    words = []
    for dim, i in zip(spectra.dims[1:], np.unravel_index(np.argmax(np.abs(row)), spectra.shape[1:]), strict=True):
        if dim in spectra.coords:
            value = f"{spectra[dim].values[i]:.6g} {spectra[dim].attrs.get('units', '')}".rstrip()
        else:
            value = f"channel {i}"
        words.append(f"{dim} {value}")
    return ", ".join(words)


def _angles(result: xr.Dataset, truth: Truth | None) -> list[str]:
    """For each component the true one it stands for and their angle."""
    count = result.sizes["component"]
    texts = ["none"] * count
    if truth is not None:
        flat = result["spectra"].values.reshape(count, -1)
        found = match(flat[:, np.isfinite(flat).all(axis=0)], truth.spectra)
        for k, j in enumerate(found.order.tolist()):
            if j >= 0:
                texts[j] = f"{truth.names[k]}, {found.angles[k]:.1f}°"
    return texts
