"""From tempered runs to the `Fit` of one number of peaks: the noise integrated out, draws, the best fit, a check."""

import math
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key
from scipy.interpolate import make_interp_spline

from . import warm
from .best import best_fit, by_name, noise_sd
from .collapsed import CollapsedSpectrum
from .decomposition import Exchange, Fit, log_mean, spread
from .evidence import free_energy
from .exchange import replica_exchange
from .explorers import Explorer
from .importance import BATCH, POOL, Moved, compile_importance, importance
from .levels import SMCResult
from .smc import moved

# Points of the grid of noise between two levels of a run, draws of a posterior, and noises at which F is told.
BETWEEN, DRAWS, GRID = 8, 2000, 200
# Levels whose noise is less probable than the best by more than this are left out of the integral over the noise.
WINDOW = 14.0
# A run whose best noise is less probable than that of another by more than this does not limit the range of noise.
BEYOND = 5.0
# Sweeps of draws of the posterior before those that count, and of those; with none that moved the evidence of K = 5 on
# data of 3 peaks was 0.2 nats too low, and after 5 it was not.
SETTLED, COUNTED = 5, 5
# The share of the posterior within reach of the mixtures from which their evidence is relied on: with 0.2 (7 peaks on
# data of 5) repeated ones lay within their errors of 0.3; with next to nothing (10 on 8) 2 nats below runs that agreed.
RELIABLE = 0.15
# Ladders side by side in replica exchange, and sweeps before, in which steps and rungs are tuned.
LADDERS, WARMUP = 16, 128


class _Drawn(NamedTuple):
    """Draws of the posterior: points and b, the run, the level and the number of the particle of each, its origin."""

    z: np.ndarray
    beta: np.ndarray
    run: np.ndarray
    level: np.ndarray
    particle: np.ndarray
    origin: np.ndarray


def gather(
    density: CollapsedSpectrum,
    explorer: Explorer,
    result: SMCResult,
    peaks: int,
    *,
    noise_known: bool,
    key: Key[Array, ""],
    workers: Executor | None = None,
) -> Fit:
    """The `Fit` of one number of peaks from its tempered runs."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel().tolist())
    nodes = _nodes(density, result, noise_known)
    runs = np.array([_integral(nodes, run, density, noise_known) for run in range(len(result.betas))])
    drawn = _drawn(result, nodes, runs, density, noise_known, rng)
    further = _moved_on(density, explorer, result, drawn, nodes, runs, rng, workers)
    runs, spread_of_runs = _by_origin(result, runs, drawn)
    log_evidence, error, reached, z, beta = _weighed(
        density, drawn, further, (log_mean(runs), spread_of_runs), peaks, noise_known, rng
    )
    shapes, heights = _told(density, z, beta)
    best, log_likelihood = best_fit(density, z, np.asarray(heights), beta, peaks)
    noise, surface = _surface(density, result, noise_known)
    return Fit(
        peaks=peaks,
        log_evidence=log_evidence,
        error=error,
        run_log_evidence=runs,
        reached=reached,
        noise=noise,
        free_energy=surface + log_mean(runs) - log_evidence,
        posterior=by_name(shapes, np.asarray(heights), noise_sd(density, beta), peaks),
        best=best,
        log_likelihood=log_likelihood,
        levels=result.betas.shape[1],
    )


def _moved_on(density, explorer, result, drawn, nodes, runs, rng, workers) -> Moved:
    """Draws after some sweeps at their own b; as many points as `smc` moved."""
    number, points = len(runs), math.prod(result.z.shape[:2])
    picks = rng.choice(len(drawn.beta), points, replace=points > len(drawn.beta))
    terms = jax.tree.map(
        lambda leaf: leaf[drawn.level[picks], drawn.run[picks], drawn.particle[picks]], result.kept_terms
    )
    # Those of the parts of each run, each run as often as it is drawn from.
    own = np.sort(rng.choice(number, number, p=_shares(runs)))
    level = np.array([max((n for n in nodes if n.run == run), key=lambda n: n.log_marginal).level for run in own])

    def of(leaf: np.ndarray) -> np.ndarray:
        by_run = leaf.reshape(leaf.shape[0], number, -1, *leaf.shape[2:])[level, own]
        return by_run.reshape(-1, *leaf.shape[2:])

    settings = jax.tree.map(of, result.settings)
    key = jax.random.key(int(rng.integers(2**31)))
    z, beta = drawn.z[picks], drawn.beta[picks]
    how = {"key": key, "sweeps": SETTLED + COUNTED, "workers": workers}
    found = moved(density, explorer, z, terms, beta, settings, **how)[SETTLED:]
    sweep, which = rng.integers(COUNTED, size=BATCH), rng.integers(points, size=BATCH)
    return Moved(found[sweep, which], beta[which], drawn.origin[picks][which], points)


def _shares(log_values: np.ndarray) -> np.ndarray:
    weights = np.exp(log_values - np.max(log_values))
    return weights / weights.sum()


def _by_origin(result: SMCResult, runs: np.ndarray, drawn: _Drawn) -> tuple[np.ndarray, float]:
    """Ln p(D | K) of each run, or what each has given to that of united ones, and the error of their mean.

    Runs that were united are judged by the offspring of each, as lines of descent are (H. P. Chan and T. L. Lai, Ann.
    Stat. 41 (2013) 2877).
    """
    number = len(runs)
    if np.all(result.origin[-1] == np.arange(number)[:, None]):
        return runs, spread(runs)
    share = number * np.bincount(drawn.origin, minlength=number) / len(drawn.origin)
    with np.errstate(divide="ignore"):
        return log_mean(runs) + np.log(share), float(np.std(share, ddof=1)) / math.sqrt(number)


def _weighed(density, drawn, further, of_runs, peaks, noise_known, rng) -> tuple:
    """Ln p(D | K), its error, and draws: weighed and the share within reach where that is enough, or as they are."""
    ends = (float(drawn.beta[0]) ** -0.5,) * 2 if noise_known else tuple(np.asarray(density.prior.noise).tolist())
    found = importance(density, drawn.z, drawn.beta, further, peaks, ends, rng)
    if found.reached > RELIABLE:
        # Of what is out of reach the particles alone tell: 13 peaks on data of 14 had 0.35 within reach, and 3.5 nats
        # less than the particles where 0.2 was told.
        beyond = (1 - found.reached) * (found.log_evidence - of_runs[0])
        return found.log_evidence, math.hypot(found.error, beyond), found.reached, *found.drawn(DRAWS, rng)
    return *of_runs, 0.0, further.z[:DRAWS], further.beta[:DRAWS]


def compile_gathering(density: CollapsedSpectrum, particles: int) -> None:
    """Compiles what `gather` runs for so many particles."""
    z = np.full((max(particles, DRAWS), density.size), 0.5)
    shapes = eqx.filter_eval_shape(density.evaluate, z[:particles])
    terms = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    _changes(density, terms, np.float64(1.0), np.ones(BETWEEN))
    _told(density, z[:DRAWS], np.ones(DRAWS))
    compile_importance(density)
    # As a whole: most of what the best fit compiles are single operations.
    best_fit(density, z[:DRAWS], np.zeros((DRAWS, density.heights)), np.ones(DRAWS), int(np.sum(density.live)))


def exchanged(
    density: CollapsedSpectrum,
    explorer: Explorer,
    result: SMCResult,
    fit: Fit,
    key: Key[Array, ""],
    sweeps: int,
    start: Any = None,
) -> Exchange:
    """Replica exchange from the particles of a fit to its most probable noise.

    Args:
        density: of the fit.
        explorer: of its moves.
        result: its tempered runs.
        fit: what they gave.
        key: the randomness.
        sweeps: recorded ones, of `LADDERS` ladders.
        start: (size,), a point at which all replicas begin; by default they begin at particles.
    """
    last = float(fit.noise[np.argmin(fit.free_energy)]) ** -2 if fit.noise.size else float(np.max(result.betas))
    keys = jax.random.split(key)
    density = density.united(jnp.asarray(True))
    begin = warm.from_particles(density, result, keys[0], LADDERS, last=last)
    settings = warm.learned(density, explorer, begin.cloud)
    first = begin.start if start is None else np.broadcast_to(start, begin.start.shape)
    run = replica_exchange(density, explorer, begin.betas, first, keys[1], sweeps, settings=settings, warmup=WARMUP)
    found = free_energy(run, warn=False)
    seen = found.diagnostics
    with np.errstate(divide="ignore"):
        noise = noise_sd(density, seen["betas"])
    return Exchange(
        noise=noise,
        flow=seen["flow"],
        round_trips=seen["round_trips"],
        rejection=seen["rejection"],
        free_energy=-float(density.log_marginal(last, -found.value)),
        error=found.error,
        of_particles=float(np.min(fit.free_energy)) if fit.noise.size else -fit.log_evidence,
        warnings=found.warnings,
    )


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
    best = np.array([np.max(density.log_marginal(betas[1:], log_z[1:])) for betas, log_z in pairs])
    b = np.geomspace(np.max(result.betas[:, 1]), np.min(result.betas[best > best.max() - BEYOND, -1]), GRID)
    runs = [density.log_marginal(b, _between(pair, b)) for pair in pairs]
    return 1 / np.sqrt(b[::-1]), -(np.logaddexp.reduce(runs, axis=0) - math.log(len(runs)))[::-1]


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
        for level in np.flatnonzero(value[1:] > value[1:].max() - WINDOW) + 1:
            here = math.log(betas[level])
            low = here if betas[level - 1] <= 0 else (here + math.log(betas[level - 1])) / 2
            high = here if level == last else (here + math.log(betas[level + 1])) / 2
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


def _drawn(result, nodes, runs, density, noise_known, rng) -> _Drawn:
    """Draws from the posterior, each run with the weight of its evidence."""
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
    return _Drawn(result.particles[at], np.array(betas)[order], run, level, index, result.origin[at])


@eqx.filter_jit
def _told(density: CollapsedSpectrum, z: Any, beta: Any) -> Any:
    z = jnp.asarray(z)
    return density.shapes(z), density.draw(density.evaluate(z), jnp.asarray(beta))
