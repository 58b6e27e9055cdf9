"""The options that several commands share, what they offer, and how ranges of numbers are read."""

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, cast

import typer

from .. import preprocess
from .._util.parts import named_parts
from ..data.image import SpectrumImage
from ..factor import losses

INPUT, PREPARE, MODEL, FIT, OUT = "The file", "Preparation, in this order", "Model", "Fit", "Output"


def make_choice(title: str, words: Iterable[str]) -> type[StrEnum]:
    """The type of an option that takes one of these words."""
    return cast(type[StrEnum], StrEnum(title, {word: word for word in words}))


LOSSES = named_parts(losses, losses.AbstractLoss, ("frobenius", "poisson", "itakura-saito"))
NORMALISATIONS: Mapping[str, Callable[[SpectrumImage], SpectrumImage]] = {
    "sum": lambda img: preprocess.normalise(img, "sum"),
    "mean": lambda img: preprocess.normalise(img, "mean"),
    "max": lambda img: preprocess.normalise(img, "max"),
    "norm": lambda img: preprocess.normalise(img, "norm"),
    "range": preprocess.normalise_range,
    "edge": preprocess.normalise_edge,
    "poisson": preprocess.poisson_scale,
}
Loss = make_choice("Loss", LOSSES)
Normalise = make_choice("Normalise", NORMALISATIONS)

FileArgument = Annotated[
    Path,
    typer.Argument(
        help="npz, npy, HDF5 (.h5, .nxs), HyperSpy (.hspy, .zspy), zarr, netCDF (.nc), text (.csv, .txt, .xdi) or "
        "Athena (.prj); vendors' formats with `pip install 'jaxunmix[vendor]'`.",
        show_default=False,
    ),
]
LossOption = Annotated[
    Loss | None,
    typer.Option(
        "--loss",
        help="What noise is assumed. Counts (EDX, ToF-SIMS, counting EELS) want poisson; frobenius (least squares, "
        "the default) is for noise of even strength (XAS, Raman, cameras); itakura-saito for noise proportional to "
        "the signal.",
        show_default=False,
        rich_help_panel=MODEL,
    ),
]
OrthogonalOption = Annotated[
    bool,
    typer.Option(
        "--orthogonal",
        help="Give each pixel to one component: maps non-negative and orthogonal, spectra of either sign (one-sided "
        "orthogonal NMF). Frobenius only.",
        rich_help_panel=MODEL,
    ),
]
ArrayOption = Annotated[
    str | None, typer.Option(help="Which array of the file.", show_default=False, rich_help_panel=INPUT)
]
DimsOption = Annotated[
    str | None,
    typer.Option(
        help="Names of the axes in their order, such as energy,y,x. By default (y, x, energy).",
        show_default=False,
        rich_help_panel=INPUT,
    ),
]
SignalDimsOption = Annotated[
    str | None,
    typer.Option(
        help="How many of the last axes are one spectrum (2 for diffraction patterns), or names among --dims. By "
        "default as the file says, else 1.",
        show_default=False,
        rich_help_panel=INPUT,
    ),
]
EnergyOption = Annotated[
    str | None,
    typer.Option(
        help="Array of the file with the values of the spectrum's axis; found by itself where its name is like "
        "energy_eV, energy_keV, wavenumber_cm1 or mz.",
        show_default=False,
        rich_help_panel=INPUT,
    ),
]
ScaleOption = Annotated[
    float | None,
    typer.Option(help="Factor on the intensities, such as 0.01.", show_default=False, rich_help_panel=INPUT),
]
MaskOption = Annotated[
    str | None,
    typer.Option(
        help="Array of booleans, or of 0 and 1, of the file, or an .npy file: True (1) = keep. Over pixels or "
        "channels, by its shape.",
        show_default=False,
        rich_help_panel=INPUT,
    ),
]
ColumnsOption = Annotated[
    str | None,
    typer.Option(
        help="Of a text table: the columns with the intensities, by name, number from 1 or range, such as mu, 2:5 or "
        "3,4. Several become pixels.",
        show_default=False,
        rich_help_panel=INPUT,
    ),
]
AxisOption = Annotated[
    str | None,
    typer.Option(
        help="Of a text table: the column with the axis of the spectra, by name or number; row if the first row has "
        "it; none if each row is a spectrum and the file has no axis.",
        show_default=False,
        rich_help_panel=INPUT,
    ),
]
UnitsOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="AXIS=UNIT",
        help="Unit of an axis of which the file does not say it, such as energy=keV. May be repeated.",
        show_default=False,
        rich_help_panel=INPUT,
    ),
]
MergeOption = Annotated[
    bool,
    typer.Option(
        "--merge-repeated",
        help="Sort energies that repeat or jitter, and take the mean of what was measured twice.",
        rich_help_panel=INPUT,
    ),
]
WithinOption = Annotated[
    float | None,
    typer.Option(
        "--merge-within",
        min=0,
        help="As --merge-repeated, for energies no further apart than this, in the unit of the axis.",
        show_default=False,
        rich_help_panel=INPUT,
    ),
]
NonFiniteOption = Annotated[
    bool,
    typer.Option(
        "--mask-non-finite",
        help="Leave out pixels, or channels, with values that are NaN or infinite, and say how many.",
        rich_help_panel=PREPARE,
    ),
]
CropOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="AXIS=LOW:HIGH",
        help="Keep part of an axis, in its units (both ends included), such as energy=530:580, or energy=200: for "
        "all above; an axis without values is cut by index, y=0:50. May be repeated.",
        show_default=False,
        rich_help_panel=PREPARE,
    ),
]
BinOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="AXIS=N",
        help="Sum N neighbours, such as x=2. May be repeated.",
        show_default=False,
        rich_help_panel=PREPARE,
    ),
]
ClipOption = Annotated[
    bool,
    typer.Option(
        "--clip-negative", help="Set negative values to 0, and say how many there were.", rich_help_panel=PREPARE
    ),
]
NormaliseOption = Annotated[
    Normalise | None,
    typer.Option(
        help="Divide each spectrum by its sum, mean, maximum or Euclidean norm; range: from 0 to 1; edge: 0 at the "
        "first and 1 at the last energy; poisson: scale counts so that their noise is even, which is what `rank` wants "
        "of them.",
        show_default=False,
        rich_help_panel=PREPARE,
    ),
]
MaxStepsOption = Annotated[int, typer.Option(min=0, help="Steps at most.", rich_help_panel=FIT)]
SeedOption = Annotated[int, typer.Option(help="Seed of the random numbers.", rich_help_panel=FIT)]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress and no hints on stderr.", rich_help_panel=OUT)
]


def parse_numbers(option: str, text: str) -> range:
    """The whole numbers of LOW:HIGH, both ends included."""
    low, _, high = text.partition(":")
    if not (low.isdecimal() and high.isdecimal()):
        raise ValueError(f"{option} {text}: write LOW:HIGH with whole numbers, such as 2:10")
    if int(low) > int(high):
        raise ValueError(f"{option} {text}: nothing lies between; the lower number comes first, {high}:{low}")
    return range(int(low), int(high) + 1)
