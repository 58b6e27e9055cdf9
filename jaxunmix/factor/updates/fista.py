"""Accelerated proximal steps, block by block: for every differentiable objective and every nearest point."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ..._util.validation import check_whole_number
from ...matrix.base import TINY, matmul
from ..constraints.closure import live_of
from ..model import Bilinear, Rows, expand, rows_of, with_rows
from ..penalties.base import AbstractPenalty
from ..problem import Problem
from .base import AbstractUpdate, check_constraints

# Doublings of the curvature in one step at most; then the step is not taken.
DOUBLINGS = 40
# How much of the curvature the next step tries.
EASING = 0.8
# Steps of entries at zero, as a share of those of a mean entry.
LEAST_SHARE = 1e-3


class FISTAState(NamedTuple):
    """The curvature that the last step of each block found; 0 at the start."""

    curvature: tuple[Float[Array, ""], Float[Array, ""]]


class _Inner(NamedTuple):
    rows: Rows
    ahead: Rows
    momentum: Float[Array, ""]
    curvature: Float[Array, ""]
    value: Float[Array, ""]


class _Trial(NamedTuple):
    curvature: Float[Array, ""]
    rows: Rows
    value: Float[Array, ""]
    fits: Array
    number: Array


class _Block(NamedTuple):
    """What one block's steps need: the smooth part, the thresholds, and the way onto the constraints."""

    smooth: Callable[[Rows], Float[Array, ""]]
    threshold: Float[Array, "components 1"] | None
    nearest: Callable[[Rows], Rows]
    metric: Rows

    def kinked(self, rows: Rows) -> Float[Array, ""]:
        """What thresholds stand for."""
        return jnp.zeros((), rows.dtype) if self.threshold is None else jnp.sum(self.threshold * jnp.abs(rows))

    def reach(self, rows: Rows, slope: Rows, curvature: Float[Array, ""]) -> Rows:
        """Where a step of length 1 / curvature leads."""
        length = self.metric / curvature
        moved = rows - slope * length
        if self.threshold is not None:
            moved = jnp.sign(moved) * jnp.maximum(jnp.abs(moved) - self.threshold * length, 0)
        return self.nearest(moved)


class FISTA(AbstractUpdate):
    """Accelerated proximal gradient steps of the maps, then of the spectra, each onto the nearest allowed point.

    With f the loss and the penalties as one block moves, and y ahead of the rows x by their momentum,

        z = nearest(y - f'(y) / L),    y <- z + (t - 1) / t' (z - x),    t' = (1 + sqrt(1 + 4 t^2)) / 2

    (Beck and Teboulle, SIAM J. Imaging Sci. 2 (2009) 183). L is doubled until f lies below its quadratic bound at z,
    and eased before the next step. A step that would raise the objective is taken back and the momentum restarts from
    x; it restarts too where it points uphill (O'Donoghue and Candes, Found. Comput. Math. 15 (2015) 715). So the
    objective never rises, also where the nearest point is one of several. JAX differentiates the loss through any
    link, resolution and basis, and penalties that are plain functions. `L1` on a signed block is taken by thresholds.

    Args:
        inner: steps of a block before the other's turn; None takes 10 where products with the data are all the loss
            needs, else 3.
    """

    command = "fista"
    keeps = frozenset(
        {"sign", "bounds", "fixed", "norm", "sum", "closure", "presence", "shape", "disjoint"},
    )

    inner: int | None = eqx.field(default=None, static=True)

    def __check_init__(self) -> None:
        if self.inner is not None and check_whole_number(self.inner, "FISTA: inner") < 1:
            raise ValueError(f"FISTA: inner must be 1 or more, got {self.inner}.")

    def check(self, problem: Problem) -> None:
        check_constraints(self, problem)
        constraints = problem.constraints
        for orthogonal in constraints.of("disjoint"):
            if orthogonal.is_soft:
                raise ValueError("FISTA has no multiplier for Orthogonal(strict=False); use HALS().")
            if constraints.of("sum", "maps") or constraints.of("closure", "maps"):
                raise ValueError('FISTA: Orthogonal leaves sums of "maps" nothing to share; leave one of them out.')
        scaled = constraints.of("norm")
        for penalty in problem.penalties:
            if scaled and not penalty.is_scale_free:
                raise ValueError(
                    f"UnitNorm would rescale what the function {penalty.label!r} measures; put the norm into the "
                    "function."
                )
            if penalty.asks_nonnegative and (signed := problem.signed_block(penalty)):
                self._check_threshold(problem, penalty, signed)

    def _check_threshold(self, problem: Problem, penalty: AbstractPenalty, signed: str) -> None:
        block, name = penalty.block, type(penalty).__name__
        if not penalty.has_threshold or (block == "spectra" and problem.basis is not None):
            raise ValueError(f'{name}("{block}") needs NonNegative("{signed}").')
        for kind in ("sum", "closure", "shape", "disjoint"):
            if problem.constraints.of(kind, block):
                raise ValueError(f'{name}("{block}") on a signed block takes no {kind} constraint on it.')

    def init(self, problem: Problem, factors: Bilinear) -> FISTAState:
        zero = jnp.zeros((), problem.matrix.dtype)
        return FISTAState((zero, zero))

    def step(self, problem: Problem, factors: Bilinear, state: FISTAState) -> tuple[Bilinear, FISTAState]:
        found = []
        for block, curvature in zip(problem.constraints.blocks, state.curvature, strict=True):
            if not problem.constraints.is_fully_fixed(block):
                factors = _balanced(problem, factors, block)
                factors, curvature = self._descend(problem, factors, block, curvature)
            found.append(curvature)
        return factors, FISTAState((found[0], found[1]))

    def _descend(
        self, problem: Problem, factors: Bilinear, block: str, curvature: Float[Array, ""]
    ) -> tuple[Bilinear, Float[Array, ""]]:
        before, live = rows_of(factors, block), live_of(factors)
        metric = _metric(problem, before, block)
        part = _Block(
            _smooth(problem, factors, block),
            _threshold(problem, factors, block),
            lambda rows: problem.constraints.nearest(block, rows, before, live, metric),
            jnp.ones((1, 1), before.dtype) if metric is None else metric,
        )
        # The objective at the start is seen with the first slope.
        start = _Inner(
            before, before, jnp.ones((), before.dtype), EASING * curvature, jnp.asarray(jnp.nan, before.dtype)
        )
        steps = self.inner or (10 if problem.is_least_squares else 3)
        end = lax.fori_loop(0, steps, lambda _, now: _accelerate(part, now), start)
        return with_rows(factors, block, end.rows), end.curvature


def _accelerate(part: _Block, now: _Inner) -> _Inner:
    """One step from the rows ahead, taken back where it would raise the objective."""
    value, slope = jax.value_and_grad(part.smooth)(now.ahead)
    # Ahead of the rows a logarithm may have left its range: then the next step starts from the rows themselves.
    sound = jnp.isfinite(slope).all()
    rounding = 8 * jnp.finfo(value.dtype).eps * jnp.abs(value)
    # Of a logarithm the slope can be so steep that its square is no number.
    guess = jnp.max(jnp.abs(slope)) / jnp.maximum(jnp.max(jnp.abs(now.rows)), TINY)
    first = jnp.maximum(jnp.where(now.curvature > 0, now.curvature, guess), TINY)

    def too_long(tried: _Trial) -> Array:
        return ~tried.fits & (tried.number < DOUBLINGS) & sound

    def shorten(tried: _Trial) -> _Trial:
        curvature = tried.curvature * 2
        reached = part.reach(now.ahead, slope, curvature)
        apart = reached - now.ahead
        bound = value + jnp.sum(slope * apart) + curvature / 2 * jnp.sum(apart**2 / part.metric)
        there = part.smooth(reached)
        return _Trial(curvature, reached, there, there <= bound + rounding, tried.number + 1)

    tried = _Trial(first / 2, now.rows, value, jnp.zeros((), bool), jnp.zeros((), int))
    tried = lax.while_loop(too_long, shorten, tried)
    reached, objective = tried.rows, tried.value + part.kinked(tried.rows)
    here = jnp.where(jnp.isnan(now.value), value + part.kinked(now.rows), now.value)
    better = (objective <= here) & sound
    uphill = jnp.sum((now.ahead - reached) * (reached - now.rows) / part.metric) > 0
    momentum = (1 + jnp.sqrt(1 + 4 * now.momentum**2)) / 2
    onward = reached + (now.momentum - 1) / momentum * (reached - now.rows)
    rows = jnp.where(better, reached, now.rows)
    # A slope that is no number would be refused for ever: let it be seen instead.
    rows = jnp.where(sound | (now.ahead != now.rows).any(), rows, jnp.nan)
    keep = better & ~uphill
    return _Inner(
        rows,
        jnp.where(keep, onward, rows),
        jnp.where(keep, momentum, 1),
        tried.curvature,
        jnp.where(better, objective, here),
    )


def _metric(problem: Problem, rows: Rows, block: str) -> Rows | None:
    """Steps in proportion to the entries where counts are fitted: their curvature goes with the inverse of the entry.

    Scaled gradient projection: Bonettini, Zanella and Zanni, Inverse Probl. 25 (2009) 015002.
    """
    if problem.loss.order == 2 or not problem.constraints.is_nonnegative(block):
        return None
    mean = jnp.mean(rows, axis=1, keepdims=True)
    return jnp.where(mean > 0, rows / jnp.where(mean > 0, mean, 1) + LEAST_SHARE, 1)


def _thresholded(problem: Problem, block: str) -> list:
    """Penalties that are taken by thresholds as this block moves: those with a kink at zero, where signs are free."""
    named = "maps" if block == "maps" else "spectra"
    if problem.constraints.is_nonnegative(block):
        return []
    return [p for p in problem.penalties if p.has_threshold and p.block == named]


def _threshold(problem: Problem, factors: Bilinear, block: str) -> Float[Array, "components 1"] | None:
    terms = _thresholded(problem, block)
    if not terms:
        return None
    full = problem.complete(factors)
    return sum(p.bound(full, problem.reference, p.block).gradient for p in terms)


def _smooth(problem: Problem, factors: Bilinear, block: str) -> Callable[[Rows], Float[Array, ""]]:
    """The loss and the penalties without a kink, up to a constant, as a function of one block's rows."""
    kinked = [id(p) for p in _thresholded(problem, block)]
    terms = [p for p in problem.penalties if id(p) not in kinked]

    def penalties(rows: Rows) -> Float[Array, ""]:
        full = problem.complete(with_rows(factors, block, rows))
        return sum((p.value(full, problem.reference) for p in terms), start=jnp.zeros((), rows.dtype))

    if problem.estimates_noise:
        return lambda rows: problem.objective(with_rows(factors, block, rows))
    if not problem.is_least_squares:
        return lambda rows: problem.data_term(with_rows(factors, block, rows)) + penalties(rows)
    spectra = problem.spectra(factors)
    other = spectra if block == "maps" else factors.maps_t
    gram = matmul(other, other.T)
    cross = (problem.matrix.onto_spectra if block == "maps" else problem.matrix.onto_maps)(other)

    def squares(rows: Rows) -> Float[Array, ""]:
        wide = rows if block == "maps" or problem.basis is None else expand(rows, problem.basis)
        return jnp.sum(wide * (matmul(gram, wide) / 2 - cross)) + penalties(rows)

    return squares


def _balanced(problem: Problem, factors: Bilinear, block: str) -> Bilinear:
    """The same model with components of one size in the other block, where nothing depends on their sizes."""
    constraints = problem.constraints
    pinned = any(constraints.of(kind) for kind in ("sum", "closure", "bounds", "fixed", "set", "ratio"))
    if pinned or problem.basis is not None or not all(p.is_scale_free for p in problem.penalties):
        return factors
    other = factors.profiles if block == "maps" else factors.maps_t
    size = jnp.linalg.norm(other, axis=1)
    size = jnp.where(size > 0, size, 1)
    return factors.scaled(size if block == "maps" else 1 / size)
