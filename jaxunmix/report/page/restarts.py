"""The section of a page on the restarts that fit as well as the best, and how far from it they are."""

from html import escape

import numpy as np
import xarray as xr

from ..plots.axes import colour
from . import html

_ADVICE = (
    "Another restart that fits as well is another answer that the data allow. Where the angle of a component is "
    "large, its spectrum and map are not determined by the data: constraints, penalties or known spectra would have "
    "to decide. A small angle says only that no restart found anything else."
)


def restarts_section(result: xr.Dataset) -> str:
    """How many restarts fit as well as the best, and the largest angle of each component; nothing of a single restart.

    Args:
        result: Dataset of `Solution.to_xarray`.
    """
    if "restart_objective" not in result or result["restart_objective"].size < 2:
        return ""
    tolerance = float(result.attrs.get("alternatives_tolerance", 0))
    if tolerance == 0:
        return ""
    objectives = result["restart_objective"].values.astype(float)
    best = objectives[int(result.attrs.get("best_restart", np.nanargmin(objectives)))]
    near = int(np.sum(objectives <= best + tolerance * abs(best))) - 1
    kept = result.sizes.get("alternative", 0)
    within = f"within {100 * tolerance:.3g} % of its objective"
    if near <= 0 or not kept:
        words = f"No other of {objectives.size} restarts fits as well as the best, {within}."
        return f"<p>{escape(words)}</p>"
    words = f"{near} of {objectives.size - 1} other restarts {_fit(near)} as well as the best, {within}; {_kept(kept)}."
    return f'<p>{escape(words)}</p>{_angle_table(result)}<p class="dim">{escape(_ADVICE)}</p>'


def _fit(count: int) -> str:
    return "fits" if count == 1 else "fit"


def _kept(count: int) -> str:
    return "one is kept beside it" if count == 1 else f"{count} are kept beside it"


def _angle_table(result: xr.Dataset) -> str:
    """For each component its largest angle to the alternatives, and how far its spectrum goes from the best's."""
    spectra = result["spectra"].values.reshape(result.sizes["component"], -1).astype(float)
    others = result["alternative_spectra"].values.astype(float).reshape(-1, *spectra.shape)
    apart = np.nanmax(np.abs(others - spectra), axis=(0, 2))
    largest = np.nanmax(np.abs(spectra), axis=1)
    lines = []
    for k, angle in enumerate(result["spread_angle"].values):
        name = str(result["component"].values[k]) if "component" in result.coords else str(k)
        swatch = f'<span class="swatch" style="background:{colour(k)}"></span>'
        share = 100 * apart[k] / (largest[k] or 1.0)
        numbers = (f"{angle:.1f}°", f"{share:.1f} %")
        lines.append([f"<td>{swatch}{escape(name)}</td>", *(html.cell(text, number=True) for text in numbers)])
    return html.grid(["Component", "Spread angle", "Largest difference, of the highest point"], lines)
