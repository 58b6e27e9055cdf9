"""What the decomposition of a spectrum gives back: evidences over K and noise, posteriors, the best fit."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Key
from scipy.optimize import least_squares

from ..physics import lineshapes
from .collapsed import FIXED, SHAPES, CollapsedSpectrum
from .smc import SMCResult

# Points of the grid of noise between two levels of a run, draws of a posterior, and noises at which F is told.
BETWEEN, DRAWS, GRID = 8, 2000, 200
# Levels whose noise is less probable than the best by more than this are left out of the integral over the noise.
WINDOW = 14.0
RESOLVED = 0.95


@dataclass(frozen=True)
class Fit:
    """One number of peaks.

    Attributes:
        peaks: K.
        log_evidence: ln p(D | K), the noise integrated out, of all runs together (the mean of their evidences).
        run_log_evidence: (runs,).
        noise: a grid of sds of the noise, increasing; empty where the noise is known.
        free_energy: F(K, b) there, the runs together.
        posterior: draws over "draw": see `Decomposition.posterior`.
        best: the parameters of the best fit, the same names.
        log_likelihood: of the best fit at its noise.
        levels: how many each run went through.
    """

    peaks: int
    log_evidence: float
    run_log_evidence: np.ndarray
    noise: np.ndarray
    free_energy: np.ndarray
    posterior: xr.Dataset
    best: xr.Dataset
    log_likelihood: float
    levels: int

    @property
    def error(self) -> float:
        """Of the log evidence, from the spread of the runs: the larger of the jackknife's and the mean's."""
        runs = len(self.run_log_evidence)
        without = [_log_mean(np.delete(self.run_log_evidence, r)) for r in range(runs)]
        jackknife = math.sqrt((runs - 1) / runs * np.sum((np.asarray(without) - np.mean(without)) ** 2))
        return max(jackknife, float(np.std(self.run_log_evidence, ddof=1)) / math.sqrt(runs))


@dataclass(frozen=True)
class Decomposition:
    """Peaks of one spectrum.

    Attributes:
        energy: (channels,), eV.
        intensity: (channels,).
        priors: the complete `Priors`.
        fits: one `Fit` for each number of peaks.
    """

    energy: np.ndarray
    intensity: np.ndarray
    priors: Any
    fits: tuple[Fit, ...]

    @cached_property
    def table(self) -> xr.Dataset:
        """What was found for each K, over "peaks".

        `free_energy`, -ln p(D | K) in nats, with its `error`; `noise` and `noise_sd`, mean and sd of its posterior;
        `probability` of K, every K alike before the data; `log_likelihood` of the best fit.
        """
        evidence = np.array([fit.log_evidence for fit in self.fits])
        share = np.exp(evidence - evidence.max())
        columns = {
            "free_energy": -evidence,
            "error": [fit.error for fit in self.fits],
            "noise": [float(fit.posterior["noise"].mean()) for fit in self.fits],
            "noise_sd": [float(fit.posterior["noise"].std()) for fit in self.fits],
            "probability": share / share.sum(),
            "log_likelihood": [fit.log_likelihood for fit in self.fits],
        }
        return xr.Dataset(
            {name: ("peaks", np.asarray(v)) for name, v in columns.items()}, {"peaks": [f.peaks for f in self.fits]}
        )

    @property
    def fit(self) -> Fit:
        """That of the most probable number of peaks."""
        return self.fits[int(np.argmax([fit.log_evidence for fit in self.fits]))]

    @property
    def peaks(self) -> int:
        """The most probable number of Gaussians."""
        return self.fit.peaks

    @property
    def noise(self) -> float:
        """The mean of the posterior of the noise sd, for that number."""
        return float(self.posterior["noise"].mean())

    @property
    def resolved(self) -> bool:
        """Whether the data decide the number of peaks.

        Its probability is at least 0.95, and it is not the largest of several that were tried.
        """
        edge = len(self.fits) > 1 and self.peaks == self.fits[-1].peaks
        return bool(self.table["probability"].max() >= RESOLVED) and not edge

    @property
    def posterior(self) -> xr.DataTree:
        """Draws of every parameter for the chosen K, dims (chain, draw) and "peak", peaks by position.

        E_WL, E0, edge_width, line_width, peak_centre, peak_width in eV; baseline, step, lorentzian, gaussian and
        peak_height in the unit of the intensity, peak_area in that times eV; noise.
        """
        return xr.DataTree(self.fit.posterior.expand_dims(chain=[0]), name="posterior")

    @property
    def map_estimate(self) -> xr.Dataset:
        """The most probable parameters for the chosen K: the same names. Positions and widths have flat quantiles."""
        return self.fit.best

    def interval(self, name: str = "E_WL", prob: float = 0.9) -> np.ndarray:
        """The central interval of a parameter that holds this probability: (2,), or (2, peak)."""
        tail = (1 - prob) / 2
        return self.fit.posterior[name].quantile([tail, 1 - tail], "draw").to_numpy()

    def components(self, energy: Any = None, parameters: xr.Dataset | None = None) -> xr.DataArray:
        """The parts of a fit, ("component", "energy"): baseline, edge, white line, peak 1 to K, and their sum "fit".

        Args:
            energy: eV; that of the data by default.
            parameters: one set of them, such as `posterior.isel(draw=0)`; those of the best fit by default.
        """
        at = self.energy if energy is None else np.asarray(energy, float)
        p = self.map_estimate if parameters is None else parameters
        parts = {name: np.asarray(curve) for name, curve in curves(at, p).items()}
        parts["fit"] = np.sum(list(parts.values()), axis=0)
        coords = {"component": list(parts), "energy": at}
        return xr.DataArray(np.stack(list(parts.values())), coords, ("component", "energy"))

    def __repr__(self) -> str:
        word = "" if self.resolved else ", not resolved"
        low, high = self.interval("E_WL")
        probability = float(self.table["probability"].max())
        found = f"{self.peaks} peaks with probability {probability:.2f}{word}"
        return f"Decomposition({found}; E_WL {low:.3f} to {high:.3f} eV)"


@dataclass(frozen=True)
class Decompositions:
    """Peaks of several spectra."""

    spectra: tuple[Decomposition, ...]

    def __len__(self) -> int:
        return len(self.spectra)

    def __getitem__(self, index: int) -> Decomposition:
        return self.spectra[index]

    @property
    def table(self) -> xr.Dataset:
        """The tables of all, over "spectrum" and "peaks"."""
        return xr.concat([each.table for each in self.spectra], "spectrum")

    def difference(self, first: int, second: int, name: str = "E_WL", prob: float = 0.9) -> dict[str, float]:
        """How a parameter of one spectrum compares with that of another.

        Returns:
            `mean` of the difference second - first, `low` and `high` of its interval, and `probability` that it is
            positive.
        """
        a, b = (self.spectra[i].fit.posterior[name].to_numpy() for i in (first, second))
        apart = b - a
        low, high = np.quantile(apart, [(1 - prob) / 2, (1 + prob) / 2])
        return {
            "mean": float(apart.mean()),
            "low": float(low),
            "high": float(high),
            "probability": float(np.mean(apart > 0)),
        }

    def above(self, name: str = "E_WL") -> np.ndarray:
        """The probability that a parameter of one spectrum lies above that of another, (spectra, spectra).

        Of the row's over the column's, from all pairs of draws: P and its transpose add up to one, and the diagonal
        is one half.
        """
        draws = [np.sort(each.fit.posterior[name].to_numpy()) for each in self.spectra]

        def share(a: np.ndarray, b: np.ndarray) -> float:
            ranks = np.searchsorted(b, a, "left") + np.searchsorted(b, a, "right")
            return float(np.mean(ranks) / (2 * len(b)))

        return np.array([[share(a, b) for b in draws] for a in draws])


def curves(energy: Any, p: Any) -> dict[str, Array]:
    """The parts of a spectrum at these parameters."""
    value = {name: np.asarray(p[name]) for name in p}
    line = value["E_WL"], value["line_width"]
    parts = {
        "baseline": value["baseline"] * jnp.ones_like(jnp.asarray(energy, float)),
        "edge": value["step"] * lineshapes.arctangent_step(energy, value["E0"], value["edge_width"]),
        "white line": value["lorentzian"] * lineshapes.lorentzian(energy, *line) / lineshapes.lorentzian_peak(line[1])
        + value["gaussian"] * lineshapes.gaussian(energy, *line) / lineshapes.gaussian_peak(line[1]),
    }
    peaks = zip(value["peak_centre"], value["peak_width"], value["peak_area"], strict=True)
    return parts | {f"peak {i + 1}": area * lineshapes.gaussian(energy, c, w) for i, (c, w, area) in enumerate(peaks)}


def gather(density: CollapsedSpectrum, result: SMCResult, peaks: int, *, noise_known: bool, key: Key[Array, ""]) -> Fit:
    """The `Fit` of one number of peaks from its tempered runs."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel().tolist())
    channels, scale = len(density.energy), float(np.sum(np.log(np.asarray(density.weight))))
    constant = 0.0 if density.poisson else 1.0

    def log_marginal(b: np.ndarray, log_z: np.ndarray) -> np.ndarray:
        return log_z + constant * (0.5 * channels * np.log(np.maximum(b, 1e-300) / (2 * np.pi)) + scale)

    nodes = _nodes(density, result, log_marginal, noise_known)
    per_run = np.array([_integral(nodes, run, density, noise_known) for run in range(len(result.betas))])
    points, beta = _drawn(nodes, per_run, density, noise_known, rng)
    posterior = _posterior(density, result, points, beta, peaks)
    best, log_likelihood = _best(density, result, points, beta, peaks)
    noise, free_energy = _surface(result, log_marginal, noise_known)
    return Fit(
        peaks, _log_mean(per_run), per_run, noise, free_energy, posterior, best, log_likelihood, result.betas.shape[1]
    )


def _surface(result: SMCResult, log_marginal: Any, noise_known: bool) -> tuple[np.ndarray, np.ndarray]:
    """F over a grid of noise that all runs have passed."""
    if noise_known:
        return np.array([]), np.array([])
    b = np.geomspace(np.max(result.betas[:, 1]), np.min(result.betas[:, -1]), GRID)
    runs = []
    for betas, log_z in zip(result.betas, result.log_evidence, strict=True):
        last = int(np.searchsorted(betas, betas[-1]))
        values = np.interp(np.log(b), np.log(betas[1 : last + 1]), log_z[1 : last + 1])
        runs.append(log_marginal(b, values))
    return 1 / np.sqrt(b[::-1]), -(np.logaddexp.reduce(runs, axis=0) - math.log(len(runs)))[::-1]


@dataclass
class _Node:
    """A noise at which a level of a run is looked at: ln p(D | b), and the weights of the particles there."""

    run: int
    level: int
    beta: float
    log_marginal: float
    log_weight: np.ndarray


def _nodes(density: CollapsedSpectrum, result: SMCResult, log_marginal: Any, noise_known: bool) -> list[_Node]:
    """A fine grid of noise about the best: each of its points from the nearest level by importance weights."""
    found = []
    for run, (betas, log_z) in enumerate(zip(result.betas, result.log_evidence, strict=True)):
        # A run that ended before the others repeats its last level.
        last = int(np.searchsorted(betas, betas[-1]))
        value = log_marginal(betas[: last + 1], log_z[: last + 1])
        if noise_known:
            zero = np.zeros(result.particles.shape[2])
            found.append(_Node(run, last, float(betas[-1]), float(value[-1]), zero))
            continue
        for level in np.flatnonzero(value[1:] > value[1:].max() - WINDOW) + 1:
            here = math.log(betas[level])
            low = here if betas[level - 1] <= 0 else (here + math.log(betas[level - 1])) / 2
            high = here if level == last else (here + math.log(betas[level + 1])) / 2
            grid = np.exp(low + (high - low) * (np.arange(BETWEEN) + 0.5) / BETWEEN)
            terms = jax.tree.map(lambda leaf: leaf[level, run], result.kept_terms)  # noqa: B023
            change = np.asarray(_changes(density, terms, betas[level], grid))
            peak = change.max(1, keepdims=True)
            mean = peak[:, 0] + np.log(np.mean(np.exp(change - peak), 1))
            values = log_marginal(grid, log_z[level] + mean)
            found += [
                _Node(run, int(level), float(b), float(v), w) for b, v, w in zip(grid, values, change, strict=True)
            ]
    return found


@eqx.filter_jit
def _changes(density: CollapsedSpectrum, terms: Any, beta: Any, grid: Any) -> Array:
    """Ln q_b' - ln q_b of the particles of a level, (grid, particles)."""
    count = len(jax.tree.leaves(terms)[0])

    def at(b):
        return density.log_density(jax.tree.map(jnp.asarray, terms), jnp.full(count, b))

    return jax.lax.map(at, jnp.asarray(grid)) - at(jnp.asarray(beta))


def _log_shares(nodes: list[_Node], run: int) -> tuple[list[_Node], np.ndarray]:
    """The nodes of a run and the logarithm of what each adds to the integral over ln sigma."""
    own = sorted((node for node in nodes if node.run == run), key=lambda node: node.beta)
    step = np.gradient([0.5 * math.log(node.beta) for node in own]) if len(own) > 1 else np.ones(1)
    return own, np.array([node.log_marginal for node in own]) + np.log(step)


def _integral(nodes: list[_Node], run: int, density: CollapsedSpectrum, noise_known: bool) -> float:
    _, shares = _log_shares(nodes, run)
    if noise_known:
        return float(shares[0])
    low, high = np.asarray(density.prior.noise)
    return float(np.logaddexp.reduce(shares) - math.log(math.log(high / low)))


def _drawn(nodes, per_run, density, noise_known, rng) -> tuple[list[tuple[int, int, int]], np.ndarray]:
    """(run, level, particle) and b of draws from the posterior, each run with the weight of its evidence."""
    weights = np.exp(per_run - per_run.max())
    counts = rng.multinomial(DRAWS, weights / weights.sum())
    points, betas = [], []
    for run, count in enumerate(counts):
        own, shares = _log_shares(nodes, run)
        share = np.exp(shares - shares.max())
        for node, number in zip(own, rng.multinomial(count, share / share.sum()), strict=True):
            inner = np.exp(node.log_weight - node.log_weight.max())
            picks = rng.choice(len(inner), number, p=inner / inner.sum())
            points += [(run, node.level, int(i)) for i in picks]
            betas += [node.beta] * number
    # Run by run and level by level: shuffled, so that draws of two spectra can be paired as independent ones.
    order = rng.permutation(len(points))
    return [points[i] for i in order], np.array(betas)[order]


def _taken(result: SMCResult, points: list[tuple[int, int, int]]) -> tuple[np.ndarray, Any]:
    run, level, index = np.array(points).T
    return result.particles[level, run, index], jax.tree.map(lambda leaf: leaf[level, run, index], result.kept_terms)


@eqx.filter_jit
def _told(density: CollapsedSpectrum, z: Any, terms: Any, beta: Any) -> Any:
    return density.shapes(jnp.asarray(z)), density.draw(jax.tree.map(jnp.asarray, terms), jnp.asarray(beta))


def _dataset(shapes: Any, heights: np.ndarray, noise: np.ndarray, peaks: int) -> xr.Dataset:
    """Parameters by name, over "draw" and "peak", peaks by position."""
    order = np.argsort(np.asarray(shapes.centres)[:, :peaks], axis=1)
    centre, width, height = (
        np.take_along_axis(np.asarray(a)[:, :peaks], order, 1)
        for a in (shapes.centres, shapes.widths, heights[:, FIXED:])
    )
    single = {
        "E_WL": shapes.white_line,
        "E0": shapes.edge,
        "edge_width": shapes.edge_width,
        "line_width": shapes.line_width,
        **dict(zip(("baseline", "step", "lorentzian", "gaussian"), heights[:, :FIXED].T, strict=True)),
        "noise": noise,
    }
    area = height / np.asarray(lineshapes.gaussian_peak(width))
    plural = {"peak_centre": centre, "peak_width": width, "peak_height": height, "peak_area": area}
    variables = {name: ("draw", np.asarray(value)) for name, value in single.items()}
    return xr.Dataset(variables | {name: (("draw", "peak"), value) for name, value in plural.items()})


def _posterior(density, result, points, beta, peaks) -> xr.Dataset:
    z, terms = _taken(result, points)
    shapes, heights = _told(density, z, terms, beta)
    return _dataset(shapes, np.asarray(heights), _noise_of(density, beta), peaks)


def _noise_of(density: CollapsedSpectrum, beta: np.ndarray) -> np.ndarray:
    """The sd of the noise: sigma, times the mean of what each channel has in units of it."""
    return 1 / np.sqrt(beta) * float(np.mean(1 / np.asarray(density.weight)))


def _best(density, result, points, beta, peaks) -> tuple[xr.Dataset, float]:
    """The most probable parameters from the best draws, at the mean noise, and their log likelihood."""
    z, terms = _taken(result, points)
    _, heights = _told(density, z, terms, beta)
    b = float(1 / np.mean(1 / np.sqrt(beta)) ** 2)
    free = np.r_[np.arange(SHAPES + peaks), SHAPES + density.slots + np.arange(peaks)].astype(int)
    kept = np.r_[np.arange(FIXED), FIXED + np.arange(peaks)].astype(int)
    scaled = np.asarray(heights) / np.asarray(density.scales)
    starts = np.concatenate([np.clip(z[:, free], 1e-9, 1 - 1e-9), scaled[:, kept]], 1)
    lower = np.r_[np.zeros(len(free)), 0.0 if density.poisson else -np.inf, np.zeros(len(kept) - 1)]
    upper = np.r_[np.ones(len(free)), np.full(len(kept), np.inf)]

    def residual(x):
        return np.asarray(_residual(density, jnp.asarray(x), jnp.asarray(free), jnp.asarray(kept), b))

    def jacobian(x):
        return np.asarray(_jacobian(density, jnp.asarray(x), jnp.asarray(free), jnp.asarray(kept), b))

    values = np.asarray(_residuals(density, jnp.asarray(starts), jnp.asarray(free), jnp.asarray(kept), b))
    order = np.argsort(np.sum(values**2, 1))
    firsts = order[:: max(len(order) // 64, 1)][:3]
    fitted = [
        least_squares(
            residual, np.clip(starts[i], lower + 1e-12, upper - 1e-12), jacobian, (lower, upper), max_nfev=200
        )
        for i in firsts
    ]
    x = min(fitted, key=lambda fit: fit.cost).x
    point, height = np.full((1, density.size), 0.5), np.zeros((1, density.heights))
    point[0, free], height[0, kept] = x[: len(free)], x[len(free) :]
    shapes = density.shapes(jnp.asarray(point))
    best = _dataset(shapes, height * np.asarray(density.scales), _noise_of(density, np.array([b])), peaks)
    best = best.isel(draw=0)
    return best, _log_likelihood(density, best, b)


def _log_likelihood(density: CollapsedSpectrum, best: xr.Dataset, b: float) -> float:
    fitted = np.sum([np.asarray(c) for c in curves(np.asarray(density.energy), best).values()], axis=0)
    data, weight = np.asarray(density.intensity), np.asarray(density.weight)
    if density.poisson:
        rate = np.maximum(fitted, 1e-30)
        return float(np.sum(data * np.log(rate) - rate - jax.scipy.special.gammaln(data + 1)))
    return float(np.sum(-0.5 * b * (weight * (data - fitted)) ** 2 + 0.5 * np.log(b / (2 * np.pi)) + np.log(weight)))


def _of(density: CollapsedSpectrum, x: Array, free: Array, kept: Array, b: float) -> Array:
    """What is squared and halved in the negative log posterior: weighted residuals, and heights in their prior sds."""
    z = jnp.full((1, density.size), 0.5).at[0, free].set(x[: len(free)])
    heights = jnp.zeros(density.heights).at[kept].set(x[len(free) :])
    misfit = density.target - heights @ density.columns(z)[0]
    return jnp.concatenate([jnp.sqrt(b) * misfit, heights])


_residual = eqx.filter_jit(_of)
_jacobian = eqx.filter_jit(lambda density, x, free, kept, b: jax.jacfwd(lambda x: _of(density, x, free, kept, b))(x))
_residuals = eqx.filter_jit(lambda density, x, free, kept, b: jax.vmap(lambda x: _of(density, x, free, kept, b))(x))


def _log_mean(values: np.ndarray) -> float:
    return float(np.logaddexp.reduce(values) - math.log(len(values)))
