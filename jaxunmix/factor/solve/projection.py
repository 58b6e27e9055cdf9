"""Maps of known spectra in new data."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..._util.validation import check_flag, check_number, check_whole_number, real_array
from ...matrix.base import TINY, AbstractMatrix, matmul
from ..alternatives import Alternatives
from ..constraints.base import AbstractConstraint
from ..constraints.fixed import Fixed
from ..constraints.non_negative import NonNegative
from ..initial.given import Given
from ..losses import AbstractLoss
from ..model import Bilinear
from ..penalties.function import Penalty
from ..problem import Problem
from ..solution import Restarts, Solution, Status
from ..updates.fista import FISTA
from .fitting import describe, fit
from .known_spectra import Limits, solve_known_spectra


def project(
    matrix: Any,
    spectra: Any,
    loss: AbstractLoss | None = None,
    penalties: Sequence[Penalty] = (),
    *,
    constraints: Sequence[AbstractConstraint] | None = None,
    weights: Any = None,
    max_steps: int = 500,
    rtol: float | int = 1e-6,
    progress: bool = False,
) -> Solution:
    """Maps of known spectra in new data: convex, so one start is enough.

    Least squares with limits and sums of the maps are solved exactly, pixel by pixel, by block principal pivoting:
    non-negative (the default), `Box`, and with `Simplex("maps")` fully constrained least squares (Heinz and Chang, IEEE
    Trans. Geosci. Remote Sens. 39 (2001) 529). All else is iterated: non-negative Poisson by the EM algorithm of
    Richardson and Lucy, the rest by the update that `fit` takes.

    Args:
        matrix: a matrix or an array, (pixels, channels).
        spectra: (K, channels).
        loss: one of `losses`; None is Frobenius.
        penalties: on the maps.
        constraints: on the maps; None is `NonNegative("maps")`, () none.
        weights: of the entries, as in `Problem`.
        max_steps: as in `fit`; of no use where the minimum is exact.
        rtol: as in `fit`.
        progress: a bar on stderr.

    Raises:
        ValueError: as `Problem`, `Given` and `fit`.
    """
    check_whole_number(max_steps, "max_steps", 0)
    check_number(rtol, "rtol", 0)
    check_flag(progress, "progress")
    spectra = real_array(spectra, "spectra")
    own = (NonNegative("maps"),) if constraints is None else tuple(constraints)
    signs = () if spectra.min(initial=0) < 0 else (NonNegative("spectra"),)
    problem = Problem(matrix, loss, penalties=penalties, weights=weights, constraints=(*own, *signs, Fixed("spectra")))
    Given(spectra=spectra).check(problem, len(spectra))
    profiles = jnp.asarray(spectra, problem.matrix.dtype)
    limits = limits_of(problem)
    if limits is not None:
        return _settled(problem, Bilinear(solve_known_spectra(problem.matrix, profiles, limits), profiles))
    maps = np.asarray(_own_maps(problem.matrix, profiles)).T
    start = Given(maps, spectra)
    return fit(problem, len(spectra), None, start, max_steps=max_steps, rtol=rtol, progress=progress)


def limits_of(problem: Problem) -> Limits | None:
    """What the maps must keep, where it is limits and one sum alone and the loss is least squares; else None."""
    kinds = {item.kind for item in problem.constraints if item.block == "maps"}
    if not problem.is_least_squares or problem.penalties or kinds - {"sign", "bounds", "sum", "closure"}:
        return None
    dtype, pixels = problem.matrix.dtype, problem.matrix.shape[0]
    low, high = problem.constraints.bounds("maps")
    sums = (item.total_and_kind() for item in problem.constraints if item.block == "maps")
    total, is_most = next((one for one in sums if one is not None), (None, False))
    return Limits(
        jnp.asarray(-jnp.inf if low is None else low, dtype),
        jnp.asarray(jnp.inf if high is None else high, dtype),
        None if total is None else jnp.broadcast_to(jnp.asarray(total, dtype), (pixels,)),
        is_most,
    )


@eqx.filter_jit
def _objective(problem: Problem, factors: Bilinear) -> Float[Array, ""]:
    return problem.objective(factors)


def _settled(problem: Problem, factors: Bilinear) -> Solution:
    """The solution of a problem whose minimum is known."""
    objective = _objective(problem, factors)
    one, zero = objective[None], jnp.zeros(1, int)
    code = jnp.asarray(Status.CONVERGED.code if np.isfinite(objective) else Status.NON_FINITE.code, int)
    description = dict(describe(problem, FISTA(), Given(spectra=factors.profiles), factors.rank))
    description["update"] = "block principal pivoting"
    return Solution(
        maps=factors.maps,
        spectra=factors.profiles,
        coefficients=None,
        objective=objective,
        trace=one,
        trace_steps=zero,
        steps=zero[0],
        code=code,
        restarts=Restarts(one, zero, code[None], one[None], zero[0]),
        alternatives=Alternatives.none(factors.maps, factors.profiles, None),
        description=tuple(description.items()),
    )


@eqx.filter_jit
def _own_maps(
    matrix: AbstractMatrix, spectra: Float[Array, "components channels"]
) -> Float[Array, "components pixels"]:
    """One multiplicative step from equal maps: each pixel starts from its own data, whatever comes with it."""
    size = jnp.abs(spectra)
    return jnp.maximum(matrix.onto_spectra(spectra), 0) / (matmul(size, size.sum(axis=0))[:, None] + TINY)
