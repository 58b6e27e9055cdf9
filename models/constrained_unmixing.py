r"""Physically constrained linear unmixing: every knob of one framework, on the data of four techniques.

Source: R. Kannan, A. V. Ievlev, N. Laanait, M. A. Ziatdinov, R. K. Vasudevan, S. Jesse, S. V. Kalinin, "Deep data
analysis via physically constrained linear unmixing: universal framework, domain examples, and a community-wide
platform", Adv. Struct. Chem. Imaging 4 (2018) 6. Unmixing is a choice of six things,

$$ \min_{M, S} \; d_W(X, f(R M S)) + \sum_i \lambda_i r_i(M, S), \qquad M \in \mathcal M, \; S \in \mathcal S, $$

a similarity d, a link f, hard constraints, soft constraints r, weights W and preprocessing:

1. SVD, PCA, NMF, pLSI, sparse NMF and bounded factorisation as rows of one table (`jaxunmix.named`).
2. ToF-SIMS, a map and a volume in depth: counts, few in each pixel; likelihood, smooth maps, sparse ones.
3. Phases of an oxide in an atomically resolved image: spectra by a sliding FFT, maps that sum to one, alike where the
   frequencies are.
4. Scanning tunnelling spectroscopy: maps that sum to one.
5. Diffraction along a rod: the spacing d of the planes of each endmember.

Each is simulated (`jaxunmix.simulate`) after the paper's description, so that the truth is known, and fitted with and
without each constraint of its table 4: what it buys stands in numbers. `--data DIR` adds measured sets, of which
nobody knows the truth; what entries predict that were held out stands there instead.

    python -m models.constrained_unmixing [--tiny] [--out DIR] [--seed N] [--restarts N] [--data DIR]
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import Array

import jaxunmix as jxu
from jaxunmix import constraints, losses, penalties

SIGNS = (constraints.NonNegative("maps"), constraints.NonNegative("spectra"))
SHARES = (*SIGNS, constraints.Simplex("maps"))
# Windows of the sliding FFT in pixels, a few cells of the lattice, and the frequencies that are kept on each side.
WINDOW, STEP, KEEP = 64, 8, 14
Solutions = dict[tuple[str, str], jxu.Solution]


@dataclass(frozen=True)
class Scene:
    """One technique: its data, what is true of them, and the problems that are compared.

    Attributes:
        img: the data.
        shares: (pixels, K), the true share of each component in each pixel; None where nobody knows.
        spectra: (K, channels) where they are known.
        rank: K.
        problems: by what they ask for; the first asks for nothing but signs.
        d_spacings: (K,), of the planes of each component in angstrom, where they are known.
    """

    img: jxu.SpectrumImage
    shares: np.ndarray | None
    spectra: np.ndarray | None
    rank: int
    problems: dict[str, jxu.Problem]
    d_spacings: np.ndarray | None = None


@dataclass
class Report:
    """What was found.

    Attributes:
        named: of each named factorisation the objective, its update, and the angle to the true spectra.
        scores: of each scene and problem what `score` says.
        spacings: of each endmember of the rod scans the true and the found d in angstrom.
        solutions: by scene and problem.
        scenes: by name.
    """

    named: pd.DataFrame
    scores: pd.DataFrame
    spacings: pd.DataFrame
    solutions: Solutions = field(repr=False)
    scenes: dict[str, Scene] = field(repr=False)


def simulate(key: Array, tiny: bool) -> dict[str, Scene]:
    """The four techniques, with known truth."""
    keys = jax.random.split(key, 5)
    side = 32 if tiny else 128
    return {
        "ToF-SIMS": _tof_sims(*jxu.simulate.tof_sims(keys[0], (side, side), counts=30)),
        "ToF-SIMS in depth": _tof_sims(*jxu.simulate.tof_sims(keys[1], (8, side // 2, side // 2), counts=30)),
        "oxide by sliding FFT": _oxide(keys[2], 256 if tiny else 512),
        "tunnelling spectra": _tunnelling(*jxu.simulate.tunnelling_spectroscopy(keys[3], (side, side), snr_db=20)),
        "rod scans": _rods(*jxu.simulate.rod_scans(keys[4], (side // 2, side // 2), counts=1000)),
    }


def build(X: Any, loss: losses.AbstractLoss | None = None, *soft: Any, hard: Sequence[Any] = SIGNS) -> jxu.Problem:
    """A problem from its parts: similarity (with its link), soft and hard constraints."""
    return jxu.Problem(X, loss, penalties=soft, constraints=hard)


def _tof_sims(img: jxu.SpectrumImage, truth: jxu.simulate.Truth) -> Scene:
    X, poisson = img.matrix(), losses.Poisson()
    smooth = penalties.Laplacian("maps", "auto", img.grid)
    problems = {
        "signs": build(X),
        "counts": build(X, poisson),
        "counts, sparse": build(X, poisson, penalties.LogSparsity("maps", "auto")),
        "counts, smooth": build(X, poisson, smooth),
        "counts, flat regions": build(X, poisson, penalties.TotalVariation("maps", "auto", img.grid)),
        "counts, sparse and smooth": build(X, poisson, penalties.LogSparsity("maps", "auto"), smooth),
    }
    return Scene(img, _shares(truth.maps, truth.spectra), truth.spectra, len(truth.spectra), problems)


def _oxide(key: Array, side: int) -> Scene:
    picture, truth = jxu.simulate.oxide_lattice(key, (side, side), counts=20)
    img = jxu.preprocess.sliding_fft(picture, WINDOW, STEP, half=True, keep=KEEP)
    # A window's share of each phase is that of its pixels.
    fields = picture.to_maps(truth.maps)
    centres = {dim: img.data.coords[dim] for dim in img.navigation_dims}
    shares = fields.rolling(dict.fromkeys(img.navigation_dims, WINDOW), center=True, min_periods=1).mean()
    shares = shares.sel(centres, method="nearest").values.reshape(len(truth.names), -1).T
    X = img.matrix()
    alike = penalties.GraphSimilarity("maps", 0.3, penalties.similarity_graph(X))
    problems = {
        "signs": build(X),
        "shares": build(X, hard=SHARES),
        "shares, alike in frequency": build(X, None, alike, hard=SHARES),
        "shares, neighbours alike": build(X, None, penalties.Laplacian("maps", 0.3, img.grid), hard=SHARES),
        "angle, shares": build(X, losses.Angle(), hard=SHARES),
    }
    return Scene(img, shares, None, len(truth.names), problems)


def _tunnelling(img: jxu.SpectrumImage, truth: jxu.simulate.Truth) -> Scene:
    X = img.matrix()
    smooth = penalties.Smoothness("spectra", "auto")
    problems = {
        "signs": build(X),
        "shares": build(X, hard=SHARES),
        "shares, smooth spectra": build(X, None, smooth, hard=SHARES),
        "shares, smooth maps": build(X, None, penalties.Laplacian("maps", "auto", img.grid), hard=SHARES),
        "shares, at most two": build(X, hard=(*SHARES, constraints.MaxComponents("maps", most=2))),
    }
    return Scene(img, truth.maps, truth.spectra, len(truth.spectra), problems)


def _rods(img: jxu.SpectrumImage, truth: jxu.simulate.Truth) -> Scene:
    X, poisson = img.matrix(), losses.Poisson()
    problems = {
        "signs": build(X),
        "counts": build(X, poisson),
        "counts, smooth": build(X, poisson, penalties.Laplacian("maps", "auto", img.grid)),
        "counts, little overlap": build(X, poisson, penalties.SoftOrthogonality("spectra", 0.1)),
    }
    shares = _shares(truth.maps, truth.spectra)
    return Scene(img, shares, truth.spectra, len(truth.spectra), problems, truth.d_spacings)


def measured(folder: Path) -> dict[str, Scene]:
    """Measured sets of three techniques, read and made non-negative; nothing is known of their truth."""
    sims = jxu.preprocess.bin(jxu.load(folder / "sims_poplar" / "poplar.npz"), y=4, x=4)
    sts = jxu.preprocess.shift_to_positive(_frequency_shift(folder / "sts_kpfm_grid" / "bias_grid.npz"))
    raman = jxu.preprocess.clip_negative(jxu.load(folder / "raman_thp1" / "thp1_layer5.npz"))
    poisson = losses.Poisson()
    smooth = {name: penalties.Laplacian("maps", "auto", img.grid) for name, img in (("sims", sims), ("raman", raman))}
    return {
        "poplar wood, ToF-SIMS": Scene(
            sims,
            None,
            None,
            4,
            {
                "signs": build(sims.matrix()),
                "counts": build(sims.matrix(), poisson),
                "counts, smooth": build(sims.matrix(), poisson, smooth["sims"]),
            },
        ),
        "a cell, Raman": Scene(
            raman,
            None,
            None,
            5,
            {
                "signs": build(raman.matrix()),
                "smooth spectra": build(raman.matrix(), None, penalties.Smoothness("spectra", "auto")),
                "smooth maps": build(raman.matrix(), None, smooth["raman"]),
            },
        ),
        "frequency shift, AFM": Scene(
            sts,
            None,
            None,
            2,
            {"signs": build(sts.matrix()), "shares": build(sts.matrix(), hard=SHARES)},
        ),
    }


def _frequency_shift(path: Path) -> jxu.SpectrumImage:
    with np.load(path, allow_pickle=False) as stored:
        shift, bias = -stored["freq_shift_Hz"], stored["bias_V"]
    return jxu.SpectrumImage.from_array(shift, dims=("y", "x", "bias"), coords={"bias": bias}, units={"bias": "V"})


def solve(problem: jxu.Problem, rank: int, key: Array, restarts: int) -> tuple[jxu.Problem, jxu.Solution]:
    """Weights that are open are chosen from the data, then the fit."""
    tune_key, fit_key = jax.random.split(key)
    if any(penalty.is_auto for penalty in problem.penalties):
        problem = jxu.tune(problem, rank, key=tune_key, restarts=restarts, max_steps=200)
    return problem, jxu.fit(problem, rank, restarts=restarts, key=fit_key, max_steps=400)


def score(scene: Scene, problem: jxu.Problem, found: jxu.Solution) -> dict[str, Any]:
    """How near the truth a solution is.

    Returns:
        The update; the chosen weights; "angle", the mean angle to the true spectra in degrees; "shares", the root mean
        squared error of the shares of each pixel; "labels", the fraction of pixels whose largest component is right.
    """
    row: dict[str, Any] = {"update": found.info["update"]}
    row["weights"] = ", ".join(f"{float(p.weight):.2g}" for p in problem.penalties)
    maps, spectra = np.asarray(found.maps, float), np.asarray(found.spectra, float)
    if scene.shares is None:
        return row
    shares = _shares(maps, spectra)
    if scene.spectra is not None:
        matched = jxu.metrics.match(spectra, scene.spectra)
        row["angle"] = matched.mean_angle
    else:
        matched = jxu.metrics.match(shares.T, scene.shares.T)
    ordered = matched.reorder(shares, axis=1)
    row["shares"] = float(np.sqrt(np.mean((ordered - scene.shares) ** 2)))
    row["labels"] = float(np.mean(ordered.argmax(axis=1) == scene.shares.argmax(axis=1)))
    return row


def predict(scene: Scene, problem: jxu.Problem, key: Array) -> float:
    """The loss of a tenth of the entries, which the fit has not seen, over the loss of their channels' means."""
    x = scene.img.matrix().to_dense()
    seen = np.asarray(jax.random.uniform(key, x.shape) >= 0.1)
    found = jxu.fit(problem.replace(matrix=x, weights=seen), scene.rank, restarts=3, key=key, max_steps=200)
    means = jnp.broadcast_to(x.mean(axis=0), x.shape)
    lost = [np.asarray(problem.loss.divergence(x, m))[~seen].sum() for m in (found.maps @ found.spectra, means)]
    return float(lost[0] / lost[1])


def name_rows(scene: Scene, key: Array, restarts: int) -> pd.DataFrame:
    """The rows of table 3 on one scene, each a composition of a line."""
    values = np.asarray(scene.img.matrix().to_dense(), float)
    named = jxu.named
    rows = {
        "SVD": named.svd(values),
        "PCA": named.pca(values),
        "NMF": named.nmf(values),
        "pLSI": named.plsi(values),
        "sparse NMF": named.sparse_nmf(values, 0.01),
        "bounded": named.bounded(values, 0.0, float(np.quantile(values, 0.999))),
    }
    table = {}
    for name, problem in rows.items():
        found = jxu.fit(problem, scene.rank, restarts=restarts, key=key, max_steps=300)
        model = np.asarray(found.maps @ found.spectra)
        table[name] = {
            "update": found.info["update"],
            "objective": float(found.objective),
            "least of the model": model.min(),
            "greatest": model.max(),
        }
    return pd.DataFrame(table).T


def find_spacings(scene: Scene, found: jxu.Solution) -> pd.DataFrame:
    """The d of each endmember by its 001 and 002 Bragg peaks, beside the truth, in angstrom."""
    q = scene.img.data.coords["q"].values
    matched = jxu.metrics.match(found.spectra, scene.spectra)
    rows = []
    for true_d, spectrum in zip(scene.d_spacings, matched.reorder(found.spectra), strict=True):
        each = []
        for order in (1, 2):
            near = np.abs(q - 2 * np.pi * order / true_d) < 0.12 * order
            top = np.flatnonzero(near)[np.argmax(spectrum[near])]
            at = slice(max(top - 1, 0), top + 2)
            # The top of the parabola through three points.
            a, b, _ = np.polyfit(q[at] - q[top], spectrum[at], 2)
            each.append(2 * np.pi * order / (q[top] - b / (2 * a)))
        rows.append({"true d": true_d, "001": each[0], "002": each[1], "error": np.mean(each) - true_d})
    return pd.DataFrame(rows)


def _shares(maps: np.ndarray, spectra: np.ndarray) -> np.ndarray:
    """What each component contributes to each pixel, as a share."""
    parts = np.asarray(maps) * np.abs(np.asarray(spectra)).sum(axis=1)
    return parts / np.maximum(parts.sum(axis=1, keepdims=True), np.finfo(float).tiny)


def text(report: Report) -> str:
    """The tables as they are printed."""
    parts = {
        "Named factorisations of the ToF-SIMS map": report.named.to_string(float_format="{:.5g}".format),
        "What each constraint buys": report.scores.to_string(float_format="{:.4g}".format, na_rep="-"),
        "Spacings of the endmembers of the rod scans, angstrom": report.spacings.to_string(
            float_format="{:.4f}".format, index=False
        ),
    }
    return "\n\n".join(f"{title}\n{body}" for title, body in parts.items())


def figures(report: Report) -> dict[str, Any]:
    """Of each scene with a flat map the solution of the last problem, beside the truth where it is known."""
    drawn = {}
    for name, scene in report.scenes.items():
        if len(scene.img.navigation_dims) != 2:
            continue
        found = report.solutions[name, list(scene.problems)[-1]].to_xarray(scene.img)
        mark = name.replace(" ", "_").replace(",", "").lower()
        if scene.spectra is None:
            drawn[mark] = jxu.plots.maps(found)
        else:
            drawn[mark] = jxu.plots.comparison(found, scene.shares, scene.spectra)
    return drawn


def run(
    scenes: dict[str, Scene], key: Array, restarts: int
) -> tuple[pd.DataFrame, dict[tuple[str, str], jxu.Solution]]:
    """Every problem of every scene: the scores, and the solutions."""
    rows, solutions = {}, {}
    solve_key, predict_key = jax.random.split(key)
    for name, scene in scenes.items():
        for what, problem in scene.problems.items():
            solved, found = solve(problem, scene.rank, solve_key, restarts)
            rows[name, what], solutions[name, what] = score(scene, solved, found), found
            if scene.shares is None:
                rows[name, what]["held out"] = predict(scene, solved, predict_key)
    scores = pd.DataFrame.from_dict(rows, orient="index")
    scores.index = pd.MultiIndex.from_tuples(rows, names=["scene", "asked for"])
    return scores, solutions


def main(argv: Sequence[str] | None = None) -> Report:
    """Simulate, fit every problem, print and write; see the module."""
    options = arguments(argv)
    keys = jax.random.split(jax.random.key(options.seed), 3)
    scenes = simulate(keys[0], options.tiny) | ({} if options.data is None else measured(options.data))
    scores, solutions = run(scenes, keys[1], options.restarts)
    spacings = find_spacings(scenes["rod scans"], solutions["rod scans", "counts"])
    named = name_rows(scenes["ToF-SIMS"], keys[2], options.restarts)
    report = Report(named, scores, spacings, solutions, scenes)
    print(text(report))
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "report.txt").write_text(text(report) + "\n", encoding="utf-8")
        scores.to_csv(options.out / "scores.csv", float_format="%.6g")
        for name, figure in figures(report).items():
            figure.savefig(options.out / f"{name}.png")
    return report


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options, with what `--tiny` leaves open filled in."""
    description = str(__doc__).split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m models.constrained_unmixing", description=description)
    parser.add_argument("--tiny", action="store_true", help="maps of 32 x 32 pixels")
    parser.add_argument("--out", type=Path, help="folder for the text, the table and the figures")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--restarts", type=int, help="starts of each fit, 6")
    parser.add_argument("--data", type=Path, help="folder with sims_poplar, raman_thp1 and sts_kpfm_grid")
    options = parser.parse_args(argv)
    options.restarts = options.restarts or (3 if options.tiny else 6)
    return options


if __name__ == "__main__":
    main()
