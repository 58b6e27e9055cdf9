"""`jaxunmix demo`: a simulated image from its counts to the comparison with the truth."""

import time
from pathlib import Path
from typing import Annotated

import jax
import typer

from .. import metrics, simulate
from ..data import io
from ..factor import Status
from . import options as opt
from .outputs import COMMAND, open_folder, say
from .unmix import AUTO, Settings, fit_image, write_results


def demonstrate(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = Path("demo"),
    seed: opt.SeedOption = 0,
    quiet: opt.QuietOption = False,
) -> None:
    """Simulate an EDX map of three phases, unmix it, and compare with the truth. Takes about 20 seconds."""
    start = time.monotonic()
    img, truth = simulate.edx_phases(jax.random.key(seed))
    if not quiet:
        say(repr(img))
    settings = Settings(3, "poisson", False, AUTO, AUTO, 3, 500, 1e-6, seed, None, None)
    with open_folder(out, "result.nc", quiet) as folder:
        io.save(img, folder / "image.npz")
        solution = fit_image(img, settings, quiet)
        write_results(folder, solution, img, truth, "EDX of three phases, simulated", COMMAND.get())
    found = metrics.match(solution.spectra, truth.spectra)
    angles = ", ".join(f"{n} {a:.1f}°" for n, a in zip(truth.names, found.angles, strict=True))
    print(f"angle to the true spectra: {angles}  ({time.monotonic() - start:.0f} s)")
    if solution.status is Status.INTERRUPTED:
        raise typer.Exit(130)
