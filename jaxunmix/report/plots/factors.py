"""Figures of a fit: maps, spectra, residuals, convergence, and comparison with a truth."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from ..._util.blocks import row_blocks
from ..._util.validation import check_flag, check_instance, check_instances, float_array
from ...data.image import SpectrumImage
from ...metrics.scores import match
from .axes import (
    COLOURS,
    GREY,
    SMALL,
    TEXT,
    colour,
    draw_line,
    draw_maps,
    draw_picture,
    draw_restarts,
    draw_spectra,
    maps_height,
    new_figure,
    picture_scale,
    plain,
    spectra_height,
    tidy,
    two_dims,
)


def maps(result: xr.Dataset) -> Figure:
    """Draws the maps: pictures for 2-D navigation, lines for 1-D, bars for a single spectrum.

    Of more than two navigation dims the middle slice is shown, and the title says which.

    Args:
        result: Dataset with `maps` ("component", *navigation dims), NaN where masked.

    Raises:
        ValueError: where `result` has no such variable.
    """
    shown, note = two_dims(find_variable(result, "maps"))
    figure = new_figure(maps_height(shown))
    draw_maps(figure, shown)
    return _noted(figure, note)


def spectra(result: xr.Dataset, stacked: bool = True) -> Figure:
    """Draws the spectra: lines for a 1-D signal, pictures on a logarithmic scale for patterns.

    Where the result holds alternatives, a band behind each line is the range of the best restart and them.

    Args:
        result: Dataset with `spectra` ("component", *signal dims), NaN where masked; `alternative_spectra` likewise
            behind "alternative".
        stacked: each line to its own maximum and above the one before; False: all on one scale.

    Raises:
        ValueError: where `result` has no such variable.
    """
    check_flag(stacked, "stacked")
    shown, note = two_dims(find_variable(result, "spectra"))
    figure = new_figure(spectra_height(shown))
    draw_spectra(figure, shown, stacked, _alternative_spectra(result))
    return _noted(figure, note)


def overview(result: xr.Dataset, img: SpectrumImage | None = None) -> Figure:
    """Draws the maps above the spectra: the whole result at a glance.

    Args:
        result: as for `maps` and `spectra`.
        img: if given, its total map stands before the components.

    Raises:
        ValueError: where `result` lacks a variable.
    """
    above, note = two_dims(find_variable(result, "maps"))
    below, other_note = two_dims(find_variable(result, "spectra"))
    check_image(img)
    total = None
    if img is not None and above.ndim == 3:
        total, _ = two_dims(img.total_map().expand_dims("component"))
    heights = [maps_height(above, total is not None), spectra_height(below)]
    figure = new_figure(sum(heights))
    parts = figure.subfigures(2, 1, height_ratios=heights, squeeze=False)[:, 0]
    draw_maps(parts[0], above, total)
    draw_spectra(parts[1], below, others=_alternative_spectra(result))
    return _noted(figure, note, other_note)


def residuals(result: xr.Dataset, img: SpectrumImage) -> Figure:
    r"""Draws what the model leaves of the data, $X - MS$, over pixels and over channels.

    The map is the root mean square in each pixel. The lines are the root mean square and the mean in each channel;
    for counts, and under the Poisson loss, the dashed line is $\sqrt{\bar x_j}$, what Poisson noise alone leaves:
    above it there is signal that the model lacks. For patterns it is a picture of the mean.

    Args:
        result: as for `overview`.
        img: the data that were fitted.

    Raises:
        ValueError: where the shapes of the result and the image differ.
    """
    check_instance(img, SpectrumImage, "img", "the image that was fitted")
    per_pixel, mean, spread = _residual_profiles(result, img)
    left, note = two_dims(per_pixel)
    right, other_note = two_dims(xr.concat([spread, mean], "component"))
    figure = new_figure(2.6)
    axes = figure.subplots(1, 1 + (left.ndim > 1), squeeze=False, width_ratios=[1.0, 1.5][-left.ndim :])[0]
    if left.ndim == 3:
        low, high = np.nanpercentile(left.values, [0.1, 99.9])
        draw_picture(figure, axes[0], left[0], norm=Normalize(low, high if high > low else low + 1))
    elif left.ndim == 2:
        draw_line(axes[0], left[0], 0)
        tidy(axes[0])
    axes[0].set_title("residual per pixel (rms)", fontsize=TEXT)
    axes[-1].set_title("residual per channel", fontsize=TEXT)
    if right.ndim == 3:
        draw_picture(figure, axes[-1], right[1])
        axes[-1].set_title("residual per channel (mean)", fontsize=TEXT)
    else:
        counted = img.data.attrs.get("units") == "counts" or result.attrs.get("loss") == "Poisson"
        _draw_channels(axes[-1], right, img.mean_spectrum() if counted else None)
    return _noted(figure, note, other_note)


def _alternative_spectra(result: xr.Dataset) -> xr.DataArray | None:
    """The spectra of the restarts that fit as well, ("alternative", "component", channels), where there are any."""
    others = result.get("alternative_spectra")
    return None if others is None or others.ndim != 3 else others


def _draw_channels(axes: Axes, lines: xr.DataArray, counts: xr.DataArray | None) -> None:
    axes.axhline(0, color="#cccccc", linewidth=0.6, zorder=0)
    draw_line(axes, lines[0], 0, "root mean square")
    draw_line(axes, lines[1], 1, "mean")
    if counts is not None:
        draw_line(axes, counts.clip(min=0) ** 0.5, 0, "Poisson noise", color="black", linestyle="--", linewidth=0.9)
    axes.legend(fontsize=SMALL, frameon=False)
    tidy(axes)


def convergence(result: xr.Dataset) -> Figure:
    """Draws the objective against the steps, and the final objectives of the restarts if there are several.

    Args:
        result: Dataset with `trace` ("check",), its coordinate `step`, and `restart_objective`.

    Raises:
        ValueError: where `result` has no trace.
    """
    trace = find_variable(result, "trace", "check")
    several = "restart_objective" in result and result["restart_objective"].size > 1
    figure = new_figure(2.5)
    axes = figure.subplots(1, 1 + several, squeeze=False)[0]
    step = trace["step"].values if "step" in trace.coords else np.arange(trace.size)
    values = trace.values.astype(float)
    finite = np.isfinite(values)
    marker = "." if finite.sum() < 30 else None
    axes[0].plot(step[finite], values[finite], color=COLOURS[0], linewidth=1.1, marker=marker)
    if finite.any() and values[finite].min() > 0 and values[finite].max() > 5 * values[finite].min():
        axes[0].set_yscale("log")
    axes[0].set_xlabel("step", fontsize=SMALL)
    axes[0].set_ylabel("objective", fontsize=SMALL)
    tidy(axes[0])
    if several:
        draw_restarts(axes[1], result)
    return figure


def restarts(result: xr.Dataset) -> Figure:
    """Draws the final objectives of the restarts, sorted, relative to the best; markers tell the status.

    Args:
        result: Dataset with `restart_objective` and, if there, `restart_status` ("restart",).

    Raises:
        ValueError: where `result` has no restarts.
    """
    find_variable(result, "restart_objective", "restart")
    figure = new_figure(2.7)
    draw_restarts(figure.subplots(), result)
    return figure


def comparison(
    result: xr.Dataset, truth_maps: ArrayLike, truth_spectra: ArrayLike, names: Sequence[str] | None = None
) -> Figure:
    """Draws the truth and, beside it, the estimate matched to it, with the spectral angles.

    An estimated spectrum is scaled to the true one by least squares and its map by the inverse, so that their
    product stays. True lines are grey.

    Args:
        result: as for `overview`.
        truth_maps: (pixels, K'), for the pixels that are not masked in the result.
        truth_spectra: (K', channels), for the channels that are not masked in the result.
        names: K' names of the true components.

    Raises:
        ValueError: where the truth does not fit the result.
    """
    maps_, spectra_ = find_variable(result, "maps"), find_variable(result, "spectra")
    true_maps = _like(maps_, float_array(truth_maps, "truth_maps").T, "truth_maps")
    true_spectra = _like(spectra_, float_array(truth_spectra, "truth_spectra"), "truth_spectra")
    names = [f"truth {k}" for k in range(len(true_maps))] if names is None else names
    check_instances(names, str, "names", '"Fe2O3"')
    if not len(true_maps) == len(true_spectra) == len(names):
        raise ValueError(
            f"truth_maps, truth_spectra and names have {len(true_maps)}, {len(true_spectra)} and {len(names)} "
            "components: give the same in all"
        )
    found = match(_live(spectra_), _live(true_spectra))
    shown = [two_dims(values)[0] for values in (maps_, spectra_, true_maps, true_spectra)]
    columns = [_COLUMN_WIDTHS[values.ndim] for values in shown[:2]]
    figure = new_figure(0.2 + 1.75 * len(names))
    widths = columns[0] + columns[1]
    cells = figure.subplots(len(names), len(widths), squeeze=False, width_ratios=widths)
    for k, row in enumerate(cells):
        j = int(found.order[k])
        scale = 1.0 if j < 0 else _least_squares(spectra_[j].values, true_spectra[k].values)
        estimates = [None, None] if j < 0 else [shown[0][j] / (scale or 1.0), shown[1][j] * scale]
        verdict = f"component {j}, {found.angles[k]:.1f}°" if j >= 0 else "no estimate"
        split, titles = len(columns[0]), (plain(names[k]), verdict)
        _draw_pair(figure, row[:split], shown[2][k], estimates[0], j, titles)
        _draw_pair(figure, row[split:], shown[3][k], estimates[1], j, titles, log=True)
    return figure


# Panels for the truth and its estimate, by the number of dims with "component": none for a single number, one for
# lines that share it, two for pictures.
_COLUMN_WIDTHS: dict[int, list[float]] = {1: [], 2: [1.8], 3: [1.0, 1.0]}


def _draw_pair(
    figure: Figure,
    cells: np.ndarray,
    truth: xr.DataArray,
    estimate: xr.DataArray | None,
    component: int,
    titles: tuple[str, str],
    log: bool = False,
) -> None:
    shade = GREY if component < 0 else colour(component)
    if len(cells) == 1:
        _draw_lines(cells[0], truth, estimate, component)
        cells[0].set_title(": ".join(titles), fontsize=TEXT, color=shade)
    elif len(cells) == 2:
        norm = picture_scale(truth.values, log)[0]
        draw_picture(figure, cells[0], truth, titles[0], log=log, norm=norm, bar=False)
        if estimate is None:
            cells[1].set_axis_off()
        else:
            draw_picture(figure, cells[1], estimate, log=log, first=False, norm=norm, bar=False)
        cells[1].set_title(titles[1], fontsize=TEXT, color=shade)


def _draw_lines(axes: Axes, truth: xr.DataArray, estimate: xr.DataArray | None, component: int) -> None:
    draw_line(axes, truth, 0, color="#bbbbbb", linewidth=3.0, linestyle="-")
    if estimate is not None:
        draw_line(axes, estimate, component)
    tidy(axes)
    axes.set_yticks([])


def _residual_profiles(result: xr.Dataset, img: SpectrumImage) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Root mean square per pixel, mean and root mean square per channel, a block of pixels at a time."""
    maps_, spectra_ = find_variable(result, "maps"), find_variable(result, "spectra")
    if maps_.shape[1:] + spectra_.shape[1:] != img.data.shape:
        raise ValueError(
            f"result is for {maps_.shape[1:] + spectra_.shape[1:]} and img has {img.data.shape}: "
            "give the image that was fitted"
        )
    m, s = maps_.values.reshape(len(maps_), -1), spectra_.values.reshape(len(spectra_), -1)
    pixels, channels = np.isfinite(m).all(axis=0), np.isfinite(s).all(axis=0)
    s = s[:, channels].astype(float)
    data = img.data.values.reshape(m.shape[1], -1)
    per_pixel = np.full(m.shape[1], np.nan)
    sums = np.zeros((2, s.shape[1]))
    for block in row_blocks(*data.shape):
        rows = block.start + np.flatnonzero(pixels[block])
        rest = data[rows][:, channels] - m[:, rows].T.astype(float) @ s
        per_pixel[rows] = np.sqrt(np.mean(rest**2, axis=1))
        sums += [rest.sum(axis=0), np.sum(rest**2, axis=0)]
    number = max(int(pixels.sum()), 1)
    profiles = np.full((2, 1, len(channels)), np.nan)
    profiles[:, 0, channels] = sums[0] / number, np.sqrt(sums[1] / number)
    shapes = [maps_[:1].copy(data=per_pixel.reshape(1, *maps_.shape[1:]))]
    shapes += [spectra_[:1].copy(data=profile.reshape(1, *spectra_.shape[1:])) for profile in profiles]
    return shapes[0], shapes[1], shapes[2]


def _like(template: xr.DataArray, rows: np.ndarray, name: str) -> xr.DataArray:
    """Puts rows of live values where the template has them, NaN elsewhere."""
    flat = template.values.reshape(len(template), -1)
    live = np.isfinite(flat).all(axis=0)
    if rows.ndim != 2 or rows.shape[1] != live.sum():
        raise ValueError(
            f"{name} has the shape {rows.shape} with components first, the result {live.sum()} live places: "
            "leave out of the truth what is masked in the result"
        )
    if not np.isfinite(rows).all():
        raise ValueError(f"{name} has values that are not finite: leave out of the truth what is masked in the result")
    full = np.full((len(rows), flat.shape[1]), np.nan)
    full[:, live] = rows
    coords = {dim: template.coords[dim] for dim in template.dims[1:] if dim in template.coords}
    return xr.DataArray(full.reshape(len(rows), *template.shape[1:]), dims=template.dims, coords=coords)


def _live(rows: xr.DataArray) -> np.ndarray:
    flat = rows.values.reshape(len(rows), -1)
    return flat[:, np.isfinite(flat).all(axis=0)]


def _least_squares(estimate: np.ndarray, truth: np.ndarray) -> float:
    """The factor that brings the estimate nearest to the truth, 0 for a zero spectrum."""
    power = np.nansum(estimate.astype(float) ** 2)
    return float(np.nansum(estimate.astype(float) * truth) / power) if power > 0 else 0.0


def find_variable(result: xr.Dataset, name: str, first: str = "component") -> xr.DataArray:
    """A variable of the result with its first dim, or a refusal that says where it comes from."""
    check_instance(result, xr.Dataset, "result", "solution.to_xarray(img)")
    if name not in result or result[name].dims[:1] != (first,):
        raise ValueError(f"result has no '{name}' with '{first}' first: give the Dataset of Solution.to_xarray")
    return result[name]


def check_image(img: SpectrumImage | None) -> None:
    """Refuse what is no image, where one may be given."""
    check_instance(img, (SpectrumImage, type(None)), "img", "the image that was fitted")


def _noted(figure: Figure, *notes: str) -> Figure:
    text = "; ".join(note for note in notes if note)
    if text:
        figure.suptitle(text, fontsize=TEXT)
    return figure
