"""Figures of a scan over the number of components. Public through `plots`."""

import json
import math
import textwrap
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import LogFormatter, MaxNLocator

from ..._util.validation import check_instance
from ...rank.scanning import Scan
from .axes import COLOURS, GREY, SMALL, TEXT, WIDTH, excess_axis, new_figure, plain, tidy

# What stands at the axis of a criterion; any other one has its name there.
_VALUES = {
    "BiCrossValidation": "held-out mean square",
    "Plateau": "mean squared residual",
    "Elbow": "below the chord of ln(mse)",
    "Crossing": "mse less PCA's of K + 1",
    "Scree": "ln(squared singular value)",
    "Malinowski": "IND",
    "Likeness": "largest cosine of two components",
}
_MARKED = ("Plateau", "Crossing")
# Whose least value chooses: what is this many times farther above it than the middle one is cut off.
_LEAST = {"BiCrossValidation", "Malinowski", "AIC", "BIC"}
_FAR = 8
_MARGIN = 0.75  # inches
_CURVE: dict[str, Any] = {"linewidth": 1.1, "marker": "o", "markersize": 3}


def dataset(scan: Scan | xr.Dataset) -> xr.Dataset:
    """The table of a scan, with what was decided and how it was fitted as attributes: for files and figures.

    Args:
        scan: a `Scan`, or the Dataset that this function made of one.

    Returns:
        `scan.table` with the attributes "decision" (JSON: for each criterion its name, best, margin and reason),
        "best" where there is one, and those of the fits ("loss", "update", ...).

    Raises:
        ValueError: a Dataset without a decision.
    """
    check_instance(scan, (Scan, xr.Dataset), "scan", "rank.scan(...)")
    if isinstance(scan, xr.Dataset):
        if "decision" not in scan.attrs or "best_mse" not in scan:
            raise ValueError("this is no table of a scan with its decision: give the Scan itself, or rank.nc")
        return scan
    decision = [
        {"name": name, "best": v.best, "margin": v.margin if math.isfinite(v.margin) else None, "reason": v.reason}
        for name, v in scan.decision.items()
    ]
    info = next(iter(scan.solutions.values())).info
    told = {k: v if isinstance(v, str) else json.dumps(v) for k, v in info.items() if k != "rank"}
    chosen = {} if scan.best is None else {"best": scan.best}
    return scan.table.assign_attrs(decision=json.dumps(decision), **told, **chosen)


def rank(scan: Scan | xr.Dataset) -> Figure:
    """Draws each criterion over the number of components, with its choice marked and its reason in words.

    Error bars are standard errors of the difference from the least value. Values far above those around the
    choice are cut off and shown as triangles at the upper edge.

    Args:
        scan: a `Scan`, or its Dataset as `dataset` gives it and rank.nc holds it.

    Raises:
        ValueError: a Dataset without a decision.
    """
    table = dataset(scan)
    verdicts = json.loads(table.attrs["decision"])
    columns = {1: 1, 2: 2, 4: 2}.get(len(verdicts), 3)
    rows = -(-len(verdicts) // columns)
    figure = new_figure(2.55 * rows)
    parts = figure.subfigures(rows, columns, squeeze=False)
    # A letter is about half as wide as it is high; what stands left of the axes has _MARGIN.
    letters = int((WIDTH / columns - _MARGIN) * 72 / (0.53 * SMALL))
    for start in range(0, len(verdicts), columns):
        several = verdicts[start : start + columns]
        reasons = [textwrap.wrap(plain(v["reason"], 200), letters) for v in several]
        most = max(map(len, reasons))
        for part, verdict, reason in zip(parts[start // columns], several, reasons, strict=False):
            # Equal numbers of lines, so that the axes of a row are of one height.
            _draw_criterion(part, table, verdict, "\n".join(reason + [" "] * (most - len(reason))))
    return figure


def _draw_criterion(part: SubFigure, table: xr.Dataset, verdict: dict[str, Any], reason: str) -> None:
    name, best = verdict["name"], verdict["best"]
    ranks, values = table["rank"].values, table[name].values.astype(float)
    chosen = "undecided" if best is None else f"K = {best}"
    part.suptitle(f"{plain(name)}: {chosen}", x=0.03, ha="left", fontsize=TEXT, fontweight="bold")
    axes = part.subplots()
    axes.set_title(reason, fontsize=SMALL, color=GREY, loc="left")
    errors = table[f"{name}_error"].values.astype(float) if f"{name}_error" in table else np.zeros(len(ranks))
    if name in _LEAST:
        _cut(axes, ranks, values, errors)
    elif name == "Plateau":
        _scale(axes, values)
    axes.errorbar(ranks, values, errors if errors.any() else None, color=COLOURS[0], capsize=2, **_CURVE)
    if best is not None:
        axes.axvline(best, color=COLOURS[1], linewidth=0.9, linestyle="--", zorder=0)
        axes.plot(best, values[ranks == best], "o", color=COLOURS[1], markersize=6, zorder=3)
    axes.set_ylabel(_VALUES.get(name, plain(name)), fontsize=SMALL)
    _tidy(axes)


def _cut(axes: Axes, ranks: np.ndarray, values: np.ndarray, errors: np.ndarray) -> None:
    """Leaves out what is far above the least value, so that those near it can be told apart."""
    away = values - values.min(initial=np.inf)
    middle = np.median(away[away > 0]) if (away > 0).sum() > 2 else 0.0
    far = away > _FAR * middle
    if middle == 0 or not far.any():
        return
    low, high = (values - errors)[~far].min(), (values + errors)[~far].max()
    top = high + 0.25 * (high - low)
    axes.set_ylim(low - 0.1 * (high - low), top)
    axes.plot(ranks[far], np.full(far.sum(), top), "^", color=COLOURS[0], markersize=5, clip_on=False)


def _scale(axes: Axes, *curves: np.ndarray) -> None:
    """A logarithmic axis where the values are positive and spread over half a decade or more."""
    low, high = min(c.min() for c in curves), max(c.max() for c in curves)
    if low > 0 and high > 3 * low:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(1.2, 0.5)))
        axes.yaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(1.2, 0.5)))


def mse(scan: Scan | xr.Dataset) -> Figure:
    """Draws the residual of every restart at every rank, beside that of principal components.

    Dots that lie apart are local minima (as in figure 4a of Uesugi et al., Ultramicroscopy 221 (2021) 113168, where
    the crossing with PCA is the clue to the number). The right panel shows how far each restart ended above the
    best one of its rank. PCA minimises squares, so its curve is drawn for least squares only.

    Args:
        scan: as for `rank`.

    Raises:
        ValueError: a Dataset without a decision.
    """
    table = dataset(scan)
    squares = table.attrs.get("loss", "Frobenius") == "Frobenius"
    ranks, best = table["rank"].values, table["best_mse"].values.astype(float)
    each = table["mse"].values.astype(float)
    each = np.where(table["status"].values.astype(str) == "NON_FINITE", np.nan, each)
    figure = new_figure(3.2)
    left, right = figure.subplots(1, 2, width_ratios=[1.5, 1])
    dots: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 3.5, "alpha": 0.55}
    left.plot(np.repeat(ranks, each.shape[1]), each.ravel(), color=COLOURS[5], label="every restart", **dots)
    left.plot(ranks, best, color=COLOURS[0], linewidth=1.3, label="the best")
    shown = [best]
    if squares:
        shown.append(table["pca_mse"].values.astype(float))
        left.plot(ranks, shown[1], color=COLOURS[1], linewidth=1.1, linestyle="--", label="PCA")
    _mark(left, json.loads(table.attrs["decision"]))
    _scale(left, *shown)
    left.set_ylabel("mean squared residual" if squares else "mean divergence, twice", fontsize=SMALL)
    left.legend(fontsize=SMALL, frameon=False)
    _tidy(left)
    _draw_excess(right, ranks, table["objective"].values.astype(float), np.isfinite(each))
    return figure


def _mark(axes: Axes, verdicts: list[dict[str, Any]]) -> None:
    """Lines at the crossing and at the plateau; one where they are the same."""
    names: dict[int, list[str]] = {}
    for verdict in verdicts:
        if verdict["name"] in _MARKED and verdict["best"] is not None:
            names.setdefault(verdict["best"], []).append(verdict["name"].lower())
    for at, style in zip(names, (":", "-."), strict=False):
        text = f"{' and '.join(names[at])}: K = {at}"
        axes.axvline(at, color=GREY, linewidth=1.0, linestyle=style, zorder=0, label=text)


def _draw_excess(axes: Axes, ranks: np.ndarray, objective: np.ndarray, kept: np.ndarray) -> None:
    objective = np.where(kept, objective, np.nan)
    least = np.nanmin(objective, axis=1, keepdims=True)
    excess = 100 * (objective - least) / np.where(least == 0, 1, np.abs(least))
    places = np.broadcast_to(ranks[:, None], excess.shape)
    axes.plot(places[kept], excess[kept], "o", color=COLOURS[0], markersize=3.5, alpha=0.55)
    if not kept.all():
        axes.plot([], [], "x", color="black", label=f"{(~kept).sum()} not finite, not shown")
        axes.legend(fontsize=SMALL, frameon=False)
    excess_axis(axes, float(np.max(excess[kept], initial=0.0)))
    _tidy(axes)


def _tidy(axes: Axes) -> None:
    axes.set_xlabel("number of components K", fontsize=SMALL)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.yaxis.get_offset_text().set_fontsize(SMALL)
    tidy(axes)
