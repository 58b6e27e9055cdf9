"""What the commands that read a file share: the image from its options, and what may be fitted to it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import preprocess
from ..data import io
from ..data.image import SpectrumImage
from ..data.units import tidy
from ..factor import Problem, constraints
from ..matrix import AbstractMatrix
from .options import LOSSES, NORMALISATIONS
from .outputs import say


@dataclass(frozen=True)
class Source:
    """Where the image is, and what the file does not say."""

    file: Path
    array: str | None
    dims: str | None
    signal_dims: str | None
    energy: str | None
    scale: float | None
    mask: str | None
    columns: str | None = None
    axis: str | None = None
    units: list[str] | None = None
    merge: float | None = None


@dataclass(frozen=True)
class Preparation:
    """What is done to the image before the fit, in this order."""

    crop: list[str] | None
    bin: list[str] | None
    clip_negative: bool
    normalise: str | None
    mask_non_finite: bool = False


def load_image(source: Source, steps: Preparation, hint: str | None, quiet: bool) -> SpectrumImage:
    """The image that the options describe, prepared; what it is, and the hint if it looks like counts, on stderr.

    Raises:
        ValueError: the file, an option or the data are not fit for it.
        OSError: the file cannot be read.
    """
    names = None if source.dims is None else _split_names("--dims", source.dims)
    spectrum: int | list[str] | None = None
    if source.signal_dims is not None:
        wanted = source.signal_dims.strip()
        spectrum = int(wanted) if wanted.isdecimal() else _split_names("--signal-dims", wanted)
    img = io.load(
        source.file,
        source.array,
        spectrum,
        dims=names,
        energy=source.energy,
        mask=source.mask,
        scale=source.scale,
        columns=source.columns,
        axis=source.axis,
        merge_repeated=False if source.merge is None else source.merge,
    )
    img = _with_units(img, source.units or [])
    if not quiet and img.provenance and img.provenance[-1]["step"] == "merge_repeated":
        before, after = img.provenance[-1]["parameters"]["channels"]
        say(f"note: {before} channels sorted and merged into {after}")
    img = _prepare(img, steps, quiet)
    if not quiet:
        say(repr(img))
        if hint is not None and _looks_counted(img):
            say(f"hint: these are whole non-negative numbers; if they are counts, {hint}")
    return img


def _split_names(option: str, text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise ValueError(f"{option} {text!r}: write names with commas between, such as energy,y,x")
    return names


def _with_units(img: SpectrumImage, texts: list[str]) -> SpectrumImage:
    """The image with the units of --units for its axes."""
    for text in texts:
        name, equals, unit = (part.strip() for part in text.partition("="))
        if not equals or not unit:
            raise ValueError(f"--units {text}: write AXIS=UNIT, such as energy=keV")
        dim = img.resolve_dim(name, "--units")
        if dim not in img.data.coords:
            raise ValueError(f"--units {text}: '{dim}' has no values, so it can have no unit; give --energy or --axis")
        old = img.data.coords[dim].attrs.get("units")
        if old is not None and tidy(old) != tidy(unit):
            raise ValueError(f"--units {text}: the file says that '{dim}' is in {old}")
        coord = img.data.coords[dim].assign_attrs(units=tidy(unit))
        img = replace(img, data=img.data.assign_coords({dim: coord}))
    return img


def _by_dims(option: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"{option} names one axis twice: {', '.join(name for name, _ in pairs)}; give each once")
    return found


def _prepare(img: SpectrumImage, steps: Preparation, quiet: bool) -> SpectrumImage:
    if steps.crop:
        img = preprocess.crop(img, **_by_dims("--crop", [_parse_limits(img, text) for text in steps.crop]))
    if steps.mask_non_finite:
        img = preprocess.mask_non_finite(img)
        left_out = img.provenance[-1]["parameters"]["left_out"]
        told = ", ".join(f"{n} {what}" for what, n in left_out.items() if n)
        if not quiet:
            say(f"note: left out by --mask-non-finite and masks before it: {told or 'nothing'}")
    if steps.bin:
        factors = _by_dims("--bin", [_parse_factor(img, text) for text in steps.bin])
        left = {d: img.data.sizes[d] % n for d, n in factors.items() if n > 0}
        if any(left.values()) and not quiet:
            say(f"note: --bin leaves out the last {', '.join(f'{n} of {d}' for d, n in left.items() if n)}")
        img = preprocess.bin(img, trim=True, **factors)
    if steps.clip_negative:
        img = preprocess.clip_negative(img)
        report = img.provenance[-1]["parameters"]
        if not quiet:
            say(f"note: {report['count']} negative values set to 0, their sum {report['sum']:.4g}")
    return img if steps.normalise is None else NORMALISATIONS[steps.normalise](img)


def _parse_limits(img: SpectrumImage, text: str) -> tuple[str, slice | tuple[float | None, float | None]]:
    """The dim and the limits of --crop, as `preprocess.crop` takes them."""
    name, _, limits = text.partition("=")
    low, colon, high = (part.strip() for part in limits.partition(":"))
    if not colon:
        raise ValueError(f"--crop {text}: write AXIS=LOW:HIGH, such as energy=530:580 or energy=0.2:")
    dim = img.resolve_dim(name, "--crop")
    try:
        if dim not in img.data.coords:
            return dim, slice(*(int(n) if n else None for n in (low, high)))
        return dim, (float(low) if low else None, float(high) if high else None)
    except ValueError:
        kind = "numbers" if dim in img.data.coords else "indices, since the axis has no values"
        raise ValueError(f"--crop {text}: '{low}' and '{high}' must be {kind}") from None


def _parse_factor(img: SpectrumImage, text: str) -> tuple[str, int]:
    """The dim and the number of --bin."""
    name, _, number = text.partition("=")
    if not number.strip().isdecimal():
        raise ValueError(f"--bin {text}: write AXIS=N with a whole number, such as x=2")
    return img.resolve_dim(name, "--bin"), int(number)


def _looks_counted(img: SpectrumImage) -> bool:
    live = img.finite_live()
    spread = bool(live.min() >= 0 and live.max() > 1)
    return spread and all(np.array_equal(row, np.rint(row)) for row in live)


def check_loss(img: SpectrumImage, loss: str, orthogonal: bool) -> None:
    """Refuse a loss for which the data or the constraints are not fit.

    Raises:
        ValueError: negative data, or orthogonal maps, under another loss than frobenius.
    """
    if loss == "frobenius":
        return
    if orthogonal:
        raise ValueError(f"--orthogonal is fitted by least squares: leave out --loss {loss}, or --orthogonal")
    live = img.finite_live()
    if live.min() < 0:
        _refuse_negative(img, live, loss)


def _refuse_negative(img: SpectrumImage, live: np.ndarray, loss: str) -> None:
    pixels = np.arange(int(np.prod(img.navigation_shape)))
    channels = np.arange(int(np.prod(img.signal_shape)))
    if img.keep_pixels is not None:
        pixels = pixels[img.keep_pixels.values.ravel()]
    if img.keep_channels is not None:
        channels = channels[img.keep_channels.values.ravel()]
    row, column = np.unravel_index(np.argmin(live), live.shape)
    raise ValueError(
        f"{loss} asks for non-negative data; {int((live < 0).sum())} of {live.size} values are negative, the "
        f"lowest ({live.min():.4g}) at {img.place(int(pixels[row]), int(channels[column]))}. Set them to 0 with "
        "--clip-negative if they are small noise about zero, or use --loss frobenius."
    )


def make_problem(matrix: AbstractMatrix, loss: str, orthogonal: bool) -> Problem:
    """The problem of plain or of one-sided orthogonal NMF."""
    kept = (constraints.NonNegative("maps"), constraints.Orthogonal("maps")) if orthogonal else None
    return Problem(matrix, LOSSES[loss](), constraints=kept)
