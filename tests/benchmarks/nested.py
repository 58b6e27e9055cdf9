"""Evidence of a simulated absorption spectrum by `decompose_spectrum` and by dynesty under the same prior: one table.

    python tests/benchmarks/nested.py [--peaks 1 3] [--live 500] [--particles 256] [--limit 900]

dynesty (`pip install -e '.[peers]'`) samples every parameter, heights and noise too, by random walks between the live
points; its likelihood is NumPy. It is stopped after --limit seconds for each number of peaks, and its evidence is then
only a lower bound. Ours runs as users call it, four runs, compilation included. Energies, data and prior are those of
`spectra.py`: 100 channels, noise of 5 thousandths of the edge, `Priors()`.
"""

import argparse
import math
import time

import jax
import numpy as np
from scipy.special import ndtri

import jaxunmix as jxu

SINGLE = ("E_WL", "E0", "edge_width", "line_width", "baseline", "step", "lorentzian", "gaussian", "noise")


def transform(priors: jxu.bayes.Priors, peaks: int):
    """From the unit cube to (parameters), in the order of `SINGLE`, then positions, widths and heights of peaks."""

    def log_uniform(u, ends):
        return ends[0] * (ends[1] / ends[0]) ** u

    def half_normal(u, sd):
        return sd * ndtri((1 + u) / 2)

    def at(u):
        line = priors.white_line[0] + priors.white_line[1] * ndtri(u[0])
        single = [
            line,
            line + priors.edge * ndtri(u[1]),
            log_uniform(u[2], priors.edge_width),
            log_uniform(u[3], priors.line_width),
            priors.baseline * ndtri(u[4]),
            *(half_normal(u[5 + i], priors.heights[i]) for i in range(3)),
            log_uniform(u[8], priors.noise),
        ]
        centre, width, height = np.reshape(u[9:], (3, peaks))
        low, high = priors.peak
        return np.concatenate(
            [
                single,
                low + (high - low) * centre,
                log_uniform(width, priors.peak_width),
                half_normal(height, priors.heights[3]),
            ]
        )

    return at


def log_likelihood(energy, intensity, peaks):
    """Of those parameters, in NumPy."""
    scale = -0.5 * len(energy) * math.log(2 * math.pi)

    def bump(centre, width):
        return np.exp(-4 * math.log(2) * ((energy - centre) / width) ** 2)

    def at(x):
        line, edge, edge_width, line_width, baseline, step, lorentzian, gaussian, noise = x[: len(SINGLE)]
        centre, width, height = np.reshape(x[len(SINGLE) :], (3, peaks, 1))
        fitted = baseline + step * (0.5 + np.arctan(2 * (energy - edge) / edge_width) / math.pi)
        fitted += lorentzian / (1 + 4 * ((energy - line) / line_width) ** 2) + gaussian * bump(line, line_width)
        residual = (intensity - fitted - np.sum(height * bump(centre, width), 0)) / noise
        return scale - len(energy) * math.log(noise) - 0.5 * float(residual @ residual)

    return at


def nested(energy, intensity, priors, peaks, options) -> tuple[float, float, float, bool]:
    """(ln Z, its error, seconds, finished)."""
    from dynesty import NestedSampler

    start = time.perf_counter()
    sampler = NestedSampler(
        log_likelihood(energy, intensity, peaks),
        transform(priors, peaks),
        len(SINGLE) + 3 * peaks,
        nlive=options.live,
        sample=options.sample,
        walks=options.walks,
        slices=options.slices,
        rstate=np.random.default_rng(0),
    )
    finished = False
    for _ in sampler.sample(dlogz=0.1):
        if time.perf_counter() - start > options.limit:
            break
    else:
        finished = True
    list(sampler.add_live_points())
    result = sampler.results
    return float(result.logz[-1]), float(result.logzerr[-1]), time.perf_counter() - start, finished


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peaks", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--live", type=int, default=500)
    parser.add_argument("--particles", type=int, default=256)
    parser.add_argument("--sample", default="rslice", choices=("rslice", "slice", "rwalk"))
    parser.add_argument("--slices", type=int, default=12)
    parser.add_argument("--walks", type=int, default=25)
    parser.add_argument("--limit", type=float, default=900)
    options = parser.parse_args()
    print("| K | ours: ln p(D given K) | s | dynesty | s | finished |\n|---|---|---|---|---|---|")
    for peaks in options.peaks:
        energy, intensity, _ = jxu.simulate.edge_spectrum(jax.random.key(1000 * peaks), peaks, 5e-3)
        start = time.perf_counter()
        found = jxu.bayes.decompose_spectrum(
            energy, intensity, peaks, key=jax.random.key(0), particles=options.particles
        )
        seconds, fit = time.perf_counter() - start, found.fit
        value, error, theirs, finished = nested(energy, intensity, found.priors, peaks, options)
        print(
            f"| {peaks} | {fit.log_evidence:.2f} ± {fit.error:.2f} | {seconds:.0f} | {value:.2f} ± {error:.2f} "
            f"| {theirs:.0f} | {finished} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
