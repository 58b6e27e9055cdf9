"""`jaxunmix unmix`: one spectrum image into maps and spectra."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from .. import simulate
from ..data import io
from ..data.image import SpectrumImage
from ..factor import initial, updates
from ..factor.problem import Problem
from ..factor.solution import Solution
from ..factor.solve.fitting import fit
from ..matrix.compressed import Compressed
from ..report import page, plots
from . import inputs as run
from .options import Loss, Start, Update

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
