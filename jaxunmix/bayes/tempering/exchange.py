"""Replica exchange along any path of densities: the sweep, and a whole run of it.

Rung 0 is the prior and is drawn from exactly at every sweep; the explorer moves the others; then neighbours are
swapped, the even and the odd pairs by turns, with probability

    min(1, q_i(x_j) q_j(x_i) / (q_i(x_i) q_j(x_j))),

which makes replicas run straight up and down instead of diffusing (Okabe et al., 2001; Syed et al., 2022). Points lie
rung after rung, (rungs * walkers, size); the walkers are independent ladders side by side, and settings are those of
the rungs above 0.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Key

from ..._util.validation import check_instance, check_key, check_whole_number, real_array
from ..explorers.base import Explorer, Info
from ..path import Density, Points, take
from .schedule import Ladder, equalise

# The first change of the ladder comes after this many sweeps, the next at twice as many, and so on.
FIRST_ROUND = 32
# The last change comes before this share of the warm-up.
LAST_ROUND = 0.75
# How much of what it learned of the clouds an explorer keeps at each sweep of the warm-up.
MEMORY = 0.99


class Record(NamedTuple):
    """What one sweep leaves for the evidence and the diagnostics; a run adds the sweeps as axis 1.

    Attributes:
        betas: (walkers, rungs), the ladder.
        up: (walkers, rungs - 1), ln q_{t+1}(x_t) - ln q_t(x_t).
        down: (walkers, rungs - 1), ln q_t(x_{t+1}) - ln q_{t+1}(x_{t+1}).
        slope: (walkers, rungs), d ln q_b / db at x_t.
        rejection: (walkers, rungs - 1), 1 - the swap's probability.
        replica: (walkers, rungs), which replica is at each rung.
        cold: (walkers, size), the point of the last rung.
        log_density: (walkers,), its ln q.
        acceptance: (walkers, rungs), of the explorer's moves; 1 at rung 0.
    """

    betas: Any
    up: Any
    down: Any
    slope: Any
    rejection: Any
    replica: Any
    cold: Any
    log_density: Any
    acceptance: Any


class Replicas(NamedTuple):
    """All that a run needs to go on.

    Attributes:
        z: (rungs * walkers, size).
        terms: `density.evaluate` of them.
        betas: (rungs,).
        settings: of the explorer, leading axis rungs - 1.
        replica: (rungs, walkers), the replica at each place.
        rejection: (rungs - 1,), summed since the ladder last changed.
        counted: the sweeps in that sum.
        step: the sweeps done.
        warmup: the sweeps after which nothing is tuned any more.
        key: the randomness; each sweep folds its number in.
    """

    z: Points
    terms: Any
    betas: Ladder
    settings: Any
    replica: Int[Array, "rungs walkers"]
    rejection: Float[Array, " pairs"]
    counted: Int[Array, ""]
    step: Int[Array, ""]
    warmup: Int[Array, ""]
    key: Key[Array, ""]


@dataclass(frozen=True)
class ReplicaRun:
    """The outcome of `replica_exchange`: the record with axes (walkers, sweeps, ...), and the state to go on from."""

    record: Record
    state: Replicas


def replica_exchange(
    density: Density,
    explorer: Explorer,
    betas: Any,
    start: Any,
    key: Key[Array, ""],
    sweeps: int,
    *,
    settings: Any = None,
    warmup: int = 0,
    sharding: jax.sharding.Sharding | None = None,
) -> ReplicaRun:
    """Sweeps of replica exchange, in one compiled program.

    Args:
        density: the path.
        explorer: the moves at each rung.
        betas: (rungs,), increasing from 0.
        start: (rungs, walkers, size), where to begin.
        key: the randomness.
        sweeps: recorded sweeps, after the warm-up.
        settings: of the explorer, for the rungs above 0; by default learned from `start`.
        warmup: sweeps before, in which the explorer and the ladder are tuned, not recorded.
        sharding: how to lay the points over devices.

    Returns:
        A `ReplicaRun`.

    Raises:
        ValueError: a ladder that does not increase from 0, or another shape than it.
    """
    check_instance(density, Density, "replica_exchange: density", "NumpyroDensity(model)")
    check_instance(explorer, Explorer, "replica_exchange: explorer", "Jumps(HMC())")
    check_key(key)
    check_whole_number(sweeps, "replica_exchange: sweeps", 1)
    check_whole_number(warmup, "replica_exchange: warmup", 0)
    check_instance(
        sharding, (jax.sharding.Sharding, type(None)), "replica_exchange: sharding", "NamedSharding(mesh, spec)"
    )
    betas, start = real_array(betas, "replica_exchange: betas"), real_array(start, "replica_exchange: start")
    if betas.ndim != 1 or len(betas) < 3 or betas[0] != 0 or not (np.all(np.diff(betas) > 0) and betas[-1] < np.inf):
        raise ValueError(f"replica_exchange: betas must be three or more, increasing from 0, got {betas.tolist()}.")
    if start.ndim != 3 or len(start) != len(betas) or start.shape[2] != density.size:
        raise ValueError(
            f"replica_exchange: start must have shape ({len(betas)} rungs, walkers, {density.size}), got {start.shape}."
        )
    if not np.isfinite(start).all():
        raise ValueError("replica_exchange: start has points that are not finite; draw them from the prior.")
    _check_settings(density, explorer, settings, len(betas) - 1)
    state = begin(density, explorer, betas, start, key, settings, warmup)
    state, _ = run(density, explorer, state, warmup, sharding) if warmup else (state, None)
    state, record = run(density, explorer, state, sweeps, sharding)
    return ReplicaRun(jax.tree.map(lambda leaf: np.swapaxes(np.asarray(leaf), 0, 1), record), state)


def _check_settings(density: Density, explorer: Explorer, settings: Any, groups: int) -> None:
    """Refuse settings that this explorer does not have, or of another number of rungs."""
    if settings is None:
        return
    wanted = eqx.filter_eval_shape(explorer.init, density, groups)
    (given, form), (leaves, wanted_form) = jax.tree.flatten(settings), jax.tree.flatten(wanted)
    if str(form) != str(wanted_form) or [jnp.shape(a) for a in given] != [a.shape for a in leaves]:
        raise ValueError(
            f"replica_exchange: settings must be those of {type(explorer).__name__} for {groups} rungs, such as "
            "run.state.settings of an earlier run; None learns them from start."
        )


@eqx.filter_jit
def begin(
    density: Density,
    explorer: Explorer,
    betas: Any,
    start: Any,
    key: Key[Array, ""],
    settings: Any = None,
    warmup: int | Array = 0,
) -> Replicas:
    """The state before the first sweep."""
    dtype = jnp.result_type(float)
    start, betas = jnp.asarray(start, dtype), jnp.asarray(betas, dtype)
    rungs, walkers, size = start.shape
    z = start.reshape(-1, size)
    if settings is None:
        settings = explorer.tune(explorer.init(density, rungs - 1), z[walkers:], None)
    index = jnp.broadcast_to(jnp.arange(rungs)[:, None], (rungs, walkers))
    zero = jnp.zeros((), int)
    pairs = jnp.zeros(rungs - 1, dtype)
    return Replicas(z, density.evaluate(z), betas, settings, index, pairs, zero, zero, jnp.asarray(warmup, int), key)


@eqx.filter_jit
def run(
    density: Density,
    explorer: Explorer,
    state: Replicas,
    sweeps: int,
    sharding: jax.sharding.Sharding | None = None,
) -> tuple[Replicas, Record]:
    """Sweeps one after the other, and the record of each."""
    return lax.scan(lambda state, _: sweep(density, explorer, state, sharding), state, None, length=sweeps)


def sweep(
    density: Density, explorer: Explorer, state: Replicas, sharding: jax.sharding.Sharding | None = None
) -> tuple[Replicas, Record]:
    """Explore every rung, tune while warming up, swap neighbours."""
    keys = jax.random.split(jax.random.fold_in(state.key, state.step), 3)
    if sharding is not None:
        state = state._replace(z=lax.with_sharding_constraint(state.z, sharding))
    state, info = _explore(density, explorer, state, keys[:2])
    state, record = _swap(density, state, keys[2], info)
    warm = state.step < state.warmup
    state = lax.cond(warm, lambda s: _tune(explorer, s, info, record), lambda s: s, state)
    return state._replace(step=state.step + 1), record


def _explore(density: Density, explorer: Explorer, state: Replicas, keys: Array) -> tuple[Replicas, Info]:
    walkers = state.replica.shape[1]
    prior = density.sample(keys[0], walkers)
    beta = jnp.repeat(state.betas[1:], walkers)
    above = state.z[walkers:], jax.tree.map(lambda leaf: leaf[walkers:], state.terms)
    z, terms, info = explorer.sweep(keys[1], density, *above, beta, state.settings)
    joined = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), (prior, density.evaluate(prior)), (z, terms))
    return state._replace(z=joined[0], terms=joined[1]), info


def _swap(density: Density, state: Replicas, key: Array, info: Info) -> tuple[Replicas, Record]:
    rungs, walkers = state.replica.shape
    betas = jnp.repeat(state.betas, walkers)
    here, slope = jax.jvp(lambda b: density.log_density(state.terms, b), (betas,), (jnp.ones_like(betas),))
    here = here.reshape(rungs, walkers)

    def moved(betas):
        return density.log_density(state.terms, jnp.repeat(betas, walkers)).reshape(rungs, walkers) - here

    up = moved(jnp.concatenate([state.betas[1:], state.betas[-1:]]))[:-1]
    down = moved(jnp.concatenate([state.betas[:1], state.betas[:-1]]))[1:]
    change = jnp.where(jnp.isnan(up + down), -jnp.inf, up + down)
    probability = jnp.exp(jnp.minimum(change, 0))
    turn = (jnp.arange(rungs - 1) % 2 == state.step % 2)[:, None]
    swapped = turn & (jax.random.uniform(key, probability.shape, probability.dtype) < probability)
    edge = jnp.zeros((1, walkers), int)
    source = jnp.concatenate([swapped, edge]) - jnp.concatenate([edge, swapped]) + jnp.arange(rungs)[:, None]
    place = (source * walkers + jnp.arange(walkers)).reshape(-1)
    acceptance = jnp.concatenate([jnp.ones((1, walkers)), info.acceptance.reshape(rungs - 1, walkers)])
    record = Record(
        betas=jnp.broadcast_to(state.betas, (walkers, rungs)),
        up=up.T,
        down=down.T,
        slope=slope.reshape(rungs, walkers).T,
        rejection=1 - probability.T,
        replica=state.replica.T,
        cold=state.z[-walkers:],
        log_density=here[-1],
        acceptance=acceptance.T,
    )
    index = jnp.take_along_axis(state.replica, source, axis=0)
    return state._replace(z=state.z[place], terms=take(state.terms, place), replica=index), record


def _tune(explorer: Explorer, state: Replicas, info: Info, record: Record) -> Replicas:
    """What was learned of each rung, and at the end of a round the ladder."""
    walkers = state.replica.shape[1]
    settings = explorer.tune(state.settings, state.z[walkers:], info, MEMORY)
    rejection, counted = state.rejection + jnp.mean(record.rejection, 0), state.counted + 1
    state = state._replace(settings=settings, rejection=rejection, counted=counted)
    done = state.step + 1
    ends = (done >= FIRST_ROUND) & (done & (done - 1) == 0) & (done <= LAST_ROUND * state.warmup)
    return lax.cond(ends, _next_round, lambda s: s, state)


def _next_round(state: Replicas) -> Replicas:
    betas = equalise(state.betas, state.rejection / state.counted)
    nearest = jnp.argmin(jnp.abs(jnp.log(betas[1:, None]) - jnp.log(state.betas[None, 1:])), axis=1)
    settings = take(state.settings, nearest)
    zero = jnp.zeros_like(state.counted)
    return state._replace(betas=betas, settings=settings, rejection=0 * state.rejection, counted=zero)
