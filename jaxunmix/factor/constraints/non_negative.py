"""Entries that are not negative."""

import equinox as eqx

from .base import AbstractConstraint


class NonNegative(AbstractConstraint):
    """No entry of the block is below zero."""

    block: str = eqx.field(static=True)
