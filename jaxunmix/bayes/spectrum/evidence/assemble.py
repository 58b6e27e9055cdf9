"""From what tempered runs have found to the `Fit` of one number of peaks: draws, the best fit, a check."""

import math
from concurrent.futures import Executor
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ...._util.statistics import log_mean
from ...explorers.base import Explorer
from ..map_estimate import best_fit, by_name, noise_sd
from ..marginal import CollapsedSpectrum
from ..result import Fit
from .importance import BATCH, Moved, Weighted, compile_importance, importance
from .noise import Cloud, Found, compile_nodes, move_on

# Draws of a posterior.
DRAWS = 2000
# Sweeps of draws of the posterior before those that count, and of those; with none that moved the evidence of K = 5 on
# data of 3 peaks was 0.2 nats too low, and after 5 it was not.
SETTLED, COUNTED = 5, 5
# The share of the posterior within reach of the mixtures from which their evidence is relied on: with 0.2 (7 peaks on
# data of 5) repeated ones lay within their errors of 0.3; with next to nothing (10 on 8) 2 nats below runs that agreed.
RELIABLE = 0.15
# Ladders side by side in replica exchange, and sweeps before, in which steps and rungs are tuned.
LADDERS, WARMUP = 16, 128


def gather(
    density: CollapsedSpectrum,
    explorer: Explorer,
    found: Found,
    cloud: Cloud,
    peaks: int,
    *,
    noise_known: bool,
    rng: np.random.Generator,
    workers: Executor | None = None,
) -> Fit:
    """The `Fit` of one number of peaks from what its runs have found, and the cloud of that or a shared one."""
    z, beta, which = move_on(density, explorer, found, cloud, SETTLED + COUNTED, rng, workers)
    sweep, of = rng.integers(COUNTED, size=BATCH), rng.integers(len(beta), size=BATCH)
    further = Moved(z[SETTLED:][sweep, of], beta[of], cloud.origin[which][of], len(beta))
    told, (z, beta, run) = _weighed(density, cloud, further, peaks, noise_known, rng)
    shapes, heights = _told(density, z, beta)
    best, log_likelihood = best_fit(density, z, np.asarray(heights), beta, peaks)
    return Fit(
        peaks=peaks,
        log_evidence=told.log_evidence,
        error=told.error,
        run_log_evidence=found.runs,
        reached=told.reached,
        shares={} if told.reached else cloud.shares,
        reached_error=told.reached_error,
        independent=told.independent,
        of_weights=0.0 if told.reached else cloud.of_weights,
        noise=found.noise,
        free_energy=found.free_energy + log_mean(found.runs) - told.log_evidence,
        posterior=by_name(shapes, np.asarray(heights), noise_sd(density, beta), peaks).assign_coords(run=("draw", run)),
        best=best,
        log_likelihood=log_likelihood,
        levels=found.levels,
    )


def _weighed(density, cloud, further, peaks, noise_known, rng) -> tuple[Weighted, tuple]:
    """What importance sampling tells, and draws by its weights, where enough is within reach; or else the particles.

    Draws are points, b and runs.
    """
    ends = (float(cloud.beta[0]) ** -0.5,) * 2 if noise_known else tuple(np.asarray(density.prior.noise).tolist())
    found = importance(density, cloud.z, cloud.beta, further, peaks, ends, rng)
    if found.reached > RELIABLE:
        # Of what is out of reach the particles alone tell: 13 peaks on data of 14 had 0.35 within reach, and 3.5 nats
        # less than the particles where 0.2 was told.
        beyond = (1 - found.reached) * (found.log_evidence - cloud.log_evidence)
        return found._replace(error=math.hypot(found.error, beyond)), found.drawn(DRAWS, rng)
    told = {"log_evidence": cloud.log_evidence, "error": cloud.error, "reached": 0.0, "reached_error": 0.0}
    return found._replace(**told), (further.z[:DRAWS], further.beta[:DRAWS], further.run[:DRAWS])


def compile_gathering(density: CollapsedSpectrum, particles: int) -> None:
    """Compiles what `gather` runs for so many particles."""
    z = np.full((DRAWS, density.size), 0.5)
    compile_nodes(density, particles)
    _told(density, z[:DRAWS], np.ones(DRAWS))
    compile_importance(density)
    # As a whole: most of what the best fit compiles are single operations.
    best_fit(density, z[:DRAWS], np.zeros((DRAWS, density.heights)), np.ones(DRAWS), int(np.sum(density.live)))


@eqx.filter_jit
def _told(density: CollapsedSpectrum, z: Any, beta: Any) -> Any:
    z = jnp.asarray(z)
    return density.shapes(z), density.draw(density.evaluate(z), jnp.asarray(beta))
