"""What a fit of known spectra is made from, checked: the references, their derivatives, and the weights of the data."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import scipy.interpolate
import xarray as xr
from jaxtyping import Float

from .._util.validation import check_several, float_array
from ..data.axes import nth_live
from ..data.image import SpectrumImage
from ..preprocess.provenance import energies, live_energies

# Degree of the splines whose derivatives are taken, and how many channels in a row they need.
DEGREE = 5
# A term of which less than this part is independent of those before it has errors beyond a million times the noise.
INDEPENDENT = 1e-6


class Design(NamedTuple):
    """The known spectra of a fit, a row for each term."""

    rows: Float[np.ndarray, "terms channels"]
    names: tuple[str, ...]


def as_references(img: SpectrumImage, references: Any) -> Design:
    """References at the live channels of an image, after checking that they are on its axis."""
    energies(img, "mlls")
    names, axis, values = _label(img, references)
    what = "mlls: references"
    if values.ndim != 2 or not len(values):
        raise ValueError(f"{what} of shape {values.shape}; give (K, channels), such as spectrum[None] for a single one")
    _check_axis(img, axis)
    channels, keep = img.data.sizes[img.signal_dims[0]], img.keep_channels
    live = channels if keep is None else int(keep.sum())
    if values.shape[1] not in (channels, live):
        raise ValueError(
            f"{what} have {values.shape[1]} channels, the image {channels}; bring them onto its axis with "
            "preprocess.interpolate(references, energies)"
        )
    if keep is not None and values.shape[1] == channels:
        values = values[:, keep.values]
    bad = ~np.isfinite(values)
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        place = img.place(channel=nth_live(keep, column))
        raise ValueError(f"{what}[{row}] is {values[row, column]} at {place}; leave this channel out (preprocess.mask)")
    empty = ~values.any(axis=1)
    if empty.any():
        raise ValueError(f"{what}[{int(np.argmax(empty))}] is zero at all live channels; leave it out")
    return Design(values, names or tuple(map(str, range(len(values)))))


def _label(img: SpectrumImage, references: Any) -> tuple[tuple[str, ...], np.ndarray | None, np.ndarray]:
    """Names and energies, where there are any, and values (K, channels)."""
    if isinstance(references, SpectrumImage):
        values = float_array(references.live(), "mlls: references")
        energy = live_energies(references, "mlls: references")
        return (), energy if references.signal_dims[0] in references.data.coords else None, values
    if not isinstance(references, xr.DataArray):
        return (), None, float_array(references, "mlls: references")
    if references.ndim == 2 and references.dims[0] == img.signal_dims[0]:
        references = references.T
    values = float_array(references, "mlls: references")
    if references.ndim != 2:
        return (), None, values
    first, last = references.dims
    axis = float_array(references.coords[last], "mlls: energies of references") if last in references.coords else None
    return tuple(map(str, references.coords[first].values)) if first in references.coords else (), axis, values


def _check_axis(img: SpectrumImage, axis: np.ndarray | None) -> None:
    """Refuse references whose channels lie elsewhere, by more than a thousandth of a channel."""
    dim = img.signal_dims[0]
    if axis is None or dim not in img.data.coords:
        return
    ours = [energies(img, "mlls")] + ([] if img.keep_channels is None else [live_energies(img, "mlls")])
    width = np.abs(np.diff(ours[0])).min(initial=np.inf)
    if any(axis.shape == own.shape and np.abs(axis - own).max() <= 1e-3 * width for own in ours):
        return
    unit = img.data.coords[dim].attrs.get("units", "")
    raise ValueError(
        f"mlls: references are on another {dim} axis ({len(axis)} channels, {axis[0]:.7g} to {axis[-1]:.7g}) than the "
        f"image ({len(ours[0])} channels, {ours[0][0]:.7g} to {ours[0][-1]:.7g} {unit}".rstrip()
        + f"); bring them onto it with preprocess.interpolate(references, img.data.{dim}.values)"
    )


def with_derivatives(img: SpectrumImage, references: Design, shifts: bool, broadenings: bool) -> Design:
    """The references, their first derivatives with `shifts`, and their second ones with `broadenings`.

    Derivatives are those of the interpolating spline of degree 5, in each run of neighbouring live channels.
    """
    orders = [order for order, wanted in ((1, shifts), (2, broadenings)) if wanted]
    if not orders:
        return references
    energy = live_energies(img, "mlls")
    parts = [np.empty_like(references.rows) for _ in orders]
    for run in _runs(img):
        if run.stop - run.start <= DEGREE:
            place = img.place(channel=nth_live(img.keep_channels, run.start))
            raise ValueError(
                f"mlls: shifts and broadenings need {DEGREE + 1} live channels in a row for derivatives of the "
                f"references; from {place} there are {run.stop - run.start}; mask these too, or keep more"
            )
        order = np.argsort(energy[run])
        spline = scipy.interpolate.make_interp_spline(energy[run][order], references.rows[:, run].T[order], DEGREE)
        for part, nu in zip(parts, orders, strict=True):
            part[:, run] = spline(energy[run], nu).T
    suffixes = [f"{name}{'′' * order}" for order in orders for name in references.names]
    return Design(np.concatenate([references.rows, *parts]), (*references.names, *suffixes))


def _runs(img: SpectrumImage) -> list[slice]:
    """Slices of the live channels between which none is masked."""
    keep = img.keep_channels
    place = np.arange(img.data.sizes[img.signal_dims[0]]) if keep is None else np.flatnonzero(keep.values)
    ends = [0, *(np.flatnonzero(np.diff(place) > 1) + 1), len(place)]
    return [slice(int(a), int(b)) for a, b in pairwise(ends)]


def with_power_laws(img: SpectrumImage, design: Design, exponents: Sequence[float | int]) -> Design:
    """The terms and (E / E_0)^-r for each exponent r, with E_0 the lowest live energy."""
    check_several(exponents, "mlls: background_exponents", "(2.0, 4.0)")
    rates = float_array(list(exponents), "mlls: background_exponents")
    if not rates.size:
        return design
    if rates.ndim != 1 or not np.isfinite(rates).all() or len(set(rates.tolist())) < len(rates):
        raise ValueError(f"mlls: background_exponents={exponents}; give different finite numbers, such as (2.0, 4.0)")
    energy = live_energies(img, "mlls")
    if energy.min() <= 0:
        raise ValueError(
            f"mlls: background_exponents need energies above 0, but the axis begins at {energy.min():g}; "
            "leave these channels out with preprocess.crop"
        )
    # In double precision: of floats of 32 bits little would be left of the differences between two exponents.
    laws = [np.exp(-rate * np.log(energy / energy.min())) for rate in rates]
    return Design(np.stack([*design.rows, *laws]), (*design.names, *(f"E^-{rate:g}" for rate in rates)))


def check_independent(design: Design, weighted: Float[np.ndarray, "terms channels"]) -> None:
    """Refuse more terms than the channels can determine, and a term that is a combination of others."""
    terms, channels = weighted.shape
    if terms >= channels:
        raise ValueError(
            f"mlls: {terms} terms ({', '.join(design.names)}) for {channels} live channels; give fewer references, "
            "or keep more channels"
        )
    unit = weighted / np.linalg.norm(weighted, axis=1, keepdims=True)
    left = np.abs(np.diag(np.linalg.qr(unit.T, mode="r")))
    if not (left > INDEPENDENT).all():
        name = design.names[int(np.argmax(~(left > INDEPENDENT)))]
        raise ValueError(f"mlls: term {name} of the references is a combination of those before it; leave it out")


def as_variance(img: SpectrumImage, variance: Any) -> Float[np.ndarray, "pixels_or_1 channels"]:
    """Variances of the live entries, in one row where they are the same in all pixels."""
    live, what = img.live().shape, "mlls: variance"
    if isinstance(variance, SpectrumImage):
        variance = variance.data
    if isinstance(variance, xr.DataArray) and set(variance.dims) == set(img.data.dims):
        variance = variance.transpose(*img.data.dims)
    values = float_array(variance, what)
    full = img.data.shape
    if values.shape != live or values.ndim < 2:
        values = _over_live(img, values, full, what)
    bad = ~(np.isfinite(values) & (values > 0))
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        pixel = nth_live(img.keep_pixels, row) if len(values) == live[0] else None
        place = img.place(pixel, nth_live(img.keep_channels, column))
        raise ValueError(
            f"{what} is {values[row, column]:g} at {place}; give variances above 0 (Camera(readout_sd=...).variance), "
            "and leave out entries without data with preprocess.mask"
        )
    return values


def _over_live(img: SpectrumImage, values: np.ndarray, full: tuple[int, ...], what: str) -> np.ndarray:
    """The live part of what broadcasts to the whole image; one row where it does not depend on the pixel."""
    try:
        np.broadcast_shapes(values.shape, full)
        fits = values.ndim <= len(full) and np.broadcast_shapes(values.shape, full) == full
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{what} of shape {values.shape}; give a number, or what broadcasts to {full}")
    values = values.reshape((1,) * (len(full) - values.ndim) + values.shape)
    common = all(n == 1 for n in values.shape[:-1])
    keep_channels = slice(None) if img.keep_channels is None else img.keep_channels.values
    if common:
        return np.broadcast_to(values.reshape(1, -1), (1, full[-1]))[:, keep_channels]
    rows = np.broadcast_to(values, full).reshape(math.prod(full[:-1]), full[-1])
    rows = rows if img.keep_pixels is None else rows[img.keep_pixels.values.ravel()]
    return rows[:, keep_channels]
