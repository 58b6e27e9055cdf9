"""Drawing on axes: the pieces that the figures of this folder are put together from."""

from typing import Any, Literal

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure, FigureBase
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator, ScalarFormatter

# Okabe and Ito's colours, told apart by the colour-blind too, without the yellow, too pale for a line.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", ":", "-.")
GREY = "#777777"
WIDTH = 7.2  # inches, of every figure
_DPI = 110
SMALL, TEXT = 7.5, 9.0  # points
_COLUMNS = 4  # pictures in a row, at most
_STATUS_MARKERS = "os^vDP*"


def colour(component: int) -> str:
    """The colour of a component, the same in every figure."""
    return COLOURS[component % len(COLOURS)]


def new_figure(height: float) -> Figure:
    """A figure of the common width, made without pyplot; height in inches."""
    return Figure(figsize=(WIDTH, height), dpi=_DPI, layout="constrained", facecolor="white")


def plain(text: Any, length: int = 60) -> str:
    """Text from a file, made safe to draw: no mathematics, no control characters, not endless."""
    clean = "".join(c for c in str(text) if c.isprintable())
    return (clean if len(clean) <= length else clean[: length - 3] + "...").replace("$", r"\$")


def label(component: xr.DataArray) -> str:
    """The name of one component: its number, or its text where the coordinate holds names."""
    value = component.coords["component"].item() if "component" in component.coords else ""
    return plain(value) if isinstance(value, str) else f"component {value}"


def two_dims(values: xr.DataArray) -> tuple[xr.DataArray, str]:
    """Leaves at most two dims besides "component": the middle slice of the others, and a note that says so."""
    notes = []
    for dim in values.dims[1:-2]:
        middle = values.sizes[dim] // 2
        where = f" = {values[dim].values[middle]:.4g}" if dim in values.coords else f" index {middle}"
        notes.append(f"{plain(dim)}{where} {plain(values[dim].attrs.get('units', ''))}".strip())
        values = values.isel({dim: middle})
    return values, f"middle slice, {', '.join(notes)}" if notes else ""


def maps_height(maps: xr.DataArray, extra: int = 0) -> float:
    """Inches that `draw_maps` needs."""
    if maps.ndim != 3:
        return 2.4
    count = len(maps) + extra
    columns = _columns(count)
    # A panel loses about half an inch to its colour bar, and is never taller than a third of the figure's width.
    panel = (WIDTH / columns - 0.55) * np.clip(maps.shape[1] / maps.shape[2], 0.2, 1.5)
    return float(-(-count // columns) * (min(panel, 2.6) + 0.32))


def spectra_height(spectra: xr.DataArray) -> float:
    """Inches that `draw_spectra` needs."""
    return maps_height(spectra) if spectra.ndim == 3 else min(1.5 + 0.4 * len(spectra), 6.0)


def draw_maps(figure: FigureBase, maps: xr.DataArray, total: xr.DataArray | None = None) -> None:
    """Draws one picture for each component, or lines, or bars, by the number of dims."""
    if maps.ndim == 3:
        panels = [] if total is None else [(total[0], "all channels", "black")]
        panels += [(one, label(one), colour(k)) for k, one in enumerate(maps)]
        draw_pictures(figure, panels)
        return
    axes = figure.subplots()
    if maps.ndim == 2:
        for k, one in enumerate(maps):
            draw_line(axes, one, k, label(one))
        axes.legend(fontsize=SMALL, frameon=False, ncols=min(len(maps), 5), loc="lower left", bbox_to_anchor=(0, 1))
    else:
        axes.bar([label(one) for one in maps], maps.values, color=[colour(k) for k in range(len(maps))])
    axes.set_ylabel("share of the spectrum" if maps.ndim == 1 else "map", fontsize=SMALL)
    tidy(axes)


def draw_spectra(
    figure: FigureBase, spectra: xr.DataArray, stacked: bool = True, others: xr.DataArray | None = None
) -> None:
    """Draws lines, or pictures on a logarithmic scale where the signal has two dims.

    With `others` ("alternative", "component", channels) the range of the lines and these is drawn as a band.
    """
    if spectra.ndim == 3:
        draw_pictures(figure, [(one, label(one), colour(k)) for k, one in enumerate(spectra)], log=True)
        return
    axes = figure.subplots()
    for k, one in enumerate(spectra):
        every = one.values[None] if others is None else np.concatenate([one.values[None], others.values[:, k]])
        if not stacked:
            draw_band(axes, one, every, k)
            draw_line(axes, one, k, label(one))
            continue
        base = 1.1 * (len(spectra) - 1 - k)
        largest = float(np.nanmax(np.abs(every), initial=0.0))
        axes.axhline(base, color="#cccccc", linewidth=0.6, zorder=0)
        draw_band(axes, one, base + every / (largest or 1.0), k)
        draw_line(axes, base + one / (largest or 1.0), k, label(one))
        axes.text(1.01, base, label(one), color=colour(k), fontsize=SMALL, transform=axes.get_yaxis_transform())
    if stacked:
        axes.set_yticks([])
        axes.set_ylabel("each to its maximum", fontsize=SMALL)
    else:
        axes.legend(fontsize=SMALL, frameon=False)
        axes.set_ylabel("intensity", fontsize=SMALL)
    tidy(axes)


def draw_pictures(figure: FigureBase, panels: list[tuple[xr.DataArray, str, str]], log: bool = False) -> None:
    """Draws (values, title, title colour) on a grid; the first gets the scale bar."""
    columns = _columns(len(panels))
    grid = figure.subplots(-(-len(panels) // columns), columns, squeeze=False).ravel()
    for index, (axes, (values, title, shade)) in enumerate(zip(grid, panels, strict=False)):
        draw_picture(figure, axes, values, title, shade, log=log, first=index == 0)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()


def draw_picture(
    figure: FigureBase,
    axes: Axes,
    values: xr.DataArray,
    title: str = "",
    shade: str = "black",
    log: bool = False,
    first: bool = True,
    norm: Normalize | None = None,
    bar: bool = True,
) -> None:
    """Draws a (rows, columns) array with its colour bar, and a scale bar or axis labels where it is the first."""
    rows, columns = (uniform_step(values, str(dim)) for dim in values.dims)
    units = [values[d].attrs.get("units") if d in values.coords else None for d in values.dims]
    same = rows is not None and columns is not None and units[0] == units[1]
    ratio = rows / columns if same and rows and columns else 1.0
    if not 1 / 6 < values.shape[0] / values.shape[1] * ratio < 6:
        aspect: float | Literal["auto"] = "auto"
    else:
        aspect = ratio
    scale, colours, extend = picture_scale(values.values, log)
    image = axes.imshow(values.values, aspect=aspect, norm=norm or scale, cmap=colours, interpolation="nearest")
    axes.set_facecolor("#dddddd")  # masked
    axes.set_title(title, fontsize=TEXT, color=shade)
    axes.set_xticks([])
    axes.set_yticks([])
    if bar:
        add_colour_bar(figure, axes, image, extend, log)
    if first and same and columns and units[1] and aspect != "auto":
        add_scale_bar(axes, values.shape[1], columns, plain(units[1]))
    elif first:
        axes.set_xlabel(f"{plain(values.dims[1])} ({values.shape[1]} pixels)", fontsize=SMALL)
        axes.set_ylabel(f"{plain(values.dims[0])} ({values.shape[0]})", fontsize=SMALL)


def picture_scale(values: np.ndarray, log: bool) -> tuple[Normalize, str, str]:
    """The norm, the colour map and which end of the colour bar is open.

    Without sign: viridis from 0. With both signs: blue over white to red, symmetric about 0. A few hot pixels,
    over 1.5 times the 99.9th percentile, do not set the scale.
    """
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return Normalize(0, 1), "viridis", "neither"
    size = np.abs(finite)
    top, most = float(size.max()), float(np.percentile(size, 99.9))
    if log and top > 0:
        # Four decades; what lies below, zero and negative too, takes the darkest colour.
        least = max(float(finite[finite > 0].min(initial=top)), 1e-4 * top)
        return LogNorm(least if least < top else top / 10, top, clip=True), "inferno", "neither"
    open_end = 0 < 1.5 * most < top
    top = (most if open_end else top) or 1.0
    if finite.min() < 0:
        return Normalize(-top, top), "RdBu_r", "both" if open_end else "neither"
    return Normalize(0, top), "viridis", "max" if open_end else "neither"


def _columns(count: int) -> int:
    """Rows as even as can be: six pictures are three and three, not five and one."""
    return -(-count // -(-count // _COLUMNS))


def add_colour_bar(figure: FigureBase, axes: Axes, image: Any, extend: str, log: bool) -> None:
    """Adds a thin colour bar with few ticks."""
    bar = figure.colorbar(image, ax=axes, aspect=22, pad=0.03, extend=extend)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=SMALL - 1, length=2, pad=1)
    if log:
        return
    bar.locator = MaxNLocator(3)
    bar.formatter = ScalarFormatter(useMathText=True)
    bar.formatter.set_powerlimits((-2, 4))
    bar.update_ticks()
    bar.ax.yaxis.get_offset_text().set_fontsize(SMALL - 1)


def add_scale_bar(axes: Axes, pixels: int, step: float, unit: str) -> None:
    """Adds a bar of a round length, at most a third of the picture's width."""
    longest = pixels * step / 3
    power = 10.0 ** np.floor(np.log10(longest))
    length = max(m for m in (1, 2, 5) if m * power <= longest * (1 + 1e-9)) * power
    start, end = 0.05, 0.05 + length / (pixels * step)
    outline = [withStroke(linewidth=3.5, foreground="black")]
    axes.plot([start, end], [0.07, 0.07], color="white", linewidth=2, transform=axes.transAxes, path_effects=outline)
    outline = [withStroke(linewidth=1.6, foreground="black")]
    axes.text(
        start,
        0.11,
        f"{length:g} {unit}",
        color="white",
        fontsize=SMALL,
        transform=axes.transAxes,
        path_effects=outline,
    )


def draw_line(axes: Axes, values: xr.DataArray, component: int, name: str = "", **style: Any) -> None:
    """Draws a 1-D array against its coordinate."""
    dim = str(values.dims[0])
    kind: dict[str, Any] = {
        "color": colour(component),
        "linestyle": STYLES[component // len(COLOURS) % len(STYLES)],
        "linewidth": 1.1,
        "marker": "." if values.size < 12 else None,
    }
    axes.plot(positions(values), values.values, label=name, **(kind | style))
    unit = values[dim].attrs.get("units") if dim in values.coords else "index"
    axes.set_xlabel(f"{plain(dim)} ({plain(unit)})" if unit else plain(dim), fontsize=SMALL)
    axes.margins(x=0.01)


def draw_band(axes: Axes, values: xr.DataArray, every: np.ndarray, component: int) -> None:
    """Shades from the least to the greatest of several lines, (lines, channels), on the coordinate of `values`."""
    if len(every) > 1:
        low, high = every.min(axis=0), every.max(axis=0)
        axes.fill_between(positions(values), low, high, color=colour(component), alpha=0.3, linewidth=0)


def positions(values: xr.DataArray) -> np.ndarray:
    """The coordinate of a 1-D array, or its index where there is none."""
    dim = values.dims[0]
    return values[dim].values if dim in values.coords else np.arange(values.size)


def uniform_step(values: xr.DataArray, dim: str) -> float | None:
    """The distance of the points along a dim, None where they are not uniform or have no coordinate."""
    if dim not in values.coords or values.sizes[dim] < 2:
        return None
    steps = np.diff(values[dim].values.astype(float))
    return float(abs(steps.mean())) if np.allclose(steps, steps.mean(), rtol=1e-3, atol=0) else None


def draw_restarts(axes: Axes, result: xr.Dataset) -> None:
    """Draws the sorted final objectives over the best one; a marker for each status."""
    values = result["restart_objective"].values.astype(float)
    status = np.full(values.shape, "")
    if "restart_status" in result:
        status = result["restart_status"].values.astype(str)
    finite = np.isfinite(values)
    best = np.min(values[finite], initial=np.inf)
    excess = 100 * (values - best) / (abs(best) or 1.0)
    order = np.argsort(np.where(finite, values, np.inf), kind="stable")
    rank = np.empty(len(values), dtype=int)
    rank[order] = np.arange(1, len(values) + 1)
    for index, kind in enumerate(sorted(set(status[finite]))):
        chosen = finite & (status == kind)
        name = plain(kind.replace("_", " ").lower())
        marker = _STATUS_MARKERS[index % len(_STATUS_MARKERS)]
        axes.plot(
            rank[chosen],
            excess[chosen],
            marker,
            color=COLOURS[index % len(COLOURS)],
            markersize=4,
            label=name,
        )
    if (~finite).any():
        axes.plot([], [], "x", color="black", label=f"{(~finite).sum()} not finite, not shown")
    excess_axis(axes, float(np.max(excess[finite], initial=0.0)))
    axes.set_xlabel("restart, the best first", fontsize=SMALL)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if any(axes.get_legend_handles_labels()[1]):
        axes.legend(fontsize=SMALL, frameon=False, loc="upper left")
    tidy(axes)


def excess_axis(axes: Axes, largest: float) -> None:
    """An axis for the objective of restarts over the best one in percent, with a line at 0.1 %."""
    axes.axhline(0.1, color=GREY, linewidth=0.8, linestyle="--")
    axes.set_yscale("symlog", linthresh=0.1)
    axes.set_ylim(-0.02, max(0.2, 1.6 * largest))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel("objective over the best (%)", fontsize=SMALL)


def tidy(axes: Axes) -> None:
    """Small ticks, no frame on top and on the right."""
    axes.tick_params(labelsize=SMALL, length=3)
    axes.tick_params(which="minor", labelsize=SMALL)  # a logarithmic axis of a decade or two labels these
    axes.spines[["top", "right"]].set_visible(False)
