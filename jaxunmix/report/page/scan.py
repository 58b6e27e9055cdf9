"""One self-contained HTML page of a scan over the number of components. Public through `page`."""

import json
import os
from html import escape
from pathlib import Path

import numpy as np
import xarray as xr

from ..._util.validation import check_instance
from ...data.image import SpectrumImage
from ...rank.scanning import Scan
from .. import plots
from ..plots.ranks import dataset
from . import html

# Ranks whose criterion is within this many standard errors of the best are not told apart from it.
APART = 2


def write_scan(
    path: str | os.PathLike[str],
    scan: Scan,
    img: SpectrumImage | None = None,
    title: str | None = None,
    command: str | None = None,
    proposal: str | None = None,
) -> Path:
    """Writes one HTML file that needs no other: the criteria, the residuals, and the table of a scan.

    Args:
        path: where to; an existing file is replaced, whole or not at all.
        scan: a `Scan`.
        img: the image that was fitted, for its axes and its processing steps.
        title: heading, by default the name of the image.
        command: what was run, to be printed on the page.
        proposal: what to run next, likewise.

    Returns:
        The path.

    Raises:
        ValueError: where the scan does not fit `img`, or the path is a folder.
        OSError: where the file cannot be written.
    """
    html.check_page(path, img, title=title, command=command, proposal=proposal)
    check_instance(scan, Scan, "scan", "rank.scan(...)")
    name = str(img.data.name) if img is not None and img.data.name is not None else None
    heading = title or name or "Number of components"
    table = dataset(scan)
    shown = scan.best if scan.best is not None else min(scan.solutions)
    result = scan.solutions[shown].to_xarray(img)
    caption = f"Maps and spectra of {shown} components, as the scan found them"
    following = "" if proposal is None else f"<p>Next:</p><pre>{escape(proposal)}</pre>"
    return html.write(
        path,
        heading,
        [
            html.section("How many components", html.table(verdict_rows(table)) + _conclusion(table) + following),
            html.section("Criteria", html.figure(plots.rank(table), _CRITERIA) + _values(table)),
            html.section("Residuals", html.figure(plots.mse(table), _RESIDUALS)),
            html.section("Components", html.figure(plots.overview(result, img), caption)),
            html.section("Data and fits", html.table(html.data_rows(result, img) + _fit_rows(table))),
            html.section("Processing steps", html.provenance(result, img)),
            html.section("To make it again", html.reproduction(result, command)),
        ],
    )


_CRITERIA = (
    "Each criterion over the number of components, and its choice. Error bars are standard errors of the difference "
    "from the least value; triangles are off the scale."
)
_RESIDUALS = "Left the residual of every restart; right how far each restart ended above the best one of its number"


def verdict_rows(table: xr.Dataset) -> list[tuple[str, str]]:
    """For each criterion its name, and what it says in words.

    Args:
        table: as `plots.ranks.dataset` gives it.
    """
    rows = []
    for verdict in json.loads(table.attrs["decision"]):
        best = "undecided" if verdict["best"] is None else f"K = {verdict['best']}"
        rows.append((verdict["name"], f"{best}: {verdict['reason']}"))
    return rows


def conclusion(table: xr.Dataset) -> str:
    """The number of the first criterion, and which others are as good by it, in a sentence.

    Args:
        table: as `plots.ranks.dataset` gives it.
    """
    name = json.loads(table.attrs["decision"])[0]["name"]
    if "best" not in table.attrs:
        return f"{name} does not decide: look at the curves, try other ranks, or another criterion."
    best = int(table.attrs["best"])
    others = [str(rank) for rank in _as_good(table, name) if rank != best]
    if not others:
        return f"K = {best} by {name}."
    listed = " and ".join(filter(None, (", ".join(others[:-1]), others[-1])))
    return f"K = {best} by {name}, which does not tell it apart from {listed} (within {APART} standard errors)."


def _as_good(table: xr.Dataset, name: str) -> list[int]:
    """The ranks within some standard errors of the least value; none where the criterion has no errors."""
    if f"{name}_error" not in table:
        return []
    ranks, values, errors = (table[variable].values for variable in ("rank", name, f"{name}_error"))
    return [int(rank) for rank in ranks[values - values.min() <= APART * errors]]


def _conclusion(table: xr.Dataset) -> str:
    caution = (
        "No criterion is right everywhere, and a component can be real and still too weak to be found. Look at the "
        "maps and spectra of one component less and one more before settling."
    )
    return f'<p><strong>{escape(conclusion(table))}</strong></p><p class="dim">{caution}</p>'


def _values(table: xr.Dataset) -> str:
    head, rows = value_rows(table)
    return html.grid(head, [[html.cell(text, number=True) for text in row] for row in rows])


def value_rows(table: xr.Dataset) -> tuple[list[str], list[list[str]]]:
    """The head and the rows of a printed table: rank, best residual, restarts near the best, each criterion.

    Args:
        table: as `plots.ranks.dataset` gives it.
    """
    names = [v["name"] for v in json.loads(table.attrs["decision"]) if v["name"] != "Plateau"]
    residual = "best mse" if table.attrs.get("loss", "Frobenius") == "Frobenius" else "2 divergence / entries"
    rows = []
    objective = table["objective"].values
    for i, rank in enumerate(table["rank"].values):
        near = int(np.sum(objective[i] <= np.nanmin(objective[i]) * 1.001))
        values = [_number(table[name].values[i]) for name in names]
        rows.append([str(rank), _number(table["best_mse"].values[i]), f"{near} of {objective.shape[1]}", *values])
    return ["K", residual, "restarts within 0.1 %", *names], rows


def _number(value: float) -> str:
    return f"{value:.6g}"


def _fit_rows(table: xr.Dataset) -> list[tuple[str, str]]:
    rows = [
        (words, html.listed(str(table.attrs.get(key, ""))))
        for key, words in (
            ("loss", "Loss"),
            ("update", "Update"),
            ("initial", "Start"),
            ("constraints", "Constraints"),
            ("penalties", "Penalties"),
        )
    ]
    return [*rows, ("Restarts", str(table.sizes["restart"])), ("Steps", _steps(table))]


def _steps(table: xr.Dataset) -> str:
    status = table["status"].values.astype(str)
    stopped = int(np.sum(status == "MAX_STEPS"))
    most = int(table["steps"].values.max())
    return f"up to {most}; {stopped} of {status.size} fits stopped at the limit of steps"
