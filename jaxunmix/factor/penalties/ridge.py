"""Small entries: the sum of squares."""

import equinox as eqx
import jax.numpy as jnp

from ..model import Rows
from .base import AbstractRowPenalty, Bound, Scale, Weight, as_weight


class Ridge(AbstractRowPenalty):
    """f(u) = sum u^2 / 2: no entry much larger than it must be (Hoerl and Kennard, Technometrics 12 (1970) 55).

    Args:
        block: "maps" or "spectra".
        weight: free of scale.
    """

    block: str = eqx.field(static=True)
    weight: Weight = eqx.field(converter=as_weight)
    degree = 2
    # From strong to weak.
    trials = tuple(10 ** (-i / 2) for i in range(9))

    def raw(self, rows: Rows) -> Scale:
        return jnp.sum(rows**2, axis=1) / 2

    def raw_bound(self, rows: Rows) -> Bound:
        """The term itself, which is separable."""
        return Bound(rows, jnp.ones((rows.shape[0], 1), rows.dtype))
