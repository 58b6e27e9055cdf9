"""Few entries: the sum of logarithms."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._util.validation import real_number
from ..model import Bilinear
from .base import SPARSE_TRIALS, AbstractPenalty, Bound, Reference, Weight, as_weight


class LogSparsity(AbstractPenalty):
    """weight * S/n * sum log(1 + u / epsilon): most entries nothing at all, the few others hardly touched.

    Teurtrie et al., Ultramicroscopy 249 (2023) 113719, equations 17 and 18, with u in data units. The logarithm lies
    below its tangent, so the bound is linear: a weighted L1 whose weights follow the entries,

        log(1 + u / e) <= log(1 + u0 / e) + (u - u0) / (e + u0).

    It grows ever slower, so a large entry pays little more than a middling one: what L1 takes from the entries that
    should stay, this leaves. Not convex: the start matters, and restarts differ.

    Args:
        block: "maps" or "spectra", non-negative.
        weight: free of scale.
        epsilon: the share of a pixel's mean signal below which an entry counts as nearly nothing.
    """

    block: str = eqx.field(static=True)
    weight: Weight = eqx.field(converter=as_weight)
    epsilon: float | int = eqx.field(default=0.05, static=True)
    asks_nonnegative = True
    is_pooled = True
    trials = SPARSE_TRIALS

    def __check_init__(self):
        if not real_number(self.epsilon, "LogSparsity: epsilon") > 0:
            raise ValueError(f"LogSparsity: epsilon must be above 0, got {self.epsilon}.")

    def value(self, factors: Bilinear, reference: Reference) -> Float[Array, ""]:
        weight, unit = self._scales(reference)
        share = self._rows(factors) * (unit * reference.size(self._other(factors)))[:, None]
        return weight * jnp.sum(jnp.log1p(share / self.epsilon))

    def bound(self, factors: Bilinear, reference: Reference, block: str) -> Bound:
        weight, unit = self._scales(reference)
        rows, other = self._rows(factors), self._other(factors)
        size = unit * reference.size(other)[:, None]
        slope = weight / (self.epsilon + rows * size)
        if block == self.block:
            return Bound(slope * size, jnp.zeros((1, 1), rows.dtype))
        return reference.linear(jnp.sum(slope * unit * rows, axis=1), other)
