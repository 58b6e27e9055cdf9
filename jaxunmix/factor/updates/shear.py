"""An update that also moves along directions in which the model does not change."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int

from ..._util.validation import check_whole_number
from ...matrix.base import TINY
from ..model import Bilinear
from ..problem import Problem
from .base import AbstractUpdate
from .multiplicative import Multiplicative

# Shares of the longest shear that are tried. At 1 an entry would be zero, which multiplication never leaves.
SHARES = np.array([0.0, 0.25, 0.5, 0.75, 0.9, 0.99])


class ShearedState(NamedTuple):
    """The inner update's state and the number of steps taken."""

    inner: None
    steps: Int[Array, ""]


class Sheared(AbstractUpdate):
    r"""Multiplicative updates, and every few steps shears between components, along which the likelihood is flat.

    For any s, with spectra S (or coefficients A) and maps W,

    $W_j S_j + W_k S_k = (W_j + s W_k) S_j + W_k (S_k - s S_j)$:

    the model is the same, but the penalties and the zeros are not. Where no pixel shows a phase pure, such
    directions are nearly all that is left undecided, and multiplicative steps crawl along them. Here each pair (j, k)
    takes the s >= 0 with the least penalty, up to where the first entry of $S_k - s S_j$ would be zero. So the
    objective never rises; with `penalties.LogSparsity("maps", ...)` the components come out as different as the data
    and the signs allow.

    Args:
        every: steps between the shears.
    """

    every: int = eqx.field(default=10, static=True)
    keeps = Multiplicative.keeps

    def __check_init__(self):
        if check_whole_number(self.every, "Sheared: every") < 1:
            raise ValueError(f"Sheared: every must be 1 or more, got {self.every}.")

    def check(self, problem: Problem) -> None:
        Multiplicative().check(problem)
        if problem.basis is not None and problem.basis.ndim == 3:
            raise ValueError("Sheared mixes the components' coefficients, which need one basis; use Multiplicative().")
        constraints = problem.constraints
        if constraints.of("sum", "maps") or constraints.of("fixed", "maps"):
            raise ValueError("Sheared moves the maps' sums; use Multiplicative() beside Simplex or Fixed maps.")
        for fixed in constraints.of("fixed"):
            if fixed.values is None or np.nan_to_num(np.asarray(fixed.values)).any():
                raise ValueError("Sheared keeps known entries at zero only; use Multiplicative() beside others.")

    def init(self, problem: Problem, factors: Bilinear) -> ShearedState:
        return ShearedState(None, jnp.zeros((), int))

    def step(self, problem: Problem, factors: Bilinear, state: ShearedState) -> tuple[Bilinear, ShearedState]:
        factors, inner = Multiplicative().step(problem, factors, state.inner)
        steps = state.steps + 1
        if problem.penalties and factors.rank > 1:
            due = steps % self.every == 0
            factors = lax.cond(due, lambda f: _sheared(problem, problem.normalise(f)), lambda f: f, factors)
        return factors, ShearedState(inner, steps)


def _sheared(problem: Problem, factors: Bilinear) -> Bilinear:
    """Each ordered pair of components at the shear of least penalty, one pair after the other."""
    pairs = np.array([(j, k) for k in range(factors.rank) for j in range(factors.rank) if j != k])

    def one(i: Array, factors: Bilinear) -> Bilinear:
        j, k = jnp.asarray(pairs)[i]
        profiles = factors.profiles
        ratio = jnp.where(profiles[j] > 0, profiles[k] / jnp.maximum(profiles[j], TINY), jnp.inf)
        longest = jnp.min(ratio)
        longest = jnp.where(jnp.isfinite(longest), longest, 0)

        def moved(share: Array) -> Bilinear:
            s = share * longest
            row = jnp.maximum(profiles[k] - s * profiles[j], 0)
            return Bilinear(factors.maps_t.at[j].add(s * factors.maps_t[k]), profiles.at[k].set(row))

        shares = jnp.asarray(SHARES, profiles.dtype)
        return moved(shares[jnp.argmin(jax.vmap(lambda share: problem.penalty(moved(share)))(shares))])

    return problem.normalise(lax.fori_loop(0, len(pairs), one, factors))
