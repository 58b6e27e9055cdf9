"""Replica exchange from the end of tempered runs, as a check of their evidence."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from ..explorers.base import Explorer
from ..tempering.evidence import free_energy
from ..tempering.exchange import replica_exchange
from ..tempering.initial import from_particles, learned
from ..tempering.sequential_result import SMCResult
from .map_estimate import noise_sd
from .marginal import CollapsedSpectrum
from .result import Exchange, Fit

# Ladders side by side, and sweeps before those that count, in which steps and rungs are tuned.
LADDERS, WARMUP = 16, 128


def exchanged(
    density: CollapsedSpectrum,
    explorer: Explorer,
    result: SMCResult,
    fit: Fit,
    key: Key[Array, ""],
    sweeps: int,
) -> Exchange:
    """Replica exchange from the particles of a fit to its most probable noise.

    Args:
        density: of the fit.
        explorer: of its moves.
        result: its tempered runs.
        fit: what they gave.
        key: the randomness.
        sweeps: recorded ones, of `LADDERS` ladders.
    """
    last = float(fit.noise[np.argmin(fit.free_energy)]) ** -2 if fit.noise.size else float(np.max(result.betas))
    keys = jax.random.split(key)
    density = density.united(jnp.asarray(True))
    begin = from_particles(density, result, keys[0], LADDERS, last=last)
    settings = learned(density, explorer, begin.cloud)
    run = replica_exchange(
        density, explorer, begin.betas, begin.start, keys[1], sweeps, settings=settings, warmup=WARMUP
    )
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
