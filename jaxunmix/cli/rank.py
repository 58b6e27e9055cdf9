"""What `jaxunmix rank` does: the scan from its options, the table and the words it prints, and its files."""

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import jax

from .. import __version__, rank
from ..data import io
from ..data.image import SpectrumImage
from ..factor.problem import Problem
from ..report import page, plots
from ..report.page import scan as scan_page
from ..report.plots import ranks as rank_plots
from . import inputs as run
from .options import Criterion, Loss

# Options of `rank` that `unmix` does not have, or whose value suits a scan only.
_SCAN_ONLY = ("--ranks", "--criteria", "--folds", "--restarts", "--max-steps", "--out", "-o")
_FLAGS_LEFT_OUT = ("--quiet", "-q")
_DEFAULT = (Criterion.bcv, Criterion.scree, Criterion.crossing, Criterion.elbow)
# Scree and Crossing suppose noise of even strength, and other losses another.
_DEFAULT_OTHER_LOSS = (Criterion.bcv, Criterion.aic, Criterion.elbow)
# The others' fits take several times as long as those of least squares.
_FOLDS, _FOLDS_SLOW = 20, 5
_OTHERS: Mapping[Criterion, Callable[[], rank.AbstractCriterion]] = {
    Criterion.plateau: rank.Plateau,
    Criterion.elbow: rank.Elbow,
    Criterion.crossing: rank.Crossing,
    Criterion.scree: rank.Scree,
    Criterion.malinowski: rank.Malinowski,
    Criterion.aic: rank.AIC,
    Criterion.bic: rank.BIC,
    Criterion.dispersion: rank.Dispersion,
}


@dataclass(frozen=True)
class Settings:
    """What is scanned, and how; None where the data decide."""

    ranks: range | None
    criteria: tuple[Criterion, ...] | None
    folds: int | None
    loss: Loss
    orthogonal: bool
    restarts: int
    max_steps: int
    seed: int


def scanned(img: SpectrumImage, settings: Settings, quiet: bool) -> rank.Scan:
    """The scan.

    Raises:
        ValueError: ranks, folds or criteria that the data cannot serve.
    """
    run.check_loss(img, settings.loss, settings.orthogonal)
    problem = Problem(img.matrix(), run.LOSSES[settings.loss], constraints=run.constraints(settings.orthogonal))
    ranks = _ranks(problem) if settings.ranks is None else settings.ranks
    return rank.scan(
        problem,
        ranks,
        _criteria(problem, ranks, settings, quiet),
        settings.restarts,
        key=jax.random.key(settings.seed),
        max_steps=settings.max_steps,
        progress=not quiet,
    )


def _ranks(problem: Problem) -> range:
    """2 to 10, or as many as a fit without one fold of a small image can have."""
    most = max(1, min(10, min(problem.matrix.shape) - 1))
    return range(min(2, most), most + 1)


def _criteria(problem: Problem, ranks: range, settings: Settings, quiet: bool) -> list[rank.AbstractCriterion]:
    """Those asked for; of the default ones those that the ranks and the data can serve."""
    if settings.criteria is not None and settings.folds is not None and Criterion.bcv not in settings.criteria:
        raise ValueError("--folds is for bcv, which is not among --criteria; leave out --folds or add bcv")
    plain = settings.loss is Loss.frobenius
    folds = settings.folds
    if folds is None:
        folds = max(2, min(_FOLDS if plain else _FOLDS_SLOW, *problem.matrix.shape))
    wanted = settings.criteria or (_DEFAULT if plain else _DEFAULT_OTHER_LOSS)
    made = [rank.BiCrossValidation(folds) if name is Criterion.bcv else _OTHERS[name]() for name in wanted]
    if settings.criteria is not None:
        return made
    # What was asked for and cannot be is an error; what is only the default may be missing, but not unsaid.
    kept: list[rank.AbstractCriterion] = made[:1]
    for criterion in made[1:]:
        try:
            criterion.check(problem, list(ranks), settings.restarts)
        except ValueError as error:
            if not quiet:
                run.say(f"note: left out: {error}")
        else:
            kept.append(criterion)
    return kept


def written(folder: Path, scan: rank.Scan, img: SpectrumImage, title: str, command: str) -> None:
    """Write the table, the figures and the page, and print the table and what it means."""
    table = rank_plots.dataset(scan)
    steps = json.dumps(list(img.provenance), default=str)
    io.save_dataset(table.assign_attrs(provenance=steps, jaxunmix_version=__version__), folder / "rank.nc")
    plots.rank(table).savefig(folder / "rank.png")
    plots.mse(table).savefig(folder / "mse.png")
    proposal = None if scan.best is None else following(command, scan.best)
    page.write_scan(folder / "report.html", scan, img, title, command, proposal)
    head, rows = scan_page.value_rows(table)
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        print("  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)))
    print()
    said = scan_page.verdict_rows(table)
    longest = max(len(name) for name, _ in said)
    for name, words in said:
        print(f"{name.ljust(longest)}  {words}")
    print(f"\n{scan_page.conclusion(table)}")
    print(f"table    {folder / 'rank.nc'}")
    print(f"figures  {folder / 'rank.png'} {folder / 'mse.png'}")
    print(f"report   {folder / 'report.html'}")
    if proposal is not None:
        print(f"next     {proposal}")


def following(command: str, components: int) -> str:
    """The command that unmixes what was scanned: the same file, preparation and model.

    Counts that were scaled for the scan are unmixed as what they are, so that the result is in counts.

    >>> following("jaxunmix rank a.npz --ranks 2:6 --crop energy=1: -o x", 4)
    'jaxunmix unmix a.npz --crop energy=1: -k 4'
    >>> following("jaxunmix rank a.npz --normalise poisson -q", 3)
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
