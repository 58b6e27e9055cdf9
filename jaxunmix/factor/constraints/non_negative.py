"""Entries that are not negative."""

import equinox as eqx
import jax.numpy as jnp

from ..model import Rows
from .base import AbstractConstraint


class NonNegative(AbstractConstraint):
    """No entry of the block is below zero."""

    block: str = eqx.field(static=True)
    kind = "sign"
    keepers = "HALS(), Multiplicative() or FISTA()"

    def bounds(self) -> tuple[float | None, float | None]:
        return 0.0, None

    def project(self, rows: Rows, before: Rows) -> Rows:
        return jnp.maximum(rows, 0)
