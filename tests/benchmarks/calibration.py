"""Simulation-based calibration: parameters from the prior, data given them, and the rank of each among posterior draws.

    python tests/benchmarks/calibration.py [peak spectrum] [--sets 150] [--draws 99]

If the sampler is right, ranks are uniform (Talts et al., arXiv:1804.06788). The table gives the p-value of a
Kolmogorov-Smirnov test for each parameter; none should be below 0.005. The last column is the same for draws at
half their distance from their mean, a sampler that is deliberately wrong: there p-values must be below 0.005. (At three
quarters of it 150 data sets tell no more than 0.01 with three parameters.)

- peak: one Gaussian of unknown position, width and height, all sampled, by tempered SMC on the NumPyro model.
- spectrum: edge, white line and one Gaussian, by `decompose_spectrum` with the noise known.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import xarray as xr
from scipy.stats import kstest

import jaxunmix as jxu
from jaxunmix.bayes.numpyro_support.path import NumpyroDensity
from jaxunmix.simulate import xas

ENERGY = np.linspace(7700.0, 7730.0, 40)
NOISE = 0.08
PRIORS = jxu.bayes.Priors(
    white_line=(7714.0, 1.5),
    edge_width=(1.5, 7.5),
    line_width=(1.5, 7.5),
    peak_width=(1.5, 7.5),
    peak=(7700.0, 7730.0),
    baseline=0.5,
    heights=(1.0, 1.0, 1.0, 1.0),
    noise=(1e-3, 1.0),
)
ALONE = ("E_WL", "E0", "edge_width", "line_width", "baseline", "step", "lorentzian", "gaussian")
OF_PEAKS = ("peak_centre", "peak_width", "peak_height")


def ranks(draws: dict[str, np.ndarray], truth: dict[str, float]) -> dict[str, tuple[float, float]]:
    """The rank of the truth among the draws as a share, and among draws nearer to their mean by half."""
    found = {}
    for name, values in draws.items():
        shrunk = values.mean() + 0.5 * (values - values.mean())
        found[name] = tuple((np.sum(v < truth[name]) + 0.5) / (len(v) + 1) for v in (values, shrunk))
    return found


def peak_model(y=None):
    """A Gaussian over 40 channels."""
    centre = numpyro.sample("centre", dist.Uniform(7705.0, 7725.0))
    width = numpyro.sample("width", dist.LogNormal(1.0, 0.4))
    height = numpyro.sample("height", dist.HalfNormal(1.0))
    numpyro.sample("y", dist.Normal(height * jnp.exp(-(((ENERGY - centre) / width) ** 2)), NOISE), obs=y)


def of_peaks(options: argparse.Namespace):
    """Ranks of the three-parameter peak, data set by data set."""
    rng = np.random.default_rng(0)
    for i in range(options.sets):
        truth = {"centre": rng.uniform(7705, 7725), "width": rng.lognormal(1.0, 0.4), "height": abs(rng.normal())}
        y = truth["height"] * np.exp(-(((ENERGY - truth["centre"]) / truth["width"]) ** 2))
        y = y + NOISE * rng.standard_normal(len(ENERGY))
        density = NumpyroDensity(peak_model, (jnp.asarray(y),))
        result = jxu.bayes.smc(density, key=jax.random.key(i), runs=2, particles=512, moves=4)
        weight = np.exp(result.log_evidence[:, -1] - result.log_evidence[:, -1].max())
        run = rng.choice(len(weight), options.draws, p=weight / weight.sum())
        z = result.z[run, rng.permutation(result.z.shape[1])[: options.draws]]
        yield ranks({k: np.asarray(v) for k, v in density.constrain(jnp.asarray(z)).items() if k in truth}, truth)


def of_spectra(options: argparse.Namespace):
    """Ranks of the model with one peak."""
    rng = np.random.default_rng(1)
    for i in range(options.sets):
        p = PRIORS
        line = rng.normal(*p.white_line)
        truth = {"E_WL": line, "E0": rng.normal(line, p.edge), "baseline": rng.normal(0, p.baseline)}
        truth |= {name: np.exp(rng.uniform(*np.log(getattr(p, name)))) for name in ("edge_width", "line_width")}
        heights = np.zeros(4)
        while heights[1] + heights[2] <= heights[3]:  # the white line is the highest
            heights = np.abs(rng.standard_normal(4)) * p.heights
        truth |= dict(zip(("step", "lorentzian", "gaussian"), heights[:3], strict=True))
        peak = (rng.uniform(*p.peak), np.exp(rng.uniform(*np.log(p.peak_width))), heights[3])
        truth |= dict(zip(OF_PEAKS, peak, strict=True))
        parts = xr.Dataset(truth | {name: ("peak", [truth[name]]) for name in OF_PEAKS})
        y = xas.spectrum(ENERGY, parts) + NOISE * rng.standard_normal(len(ENERGY))
        found = jxu.bayes.decompose_spectrum(
            ENERGY, y, 1, NOISE, PRIORS, key=jax.random.key(i), runs=2, particles=options.particles
        )
        posterior = found.fit.posterior.isel(draw=rng.permutation(2000)[: options.draws], peak=0)
        yield ranks({name: posterior[name].values for name in (*ALONE, *OF_PEAKS)}, truth)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", help="peak, spectrum; both by default")
    parser.add_argument("--sets", type=int, default=150)
    parser.add_argument("--draws", type=int, default=99)
    parser.add_argument("--particles", type=int, default=256, help="of `decompose_spectrum`")
    options = parser.parse_args()
    rankings = {"peak": of_peaks, "spectrum": of_spectra}
    if unknown := set(options.what) - set(rankings):
        parser.error(f"{', '.join(unknown)}: choose from {', '.join(rankings)}")
    for what in options.what or rankings:
        start = time.perf_counter()
        found = list(rankings[what](options))
        print(f"\n{what}: {options.sets} data sets, {options.draws} draws, {time.perf_counter() - start:.0f} s\n")
        print("| parameter | p | p of shrunk draws |\n|---|---|---|")
        for name in found[0]:
            shares = np.array([each[name] for each in found])
            right, wrong = (kstest(column, "uniform").pvalue for column in shares.T)
            print(f"| {name} | {right:.3f} | {wrong:.1e} |", flush=True)


if __name__ == "__main__":
    main()
