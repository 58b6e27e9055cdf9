"""Spectra alike in shape, whatever their size."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ...matrix.base import TINY, AbstractMatrix
from .base import AbstractLoss, Entries


class Angle(AbstractLoss):
    r"""One minus the cosine of the angle between the spectrum of a pixel and its model: of each row, not of each entry.

    $$ d(x, m) = 1 - \frac{\sum_c v_c x_c m_c}{\sqrt{\sum_c v_c x_c^2 \sum_c v_c m_c^2}}, $$

    half the squared distance of the two at norm one (the spectral angle of Kruse et al., Remote Sens. Environ. 44
    (1993) 145). The size of a pixel does not enter: let the maps sum to one (`constraints.Simplex("maps")`), or give
    them another size. Pixels that are zero count nothing.
    """

    command = None
    by_entries = False

    @property
    def beta(self) -> float:
        """2 stands for data of either sign."""
        return 2.0

    def total(self, matrix: AbstractMatrix) -> Float[Array, ""]:
        """The number of pixels: each counts from 0 to 2."""
        return jnp.asarray(matrix.shape[0], matrix.dtype)

    def divergence(self, x: Entries, model: Entries) -> Entries:
        return self._angle(x, model, jnp.ones((), x.dtype))

    def measure(self, x: Entries, linear: Entries, weights: Entries | None = None) -> Entries:
        return self._angle(x, self.link(linear), jnp.ones((), x.dtype) if weights is None else weights)

    def _angle(self, x: Entries, model: Entries, weights: Entries) -> Entries:
        across = jnp.sum(weights * x * model, axis=-1, keepdims=True)
        squares = jnp.sum(weights * x**2, axis=-1, keepdims=True)
        own = jnp.sum(weights * model**2, axis=-1, keepdims=True)
        some = squares > 0
        size = jnp.sqrt(jnp.where(some, squares, 1) * jnp.maximum(own, TINY))
        return jnp.where(some, 1 - across / size, 0)

    def split(self, x: Entries, model: Entries) -> tuple[Entries, Entries | None]:
        raise NotImplementedError("the angle compares whole spectra; use FISTA().")
