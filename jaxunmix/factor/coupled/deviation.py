"""By how much a block may differ from what it shares with the others."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float

from ..._util.validation import check_instances
from ..constraints.base import AbstractConstraint
from ..model import Bilinear, Rows, with_rows
from ..penalties.base import AbstractPenalty, Bound, Reference, Weight, as_weight
from ..penalties.function import FunctionPenalty, Penalty, as_penalties

SIDES = ("maps", "spectra")


class Deviation(eqx.Module):
    """The maps or the spectra of one block are those that are shared plus a deviation N of its own.

    The objective gets the penalty of `penalties.Ridge(block, weight)` with N in place of the block's rows, so that the
    weight is free of scale, and any further penalties on N (Muto and Shiga, Microscopy 69 (2020) 110, equations 14 for
    the maps and 15 for the spectra). With a deviation of the spectra that falls along the channels, N is the
    background.

    Args:
        block: "maps" or "spectra": what deviates; it must be shared.
        weight: of sum N^2; the larger, the more alike. 0 leaves N to the further penalties and constraints.
        constraints: on N, of this block, such as (NonNegative("spectra"), Monotone("spectra", decreasing=True)); by
            default N may have either sign. Shared rows and N >= 0 are all that blocks of counts serve.
        penalties: on N, of this block, such as (Smoothness("spectra", 1.0),).

    Raises:
        ValueError: another block, a negative weight, or constraints and penalties of another block.
    """

    block: str = eqx.field(static=True)
    weight: Weight = eqx.field(converter=as_weight)
    constraints: tuple[AbstractConstraint, ...] = ()
    penalties: tuple[AbstractPenalty, ...] = ()

    def __init__(
        self,
        block: str,
        weight: Any,
        constraints: Sequence[AbstractConstraint] = (),
        penalties: Sequence[Penalty] = (),
    ):
        if block not in SIDES:
            raise ValueError(f'Deviation: the block must be "maps" or "spectra", got {block!r}.')
        self.block, self.weight = block, as_weight(weight)
        if isinstance(self.weight, str):
            raise ValueError('Deviation: "auto" is for the penalties of one problem; give a number as weight.')
        self.constraints = check_instances(
            constraints, AbstractConstraint, "Deviation: constraints", f'constraints.NonNegative("{block}")'
        )
        self.penalties = as_penalties(penalties)
        for term in self.penalties:
            if isinstance(term, FunctionPenalty):
                raise ValueError(f"Deviation: the function {term.label!r} has no bound; take one of penalties.")
        parts: list[Any] = [*self.constraints, *self.penalties]
        for part in parts:
            if part.block != block:
                raise ValueError(f'Deviation("{block}"): {type(part).__name__}("{part.block}") is on another block.')


class DeviationPenalty(AbstractPenalty):
    """A penalty on a deviation, as the block sees it whose other side moves.

    Attributes:
        block: the side that the deviation is on.
        weight: of the penalty, for messages.
        inner: the penalty.
        rows: of the deviation.
    """

    block: str = eqx.field(static=True)
    weight: Weight
    inner: AbstractPenalty
    rows: Rows

    def _within(self, factors: Bilinear) -> Bilinear:
        return with_rows(factors, self.block, self.rows)

    def value(self, factors: Bilinear, reference: Reference) -> Float[Array, ""]:
        return self.inner.value(self._within(factors), reference)

    def bound(self, factors: Bilinear, reference: Reference, block: str) -> Bound:
        return self.inner.bound(self._within(factors), reference, block)
