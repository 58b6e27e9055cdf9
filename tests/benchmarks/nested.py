"""Evidence of a simulated absorption spectrum by `decompose_spectrum` and by dynesty under the same prior: one table.

    python tests/benchmarks/nested.py [--peaks 1 3] [--live 2000] [--sample rwalk|rslice|slice] [--walks 100]
                                      [--slices 12] [--seed 0] [--particles N] [--limit 7200] [--draws 100000]

dynesty (`pip install -e '.[peers]'`) samples every parameter, heights and noise too; its likelihood is NumPy. It is
stopped after --limit seconds for each number of peaks, and its evidence is then only a lower bound. With few live
points its runs differ by more than its error tells: at K = 1, where importance sampling has 325.21, dynesty 3.1 told

    --live 500                                  326.85 +- 0.40, with --seed 1 322.00 +- 0.41
    --live 500 --sample rslice --slices 40      323.67 +- 0.36
    --live 1000 --walks 50                      324.96 +- 0.29
    --live 2000                                 325.61 +- 0.21

and at K = 3, where it has 301.94, with --live 1000 --walks 50 276.08 +- 0.33, which is 26 nats too low.

Ours runs as users call it, four runs, compilation included. Energies and data are those of `spectra.py`: 100 channels,
noise of 5 thousandths of the edge. The prior is `Priors(highest=False)` for both, as the unit cube that dynesty wants
knows no heights that depend on each other.

As judge there is importance sampling of every parameter from a mixture of normal distributions that is fitted to our
posterior: without bias whatever the mixture is, with its standard error and the effective share of the draws. It knows
no mode that the posterior does not have, but the priors, the likelihood and the sum are NumPy's.
"""

import argparse
import math
import time

import jax
import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import multivariate_normal, norm

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


def scores(priors: jxu.bayes.Priors, posterior) -> np.ndarray:
    """(draws, parameters), normal scores of the quantiles of draws: the inverse of `transform`."""

    def log_uniform(x, ends):
        return np.log(x / ends[0]) / np.log(ends[1] / ends[0])

    p = {name: posterior[name].values for name in posterior}
    low, high = priors.peak
    normal = [
        (p["E_WL"] - priors.white_line[0]) / priors.white_line[1],
        (p["E0"] - p["E_WL"]) / priors.edge,
        p["baseline"] / priors.baseline,
    ]
    half = [2 * ndtr(p[name] / sd) - 1 for name, sd in zip(SINGLE[5:8], priors.heights, strict=False)]
    uniform = [
        log_uniform(p["edge_width"], priors.edge_width)[:, None],
        log_uniform(p["line_width"], priors.line_width)[:, None],
        np.stack(half, 1),
        log_uniform(p["noise"], priors.noise)[:, None],
        (p["peak_centre"] - low) / (high - low),
        log_uniform(p["peak_width"], priors.peak_width),
        2 * ndtr(p["peak_height"] / priors.heights[3]) - 1,
    ]
    line, edge, baseline = (each[:, None] for each in normal)
    widths, rest = ndtri(np.hstack(uniform[:2])), ndtri(np.hstack(uniform[2:]))
    return np.hstack([line, edge, widths, baseline, rest])


def by_importance(energy, intensity, priors, peaks, posterior, draws) -> tuple[float, float, float]:
    """(ln Z, its error, effective share of the draws) from a mixture of normals that is fitted to the posterior.

    The mean weight is unbiased whatever the mixture is. Peaks are drawn in the order of their positions, of which
    there are K!.
    """
    from sklearn.mixture import GaussianMixture

    rng = np.random.default_rng(0)
    fitted = GaussianMixture(8, reg_covar=1e-9, random_state=0).fit(scores(priors, posterior))
    # Each normal distribution again with twice the covariance, for the tails.
    means, shares = np.tile(fitted.means_, (2, 1)), np.concatenate([0.7 * fitted.weights_, 0.3 * fitted.weights_])
    covariances = np.concatenate([fitted.covariances_, 2 * fitted.covariances_])
    parts = [multivariate_normal(*each) for each in zip(means, covariances, strict=True)]
    which = np.sort(rng.choice(len(parts), draws, p=shares))
    x = np.concatenate([parts[k].rvs(int(n), rng).reshape(n, -1) for k, n in enumerate(np.bincount(which)) if n])
    proposed = np.logaddexp.reduce([part.logpdf(x) for part in parts] + np.log(shares)[:, None], axis=0)
    place, value = transform(priors, peaks), log_likelihood(energy, intensity, peaks)
    u = np.clip(ndtr(x), 1e-300, 1 - 1e-16)
    centres = u[:, len(SINGLE) : len(SINGLE) + peaks]
    weight = np.array([value(place(each)) for each in u]) + np.sum(norm.logpdf(x), axis=1) - proposed
    weight[np.any(np.diff(centres, axis=1) < 0, axis=1)] = -np.inf
    share = np.exp(weight - weight.max())
    mean, effective = share.mean(), share.sum() ** 2 / np.sum(share**2)
    error = share.std() / mean / math.sqrt(draws)
    return float(weight.max() + np.log(mean) + math.lgamma(peaks + 1)), float(error), effective / draws


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
        **({"walks": options.walks} if options.sample == "rwalk" else {"slices": options.slices}),
        rstate=np.random.default_rng(options.seed),
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
    parser.add_argument("--live", type=int, default=2000)
    parser.add_argument("--particles", type=int)
    parser.add_argument("--sample", default="rwalk", choices=("rwalk", "rslice", "slice"))
    parser.add_argument("--slices", type=int, default=12)
    parser.add_argument("--walks", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of dynesty")
    parser.add_argument("--draws", type=int, default=100_000)
    parser.add_argument("--limit", type=float, default=7200)
    options = parser.parse_args()
    print("| K | ours: ln p(D given K) | s | by importance | effective | dynesty | s | finished |")
    print("|---|---|---|---|---|---|---|---|")
    for peaks in options.peaks:
        energy, intensity, _ = jxu.simulate.edge_spectrum(jax.random.key(1000 * peaks), peaks, 5e-3)
        start, priors = time.perf_counter(), jxu.bayes.Priors(highest=False)
        found = jxu.bayes.decompose_spectrum(
            energy, intensity, peaks, priors=priors, key=jax.random.key(0), particles=options.particles
        )
        seconds, fit = time.perf_counter() - start, found.fit
        judge = by_importance(energy, intensity, found.priors, peaks, fit.posterior, options.draws)
        value, error, theirs, finished = nested(energy, intensity, found.priors, peaks, options)
        cells = [
            f"{peaks}",
            f"{fit.log_evidence:.2f} ± {fit.error:.2f}",
            f"{seconds:.0f}",
            f"{judge[0]:.2f} ± {judge[1]:.2f}",
            f"{judge[2]:.2g}",
            f"{value:.2f} ± {error:.2f}",
            f"{theirs:.0f}",
            f"{finished}",
        ]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
