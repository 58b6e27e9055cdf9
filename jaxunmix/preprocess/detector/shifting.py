"""Shifts of the energy axis from pixel to pixel, measured and undone. Public through `preprocess`."""

from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
import scipy.interpolate
import xarray as xr
from jaxtyping import Float

from ..._util.validation import check_choice, check_number, check_whole_number, float_array
from ...data.axes import as_mask, nth_live
from ...data.image import SpectrumImage
from ..provenance import Window, as_map, energies, energy_units, inside, take_step
from ..region import floating, over_channels

# The fewest channels of a window, and rounds of the shifts and what they are measured against.
LEAST, ROUNDS = 5, 12
# A change that is none, in channels, and the largest of a round.
SETTLED, TRUST = 1e-3, 1.0
# Channels on either side of the zero-loss peak where no window is given, and the largest shift.
BESIDE, MOST = 8, 5.0
# Widths of channels differ by no more than this part.
EVEN = 1e-3

Spectra = Float[np.ndarray, "pixels channels"]


class Axis(NamedTuple):
    """The live channels that shifts are measured in: their energies, the step, and which of the live ones."""

    energy: np.ndarray
    step: float
    within: np.ndarray


def measure_shifts(
    img: SpectrumImage,
    window: Window = None,
    *,
    rank: int = 1,
    per: Literal["pixel", "line"] = "pixel",
    most: float | int | None = None,
    place: float | int | None = None,
) -> xr.DataArray:
    r"""By how much the features of each pixel lie higher than those of the others.

    $x_p(E) \approx a_p r_p(E - \delta_p) + b_p$: the shift of least squares, by Gauss-Newton steps on the derivative of
    the reference r, starting from the highest cross-correlation with the mean at whole channels. The reference is the
    mean of the spectra, moved back by the shifts so far, or with a `rank` above 1 their projection onto so many
    singular vectors, for images of several phases (then `fit_drift` knows more). Both are taken in turn, as often as
    shifts still change. References are cubic splines.

    Args:
        img: the image, with one signal dim of even channels.
        window: (low, high) energies of a feature that all pixels have; None for all of the spectrum.
        rank: singular vectors of the reference; 1 is the mean.
        per: "pixel", or "line" for one shift of each row along the last navigation dim, from the sum of its pixels.
        most: the largest shift that is looked for, in units of the axis; None for 5 channels.
        place: the true energy of the window's peak. The shifts are then relative to it: the top of the aligned mean is
            found, and how far it lies from there is added. None: the mean of the shifts is 0.

    Returns:
        Over the navigation dims, in units of the energy axis (channels where it has no coordinate), positive where
        features lie at higher energies; NaN at masked pixels, and where the window of a pixel is flat.

    Raises:
        ValueError: more than one signal dim; channels of uneven width or masked within the window; fewer than 5 of
            them; a place outside the window; NaN; numbers out of their range.
    """
    what = "measure_shifts"
    axis = _axis(img, window, what)
    check_choice(per, ("pixel", "line"), f"{what}: per")
    check_whole_number(rank, f"{what}: rank", 1, len(axis.energy) - 1)
    limit = MOST if most is None else check_number(most, f"{what}: most", above=0) / abs(axis.step)
    if most is not None and limit > len(axis.energy) / 2:
        raise ValueError(f"{what}: most={most} is {limit:g} of {len(axis.energy)} channels; widen the window")
    limit = min(limit, len(axis.energy) / 2)
    if place is not None:
        place = check_number(place, f"{what}: place")
        low, high = axis.energy.min(), axis.energy.max()
        if not low <= place <= high:
            raise ValueError(f"{what}: place={place:g} is not in the window, {low:g} to {high:g}; widen or move it")
    spectra = img.finite_live()[:, axis.within].astype(np.float64)
    lines = _lines(img, per)
    sums = np.zeros((int(lines.max()) + 1, spectra.shape[1]))
    np.add.at(sums, lines, spectra)
    shifts = _shifts_of(sums / max(np.abs(sums).max(), 1e-300), rank, limit)
    known = np.isfinite(shifts)
    if not known.any():
        raise ValueError(f"{what}: all spectra are flat between {axis.energy.min():g} and {axis.energy.max():g}")
    if place is None:
        shifts = shifts - np.nanmean(shifts[lines])
    else:
        top = _top(np.mean(_move(sums[known], -shifts[known]), axis=0))
        shifts = shifts + top + (axis.energy[0] - place) / axis.step
    return as_map(img, (shifts * axis.step)[lines], "shift", energy_units(img))


def align(
    img: SpectrumImage,
    reference: Any = None,
    window: Window = None,
    *,
    rank: int = 1,
    per: Literal["pixel", "line"] = "pixel",
    most: float | int | None = None,
    place: float | int | None = None,
    how: Literal["spline", "fourier"] = "spline",
) -> SpectrumImage:
    r"""Undo shifts of the energy axis: $y_p(E) = x_p(E + \delta_p)$, by interpolation.

    Interpolated counts are no counts any more: neighbouring channels become correlated, and the noise is less halfway
    between channels than on them, so that it changes with the shift. Under Poisson, or where few counts are to be
    unmixed, leave the data as they are and give the shifts to the fit: `fit_drift(img, rank, shifts=...)`.

    Channels at the ends for which some pixel has no data are left out (`keep_channels`). Not reversible.

    Args:
        img: the image, with one signal dim of even channels.
        reference: None measures the shifts in the image itself; an image that was taken with it, such as the low loss,
            measures them there; and an array over the navigation dims, such as of `measure_shifts`, gives them, in
            units of the energy axis, positive where features lie higher.
        window: of `measure_shifts`; of a low loss None is the highest peak of its mean and 8 channels beside it.
        rank: as in `measure_shifts`.
        per: as in `measure_shifts`.
        most: as in `measure_shifts`.
        place: as in `measure_shifts`; None is 0 where the reference is an image whose axis holds 0, a low loss: the
            zero-loss peak comes to lie there.
        how: "spline", cubic, or "fourier", exact for spectra without features narrower than two channels that end as
            they begin.

    Raises:
        ValueError: as `measure_shifts`; shifts of another shape or not finite, or so large that no channel is left;
            another number of pixels in the reference, or a window of it that misses the zero loss.
    """
    what = "align"
    axis = _axis(img, None, what)
    check_choice(how, ("spline", "fourier"), f"{what}: how")
    if reference is None or isinstance(reference, SpectrumImage):
        source = img if reference is None else _check_pair(img, reference)
        if reference is not None:
            window, place = _zero_loss(source, window, place)
        shifts = measure_shifts(source, window, rank=rank, per=per, most=most, place=place)
    else:
        shifts = reference
    moves = _as_shifts(img, shifts) / axis.step
    values = img.finite_live().astype(np.float64)
    ends = int(np.ceil(max(-moves.min(), 0))), int(np.ceil(max(moves.max(), 0)))
    if sum(ends) > values.shape[1] - LEAST:
        raise ValueError(f"{what}: shifts of {moves.min():g} to {moves.max():g} channels leave none; crop less")
    moved = _move(values, -moves) if how == "spline" else _turn(values, moves)
    shown = {"shifts": moves * axis.step, "window": window, "place": place, "how": how}
    kept = over_channels(img, np.arange(values.shape[1]) >= ends[0], 0).astype(bool)
    kept &= over_channels(img, np.arange(values.shape[1]) < values.shape[1] - ends[1], 0).astype(bool)
    done = take_step(img, what, shown, _into(img, moved))
    if not any(ends):
        return done
    return replace(done, keep_channels=as_mask(kept, img.data, img.signal_dims, "keep_channels"))


def _axis(img: SpectrumImage, window: Window, what: str) -> Axis:
    """The live channels of a window, checked."""
    energy = energies(img, what)
    keep, dim = img.keep_channels, img.signal_dims[0]
    live = np.arange(len(energy)) if keep is None else np.flatnonzero(keep.values)
    within = np.ones(len(live), bool) if window is None else inside(img, energy[live], window, f"{what}: window")
    chosen = live[within]
    if len(chosen) < LEAST:
        raise ValueError(
            f"{what}: {len(chosen)} live channels of '{dim}'; shifts need {LEAST} or more: widen the window"
        )
    gaps = np.flatnonzero(np.diff(chosen) > 1)
    if len(gaps):
        place = img.place(channel=int(chosen[gaps[0]]))
        raise ValueError(f"{what}: '{dim}' has masked channels after {place}; choose a window without, or crop")
    used = energy[chosen]
    step = (used[-1] - used[0]) / (len(used) - 1)
    uneven = np.abs(used - used[0] - step * np.arange(len(used))) > EVEN * abs(step) * max(len(used) / 100, 1)
    if uneven.any():
        place = img.place(channel=int(chosen[np.argmax(uneven)]))
        raise ValueError(
            f"{what}: '{dim}' is uneven at {place}; bring it onto an even axis with preprocess.interpolate"
        )
    return Axis(used, float(step), within)


def _lines(img: SpectrumImage, per: str) -> np.ndarray:
    """For each live pixel the number of what it shares its shift with."""
    count = img.grid.size
    if per == "pixel" or not img.navigation_dims:
        return np.arange(count)
    rows = np.repeat(np.arange(int(np.prod(img.navigation_shape[:-1]))), img.navigation_shape[-1])
    rows = rows if img.keep_pixels is None else rows[img.keep_pixels.values.ravel()]
    return np.unique(rows, return_inverse=True)[1]


def _shifts_of(spectra: Spectra, rank: int, most: float) -> Float[np.ndarray, " pixels"]:
    """Shifts in channels, NaN of flat spectra."""
    flat = np.ptp(spectra, axis=1) <= 1e-12 * np.abs(spectra).max(axis=1)
    mean = spectra.mean(axis=0)
    shifts = np.where(flat, 0, _whole_channels(spectra, mean, int(most)))
    for _ in range(ROUNDS):
        aligned = _move(spectra, -shifts)
        reference = np.broadcast_to(aligned.mean(axis=0), spectra.shape) if rank == 1 else _project(aligned, rank)
        step = _gauss_newton(spectra, reference, shifts)
        new = np.clip(shifts + np.clip(np.where(flat, 0, step), -TRUST, TRUST), -most, most)
        new = new - new[~flat].mean() if not flat.all() else new
        settled = np.abs(new - shifts).max() < SETTLED
        shifts = new
        if settled:
            break
    return np.where(flat, np.nan, shifts)


def _whole_channels(spectra: Spectra, mean: np.ndarray, most: int) -> np.ndarray:
    """The whole channels of highest cross-correlation with the mean, both about their own means."""
    size = 2 * spectra.shape[1]
    ours, theirs = (np.fft.rfft(x - x.mean(axis=-1, keepdims=True), size) for x in (spectra, mean))
    correlation = np.fft.irfft(ours * np.conj(theirs), size)
    lags = np.arange(-most, most + 1)
    return lags[np.argmax(correlation[:, lags], axis=1)].astype(float)


def _gauss_newton(spectra: Spectra, reference: Spectra, shifts: np.ndarray) -> np.ndarray:
    """The step of each shift, with height and baseline eliminated."""
    here = _move(reference, shifts)
    slope = -_move(reference, shifts, 1)
    # x ~ a r + b + a step r': projected off 1 and r, what is left is a step r'.
    centred = [rows - rows.mean(axis=1, keepdims=True) for rows in (spectra, here, slope)]
    x, r, t = centred
    size = np.maximum((r**2).sum(axis=1, keepdims=True), 1e-300)
    height = (x * r).sum(axis=1, keepdims=True) / size
    t = t - (t * r).sum(axis=1, keepdims=True) / size * r
    x = x - height * r
    bend = height[:, 0] * (t**2).sum(axis=1)
    return np.where(bend > 0, (x * t).sum(axis=1) / np.where(bend > 0, bend, 1), 0)


def _project(spectra: Spectra, rank: int) -> Spectra:
    leading = np.linalg.eigh(spectra.T @ spectra)[1][:, -rank:]
    return spectra @ leading @ leading.T


def _move(spectra: Spectra, shifts: np.ndarray, order: int = 0) -> Spectra:
    """Spectra whose features lie higher by the shifts, or their derivative; the ends continue as they are."""
    if not len(spectra):
        return spectra
    channels = spectra.shape[1]
    # Cubic splines of all pixels at once: their pieces are polynomials of the distance from the channel below.
    pieces = scipy.interpolate.CubicSpline(np.arange(channels), spectra, axis=1).c
    place = np.clip(np.arange(channels) - shifts[:, None], 0, channels - 1)
    below = np.minimum(place.astype(int), channels - 2)
    away, rows = place - below, np.arange(len(spectra))[:, None]
    a, b, c, d = (pieces[power][below, rows] for power in range(4))
    return ((a * away + b) * away + c) * away + d if order == 0 else (3 * a * away + 2 * b) * away + c


def _turn(spectra: Spectra, moves: np.ndarray) -> Spectra:
    """Spectra moved down by the shifts, by the phase of their Fourier transform, less the line between their ends."""
    channels = spectra.shape[1]
    ramp = np.arange(channels) / (channels - 1)
    first, rise = spectra[:, :1], spectra[:, -1:] - spectra[:, :1]
    phase = np.exp(2j * np.pi * np.fft.rfftfreq(channels) * moves[:, None])
    moved = np.fft.irfft(np.fft.rfft(spectra - first - rise * ramp) * phase, channels)
    return moved + first + rise * (ramp + moves[:, None] / (channels - 1))


def _top(spectrum: np.ndarray) -> float:
    """The place of the highest point of a cubic spline, in channels."""
    fine = np.linspace(0, len(spectrum) - 1, 100 * len(spectrum))
    curve = scipy.interpolate.CubicSpline(np.arange(len(spectrum)), spectrum)(fine)
    best = int(np.clip(np.argmax(curve), 1, len(fine) - 2))
    low, top, high = curve[best - 1 : best + 2]
    bend = low - 2 * top + high
    return float(fine[best] + (fine[1] * (low - high) / (2 * bend) if bend < 0 else 0))


def _check_pair(img: SpectrumImage, reference: SpectrumImage) -> SpectrumImage:
    """A reference of the same map, with the pixels of the image."""
    if reference.navigation_shape != img.navigation_shape:
        raise ValueError(
            f"align: the reference is a map of {reference.navigation_shape}, the image of {img.navigation_shape}; crop "
            "or bin both alike"
        )
    return replace(reference, keep_pixels=img.keep_pixels)


def _zero_loss(low: SpectrumImage, window: Window, place: float | int | None) -> tuple[Window, float | int | None]:
    """The window about the zero-loss peak, and its place."""
    axis = _axis(low, None, "align: the reference")
    holds_zero = low.signal_dims[0] in low.data.coords and axis.energy.min() <= 0 <= axis.energy.max()
    place = 0.0 if place is None and holds_zero else place
    if window is None:
        top = int(np.argmax(low.finite_live().mean(axis=0)))
        ends = axis.energy[max(top - BESIDE, 0)], axis.energy[min(top + BESIDE, len(axis.energy) - 1)]
        window = (float(min(ends)), float(max(ends)))
    if place is not None:
        chosen = _axis(low, window, "align: the reference").energy
        if not chosen.min() <= place <= chosen.max():
            raise ValueError(
                f"align: window={window} misses the zero loss at {place:g}; widen it, or give the place of its peak"
            )
    return window, place


def _as_shifts(img: SpectrumImage, shifts: Any) -> np.ndarray:
    """Given shifts at the live pixels; 0 where they could not be measured is an error."""
    if isinstance(shifts, xr.DataArray) and set(shifts.dims) == set(img.navigation_dims):
        shifts = shifts.transpose(*img.navigation_dims)
    values = float_array(shifts, "align: shifts")
    if values.shape != img.navigation_shape:
        raise ValueError(f"align: shifts of shape {values.shape}; give one for each pixel, {img.navigation_shape}")
    values = values.ravel() if img.keep_pixels is None else values[img.keep_pixels.values]
    bad = ~np.isfinite(values)
    if bad.any():
        place = img.place(nth_live(img.keep_pixels, int(np.argmax(bad))))
        raise ValueError(f"align: the shift at {place} is {values[bad][0]}; mask this pixel (preprocess.mask)")
    return values


def _into(img: SpectrumImage, live: Spectra) -> np.ndarray:
    """The values of the image with its live part replaced."""
    values = img.data.values.astype(floating(img)).reshape(-1, live.shape[1] if img.keep_channels is None else -1)
    values = values.reshape(int(np.prod(img.navigation_shape)), -1)
    rows = np.arange(len(values)) if img.keep_pixels is None else np.flatnonzero(img.keep_pixels.values.ravel())
    columns = np.arange(values.shape[1])
    columns = columns if img.keep_channels is None else np.flatnonzero(img.keep_channels.values)
    values[np.ix_(rows, columns)] = live
    return values.reshape(img.data.shape)
