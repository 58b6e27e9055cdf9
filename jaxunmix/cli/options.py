"""What the words of the command line mean: names of losses, solvers and starts, and the shared options."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..data.image import SpectrumImage

_INPUT, _PREPARE, _MODEL, _FIT, _OUT = "The file", "Preparation, in this order", "Model", "Fit", "Output"
_SCAN = "Scan"
# Remedies that the library's messages give for Python, and what serves on the command line.
_REMEDIES: Mapping[str, str] = {
    "clip_negative": "--clip-negative",
    "preprocess.mask": "--mask NAME, or --crop",
    "dims=": "--dims energy,y,x --signal-dims energy",
    "keep_pixels leaves nothing": "--mask NAME of an array that is True where to keep",
    "rank must": "--components K",
    "ranks must": "--ranks LOW:HIGH",
    "ranks or more": "--ranks LOW:HIGH",
    "the ranks above": "--ranks LOW:HIGH",
    "folds=": "--folds N, or --criteria without bcv",
    "Malinowski:": "--ranks LOW:HIGH, or --criteria without malinowski",
    "Dispersion compares": "--restarts 10",
    "preprocess.poisson_scale": "--normalise poisson",
    "losses.Frobenius()": "--loss frobenius",
    "HALS()": "--update hals",
    "ProjectedGradient()": "--update gradient",
    'how="norm"': "--normalise norm",
    "full matrix instead": "leave out --compress",
    "give the full matrix": "leave out --compress",
}


class Loss(StrEnum):
    """Names of the losses on the command line."""

    frobenius = "frobenius"
    poisson = "poisson"
    itakura_saito = "itakura-saito"


class Update(StrEnum):
    """Names of the updates."""

    auto = "auto"
    hals = "hals"
    multiplicative = "multiplicative"
    als = "als"
    mals = "mals"
    gradient = "gradient"


class Start(StrEnum):
    """Names of the starts."""

    auto = "auto"
    random = "random"
    nndsvd = "nndsvd"
    vca = "vca"
    clusters = "clusters"


class Normalise(StrEnum):
    """Names of the normalisations."""

    sum = "sum"
    max = "max"
    norm = "norm"
    edge = "edge"
    poisson = "poisson"


class EdgeShape(StrEnum):
    """Names of the shapes of an absorption edge, those of `lineshapes.EDGES`."""

    arctangent = "arctangent"
    erf = "erf"


class Kind(StrEnum):
    """Names of the simulations."""

    edx_phases = "edx-phases"
    eels_oxides = "eels-oxides"
    line_scan = "line-scan"
    xas_domains = "xas-domains"
    battery_xas = "battery-xas"
    patterns = "patterns"
    nanosheets = "nanosheets"
    mixture = "mixture"


class Criterion(StrEnum):
    """Names of the criteria that choose the number of components."""

    bcv = "bcv"
    plateau = "plateau"
    elbow = "elbow"
    crossing = "crossing"
    scree = "scree"
    malinowski = "malinowski"
    aic = "aic"
    bic = "bic"
    dispersion = "dispersion"


FileArgument = Annotated[
    Path,
    typer.Argument(
        help="npz, npy, HDF5 (.h5, .nxs), HyperSpy (.hspy, .zspy), zarr, netCDF (.nc), text (.csv, .txt, .xdi) or "
        "Athena (.prj); vendors' formats with `pip install 'jaxunmix[vendor]'`.",
        show_default=False,
    ),
]
ComponentsOption = Annotated[
    int,
    typer.Option(
        "--components",
        "-k",
        min=1,
        help="Number of components K. A choice to look at: fit K - 1 and K + 1 too and compare what they mean.",
        rich_help_panel=_MODEL,
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
        rich_help_panel=_MODEL,
    ),
]
OrthogonalOption = Annotated[
    bool,
    typer.Option(
        "--orthogonal",
        help="Give each pixel to one component: maps non-negative and orthogonal, spectra of either sign (one-sided "
        "orthogonal NMF). Frobenius only.",
        rich_help_panel=_MODEL,
    ),
]
UpdateOption = Annotated[
    Update,
    typer.Option("--update", help="The solver. auto: hals for frobenius, else multiplicative.", rich_help_panel=_FIT),
]
StartOption = Annotated[
    Start,
    typer.Option(
        "--init", help="Where the fit starts. auto: random, or clusters for --orthogonal.", rich_help_panel=_FIT
    ),
]
RestartsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Starts from different random numbers, of which the best is kept. By default 5, and 1 for nndsvd, which "
        "has no randomness.",
        show_default=False,
        rich_help_panel=_FIT,
    ),
]
MaxStepsOption = Annotated[int, typer.Option(min=0, help="Steps at most.", rich_help_panel=_FIT)]
RtolOption = Annotated[
    float,
    typer.Option(min=0, help="Stop when the objective's relative change per step is below.", rich_help_panel=_FIT),
]
SeedOption = Annotated[int, typer.Option(help="Seed of the random numbers.", rich_help_panel=_FIT)]
CompressOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Fit the leading directions of the data, this many: faster for wide data, frobenius only. Take several "
        "times K.",
        show_default=False,
        rich_help_panel=_FIT,
    ),
]
CheckpointOption = Annotated[
    Path | None,
    typer.Option(
        help="File from which a fit that was cut off goes on, given the same command.",
        show_default=False,
        rich_help_panel=_FIT,
    ),
]
ArrayOption = Annotated[
    str | None, typer.Option(help="Which array of the file.", show_default=False, rich_help_panel=_INPUT)
]
DimsOption = Annotated[
    str | None,
    typer.Option(
        help="Names of the axes in their order, such as energy,y,x. By default (y, x, energy).",
        show_default=False,
        rich_help_panel=_INPUT,
    ),
]
SignalDimsOption = Annotated[
    str | None,
    typer.Option(
        help="How many of the last axes are one spectrum (2 for diffraction patterns), or names among --dims. By "
        "default as the file says, else 1.",
        show_default=False,
        rich_help_panel=_INPUT,
    ),
]
EnergyOption = Annotated[
    str | None,
    typer.Option(
        help="Array of the file with the values of the spectrum's axis; found by itself where its name is like "
        "energy_eV, energy_keV, wavenumber_cm1 or mz.",
        show_default=False,
        rich_help_panel=_INPUT,
    ),
]
ScaleOption = Annotated[
    float | None,
    typer.Option(help="Factor on the intensities, such as 0.01.", show_default=False, rich_help_panel=_INPUT),
]
MaskOption = Annotated[
    str | None,
    typer.Option(
        help="Boolean array of the file, or an .npy file: True = keep. Over pixels or channels, by its shape.",
        show_default=False,
        rich_help_panel=_INPUT,
    ),
]
CropOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="AXIS=LOW:HIGH",
        help="Keep part of an axis, in its units (both ends included), such as energy=530:580, or energy=200: for "
        "all above; an axis without values is cut by index, y=0:50. May be repeated.",
        show_default=False,
        rich_help_panel=_PREPARE,
    ),
]
BinOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="AXIS=N",
        help="Sum N neighbours, such as x=2. May be repeated.",
        show_default=False,
        rich_help_panel=_PREPARE,
    ),
]
ClipOption = Annotated[
    bool,
    typer.Option(
        "--clip-negative", help="Set negative values to 0, and say how many there were.", rich_help_panel=_PREPARE
    ),
]
NormaliseOption = Annotated[
    Normalise | None,
    typer.Option(
        help="Divide each spectrum by its sum, maximum or Euclidean norm; edge: 0 at the first and 1 at the last "
        "energy; poisson: scale counts so that their noise is even, which is what `rank` wants of them.",
        show_default=False,
        rich_help_panel=_PREPARE,
    ),
]
RanksOption = Annotated[
    str | None,
    typer.Option(
        metavar="LOW:HIGH",
        help="Numbers of components to try, both ends included. By default 2:10, or fewer where the data are small.",
        show_default=False,
        rich_help_panel=_SCAN,
    ),
]
CriteriaOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME,NAME",
        help="What chooses, the first before the others: bcv (bi-cross-validation: what best predicts data that no "
        "fit has seen), plateau, elbow, crossing (with PCA), scree, malinowski, aic, bic, dispersion. By default "
        "bcv,scree,crossing,elbow, or bcv,aic,elbow for other losses than frobenius. All but bcv cost next to nothing.",
        show_default=False,
        rich_help_panel=_SCAN,
    ),
]
FoldsOption = Annotated[
    int | None,
    typer.Option(
        help="Folds of bcv. By default 20, or 5 for other losses than frobenius, whose fits take longer, and no more "
        "than there are pixels or channels.",
        show_default=False,
        rich_help_panel=_SCAN,
    ),
]
ScanRestartsOption = Annotated[
    int, typer.Option("--restarts", min=1, help="Starts at each number of components.", rich_help_panel=_FIT)
]
ScanOutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="Folder for the results, of which an older one is replaced; by default the name of FILE and -rank, here.",
        show_default=False,
        rich_help_panel=_OUT,
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="Folder for the results, of which an older one is replaced; by default the name of FILE and -unmixed, "
        "here.",
        show_default=False,
        rich_help_panel=_OUT,
    ),
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress and no hints on stderr.", rich_help_panel=_OUT)
]


PeaksOption = Annotated[
    str,
    typer.Option("--peaks", metavar="LOW:HIGH", help="Numbers of peaks to try, both ends included."),
]
NoiseOption = Annotated[
    float | None,
    typer.Option(
        help="Known sd of the noise, in the unit of the intensity; by default it is found.", show_default=False
    ),
]
PoissonOption = Annotated[bool, typer.Option("--poisson", help="The intensities are counts.")]
EdgeOption = Annotated[
    EdgeShape,
    typer.Option(help="Shape of the edge: erf where the resolution blurs it more than the lifetime."),
]
ExchangeOption = Annotated[
    int,
    typer.Option(
        metavar="SWEEPS",
        min=0,
        help="Check the most probable number of peaks by so many sweeps of replica exchange; a thousand tell.",
    ),
]
SpectrumOutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="Folder for the results, of which an older one is replaced; by default the name of FILE and -spectrum.",
        show_default=False,
        rich_help_panel=_OUT,
    ),
]


def with_remedy(message: str) -> str:
    """The library's message, with the option that does what it advises."""
    options = [option for python, option in _REMEDIES.items() if python in message]
    return f"{message}\non the command line: {'; '.join(options)}" if options else message


def parse_range(img: SpectrumImage, text: str) -> tuple[str, slice | tuple[float | None, float | None]]:
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


def parse_factor(text: str) -> tuple[str, int]:
    """The dim and the number of --bin."""
    dim, _, number = text.partition("=")
    if not number.isdecimal():
        raise ValueError(f"--bin {text}: write AXIS=N with a whole number, such as x=2")
    return dim, int(number)


def parse_ranks(text: str) -> range:
    """The numbers of components of --ranks, both ends included."""
    found = _parse_range("--ranks", text)
    if found.start < 1:
        raise ValueError(f"--ranks {text}: there is no fit of 0 components; begin with 1 or more")
    return found


def parse_peaks(text: str) -> range:
    """The numbers of peaks of --peaks, both ends included."""
    return _parse_range("--peaks", text)


def _parse_range(option: str, text: str) -> range:
    low, _, high = text.partition(":")
    if not (low.isdecimal() and high.isdecimal()):
        raise ValueError(f"{option} {text}: write LOW:HIGH with whole numbers, such as 2:10")
    if int(low) > int(high):
        raise ValueError(f"{option} {text}: nothing lies between; the lower number comes first, {high}:{low}")
    return range(int(low), int(high) + 1)


def parse_criteria(text: str) -> tuple[Criterion, ...]:
    """The criteria of --criteria, in their order."""
    names = [name.strip().lower() for name in text.split(",")]
    known = [criterion.value for criterion in Criterion]
    for name in names:
        if name not in known:
            raise ValueError(f"--criteria {text}: '{name}' is none of {', '.join(known)}")
        if names.count(name) > 1:
            raise ValueError(f"--criteria {text}: {name} is there twice")
    return tuple(Criterion(name) for name in names)
