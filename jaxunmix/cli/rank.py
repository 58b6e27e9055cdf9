"""`jaxunmix rank`: how many components there are."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import jax
import typer

from .. import __version__, rank
from .._util.parts import named_parts
from ..data import io
from ..data.image import SpectrumImage
from ..factor import Problem
from ..report import page, plots
from ..report.page.scan import conclusion, value_rows, verdict_rows
from ..report.plots.ranks import dataset
from . import options as opt
from .inputs import Preparation, Source, check_loss, load_image, make_problem
from .options import FIT, OUT
from .outputs import COMMAND, open_folder, say

SCAN = "Scan"
CRITERIA = named_parts(
    rank,
    rank.AbstractCriterion,
    ("bcv", "plateau", "elbow", "crossing", "scree", "malinowski", "aic", "bic", "dispersion", "likeness"),
)
_REMARKS = {"bcv": "bi-cross-validation: what best predicts data that no fit has seen", "crossing": "with PCA"}
_LISTED = ", ".join(f"{name} ({_REMARKS[name]})" if name in _REMARKS else name for name in CRITERIA)
_DEFAULT = ("bcv", "scree", "crossing", "elbow")
# Scree and Crossing suppose noise of even strength, and other losses another.
_DEFAULT_OTHER_LOSS = ("bcv", "aic", "elbow")
# The others' fits take several times as long as those of least squares.
_FOLDS, _FOLDS_SLOW = 20, 5
# Options of `rank` that `unmix` does not have, or whose value suits a scan only.
_SCAN_ONLY = ("--ranks", "--criteria", "--folds", "--restarts", "--max-steps", "--out", "-o")
_FLAGS_LEFT_OUT = ("--quiet", "-q")

RanksOption = Annotated[
    str | None,
    typer.Option(
        metavar="LOW:HIGH",
        help="Numbers of components to try, both ends included. By default 2:10, or fewer where the data are small.",
        show_default=False,
        rich_help_panel=SCAN,
    ),
]
CriteriaOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME,NAME",
        help=f"What chooses, the first before the others: {_LISTED}. By default {','.join(_DEFAULT)}, or "
        f"{','.join(_DEFAULT_OTHER_LOSS)} for other losses than frobenius. All but bcv cost next to nothing.",
        show_default=False,
        rich_help_panel=SCAN,
    ),
]
FoldsOption = Annotated[
    int | None,
    typer.Option(
        help="Folds of bcv. By default 20, or 5 for other losses than frobenius, whose fits take longer, and no more "
        "than there are pixels or channels.",
        show_default=False,
        rich_help_panel=SCAN,
    ),
]
RestartsOption = Annotated[
    int, typer.Option("--restarts", min=1, help="Starts at each number of components.", rich_help_panel=FIT)
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="Folder for the results, of which an older one is replaced; by default the name of FILE and -rank, here.",
        show_default=False,
        rich_help_panel=OUT,
    ),
]


@dataclass(frozen=True)
class Settings:
    """What is scanned, and how, criteria and losses by their names; None where the data decide."""

    ranks: range | None
    criteria: tuple[str, ...] | None
    folds: int | None
    loss: str
    orthogonal: bool
    restarts: int
    max_steps: int
    seed: int


def find_rank(
    file: opt.FileArgument,
    ranks: RanksOption = None,
    criteria: CriteriaOption = None,
    folds: FoldsOption = None,
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
    restarts: RestartsOption = 5,
    max_steps: opt.MaxStepsOption = 200,
    seed: opt.SeedOption = 0,
    out: OutOption = None,
    quiet: opt.QuietOption = False,
) -> None:
    """Find how many components a spectrum image has: fit a range of numbers and compare them.

        jaxunmix rank map.hspy --ranks 2:8 --crop energy=0.2: --normalise poisson

    The criteria suppose noise of even strength: --normalise poisson gives it to counts (EDX, ToF-SIMS), and is
    quicker and surer than --loss poisson here.

    Prints what each criterion says and how decisively, and writes rank.nc, pictures and report.html. No criterion
    is right everywhere: look at the curves, and at the maps of one component less and one more.
    """
    numbers = None if ranks is None else _parse_ranks(ranks)
    names = None if criteria is None else _parse_criteria(criteria)
    merge = merge_within if merge_within is not None else 0.0 if merge_repeated else None
    source = Source(file, array, dims, signal_dims, energy, scale, mask, columns, axis, units, merge)
    hint = "--normalise poisson evens their noise for the criteria" if loss is None else None
    img = load_image(source, Preparation(crop, bin, clip_negative, normalise, mask_non_finite), hint, quiet)
    settings = Settings(numbers, names, folds, loss or "frobenius", orthogonal, restarts, max_steps, seed)
    with open_folder(Path(f"{file.stem}-rank") if out is None else out, "rank.nc", quiet) as folder:
        scan = scan_image(img, settings, quiet)
        write_results(folder, scan, img, file.name, COMMAND.get())


def _parse_ranks(text: str) -> range:
    """The numbers of components of --ranks, both ends included."""
    found = opt.parse_numbers("--ranks", text)
    if found.start < 1:
        raise ValueError(f"--ranks {text}: there is no fit of 0 components; begin with 1 or more")
    return found


def _parse_criteria(text: str) -> tuple[str, ...]:
    """The criteria of --criteria, in their order."""
    names = [name.strip().lower() for name in text.split(",")]
    for name in names:
        if name not in CRITERIA:
            raise ValueError(f"--criteria {text}: '{name}' is none of {', '.join(CRITERIA)}")
        if names.count(name) > 1:
            raise ValueError(f"--criteria {text}: {name} is there twice")
    return tuple(names)


def scan_image(img: SpectrumImage, settings: Settings, quiet: bool) -> rank.Scan:
    """The scan that the settings ask for.

    Raises:
        ValueError: ranks, folds or criteria that the data cannot serve.
    """
    check_loss(img, settings.loss, settings.orthogonal)
    problem = make_problem(img.matrix(), settings.loss, settings.orthogonal)
    ranks = _default_ranks(problem) if settings.ranks is None else settings.ranks
    return rank.scan(
        problem,
        ranks,
        _make_criteria(problem, ranks, settings, quiet),
        settings.restarts,
        key=jax.random.key(settings.seed),
        max_steps=settings.max_steps,
        progress=not quiet,
    )


def _default_ranks(problem: Problem) -> range:
    """2 to 10, or as many as a fit without one fold of a small image can have."""
    most = max(1, min(10, min(problem.matrix.shape) - 1))
    return range(min(2, most), most + 1)


def _make_criteria(problem: Problem, ranks: range, settings: Settings, quiet: bool) -> list[rank.AbstractCriterion]:
    """Those asked for; of the default ones those that the ranks and the data can serve."""
    if settings.criteria is not None and settings.folds is not None and "bcv" not in settings.criteria:
        raise ValueError("--folds is for bcv, which is not among --criteria; leave out --folds or add bcv")
    plain = settings.loss == "frobenius"
    folds = settings.folds
    if folds is None:
        folds = max(2, min(_FOLDS if plain else _FOLDS_SLOW, *problem.matrix.shape))
    wanted = settings.criteria or (_DEFAULT if plain else _DEFAULT_OTHER_LOSS)
    made = [rank.BiCrossValidation(folds) if name == "bcv" else CRITERIA[name]() for name in wanted]
    if settings.criteria is not None:
        return made
    # What was asked for and cannot be is an error; what is only the default may be missing, but not unsaid.
    kept: list[rank.AbstractCriterion] = made[:1]
    for criterion in made[1:]:
        try:
            criterion.check(problem, list(ranks), settings.restarts)
        except ValueError as error:
            if not quiet:
                say(f"note: left out: {error}")
        else:
            kept.append(criterion)
    return kept


def write_results(folder: Path, scan: rank.Scan, img: SpectrumImage, title: str, command: str) -> None:
    """Write the table, the figures and the page, and print the table and what it means."""
    table = dataset(scan)
    steps = json.dumps(list(img.provenance), default=str)
    io.save_dataset(table.assign_attrs(provenance=steps, jaxunmix_version=__version__), folder / "rank.nc")
    plots.rank(table).savefig(folder / "rank.png")
    plots.mse(table).savefig(folder / "mse.png")
    proposal = None if scan.best is None else _propose(command, scan.best)
    page.write_scan(folder / "report.html", scan, img, title, command, proposal)
    head, rows = value_rows(table)
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        print("  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)))
    print()
    said = verdict_rows(table)
    longest = max(len(name) for name, _ in said)
    for name, words in said:
        print(f"{name.ljust(longest)}  {words}")
    print(f"\n{conclusion(table)}")
    print(f"table    {folder / 'rank.nc'}")
    print(f"figures  {folder / 'rank.png'} {folder / 'mse.png'}")
    print(f"report   {folder / 'report.html'}")
    if proposal is not None:
        print(f"next     {proposal}")


def _propose(command: str, components: int) -> str:
    """The command that unmixes what was scanned: the same file, preparation and model.

    Counts that were scaled for the scan are unmixed as what they are, so that the result is in counts.

    >>> _propose("jaxunmix rank a.npz --ranks 2:6 --crop energy=1: -o x", 4)
    'jaxunmix unmix a.npz --crop energy=1: -k 4'
    >>> _propose("jaxunmix rank a.npz --normalise poisson -q", 3)
    'jaxunmix unmix a.npz --loss poisson -k 3'
    """
    typed, kept = shlex.split(command)[2:], []
    # Orthogonal maps are fitted by least squares, which wants the scaled counts.
    counted = ["--loss", "poisson"] if "--orthogonal" not in typed else ["--normalise", "poisson"]
    words = iter(typed)
    for word in words:
        name, joined, value = word.partition("=")
        if name in (*_SCAN_ONLY, "--normalise"):
            value = value if joined else next(words, "")
            if name == "--normalise":
                kept += counted if value == "poisson" else [name, value]
        elif word not in _FLAGS_LEFT_OUT and not (word.startswith("-o") and len(word) > 2):
            kept.append(word)
    return shlex.join(["jaxunmix", "unmix", *kept, "-k", str(components)])
