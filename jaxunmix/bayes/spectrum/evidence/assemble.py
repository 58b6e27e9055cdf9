"""The `Fit` of one number of peaks from its tempered runs: evidence, draws of the posterior, the best fit."""

import math
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ...._util.statistics import log_mean
from ...explorers.base import Explorer
from ...programs import Call
from ..map_estimate import best_fit, by_name, noise_sd
from ..marginal import CollapsedSpectrum
from ..result import Fit
from .draws import Draws
from .importance import BATCH, importance, importance_calls
from .noise import TemperedRuns, move_on

# Draws of a posterior.
DRAWS = 2000
# Sweeps of draws of the posterior before those that count, and of those; with none that moved the evidence of K = 5 on
# data of 3 peaks was 0.2 nats too low, and after 5 it was not.
SETTLED, COUNTED = 5, 5
# The share of the posterior within reach of the mixtures from which their evidence is relied on: with 0.2 (7 peaks on
# data of 5) repeated ones lay within their errors of 0.3; with next to nothing (10 on 8) 2 nats below runs that agreed.
RELIABLE = 0.15


def gather(
    density: CollapsedSpectrum,
    explorer: Explorer,
    runs: TemperedRuns,
    draws: Draws,
    peaks: int,
    *,
    noise_known: bool,
    rng: np.random.Generator,
    workers: Executor | None = None,
) -> Fit:
    """The `Fit` of one number of peaks from its tempered runs, and from draws of these or shared ones."""
    z, beta, run = move_on(density, explorer, runs, draws, SETTLED + COUNTED, rng, workers)
    sweep, of = rng.integers(COUNTED, size=BATCH), rng.integers(len(beta), size=BATCH)
    moved = replace(draws, z=z[SETTLED:][sweep, of], beta=beta[of], run=run[of], independent=len(beta))
    final = _weighed(density, draws, moved, peaks, noise_known, rng)
    shapes, heights = _parameters(density, final.z, final.beta)
    best, log_likelihood = best_fit(density, final.z, np.asarray(heights), final.beta, peaks)
    posterior = by_name(shapes, np.asarray(heights), noise_sd(density, final.beta), peaks)
    return Fit(
        peaks=peaks,
        log_evidence=final.log_evidence,
        error=final.error,
        run_log_evidence=runs.log_evidence,
        reached=final.reached,
        shares={} if final.reached else draws.shares,
        reached_error=final.reached_error,
        independent=final.independent,
        of_weights=final.of_weights,
        noise=runs.noise,
        free_energy=runs.free_energy + log_mean(runs.log_evidence) - final.log_evidence,
        posterior=posterior.assign_coords(run=("draw", final.run)),
        best=best,
        log_likelihood=log_likelihood,
        levels=runs.levels,
    )


def _weighed(density, draws, moved, peaks, noise_known, rng) -> Draws:
    """Draws by the weights of importance sampling where enough is within its reach, or else those that have moved."""
    ends = (float(draws.beta[0]) ** -0.5,) * 2 if noise_known else tuple(np.asarray(density.prior.noise).tolist())
    found = importance(density, draws, moved, peaks, ends, rng)
    if found.reached > RELIABLE:
        # Only the particles know what is out of reach: 13 peaks on data of 14 had 0.35 within reach, and 3.5 nats less
        # than the particles with an error of 0.2.
        beyond = (1 - found.reached) * (found.log_evidence - draws.log_evidence)
        return replace(found.pick(DRAWS, rng), error=math.hypot(found.error, beyond))
    return replace(moved.take(slice(DRAWS)), independent=found.independent)


def gather_calls(density: CollapsedSpectrum) -> list[Call]:
    """The calls that `gather` makes after its draws have moved on; the best fit compiles several programs."""
    z, beta = np.full((DRAWS, density.size), 0.5), np.ones(DRAWS)
    fit = density, z, np.zeros((DRAWS, density.heights)), beta, int(np.sum(density.live))
    return [*importance_calls(density), Call(_parameters, (density, z, beta)), Call(best_fit, fit)]


@eqx.filter_jit
def _parameters(density: CollapsedSpectrum, z: Any, beta: Any) -> Any:
    z = jnp.asarray(z)
    return density.shapes(z), density.draw(density.evaluate(z), jnp.asarray(beta))
