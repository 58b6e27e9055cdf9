"""Spectral angles and objectives beside scikit-learn on a synthetic oxide interface with known truth.

    python tests/benchmarks/quality.py PATH/oxide_interface_d1000.npz

The file holds `cube` (64, 64, 200) and `endmembers` (3, 200); it is published with the repository
aamirmalik-dr/eels-spectrum-unmixing (data/sample). The table shows that the lowest objective is not the best answer.
"""

import argparse
import warnings

import jax
import numpy as np
from scipy.special import kl_div
from sklearn.decomposition import NMF

import jaxunmix as jxu

STARTS = 20


def kl(x: np.ndarray, w: np.ndarray, h: np.ndarray) -> float:
    """The Poisson objective in float64, the same for all."""
    return float(kl_div(x.astype(float), w.astype(float) @ h.astype(float)).sum())


def half_squares(x: np.ndarray, w: np.ndarray, h: np.ndarray) -> float:
    """The Frobenius objective in float64."""
    return float(0.5 * ((x - w.astype(float) @ h.astype(float)) ** 2).sum())


def rows(x: np.ndarray, truth: np.ndarray):
    """Yield (method, objective's name, best objective, angle at the best, angles of all starts)."""
    matrix = jxu.Dense(x)

    def angle(spectra):
        return jxu.metrics.match(np.asarray(spectra), truth).mean_angle

    fits = []
    for seed in range(STARTS):
        spectra = np.maximum(np.asarray(jxu.initial.vca(matrix, 3, jax.random.key(seed))), 0)
        projected = jxu.project(matrix, spectra)
        fits.append((half_squares(x, projected.maps, projected.spectra), angle(spectra)))
    yield "VCA + NNLS (median of 20 keys)", "Frobenius", np.median(fits, axis=0)[0], np.median(fits, axis=0)[1], fits

    for loss, objective, name, options in (
        (jxu.losses.Frobenius(), half_squares, "frobenius", {"solver": "cd", "tol": 1e-7}),
        (jxu.losses.Poisson(), kl, "kullback-leibler", {"solver": "mu", "tol": 1e-7}),
    ):
        problem = jxu.Problem(matrix, loss)
        key, label = jax.random.key(0), type(loss).__name__
        ours, peer = [], []
        for one in jax.random.split(key, STARTS):
            fit = jxu.fit(problem, 3, key=one, max_steps=5000, rtol=1e-8)
            ours.append((objective(x, fit.maps, fit.spectra), angle(fit.spectra)))
        for seed in range(STARTS):
            model = NMF(3, init="random", beta_loss=name, random_state=seed, max_iter=5000, **options)
            w = model.fit_transform(x)
            peer.append((objective(x, w, model.components_), angle(model.components_)))
        yield f"jaxunmix {label} NMF, best of 20", label, *min(ours), ours
        yield f"scikit-learn {label} NMF, best of 20", label, *min(peer), peer


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path")
    warnings.filterwarnings("ignore")
    with np.load(parser.parse_args().path, allow_pickle=False) as file:
        x, truth = file["cube"].reshape(-1, file["cube"].shape[-1]).astype(np.float32), file["endmembers"]
    print("| method | objective | value | mean angle | angles of the starts |\n|---|---|---|---|---|")
    for method, label, value, degrees, fits in rows(x, truth):
        spread = np.array([a for _, a in fits])
        print(
            f"| {method} | {label} | {value:.2f} | {degrees:.2f} | {spread.min():.2f} to {spread.max():.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
