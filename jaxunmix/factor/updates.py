"""How the factors move: one step each, pure and jittable. `fit` has the only loop.

Each update treats the maps first, then the spectra (or coefficients). Penalties enter through the separable
quadratic that bounds them at the current factors, so every step that has a bound lowers the whole objective.
"""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float

from ..data.compressed import Compressed
from ..data.matrix import TINY, matmul
from .losses import Frobenius, Poisson
from .model import Bilinear
from .penalties import L1, AbstractPenalty, Bound
from .problem import Problem

Rows = Float[Array, "components length"]


class AbstractUpdate(eqx.Module):
    """`init` makes the state, `step` moves factors and state once."""

    @abc.abstractmethod
    def check(self, problem: Problem) -> None:
        """Refuse a problem that the update cannot solve as stated.

        Raises:
            ValueError: naming what it cannot take and the update that can.
        """

    def init(self, problem: Problem, factors: Bilinear) -> Any:
        """What the update remembers between steps; nothing by default."""
        return None

    @abc.abstractmethod
    def step(self, problem: Problem, factors: Bilinear, state: Any) -> tuple[Bilinear, Any]:
        """One pass over both blocks."""


class HALS(AbstractUpdate):
    """Hierarchical alternating least squares: each component in turn takes its exact optimum, given the others.

    With A = X S', G = S S' for spectra S, row k of the maps becomes (Cichocki and Phan, IEICE Trans. E92-A (2009)
    708, algorithm 2)

        w_k <- max(0, w_k + (A_k - G_k W) / G_kk),

    and likewise the spectra; without non-negativity there is no max. A penalty bounded by gradient g and curvature
    c adds -g above and +c below. With a basis the coefficients are treated entry by entry. The objective never
    rises.

    Args:
        sweeps: passes over the components for each product with the data (Gillis and Glineur, Neural Comput. 24
            (2012) 1085); more are cheap where the products dominate.
    """

    sweeps: int = eqx.field(default=1, static=True)

    def __check_init__(self):
        if self.sweeps < 1:
            raise ValueError(f"HALS: sweeps must be 1 or more, got {self.sweeps}.")

    def check(self, problem: Problem) -> None:
        _check_least_squares(self, problem)
        _check_bounded(self, problem)
        _check_l1_sign(self, problem)

    def step(self, problem: Problem, factors: Bilinear, state: None) -> tuple[Bilinear, None]:
        if not problem.is_settled("maps"):
            spectra = problem.spectra(factors)
            cross = problem.matrix.onto_spectra(spectra)
            gram = matmul(spectra, spectra.T)
            factors = self._sweep(
                problem, factors, "maps", lambda rows, b, lower, free: _sweep_rows(rows, cross, gram, b, lower, free)
            )
        if not problem.is_settled(problem.second):
            gram = matmul(factors.maps_t, factors.maps_t.T)
            cross = problem.matrix.onto_maps(factors.maps_t)
            if problem.basis is None:

                def sweep(rows, b, lower, free):
                    return _sweep_rows(rows, cross, gram, b, lower, free)
            else:
                inner = matmul(problem.basis, problem.basis.T)
                onto_basis = matmul(cross, problem.basis.T)

                def sweep(rows, b, lower, free):
                    return _sweep_entries(rows, onto_basis, gram, inner, b, lower, free)

            factors = self._sweep(problem, factors, problem.second, sweep)
        return factors, state

    def _sweep(self, problem: Problem, factors: Bilinear, block: str, sweep: Callable) -> Bilinear:
        lower = 0.0 if problem.is_nonnegative(block) else None
        free = problem.free(block, factors.rank)

        def once(_, factors):
            rows = sweep(_rows(factors, block), problem.bound(factors, block), lower, free)
            return _with_rows(factors, block, rows)

        # A loop, not an unrolled chain: XLA would compute the first sweep again inside the second.
        return once(0, factors) if self.sweeps == 1 else lax.fori_loop(0, self.sweeps, once, factors)


class Multiplicative(AbstractUpdate):
    """Multiplicative updates by majorisation, for every beta-divergence.

    With R = X m^(beta-2) and D = m^(beta-1) of the model m, row by row

        w <- w [R S' / (D S')]^gamma,   gamma = 1/(2-beta) below 1, 1 in 1..2, 1/(beta-1) above 2

    (Lee and Seung, NIPS 2000; Fevotte and Idier, Neural Comput. 23 (2011) 2421, equation 4.7). The numerator and
    denominator are those of a separable bound of the loss; a penalty's own bound is added to it and the sum
    minimised in closed form (a quadratic for Poisson), so the objective never rises. Entries at zero stay there.
    """

    def check(self, problem: Problem) -> None:
        for block in ("maps", problem.second):
            if not problem.is_nonnegative(block):
                raise ValueError(f'Multiplicative needs NonNegative("{block}"); use HALS() for signed factors.')
        if problem.loss.beta == 2 and float(problem.matrix.minimum) < 0:
            raise ValueError("Multiplicative needs non-negative data; use HALS(), or preprocess.clip_negative first.")
        if problem.basis is not None and float(problem.basis.min()) < 0:
            raise ValueError("Multiplicative needs a non-negative basis; use HALS() or ProjectedGradient().")
        _check_bounded(self, problem)
        if problem.penalties and problem.loss.beta not in (1, 2):
            raise ValueError(
                f"Multiplicative bounds no penalties under {type(problem.loss).__name__}; use ProjectedGradient()."
            )

    def step(self, problem: Problem, factors: Bilinear, state: None) -> tuple[Bilinear, None]:
        for block in ("maps", problem.second):
            if problem.is_settled(block):
                continue
            rows = _rows(factors, block)
            new = _majorised(problem, rows, *self._parts(problem, factors, block), problem.bound(factors, block))
            free = problem.free(block, factors.rank)
            factors = _with_rows(factors, block, new if free is None else jnp.where(free, new, rows))
        return factors, state

    def _parts(self, problem: Problem, factors: Bilinear, block: str) -> tuple[Rows, Float[Array, "components _"]]:
        """The two parts of the loss's gradient in the block."""
        matrix, maps, spectra = problem.matrix, factors.maps_t, problem.spectra(factors)
        second: Float[Array, "components _"] | None
        if isinstance(problem.loss, Frobenius) and problem.weights is None:
            if block == "maps":
                return matrix.onto_spectra(spectra), matmul(matmul(spectra, spectra.T), maps)
            first, second = matrix.onto_maps(maps), matmul(matmul(maps, maps.T), spectra)
        elif block == "maps":
            first, second = matrix.score_maps(problem.loss.split, maps, spectra, problem.weights)
            return first, spectra.sum(axis=1, keepdims=True) if second is None else second
        else:
            first, second = matrix.score_spectra(problem.loss.split, maps, spectra, problem.weights)
            if second is None:
                second = jnp.broadcast_to(maps.sum(axis=1, keepdims=True), first.shape)
        if problem.basis is None:
            return first, second
        return matmul(first, problem.basis.T), matmul(second, problem.basis.T)


class ALS(AbstractUpdate):
    """Alternating least squares, each block solved for all components at once, then clipped at zero.

        W = max(0, X S' (S S')^-1),   S = max(0, (W'W)^-1 W'X)

    (Paatero and Tapper, Environmetrics 5 (1994) 111; MCR-ALS of Tauler, Chemom. Intell. Lab. Syst. 30 (1995) 133).
    Fast in its first steps; the clipping is not a descent step, so the objective may rise: `fit` keeps the best.
    """

    def check(self, problem: Problem) -> None:
        _check_least_squares(self, problem)
        if problem.penalties:
            raise ValueError("ALS takes no penalties: clipping would undo them. Use HALS().")

    def step(self, problem: Problem, factors: Bilinear, state: None) -> tuple[Bilinear, None]:
        if not problem.is_settled("maps"):
            spectra = problem.spectra(factors)
            rows = _solve(matmul(spectra, spectra.T), problem.matrix.onto_spectra(spectra))
            factors = self._clipped(problem, factors, "maps", rows)
        if not problem.is_settled(problem.second):
            cross = problem.matrix.onto_maps(factors.maps_t)
            rows = _solve(matmul(factors.maps_t, factors.maps_t.T), cross)
            if problem.basis is not None:
                rows = _solve(matmul(problem.basis, problem.basis.T), matmul(problem.basis, rows.T)).T
            factors = self._clipped(problem, factors, problem.second, rows)
        return factors, state

    def _clipped(self, problem: Problem, factors: Bilinear, block: str, rows: Rows) -> Bilinear:
        if problem.is_nonnegative(block):
            rows = jnp.maximum(rows, 0)
        free = problem.free(block, factors.rank)
        return _with_rows(factors, block, rows if free is None else jnp.where(free, rows, _rows(factors, block)))


class ProjectedState(NamedTuple):
    """What `ProjectedGradient` remembers."""

    inner: Any
    length: Float[Array, ""]
    objective: Float[Array, ""]
    units: tuple[Float[Array, ""], Float[Array, ""]]


class ProjectedGradient(AbstractUpdate):
    """Gradient steps by any optax optimiser, projected onto the constraints: for every differentiable objective.

    The blocks are measured in units of their mean size at the start, so that the optimiser's learning rate is a
    relative one. A step that would raise the objective is not taken and the next is half as long, so the
    objective never rises.

    Args:
        optimiser: an optax gradient transformation; None is Adam with a learning rate of 0.03.
    """

    optimiser: optax.GradientTransformation = eqx.field(static=True)

    def __init__(self, optimiser: optax.GradientTransformation | None = None):
        self.optimiser = _ADAM if optimiser is None else optimiser

    def check(self, problem: Problem) -> None:
        if isinstance(problem.matrix, Compressed):
            raise ValueError("ProjectedGradient needs the whole matrix; give Dense or Counts, not Compressed.")

    def init(self, problem: Problem, factors: Bilinear) -> ProjectedState:
        sizes = (jnp.mean(jnp.abs(factors.maps_t)), jnp.mean(jnp.abs(factors.profiles)))
        units = (jnp.maximum(sizes[0], TINY), jnp.maximum(sizes[1], TINY))
        one = jnp.ones((), problem.matrix.dtype)
        return ProjectedState(self.optimiser.init(_in_units(factors, units)), one, problem.objective(factors), units)

    def step(self, problem: Problem, factors: Bilinear, state: ProjectedState) -> tuple[Bilinear, ProjectedState]:
        scaled = _in_units(factors, state.units)

        def objective(scaled):
            return problem.objective(_from_units(scaled, state.units)) / jnp.maximum(jnp.abs(state.objective), TINY)

        gradient = jax.grad(objective)(scaled)
        direction, inner = self.optimiser.update(gradient, state.inner, scaled)
        moved = jax.tree.map(lambda x, d: x + state.length * d, scaled, direction)
        candidate = self._project(problem, factors, _from_units(moved, state.units))
        reached = problem.objective(candidate)
        better = reached <= state.objective
        # A gradient that is no number would be refused for ever: let it be seen instead.
        sound = jnp.all(jnp.array([jnp.isfinite(g).all() for g in gradient]))
        kept = jax.tree.map(lambda new, old: jnp.where(better, new, old), candidate, factors)
        factors = jax.tree.map(lambda rows: jnp.where(sound, rows, jnp.nan), kept)
        length = state.length * jnp.where(better, 1.1, 0.5)
        return factors, ProjectedState(inner, length, jnp.where(better, reached, state.objective), state.units)

    def _project(self, problem: Problem, old: Bilinear, new: Bilinear) -> Bilinear:
        for block in ("maps", problem.second):
            rows = _rows(new, block)
            if problem.is_nonnegative(block):
                rows = jnp.maximum(rows, 0)
            free = problem.free(block, new.rank)
            rows = rows if free is None else jnp.where(free, rows, _rows(old, block))
            new = _with_rows(new, block, rows)
        return problem.normalise(new)


_ADAM = optax.adam(0.03)


def _in_units(factors: Bilinear, units: tuple[Array, Array]) -> tuple[Array, Array]:
    return factors.maps_t / units[0], factors.profiles / units[1]


def _from_units(scaled: tuple[Array, Array], units: tuple[Array, Array]) -> Bilinear:
    return Bilinear(scaled[0] * units[0], scaled[1] * units[1])


def _rows(factors: Bilinear, block: str) -> Rows:
    return factors.maps_t if block == "maps" else factors.profiles


def _with_rows(factors: Bilinear, block: str, rows: Rows) -> Bilinear:
    return Bilinear(rows, factors.profiles) if block == "maps" else Bilinear(factors.maps_t, rows)


def _sweep_rows(rows: Rows, cross: Rows, gram: Array, bound: Bound | None, lower: float | None, free: Any) -> Rows:
    """Each row in turn to its optimum; dynamic slices, since an indexed write would copy the whole block."""
    length = rows.shape[1]
    if bound is not None:
        cross = cross - bound.gradient

    def one(k, rows):
        row = lax.dynamic_slice(rows, (k, 0), (1, length))
        mine = lax.dynamic_slice(gram, (k, 0), (1, rows.shape[0]))
        slope = lax.dynamic_slice(cross, (k, 0), (1, length)) - matmul(mine, rows)
        steepness = gram[k, k] if bound is None else gram[k, k] + lax.dynamic_slice_in_dim(bound.curvature, k, 1)
        new = jnp.where(steepness > 0, row + slope / jnp.where(steepness > 0, steepness, 1), row)
        if lower is not None:
            new = jnp.maximum(new, lower)
        if free is not None:
            new = jnp.where(free[k], new, row)
        return lax.dynamic_update_slice(rows, new, (k, 0))

    return lax.fori_loop(0, rows.shape[0], one, rows)


def _sweep_entries(
    rows: Rows, cross: Rows, gram: Array, inner: Array, bound: Bound | None, lower: float | None, free: Any
) -> Rows:
    """Each coefficient in turn: the basis couples the features of a component, so rows have no closed form."""
    rank, features = rows.shape
    start = rows

    def one(i, rows):
        k, f = i // features, i % features
        slope = cross[k, f] - jnp.sum(matmul(gram[k], rows) * inner[:, f])
        steepness = gram[k, k] * inner[f, f]
        if bound is not None:
            curvature = jnp.broadcast_to(bound.curvature, rows.shape)[k, f]
            slope = slope - bound.gradient[k, f]
            steepness = steepness + curvature
        new = jnp.where(steepness > 0, rows[k, f] + slope / jnp.where(steepness > 0, steepness, 1), rows[k, f])
        new = new if lower is None else jnp.maximum(new, lower)
        return rows.at[k, f].set(new)

    rows = lax.fori_loop(0, rank * features, one, rows)
    return rows if free is None else jnp.where(free, rows, start)


def _majorised(
    problem: Problem, rows: Rows, first: Rows, second: Float[Array, "components _"], bound: Bound | None
) -> Rows:
    """The minimum of the separable bound of loss and penalties that touches at `rows`."""
    beta = problem.loss.beta
    if bound is None:
        gamma = 1 / (2 - beta) if beta < 1 else 1 / (beta - 1) if beta > 2 else 1.0
        ratio = first / jnp.maximum(second, TINY)
        return rows * (ratio if gamma == 1 else ratio**gamma)
    gradient, curvature = bound
    if isinstance(problem.loss, Poisson):
        # second w + g (w - w0) + c (w - w0)^2 / 2 - w0 first log w is stationary at c w^2 + b w - a = 0.
        a, b = rows * first, second + gradient - curvature * rows
        root = jnp.sqrt(b * b + 4 * curvature * a)
        return jnp.where(b > 0, 2 * a / jnp.maximum(b + root, TINY), (root - b) / jnp.maximum(2 * curvature, TINY))
    step = jnp.maximum(first - gradient + curvature * rows, 0)
    return rows * step / jnp.maximum(second + curvature * rows, TINY)


def _solve(gram: Float[Array, "rows rows"], cross: Float[Array, "rows columns"]) -> Float[Array, "rows columns"]:
    """Gram^-1 cross, with a ridge at the rounding so that a component at zero stays finite."""
    ridge = jnp.finfo(gram.dtype).eps * jnp.trace(gram) + TINY
    return jax.scipy.linalg.solve(gram + ridge * jnp.eye(len(gram), dtype=gram.dtype), cross, assume_a="pos")


def _check_least_squares(update: AbstractUpdate, problem: Problem) -> None:
    name = type(update).__name__
    if not isinstance(problem.loss, Frobenius):
        raise ValueError(f"{name} solves Frobenius; for {type(problem.loss).__name__} use updates.Multiplicative().")
    if problem.weights is not None:
        raise ValueError(f"{name} takes no weights; use updates.Multiplicative() or updates.ProjectedGradient().")


def _check_bounded(update: AbstractUpdate, problem: Problem) -> None:
    for penalty in problem.penalties:
        if not isinstance(penalty, AbstractPenalty):
            raise ValueError(
                f"{type(update).__name__} cannot differentiate the penalty {getattr(penalty, '__name__', penalty)!r}; "
                "use updates.ProjectedGradient()."
            )
        if penalty.block == "spectra" and problem.basis is not None:
            raise ValueError(
                f"{type(update).__name__} takes no penalty on the spectra where they are coefficients @ basis; "
                "use updates.ProjectedGradient()."
            )


def _check_l1_sign(update: AbstractUpdate, problem: Problem) -> None:
    for penalty in problem.penalties:
        if isinstance(penalty, L1) and not problem.is_nonnegative(penalty.block):
            name, block = type(update).__name__, penalty.block
            raise ValueError(f'L1("{block}") under {name} needs NonNegative("{block}").')
