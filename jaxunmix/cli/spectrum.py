"""`jaxunmix spectrum`: edge, white line and peaks of an absorption spectrum."""

import math
from pathlib import Path
from typing import Annotated, NamedTuple

import jax
import numpy as np
import typer
import xarray as xr

from .. import __version__
from ..bayes import Decomposition, decompose_spectrum
from ..bayes.spectrum.result import RESOLVED, Exchange
from ..data import io
from ..data.image import SpectrumImage
from ..data.units import convert
from ..physics.lineshapes import EDGES
from ..report import plots
from . import options as opt
from .inputs import Preparation, Source, load_image
from .options import OUT
from .outputs import open_folder, say

EdgeShape = opt.make_choice("EdgeShape", EDGES)
# In eV, without a unit only energies above are believed to be in eV.
LOWEST_EDGE = 20.0
# Parameters told in words, with their unit.
_TOLD = {"E_WL": "white line", "E0": "edge", "line_width": "width of the white line", "noise": "noise"}

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
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="Folder for the results, of which an older one is replaced; by default the name of FILE and -spectrum.",
        show_default=False,
        rich_help_panel=OUT,
    ),
]


class Settings(NamedTuple):
    """What the command line asks of `decompose_spectrum`."""

    peaks: range
    noise: float | None
    poisson: bool
    edge: str
    exchange: int
    seed: int


def decompose(
    file: opt.FileArgument,
    peaks: PeaksOption = "0:5",
    noise: NoiseOption = None,
    poisson: PoissonOption = False,
    edge: EdgeOption = EdgeShape["arctangent"],
    exchange: ExchangeOption = 0,
    array: opt.ArrayOption = None,
    dims: opt.DimsOption = None,
    signal_dims: opt.SignalDimsOption = None,
    energy: opt.EnergyOption = None,
    scale: opt.ScaleOption = None,
    mask: opt.MaskOption = None,
    columns: opt.ColumnsOption = None,
    axis: opt.AxisOption = None,
    units: opt.UnitsOption = None,
    merge_repeated: opt.MergeOption = False,
    merge_within: opt.WithinOption = None,
    crop: opt.CropOption = None,
    mask_non_finite: opt.NonFiniteOption = False,
    bin: opt.BinOption = None,
    seed: opt.SeedOption = 0,
    out: OutOption = None,
    quiet: opt.QuietOption = False,
) -> None:
    """Decompose an X-ray absorption spectrum near its edge: edge, white line and peaks.

        jaxunmix spectrum edge.xdi --crop energy=8320:8380 --peaks 0:4

    Of several spectra the mean is taken. Prints how probable each number of peaks is and what the most probable one
    says, with errors, and writes spectrum.nc, posterior.nc and pictures. Half a minute for each number of peaks up to
    5. Crop to the edge: oscillations far above it need many peaks. The white line is looked for near the highest point,
    as the highest of the lines.
    """
    numbers = opt.parse_numbers("--peaks", peaks)
    merge = merge_within if merge_within is not None else 0.0 if merge_repeated else None
    source = Source(file, array, dims, signal_dims, energy, scale, mask, columns, axis, units, merge)
    img = load_image(source, Preparation(crop, bin, False, None, mask_non_finite), None, quiet)
    with open_folder(Path(f"{file.stem}-spectrum") if out is None else out, "spectrum.nc", quiet) as folder:
        settings = Settings(numbers, noise, poisson, str(edge), exchange, seed)
        written(folder, decompose_image(img, settings, quiet))


def mean_spectrum(img: SpectrumImage) -> tuple[np.ndarray, np.ndarray]:
    """Energies in eV and the mean spectrum of what is kept of an image, or its only spectrum.

    Raises:
        ValueError: no energy axis of one dimension.
    """
    if len(img.signal_dims) != 1:
        raise ValueError(f"spectrum needs one signal axis, the energy; this file has {', '.join(img.signal_dims)}")
    name = img.signal_dims[0]
    values = np.asarray(img.finite_live(), float).mean(axis=0)
    keep = slice(None) if img.keep_channels is None else img.keep_channels.values.ravel()
    energy = np.asarray(img.data[name].values if name in img.data.coords else np.arange(img.data.sizes[name]), float)
    return _in_electronvolts(energy, _unit(img), name)[keep], values


def _unit(img: SpectrumImage) -> str | None:
    name = img.signal_dims[0]
    return img.data.coords[name].attrs.get("units") if name in img.data.coords else None


def _in_electronvolts(energy: np.ndarray, unit: str | None, name: str) -> np.ndarray:
    """Energies in eV, which those without a unit are taken for unless no edge lies there."""
    if unit is not None:
        try:
            return convert(energy, unit, "eV")
        except ValueError as error:
            raise ValueError(f"spectrum needs energies in eV, and '{name}' is in '{unit}': {error}") from error
    if np.abs(energy).max() < LOWEST_EDGE:
        raise ValueError(
            f"spectrum needs energies in eV; those of '{name}', {energy[0]:g} to {energy[-1]:g}, have no unit, and no "
            f"edge lies there in eV: give --units {name}=keV, or --units {name}=eV if they are"
        )
    return energy


def decompose_image(img: SpectrumImage, settings: Settings, quiet: bool) -> Decomposition:
    """The decomposition of the mean spectrum.

    Raises:
        ValueError: a noise for counts, or what `decompose_spectrum` refuses.
    """
    energy, intensity = mean_spectrum(img)
    if _unit(img) is None and not quiet:
        say(f"note: '{img.signal_dims[0]}' has no unit and is taken to be in eV; else say it: --units energy=keV")
    if settings.poisson and settings.noise is not None:
        raise ValueError("--noise is the sd of normal noise; leave it out, or --poisson")
    found = decompose_spectrum(
        energy,
        intensity,
        settings.peaks,
        "poisson" if settings.poisson else settings.noise,
        key=jax.random.key(settings.seed),
        edge=settings.edge,
        exchange=settings.exchange,
        progress=not quiet,
    )
    assert isinstance(found, Decomposition)  # of one spectrum
    return found


def written(folder: Path, result: Decomposition) -> None:
    """Write the table, the posterior and the figures, and print what they say."""
    io.save_dataset(result.table.assign_attrs(jaxunmix_version=__version__), folder / "spectrum.nc")
    io.save_dataset(result.fit.posterior, folder / "posterior.nc")
    plots.decomposition(result).savefig(folder / "spectrum.png")
    plots.free_energy(result).savefig(folder / "free_energy.png")
    print(_table(result.table))
    print(f"\n{result.peaks} peak{'s' * (result.peaks != 1)}; {_verdict(result)}")
    for name, told in _TOLD.items():
        places, unit = result.places(name), "" if name == "noise" else " eV"
        columns = places.to_dataframe()[["share", "error", "median", "low", "high"]]
        for i, (share, error, *numbers) in enumerate(columns.values):
            median, low, high = _to_two_digits_of_their_span(numbers)
            chance = f" with probability {share:.2f} +- {error:.2f}" if len(places["share"]) > 1 else ""
            print(f"{'  or' if i else told:24} {median}{unit}{chance}, 90 % between {low} and {high}")
    for i in range(result.peaks):
        own = result.fit.posterior.isel(peak=i)
        centre, area = (
            f"{float(own[n].mean()):.6g} +- {float(own[n].std()):.2g}" for n in ("peak_centre", "peak_area")
        )
        print(f"{f'peak {i + 1}':24} at {centre} eV, area {area}")
    if result.exchange is not None:
        print(_checked(result.exchange))
    print(f"\ntable      {folder / 'spectrum.nc'}")
    print(f"posterior  {folder / 'posterior.nc'}")
    print(f"figures    {folder / 'spectrum.png'} {folder / 'free_energy.png'}")


def _to_two_digits_of_their_span(numbers: list[float]) -> list[str]:
    span = max(numbers) - min(numbers)
    digits = max(1 - math.floor(math.log10(span)), 0) if span > 0 else 6
    return [f"{number:.{digits}f}" for number in numbers]


def _verdict(result: Decomposition) -> str:
    if result.resolved:
        return "the data decide"
    if result.peaks == result.fits[-1].peaks and len(result.fits) > 1:
        return f"more were not tried: --peaks {result.fits[0].peaks}:{result.peaks + 3} may find more probable ones"
    if float(result.table["probability"].max()) >= RESOLVED:
        return "not resolved: the evidences differ by less than twice their errors"
    return f"not resolved: no number of peaks has a probability of {RESOLVED}"


def _checked(exchange: Exchange) -> str:
    says = f"replica exchange: free energy {exchange.free_energy:.2f} +- {exchange.error:.2g}"
    return says + f", by the particles {exchange.of_particles:.2f}; {exchange.round_trips} round trips"


def _table(table: xr.Dataset) -> str:
    rows: list[tuple[str, ...]] = [("peaks", "free energy", "error", "noise", "probability")]
    for k in table["peaks"].values:
        own = table.sel(peaks=k)
        numbers = (float(own[name]) for name in ("free_energy", "error", "noise", "probability"))
        rows.append((str(k), *(f"{n:.4g}" if i == 2 else f"{n:.2f}" for i, n in enumerate(numbers))))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in rows)
