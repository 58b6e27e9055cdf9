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

`--data FILE` takes a measured map in place of the simulated ones (200 keV, take-off 22 degrees, elements and holder
lines as below): without a truth there is no table of methods, but the number of phases is chosen, by the deviance of
counts that were not fitted. Its axis starts above the line of oxygen. So cations are fitted, and oxygen follows from
their oxides; it absorbs in the model as it does in the foil.

    python -m models.edx_phases [--tiny] [--counts 18] [--seed N] [--starts N] [--out DIR]
                                [--data FILE] [--phases LOW:HIGH]
"""

import argparse
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
import xarray as xr
from jax import Array
from sklearn.decomposition import NMF, FastICA
from sklearn.exceptions import ConvergenceWarning

import jaxunmix as jxu
from jaxunmix.physics.xray import Basis, EmissionModel

# Of the foil: energy of the beam, take-off angle, thickness, and density of each phase, g per cubic cm.
BEAM_KEV, TAKE_OFF_DEG, THICKNESS_NM, DENSITY = 200.0, 22.0, 100.0, (4.2, 4.1, 4.5)
PHASES = 3
CHOSEN, REFRESHED = "chosen penalties", "chosen penalties, absorbing"

# Of the measured map. Oxygen atoms of each cation in its oxide (iron as Fe2+, though some may be Fe3+), and elements of
# grid, holder, ion beam and embedding, whose lines may have any strength. The axis starts at 0.83 keV, in the middle of
# copper's L lines; from here on the detector is modelled well.
OXIDES = {"Mg": 1.0, "Al": 1.5, "Si": 2.0, "Ca": 1.0, "Fe": 1.0, "Nd": 1.5, "Sm": 1.5, "Hf": 2.0, "Lu": 1.5, "U": 2.0}
FOREIGN = ("Cu", "Ga", "Zr", "Mo", "Cl")
LOWEST_KEV, OXYGEN_KEV, MEASURED_DENSITY = 0.91, 0.4, 4.5
BY_OXIDES = "O (by stoichiometry, not measured)"

Factors = tuple[np.ndarray, np.ndarray]
Found = tuple[np.ndarray, np.ndarray, float]  # maps, spectra, and the objective by which starts are compared


@dataclass(frozen=True)
class Report:
    """What was found, and how far it is from the truth.

    Attributes:
        scores: a row for each method and start: "method", "start", the angle of each phase and their mean in degrees,
            "mse" of the maps (NaN where they were given), and the objective. Methods without a random start have one.
        table: for each method "angle" and "mse" of the start with the lowest objective, which is what one would report
            without knowing the truth (of ICA, which has none, the first), and the least and largest of all its starts.
        problem: with the chosen weights; `problem.tuning` tells how they were chosen.
        pooled: the fit with these weights, absorbing.
        phases: at.% of each phase, see `composition`, and the true ones.
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
    return model, guided(img.matrix(), model.basis(None), open_penalties(img))


def open_penalties(img: jxu.SpectrumImage) -> tuple[Any, ...]:
    """Step 2, with weights to be chosen."""
    return jxu.penalties.LogSparsity("maps", "auto"), jxu.penalties.Laplacian("maps", "auto", img.grid)


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
    """NMF or ICA of scikit-learn, stopped at its number of iterations; sources of ICA without their means taken off."""
    x = matrix.to_scipy() if isinstance(matrix, jxu.Counts) and isinstance(method, NMF) else dense(matrix)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        maps = method.fit_transform(x)
    if isinstance(method, FastICA):
        signs = np.sign(method.mixing_.sum(axis=0))
        return x @ method.components_.T * signs, (method.mixing_ * signs).T, 0.0
    return maps, method.components_, method.reconstruction_err_


def dense(matrix: Any) -> np.ndarray:
    """(pixels, channels)."""
    return matrix.to_scipy().toarray() if isinstance(matrix, jxu.Counts) else np.asarray(matrix.values)


def vca(matrix: Any, key: Array) -> jxu.Solution:
    """The purest pixels, and non-negative least squares."""
    found = jxu.initial.VCA()(jxu.Problem(matrix), PHASES, key)
    return jxu.project(matrix, found.profiles)


def methods(
    problem: jxu.Problem, basis: Any, model: EmissionModel, truth: jxu.simulate.Truth, restarts: int = 36
) -> dict[str, tuple[bool, Callable[[Array], Any]]]:
    """Each method as a function of a key, and whether the key makes a difference.

    Args:
        problem: with its weights chosen.
        basis: without absorption, which the problem has too.
        model: of the emission.
        truth: for what the paper takes as known, and for the oracle.
        restarts: of each penalised fit.
    """
    matrix = problem.matrix

    def seed(key: Array) -> int:
        return int(jax.random.randint(key, (), 0, 2**31 - 1))

    def nmf(key: Array, **options: Any) -> Found:
        return scikit_learn(matrix, NMF(PHASES, init="random", random_state=seed(key), **options))

    def ica(key: Array) -> Found:
        return scikit_learn(matrix, FastICA(PHASES, whiten_solver="eigh", random_state=seed(key)))

    def known_zeros(key: Array) -> jxu.Solution:
        known = np.nan_to_num(zeros(truth).values, nan=1.0)
        # Even amounts of what each phase may have: the zeros alone tell the phases apart.
        start = jxu.initial.Given(coefficients=known / known.sum(axis=1, keepdims=True))
        return jxu.fit(guided(matrix, basis, (), zeros(truth)), PHASES, init=start, key=key)

    def penalised(key: Array, **options: Any) -> jxu.Pooled:
        return jxu.fit_pooled(problem, PHASES, key=key, restarts=restarts, **options)

    return {
        "NMF, Frobenius": (True, nmf),
        "NMF, Kullback-Leibler": (True, lambda key: nmf(key, solver="mu", beta_loss="kullback-leibler")),
        "ICA": (True, ica),
        "VCA + NNLS": (True, lambda key: vca(matrix, key)),
        "physics-guided": (True, lambda key: jxu.fit(guided(matrix, basis), PHASES, key=key)),
        "known zeros": (True, known_zeros),
        CHOSEN: (True, penalised),
        REFRESHED: (True, lambda key: penalised(key, refresh=refresh(model))),
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
    maps, spectra, objective = np.asarray(found[0]), np.asarray(found[1]), float(found[2])
    area = np.abs(spectra).sum(axis=1)
    area[area == 0] = 1
    spectra = spectra / area[:, None]
    order = jxu.metrics.match(spectra, truth.spectra).order
    full = truth.maps.sum(axis=1).mean()
    angles = jxu.metrics.spectral_angle(spectra[order], truth.spectra)
    return ((maps * area / full)[:, order], spectra[order]), angles, objective


def compare(
    problem: jxu.Problem,
    basis: Any,
    model: EmissionModel,
    truth: jxu.simulate.Truth,
    starts: int,
    key: Array,
    restarts: int = 36,
) -> tuple[pd.DataFrame, dict[str, Factors], jxu.Pooled]:
    """Step 5: `Report.scores` and `Report.factors`, and the first fit with absorption."""
    rows, factors, kept = [], {}, None
    shares = truth.maps / truth.maps.sum(axis=1).mean()
    for name, (is_random, run) in methods(problem, basis, model, truth, restarts).items():
        for start in range(starts if is_random else 1):
            found = run(jax.random.fold_in(key, start))
            kept = found if name == REFRESHED and start == 0 else kept
            found, angles, objective = in_order(found, truth)
            factors.setdefault(name, found)
            error = np.nan if name.startswith("oracle") else float(np.mean((found[0] - shares) ** 2))
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
    restarts: int = 12,
) -> Report:
    """Steps 2 to 5.

    Args:
        img: the image.
        model: of `build`.
        problem: of `build`.
        truth: what to compare with.
        starts: random starts of each method.
        key: randomness.
        restarts: of each fit by which a weight is chosen; a penalised fit itself takes three times as many.
    """
    tuned, compared = jax.random.split(key)
    problem = jxu.tune(problem, PHASES, key=tuned, restarts=restarts)
    basis = model.basis(None)
    scores, factors, pooled = compare(problem, basis, model, truth, starts, compared, 3 * restarts)
    order = jxu.metrics.match(pooled.solution.spectra, truth.spectra).order
    phases = composition(pooled, basis, truth.names, order)
    for name, fractions in zip(truth.names, truth.compositions, strict=True):
        phases.loc[(name, "true"), :] = 100 * fractions
    return Report(scores, summary(scores), problem, pooled, phases.loc[list(truth.names)], factors)


def composition(pooled: jxu.Pooled, basis: Basis, names: Sequence[str], order: Sequence[int]) -> pd.DataFrame:
    """At.% of each phase, and its standard deviation from counting alone and with that of the fluorescence yields.

    From the sums of pixels, in which the spectra were decided.
    """
    found = jxu.quantify(pooled.pool, pooled.pooled, replace(basis, values=pooled.pool.basis))
    rows = {"at.%": "at_percent", "sd": "at_percent_sd", "sd with yields": "at_percent_sd_total"}
    each = np.stack([found[name].values[list(order)] for name in rows.values()], axis=1)
    index = pd.MultiIndex.from_product([names, list(rows)], names=["phase", ""])
    return pd.DataFrame(each.reshape(-1, each.shape[-1]), index, list(basis.elements))


def build_measured(img: jxu.SpectrumImage) -> tuple[jxu.SpectrumImage, Callable[[Any], Basis], jxu.Problem]:
    """The image from `LOWEST_KEV` on, its basis as a function of the cations' fractions, and the problem.

    The model has oxygen, on an axis that goes on to its line; the basis has neither.
    """
    img = replace(img, data=img.data.sel(energy=slice(LOWEST_KEV, None)).astype(np.float32))
    energy = img.data.energy.values
    step = (energy[-1] - energy[0]) / (len(energy) - 1)
    more = int((energy[0] - OXYGEN_KEV) / step)
    axis = energy[0] + step * np.arange(-more, len(energy))
    elements = ("O", *OXIDES)
    model = EmissionModel(elements, axis, BEAM_KEV, TAKE_OFF_DEG, THICKNESS_NM, MEASURED_DENSITY, free=FOREIGN)

    def basis(cations: Any = None) -> Basis:
        whole = model.basis(None if cations is None else with_oxygen(cations))
        return replace(
            whole,
            values=whole.values[..., 1:, more:],
            kinds=whole.kinds[1:],
            owners=whole.owners[1:],
            families=whole.families[1:],
            elements=whole.elements[1:],
            atomic_masses=whole.atomic_masses[1:],
        )

    return img, basis, guided(img.matrix(), basis(), open_penalties(img))


def with_oxygen(cations: np.ndarray) -> np.ndarray:
    """Fractions of oxygen and the cations, (phases, 1 + cations), of sum one."""
    every = np.concatenate([cations @ np.array([*OXIDES.values()])[:, None], cations], axis=1)
    return every / every.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class Measured:
    """What was found in a measured map.

    Attributes:
        ranks: for each number of phases the deviance of the counts that were not fitted, above the least, and the
            standard error of that difference.
        rank: the number of least deviance.
        problem: with the chosen weights.
        pooled: the fit, absorbing.
        phases: at.% of the cations, see `composition`.
        oxides: at.% with the oxygen that the oxides of the cations have; it was not measured.
        shares: of all counts, of each phase.
        foreign: counts of each row of the basis that is not of the sample.
    """

    ranks: pd.DataFrame
    rank: int
    problem: jxu.Problem
    pooled: jxu.Pooled
    phases: pd.DataFrame
    oxides: pd.DataFrame
    shares: pd.Series
    foreign: pd.Series


def held_out(problem: jxu.Problem, ranks: Sequence[int], key: Array) -> pd.DataFrame:
    """`Measured.ranks`: half of the counts, drawn at random, are fitted, and the others judge."""
    x = dense(problem.matrix).astype(int)
    half = np.random.default_rng(np.asarray(jax.random.key_data(key))).binomial(x, 0.5)
    # What a penalty balances is noise, whose share is twice as large in half of the counts.
    doubled = [replace(penalty, weight=2 * penalty.weight) for penalty in problem.penalties]
    part = jxu.Problem(half.astype(np.float32), problem.loss, problem.basis, doubled, constraints=problem.constraints)
    fits = [jxu.fit_pooled(part, rank, key=key).solution for rank in ranks]
    each = np.stack([jxu.metrics.deviance(x - half, fit.maps, fit.spectra) for fit in fits])
    above = each - each[np.argmin(each.sum(axis=1))]
    error = np.sqrt(each.shape[1]) * above.std(axis=1)
    return pd.DataFrame({"deviance above the least": above.sum(axis=1), "error": error}, pd.Index(ranks, name="phases"))


def analyse_measured(basis: Callable[[Any], Basis], problem: jxu.Problem, ranks: Sequence[int], key: Array) -> Measured:
    """Weights at the middle number of phases, then the number, then steps 3 and 4."""
    tuned, judged, fitted = jax.random.split(key, 3)
    problem = jxu.tune(problem, ranks[(len(ranks) - 1) // 2], key=tuned)
    table = held_out(problem, ranks, judged)
    rank = int(table["deviance above the least"].idxmin())
    plain = basis()
    columns = list(plain.element_columns)
    pooled = jxu.fit_pooled(problem, rank, key=fitted, refresh=lambda coefficients: basis(coefficients[:, columns]))
    names = [f"phase {k}" for k in range(rank)]
    phases = composition(pooled, plain, names, range(rank))
    solution = pooled.solution
    cations = phases.xs("at.%", level=1).to_numpy() / 100
    areas = np.asarray(pooled.problem.basis, np.float64).sum(axis=2) * np.asarray(solution.coefficients)
    amounts = np.asarray(solution.maps).sum(axis=0, dtype=float)
    counts = amounts @ areas
    foreign = [i for i, kind in enumerate(plain.kinds) if kind != "element"]
    return Measured(
        table,
        rank,
        problem,
        pooled,
        phases,
        pd.DataFrame(100 * with_oxygen(cations), names, [BY_OXIDES, *OXIDES]),
        pd.Series(amounts * areas.sum(axis=1) / counts.sum(), names),
        pd.Series(counts[foreign], [plain.names[i] for i in foreign]),
    )


def text(report: Report) -> str:
    """The report in words and numbers."""
    parts = {
        "Mean angle (degrees) and mean squared error of the maps": in_columns(report.table, 4),
        "Angle of each phase": in_columns(report.scores.drop(columns=["mse", "objective"]), 2),
        "Weights": weights(report.problem),
        "Rounds of absorption: change of the coefficients": " ".join(f"{c:.4f}" for c in report.pooled.changes),
        "Composition of each phase (at.%)": in_columns(report.phases, 2),
    }
    return "\n\n".join(f"{title}\n{body}" for title, body in parts.items())


def weights(problem: jxu.Problem) -> str:
    """What was chosen."""
    return "\n".join(f"{curve.penalty}: {curve.chosen:.3g}" for curve in problem.tuning.curves)


def in_columns(frame: pd.DataFrame, digits: int) -> str:
    """A table as text."""
    return frame.to_string(float_format=f"{{:.{digits}f}}".format)


def text_measured(report: Measured) -> str:
    """The report of a measured map."""
    parts = {
        f"Number of phases: {report.rank}": in_columns(report.ranks, 1),
        "Weights": weights(report.problem),
        "Cations of each phase (at.% of the cations)": in_columns(report.phases, 2),
        "With oxygen by stoichiometry of the oxides (at.%)": in_columns(report.oxides, 2),
        "Share of the counts": report.shares.to_string(float_format="{:.3f}".format),
        "Counts that are not of the sample": report.foreign.to_string(float_format="{:.0f}".format),
    }
    return "\n\n".join(f"{title}\n{body}" for title, body in parts.items())


def marked(img: jxu.SpectrumImage, elements: Sequence[str], foreign: Sequence[str] = ()) -> dict[str, float]:
    """Where the strongest line of each family is: names and energies, as the figure of lines takes them."""
    energy = img.data.energy.values
    model = EmissionModel(elements, energy, BEAM_KEV, split="family", free=foreign, bremsstrahlung=False)
    basis = model.basis(None)
    highest = energy[np.asarray(basis).argmax(axis=1)]
    return {name.removesuffix(" (free)"): float(at) for name, at in zip(basis.names, highest, strict=True)}


def labelled(img: jxu.SpectrumImage, solution: jxu.Solution, names: list[str]) -> xr.Dataset:
    """Maps in counts and spectra of sum one."""
    area = solution.spectra.sum(axis=1)
    maps, spectra = img.to_maps(solution.maps * area), img.to_spectra(solution.spectra / area[:, None])
    return xr.Dataset({"maps": maps, "spectra": spectra}, attrs={"loss": "Poisson"}).assign_coords(component=names)


def figures(img: jxu.SpectrumImage, truth: jxu.simulate.Truth, report: Report) -> dict[str, Any]:
    """Every figure by its file name: the scores (figure 1 of the paper), maps (2), spectra and lines (3), weights."""
    methods_ = ["NMF, Kullback-Leibler", "physics-guided", REFRESHED]
    shown = {"truth": truth.maps / truth.maps.sum(axis=1).mean()} | {name: report.factors[name][0] for name in methods_}
    panels = np.stack([maps[:, k] for k in range(PHASES) for maps in shown.values()], axis=1)
    names = [truth.names[k] if name == "truth" else name for k in range(PHASES) for name in shown]
    spectra = img.to_spectra(report.factors[REFRESHED][1]).assign_coords(component=list(truth.names))
    found = labelled(img, report.pooled.solution, [str(k) for k in range(PHASES)])
    return {
        "methods": jxu.plots.methods(report.scores),
        "maps": jxu.plots.maps(img.to_maps(panels).assign_coords(component=names).to_dataset(name="maps")),
        "comparison": jxu.plots.comparison(found, truth.maps, truth.spectra, truth.names),
        "lines": jxu.plots.lines(spectra.to_dataset(name="spectra"), marked(img, truth.elements), (0.2, 10)),
        "tuning": jxu.plots.tuning(report.problem.tuning),
    }


def figures_measured(img: jxu.SpectrumImage, report: Measured) -> dict[str, Any]:
    """Every figure of a measured map by its file name."""
    found = labelled(img, report.pooled.solution, list(report.shares.index))
    return {
        "maps": jxu.plots.maps(found),
        "lines": jxu.plots.lines(found, marked(img, list(OXIDES), FOREIGN), (LOWEST_KEV, 18)),
        "residuals": jxu.plots.residuals(found, img),
        "tuning": jxu.plots.tuning(report.problem.tuning),
    }


def write(folder: Path, body: str, report: Report | Measured, pictures: dict[str, Any]) -> None:
    """The text, the tables and the figures as files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.txt").write_text(body + "\n", encoding="utf-8")
    for name, values in vars(report).items():
        if isinstance(values, pd.DataFrame | pd.Series):
            values.to_csv(folder / f"{name}.csv", float_format="%.6g")
    for name, figure in pictures.items():
        figure.savefig(folder / f"{name}.png")


def run_simulated(options: argparse.Namespace) -> tuple[Report, str, dict[str, Any]]:
    """The report, its text, and its figures if there is a folder for them."""
    simulated, analysed = jax.random.split(jax.random.key(options.seed))
    img, truth = simulate(simulated, options.counts, options.shape, options.channels)
    model, problem = build(img, truth.elements)
    report = analyse(img, model, problem, truth, options.starts, analysed, options.restarts)
    return report, text(report), {} if options.out is None else figures(img, truth, report)


def run_measured(options: argparse.Namespace) -> tuple[Measured, str, dict[str, Any]]:
    """The same of a measured map."""
    img, basis, problem = build_measured(jxu.load(options.data))
    report = analyse_measured(basis, problem, options.phases, jax.random.key(options.seed))
    return report, text_measured(report), {} if options.out is None else figures_measured(img, report)


def main(argv: Sequence[str] | None = None) -> Report | Measured:
    """Simulate or load, analyse, print and write; see the module."""
    options = arguments(argv)
    report, body, pictures = run_simulated(options) if options.data is None else run_measured(options)
    print(body)
    if options.out is not None:
        write(options.out, body, report, pictures)
    return report


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options, with what `--tiny` leaves open filled in."""
    parser = argparse.ArgumentParser(prog="python -m models.edx_phases", description=str(__doc__).split("\n")[0])
    parser.add_argument("--tiny", action="store_true", help="32 x 32 pixels, 1,000 channels, 293 counts, 2 starts")
    parser.add_argument("--counts", type=float, help="expected in each spectrum, 18")
    parser.add_argument("--starts", type=int, help="random starts of each method, 4")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, help="a measured map, such as es_lp_g8.npz")
    parser.add_argument("--phases", type=_span, default=range(2, 6), help="numbers to try on it, both ends too; 2:5")
    parser.add_argument("--out", type=Path, help="folder for the text, the tables and the figures")
    options = parser.parse_args(argv)
    options.counts = options.counts or (293.0 if options.tiny else 18.0)
    options.starts = options.starts or (2 if options.tiny else 4)
    options.restarts = 4 if options.tiny else 12
    options.shape, options.channels = ((32, 32), 1000) if options.tiny else ((128, 128), 1980)
    return options


def _span(text: str) -> range:
    low, _, high = text.partition(":")
    return range(int(low), int(high or low) + 1)


if __name__ == "__main__":
    main()
