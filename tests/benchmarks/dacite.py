"""Dacite under the electron beam at two doses: fit the map of few counts, predict the one of many.

    python tests/benchmarks/dacite.py FOLDER [--ranks 3 4 5] [--espm]

FOLDER holds p45_low.npz and p45_high.npz: one area of 75 x 100 pixels at 101 and 508 counts in 0.2 to 15 keV. Every
method fits the first map and is scored on the second in the same way: spectra summed to its channels, one gain for
each channel, 5 % of the mean spectrum mixed in as a floor; printed is the Poisson deviance for each pixel, about 394
for the best imaginable. Bulk in a scanning microscope without a stated take-off angle: the basis is that of lines per
atom without absorption, a row for each family of lines, which takes up what absorption does to their ratios; the
compositions that come out are not to be trusted.

NMF: scikit-learn's with the Kullback-Leibler divergence; espm: SmoothNMF on our basis, without penalties (its weights
would have to be tuned on the second map). Ours: `tune` for the Laplacian, on plain spectra and on the basis.
"""

import argparse
import time
import warnings
from pathlib import Path

import jax
import numpy as np

import jaxunmix as jxu
from jaxunmix.physics.calibration import calibrate

SHAPE = (75, 100)


def within(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(pixels, channels) and their energies, 0.2 to 15 keV."""
    stored = np.load(path)
    energy = stored["energy_keV"]
    kept = (energy >= 0.2) & (energy <= 15)
    return stored["cube"].reshape(-1, len(energy))[:, kept].astype(np.float32), energy[kept]


def borders(energy: np.ndarray) -> np.ndarray:
    """Of the channels with these centres."""
    half = (energy[1] - energy[0]) / 2
    return np.append(energy - half, energy[-1] + half)


def deviance(high: np.ndarray, maps: np.ndarray, spectra: np.ndarray, axes: tuple[np.ndarray, np.ndarray]) -> float:
    """Of the map of many counts, for each pixel, under factors of the other."""
    sums = np.concatenate([np.zeros((len(spectra), 1)), np.cumsum(spectra, axis=1)], axis=1)
    low_borders, high_borders = (borders(axis) for axis in axes)
    summed = np.stack([np.diff(np.interp(high_borders, low_borders, row)) for row in sums])
    model = maps @ np.maximum(summed, 0)
    model *= high.sum(axis=0) / np.maximum(model.sum(axis=0), 1e-12)
    model = np.maximum(0.95 * model + 0.05 * high.mean(axis=0), 1e-9)
    logs = np.where(high > 0, high * np.log(np.where(high > 0, high, 1) / model), 0)
    return float(2 * (logs - high + model).sum() / len(high))


def ours(low: np.ndarray, rank: int, basis: jxu.physics.xray.Basis | None) -> jxu.Solution:
    """Pooled spectra and smoothed maps, the weight of the Laplacian chosen from the counts."""
    second = "spectra" if basis is None else "coefficients"
    signs = (jxu.constraints.NonNegative("maps"), jxu.constraints.NonNegative(second))
    penalties = (
        jxu.penalties.Laplacian("maps", "auto", SHAPE),
        jxu.penalties.LogSparsity("maps", 2e-4),
    )
    problem = jxu.Problem(low, jxu.losses.Poisson(), basis, penalties, constraints=signs)
    problem = jxu.tune(problem, rank, key=jax.random.key(0), restarts=6, max_steps=200, size=4)
    return jxu.fit_pooled(problem, rank, key=jax.random.key(1), restarts=12, max_steps=300, size=4).solution


def espm(low: np.ndarray, rank: int, basis: jxu.physics.xray.Basis) -> tuple[np.ndarray, np.ndarray]:
    """(maps, spectra) of SmoothNMF on the same basis."""
    from espm.estimators import SmoothNMF

    g = np.asarray(basis, float).T
    model = SmoothNMF(n_components=rank, max_iter=300, verbose=0, G=g, simplex_W=False, simplex_H=False, shape_2d=SHAPE)
    model.fit_transform(low.T.astype(float))
    return np.asarray(model.H_).T, (g @ np.asarray(model.W_)).T


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ranks", type=int, nargs="+", default=[3, 4, 5])
    parser.add_argument("--espm", action="store_true")
    options = parser.parse_args()
    from sklearn.decomposition import NMF

    warnings.filterwarnings("ignore")
    (low, axis), (high, high_axis) = (within(options.folder / f"p45_{dose}.npz") for dose in ("low", "high"))
    high, axes = high.astype(float), (axis, high_axis)
    elements = [str(name) for name in np.load(options.folder / "p45_low.npz")["elements"]]
    detector = jxu.physics.xray.thin_window()
    model = jxu.physics.xray.EmissionModel(
        elements, axis, 20, None, 100.0, 2.7, split="family", free=("C",), detector=detector
    )
    basis = calibrate(model, low).model.basis(None)
    flat = np.ones((len(low), 1)), low.mean(axis=0, keepdims=True)
    print(f"mean spectrum: {deviance(high, *flat, axes):.1f}")
    print("| K | method | deviance of a pixel | s |\n|---|---|---|---|", flush=True)
    for rank in options.ranks:

        def nmf(rank=rank):
            fit = NMF(rank, beta_loss="kullback-leibler", solver="mu", init="nndsvda", max_iter=300)
            return fit.fit_transform(low), fit.components_

        def smoothed(basis, rank=rank):
            found = ours(low, rank, basis)
            return found.maps, found.spectra

        methods = {"NMF": nmf, "ours, plain": lambda: smoothed(None), "ours, basis": lambda: smoothed(basis)}
        if options.espm:
            methods["espm"] = lambda rank=rank: espm(low, rank, basis)
        for name, run in methods.items():
            start = time.perf_counter()
            value = deviance(high, *run(), axes)
            print(f"| {rank} | {name} | {value:.1f} | {time.perf_counter() - start:.0f} |", flush=True)


if __name__ == "__main__":
    main()
