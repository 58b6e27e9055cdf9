"""Tempered sequential Monte Carlo: particles carried from the prior to the posterior, level by level.

At each level the next b is the one at which the weights q_b' / q_b keep a given effective sample size, the evidence
grows by their mean, the particles are resampled by them and moved by an explorer (Del Moral, Doucet and Jasra, 2006;
the choice of b after Jasra et al., 2011). Several runs go side by side; each has its own b and its own settings, and
their spread is the error of the evidence. That error knows nothing of a mode that most runs have lost: one such result
was 1.4 nats off and claimed 0.2. Replica exchange from the particles mends it; or each run is divided between parts of
the prior (`strata`), whose evidences add up, so that modes do not compete where they are still rare.
"""

import enum
import warnings
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import logsumexp
from jaxtyping import Array, Key

from .density import Density, choose, take
from .explorers import Explorer
from .jumps import Jumps

# Bisections of the logarithm of b: from 1e-30 of the limit to one part in a million.
BISECTIONS = 26
SMALLEST = 1e-30


class Status(enum.Enum):
    """Why a run ended."""

    DONE = "reached the end of the path, or the stopping rule was met"
    LEVELS = "stopped at the largest number of levels"
    LOST = "no particle had a finite weight"


class _State(NamedTuple):
    z: Array
    terms: Any
    settings: Any
    beta: Array
    ancestor: Array


@dataclass(frozen=True)
class SMCResult:
    """The outcome of `smc`, as NumPy arrays; a run that ended early repeats its last level.

    Attributes:
        betas: (runs, levels), from 0 upwards.
        log_evidence: (runs, levels), ln Z at each.
        variance: (runs, levels), of ln Z as the weights alone tell it: too small where modes are lost.
        z: (runs, particles, size), the particles at the end.
        terms: `density.evaluate` of them, leading axes (runs, particles).
        particles: (levels, runs, kept, size), those that were kept of each level.
        kept_terms: their terms, leading axes (levels, runs, kept).
        acceptance: (runs, levels), the mean acceptance of the moves.
        settings: what the explorer has learned at each level, leading axes (levels, runs).
        ancestors: (runs, levels), how many of the first particles still have descendants.
        status: one per run.
    """

    betas: np.ndarray
    log_evidence: np.ndarray
    variance: np.ndarray
    z: np.ndarray
    terms: Any
    particles: np.ndarray
    kept_terms: Any
    acceptance: np.ndarray
    settings: Any
    ancestors: np.ndarray
    status: tuple[Status, ...]

    def __repr__(self) -> str:
        levels, value = self.betas.shape[1], self.log_evidence[:, -1]
        return f"SMCResult({len(value)} runs, {levels} levels, ln Z = {np.round(value, 3).tolist()})"


def smc(
    density: Density,
    explorer: Explorer | None = None,
    *,
    key: Key[Array, ""],
    runs: int = 4,
    particles: int = 1024,
    moves: int = 5,
    threshold: float = 0.5,
    limit: float | int = 1.0,
    stop: Callable[[np.ndarray, np.ndarray], bool] | None = None,
    max_levels: int = 500,
    keep: int = 256,
    bounded: bool = False,
    strata: int = 1,
    workers: Executor | None = None,
) -> SMCResult:
    """Particles from the prior at b = 0 to b = `limit`, and ln Z(b) on the way.

    Args:
        density: the path.
        explorer: the Markov moves; `Jumps(HMC())` by default.
        key: the randomness.
        runs: independent runs, at least two: each takes its whitening from the others, so that none knows its cloud.
        particles: of each run. A mode with a share p of the mass at the b where it splits off needs many times 1/p.
        moves: sweeps of the explorer at each level.
        threshold: the effective sample size of the weights that chooses the next b, as a share of the particles.
        limit: the last b.
        stop: looks at (betas, log_evidence), (levels,) each, of a run after each level; True ends the run.
        max_levels: the most levels.
        keep: how many particles of each level and run to keep.
        bounded: whether q_b falls with b at every point, as with an unnormalised likelihood of at most 1. Then ln Z
            must never rise, and if it does there is a warning: the density is not what it claims.
        strata: parts of equal probability that the density draws from one after the other, a divisor of the runs; each
            run begins in one part and, where the moves do not leave it, stays there. The mean of the evidences of all
            runs is the evidence; the parts keep modes that would be few among all particles.
        workers: threads that sweep halves of the runs side by side where there are two or more runs of each; on a CPU
            a sweep by itself does not fill two cores. The numbers differ from those without by the randomness alone.

    Returns:
        An `SMCResult`.

    Raises:
        ValueError: settings out of range, or a density without any finite weight at the first level.
    """
    _check(runs, particles, moves, threshold, float(limit), keep, strata)
    explorer = Jumps() if explorer is None else explorer
    keys = jax.random.split(key, 2)
    state = _start(density, explorer, keys[0], runs, particles)
    stride = particles // min(keep, particles)
    log = _Log(state, stride, runs)
    while np.any(log.active) and log.levels <= max_levels:
        own = jax.random.fold_in(keys[1], log.levels)
        traced = jnp.asarray(log.active), jnp.asarray(threshold, float), jnp.asarray(limit, float)
        state, level = _reweighted(density, explorer, state, own, *traced, strata)
        accepted = []
        for move in range(moves):
            state, acceptance = _moved(
                density, explorer, state, jax.random.fold_in(own, move), log.active, strata, workers
            )
            accepted.append(acceptance)
        log.add(state, (*level, np.mean(accepted, axis=0)), float(limit), stop)
    return log.result(state, bounded)


def moved(
    density: Density,
    explorer: Explorer,
    z: np.ndarray,
    terms: Any,
    beta: np.ndarray,
    settings: Any,
    *,
    key: Key[Array, ""],
    sweeps: int,
    workers: Executor | None = None,
) -> np.ndarray:
    """Points that follow their own density further: where they are after each sweep, (sweeps, points, size).

    With as many points and groups as `smc` had particles and runs it is the program of `smc` that moves them.

    Args:
        density: the path.
        explorer: the Markov moves.
        z: (points, size).
        terms: of the points.
        beta: (points,), of each.
        settings: of groups of points that follow each other, leading axis (groups,); they stay as they are.
        key: the randomness.
        sweeps: how many.
        workers: as in `smc`.
    """
    groups = len(jax.tree.leaves(settings)[0])
    found = []
    for sweep in range(sweeps):
        own, points = jax.random.fold_in(key, sweep), (z, terms, beta)
        z, terms, _ = _in_parts(density, explorer, points, settings, own, np.ones(groups, bool), workers)
        found.append(np.asarray(z))
    return np.stack(found)


def compilations(
    density: Density, explorer: Explorer, runs: int, particles: int, strata: int
) -> tuple[Callable[[], Any], ...]:
    """Calls that compile what `smc` with workers runs, to be made side by side: each takes seconds of one core."""
    key, parts = jax.random.key(0), _parts(runs)
    active, half = np.ones(runs, bool), jnp.asarray(0.5, float)

    def swept() -> Any:
        # This takes the longest: points of zeros, so that it does not wait for the program that draws them.
        shapes = eqx.filter_eval_shape(_start, density, explorer, key, runs, particles)
        state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        points = state.z, state.terms, np.zeros(len(state.z))
        return _swept(density, explorer, key, *_part(points, state.settings, active, parts[0]))

    def reweighted() -> Any:
        state = _start(density, explorer, key, runs, particles)
        return _reweighted(density, explorer, state, key, jnp.asarray(active), half, half, strata)

    return swept, reweighted


def _check(runs: int, particles: int, moves: int, threshold: float, limit: float, keep: int, strata: int) -> None:
    for name, value, least in (("runs", runs, 2), ("particles", particles, 2), ("moves", moves, 1), ("keep", keep, 1)):
        if value < least:
            raise ValueError(f"smc: {name} must be {least} or more, got {value}.")
    if strata < 1 or runs % strata or runs // strata < 2:
        raise ValueError(f"smc: each stratum needs two or more of the runs, the same number, got {runs} for {strata}.")
    if not 0 < threshold < 1:
        raise ValueError(f"smc: threshold must lie between 0 and 1, got {threshold}.")
    if not 0 < limit < np.inf:
        raise ValueError(f"smc: limit must be positive and finite, got {limit}; use `stop` to end before it.")


@eqx.filter_jit
def _start(density: Density, explorer: Explorer, key: Key[Array, ""], runs: int, particles: int) -> _State:
    z = density.sample(key, runs * particles)
    settings = explorer.init(density, runs)
    ancestor = jnp.tile(jnp.arange(particles), runs)
    return _State(z, density.evaluate(z), settings, jnp.zeros(runs, z.dtype), ancestor)


@eqx.filter_jit
def _reweighted(density, explorer, state, key, active, threshold, limit, strata):
    """The next b of each active run, its weights, and the particles resampled by them."""
    runs, points = len(state.beta), len(state.z)
    beta, change = _next(density, state, active, threshold, limit)
    gain, variance = _mean_weight(change)
    index = _systematic(jax.random.fold_in(key, points), change)
    index = jnp.where(active[:, None], index, jnp.arange(points // runs))
    index = (index + (points // runs) * jnp.arange(runs)[:, None]).reshape(-1)
    z, terms = state.z[index], take(state.terms, index)
    settings = explorer.tune(state.settings, _neighbours(z, runs, strata), None)
    return _State(z, terms, settings, beta, state.ancestor[index]), (beta, gain, variance)


def _moved(density, explorer, state, key, active, strata, workers) -> tuple[_State, np.ndarray]:
    """One sweep of the particles of active runs, the steps tuned after it, and the acceptance of each run."""
    runs = len(active)
    points = state.z, state.terms, np.repeat(state.beta, len(state.z) // runs)
    z, terms, info = _in_parts(density, explorer, points, state.settings, key, active, workers)
    settings = _tuned(explorer, state.settings, z, info, strata)
    acceptance = np.asarray(info.acceptance).reshape(runs, -1).mean(1)
    return state._replace(z=jnp.asarray(z), terms=jax.tree.map(jnp.asarray, terms), settings=settings), acceptance


def _in_parts(density, explorer, points, settings, key, active, workers) -> tuple:
    """One sweep of (z, terms, beta) of active groups, halves side by side where there are workers."""
    groups = len(active)
    parts = _parts(groups) if workers else [slice(0, groups)]
    double = jnp.result_type(float) == jnp.float64

    def one(part: slice) -> Any:
        # The precision is a setting of the thread.
        with jax.enable_x64(double):
            own = jax.random.fold_in(key, part.start)
            return jax.block_until_ready(_swept(density, explorer, own, *_part(points, settings, active, part)))

    if len(parts) == 1:
        return one(parts[0])
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *workers.map(one, parts))


def _parts(groups: int) -> list[slice]:
    """Halves of the groups, or all of them where they are not even."""
    return [slice(0, groups // 2), slice(groups // 2, groups)] if groups % 2 == 0 else [slice(0, groups)]


def _part(points: tuple, settings: Any, active: np.ndarray, part: slice) -> tuple:
    """What a sweep needs of some of the groups."""
    if part == slice(0, len(active)):
        return *points, settings, active
    each = len(points[0]) // len(active)
    own = slice(part.start * each, part.stop * each)
    points, settings = (
        jax.tree.map(lambda leaf, of=of: np.asarray(leaf)[of], tree) for tree, of in ((points, own), (settings, part))
    )
    return *points, settings, active[part]


@eqx.filter_jit
def _swept(density, explorer, key, z, terms, beta, settings, active):
    z, terms, beta, settings = jax.tree.map(jnp.asarray, (z, terms, beta, settings))
    new, reached, info = explorer.sweep(key, density, z, terms, beta, settings)
    return *choose(jnp.repeat(active, len(z) // len(active)), (new, reached), (z, terms)), info


@eqx.filter_jit
def _tuned(explorer, settings, z, info, strata):
    runs = len(jax.tree.leaves(settings)[0])
    return explorer.tune(settings, _neighbours(jnp.asarray(z), runs, strata), jax.tree.map(jnp.asarray, info))


def _over(density: Density, terms: Any, beta: Array) -> Array:
    points = len(jax.tree.leaves(terms)[0])
    return density.log_density(terms, jnp.repeat(beta, points // len(beta)))


def _next(density: Density, state: _State, active: Array, threshold: Array, limit: Array) -> tuple[Array, Array]:
    """The b of each active run at which the effective sample size falls to the threshold, or the limit; its weights.

    By halving in the logarithm of b. The present b, the limit and the one found are looked at by the loop as well:
    the density is then compiled once.
    """
    runs, last = len(state.beta), BISECTIONS + 2
    lowest = jnp.maximum(state.beta, SMALLEST * limit)
    above = state.beta * (1 + 4 * jnp.finfo(state.beta.dtype).eps)

    def look(i, carry):
        beta, low, high, now, _ = carry
        value = _over(density, state.terms, beta)
        now = jnp.where(i == 0, value, now)
        change = (value - now).reshape(runs, -1)
        change = jnp.where(jnp.isnan(change), -jnp.inf, change)
        size = jnp.exp(2 * logsumexp(change, axis=1) - logsumexp(2 * change, axis=1))
        good = size >= threshold * change.shape[1]
        middle = jnp.log(beta)
        low, high = jnp.where(good & (i > 0), middle, low), jnp.where(good | (i == 0), high, middle)
        found = jnp.where(low >= high, limit, jnp.maximum(jnp.exp(low), above))
        ahead = jnp.where(i == 0, limit, jnp.where(i < last - 1, jnp.exp((low + high) / 2), found))
        ahead = jnp.where(i < last, jnp.where(active | (i < last - 1), ahead, state.beta), beta)
        return ahead, low, high, now, change

    high = jnp.full_like(lowest, jnp.log(limit))
    nothing = jnp.zeros(len(state.z), state.beta.dtype)
    start = state.beta, jnp.log(lowest), high, nothing, nothing.reshape(runs, -1)
    beta, *_, change = lax.fori_loop(0, last + 1, look, start)
    return beta, jnp.where(active[:, None], change, 0)


def _mean_weight(change: Array) -> tuple[Array, Array]:
    """The logarithm of the mean weight of each run, and its relative variance."""
    particles = change.shape[1]
    mean = logsumexp(change, axis=1) - jnp.log(particles)
    square = logsumexp(2 * change, axis=1) - jnp.log(particles)
    return mean, jnp.expm1(square - 2 * mean) / particles


def _systematic(key: Key[Array, ""], change: Array) -> Array:
    """Systematic resampling: one uniform number for each run."""
    runs, particles = change.shape
    share = jnp.cumsum(jax.nn.softmax(change, axis=1), axis=1)
    share = share / share[:, -1:]
    places = (jnp.arange(particles) + jax.random.uniform(key, (runs, 1), share.dtype)) / particles
    return jnp.minimum(jax.vmap(jnp.searchsorted)(share, places), particles - 1)


def _neighbours(z: Array, runs: int, strata: int) -> Array:
    """To each run as many points of the others in its stratum: moves that know their own cloud bias its evidence.

    The bias was several nats. A mode that one run has found is so proposed to all of them.
    """
    others, each = runs // strata, jnp.arange(len(z) // runs)
    run = (jnp.arange(others)[:, None] + 1 + each % (others - 1)) % others
    return z.reshape(strata, others, len(each), -1)[:, run, each].reshape(z.shape)


class _Log:
    """What happened so far, level by level, on the host."""

    def __init__(self, state: _State, stride: int, runs: int):
        self.stride, self.runs = stride, runs
        self.betas, self.evidence, self.variance = [np.zeros(runs)], [np.zeros(runs)], [np.zeros(runs)]
        self.acceptance = [np.ones(runs)]
        self.particles: list[np.ndarray] = []
        self.terms: list[Any] = []
        self.settings: list[Any] = []
        self.ancestors: list[np.ndarray] = []
        self.status = [Status.LEVELS] * runs
        self.active = np.ones(runs, bool)
        self._keep(state)

    @property
    def levels(self) -> int:
        return len(self.betas)

    def _keep(self, state: _State) -> None:
        shaped = jax.tree.map(self._shaped, (state.z, state.terms, state.ancestor))
        z, terms, ancestor = shaped
        self.particles.append(z[:, :: self.stride].copy())
        self.terms.append(jax.tree.map(lambda leaf: leaf[:, :: self.stride].copy(), terms))
        self.settings.append(jax.tree.map(np.asarray, state.settings))
        self.ancestors.append(np.array([len(np.unique(run)) for run in ancestor]))

    def _shaped(self, leaf: Any) -> np.ndarray:
        leaf = np.asarray(leaf)
        return leaf.reshape(self.runs, -1, *leaf.shape[1:])

    def add(self, state: _State, level: tuple, limit: float, stop: Callable | None) -> None:
        beta, gain, variance, acceptance = (np.asarray(value, float) for value in level)
        lost = self.active & ~np.isfinite(gain)
        if np.all(lost) and self.levels == 1:
            raise ValueError("smc: no prior draw has a finite density beyond the prior: look for an impossible datum.")
        self.betas.append(beta)
        self.evidence.append(self.evidence[-1] + np.where(self.active, gain, 0))
        self.variance.append(self.variance[-1] + np.where(self.active, variance, 0))
        self.acceptance.append(np.where(self.active, acceptance, self.acceptance[-1]))
        self._keep(state)
        ended = beta >= limit * (1 - 1e-12)
        if stop is not None:
            traces = np.stack(self.betas, 1), np.stack(self.evidence, 1)
            ended |= np.array([bool(stop(b, e)) for b, e in zip(*traces, strict=True)])
        for run in np.flatnonzero(self.active & (ended | lost)):
            self.status[run] = Status.LOST if lost[run] else Status.DONE
        self.active = self.active & ~ended & ~lost

    def result(self, state: _State, bounded: bool) -> SMCResult:
        z, terms = jax.tree.map(self._shaped, (state.z, state.terms))
        evidence = np.stack(self.evidence, 1)
        rise = np.max(np.diff(evidence, axis=1), initial=-np.inf)
        if bounded and rise > 1e-6 * np.max(np.abs(evidence), initial=1):
            warnings.warn(f"smc: ln Z rose by {rise:.2g} in one level, which no likelihood below 1 does.", stacklevel=3)
        return SMCResult(
            betas=np.stack(self.betas, 1),
            log_evidence=evidence,
            variance=np.stack(self.variance, 1),
            z=z,
            terms=terms,
            particles=np.stack(self.particles),
            kept_terms=jax.tree.map(lambda *leaves: np.stack(leaves), *self.terms),
            acceptance=np.stack(self.acceptance, 1),
            settings=jax.tree.map(lambda *leaves: np.stack(leaves), *self.settings),
            ancestors=np.stack(self.ancestors, 1),
            status=tuple(self.status),
        )
