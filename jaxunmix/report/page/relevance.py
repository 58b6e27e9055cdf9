"""The section of a page on how many components were needed, where relevance determination decided it."""

import json
from html import escape
from typing import Any

import xarray as xr

from .. import plots
from ..plots.axes import colour
from . import html

_ADVICE = (
    "A component is switched off where the likelihood that it adds is less than what the prior takes for it. With few "
    "counts, or a component in few pixels, that is also the fate of true ones: what is not here has not been shown to "
    "be absent. Where the criteria disagree look at one component less and one more."
)


def relevance_section(result: xr.Dataset) -> str:
    """The relevance of each component, and what other criteria say; nothing where there was no `penalties.ARD`.

    Args:
        result: Dataset of `Solution.to_xarray`; its attribute "other_ranks" has the answers of other criteria as
            JSON, {name: [number, reason]}.
    """
    if "relevance" not in result:
        return ""
    kept = result.sizes["component"]
    started = result.sizes.get("start_component", kept)
    others: dict[str, list[Any]] = json.loads(str(result.attrs.get("other_ranks", "{}")))
    rows = [("Automatic relevance determination", f"{kept} of {started} components at the start")]
    rows += [(name, f"{'none' if best is None else best}: {reason}") for name, (best, reason) in others.items()]
    lines = []
    for k, value in enumerate(result["relevance"].values):
        swatch = f'<span class="swatch" style="background:{colour(k)}"></span>'
        lines.append(
            [f"<td>{swatch}{escape(str(result['component'].values[k]))}</td>", html.cell(f"{value:.3g}", True)]
        )
    shown = html.table(rows) + html.grid(["Component", "Relevance"], lines)
    if "relevance_trace" in result:
        shown += html.figure(plots.relevance(result), "Relevance during the fit; grey: switched off")
    return f'{shown}{_unresolved(kept, others)}<p class="dim">{escape(_ADVICE)}</p>'


def _unresolved(kept: int, others: dict[str, list[Any]]) -> str:
    """What another criterion sees and relevance determination does not resolve."""
    more = [f"{name} finds {best}" for name, (best, _) in others.items() if best is not None and best > kept]
    if not more:
        return ""
    return (
        f"<p>{escape(' and '.join(more))}; relevance determination resolves {kept} with so much noise. A component on "
        "this page may be a mixture of several. Look at fits of more components too (-k), or bin pixels: the counts of "
        "a spectrum decide what is resolved.</p>"
    )
