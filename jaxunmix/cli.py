"""The command line: `jaxunmix unmix | rank | spectrum | simulate | demo`.

Exit codes: 0 done, 1 unexpected, 2 bad input or usage, 130 interrupted (the best iterate is written first).
"""

import inspect
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import typer
import xarray as xr

from . import __version__, cli_rank, cli_spectrum
from . import cli_options as opt
from . import cli_run as run
from .cli_options import Kind, Loss, Start, Update
from .data import io, simulate
from .data.compressed import Compressed
from .data.image import SpectrumImage
from .factor import initial, updates
from .factor.fit import fit
from .factor.problem import Problem
from .factor.solution import Solution, Status
from .report import metrics, page, plots

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
# What was typed, for the page.
_COMMAND: ContextVar[str] = ContextVar("command")
_UPDATES: Mapping[Update, updates.AbstractUpdate | None] = {
    Update.auto: None,
    Update.hals: updates.HALS(),
    Update.multiplicative: updates.Multiplicative(),
    Update.als: updates.ALS(),
    Update.mals: updates.MALS(),
    Update.gradient: updates.ProjectedGradient(),
}
_STARTS: Mapping[Start, initial.AbstractInitial | None] = {
    Start.auto: None,
    Start.random: initial.Random(),
    Start.nndsvd: initial.NNDSVD(),
    Start.vca: initial.VCA(),
    Start.clusters: initial.Clusters(),
}
# Each simulation, and the argument that says how many pixels it has.
_KINDS: Mapping[Kind, tuple[Callable[..., tuple[SpectrumImage, simulate.Truth]], str]] = {
    Kind.edx_phases: (simulate.edx_phases, "shape"),
    Kind.eels_oxides: (simulate.eels_oxides, "shape"),
    Kind.line_scan: (simulate.line_scan, "length"),
    Kind.xas_domains: (simulate.xas_domains, "shape"),
    Kind.battery_xas: (simulate.battery_xas, "shape"),
    Kind.patterns: (simulate.patterns, "shape"),
    Kind.nanosheets: (simulate.nanosheets, "shape"),
    Kind.mixture: (simulate.mixture, "pixels"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    Args:
        argv: the words after `jaxunmix`; None takes those of the process.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    _COMMAND.set(shlex.join(["jaxunmix", *argv]))
    try:
        app(argv, prog_name="jaxunmix")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except KeyboardInterrupt:
        run.say("interrupted before there was anything to write")
        return 130
    except FloatingPointError as error:
        run.say(f"error: {error}")
        return 1
    except (ValueError, OSError, ImportError) as error:
        run.say(f"error: {opt.with_remedy(str(error))}")
        return 2
    except Exception:
        traceback.print_exc()
        run.say("this should not have happened: please report it with the lines above")
        return 1
    return 0


def _version(wanted: bool) -> bool:
    if wanted:
        print(f"jaxunmix {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Unmix spectrum images: find the spectra that a map is a mixture of, and where each of them is.

    First try `jaxunmix demo`, then `jaxunmix unmix FILE --components 3`, and open the report.html it writes.
    `jaxunmix rank FILE` finds out how many components there are.
    """


@dataclass(frozen=True)
class _Settings:
    """What is fitted, and how."""

    components: int
    loss: Loss
    orthogonal: bool
    update: Update
    init: Start
    restarts: int
    max_steps: int
    rtol: float
    seed: int
    compress: int | None
    checkpoint: Path | None


@app.command()
def unmix(
    file: opt.FileArgument,
    components: opt.ComponentsOption = 3,
    loss: opt.LossOption = None,
    orthogonal: opt.OrthogonalOption = False,
    array: opt.ArrayOption = None,
    dims: opt.DimsOption = None,
    signal_dims: opt.SignalDimsOption = None,
    energy: opt.EnergyOption = None,
    scale: opt.ScaleOption = None,
    mask: opt.MaskOption = None,
    crop: opt.CropOption = None,
    bin: opt.BinOption = None,
    clip_negative: opt.ClipOption = False,
    normalise: opt.NormaliseOption = None,
    update: opt.UpdateOption = Update.auto,
    init: opt.StartOption = Start.auto,
    restarts: opt.RestartsOption = None,
    max_steps: opt.MaxStepsOption = 500,
    rtol: opt.RtolOption = 1e-6,
    compress: opt.CompressOption = None,
    seed: opt.SeedOption = 0,
    checkpoint: opt.CheckpointOption = None,
    out: opt.OutOption = None,
    quiet: opt.QuietOption = False,
) -> None:
    """Unmix one spectrum image into maps and spectra.

    A first look at counts, such as an EDX map, with the detector's zero peak left out:

        jaxunmix unmix map.hspy --components 4 --loss poisson --crop energy=0.2:

    Absorbance of an XAS stack that is stored as (energy, y, x):

        jaxunmix unmix stack.h5 --array mu --dims energy,y,x --signal-dims energy -k 3

    Writes result.nc, pictures and report.html. Energies are in the file's own units; maps times spectra are in
    those of the intensities.
    """
    source = run.Source(file, array, dims, signal_dims, energy, scale, mask)
    hint = "--loss poisson suits them better" if loss is None else None
    img = run.image(source, run.Preparation(crop, bin, clip_negative, normalise), hint, quiet)
    starts = (1 if init is Start.nndsvd else 5) if restarts is None else restarts
    chosen = Loss.frobenius if loss is None else loss
    settings = _Settings(
        components, chosen, orthogonal, update, init, starts, max_steps, rtol, seed, compress, checkpoint
    )
    with run.folder(Path(f"{file.stem}-unmixed") if out is None else out, "result.nc", quiet) as folder:
        solution = _fitted(img, settings, quiet)
        _written(folder, solution, img, None, file.name, _COMMAND.get())
    if solution.status is Status.INTERRUPTED:
        raise typer.Exit(130)


def _fitted(img: SpectrumImage, settings: _Settings, quiet: bool) -> Solution:
    run.check_loss(img, settings.loss, settings.orthogonal)
    key = jax.random.key(settings.seed)
    matrix = img.matrix()
    if settings.compress is not None:
        matrix = Compressed(matrix, settings.compress, key=key)
    return fit(
        Problem(matrix, run.LOSSES[settings.loss], constraints=run.constraints(settings.orthogonal)),
        settings.components,
        _UPDATES[settings.update],
        _STARTS[settings.init],
        settings.restarts,
        key=key,
        max_steps=settings.max_steps,
        rtol=settings.rtol,
        progress=not quiet,
        checkpoint=settings.checkpoint,
    )


def _written(
    folder: Path,
    solution: Solution,
    img: SpectrumImage,
    truth: simulate.Truth | None,
    title: str,
    command: str,
) -> None:
    """Write the result, the figures and the page, and tell where they are."""
    result = solution.to_xarray(img)
    io.save_dataset(result, folder / "result.nc")
    figures = {
        "maps": plots.maps(result),
        "spectra": plots.spectra(result),
        "residuals": plots.residuals(result, img),
        "convergence": plots.convergence(result),
    }
    if truth is not None:
        figures["comparison"] = plots.comparison(result, truth.maps, truth.spectra, truth.names)
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png")
    page.write(folder / "report.html", result, img, truth, title, command)
    near = int(np.sum(solution.restarts.objective <= solution.restarts.objective.min() * 1.001))
    print(
        f"{solution.rank} components of {solution.maps.shape[0]} pixels x {solution.spectra.shape[1]} channels, "
        f"{solution.info['loss']} by {solution.info['update']}: {solution.status.name.lower().replace('_', ' ')} after "
        f"{solution.steps} steps, objective {solution.objective:.6g}, {near} of {len(solution.restarts.objective)} "
        "restarts within 0.1 % of the best"
    )
    print(f"result   {folder / 'result.nc'}")
    print(f"figures  {' '.join(str(folder / f'{name}.png') for name in figures)}")
    print(f"report   {folder / 'report.html'}")


@app.command(name="rank")
def rank_(
    file: opt.FileArgument,
    ranks: opt.RanksOption = None,
    criteria: opt.CriteriaOption = None,
    folds: opt.FoldsOption = None,
    loss: opt.LossOption = None,
    orthogonal: opt.OrthogonalOption = False,
    array: opt.ArrayOption = None,
    dims: opt.DimsOption = None,
    signal_dims: opt.SignalDimsOption = None,
    energy: opt.EnergyOption = None,
    scale: opt.ScaleOption = None,
    mask: opt.MaskOption = None,
    crop: opt.CropOption = None,
    bin: opt.BinOption = None,
    clip_negative: opt.ClipOption = False,
    normalise: opt.NormaliseOption = None,
    restarts: opt.ScanRestartsOption = 5,
    max_steps: opt.MaxStepsOption = 200,
    seed: opt.SeedOption = 0,
    out: opt.ScanOutOption = None,
    quiet: opt.QuietOption = False,
) -> None:
    """Find how many components a spectrum image has: fit a range of numbers and compare them.

        jaxunmix rank map.hspy --ranks 2:8 --crop energy=0.2: --normalise poisson

    The criteria suppose noise of even strength: --normalise poisson gives it to counts (EDX, ToF-SIMS), and is
    quicker and surer than --loss poisson here.

    Prints what each criterion says and how decisively, and writes rank.nc, pictures and report.html. No criterion
    is right everywhere: look at the curves, and at the maps of one component less and one more.
    """
    numbers = None if ranks is None else opt.parse_ranks(ranks)
    names = None if criteria is None else opt.parse_criteria(criteria)
    source = run.Source(file, array, dims, signal_dims, energy, scale, mask)
    hint = "--normalise poisson evens their noise for the criteria" if loss is None else None
    img = run.image(source, run.Preparation(crop, bin, clip_negative, normalise), hint, quiet)
    chosen = Loss.frobenius if loss is None else loss
    settings = cli_rank.Settings(numbers, names, folds, chosen, orthogonal, restarts, max_steps, seed)
    with run.folder(Path(f"{file.stem}-rank") if out is None else out, "rank.nc", quiet) as folder:
        scan = cli_rank.scanned(img, settings, quiet)
        cli_rank.written(folder, scan, img, file.name, _COMMAND.get())


@app.command(name="spectrum")
def spectrum_(
    file: opt.FileArgument,
    peaks: opt.PeaksOption = "0:5",
    noise: opt.NoiseOption = None,
    poisson: opt.PoissonOption = False,
    edge: opt.EdgeOption = opt.EdgeShape.arctangent,
    exchange: opt.ExchangeOption = 0,
    array: opt.ArrayOption = None,
    dims: opt.DimsOption = None,
    signal_dims: opt.SignalDimsOption = None,
    energy: opt.EnergyOption = None,
    scale: opt.ScaleOption = None,
    mask: opt.MaskOption = None,
    crop: opt.CropOption = None,
    bin: opt.BinOption = None,
    seed: opt.SeedOption = 0,
    out: opt.SpectrumOutOption = None,
    quiet: opt.QuietOption = False,
) -> None:
    """Decompose an X-ray absorption spectrum near its edge: edge, white line and peaks.

        jaxunmix spectrum edge.xdi --crop energy=8320:8380 --peaks 0:4

    Of several spectra the mean is taken. Prints how probable each number of peaks is and what the most probable one
    says, with errors, and writes spectrum.nc, posterior.nc and pictures. Half a minute for each number of peaks up to
    5. Crop to the edge: oscillations far above it need many peaks. The white line is looked for near the highest point,
    as the highest of the lines.
    """
    numbers = opt.parse_peaks(peaks)
    source = run.Source(file, array, dims, signal_dims, energy, scale, mask)
    img = run.image(source, run.Preparation(crop, bin, False, None), None, quiet)
    with run.folder(Path(f"{file.stem}-spectrum") if out is None else out, "spectrum.nc", quiet) as folder:
        settings = cli_spectrum.Settings(numbers, noise, poisson, edge.value, exchange, seed)
        cli_spectrum.written(folder, cli_spectrum.decomposed(img, settings, quiet))


@app.command(name="simulate")
def simulate_(
    kind: Annotated[Kind, typer.Argument(help="What to simulate.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="File to write: .npz, .h5, .hspy, .zarr or .nc.", show_default=False)
    ],
    seed: opt.SeedOption = 0,
    size: Annotated[
        int | None,
        typer.Option(min=1, help="Pixels along a side (in all, for a line or a mixture); 32 for nanosheets."),
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(min=1, help="Channels (along a side, for patterns and nanosheets, where 64 are the default)."),
    ] = None,
    counts: Annotated[float | None, typer.Option(help="Expected counts per spectrum.", show_default=False)] = None,
) -> None:
    """Write a simulated spectrum image, and beside it the truth: true maps and spectra, in OUT-truth.nc.

    jaxunmix simulate eels-oxides --out oxides.npz --counts 500
    """
    generator, pixels = _KINDS[kind]
    wanted: dict[str, Any] = {}
    if kind is Kind.nanosheets:
        # Those of the publication, 100 and 128, take 650 MB.
        size, channels = size or 32, channels or 64
    if size is not None:
        wanted[pixels] = (size, size) if pixels == "shape" else size
    if channels is not None:
        patterned = "detector" in inspect.signature(generator).parameters
        wanted |= {"detector": (channels, channels)} if patterned else {"channels": channels}
    if counts is not None:
        if "counts" not in inspect.signature(generator).parameters:
            raise ValueError(f"--counts: {kind.value} is absorbance with Gaussian noise; leave it out")
        wanted["counts"] = counts
    if kind is Kind.mixture:
        wanted["noise"] = "poisson"
    img, truth = generator(jax.random.key(seed), **wanted)
    io.save(img, out)
    beside = out.with_name(f"{out.stem}-truth.nc")
    names = {"component": list(truth.names)}
    maps, spectra = img.to_maps(truth.maps), img.to_spectra(truth.spectra)
    parts = {"maps": maps, "spectra": spectra}
    if truth.reference is not None:
        parts["reference"] = img.to_spectra(truth.reference[None])[0].drop_vars("component", errors="ignore")
    io.save_dataset(xr.Dataset(parts).assign_coords(names), beside)
    print(f"image  {out}\ntruth  {beside}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = Path("demo"),
    seed: opt.SeedOption = 0,
    quiet: opt.QuietOption = False,
) -> None:
    """Simulate an EDX map of three phases, unmix it, and compare with the truth. Takes about 20 seconds."""
    start = time.monotonic()
    img, truth = simulate.edx_phases(jax.random.key(seed))
    if not quiet:
        run.say(repr(img))
    settings = _Settings(3, Loss.poisson, False, Update.auto, Start.auto, 3, 500, 1e-6, seed, None, None)
    with run.folder(out, "result.nc", quiet) as folder:
        io.save(img, folder / "image.npz")
        solution = _fitted(img, settings, quiet)
        _written(folder, solution, img, truth, "EDX of three phases, simulated", _COMMAND.get())
    found = metrics.match(solution.spectra, truth.spectra)
    angles = ", ".join(f"{n} {a:.1f}°" for n, a in zip(truth.names, found.angles, strict=True))
    print(f"angle to the true spectra: {angles}  ({time.monotonic() - start:.0f} s)")
    if solution.status is Status.INTERRUPTED:
        raise typer.Exit(130)
