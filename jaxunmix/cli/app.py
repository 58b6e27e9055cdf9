"""The command line: `jaxunmix unmix | rank | spectrum | simulate | demo`.

Exit codes: 0 done, 1 unexpected, 2 bad input or usage, 130 interrupted (the best iterate is written first).
"""

import shlex
import sys
import time
import traceback
from collections.abc import Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated

import jax
import typer

from .. import __version__, metrics, simulate
from ..data import io
from ..factor.solution import Status
from . import inputs as run
from . import options as opt
from . import rank as cli_rank
from . import spectrum as cli_spectrum
from .options import Loss, Start, Update
from .unmix import _fitted, _Settings, _written

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
# What was typed, for the page.
_COMMAND: ContextVar[str] = ContextVar("command")


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
