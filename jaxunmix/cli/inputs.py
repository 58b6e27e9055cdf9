"""What the commands that read a file share: the image from its options, and what may be fitted to it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import preprocess
from ..data import io
from ..data.image import SpectrumImage
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


@dataclass(frozen=True)
class Preparation:
    """What is done to the image before the fit, in this order."""

    crop: list[str] | None
    bin: list[str] | None
    clip_negative: bool
    normalise: str | None


def load_image(source: Source, steps: Preparation, hint: str | None, quiet: bool) -> SpectrumImage:
    """The image that the options describe, prepared; what it is, and the hint if it looks like counts, on stderr.

    Raises:
        ValueError: the file, an option or the data are not fit for it.
        OSError: the file cannot be read.
    """
    names = None if source.dims is None else source.dims.split(",")
    spectrum: int | list[str] | None = None
    if source.signal_dims is not None:
        wanted = source.signal_dims
        spectrum = int(wanted) if wanted.isdecimal() else wanted.split(",")
    img = io.load(
        source.file, source.array, spectrum, dims=names, energy=source.energy, mask=source.mask, scale=source.scale
    )
    img = _prepare(img, steps, quiet)
    if not quiet:
        say(repr(img))
        if hint is not None and _looks_counted(img):
            say(f"hint: these are whole non-negative numbers; if they are counts, {hint}")
    return img


def _prepare(img: SpectrumImage, steps: Preparation, quiet: bool) -> SpectrumImage:
    if steps.crop:
        img = preprocess.crop(img, **dict(_parse_limits(img, text) for text in steps.crop))
    if steps.bin:
        factors = dict(_parse_factor(text) for text in steps.bin)
        left = {d: img.data.sizes[d] % n for d, n in factors.items() if d in img.data.dims and n > 0}
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
    dim, _, limits = text.partition("=")
    low, colon, high = limits.partition(":")
    if not colon:
        raise ValueError(f"--crop {text}: write AXIS=LOW:HIGH, such as energy=530:580 or energy=0.2:")
    try:
        if dim in img.data.dims and dim not in img.data.coords:
            return dim, slice(*(int(n) if n else None for n in (low, high)))
        return dim, (float(low) if low else None, float(high) if high else None)
    except ValueError:
        kind = "numbers" if dim in img.data.coords else "indices, since the axis has no values"
        raise ValueError(f"--crop {text}: '{low}' and '{high}' must be {kind}") from None


def _parse_factor(text: str) -> tuple[str, int]:
    """The dim and the number of --bin."""
    dim, _, number = text.partition("=")
    if not number.isdecimal():
        raise ValueError(f"--bin {text}: write AXIS=N with a whole number, such as x=2")
    return dim, int(number)


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
