"""How the factors move: one step each, pure and jittable. `fit` has the only loop.

Each update treats the maps first, then the spectra (or coefficients); `ALS` and `MALS` take either first. Penalties
enter through the separable quadratic that bounds them at the current factors, so every step that has a bound lowers
the whole objective. `ALS` and `MALS` have none: they take no penalties, and their clipping may raise the objective.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from ..data.compressed import Compressed
from ..data.matrix import TINY, matmul
from .als import ALS as ALS
from .als import MALS as MALS
from .hals import HALS as HALS
from .losses import Frobenius, Poisson
from .model import Bilinear
from .penalties import Bound
from .problem import Problem
from .step import AbstractUpdate as AbstractUpdate
from .step import Rows, check_bounded, refuse_orthogonal, rows_of, with_rows


class Multiplicative(AbstractUpdate):
    """Multiplicative updates by majorisation, for every beta-divergence.

    With R = X m^(beta-2) and D = m^(beta-1) of the model m, row by row

        w <- w [R S' / (D S')]^gamma,   gamma = 1/(2-beta) below 1, 1 in 1..2, 1/(beta-1) above 2

    (Lee and Seung, NIPS 2000; Fevotte and Idier, Neural Comput. 23 (2011) 2421, equation 4.7). The numerator and
    denominator are those of a separable bound of the loss; a penalty's own bound is added to it and the sum
    minimised in closed form (a quadratic for Poisson), so the objective never rises. Entries at zero stay there.
    """

    def check(self, problem: Problem) -> None:
        refuse_orthogonal(self, problem)
        for block in ("maps", problem.second):
            if not problem.is_nonnegative(block):
                raise ValueError(f'Multiplicative needs NonNegative("{block}"); use HALS() for signed factors.')
        if problem.loss.beta == 2 and float(problem.matrix.minimum) < 0:
            raise ValueError("Multiplicative needs non-negative data; use HALS(), or preprocess.clip_negative first.")
        if problem.basis is not None and float(problem.basis.min()) < 0:
            raise ValueError("Multiplicative needs a non-negative basis; use HALS() or ProjectedGradient().")
        check_bounded(self, problem)
        if problem.penalties and problem.loss.beta not in (1, 2):
            raise ValueError(
                f"Multiplicative bounds no penalties under {type(problem.loss).__name__}; use ProjectedGradient()."
            )

    def step(self, problem: Problem, factors: Bilinear, state: None) -> tuple[Bilinear, None]:
        for block in ("maps", problem.second):
            if problem.is_settled(block):
                continue
            rows = rows_of(factors, block)
            new = _majorised(problem, rows, *self._parts(problem, factors, block), problem.bound(factors, block))
            free = problem.free(block, factors.rank)
            factors = with_rows(factors, block, new if free is None else jnp.where(free, new, rows))
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
        refuse_orthogonal(self, problem)
        if isinstance(problem.matrix, Compressed):
            raise ValueError("ProjectedGradient needs the whole matrix; give Dense or Counts, not Compressed.")

    def init(self, problem: Problem, factors: Bilinear) -> ProjectedState:
        # Components of zeros, with which a survey pads, have no size.
        sizes = [
            jnp.sum(jnp.abs(rows)) / jnp.maximum(jnp.sum(jnp.any(rows != 0, axis=1)) * rows.shape[1], 1)
            for rows in (factors.maps_t, factors.profiles)
        ]
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
            rows = rows_of(new, block)
            if problem.is_nonnegative(block):
                rows = jnp.maximum(rows, 0)
            free = problem.free(block, new.rank)
            rows = rows if free is None else jnp.where(free, rows, rows_of(old, block))
            new = with_rows(new, block, rows)
        return problem.normalise(new)


_ADAM = optax.adam(0.03)


def _in_units(factors: Bilinear, units: tuple[Array, Array]) -> tuple[Array, Array]:
    return factors.maps_t / units[0], factors.profiles / units[1]


def _from_units(scaled: tuple[Array, Array], units: tuple[Array, Array]) -> Bilinear:
    return Bilinear(scaled[0] * units[0], scaled[1] * units[1])


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
