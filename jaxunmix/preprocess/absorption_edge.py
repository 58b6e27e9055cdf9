"""What is specific to X-ray absorption: optical density, edges and their normalisation. Public through `preprocess`."""

from typing import Any

import numpy as np
import xarray as xr

from .._util.validation import check_flag, check_number, check_whole_number, float_array
from ..data.image import SpectrumImage
from .provenance import (
    Limits,
    Window,
    apply_operation,
    as_map,
    check_image,
    energies,
    energy_units,
    finite_or_nan,
    inside,
    live_energies,
    on_channels,
    operation,
    polynomial,
    refuse,
    take_step,
)
from .region import floating, over_pixels


def optical_density(img: SpectrumImage, i0: Any) -> SpectrumImage:
    """Optical density -ln(X / i0) of transmitted counts. Reversible; masked cells without one become NaN.

    Args:
        img: the image of transmitted intensities.
        i0: the incident intensity: one number, or a spectrum over the signal dims.

    Raises:
        ValueError: counts or i0 of zero or below; the message names the first pixel.
    """
    check_image(img, "optical_density")
    one = isinstance(i0, int | float | np.number)
    incident = on_channels(img, np.full(img.signal_shape, i0) if one else i0, "optical_density")
    live_i0 = incident if img.keep_channels is None else incident[img.keep_channels.values]
    if (live_i0 <= 0).any():
        raise ValueError("optical_density: i0 is zero or below at live channels; mask these channels")
    low = img.finite_live().min(axis=1) <= 0
    refuse(img, low, "optical_density: counts of zero or below", "leave them out with mask, or bin first")
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.divide(img.data.values, incident.astype(floating(img)), dtype=floating(img))
        values = finite_or_nan(img, np.negative(np.log(ratio, out=ratio), out=ratio))
    undone = [
        operation("multiply", -1.0),
        operation("exp", 0),
        operation("multiply", incident, img.signal_dims),
    ]
    return take_step(img, "optical_density", {}, values, undone, "OD")


def normalise_edge(
    img: SpectrumImage,
    pre: Window = None,
    post: Window = None,
    *,
    degree: int | None = None,
    e0: Any = None,
    flatten: bool = False,
) -> SpectrumImage:
    r"""Scale each spectrum to 0 before the edge and 1 after it. Reversible.

    Two forms. Without `degree`: (X - a) / (b - a), a and b the values at the lowest and highest live energy, as
    for 2D-XAS (Tanimoto et al., J. Phys. Commun. 5 (2021) 115005), or with windows the means in them.

    With `degree`, the usual one for raw mu(E) (Ravel and Newville, J. Synchrotron Rad. 12 (2005) 537): a straight
    line p(E) is fitted to the channels in `pre` and a polynomial q(E) to those in `post` by least squares, and
    (mu(E) - p(E)) / (q(e0) - p(e0)); with `flatten` also, from e0 on, less [q(E) - p(E)] / [q(e0) - p(e0)] - 1, so
    that the post-edge oscillates about 1. The same channels are fitted in all pixels, whatever their e0.

    Args:
        img: the image, with one signal dim.
        pre: (low, high) before the edge, None for no limit. Energies in the unit of the axis, be it eV or keV, not
            counted from e0: for -150 to -30 eV give (e0 - 150, e0 - 30).
        post: (low, high) after the edge.
        degree: of the polynomial after the edge: 1, 2 or 3. It matters: the higher, the more of a slow oscillation
            is taken for background.
        e0: where the step is measured: an energy, or a map of them; None for `edge_energy` between the windows.
        flatten: take the shape of the post-edge polynomial out.

    Raises:
        ValueError: more than one signal dim; a window without channels, or with fewer than its polynomial needs;
            windows that overlap, or an e0 that is not between them; a pixel without a step, with `degree` a positive
            one, or without an edge where none is given.
    """
    energy = live_energies(img, "normalise_edge")
    check_flag(flatten, "normalise_edge: flatten")
    if degree is not None:
        check_whole_number(degree, "normalise_edge: degree")
        return _normalise_by_curves(img, energy, pre, post, degree, e0, flatten)
    if e0 is not None or flatten:
        raise ValueError("normalise_edge: e0 and flatten are for fitted curves; give degree=1, 2 or 3 too")
    live = img.finite_live()
    before = energy == energy.min() if pre is None else inside(img, energy, pre, "normalise_edge: pre")
    after = energy == energy.max() if post is None else inside(img, energy, post, "normalise_edge: post")
    a = live[:, before].mean(axis=1, dtype=np.float64)
    b = live[:, after].mean(axis=1, dtype=np.float64)
    refuse(img, a == b, "normalise_edge: no step", "leave these pixels out with preprocess.mask")
    base, step = over_pixels(img, a, 0), over_pixels(img, b - a, 1)
    values = np.subtract(img.data.values, base.astype(floating(img)), dtype=floating(img))
    values /= step.astype(floating(img))
    undone = [
        operation("multiply", step, img.navigation_dims),
        operation("add", base, img.navigation_dims),
    ]
    shown = {"pre": None if pre is None else list(pre), "post": None if post is None else list(post)}
    return take_step(img, "normalise_edge", shown, values, undone, "1")


def _normalise_by_curves(
    img: SpectrumImage,
    energy: np.ndarray,
    pre: Window,
    post: Window,
    degree: int,
    e0: Any,
    flatten: bool,
) -> SpectrumImage:
    if pre is None or post is None or degree not in (1, 2, 3):
        raise ValueError(f"normalise_edge: degree={degree}, pre={pre}, post={post}; give both windows, and 1, 2 or 3")
    before = _channels(img, energy, pre, "pre", 2)
    after = _channels(img, energy, post, "post", degree + 1)
    low, high = float(energy[before].max()), float(energy[after].min())
    if low >= high:
        raise ValueError(
            f"normalise_edge: pre ends at {low:g}, but post begins at {high:g}; the edge lies between them"
        )
    place = _edges(img, e0, low, high)
    everywhere = energies(img, "normalise_edge")
    middle, half = (everywhere.max() + everywhere.min()) / 2, np.ptp(everywhere) / 2
    x, x0 = (everywhere - middle) / half, (place - middle) / half
    live, x_live = img.finite_live(), (energy - middle) / half
    line = _fitted(live[:, before], x_live[before], degree, 1)
    curve = _fitted(live[:, after], x_live[after], degree, degree) - line
    powers = x0[:, None] ** np.arange(degree + 1)
    step = (curve * powers).sum(axis=1)
    remedy = "check the windows, or leave these pixels out with preprocess.mask"
    refuse(img, step <= 0, "normalise_edge: no positive step", remedy)
    scale = over_pixels(img, step, 1)
    undone = [
        operation("multiply", scale, img.navigation_dims),
        polynomial(_over_pixels(img, line), x),
    ]
    values = img.data.values.astype(floating(img), copy=False)
    values = apply_operation(values, polynomial(_over_pixels(img, -line), x))
    values /= scale.astype(floating(img))
    if flatten:
        shape, start = curve / step[:, None], over_pixels(img, x0, 0)[..., 0]
        shape[:, 0] -= 1
        values = apply_operation(values, polynomial(_over_pixels(img, -shape), x, start))
        undone.insert(0, polynomial(_over_pixels(img, shape), x, start))
    edge = over_pixels(img, place, np.nan)[..., 0]
    shown = {"pre": list(pre), "post": list(post), "degree": degree, "flatten": flatten}
    found = {"e0": edge, "step": over_pixels(img, step, np.nan)[..., 0]}
    return take_step(img, "normalise_edge", shown | found, values, undone, "1")


def _channels(img: SpectrumImage, energy: np.ndarray, window: Limits, name: str, least: int) -> np.ndarray:
    """Which channels lie in the window, at least as many as its polynomial has coefficients."""
    within = inside(img, energy, window, f"normalise_edge: {name}")
    if within.sum() < least:
        raise ValueError(
            f"normalise_edge: {name}={window} holds {within.sum()} live channels of '{img.signal_dims[0]}', "
            f"and its polynomial has {least} coefficients; widen the window or lower the degree"
        )
    return within


def _fitted(y: np.ndarray, x: np.ndarray, size: int, degree: int) -> np.ndarray:
    """Least-squares polynomials through the rows of y: (pixels, size + 1), ascending, zero above the degree."""
    solve = np.linalg.pinv(x[:, None] ** np.arange(degree + 1))
    return np.pad(y.astype(np.float64) @ solve.T, ((0, 0), (0, size - degree)))


def _over_pixels(img: SpectrumImage, rows: np.ndarray) -> np.ndarray:
    """(live pixels, terms) -> (*navigation, terms), 0 where masked."""
    return np.concatenate([over_pixels(img, row, 0) for row in rows.T], axis=-1)


def _edges(img: SpectrumImage, e0: Any, low: float, high: float) -> np.ndarray:
    """The e0 of each live pixel, (pixels,), checked to lie between the windows."""
    if e0 is None:
        place = _live(img, edge_energy(img, (low, high)))
        refuse(img, np.isnan(place), "normalise_edge: no edge between pre and post", "give e0, or leave them out")
        return place
    if isinstance(e0, xr.DataArray) and set(e0.dims) == set(img.navigation_dims):
        e0 = e0.transpose(*img.navigation_dims)
    given = float_array(e0, "normalise_edge: e0")
    if given.ndim and given.shape != img.navigation_shape:
        raise ValueError(f"normalise_edge: e0 of shape {given.shape}; give a number or {img.navigation_shape}")
    place = _live(img, np.broadcast_to(given, img.navigation_shape))
    outside = ~((place >= low) & (place <= high))
    where = f"e0 is not between the end of pre ({low:g}) and the start of post ({high:g})"
    refuse(img, outside, f"normalise_edge: {where}", f"it is in the unit of '{img.signal_dims[0]}'")
    return place


def _live(img: SpectrumImage, values: Any) -> np.ndarray:
    flat = np.asarray(values).ravel()
    return flat if img.keep_pixels is None else flat[img.keep_pixels.values.ravel()]


def edge_energy(
    img: SpectrumImage, window: Window = None, *, level: float | int | None = None, channels: int = 5
) -> xr.DataArray:
    """Energy of the absorption edge in each pixel: of the steepest rise, or where a level is crossed.

    The median of each three neighbouring channels takes single glitches out; then value and slope come from
    quadratics fitted to as many channels about each as `channels` says (Savitzky and Golay, Anal. Chem. 36 (1964)
    1627, on any grid). The place of the largest slope is refined by a parabola through three slopes. That place
    may jump where an edge has two steep parts; the half height of a spectrum after `normalise_edge`, `level=0.5`,
    does not.

    Args:
        img: the image, with one signal dim.
        window: (low, high) energies to look in; None for all live channels.
        level: look for the last rise through this value before the highest point, in place of the steepest rise.
        channels: how many are fitted at a time, an odd number from 3; more for noisier data.

    Returns:
        (*navigation), in units of the energy; NaN at masked pixels, and where nothing rises within the window or
        the slope is largest at its border.

    Raises:
        ValueError: more than one signal dim; an even number of channels or fewer than 3; fewer than three channels
            in the window that have all their neighbours.
    """
    energy = live_energies(img, "edge_energy")
    check_whole_number(channels, "edge_energy: channels")
    level = None if level is None else check_number(level, "edge_energy: level")
    order = np.argsort(energy)
    energy = energy[order]
    within = np.ones(len(energy), bool) if window is None else inside(img, energy, window, "edge_energy: window")
    within[: channels // 2] = within[len(energy) - channels // 2 :] = False
    if channels % 2 == 0 or channels < 3 or within.sum() < 3:
        raise ValueError(
            f"edge_energy: {within.sum()} channels of '{img.signal_dims[0]}' in window={window} have "
            f"{channels // 2} neighbours on both sides; give an odd number of channels and a window with 3 such"
        )
    y = _without_glitches(img.finite_live()[:, order].astype(floating(img)))
    if level is None:
        y -= y[:, :1]  # so that the slopes of a constant spectrum are zero and not what rounding makes of them
    rows = np.flatnonzero(within)
    fitted = y @ local_fits(energy, rows, channels, 1 if level is None else 0).astype(y.dtype).T
    found = _steepest(energy[rows], fitted) if level is None else _crossing(energy[rows], fitted, level)
    return as_map(img, found, "edge_energy", energy_units(img))


def _without_glitches(y: np.ndarray) -> np.ndarray:
    """The median of each three neighbours; the two ends as they are."""
    left, middle, right = y[:, :-2], y[:, 1:-1], y[:, 2:]
    low, high = np.minimum(left, right), np.maximum(left, right)
    out = y.copy()
    np.clip(middle, low, high, out=out[:, 1:-1])
    return out


def local_fits(energy: np.ndarray, rows: np.ndarray, channels: int, derivative: int) -> np.ndarray:
    """Operator (rows, all channels) to the value or slope of the quadratics about the channels `rows`."""
    near = rows[:, None] + np.arange(channels) - channels // 2
    solve = np.linalg.pinv((energy[near] - energy[rows][:, None])[..., None] ** np.arange(3))
    out = np.zeros((len(rows), len(energy)))
    np.put_along_axis(out, near, solve[:, derivative], axis=1)
    return out


def _steepest(energy: np.ndarray, slope: np.ndarray) -> np.ndarray:
    top = slope.argmax(axis=1)
    at = np.clip(top, 1, len(energy) - 2)[:, None] + np.arange(-1, 2)
    s, x = np.take_along_axis(slope, at, axis=1).astype(np.float64), energy[at]
    # of the parabola through the three: divided differences
    first = (s[:, 1] - s[:, 0]) / (x[:, 1] - x[:, 0])
    second = ((s[:, 2] - s[:, 1]) / (x[:, 2] - x[:, 1]) - first) / (x[:, 2] - x[:, 0])
    with np.errstate(divide="ignore", invalid="ignore"):
        place = (x[:, 0] + x[:, 1]) / 2 - first / (2 * second)
    inner = (top > 0) & (top < len(energy) - 1) & (s[:, 1] > 0)
    return np.where(inner, np.where(second < 0, place, x[:, 1]), np.nan)


def _crossing(energy: np.ndarray, y: np.ndarray, level: float | int) -> np.ndarray:
    index = np.arange(len(energy) - 1)
    rises = (y[:, :-1] < level) & (y[:, 1:] >= level) & (index < y.argmax(axis=1)[:, None])
    last = np.where(rises.any(axis=1), (rises * (index + 1)).max(axis=1) - 1, 0)[:, None]
    low, high = np.take_along_axis(y, last, axis=1)[:, 0], np.take_along_axis(y, last + 1, axis=1)[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        place = energy[last[:, 0]] + (level - low) / (high - low) * np.diff(energy)[last[:, 0]]
    return np.where(rises.any(axis=1), place, np.nan)
