"""What every constraint shares."""

from typing import Any, Literal

import equinox as eqx

Block = Literal["maps", "spectra", "coefficients"]
BLOCKS = ("maps", "spectra", "coefficients")


class AbstractConstraint(eqx.Module):
    """A constraint on one block of the factors."""

    block: eqx.AbstractVar[str]

    def __check_init__(self):
        if self.block not in BLOCKS:
            raise ValueError(f"{type(self).__name__}: the block must be one of {BLOCKS}, got {self.block!r}.")


def _as_columns(columns: Any) -> tuple[int, ...] | None:
    return None if columns is None else tuple(int(c) for c in columns)
