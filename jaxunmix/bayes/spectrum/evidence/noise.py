"""Evidence and posterior draws for K peaks from tempered runs, with the noise integrated out."""

import math
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from scipy.interpolate import make_interp_spline

from ...._util.statistics import log_mean, spread
from ...explorers.base import Explorer
from ...programs import Call
from ...tempering.sequential import moved
from ...tempering.sequential_result import SMCResult
from ..marginal import CollapsedSpectrum
from .draws import Draws
from .importance import POOL

# Points of the grid of noise between two levels of a run, and noises at which F is given.
BETWEEN, GRID = 8, 200
# Levels whose noise is less probable than the best by more than this are left out of the integral over the noise.
WINDOW = 14.0
# A run whose best noise is less probable than that of another by more than this does not limit the range of noise.
BEYOND = 5.0


@dataclass(frozen=True)
class TemperedRuns:
    """What the tempered runs of one number of peaks have found.

    Attributes:
        draws: of the posterior, those of all runs.
        log_evidence: (runs,), ln p(D | K) by each run.
        settings: of the explorer at the best noise, leading axis (groups,).
        points: how many points the runs moved.
        noise: sds at which F is given, increasing; empty where the noise is known.
        free_energy: F(K, b) there.
        levels: how many the runs went through.
    """

    draws: Draws
    log_evidence: np.ndarray
    settings: Any
    points: int
    noise: np.ndarray
    free_energy: np.ndarray
    levels: int


def over_noise(
    density: CollapsedSpectrum, result: SMCResult, *, noise_known: bool, rng: np.random.Generator
) -> TemperedRuns:
    """What tempered runs have found, with the noise integrated out."""
    nodes = _nodes(density, result, noise_known)
    runs = np.array([_integral(nodes, run, density, noise_known) for run in range(len(result.betas))])
    z, beta, origin = _drawn(result, nodes, runs, density, noise_known, rng)
    settings = _settings(result, nodes, runs, rng)
    noise, surface = _surface(density, result, noise_known)
    runs, error = _by_origin(result, runs, origin)
    expected = {run: 1 / len(runs) for run in range(len(runs))}
    draws = Draws(z, beta, origin // result.z.shape[1], log_mean(runs), error, expected)
    return TemperedRuns(draws, runs, settings, math.prod(result.z.shape[:2]), noise, surface, result.betas.shape[1])


def move_on(
    density: CollapsedSpectrum,
    explorer: Explorer,
    runs: TemperedRuns,
    draws: Draws,
    sweeps: int,
    rng: np.random.Generator,
    workers: Executor | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws after each of some sweeps at their own b, (sweeps, points, size); b and run of each, (points,).

    They are as many points as `smc` moved, so that it is one program with it.
    """
    which = rng.choice(len(draws.beta), runs.points, replace=runs.points > len(draws.beta))
    z, beta, key = draws.z[which], draws.beta[which], jax.random.key(int(rng.integers(2**31)))
    points = z, _evaluation(density, z)(), beta
    new = moved(density, explorer, *points, runs.settings, key=key, sweeps=sweeps, workers=workers)
    return new, beta, draws.run[which]


def _evaluation(density: CollapsedSpectrum, z: np.ndarray) -> Call:
    return Call(_evaluated, (density, z))


@eqx.filter_jit
def _evaluated(density: CollapsedSpectrum, z: Any) -> Any:
    return density.evaluate(jnp.asarray(z))


def noise_calls(density: CollapsedSpectrum, runs: int, particles: int) -> list[Call]:
    """The calls of jitted functions that `over_noise` and `move_on` make after so many runs that kept all particles."""
    terms = _evaluation(density, np.zeros((particles, density.size))).zeros()
    changes = Call(_changes, (density, terms, np.float64(1), np.ones(BETWEEN)))
    return [changes, _evaluation(density, np.zeros((runs * particles, density.size)))]


def _by_origin(result: SMCResult, runs: np.ndarray, origin: np.ndarray) -> tuple[np.ndarray, float]:
    """Ln p(D | K) of each run, or what each has given to that of united ones, and the error of their mean."""
    if not result.united:
        return runs, spread(runs)
    share, error = result.of_descent(origin)
    with np.errstate(divide="ignore"):
        return log_mean(runs) + np.log(len(runs) * share), error


def _settings(result: SMCResult, nodes: list, runs: np.ndarray, rng: np.random.Generator) -> Any:
    """Those of the parts of each run at its best noise, each run as often as it is drawn from."""
    number = len(runs)
    own = np.sort(rng.choice(number, number, p=_shares(runs)))
    level = np.array([max((n for n in nodes if n.run == run), key=lambda n: n.log_marginal).level for run in own])

    def of(leaf: np.ndarray) -> np.ndarray:
        by_run = leaf.reshape(leaf.shape[0], number, -1, *leaf.shape[2:])[level, own]
        return by_run.reshape(-1, *leaf.shape[2:])

    return jax.tree.map(of, result.settings)


def _shares(log_values: np.ndarray) -> np.ndarray:
    weights = np.exp(log_values - np.max(log_values))
    return weights / weights.sum()


def _between(run: tuple[np.ndarray, np.ndarray], b: Any) -> Any:
    """Ln Z at b between the levels of a run, by a cubic spline over ln b: chords were up to a nat too low.

    Beyond the last level of a run, which it left for the noise being too small by far, it is next to nothing.
    """
    betas, log_z = run
    # A run that ended before the others repeats its last level.
    levels = slice(1, int(np.searchsorted(betas, betas[-1])) + 1)
    order = min(3, len(betas[levels]) - 1)
    found = make_interp_spline(np.log(betas[levels]), log_z[levels], k=order)(np.log(b))
    return np.where(np.asarray(b) > betas[-1] * (1 + 1e-9), -np.inf, found)


def _surface(density: CollapsedSpectrum, result: SMCResult, noise_known: bool) -> tuple[np.ndarray, np.ndarray]:
    """F over a grid of noise that all runs have passed."""
    if noise_known:
        return np.array([]), np.array([])
    pairs = list(zip(result.betas, result.log_evidence, strict=True))
    # To where the runs that matter have gone.
    first = max(np.max(result.betas[:, 1]), _first(density))
    best = np.array([np.max(density.log_marginal(b, log_z)[b >= first]) for b, log_z in pairs])
    b = np.geomspace(first, np.min(result.betas[best > best.max() - BEYOND, -1]), GRID)
    runs = [density.log_marginal(b, _between(pair, b)) for pair in pairs]
    return 1 / np.sqrt(b[::-1]), -np.array([log_mean(each) for each in np.transpose(runs)])[::-1]


@dataclass
class _Node:
    """A noise at which a level of a run is looked at: ln p(D | b), and the weights of the particles there."""

    run: int
    level: int
    beta: float
    log_marginal: float
    log_weight: np.ndarray


def _nodes(density: CollapsedSpectrum, result: SMCResult, noise_known: bool) -> list[_Node]:
    """A fine grid of noise about the best: each of its points from the nearest level by importance weights."""
    found = []
    for run, (betas, log_z) in enumerate(zip(result.betas, result.log_evidence, strict=True)):
        # A run that ended before the others repeats its last level.
        last = int(np.searchsorted(betas, betas[-1]))
        value = density.log_marginal(betas[: last + 1], log_z[: last + 1])
        if noise_known:
            found.append(_Node(run, last, float(betas[-1]), float(value[-1]), result.log_weight[last, run]))
            continue
        # The part of the prior of the noise that each level stands for.
        logs = np.log(betas[1 : last + 1])
        middle = (logs[1:] + logs[:-1]) / 2
        lows, highs = np.maximum(np.r_[logs[0], middle], math.log(_first(density))), np.r_[middle, logs[-1]]
        told = np.where(highs >= lows, value[1:], -np.inf)
        for level in np.flatnonzero(told > told.max() - WINDOW) + 1:
            low, high = lows[level - 1], highs[level - 1]
            grid = np.exp(low + (high - low) * (np.arange(BETWEEN) + 0.5) / BETWEEN)
            terms = jax.tree.map(lambda leaf: leaf[level, run], result.kept_terms)  # noqa: B023
            change = np.asarray(_changes(density, terms, betas[level], grid)) + result.log_weight[level, run]
            peak = change.max(1, keepdims=True)
            mean = peak[:, 0] + np.log(np.mean(np.exp(change - peak), 1))
            values = density.log_marginal(grid, log_z[level] + mean)
            found += [
                _Node(run, int(level), float(b), float(v), w) for b, v, w in zip(grid, values, change, strict=True)
            ]
    return found


def _first(density: CollapsedSpectrum) -> float:
    """B at the largest noise of the prior."""
    return float(density.prior.noise[1]) ** -2


@eqx.filter_jit
def _changes(density: CollapsedSpectrum, terms: Any, beta: Any, grid: Any) -> Array:
    """Ln q_b' - ln q_b of the particles of a level, (grid, particles)."""
    count = len(jax.tree.leaves(terms)[0])

    def at(b):
        return density.log_density(jax.tree.map(jnp.asarray, terms), jnp.full(count, b))

    # One map, so that the density is compiled once.
    values = jax.lax.map(at, jnp.concatenate([jnp.asarray(beta)[None], jnp.asarray(grid)]))
    return values[1:] - values[0]


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


def _drawn(result, nodes, runs, density, noise_known, rng) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws of the posterior, each run with the weight of its evidence: points, beta, and the origin of each."""
    particles, betas = [], []
    for run, count in enumerate(rng.multinomial(POOL, _shares(runs))):
        own, shares = _log_shares(nodes, run)
        for node, number in zip(own, rng.multinomial(count, _shares(shares)), strict=True):
            picks = rng.choice(len(node.log_weight), number, p=_shares(node.log_weight))
            particles += [(run, node.level, int(i)) for i in picks]
            betas += [node.beta] * number
    # Run by run and level by level: shuffled, so that draws of two spectra can be paired as independent ones.
    order = rng.permutation(len(particles))
    run, level, index = np.array(particles)[order].T
    at = level, run, index
    return result.particles[at], np.array(betas)[order], result.origin[at]
