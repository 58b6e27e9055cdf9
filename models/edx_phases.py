r"""Phases and their compositions from STEM-EDX, by Poisson factorisation on a basis of line physics.

Source: A. Teurtrie et al., "From STEM-EDXS data to phase separation and quantification using physics-guided NMF",
Ultramicroscopy 249 (2023) 113719. At each pixel of a thin foil there are few X-ray counts, and phases lie over each
other. Their spectra, maps and atomic compositions are to be found:

1. $X \sim \mathrm{Poisson}(M A B)$: maps M, coefficients A (atomic fractions of each phase, and bremsstrahlung), and a
   basis B of emission lines and bremsstrahlung (`jaxunmix.physics.xray`). The fractions of each phase sum to one.
2. A penalty on the logarithm of the maps says that most pixels hold few phases, a Laplacian that neighbours are alike.
   The paper chooses both weights by hand; here counts that were not fitted choose them (`jaxunmix.tune`).
3. Spectra are fitted to pooled pixels, maps to single ones (`jaxunmix.fit_pooled`).
4. Each phase absorbs its own radiation. The absorption follows the composition that was found, until neither changes.
5. Every method of the paper's figure 1, and the oracle that is given the true maps: mean spectral angle, and mean
   squared error of the maps in units of a full pixel.

The data are simulated (`jaxunmix.simulate.mantle_minerals`), so that the truth is known, and made with the
cross-sections, yields and detector that the basis has: the errors are those of counting and of the method, not those of
the physics.

    python -m models.edx_phases [--tiny] [--counts 18] [--seed N] [--starts N] [--out DIR]
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
import xarray as xr
from jax import Array
from sklearn.decomposition import NMF, FastICA

import jaxunmix as jxu
from jaxunmix.physics.xray import EmissionModel

# Of the foil: energy of the beam, take-off angle, thickness, and density of each phase, g per cubic cm.
BEAM_KEV, TAKE_OFF_DEG, THICKNESS_NM, DENSITY = 200.0, 22.0, 100.0, (4.2, 4.1, 4.5)
PHASES = 3
CHOSEN, REFRESHED = "chosen penalties", "chosen penalties, absorbing"

Factors = tuple[np.ndarray, np.ndarray]
Found = tuple[np.ndarray, np.ndarray, float]  # maps, spectra, and the objective by which starts are compared


@dataclass(frozen=True)
class Report:
    """What was found, and how far it is from the truth.

    Attributes:
        scores: a row for each method and start: "method", "start", the angle of each phase and their mean in degrees,
            "mse" of the maps, and the objective. Methods without a random start have one.
        table: for each method "angle" and "mse" of the start with the lowest objective, which is what one would report
            without knowing the truth (of ICA, which has none, the first), and the least and largest of all its starts.
        problem: with the chosen weights; `problem.tuning` tells how they were chosen.
        pooled: the fit with these weights, absorbing.
        phases: at.% of each phase (rows: phases, found and true).
        factors: (maps, spectra) of the first start of each method, in the order of the true phases; each spectrum sums
            to one, the maps are shares of a full pixel.
    """

    scores: pd.DataFrame
    table: pd.DataFrame
    problem: jxu.Problem
    pooled: jxu.Pooled
    phases: pd.DataFrame
    factors: dict[str, Factors]


def simulate(
    key: Array, counts: float = 18, shape: tuple[int, int] = (128, 128), channels: int = 1980
) -> tuple[jxu.SpectrumImage, jxu.simulate.Truth]:
    """The image (y, x, energy) of three minerals, and its truth."""
    return jxu.simulate.mantle_minerals(key, counts, shape, channels, thickness_nm=THICKNESS_NM)


def build(
    img: jxu.SpectrumImage, elements: Sequence[str], density: Any = DENSITY, thickness_nm: float = THICKNESS_NM
) -> tuple[EmissionModel, jxu.Problem]:
    """The emission model, and the problem of steps 1 and 2 with both weights open."""
    model = EmissionModel(elements, img.data.energy.values, BEAM_KEV, TAKE_OFF_DEG, thickness_nm, np.array(density))
    penalties = (jxu.penalties.LogSparsity("maps", "auto"), jxu.penalties.Laplacian("maps", "auto", img.grid))
    return model, guided(img.matrix(), model.basis(None), penalties)


def guided(matrix: Any, basis: Any, penalties: Sequence[Any] = (), *more: Any) -> jxu.Problem:
    """Step 1 with these penalties and further constraints."""
    constraints = (
        jxu.constraints.NonNegative("maps"),
        jxu.constraints.NonNegative("coefficients"),
        jxu.constraints.Simplex("coefficients", basis.element_columns),
        *more,
    )
    return jxu.Problem(matrix, jxu.losses.Poisson(), basis, penalties, constraints=constraints)


def refresh(model: EmissionModel) -> Callable[[np.ndarray], Any]:
    """Step 4: the basis of each phase, absorbing by the composition in these coefficients."""
    columns = list(model.basis(None).element_columns)
    return lambda coefficients: model.basis(coefficients[:, columns])


def zeros(truth: jxu.simulate.Truth) -> jxu.constraints.Fixed:
    """The elements that each phase does not have, known beforehand."""
    assert truth.coefficients is not None
    return jxu.constraints.Fixed("coefficients", values=np.where(truth.coefficients == 0, 0.0, np.nan))


def oracle(matrix: Any, basis: Any, truth: jxu.simulate.Truth) -> jxu.Solution:
    """The coefficients that the true maps give: what is left is the noise of counting."""
    assert truth.coefficients is not None
    start = jxu.initial.Given(truth.maps, coefficients=truth.coefficients + 1e-4)
    # Without the sum of one, as the maps are given with their scale.
    signs = (jxu.constraints.NonNegative("maps"), jxu.constraints.NonNegative("coefficients"))
    constraints = (*signs, jxu.constraints.Fixed("maps"))
    problem = jxu.Problem(matrix, jxu.losses.Poisson(), basis, constraints=constraints)
    return jxu.fit(problem, PHASES, init=start, max_steps=200)


def scikit_learn(matrix: Any, method: Any) -> Found:
    """NMF or ICA of scikit-learn; of ICA the sources without their means taken off, and each of either sign."""
    if isinstance(method, FastICA):
        x = dense(matrix)
        method.fit(x)
        signs = np.sign(method.mixing_.sum(axis=0))
        return x @ method.components_.T * signs, (method.mixing_ * signs).T, 0.0
    maps = method.fit_transform(matrix.to_scipy() if isinstance(matrix, jxu.Counts) else dense(matrix))
    return maps, method.components_, method.reconstruction_err_


def dense(matrix: Any) -> np.ndarray:
    """(pixels, channels)."""
    return matrix.to_scipy().toarray() if isinstance(matrix, jxu.Counts) else np.asarray(matrix.values)


def vca(matrix: Any, key: Array) -> jxu.Solution:
    """The purest pixels, and non-negative least squares."""
    found = jxu.initial.VCA()(jxu.Problem(matrix), PHASES, key)
    return jxu.project(matrix, found.profiles)


def methods(
    problem: jxu.Problem, basis: Any, model: EmissionModel, truth: jxu.simulate.Truth
) -> dict[str, tuple[bool, Callable[[Array], Any]]]:
    """Each method as a function of a key, and whether the key makes a difference.

    Args:
        problem: with its weights chosen.
        basis: without absorption, which the problem has too.
        model: of the emission.
        truth: for what the paper takes as known, and for the oracle.
    """
    matrix = problem.matrix

    def seed(key: Array) -> int:
        return int(jax.random.randint(key, (), 0, 2**31 - 1))

    def nmf(key: Array, **options: Any) -> Found:
        return scikit_learn(matrix, NMF(PHASES, init="random", random_state=seed(key), **options))

    def ica(key: Array) -> Found:
        return scikit_learn(matrix, FastICA(PHASES, whiten_solver="eigh", random_state=seed(key)))

    def fitted(key: Array, *more: Any) -> jxu.Solution:
        return jxu.fit(guided(matrix, basis, (), *more), PHASES, key=key)

    return {
        "NMF, Frobenius": (True, nmf),
        "NMF, Kullback-Leibler": (True, lambda key: nmf(key, solver="mu", beta_loss="kullback-leibler")),
        "ICA": (True, ica),
        "VCA + NNLS": (True, lambda key: vca(matrix, key)),
        "physics-guided": (True, fitted),
        "known zeros": (True, lambda key: fitted(key, zeros(truth))),
        CHOSEN: (True, lambda key: jxu.fit_pooled(problem, PHASES, key=key)),
        REFRESHED: (True, lambda key: jxu.fit_pooled(problem, PHASES, key=key, refresh=refresh(model))),
        "oracle": (False, lambda key: oracle(matrix, basis, truth)),
        "oracle, absorbing": (False, lambda key: oracle(matrix, model.basis(truth.compositions), truth)),
    }


def in_order(found: jxu.Pooled | jxu.Solution | Found, truth: jxu.simulate.Truth) -> tuple[Factors, np.ndarray, float]:
    """Shares of a full pixel and spectra of sum one, in the order of the true phases; their angles; the objective."""
    if isinstance(found, jxu.Pooled):
        # What the pooled fit reached: the maps of single pixels only follow.
        found = (found.solution.maps, found.solution.spectra, found.pooled.objective)
    elif isinstance(found, jxu.Solution):
        found = (found.maps, found.spectra, found.objective)
    maps, spectra, objective = found
    area = np.abs(spectra).sum(axis=1)
    area[area == 0] = 1
    spectra = spectra / area[:, None]
    order = jxu.metrics.match(spectra, truth.spectra).order
    full = truth.maps.sum(axis=1).mean()
    angles = jxu.metrics.spectral_angle(spectra[order], truth.spectra)
    return ((maps * area / full)[:, order], spectra[order]), angles, objective


def compare(
    problem: jxu.Problem, basis: Any, model: EmissionModel, truth: jxu.simulate.Truth, starts: int, key: Array
) -> tuple[pd.DataFrame, dict[str, Factors], jxu.Pooled]:
    """Step 5: `Report.scores` and `Report.factors`, and the first fit with absorption."""
    rows, factors, kept = [], {}, None
    shares = truth.maps / truth.maps.sum(axis=1).mean()
    for name, (is_random, run) in methods(problem, basis, model, truth).items():
        for start in range(starts if is_random else 1):
            found = run(jax.random.fold_in(key, start))
            kept = found if name == REFRESHED and start == 0 else kept
            found, angles, objective = in_order(found, truth)
            factors.setdefault(name, found)
            error = float(np.mean((found[0] - shares) ** 2))
            each = dict(zip(truth.names, angles, strict=True))
            values = {"angle": angles.mean(), "mse": error, "objective": objective}
            rows.append({"method": name, "start": start} | each | values)
    assert kept is not None
    return pd.DataFrame(rows), factors, kept


def summary(scores: pd.DataFrame) -> pd.DataFrame:
    """`Report.table`."""
    grouped = scores.groupby("method", sort=False)
    best = scores.loc[grouped["objective"].idxmin()].set_index("method")
    columns = {what: best[what] for what in ("angle", "mse")}
    columns |= {f"{what} {how}": grouped[what].agg(how) for what in ("angle", "mse") for how in ("min", "max")}
    return pd.DataFrame(columns)


def analyse(
    img: jxu.SpectrumImage,
    model: EmissionModel,
    problem: jxu.Problem,
    truth: jxu.simulate.Truth,
    starts: int,
    key: Array,
) -> Report:
    """Steps 2 to 5.

    Args:
        img: the image.
        model: of `build`.
        problem: of `build`.
        truth: what to compare with.
        starts: random starts of each method; the penalised fits take the best of 16 in each.
        key: randomness.
    """
    tuned, compared = jax.random.split(key)
    problem = jxu.tune(problem, PHASES, key=tuned)
    basis = model.basis(None)
    scores, factors, pooled = compare(problem, basis, model, truth, starts, compared)
    return Report(scores, summary(scores), problem, pooled, composition(pooled, basis, truth), factors)


def composition(pooled: jxu.Pooled, basis: Any, truth: jxu.simulate.Truth) -> pd.DataFrame:
    """`Report.phases`."""
    order = jxu.metrics.match(pooled.solution.spectra, truth.spectra).order
    found = np.asarray(pooled.solution.coefficients)[order][:, list(basis.element_columns)]
    both = np.stack([100 * found / found.sum(axis=1, keepdims=True), 100 * truth.compositions], axis=1)
    index = pd.MultiIndex.from_product([truth.names, ["found", "true"]], names=["phase", "at.%"])
    return pd.DataFrame(both.reshape(-1, both.shape[-1]), index, list(truth.elements))


def text(report: Report) -> str:
    """The report in words and numbers."""
    parts = {
        "Mean angle (degrees) and mean squared error of the maps": in_columns(report.table, 4),
        "Angle of each phase": in_columns(report.scores.drop(columns=["mse", "objective"]), 2),
        "Weights": "\n".join(f"{curve.penalty}: {curve.chosen:.3g}" for curve in report.problem.tuning.curves),
        "Rounds of absorption: change of the coefficients": " ".join(f"{c:.4f}" for c in report.pooled.changes),
        "Composition of each phase (at.%)": in_columns(report.phases, 2),
    }
    return "\n\n".join(f"{title}\n{body}" for title, body in parts.items())


def in_columns(frame: pd.DataFrame, digits: int) -> str:
    """A table as text."""
    return frame.to_string(float_format=f"{{:.{digits}f}}".format)


def figures(img: jxu.SpectrumImage, truth: jxu.simulate.Truth, report: Report) -> dict[str, Any]:
    """Every figure by its file name."""
    found = xr.Dataset(
        {"maps": img.to_maps(report.pooled.solution.maps), "spectra": img.to_spectra(report.pooled.solution.spectra)}
    )
    shares = truth.maps / truth.maps.sum(axis=1).mean()
    shown = {"truth": shares} | {
        name: report.factors[name][0] for name in ("NMF, Kullback-Leibler", "physics-guided", REFRESHED)
    }
    panels = np.stack([maps[:, k] for k in range(PHASES) for maps in shown.values()], axis=1)
    names = [truth.names[k] if name == "truth" else name for k in range(PHASES) for name in shown]
    maps = img.to_maps(panels).assign_coords(component=names)
    return {
        "comparison": jxu.plots.comparison(found, truth.maps, truth.spectra, truth.names),
        "maps": jxu.plots.maps(maps.to_dataset(name="maps")),
    }


def write(folder: Path, img: jxu.SpectrumImage, truth: jxu.simulate.Truth, report: Report) -> None:
    """The text, the tables and the figures as files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.txt").write_text(text(report) + "\n", encoding="utf-8")
    for name in ("scores", "table", "phases"):
        getattr(report, name).to_csv(folder / f"{name}.csv", float_format="%.6g")
    for name, figure in figures(img, truth, report).items():
        figure.savefig(folder / f"{name}.png")


def main(argv: Sequence[str] | None = None) -> Report:
    """Simulate, analyse, print and write; see the module."""
    options = arguments(argv)
    simulated, analysed = jax.random.split(jax.random.key(options.seed))
    img, truth = simulate(simulated, options.counts, options.shape)
    model, problem = build(img, truth.elements)
    report = analyse(img, model, problem, truth, options.starts, analysed)
    print(text(report))
    if options.out is not None:
        write(options.out, img, truth, report)
    return report


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options, with what `--tiny` leaves open filled in."""
    parser = argparse.ArgumentParser(prog="python -m models.edx_phases", description=str(__doc__).split("\n")[0])
    parser.add_argument("--tiny", action="store_true", help="48 x 48 pixels, 293 counts, 2 starts")
    parser.add_argument("--counts", type=float, help="expected in each spectrum, 18")
    parser.add_argument("--starts", type=int, help="random starts of each method, 4")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for the text, the tables and the figures")
    options = parser.parse_args(argv)
    options.counts = options.counts or (293.0 if options.tiny else 18.0)
    options.starts = options.starts or (2 if options.tiny else 4)
    options.shape = (48, 48) if options.tiny else (128, 128)
    return options


if __name__ == "__main__":
    main()
