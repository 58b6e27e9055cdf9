"""A survey over the number of components of a 4D-STEM image, beside scikit-learn's NMF: prints two tables.

    python tests/benchmarks/survey.py [survey] [mse] [--size 100] [--detector 128] [--ranks 7 11]

survey: seconds of `rank.scan` with 14 ranks and 20 restarts each, criteria included, and of ONE fit of scikit-learn's
NMF(7) with its default options on the same array, in turn; peak memory of a process that simulates and scans.

mse: the mean squared residual at K = 7 and 11 (or --ranks) of the scan's best fits, of the best of 3 starts of
scikit-learn (its default and two random ones, 200 iterations at most), and of the truncated SVD, below which no factors
can come. All of them are evaluated by the same function in double precision. scikit-learn's own `reconstruction_err_`
sums 161 million squares in single precision and came out 0.3 % too low, at K = 7 below that of the SVD.
"""

import argparse
import resource
import subprocess
import sys
import time
import warnings

import jax
import numpy as np
from sklearn.decomposition import NMF
from sklearn.utils.extmath import randomized_svd

import jaxunmix as jxu

RANKS, RESTARTS = range(2, 16), 20
CRITERIA = (
    jxu.rank.Plateau(),
    jxu.rank.Crossing(),
    jxu.rank.Elbow(),
    jxu.rank.BIC(),
    jxu.rank.Scree(),
    jxu.rank.Malinowski(),
    jxu.rank.AIC(),
    jxu.rank.Dispersion(),
)


def data(size: int, detector: int) -> np.ndarray:
    """(pixels, channels) without the direct beam."""
    img, _ = jxu.simulate.nanosheets(jax.random.key(0), (size, size), (detector, detector))
    return jxu.preprocess.mask(img, channels=np.hypot(img.data.ky, img.data.kx) >= 1.5).live()


def scan(x: np.ndarray) -> jxu.rank.Scan:
    """The survey that is timed, from an array on the host."""
    return jxu.rank.scan(jxu.Problem(x), RANKS, CRITERIA, RESTARTS, key=jax.random.key(1), max_steps=60)


def peer(x: np.ndarray, rank: int, **start) -> tuple[NMF, np.ndarray]:
    """(model, maps) of scikit-learn."""
    model = NMF(rank, **start)
    return model, model.fit_transform(x)


def timed(run):
    """(result, seconds)."""
    start = time.perf_counter()
    result = run()
    return result, time.perf_counter() - start


def mean_square(x: np.ndarray, maps: np.ndarray, spectra: np.ndarray) -> float:
    """Of the residual, in double precision."""
    return jxu.metrics.relative_residual(x, maps, spectra) ** 2 * float(np.mean(np.square(x, dtype=np.float64)))


def peak_gigabytes(size: int, detector: int) -> float:
    """Of a process of its own that does nothing but simulate and scan."""
    code = (
        f"import sys; sys.path.insert(0, {sys.path[0]!r}); import survey; "
        f"survey.scan(survey.data({size}, {detector})); survey.print_peak()"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout)


def print_peak() -> None:
    """Peak memory of this process in GB; Linux counts in kB."""
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)


def survey(x: np.ndarray, size: int, detector: int) -> jxu.rank.Scan:
    """Print the table of times; the scan."""
    first, cold = timed(lambda: scan(x))
    _, one = timed(lambda: peer(x, 7))
    _, warm = timed(lambda: scan(x))
    _, two = timed(lambda: peer(x, 7))
    fits = len(RANKS) * RESTARTS
    print(f"| {x.shape[0]} x {x.shape[1]} | s | of two scikit-learn fits |")
    print("|---|---|---|")
    print(f"| scan, {fits} fits, compiling | {cold:.1f} | {cold / (one + two):.2f} |")
    print(f"| scan again, compiled | {warm:.1f} | {warm / (one + two):.2f} |")
    print(f"| compilation, the difference | {cold - warm:.1f} | |")
    print(f"| scikit-learn, one fit | {one:.1f} | |")
    print(f"| scikit-learn, one fit again | {two:.1f} | |")
    print(f"peak memory of simulating and scanning: {peak_gigabytes(size, detector):.1f} GB")
    print("chosen: " + ", ".join(f"{name} {v.best}" for name, v in first.decision.items()), flush=True)
    return first


def mse(x: np.ndarray, done: jxu.rank.Scan, ranks: list[int]) -> None:
    """Print the table of residuals."""
    print("| K | scan | scikit-learn, best of 3 | its own reconstruction_err_, squared and divided | SVD |")
    print("|---|---|---|---|---|")
    starts = ({}, {"init": "random", "random_state": 0}, {"init": "random", "random_state": 1})
    for rank in ranks:
        ours = mean_square(x, done.solutions[rank].maps, done.solutions[rank].spectra)
        fits = [peer(x, rank, **start) for start in starts]
        theirs = [mean_square(x, maps, model.components_) for model, maps in fits]
        best = int(np.argmin(theirs))
        own = fits[best][0].reconstruction_err_ ** 2 / x.size
        u, s, vt = randomized_svd(x, rank, n_oversamples=20, n_iter=6, random_state=0)
        each = ", ".join(f"{value:.5f}" for value in theirs)
        print(
            f"| {rank} | {ours:.5f} | {theirs[best]:.5f} (of {each}) | {own:.5f} | {mean_square(x, u * s, vt):.5f} |",
            flush=True,
        )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help="survey, mse; both by default")
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--detector", type=int, default=128)
    parser.add_argument("--ranks", type=int, nargs="+", default=[7, 11], help="of the comparison of residuals")
    options = parser.parse_args()
    parts = options.parts or ["survey", "mse"]
    if not set(parts) <= {"survey", "mse"}:
        parser.error("the parts are survey and mse")
    warnings.filterwarnings("ignore", message="Maximum number of iterations")
    x = data(options.size, options.detector)
    done = survey(x, options.size, options.detector) if "survey" in parts else scan(x)
    if "mse" in parts:
        mse(x, done, options.ranks)


if __name__ == "__main__":
    main()
