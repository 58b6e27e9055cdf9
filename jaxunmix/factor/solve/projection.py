"""Maps of known spectra in new data."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..._util.validation import real_array
from ...matrix.base import TINY, AbstractMatrix, matmul
from ..constraints.fixed import Fixed
from ..constraints.non_negative import NonNegative
from ..initial.given import Given
from ..losses import AbstractLoss
from ..penalties.function import Penalty
from ..problem import Problem
from ..solution import Solution
from ..updates.hals import HALS
from ..updates.multiplicative import Multiplicative
from .fitting import fit


def project(
    matrix: Any,
    spectra: Any,
    loss: AbstractLoss | None = None,
    penalties: Sequence[Penalty] = (),
    *,
    max_steps: int = 500,
    rtol: float | int = 1e-6,
    progress: bool = False,
) -> Solution:
    """Non-negative maps of known spectra in new data: convex, so one start is enough.

    Frobenius is non-negative least squares (coordinate descent), Poisson its maximum-likelihood counterpart (the
    multiplicative update with fixed spectra is the EM algorithm of Richardson and Lucy).

    Args:
        matrix: a matrix or an array, (pixels, channels).
        spectra: (K, channels).
        loss: one of `losses`; None is Frobenius.
        penalties: on the maps.
        max_steps: as in `fit`.
        rtol: as in `fit`.
        progress: a bar on stderr.

    Raises:
        ValueError: as `Problem`, `Given` and `fit`.
    """
    spectra = real_array(spectra, "spectra")
    signs = (NonNegative("maps"),) if spectra.min(initial=0) < 0 else (NonNegative("maps"), NonNegative("spectra"))
    problem = Problem(matrix, loss, penalties=penalties, constraints=(*signs, Fixed("spectra")))
    update = HALS(sweeps=20) if problem.loss.is_least_squares else Multiplicative()
    Given(spectra=spectra).check(problem, len(spectra))
    maps = np.asarray(_own_maps(problem.matrix, jnp.asarray(spectra, problem.matrix.dtype))).T
    return fit(problem, len(spectra), update, Given(maps, spectra), max_steps=max_steps, rtol=rtol, progress=progress)


@eqx.filter_jit
def _own_maps(
    matrix: AbstractMatrix, spectra: Float[Array, "components channels"]
) -> Float[Array, "components pixels"]:
    """One multiplicative step from equal maps: each pixel starts from its own data, whatever comes with it."""
    size = jnp.abs(spectra)
    return jnp.maximum(matrix.onto_spectra(spectra), 0) / (matmul(size, size.sum(axis=0))[:, None] + TINY)
