"""Figures of chosen weights, of methods side by side, and of spectra with their lines. Public through `plots`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from ..._util.validation import check_instance, check_limits, check_mapping, check_number, float_array
from ...factor.tuning import Tuning
from .axes import COLOURS, SMALL, TEXT, colour, draw_line, label, new_figure, plain, positions, tidy
from .factors import find_variable

_LEAST = 1e-4  # of a line's maximum: where the logarithmic axis of `lines` ends
_LETTER = 0.0098  # of the axis: the width of a letter


def tuning(found: Tuning) -> Figure:
    """Draws how well each weight of each penalty predicted the counts that were not fitted.

    The curve is the held-out deviance above its least value, in nats, with its standard error; a weight of 0 stands at
    the left end. The chosen weight is the best one times the share of the counts that was fitted.

    Args:
        found: `problem.tuning` of a problem that `tune` returned.
    """
    check_instance(found, Tuning, "found", "tune(problem, ...).tuning")
    figure = new_figure(2.7)
    cells = figure.subplots(1, len(found.curves), squeeze=False)[0]
    for axes, curve in zip(cells, found.curves, strict=True):
        order = np.argsort(curve.weights)
        weights, deviance, error = (values[order] for values in (curve.weights, curve.deviance, curve.error))
        least = weights[weights > 0].min()
        places = np.where(weights > 0, weights, least / 4)
        axes.errorbar(places, deviance, error, color=COLOURS[0], linewidth=1.1, marker="o", markersize=3, capsize=2)
        best = curve.best if curve.best > 0 else least / 4
        axes.plot(best, deviance.min(), "o", color=COLOURS[1], markersize=6, zorder=3)
        axes.set_xscale("log")
        if weights[0] == 0:
            axes.axvline(least / 2, color="#cccccc", linewidth=0.8, linestyle=":")
            axes.text(least / 4, 1.0, "0", fontsize=SMALL, transform=axes.get_xaxis_transform(), ha="center")
        # Up to a power of ten, so that no tick stands between it and zero.
        linear = 10.0 ** np.ceil(np.log10(max(1.0, float(error.min(initial=1e9, where=error > 0)))))
        axes.set_yscale("symlog", linthresh=linear)
        axes.set_ylim(bottom=-linear / 2)
        axes.set_title(f"{plain(curve.penalty)}: {curve.chosen:.3g}", fontsize=TEXT, loc="left")
        axes.set_xlabel("weight", fontsize=SMALL)
        axes.set_ylabel("held-out deviance above the least", fontsize=SMALL)
        tidy(axes)
    return figure


def methods(scores: pd.DataFrame, names: Mapping[str, str] | None = None) -> Figure:
    """Draws the scores of several methods side by side, a dot for each start.

    The start with the lowest objective, which is what one would report without knowing the truth, is filled.

    Args:
        scores: a row for each method and start: "method", "objective", and the scores, such as "angle" and "mse".
        names: column -> axis label, for those to be drawn; None takes "angle" and "mse".

    Raises:
        ValueError: a column is missing.
    """
    check_instance(scores, pd.DataFrame, "scores", "pandas.DataFrame(rows)")
    if names is not None:
        check_mapping(names, "names", '{"angle": "mean angle (degrees)"}')
    names = names or {"angle": "mean angle (degrees)", "mse": "mean squared error of the maps"}
    missing = [name for name in ("method", "objective", *names) if name not in scores]
    if missing:
        raise ValueError(f"scores has no {', '.join(missing)}: give a row for each method and start with these columns")
    if not len(scores):
        raise ValueError("scores has no rows: give one for each method and start")
    for column in ("objective", *names):
        float_array(scores[column], f"scores: {column}")
    rows = list(dict.fromkeys(scores["method"]))
    figure = new_figure(0.8 + 0.24 * len(rows))
    cells = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, (column, words) in zip(cells, names.items(), strict=True):
        for row, method in enumerate(rows):
            own = scores[scores["method"] == method]
            shade = COLOURS[0]
            axes.plot(own[column], np.full(len(own), row), "o", mfc="none", color=shade, markersize=5, alpha=0.7)
            axes.plot(own.loc[own["objective"].idxmin(), column], row, "o", color=shade, markersize=5)
        axes.set_xscale("log")
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
        axes.set_xlabel(words, fontsize=SMALL)
        tidy(axes)
    cells[0].yaxis.set_major_locator(FixedLocator(range(len(rows))))
    cells[0].yaxis.set_minor_locator(NullLocator())
    cells[0].set_yticklabels([plain(row) for row in rows])
    cells[0].set_ylim(len(rows) - 0.5, -0.5)
    return figure


def lines(
    result: xr.Dataset, marked: Mapping[str, float | int], limits: tuple[float | int, float | int] | None = None
) -> Figure:
    """Draws each spectrum on a logarithmic scale, with the places of lines and their names.

    Args:
        result: Dataset with 1-D `spectra` ("component", channels), NaN where masked.
        marked: name -> place on the axis, such as {"Fe Ka": 6.40}.
        limits: of the axis that is shown.

    Raises:
        ValueError: no such variable, or spectra that are not 1-D.
    """
    check_mapping(marked, "marked", '{"Fe Ka": 6.40}')
    for name, at in marked.items():
        check_number(at, f"marked: {name}")
    if find_variable(result, "spectra").ndim != 2:
        raise ValueError("lines draws 1-D spectra: give the Dataset of Solution.to_xarray of such an image")
    shown = result["spectra"]
    places = positions(shown[0])
    low, high = _limits(limits, places)
    inside = {name: at for name, at in sorted(marked.items(), key=lambda item: item[1]) if low <= at <= high}
    heights = _heights(inside, high - low)
    figure = new_figure(0.5 + 1.3 * len(shown) + 0.125 * max(heights, default=0))
    cells = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for k, (axes, one) in enumerate(zip(cells, shown, strict=True)):
        largest = float(np.nanmax(one.values[(places >= low) & (places <= high)], initial=0.0)) or 1.0
        draw_line(axes, (one / largest).clip(min=_LEAST / 10), k)
        axes.set_yscale("log")
        axes.set_ylim(_LEAST, 2.0)
        axes.set_xlim(low, high)
        axes.set_ylabel(label(one), fontsize=SMALL, color=colour(k))
        for at in inside.values():
            axes.axvline(at, color="#dddddd", linewidth=0.6, zorder=0)
        tidy(axes)
        if k < len(shown) - 1:
            axes.set_xlabel("")
    for (name, at), height in zip(inside.items(), heights, strict=True):
        cells[0].annotate(
            plain(name),
            (at, 1.0),
            (0, 2 + 9 * height),
            xycoords=cells[0].get_xaxis_transform(),
            textcoords="offset points",
            fontsize=SMALL,
            ha="center",
            va="bottom",
        )
    return figure


def _limits(limits: Any, places: np.ndarray) -> tuple[float, float]:
    """Of the axis: as they are given, or its ends."""
    if limits is None:
        return float(places[0]), float(places[-1])
    pair = zip(check_limits(limits, "limits"), places[[0, -1]], strict=True)
    low, high = (end if limit is None else limit for limit, end in pair)
    if not -np.inf < low < high < np.inf:
        raise ValueError(f"limits must be finite, the lower first, got {limits}")
    return float(low), float(high)


def _heights(inside: Mapping[str, float | int], width: float | int) -> list[int]:
    """How many rows up each name stands, so that neighbours do not meet."""
    ends: list[float] = []  # of the last name in each row
    heights = []
    for name, at in inside.items():
        half = _LETTER * width * (len(name) + 1) / 2
        height = next((i for i, end in enumerate(ends) if at - half > end), len(ends))
        ends[height : height + 1] = [at + half]
        heights.append(height)
    return heights
