"""What the commands that read a file share: the image from its options, the problem, the folder of the results."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import preprocess
from ..data import io
from ..data.image import SpectrumImage
from ..factor import losses
from ..factor.constraints.base import AbstractConstraint
from ..factor.constraints.non_negative import NonNegative
from ..factor.constraints.orthogonal import Orthogonal
from . import options as opt
from .options import Loss, Normalise

LOSSES: Mapping[Loss, losses.AbstractLoss] = {
    Loss.frobenius: losses.Frobenius(),
    Loss.poisson: losses.Poisson(),
    Loss.itakura_saito: losses.ItakuraSaito(),
}
_NORMALISATIONS: Mapping[Normalise, Callable[[SpectrumImage], SpectrumImage]] = {
    Normalise.sum: lambda img: preprocess.normalise(img, "sum"),
    Normalise.max: lambda img: preprocess.normalise(img, "max"),
    Normalise.norm: lambda img: preprocess.normalise(img, "norm"),
    Normalise.edge: preprocess.normalise_edge,
    Normalise.poisson: preprocess.poisson_scale,
}


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
    normalise: Normalise | None


def say(text: str) -> None:
    """A line on stderr."""
    print(text, file=sys.stderr, flush=True)


def image(source: Source, steps: Preparation, hint: str | None, quiet: bool) -> SpectrumImage:
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
    img = _prepared(img, steps, quiet)
    if not quiet:
        say(repr(img))
        if hint is not None and _looks_counted(img):
            say(f"hint: these are whole non-negative numbers; if they are counts, {hint}")
    return img


def _prepared(img: SpectrumImage, steps: Preparation, quiet: bool) -> SpectrumImage:
    if steps.crop:
        img = preprocess.crop(img, **dict(opt.parse_range(img, text) for text in steps.crop))
    if steps.bin:
        factors = dict(opt.parse_factor(text) for text in steps.bin)
        left = {d: img.data.sizes[d] % n for d, n in factors.items() if d in img.data.dims and n > 0}
        if any(left.values()) and not quiet:
            say(f"note: --bin leaves out the last {', '.join(f'{n} of {d}' for d, n in left.items() if n)}")
        img = preprocess.bin(img, trim=True, **factors)
    if steps.clip_negative:
        img = preprocess.clip_negative(img)
        report = img.provenance[-1]["parameters"]
        if not quiet:
            say(f"note: {report['count']} negative values set to 0, their sum {report['sum']:.4g}")
    return img if steps.normalise is None else _NORMALISATIONS[steps.normalise](img)


def _looks_counted(img: SpectrumImage) -> bool:
    live = img.finite_live()
    spread = bool(live.min() >= 0 and live.max() > 1)
    return spread and all(np.array_equal(row, np.rint(row)) for row in live)


def check_loss(img: SpectrumImage, loss: Loss, orthogonal: bool) -> None:
    """Refuse a loss for which the data or the constraints are not fit.

    Raises:
        ValueError: negative data, or orthogonal maps, under another loss than frobenius.
    """
    if loss is Loss.frobenius:
        return
    if orthogonal:
        raise ValueError(f"--orthogonal is fitted by least squares: leave out --loss {loss.value}, or --orthogonal")
    live = img.finite_live()
    if live.min() < 0:
        _refuse_negative(img, live, loss)


def constraints(orthogonal: bool) -> tuple[AbstractConstraint, ...] | None:
    """Those of one-sided orthogonal NMF; None for non-negative maps and spectra."""
    return (NonNegative("maps"), Orthogonal("maps")) if orthogonal else None


def _refuse_negative(img: SpectrumImage, live: np.ndarray, loss: Loss) -> None:
    pixels = np.arange(int(np.prod(img.navigation_shape)))
    channels = np.arange(int(np.prod(img.signal_shape)))
    if img.keep_pixels is not None:
        pixels = pixels[img.keep_pixels.values.ravel()]
    if img.keep_channels is not None:
        channels = channels[img.keep_channels.values.ravel()]
    row, column = np.unravel_index(np.argmin(live), live.shape)
    raise ValueError(
        f"{loss.value} asks for non-negative data; {int((live < 0).sum())} of {live.size} values are negative, the "
        f"lowest ({live.min():.4g}) at {img.place(int(pixels[row]), int(channels[column]))}. Set them to 0 with "
        "--clip-negative if they are small noise about zero, or use --loss frobenius."
    )


@contextmanager
def folder(path: Path, result: str, quiet: bool) -> Iterator[Path]:
    """The folder for the results: made before the fit, so that a bad path costs nothing, and kept if it is used."""
    if path.exists() and not path.is_dir():
        raise ValueError(f"--out {path} is a file; name a folder")
    if (path / result).exists() and not quiet:
        say(f"note: the result in {path} will be replaced")
    made = not path.exists()
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield path
    finally:
        if made and not any(path.iterdir()):
            path.rmdir()
