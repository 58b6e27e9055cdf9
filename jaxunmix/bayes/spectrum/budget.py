"""How many particles, runs and parts of the prior a number of peaks gets."""

import math
from dataclasses import replace
from typing import Any

import jax.numpy as jnp

from .marginal import CollapsedSpectrum
from .moves.peaks import LEAST_MEMBERS, PeakMoves

# Particles of each run up to so many peaks.
PARTICLES = ((5, 192), (8, 512), (30, 640))
# Above so many peaks each run is divided: so many parts of the prior of E_WL, and of E_0 - E_WL.
UNDIVIDED, STRATA = 5, (2, 4)
# Above so many, points exchange windows, and the edge is relocated.
SINGLE = 8


def explorer_of(peaks: int) -> PeakMoves:
    """The moves that `decompose_spectrum` makes with so many peaks."""
    if peaks <= SINGLE:
        return PeakMoves()
    return PeakMoves(local=4, crossovers=24, edges=2, cells=(48, 5), block=64)


def _shared(peaks: int, runs: int, particles: int | None) -> dict[str, Any]:
    """How `smc` shares out the particles: with many peaks edge and white line may stand in many places."""
    of_run = particles or next((number for most, number in PARTICLES if peaks <= most), PARTICLES[-1][1])
    parts = math.prod(STRATA) if peaks > UNDIVIDED and of_run // math.prod(STRATA) >= LEAST_MEMBERS else 1
    return {"runs": runs, "particles": -(-of_run // parts) * parts, "strata": parts}


def _divided(density: CollapsedSpectrum, strata: int, **_: int) -> CollapsedSpectrum:
    """The density with the parts of the prior that so many strata are."""
    return replace(density, strata=jnp.asarray(STRATA if strata > 1 else (1, 1)))
