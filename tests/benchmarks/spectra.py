"""Decomposition of simulated absorption spectra of known parts: one row for each, and what must hold of all.

    python tests/benchmarks/spectra.py FOLDER [--peaks 3 5 8 14] [--seeds 3] [--repeats 2] [--particles N]
                                        [--exchange 1000] [--sweeps 120] [--near] [--informed]

100 channels from 7700 to 7740 eV, noise of 4 to 6 thousandths of the edge; numbers of peaks from 0 to two more than
there are, or, with --near, from two less; priors as by default, or, with --informed, of the ranges that the truth is
drawn from, which nobody would know. Each case is written to FOLDER as it is done and not done again, so that the
command can be stopped and gone on with. Columns:

- found: most probable K with its probability, and whether it is said to be resolved;
- below: how far the log likelihood of the best fit is below the optimum that is reached from the truth
  (at the same noise; 1 is allowed);
- E_WL: the error of its median and its sd in eV, and whether its 99 % interval covers the truth; mean, best: the errors
  of its mean and in the most probable fit, which are others where the white line may be either of two lines;
- at best: the largest posterior probability of any 0.2 eV of E_WL, thus the most that any estimate has, given these
  data and this prior, of being within 0.1 eV of the truth;
- least: the sd in eV that the data allow an unbiased estimate of E_WL near the truth (Cramér and Rao);
- at two more: the width in eV of the smallest region that holds 90 % of E_WL with two more peaks than there are, in
  each call, and whether the 99 % interval misses it; central: of the central 90 % interval, which spans what is
  between two places that a white line may have; places: their shares;
- noise: its error in posterior sds;
- apart: the largest difference of ln p(D | K) between independent calls at the most probable K, and the claimed error
  (the calls after the first try the numbers from one less to two more than there are);
- from the truth: where the number of peaks is not resolved, what ln p(D | true K) gains when it is bridged to draws
  that began at the truth (less than nothing where other places have more), the share of them within reach, and the
  largest probability of any K with that gain, if it is one: below 0.95 the data do not decide. Replica exchange from
  the truth is no judge with 8 peaks: in 200 sweeps it tells two nats too much, from the truth as from elsewhere;
- round trips of replicas between the prior and the most probable noise in --exchange sweeps, with up to 3 peaks;
- seconds of the calls, compilation included; of the first for all K together, with the replica exchange.
"""

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
from scipy.optimize import least_squares

import jaxunmix as jxu
from jaxunmix.bayes.spectrum.budget import explorer_of
from jaxunmix.bayes.spectrum.evidence import importance
from jaxunmix.bayes.spectrum.evidence.draws import Draws
from jaxunmix.bayes.spectrum.marginal import Shapes
from jaxunmix.bayes.spectrum.priors import path
from jaxunmix.bayes.tempering.initial import learned
from jaxunmix.simulate import xas

NAMES = ("E_WL", "E0", "edge_width", "line_width", "baseline", "step", "lorentzian", "gaussian")
# What `edge_spectrum` draws from: the mean and the sd of the white line, the ranges of the widths.
INFORMED = jxu.bayes.Priors(
    white_line=(7722.4, 1.0),
    edge_width=(1.6, 2.4),
    line_width=(2.4, 3.6),
    peak_width=(1.0, 2.4),
    peak=(7702.0, 7738.0),
    heights=(1.0, 0.35, 0.35, 0.3),
)
PEAK_NAMES = ("peak_centre", "peak_width", "peak_height")


def from_truth(energy, intensity, truth, noise) -> tuple[float, float]:
    """The log likelihood at the optimum that is reached from the truth, and the Cramér-Rao bound of the sd of E_WL."""
    peaks = truth.sizes["peak"]

    def parts(x):
        own = dict(zip(NAMES, x[: len(NAMES)], strict=True))
        return own | dict(zip(PEAK_NAMES, x[len(NAMES) :].reshape(3, peaks), strict=True))

    start = np.concatenate([[float(truth[n]) for n in NAMES], *(truth[n].values for n in PEAK_NAMES)])
    scale = np.maximum(np.abs(start), 1e-2)
    # Derivatives of 7,700 eV by differences want double precision.
    with jax.enable_x64(True):
        found = least_squares(lambda x: (xas.spectrum(energy, parts(x)) - intensity) / noise, start, x_scale=scale)
    least = np.linalg.norm(np.linalg.pinv(found.jac)[0])
    return float(-found.cost - len(energy) * np.log(noise * np.sqrt(2 * np.pi))), float(least)


@eqx.filter_jit
def swept(density, explorer, key, z, terms, beta, settings):
    """Points after a sweep, and the steps tuned."""
    z, terms, info = explorer.sweep(key, density, z, terms, beta, settings)
    return z, terms, explorer.tune(settings, z, info, 0.5)


def run_from_truth(energy, intensity, truth, found, sweeps) -> tuple[float, float, float]:
    """What ln p(D | true K) gains from draws that began at the truth, their reach, and the largest P(K) with the gain.

    Walkers begin at the truth, at noises of the posterior, and move with its density alone; their first half is what
    the mixture is fitted to, their last sweep is bridged to.
    """
    names = ("E_WL", "E0", "edge_width", "line_width", "peak_centre", "peak_width")
    peaks = truth.sizes["peak"]
    # Walkers are told apart, so none exchanges anything with another.
    explorer = replace(explorer_of(peaks), crossovers=0)
    at = list(found.table["peaks"].values).index(peaks)
    fit, rng = found.fits[at], np.random.default_rng(0)
    with jax.enable_x64(True):
        density = path(energy, intensity, peaks, None, found.priors)
        shapes = Shapes(*(jax.numpy.asarray(truth[n].values)[None] for n in names))
        beta = fit.posterior["noise"].values ** -2
        z = np.tile(density.point(shapes), (len(beta), 1))
        z[:, -density.heights :] = rng.uniform(size=(len(beta), density.heights))
        terms, settings, seen = density.evaluate(z), explorer.init(density, 1), []
        settings = settings._replace(peaks=0.2 * settings.peaks, shapes=0.2 * settings.shapes)
        for sweep in range(sweeps):
            z, terms, settings = swept(density, explorer, jax.random.key(sweep), z, terms, beta, settings)
            if sweep % 10 == 9:
                seen.append(np.asarray(z))
                if sweep < sweeps // 3:
                    steps = {"peaks": settings.peaks, "shapes": settings.shapes}
                    settings = learned(density, explorer, seen[-1][None])._replace(**steps)
        first = seen[len(seen) // 2 : -2]
        pool, last = rng.choice(len(first) * len(beta), importance.POOL), rng.choice(len(beta), importance.BATCH)
        # Neither the evidence nor its error is known.
        unknown = {"log_evidence": np.nan, "error": np.nan, "independent": len(beta)}
        moved = Draws(seen[-1][last], beta[last], last % 4, **unknown)
        draws = Draws(np.concatenate(first)[pool], np.tile(beta, len(first))[pool], pool % 4, **unknown)
        noise = tuple(np.asarray(density.prior.noise).tolist())
        told = importance.importance(density, draws, moved, peaks, noise, rng)
    gain = told.log_evidence - fit.log_evidence
    evidence = np.array([fit.log_evidence for fit in found.fits])
    # Places that have less than the particles have found elsewhere take nothing from it.
    evidence[at] += max(gain, 0)
    return gain, told.reached, float(1 / np.sum(np.exp(evidence - evidence.max())))


def at_best(draws: np.ndarray, within: float) -> float:
    """The largest share of the draws in any interval of twice that length."""
    draws = np.sort(draws)
    return float(np.max(np.searchsorted(draws, draws + 2 * within, "right") - np.arange(len(draws)))) / len(draws)


def case(peaks: int, seed: int, options: argparse.Namespace) -> dict:
    """One data set."""
    noise = np.random.default_rng(seed).uniform(4e-3, 6e-3)
    energy, intensity, truth = jxu.simulate.edge_spectrum(jax.random.key(1000 * peaks + seed), peaks, noise)
    numbers = range(max(0, peaks - 2) if options.near else 0, peaks + 3)
    runs, seconds = [], []
    for repeat in range(options.repeats):
        start = time.perf_counter()
        exchange = options.exchange if peaks <= 3 and repeat == 0 else 0
        priors = INFORMED if options.informed else None
        settings = {"particles": options.particles, "exchange": exchange, "priors": priors}
        # All numbers between, as those next to each other share what they find.
        tried = range(max(runs[0].peaks - 1, numbers[0]), numbers[-1] + 1) if repeat else numbers
        runs.append(jxu.bayes.decompose_spectrum(energy, intensity, tried, key=jax.random.key(repeat), **settings))
        seconds.append(time.perf_counter() - start)
    first = runs[0]
    posterior = first.fit.posterior
    at = 1 / np.sqrt(np.mean(posterior["noise"].values) ** -2)
    low, high = first.interval("E_WL", 0.99)
    line, chosen = float(truth["E_WL"]), list(numbers).index(first.peaks)
    evidences = [-float(run.table["free_energy"].sel(peaks=first.peaks)) for run in runs]
    wide = [replace(run, fits=run.fits[-1:]) for run in runs]
    places = [run.places("E_WL") for run in wide]
    optimum, least = from_truth(energy, intensity, truth, at)
    again = None if first.resolved else run_from_truth(energy, intensity, truth, first, options.sweeps)
    return {
        "peaks": peaks,
        "seed": seed,
        "found": first.peaks,
        "probability": float(first.table["probability"].max()),
        "of the truth": float(first.table["probability"].sel(peaks=peaks)),
        "resolved": first.resolved,
        "below the truth": optimum - first.fit.log_likelihood,
        "at best": at_best(posterior["E_WL"].values, 0.1),
        "least sd": least,
        "E_WL": float(posterior["E_WL"].median()) - line,
        "mean of E_WL": float(posterior["E_WL"].mean()) - line,
        "covers": bool(low <= line <= high),
        "noise": float((posterior["noise"].mean() - noise) / posterior["noise"].std()),
        "apart": float(np.ptp(evidences)),
        "error": first.fits[chosen].error,
        "sd of E_WL": float(posterior["E_WL"].std()),
        "E_WL of the best": float(first.fit.best["E_WL"]) - line,
        "width at two more": [float(np.sum(np.diff(run.region("E_WL")))) for run in wide],
        "central": [float(np.ptp(run.interval("E_WL"))) for run in wide],
        "places": [np.stack([each["median"] - line, each["share"], each["error"]], 1).tolist() for each in places],
        "covers at two more": [bool(np.ptp(np.sign(run.interval("E_WL", 0.99) - line)) > 0) for run in wide],
        "from the truth": again,
        "trips": None if first.exchange is None else first.exchange.round_trips,
        "seconds": seconds,
    }


def shown(row: dict) -> dict[str, str]:
    """The columns of the table."""
    again, missed = row["from the truth"], ["" if covers else " (misses)" for covers in row["covers at two more"]]
    return {
        "K": str(row["peaks"]),
        "seed": str(row["seed"]),
        "found": f"{row['found']} ({row['probability']:.2f}{', resolved' if row['resolved'] else ''})",
        "below": f"{row['below the truth']:.2f}",
        "E_WL": f"{row['E_WL']:+.3f} ± {row['sd of E_WL']:.3f}{'' if row['covers'] else ', does not cover'}",
        "mean, best": f"{row['mean of E_WL']:+.3f}, {row['E_WL of the best']:+.3f}",
        "at best": f"{row['at best']:.2f}",
        "least": f"{row['least sd']:.3f}",
        "at two more": ", ".join(map("{:.3f}{}".format, row["width at two more"], missed)),
        "central": ", ".join(map("{:.3f}".format, row["central"])),
        "places": "; ".join(" ".join("{:+.2f} ({:.2f} ± {:.2f})".format(*at) for at in of) for of in row["places"]),
        "noise": f"{row['noise']:+.1f}",
        "apart": f"{row['apart']:.2f} ({row['error']:.2f})",
        "from the truth": "" if again is None else "{:+.2f}, {:.2f} ({:.2f})".format(*again),
        "trips": str(row["trips"] or ""),
        "s": ", ".join(f"{s:.0f}" for s in row["seconds"]),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--peaks", type=int, nargs="+", default=[3, 5, 8, 14])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--particles", type=int, help="by default as many as `decompose_spectrum` takes")
    parser.add_argument("--exchange", type=int, default=1000, help="sweeps of replica exchange")
    parser.add_argument("--sweeps", type=int, default=120, help="of the run from the truth")
    parser.add_argument("--near", action="store_true", help="from two peaks less than there are, not from 0")
    parser.add_argument("--informed", action="store_true", help="priors of the ranges that the truth is drawn from")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for peaks in options.peaks:
        for seed in range(options.seeds):
            file = options.folder / f"{peaks}-{seed}.json"
            if not file.exists():
                row, part = case(peaks, seed, options), file.with_suffix(".part")
                part.write_text(json.dumps(row))
                os.replace(part, file)
            cells = shown(json.loads(file.read_text()))
            if peaks == options.peaks[0] and seed == 0:
                print("| " + " | ".join(cells) + " |\n" + "|---" * len(cells) + "|")
            print("| " + " | ".join(cells.values()) + " |", flush=True)


if __name__ == "__main__":
    main()
