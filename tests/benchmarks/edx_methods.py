"""Methods for STEM-EDX on the same simulated minerals, beside espm (GPL, run as it is): prints one table for each dose.

    python tests/benchmarks/edx_methods.py [--counts 18 293] [--draws 4] [--size 128] [--starts 2] [--ours | --espm]
                                            [--weights MU LAMBDA EPSILON]

Rows: those of `models/edx_phases.py`, and espm's SmoothNMF with the same basis (without absorption) as an array:

- espm, physics-guided: no penalties, its default simplex, from its default start.
- espm, known zeros: the elements that each phase does not have, by `fixed_W`, from even amounts of the others.
- espm, tuned on the truth: mu, lambda_L and epsilon_reg of the least mean angle to the TRUE spectra over the grid
  below, chosen on the whole of draw 0 of each dose (weights chosen on a crop do not suit a larger one), then the same
  for all draws. No user could choose them so. With --weights these are taken: 18 fits of draw 0 take an hour here.

espm runs with `normalize=True`, so that its weights mean the same at all doses, at most --iterations iterations (it may
stop earlier by its own rule, tol 1e-4 relative to the first objective, made 1e-6 here, as the default stops after a few
dozen), float64. Its simplex takes all rows of an array, bremsstrahlung too: that is only a choice of scale here.
espm needs its own environment (`pip install -e '.[peers]'`).

A cell is the mean over draws of the start with the lowest objective; in brackets the least and the largest over all
draws and starts. Ours and scikit-learn's take --starts starts, espm one.
"""

import argparse
import contextlib
import io
import itertools
import sys
import time
import warnings
from pathlib import Path

import jax
import numpy as np
import pandas as pd

import jaxunmix as jxu

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from models import edx_phases

GRID = {"mu": (0.004, 0.02, 0.1), "lambda_L": (0.0, 1.0, 10.0), "epsilon_reg": (0.01, 0.1)}


def espm_fit(x, basis, shape, iterations, fixed=None, **weights) -> tuple[np.ndarray, np.ndarray, float]:
    """(maps, spectra, objective) of espm's SmoothNMF, X as (pixels, channels)."""
    from espm.estimators import SmoothNMF

    model = SmoothNMF(
        n_components=edx_phases.PHASES,
        G=np.asarray(basis, float).T,
        shape_2d=shape,
        normalize=True,
        max_iter=iterations,
        tol=1e-6,
        random_state=0,
        verbose=0,
        fixed_W=None if fixed is None else np.where(np.isnan(fixed), -1.0, fixed).T,
        **weights,
    )
    start = {}
    if fixed is not None:
        even = np.nan_to_num(fixed, nan=1.0)
        start["W"] = (even / even.sum(axis=1, keepdims=True)).T
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spectra = model.fit_transform(x.T.astype(float), **start)
    return model.H_.T, spectra.T, float(model.losses_[-1])


def scored(found, truth) -> tuple[float, float, float]:
    """(mean angle, mean squared error, objective)."""
    (maps, _), angles, objective = edx_phases.in_order(found, truth)
    shares = truth.maps / truth.maps.sum(axis=1).mean()
    return float(angles.mean()), float(np.mean((maps - shares) ** 2)), objective


def tuned(counts: float, size: int, iterations: int) -> dict[str, float]:
    """espm's weights of the least angle to the truth."""
    img, truth = edx_phases.simulate(jax.random.key(0), counts, (size, size))
    model, problem = edx_phases.build(img, truth.elements)
    x = edx_phases.dense(problem.matrix)
    best, least = {}, np.inf
    for values in itertools.product(*GRID.values()):
        weights = dict(zip(GRID, values, strict=True))
        angle, *_ = scored(espm_fit(x, model.basis(None), (size, size), iterations, **weights), truth)
        if angle < least:
            best, least = weights, angle
    print(f"espm's weights at {counts:g} counts, by the truth: {best} ({least:.2f} degrees there)", flush=True)
    return best


def rows_of_espm(counts, truth, problem, model, options, weights) -> list[dict]:
    """Scores of espm in one draw."""
    x, basis, shape = edx_phases.dense(problem.matrix), model.basis(None), (options.size, options.size)
    kinds = {
        "espm, physics-guided": {},
        "espm, known zeros": {"fixed": edx_phases.zeros(truth).values},
        "espm, tuned on the truth": weights,
    }
    rows = []
    for name, kind in kinds.items():
        start = time.perf_counter()
        found = scored(espm_fit(x, basis, shape, options.iterations, **kind), truth)
        seconds = time.perf_counter() - start
        rows.append({"method": name, **dict(zip(("angle", "mse", "objective"), found, strict=True)), "s": seconds})
    return rows


def table(scores: pd.DataFrame) -> str:
    """The rows as Markdown."""
    lines = ["| method | mean angle, degrees | MSE of maps |", "|---|---|---|"]
    for method, own in scores.groupby("method", sort=False):
        best = own.loc[own.groupby("draw")["objective"].idxmin()]
        cells = [
            f"{best[what].mean():.{digits}f} ({own[what].min():.{digits}f} to {own[what].max():.{digits}f})"
            for what, digits in (("angle", 2), ("mse", 4))
        ]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines).replace("nan (nan to nan)", "given")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=float, nargs="+", default=[18.0, 293.0])
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--size", type=int, default=128, help="pixels along each side")
    parser.add_argument("--starts", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=200, help="of espm")
    parser.add_argument("--weights", type=float, nargs=3, help="mu, lambda_L and epsilon_reg of espm, not tuned")
    parser.add_argument("--ours", action="store_true", help="without espm")
    parser.add_argument("--espm", action="store_true", help="espm alone")
    options = parser.parse_args()
    for counts in options.counts:
        weights = dict(zip(GRID, options.weights or (), strict=False))
        if not options.ours and not weights:
            weights = tuned(counts, options.size, options.iterations)
        rows = []
        for draw in range(options.draws):
            img, truth = edx_phases.simulate(jax.random.key(draw), counts, (options.size, options.size))
            model, problem = edx_phases.build(img, truth.elements)
            if not options.espm:
                problem = jxu.tune(problem, edx_phases.PHASES, key=jax.random.key(100 + draw))
                scores, *_ = edx_phases.compare(
                    problem, model.basis(None), model, truth, options.starts, jax.random.key(200 + draw)
                )
                rows += scores.to_dict("records")
            if not options.ours:
                rows += rows_of_espm(counts, truth, problem, model, options, weights)
            for row in rows:
                row.setdefault("draw", draw)
            own = [f"{r['method']} {r['angle']:.2f} {r['mse']:.4f}" for r in rows if r["draw"] == draw]
            print(f"draw {draw}: " + "; ".join(own), file=sys.stderr, flush=True)
        print(f"\n{counts:g} counts, {options.size} x {options.size} pixels, {options.draws} draws\n")
        print(table(pd.DataFrame(rows)), flush=True)


if __name__ == "__main__":
    main()
