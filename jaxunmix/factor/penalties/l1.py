"""Few entries: the sum of magnitudes."""

import equinox as eqx
import jax.numpy as jnp

from ..model import Rows
from .base import SPARSE_TRIALS, AbstractRowPenalty, Bound, Scale, Weight, as_weight


class L1(AbstractRowPenalty):
    """f(u) = sum |u|: few pixels (or channels) per component, or few components per pixel.

    Lee and Seung's updates with this term are Hoyer's sparse coding (IEEE NNSP 2002), here free of scale.
    """

    block: str = eqx.field(static=True)
    weight: Weight = eqx.field(converter=as_weight)
    degree = 1
    asks_nonnegative = True
    has_threshold = True
    is_pooled = True
    trials = SPARSE_TRIALS

    def raw(self, rows: Rows) -> Scale:
        return jnp.sum(jnp.abs(rows), axis=1)

    def raw_bound(self, rows: Rows) -> Bound:
        """Linear, and exact where the rows are not negative."""
        return Bound(jnp.ones((rows.shape[0], 1), rows.dtype), jnp.zeros((rows.shape[0], 1), rows.dtype))
