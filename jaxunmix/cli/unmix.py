"""`jaxunmix unmix`: one spectrum image into maps and spectra."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import jax
import numpy as np
import typer

from .. import rank, simulate
from .._util.parts import named_parts
from ..data import io
from ..data.image import SpectrumImage
from ..factor import Solution, Status, fit, initial, penalties, updates
from ..matrix import Compressed
from ..report import page, plots
from . import options as opt
from .inputs import Preparation, Source, check_loss, load_image, make_problem
from .options import FIT, MODEL, OUT
from .outputs import COMMAND, open_folder, say

AUTO = "auto"
# From how many components those that are not needed switch off, under -k auto.
MOST_COMPONENTS = 10
UPDATES = named_parts(updates, updates.AbstractUpdate, ("hals", "multiplicative", "als", "mals", "gradient"))
STARTS = named_parts(initial, initial.AbstractInitial, ("random", "nndsvd", "vca", "clusters"))
Update = opt.make_choice("Update", [AUTO, *UPDATES])
Start = opt.make_choice("Start", [AUTO, *STARTS])

ComponentsOption = Annotated[
    str,
    typer.Option(
        "--components",
        "-k",
        metavar="K|auto",
        help="Number of components K. A choice to look at: fit K - 1 and K + 1 too and compare what they mean. auto: "
        "from 10, those that the data do not need switch off (automatic relevance determination).",
        rich_help_panel=MODEL,
    ),
]
UpdateOption = Annotated[
    Update,
    typer.Option("--update", help="The solver. auto: hals for frobenius, else multiplicative.", rich_help_panel=FIT),
]
StartOption = Annotated[
    Start,
    typer.Option(
        "--init", help="Where the fit starts. auto: random, or clusters for --orthogonal.", rich_help_panel=FIT
    ),
]
RestartsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Starts from different random numbers, of which the best is kept. By default 5, and 1 for nndsvd and "
        "spa, which have no randomness.",
        show_default=False,
        rich_help_panel=FIT,
    ),
]
StepsOption = Annotated[
    int | None,
    typer.Option(
        min=0, help="Steps at most. By default 500, 2000 for -k auto.", show_default=False, rich_help_panel=FIT
    ),
]
RtolOption = Annotated[
    float,
    typer.Option(min=0, help="Stop when the objective's relative change per step is below.", rich_help_panel=FIT),
]
CompressOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Fit the leading directions of the data, this many: faster for wide data, frobenius only. Take several "
        "times K.",
        show_default=False,
        rich_help_panel=FIT,
    ),
]
CheckpointOption = Annotated[
    Path | None,
    typer.Option(
        help="File from which a fit that was cut off goes on, given the same command.",
        show_default=False,
        rich_help_panel=FIT,
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
        rich_help_panel=OUT,
    ),
]


@dataclass(frozen=True)
class Settings:
    """What is fitted, and how; losses, updates and starts by their names. Components of None are found."""

    components: int | None
    loss: str
    orthogonal: bool
    update: str
    init: str
    restarts: int
    max_steps: int
    rtol: float
    seed: int
    compress: int | None
    checkpoint: Path | None


def unmix(
    file: opt.FileArgument,
    components: ComponentsOption = "3",
    loss: opt.LossOption = None,
    orthogonal: opt.OrthogonalOption = False,
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
    clip_negative: opt.ClipOption = False,
    normalise: opt.NormaliseOption = None,
    update: UpdateOption = Update[AUTO],
    init: StartOption = Start[AUTO],
    restarts: RestartsOption = None,
    max_steps: StepsOption = None,
    rtol: RtolOption = 1e-6,
    compress: CompressOption = None,
    seed: opt.SeedOption = 0,
    checkpoint: CheckpointOption = None,
    out: OutOption = None,
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
    merge = merge_within if merge_within is not None else 0.0 if merge_repeated else None
    source = Source(file, array, dims, signal_dims, energy, scale, mask, columns, axis, units, merge)
    hint = "--loss poisson suits them better" if loss is None else None
    img = load_image(source, Preparation(crop, bin, clip_negative, normalise, mask_non_finite), hint, quiet)
    number = _parse_components(components)
    again = init == AUTO or STARTS[init]().is_random(number or MOST_COMPONENTS)
    settings = Settings(
        number,
        loss or "frobenius",
        orthogonal,
        update,
        init,
        restarts or (5 if again else 1),
        (2000 if number is None else 500) if max_steps is None else max_steps,
        rtol,
        seed,
        compress,
        checkpoint,
    )
    with open_folder(Path(f"{file.stem}-unmixed") if out is None else out, "result.nc", quiet) as folder:
        solution = fit_image(img, settings, quiet)
        others = {} if number is not None else find_other_ranks(img, settings)
        write_results(folder, solution, img, None, file.name, COMMAND.get(), others)
    if solution.status is Status.INTERRUPTED:
        raise typer.Exit(130)


def _parse_components(text: str) -> int | None:
    """K, or None for auto."""
    if text.strip().lower() == AUTO:
        return None
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise ValueError(f"--components {text}: give a whole number of 1 or more, or auto")
    return number


def fit_image(img: SpectrumImage, settings: Settings, quiet: bool) -> Solution:
    """The solution that the settings ask for.

    Raises:
        ValueError: settings that do not go together, or not with the data.
    """
    check_loss(img, settings.loss, settings.orthogonal)
    key = jax.random.key(settings.seed)
    matrix = img.matrix()
    if settings.compress is not None:
        matrix = Compressed(matrix, settings.compress, key=key)
    problem, number = make_problem(matrix, settings.loss, settings.orthogonal), settings.components
    if number is None:
        problem = problem.replace(penalties=(penalties.ARD("maps"),))
        number = min(MOST_COMPONENTS, *matrix.shape)
    return fit(
        problem,
        number,
        None if settings.update == AUTO else UPDATES[settings.update](),
        None if settings.init == AUTO else STARTS[settings.init](),
        settings.restarts,
        key=key,
        max_steps=settings.max_steps,
        rtol=settings.rtol,
        progress=not quiet,
        checkpoint=settings.checkpoint,
    )


def find_other_ranks(img: SpectrumImage, settings: Settings) -> dict[str, tuple[int | None, str]]:
    """The number of components by bi-cross-validation and by Malinowski's indicator, where they serve, and why."""
    problem = make_problem(img.matrix(), settings.loss, settings.orthogonal)
    # Bi-cross-validation fits four fifths of the pixels and of the channels.
    ranks = range(1, max(2, min(MOST_COMPONENTS, *(4 * size // 5 for size in problem.matrix.shape)) + 1))
    said: dict[str, tuple[int | None, str]] = {}
    for criterion in (rank.BiCrossValidation(5), rank.Malinowski()):
        try:
            scan = rank.scan(problem, ranks, (criterion,), 1, key=jax.random.key(settings.seed), max_steps=100)
        except ValueError as error:
            say(f"note: left out: {error}")
        else:
            verdict = scan.decision[criterion.name]
            said[criterion.name] = (verdict.best, verdict.reason)
    return said


def write_results(
    folder: Path,
    solution: Solution,
    img: SpectrumImage,
    truth: simulate.Truth | None,
    title: str,
    command: str,
    others: dict[str, tuple[int | None, str]] | None = None,
) -> None:
    """Write the result, the figures and the page, and print what it is and where they are."""
    result = solution.to_xarray(img)
    if others:
        result.attrs["other_ranks"] = json.dumps(others)
    io.save_dataset(result, folder / "result.nc")
    figures = {
        **({"relevance": plots.relevance(result)} if "relevance_trace" in result else {}),
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
    objective = np.asarray(solution.restarts.objective)
    near = int(np.sum(objective <= objective.min() + 0.001 * abs(objective.min())))
    print(
        f"{solution.rank} components of {solution.maps.shape[0]} pixels x {solution.spectra.shape[1]} channels, "
        f"{solution.info['loss']} by {solution.info['update']}: {solution.status.name.lower().replace('_', ' ')} after "
        f"{solution.steps} steps, objective {solution.objective:.6g}, {near} of {len(solution.restarts.objective)} "
        "restarts within 0.1 % of the best"
    )
    if others:
        print(f"K        {solution.rank} by relevance")
        for name, (number, reason) in others.items():
            print(f"         {'none' if number is None else number} by {name}: {reason}")
    print(f"result   {folder / 'result.nc'}")
    print(f"figures  {' '.join(str(folder / f'{name}.png') for name in figures)}")
    print(f"report   {folder / 'report.html'}")
