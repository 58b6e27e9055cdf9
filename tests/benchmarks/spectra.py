"""Decomposition of simulated absorption spectra of known parts: one row for each, and what must hold of all.

    python tests/benchmarks/spectra.py FOLDER [--peaks 3 5 8 14] [--seeds 3] [--repeats 2] [--particles 256]
                                        [--exchange 1000] [--near]

100 channels from 7700 to 7740 eV, noise of 4 to 6 thousandths of the edge; numbers of peaks from 0 to two more than
there are, or, with --near, from two less. Each case is written to FOLDER as it is done and not done again, so that the
command can be stopped and gone on with. Columns:

- most probable K with its probability, and whether it is said to be resolved;
- below the truth: how far the log likelihood of the best fit is below the optimum that is reached from the truth
  (at the same noise; 1 is allowed);
- E_WL: the error of its mean in eV, and whether its 99 % interval covers the truth;
- noise: its error in posterior sds;
- apart: the largest difference of ln p(D | K) between independent runs at the most probable K, and the error claimed;
- round trips of replicas between the prior and the most probable noise in --exchange sweeps, with up to 3 peaks;
- seconds for all K together, compilation included; in the first run with the replica exchange.
"""

import argparse
import json
import os
import time
from pathlib import Path

import jax
import numpy as np
from scipy.optimize import least_squares

import jaxunmix as jxu
from jaxunmix.data import edges

NAMES = ("E_WL", "E0", "edge_width", "line_width", "baseline", "step", "lorentzian", "gaussian")
PEAK_NAMES = ("peak_centre", "peak_width", "peak_height")


def from_truth(energy, intensity, truth, noise) -> float:
    """The log likelihood at the optimum that is reached from the truth."""
    peaks = truth.sizes["peak"]

    def parts(x):
        own = dict(zip(NAMES, x[: len(NAMES)], strict=True))
        return own | dict(zip(PEAK_NAMES, x[len(NAMES) :].reshape(3, peaks), strict=True))

    start = np.concatenate([[float(truth[n]) for n in NAMES], *(truth[n].values for n in PEAK_NAMES)])
    found = least_squares(
        lambda x: (edges.spectrum(energy, parts(x)) - intensity) / noise, start, x_scale=np.maximum(np.abs(start), 1e-2)
    )
    return float(-found.cost - len(energy) * np.log(noise * np.sqrt(2 * np.pi)))


def case(peaks: int, seed: int, options: argparse.Namespace) -> dict:
    """One data set."""
    noise = np.random.default_rng(seed).uniform(4e-3, 6e-3)
    energy, intensity, truth = jxu.simulate.edge_spectrum(jax.random.key(1000 * peaks + seed), peaks, noise)
    numbers = range(max(0, peaks - 2) if options.near else 0, peaks + 3)
    runs, seconds = [], []
    for repeat in range(options.repeats):
        start = time.perf_counter()
        exchange = options.exchange if peaks <= 3 and repeat == 0 else 0
        settings = {"particles": options.particles, "exchange": exchange}
        runs.append(jxu.bayes.decompose_spectrum(energy, intensity, numbers, key=jax.random.key(repeat), **settings))
        seconds.append(time.perf_counter() - start)
    first = runs[0]
    posterior = first.fit.posterior
    at = 1 / np.sqrt(np.mean(posterior["noise"].values) ** -2)
    low, high = first.interval("E_WL", 0.99)
    line, chosen = float(truth["E_WL"]), list(numbers).index(first.peaks)
    evidences = [run.fits[chosen].log_evidence for run in runs]
    wide = [float(run.fits[-1].posterior["E_WL"].std()) for run in runs]
    return {
        "peaks": peaks,
        "seed": seed,
        "found": first.peaks,
        "probability": float(first.table["probability"].max()),
        "of the truth": float(first.table["probability"].sel(peaks=peaks)),
        "resolved": first.resolved,
        "below the truth": from_truth(energy, intensity, truth, at) - first.fit.log_likelihood,
        "E_WL": float(posterior["E_WL"].mean()) - line,
        "covers": bool(low <= line <= high),
        "noise": float((posterior["noise"].mean() - noise) / posterior["noise"].std()),
        "apart": float(np.ptp(evidences)),
        "error": first.fits[chosen].error,
        "sd of E_WL at two more": wide,
        "trips": None if first.exchange is None else first.exchange.round_trips,
        "seconds": seconds,
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--peaks", type=int, nargs="+", default=[3, 5, 8, 14])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--particles", type=int, default=256)
    parser.add_argument("--exchange", type=int, default=1000, help="sweeps of replica exchange")
    parser.add_argument("--near", action="store_true", help="from two peaks less than there are, not from 0")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    print("| K | seed | found | P | resolved | below the truth | E_WL | covers | noise | apart (error) | trips | s |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for peaks in options.peaks:
        for seed in range(options.seeds):
            path = options.folder / f"{peaks}-{seed}.json"
            if not path.exists():
                row, part = case(peaks, seed, options), path.with_suffix(".part")
                part.write_text(json.dumps(row))
                os.replace(part, path)
            r = json.loads(path.read_text())
            seconds = ", ".join(f"{s:.0f}" for s in r["seconds"])
            print(
                f"| {r['peaks']} | {r['seed']} | {r['found']} | {r['probability']:.2f} | {r['resolved']} "
                f"| {r['below the truth']:.2f} | {r['E_WL']:+.3f} | {r['covers']} | {r['noise']:+.1f} "
                f"| {r['apart']:.2f} ({r['error']:.2f}) | {r['trips']} | {seconds} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
