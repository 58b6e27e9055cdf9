"""Projected gradient steps, for every differentiable objective."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from ..._util.validation import check_instance
from ...matrix.base import TINY
from ..model import Bilinear
from ..problem import Problem
from .base import AbstractUpdate, check_constraints


class ProjectedState(NamedTuple):
    """What `ProjectedGradient` remembers."""

    inner: Any
    length: Float[Array, ""]
    objective: Float[Array, ""]
    units: tuple[Float[Array, ""], Float[Array, ""]]


class ProjectedGradient(AbstractUpdate):
    """Gradient steps by any optax optimiser, projected onto the constraints: for every differentiable objective.

    The blocks are measured in units of their mean size at the start, so that the optimiser's learning rate is a
    relative one. Sums and ratios are restored after each step by rescaling. A step that would raise the objective is
    not taken and the next is half as long, so the objective never rises.

    Args:
        optimiser: an optax gradient transformation; None is Adam with a learning rate of 0.03.
    """

    command = "gradient"
    keeps = frozenset({"sign", "bounds", "fixed", "norm", "sum", "ratio", "set"})

    optimiser: optax.GradientTransformation = eqx.field(static=True)

    def __init__(self, optimiser: optax.GradientTransformation | None = None):
        check_instance(optimiser, (optax.GradientTransformation, type(None)), "optimiser", "optax.adam(0.01)")
        self.optimiser = _ADAM if optimiser is None else optimiser

    def check(self, problem: Problem) -> None:
        check_constraints(self, problem)
        for penalty in problem.penalties:
            signed = problem.signed_block(penalty)
            if penalty.asks_nonnegative and not penalty.has_threshold and signed:
                raise ValueError(f'{type(penalty).__name__}("{penalty.block}") needs NonNegative("{signed}").')
        if problem.matrix.is_compressed:
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
        candidate = problem.project(_from_units(moved, state.units), factors)
        reached = problem.objective(candidate)
        better = reached <= state.objective
        # A gradient that is no number would be refused for ever: let it be seen instead.
        sound = jnp.all(jnp.array([jnp.isfinite(g).all() for g in gradient]))
        kept = jax.tree.map(lambda new, old: jnp.where(better, new, old), candidate, factors)
        factors = jax.tree.map(lambda rows: jnp.where(sound, rows, jnp.nan), kept)
        length = state.length * jnp.where(better, 1.1, 0.5)
        return factors, ProjectedState(inner, length, jnp.where(better, reached, state.objective), state.units)


_ADAM = optax.adam(0.03)


def _in_units(factors: Bilinear, units: tuple[Array, Array]) -> tuple[Array, Array]:
    return factors.maps_t / units[0], factors.profiles / units[1]


def _from_units(scaled: tuple[Array, Array], units: tuple[Array, Array]) -> Bilinear:
    return Bilinear(scaled[0] * units[0], scaled[1] * units[1])
