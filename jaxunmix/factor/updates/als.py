"""Alternating least squares, plain and damped: all components of a block at once."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..._util.tracing import is_known
from ..._util.validation import real_number
from ...matrix.base import matmul
from ..model import Bilinear, Rows, rows_of, with_rows
from ..problem import Problem
from .base import AbstractUpdate, check_constraints, check_least_squares, check_single_basis

Gram = Float[Array, "rows rows"]
Damping = Float[Array, ""] | float


def _as_leaf(value: Any) -> Array:
    if is_known(value):
        real_number(value, "MALS: weight and decay")
    return jnp.asarray(value)


class ALS(AbstractUpdate):
    """Alternating least squares, each block solved for all components at once, then clipped at zero (ALS-MCR).

        W = max(0, X S' (S S')^-1),   S = max(0, (W'W)^-1 W'X)

    for maps W (pixels, K) and spectra S (K, channels): after Paatero and Tapper, Environmetrics 5 (1994) 111, the basic
    algorithm of Berry et al., Comput. Stat. Data Anal. 52 (2007) 155, and multivariate curve resolution (Tauler,
    Chemom. Intell. Lab. Syst. 30 (1995) 133) with clipping for its constraint. As it is used for 4D-STEM (Uesugi et
    al., Ultramicroscopy 221 (2021) 113168), in nine steps:

        1. choose K                                                     `fit(rank=K)`
        2. draw one factor at random, non-negative                      `fit(init=initial.Random())`
        3. least squares for the other factor                           `step`
        4. its negative entries to zero                                 `step`
        5. divide each of its components by its norm                    `step`
        6. least squares for the factor drawn first                     `step`
        7. its negative entries to zero                                 `step`
        8. mean squared error |X - W S|^2 / (pixels channels)           `fit`: 2 objective / (pixels channels)
        9. from 3 again, until it settles or the iterations are used up `fit(rtol=, max_steps=)`

    Step 5 is in the l2 norm, and the partner in the other factor takes the scale. Any norm of either factor gives
    the same W S in every step, since a scale passes through least squares and clipping; without step 5 the clipping
    lets the scale of a poorly determined component run away until it overflows.

    The clipping is not a descent step, so the objective may rise: `fit` keeps the best. A component clipped to zero
    in every pixel (or channel) becomes zero in the other block too and stays so: the fit goes on with one component
    fewer. Where components are collinear, the Gram matrix, scaled to a diagonal of 1, gets 8 K times the rounding
    unit on top of it, so the solution stays finite. Components that are kept (`Fixed`) count as known.

    The wording of the steps in the 4D-STEM paper could not be checked, in particular which factor it draws and which
    norm it takes: `first` gives either order, and the norm does not matter.

    Args:
        first: the block that is solved first, from the start of the other: "maps" or "spectra" (the coefficients
            where there is a basis).
    """

    command = "als"
    keeps = frozenset({"sign", "bounds", "fixed", "norm"})

    first: str = eqx.field(default="maps", static=True)

    def __check_init__(self):
        _check_first(self, self.first)

    def check(self, problem: Problem) -> None:
        _check(self, problem)

    def step(self, problem: Problem, factors: Bilinear, state: None) -> tuple[Bilinear, None]:
        return _alternate(problem, factors, self.first), state


class MALS(AbstractUpdate):
    """Modified alternating least squares: ridge regression in place of least squares, its weight fading out.

        S = max(0, (W'W + a_t D)^-1 (W'X + a_t D S_0)),   D = diag(W'W),   a_t = weight decay^t in step t = 0, 1, ...

    and likewise the maps: the minimum of |X - W S|^2 + a_t sum_k |w_k|^2 |s_k - s0_k|^2 before the clipping. S_0 = 0
    is ridge regression, with the weight in units of the correlation matrix of the components (Hoerl and Kennard,
    Technometrics 12 (1970) 55): a weight means the same whatever the scale of the data and of each component, and
    equals a ridge of a_t trace(W'W) / K where the components have equal norms. S_0 = the previous spectra only
    shortens the step: nothing is biased, and without clipping the objective never rises. Weight 0 is `ALS`, whose
    nine steps, clipping, normalisation and answer to vanishing components hold here too.

    It is for spectra (or maps) that resemble one another, where the components of plain ALS grow against each other
    until the clipping kills some of them (three peaks a sixth of their width apart: in 15 of 20 starts, in none with
    the default weight). A ridge still at work shrinks the model by about 1 / (1 + a_t): let it fade well before
    `max_steps`; at the default it is below 1e-4 after 90 steps. Towards zero it also favours components that share
    the intensity, so where some pixels are nearly pure it may end higher than towards the previous (peaks 0.8 widths
    apart: 1.31 against 1.005 times the objective of the truncated SVD). Try both.

    After Wang, Hopke, Hancewicz and Zhang, Anal. Chim. Acta 476 (2003) 93, which Muto and Shiga, Microscopy 69 (2020)
    110, set beside ALS and HALS. The paper's own equations could not be checked. What is known here of the method is
    that it stabilises ALS by ridge regression and that it is a kernel algorithm (abstract of Spectroscopy 38 (2023)
    s11, 22); here that is K x K Gram matrices and one product with the data for each block. The unit of the weight is
    our choice, and its geometric decay that of Zdunek and Cichocki, Signal Process. 87 (2007) 1904, for the ridge of
    another alternation. Towards the previous, the proximal form, is our own addition.

    Args:
        weight: a_0, free of scale; 0 or more.
        decay: the factor from one step to the next, 0 to 1; 1 keeps the weight.
        towards: S_0 and W_0, "zero" or "previous".
        first: as in `ALS`.
    """

    command = "mals"
    keeps = ALS.keeps

    weight: Float[Array, ""] = eqx.field(default=1.0, converter=_as_leaf)
    decay: Float[Array, ""] = eqx.field(default=0.9, converter=_as_leaf)
    towards: str = eqx.field(default="zero", static=True)
    first: str = eqx.field(default="maps", static=True)

    def __check_init__(self):
        _check_first(self, self.first)
        if self.towards not in ("zero", "previous"):
            raise ValueError(f'MALS: towards must be "zero" or "previous", got {self.towards!r}.')
        if not 0 <= float(self.weight) < float("inf"):
            raise ValueError(f"MALS: the weight must be 0 or more and finite, got {float(self.weight)}.")
        if not 0 <= float(self.decay) <= 1:
            raise ValueError(f"MALS: the decay must lie in 0..1, got {float(self.decay)}.")

    def check(self, problem: Problem) -> None:
        _check(self, problem)
        if problem.matrix.is_compressed and self.towards == "zero" and float(self.weight) > 0:
            raise ValueError(
                "The polish on the full data begins with the whole weight of MALS again, which shrinks the model; "
                'give the full matrix, or MALS(towards="previous").'
            )

    def init(self, problem: Problem, factors: Bilinear) -> Int[Array, ""]:
        """The number of steps taken."""
        return jnp.zeros((), int)

    def step(self, problem: Problem, factors: Bilinear, state: Int[Array, ""]) -> tuple[Bilinear, Int[Array, ""]]:
        damping = (self.weight * self.decay**state).astype(problem.matrix.dtype)
        return _alternate(problem, factors, self.first, damping, self.towards == "previous"), state + 1


def _check_first(update: AbstractUpdate, first: str) -> None:
    if first not in ("maps", "spectra"):
        raise ValueError(f'{type(update).__name__}: first must be "maps" or "spectra", got {first!r}.')


def _check(update: AbstractUpdate, problem: Problem) -> None:
    check_least_squares(update, problem)
    check_constraints(update, problem)
    check_single_basis(update, problem)
    if any(fixed.values is not None for fixed in problem.constraints.of("fixed")):
        raise ValueError(f"{type(update).__name__} keeps whole components, not single entries; use HALS().")
    if problem.penalties:
        raise ValueError(f"{type(update).__name__} takes no penalties: clipping would undo them. Use HALS().")


def _alternate(
    problem: Problem, factors: Bilinear, first: str, damping: Damping = 0.0, proximal: bool = False
) -> Bilinear:
    """Solve, clip and normalise the first block, then solve and clip the other."""
    constraints = problem.constraints
    blocks = constraints.blocks if first == "maps" else constraints.blocks[::-1]
    for block in blocks:
        if constraints.is_fully_fixed(block):
            continue
        rows = _solve_block(problem, factors, block, damping, proximal)
        rows = constraints.keep_fixed(block, constraints.clip(block, rows), rows_of(factors, block))
        factors = with_rows(factors, block, rows)
        if block == blocks[0]:
            factors = _with_unit_norm(problem, factors, block)
    return factors


def _solve_block(problem: Problem, factors: Bilinear, block: str, damping: Damping, proximal: bool) -> Rows:
    """The (damped) least squares solution of a block; kept rows count as known and come out as zero."""
    if block == "maps":
        spectra = problem.spectra(factors)
        gram, cross = matmul(spectra, spectra.T), problem.matrix.onto_spectra(spectra)
    else:
        gram, cross = matmul(factors.maps_t, factors.maps_t.T), problem.matrix.onto_maps(factors.maps_t)
        if problem.basis is not None:
            cross = _solve(matmul(problem.basis, problem.basis.T), matmul(problem.basis, cross.T)).T
    rows, free = rows_of(factors, block), problem.constraints.free(block, factors.rank)
    if free is not None:
        cross = jnp.where(free, cross - matmul(gram, jnp.where(free, 0, rows)), 0)
        gram = jnp.where(free & free.T, gram, 0)
    return _solve(gram, cross, damping, rows if proximal else None)


def _with_unit_norm(problem: Problem, factors: Bilinear, block: str) -> Bilinear:
    """The same model with rows of norm 1 in the block; components that are zero or kept stay as they are."""
    size = jnp.linalg.norm(factors.maps_t if block == "maps" else problem.spectra(factors), axis=1)
    for kept in problem.constraints.blocks:
        free = problem.constraints.free(kept, factors.rank)
        size = size if free is None else jnp.where(free[:, 0], size, 1)
    size = jnp.where(size > 0, size, 1)
    return factors.scaled(1 / size if block == "maps" else size)


def _solve(gram: Gram, cross: Rows, damping: Damping = 0.0, previous: Rows | None = None) -> Rows:
    """(G + damping D)^-1 (cross + damping D previous), D = diag(G); a component without weight in G gets zeros.

    The diagonal is scaled to 1 first, so that weak components are solved as well as strong ones.
    """
    squares = jnp.diagonal(gram)
    live = squares > 0
    unit = jnp.where(live, 1 / jnp.sqrt(jnp.where(live, squares, 1)), 1)[:, None]
    # Below 2 K eps the Cholesky factor of exactly collinear components is NaN at times.
    rounding = 8 * jnp.finfo(gram.dtype).eps * jnp.sum(live)
    correlation = unit * gram * unit.T + jnp.diag(jnp.where(live, damping + rounding, 1))
    if previous is not None:
        cross = cross + damping * squares[:, None] * previous
    return unit * jax.scipy.linalg.solve(correlation, unit * cross, assume_a="pos")
