"""Rows without wiggles: second differences."""

import equinox as eqx
import jax.numpy as jnp

from ..model import Rows
from .base import AbstractRowPenalty, Bound, Scale, Weight, as_weight


class Smoothness(AbstractRowPenalty):
    """f(u) = sum (u_{c-1} - 2 u_c + u_{c+1})^2 / 2: straight lines are free, curvature costs.

    Whittaker's graduation (Proc. Edinburgh Math. Soc. 41 (1922) 63; Eilers, Anal. Chem. 75 (2003) 3631) as a penalty.
    The second differences D have |D'D| <= 16, so a separable quadratic of curvature 16 bounds it.

    Args:
        block: "spectra"; "maps" where the pixels are a line.
        weight: free of scale.
    """

    block: str = eqx.field(static=True)
    weight: Weight = eqx.field(converter=as_weight)
    degree = 2
    is_smoothing = True
    # From strong to weak.
    trials = tuple(1000 * 10 ** (-i / 2) for i in range(9))

    def raw(self, rows: Rows) -> Scale:
        return jnp.sum(jnp.diff(rows, 2, axis=1) ** 2, axis=1) / 2

    def raw_bound(self, rows: Rows) -> Bound:
        bend = jnp.diff(rows, 2, axis=1)
        pad = [((0, 0), (i, 2 - i)) for i in range(3)]
        gradient = jnp.pad(bend, pad[0]) - 2 * jnp.pad(bend, pad[1]) + jnp.pad(bend, pad[2])
        return Bound(gradient, jnp.full((rows.shape[0], 1), 16.0, rows.dtype))
