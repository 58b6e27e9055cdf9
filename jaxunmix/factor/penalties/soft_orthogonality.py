"""Little overlap between components."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...matrix.base import matmul
from ..model import Bilinear
from .base import AbstractPenalty, Bound, Reference, Weight, as_weight


class SoftOrthogonality(AbstractPenalty):
    """Overlap of the components: weight * S/n * sum over pairs j < k of <u_j, u_k>.

    Under Frobenius S/n = m^2, so that with the contributions c_k = maps_k |spectra_k| and the angles t_jk between
    the spectra the objective is, pixel by pixel,

        |x|^2 / 2 - sum_k c_k x.s_k/|s_k| + sum_k c_k^2 / 2 + sum_{j<k} c_j c_k (cos t_jk + weight).

    So a weight w acts like spectra that resemble one another more than they do: at 0 nothing is asked, and once
    cos t_jk + w reaches 1 the two components share no pixel. At w = 1 the maps of all pairs whose spectra
    are not opposed (cos t >= 0) come out orthogonal; beyond it, all the more. HALS minimises it exactly, row by row.

    The soft orthogonality of Shiga et al., Ultramicroscopy 170 (2016) 43, with 0 <= w <= 1, has the same purpose but
    is a step rather than a term of an objective: see `constraints.Orthogonal` for that step.
    """

    block: str = eqx.field(static=True)
    weight: Weight = eqx.field(converter=as_weight)
    asks_nonnegative = True
    trials = tuple(0.05 * 2.0**i for i in range(5))

    def value(self, factors: Bilinear, reference: Reference) -> Float[Array, ""]:
        rows = self._rows(factors)
        return jnp.sum(self.coupling(factors, reference) * matmul(rows, rows.T)) / 2

    def bound(self, factors: Bilinear, reference: Reference, block: str) -> Bound:
        rows = self._rows(factors)
        coupling = self.coupling(factors, reference)
        if block == self.block:
            # sum_jk Q_jk (d_j - d_k)^2 >= 0: Q is below the diagonal matrix of its row sums.
            return Bound(matmul(coupling, rows), coupling.sum(axis=1, keepdims=True))
        # The sizes enter as n_j n_k <= (n_j^2 n_k0 / n_j0 + n_k^2 n_j0 / n_k0) / 2.
        other = self._other(factors)
        squares = reference.size(other) ** 2
        overlap = jnp.sum(coupling * matmul(rows, rows.T), axis=1)
        return reference.quadratic(jnp.where(squares > 0, overlap / jnp.where(squares > 0, squares, 1), 0), other)

    def coupling(self, factors: Bilinear, reference: Reference) -> Float[Array, "components components"]:
        size = reference.size(self._other(factors))
        return self._factor(reference, 2) * (jnp.outer(size, size) - jnp.diag(size**2))
