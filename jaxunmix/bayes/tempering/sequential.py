"""Tempered sequential Monte Carlo: particles carried from the prior to the posterior, level by level.

At each level the next b is the one at which the weights q_b' / q_b keep a given effective sample size, the evidence
grows by their mean, the particles are resampled by them and moved by an explorer (Del Moral, Doucet and Jasra, 2006;
the choice of b after Jasra et al., 2011). Several runs go side by side; each has its own b and its own settings, and
their spread is the error of the evidence. That error knows nothing of a mode that most runs have lost: one such result
was 1.4 nats off and claimed 0.2. Replica exchange from the particles mends it.

A run may also be divided between parts of the prior (`strata`), each of which is resampled for itself and weighs what
its evidence does, so that modes do not compete where they are still rare. Where the weights of the parts have become
uneven, all parts of all runs are united, and resampled as a whole from there on (as islands of particles are when their
effective number falls: C. Verge et al., Stat. Comput. 25 (2015) 243); the error is then estimated from the offspring of
each run and of each point. With 14 peaks the evidences of parts kept by themselves differed by 1.4 nats (their sd)
where the noise was 4 times that of the data, and by 3 to 5 at the end, where all but 2 to 5 of 32 had been moved for
nothing.
"""

from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import logsumexp
from jaxtyping import Array, Bool, Float, Int, Key

from ..._util.validation import check_callable, check_flag, check_instance, check_key, check_whole_number, real_number
from ..explorers.base import Explorer, Info
from ..explorers.jumps import Jumps
from ..path import Density, choose, take
from ..programs import Call
from .resampling import average_weights, resample
from .sequential_result import Log, SMCResult

# Bisections of the logarithm of b: from 1e-30 of the limit to one part in a million.
BISECTIONS = 26
SMALLEST = 1e-30
# Strata are united when beside one of them fewer than this share of the others count, by their effective number.
EVEN = 0.5


class _State(NamedTuple):
    """Points run by run and, within it, stratum by stratum, as settings are.

    Attributes:
        z: (points, size).
        terms: of the points.
        settings: of the explorer, leading axis (runs * strata,).
        beta: of each run.
        evidence: ln Z of each run, or of all together once they are united.
        log_share: ln of the share that each stratum has of its run.
        ancestor, origin: of each point, the first point of its run that it descends from, and the point, of all runs,
            before the union; of points that are not united this is their own place.
        united: whether strata and runs are.
    """

    z: Array
    terms: Any
    settings: Any
    beta: Float[Array, " runs"]
    evidence: Float[Array, " runs"]
    log_share: Float[Array, "runs strata"]
    ancestor: Int[Array, " points"]
    origin: Int[Array, " points"]
    united: Bool[Array, ""]


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
        runs: runs side by side, at least two: each takes its whitening from the others, so that none knows its cloud.
            They are independent as long as they are not united, which without strata they never are.
        particles: of each run, all strata together. A mode with a share p of the mass at the b where it splits off
            needs many times 1/p.
        moves: sweeps of the explorer at each level; with strata half of them until these are united, and half more than
            them from then on: what counts in the end is found where few particles hold it.
        threshold: the effective sample size of the weights that chooses the next b, as a share of the particles.
        limit: the last b.
        stop: looks at (betas, log_evidence), (levels,) each, of a run after each level; True ends the run.
        max_levels: the most levels.
        keep: how many particles of each level and run to keep.
        bounded: whether q_b falls with b at every point, as with an unnormalised likelihood of at most 1. Then ln Z
            must never rise, and if it does there is a warning: the density is not what it claims.
        strata: parts of equal probability that the density draws from one after the other, a divisor of the particles;
            the points of a run begin in equal numbers in each and, as long as the density keeps them there, stay:
            `Density.united` tells it when it need not any more.
        workers: threads that sweep halves of the runs side by side where their number is even; on a CPU a
            sweep by itself does not fill two cores. The numbers differ from those without by the randomness alone.

    Returns:
        An `SMCResult`.

    Raises:
        ValueError: settings out of range, or a density without any finite weight at the first level.
    """
    check_instance(density, Density, "smc: density", "NumpyroDensity(model)")
    check_instance(explorer, (Explorer, type(None)), "smc: explorer", "Jumps(HMC())")
    check_key(key)
    check_whole_number(max_levels, "smc: max_levels", 1)
    if stop is not None:
        check_callable(stop, "smc: stop", "lambda betas, log_evidence: len(betas) > 9")
    check_flag(bounded, "smc: bounded")
    check_instance(workers, (Executor, type(None)), "smc: workers", "ThreadPoolExecutor(2)")
    _check(runs, particles, moves, threshold, limit, keep, strata)
    explorer = Jumps() if explorer is None else explorer
    keys = jax.random.split(key, 2)
    state = _start(density, explorer, keys[0], runs, particles, strata)
    log = Log(state, particles // min(keep, particles), runs)
    while np.any(log.active) and log.levels <= max_levels:
        own = jax.random.fold_in(keys[1], log.levels)
        state, level = _reweighting(density, explorer, state, own, log.active, threshold, limit)()
        accepted = []
        for move in range(_sweeps(moves, strata, bool(state.united))):
            state, acceptance = _moved(density, explorer, state, jax.random.fold_in(own, move), log.active, workers)
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
    """Points that follow their own density further, whatever their stratum: (sweeps, points, size), after each sweep.

    With as many points and groups as `smc` had it is the program of `smc` that moves them.

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
    groups, united = len(jax.tree.leaves(settings)[0]), np.asarray(True)
    found = []
    for sweep in range(sweeps):
        own, points = jax.random.fold_in(key, sweep), (z, terms, beta)
        z, terms, _ = _in_parts(density, explorer, points, settings, own, np.ones(groups, bool), workers, united)
        found.append(np.asarray(z))
    return np.stack(found)


def smc_calls(density: Density, explorer: Explorer, runs: int, particles: int, strata: int) -> list[Call]:
    """The calls of jitted functions that `smc` with workers makes; those that take the longest to compile first."""
    key, parts = jax.random.key(0), _parts(runs * strata)
    start = Call(_start, (density, explorer, key, runs, particles, strata))
    state = start.zeros()
    points, active = (state.z, state.terms, np.zeros(len(state.z))), np.ones(runs * strata, bool)
    sweep = _sweep(density, explorer, key, state.united, points, state.settings, active, parts[0])
    info = Info(*map(jnp.zeros_like, points[-1:] * 2))
    tuning = Call(_tuned, (explorer, state.settings, state.z, info, runs))
    return [sweep, _reweighting(density, explorer, state, key, active[::strata], 0.5, 1.0), start, tuning]


def _sweeps(moves: int, strata: int, united: bool) -> int:
    if strata == 1:
        return moves
    return moves + moves // 2 if united else max(moves // 2, 1)


def _check(runs: int, particles: int, moves: int, threshold: float, limit: Any, keep: int, strata: int) -> None:
    for name, value, least in (("runs", runs, 2), ("particles", particles, 2), ("moves", moves, 1), ("keep", keep, 1)):
        if check_whole_number(value, f"smc: {name}") < least:
            raise ValueError(f"smc: {name} must be {least} or more, got {value}.")
    if check_whole_number(strata, "smc: strata") < 1 or particles % strata:
        raise ValueError(f"smc: strata must divide the particles of a run, got {strata} for {particles}.")
    if not 0 < real_number(threshold, "smc: threshold") < 1:
        raise ValueError(f"smc: threshold must lie between 0 and 1, got {threshold}.")
    if not 0 < real_number(limit, "smc: limit") < np.inf:
        raise ValueError(f"smc: limit must be positive and finite, got {limit}; use `stop` to end before it.")


@eqx.filter_jit
def _start(density: Density, explorer: Explorer, key: Key[Array, ""], runs: int, particles: int, strata: int) -> _State:
    z = density.sample(key, runs * particles)
    z = jnp.swapaxes(z.reshape(strata, runs, -1, density.size), 0, 1).reshape(z.shape)
    settings = explorer.init(density, runs * strata)
    zeros = jnp.zeros(runs, z.dtype)
    shares = jnp.full((runs, strata), -jnp.log(strata), z.dtype)
    ancestor, origin = jnp.tile(jnp.arange(particles), runs), jnp.arange(runs * particles)
    return _State(z, density.evaluate(z), settings, zeros, zeros, shares, ancestor, origin, jnp.asarray(False))


def _reweighting(density, explorer, state, key, active, threshold, limit) -> Call:
    """The change to the next b of each active run."""
    numbers = jnp.asarray(threshold, float), jnp.asarray(limit, float)
    return Call(_reweighted, (density, explorer, state, key, jnp.asarray(active), *numbers))


@eqx.filter_jit
def _reweighted(density, explorer, state, key, active, threshold, limit):
    """The next b of each active run, its weights, and the particles resampled by them."""
    runs, strata = state.log_share.shape
    each = len(state.z) // (runs * strata)
    beta, change = _next(density, state, active, threshold, limit)
    change = change.reshape(runs, strata, each)
    mean, variance = average_weights(change)
    log_share = state.log_share + mean
    gain = logsumexp(log_share, axis=1)
    evidence, log_share = state.evidence + gain, log_share - gain[:, None]
    variance = jnp.sum(jnp.where(jnp.isfinite(mean), jnp.exp(2 * log_share) * variance, 0), axis=1)
    count = jnp.mean(jnp.exp(-logsumexp(2 * log_share, axis=1)))
    united = state.united | (jnp.all(active) & (count - 1 < EVEN * (strata - 1)) & (strata > 1))

    key, points = jax.random.fold_in(key, len(state.z)), jnp.arange(len(state.z)).reshape(change.shape)
    uniform = jax.random.uniform(key, (runs * strata,), change.dtype)
    within = resample(change.reshape(-1, each), uniform, each).reshape(change.shape) + points[..., :1]
    # Copies of one point follow each other: they come into different strata of one run, so that these are alike, and
    # the runs, which learn from one another, have few in common.
    all_weights = state.evidence[:, None, None] + state.log_share[..., None] + change
    uniform = jax.random.uniform(key, (1,), change.dtype)
    whole = resample(all_weights.reshape(1, -1), uniform, len(state.z)).reshape(each, runs, strata)
    index = jnp.where(united, jnp.moveaxis(whole, 0, -1), within)
    index = jnp.where(active[:, None, None], index, points).reshape(-1)
    evidence = jnp.where(united, logsumexp(evidence) - jnp.log(runs), evidence)
    evidence = jnp.where(active, evidence, state.evidence)
    log_share = jnp.where(active[:, None], jnp.where(united, -jnp.log(strata), log_share), state.log_share)

    z, terms = state.z[index], take(state.terms, index)
    settings = explorer.tune(state.settings, _neighbours(z, runs, strata), None)
    told = beta, evidence - state.evidence, variance
    lines = state.ancestor[index], jnp.where(united, state.origin[index], state.origin)
    return _State(z, terms, settings, beta, evidence, log_share, *lines, united), told


def _moved(density, explorer, state, key, active, workers) -> tuple[_State, np.ndarray]:
    """One sweep of the particles of active runs, the steps tuned after it, and the acceptance of each run."""
    runs, strata = state.log_share.shape
    points = state.z, state.terms, np.repeat(state.beta, len(state.z) // runs)
    active = np.repeat(active, strata)
    z, terms, info = _in_parts(density, explorer, points, state.settings, key, active, workers, state.united)
    settings = _tuned(explorer, state.settings, z, info, runs)
    acceptance = np.asarray(info.acceptance).reshape(runs, -1).mean(1)
    return state._replace(z=jnp.asarray(z), terms=jax.tree.map(jnp.asarray, terms), settings=settings), acceptance


def _in_parts(density, explorer, points, settings, key, active, workers, united) -> tuple:
    """One sweep of (z, terms, beta) of active groups, halves side by side where there are workers."""
    groups = len(active)
    parts = _parts(groups) if workers else [slice(0, groups)]
    double = jnp.result_type(float) == jnp.float64

    def one(part: slice) -> Any:
        # The precision is a setting of the thread.
        with jax.enable_x64(double):
            own = jax.random.fold_in(key, part.start)
            return jax.block_until_ready(_sweep(density, explorer, own, united, points, settings, active, part)())

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


def _sweep(density, explorer, key, united, points, settings, active, part) -> Call:
    """The sweep of some of the groups."""
    return Call(_swept, (density, explorer, key, united, *_part(points, settings, active, part)))


@eqx.filter_jit
def _swept(density, explorer, key, united, z, terms, beta, settings, active):
    z, terms, beta, settings = jax.tree.map(jnp.asarray, (z, terms, beta, settings))
    new, reached, info = explorer.sweep(key, density.united(united), z, terms, beta, settings)
    return *choose(jnp.repeat(active, len(z) // len(active)), (new, reached), (z, terms)), info


@eqx.filter_jit
def _tuned(explorer, settings, z, info, runs):
    strata = len(jax.tree.leaves(settings)[0]) // runs
    return explorer.tune(settings, _neighbours(jnp.asarray(z), runs, strata), jax.tree.map(jnp.asarray, info))


def _over(density: Density, terms: Any, beta: Array) -> Array:
    points = len(jax.tree.leaves(terms)[0])
    return density.log_density(terms, jnp.repeat(beta, points // len(beta)))


def _next(density: Density, state: _State, active: Array, threshold: Array, limit: Array) -> tuple[Array, Array]:
    """The b of each active run at which the effective sample size falls to the threshold, or the limit; its weights.

    With strata it is one b for all active runs, and the size is the mean of those of all strata.

    By halving in the logarithm of b. The present b, the limit and the one found are looked at by the loop as well:
    the density is then compiled once.
    """
    (runs, strata), last = state.log_share.shape, BISECTIONS + 2
    lowest = jnp.maximum(state.beta, SMALLEST * limit)
    above = state.beta * (1 + 4 * jnp.finfo(state.beta.dtype).eps)

    def look(i, carry):
        beta, low, high, now, _ = carry
        value = _over(density, state.terms, beta)
        now = jnp.where(i == 0, value, now)
        change = (value - now).reshape(state.log_share.size, -1)
        change = jnp.where(jnp.isnan(change), -jnp.inf, change)
        size = jnp.exp(2 * logsumexp(change, axis=1) - logsumexp(2 * change, axis=1))
        good = size >= threshold * change.shape[1]
        if strata > 1:
            counted = jnp.repeat(active, strata)
            good = jnp.full(runs, jnp.mean(size, where=counted) >= threshold * change.shape[1])
        middle = jnp.log(beta)
        low, high = jnp.where(good & (i > 0), middle, low), jnp.where(good | (i == 0), high, middle)
        found = jnp.where(low >= high, limit, jnp.maximum(jnp.exp(low), above))
        ahead = jnp.where(i == 0, limit, jnp.where(i < last - 1, jnp.exp((low + high) / 2), found))
        ahead = jnp.where(i < last, jnp.where(active | (i < last - 1), ahead, state.beta), beta)
        return ahead, low, high, now, change

    high = jnp.full_like(lowest, jnp.log(limit))
    nothing = jnp.zeros(len(state.z), state.beta.dtype)
    start = state.beta, jnp.log(lowest), high, nothing, nothing.reshape(state.log_share.size, -1)
    beta, *_, change = lax.fori_loop(0, last + 1, look, start)
    return beta, jnp.where(active[:, None], change.reshape(runs, -1), 0)


def _neighbours(z: Array, runs: int, strata: int) -> Array:
    """To each stratum of a run as many points of it in the others: moves that know their own cloud bias its evidence.

    The bias was several nats. A mode that one run has found is so proposed to all of them.
    """
    each = jnp.arange(len(z) // (runs * strata))
    run = (jnp.arange(runs)[:, None, None] + 1 + each % (runs - 1)) % runs
    return z.reshape(runs, strata, len(each), -1)[run, jnp.arange(strata)[:, None], each].reshape(z.shape)
