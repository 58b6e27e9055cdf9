"""One mode of a tensor: what is asked of its factors, and what that means for a step.

Along mode n the tensor is a matrix, X_(n) ~ A_n S_n, of which A_n are the maps; or, turned over, the spectra. A penalty
or a constraint of a mode is that of this matrix problem, so that it means the same and has the same scale.
"""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...matrix.base import TINY
from ..constraints.base import AbstractConstraint, Constraints
from ..constraints.non_negative import NonNegative
from ..model import Bilinear, Rows, rows_of
from ..penalties.base import AbstractPenalty, Bound, Reference
from ..penalties.function import FunctionPenalty, as_penalties
from ..separable import BY_NEAREST, BY_ROWS
from .multilinear import Gram

Sizes = Float[Array, " components"]

# What a step keeps, see `AbstractConstraint.kind`: row by row, or by moving all entries onto the nearest point.
KEPT = BY_ROWS | BY_NEAREST | {"disjoint", "norm"}
# What gives the factors of a mode a scale of their own.
PINS = ("bounds", "fixed", "sum", "closure")


class Mode(eqx.Module):
    """The penalties and constraints of one mode.

    Attributes:
        name: as messages and results call it.
        penalties: terms of the objective, on "maps" or "spectra", which both mean the factors of this mode.
        constraints: on "maps" or on "spectra": as which they see the mode.
        block: the one of the two.
        reference: the scales of the unfolded data, the same for both blocks.
        rank: the number of its components.
    """

    name: str = eqx.field(static=True)
    penalties: tuple[AbstractPenalty, ...]
    constraints: Constraints
    block: str = eqx.field(static=True)
    reference: Reference
    rank: int = eqx.field(static=True)

    @property
    def is_fixed(self) -> bool:
        """Whether nothing of it may move."""
        return self.constraints.is_fully_fixed(self.block)

    @property
    def is_pinned(self) -> bool:
        """Whether its factors have a scale of their own, so that no other mode may take it."""
        return any(self.constraints.of(kind) for kind in PINS)

    @property
    def is_nonnegative(self) -> bool:
        """Whether no entry may be below zero."""
        return self.constraints.is_nonnegative(self.block)

    @property
    def is_labelled(self) -> bool:
        """Whether its constraints name single components, whose order then stays."""
        return bool(self.constraints.of("fixed") or self.constraints.of("presence"))

    def value(self, rows: Rows, sizes: Sizes) -> Float[Array, ""]:
        """The penalties' sum.

        Args:
            rows: the factors, (components, size).
            sizes: |S_n| of each component: all that penalties see of the other modes.
        """
        values = [p.value(_stand_in(p.block, rows, sizes), self.reference) for p in self.penalties]
        return sum(values, start=jnp.zeros((), rows.dtype))

    def slopes(self, rows: Rows, sizes: Sizes) -> Sizes:
        """As other modes move: penalties <= what they are + sum_k slope_k (size_k^2 - size_k0^2) / 2.

        The bounds of `penalties` in the other block are of this form under least squares, see `Reference.quadratic`.
        """
        other = {"maps": "spectra", "spectra": "maps"}
        bounds = [p.bound(_stand_in(p.block, rows, sizes), self.reference, other[p.block]) for p in self.penalties]
        return sum((b.curvature[:, 0] for b in bounds), start=jnp.zeros_like(sizes))

    def coupling(self, rows: Rows, sizes: Sizes) -> Gram | None:
        """The penalties' quadratic form between the components; None where none is one."""
        forms = [form for p in self.penalties if (form := self._form(p, rows, sizes)) is not None]
        return sum(forms[1:], start=forms[0]) if forms else None

    def bound(self, rows: Rows, sizes: Sizes) -> Bound | None:
        """The separable bound of all other penalties about these rows; None where there are none."""
        terms = [p for p in self.penalties if self._form(p, rows, sizes) is None]
        if not terms:
            return None
        bounds, nothing = [], jnp.zeros_like(rows)
        for term in terms:
            bounds.append(term.bound(_stand_in(term.block, rows, sizes), self.reference, term.block))
        return Bound(
            sum((b.gradient for b in bounds), start=nothing), sum((b.curvature for b in bounds), start=nothing)
        )

    def impose(self, rows: Rows) -> Rows:
        """Rows of a start as the constraints ask for them."""
        rows = rows_of(self.constraints.impose(Bilinear(rows, rows)), self.block)
        return self.constraints.clip(self.block, rows)

    def norm(self, rows: Rows) -> Sizes:
        """The size that `UnitNorm` measures of each component, by default the root of the sum of squares."""
        kind = self.constraints.one("norm")
        if kind is None or kind.norm == "l2":
            return jnp.sqrt(jnp.sum(rows**2, axis=1))
        return jnp.sum(jnp.abs(rows), axis=1) if kind.norm == "l1" else jnp.max(jnp.abs(rows), axis=1)

    def _form(self, penalty: AbstractPenalty, rows: Rows, sizes: Sizes) -> Gram | None:
        return penalty.coupling(_stand_in(penalty.block, rows, sizes), self.reference)


def _stand_in(block: str, rows: Rows, sizes: Sizes) -> Bilinear:
    """Factors of the unfolded problem, with one column of the right size in place of the many of S_n."""
    return Bilinear(rows, sizes[:, None]) if block == "maps" else Bilinear(sizes[:, None], rows)


def mode_of(
    name: str,
    size: int,
    others: int,
    rank: int,
    penalties: Any,
    constraints: Any,
    reference: Reference,
) -> Mode:
    """A mode, or what is refused about it.

    Args:
        name: as messages call it.
        size: of the mode.
        others: the number of entries of one of its slices.
        rank: the number of its components.
        penalties: of `penalties`, on "maps" or "spectra", which both mean this mode.
        constraints: the same of `constraints`; None for non-negative factors.
        reference: the scales of the unfolded data.

    Raises:
        ValueError: penalties or constraints that fit neither the mode nor one another, or that no step can honour.
    """
    terms = as_penalties(penalties)
    asked = (NonNegative("maps"),) if constraints is None else constraints
    items = Constraints(asked, "spectra", size).items
    block = _block_of(name, items)
    items = tuple(NonNegative(block) if item.kind == "sign" else item for item in items)
    known = Constraints(items, "spectra", size)
    known.check_pixels(size)
    known.check_rank(rank)
    _check_constraints(name, known)
    for term in terms:
        _check_penalty(name, term, known.is_nonnegative(block))
        term.check(*((size, others) if term.block == "maps" else (others, size)))
    return Mode(name, terms, known, block, reference, rank)


def _block_of(name: str, items: Sequence[AbstractConstraint]) -> str:
    """Which block the constraints of a mode name; signs alone say nothing."""
    words = sorted({item.block for item in items if item.kind != "sign"})
    outside = [word for word in words if word not in ("maps", "spectra")]
    if outside:
        raise ValueError(f'{name}: the factors of a mode are "maps" or "spectra", not {outside[0]!r}.')
    if len(words) > 1:
        raise ValueError(
            f'{name}: its constraints name both "maps" and "spectra"; they must see the mode as one of the two. As '
            '"maps" its entries are pixels, as "spectra" they are channels.'
        )
    return words[0] if words else "maps"


def _check_constraints(name: str, constraints: Constraints) -> None:
    for item in constraints.of("disjoint"):
        if item.is_soft:
            raise ValueError(f"{name}: fit_tensor has no multiplier for Orthogonal(strict=False); use strict=True.")
    for item in constraints:
        kind = type(item).__name__
        if item.kind not in KEPT:
            raise ValueError(
                f"{name}: fit_tensor does not keep {kind}({item.block!r}); it keeps signs, limits, fixed entries, "
                "sums, shapes, presence, unit norms and orthogonal factors."
            )


def _check_penalty(name: str, term: AbstractPenalty, nonnegative: bool) -> None:
    kind = type(term).__name__
    if isinstance(term, FunctionPenalty):
        raise ValueError(
            f"{name}: the function {term.label!r} has no separable bound, which fit_tensor needs; take one of "
            "jaxunmix.penalties."
        )
    if term.block not in ("maps", "spectra") or term.is_relevance:
        raise ValueError(f"{name}: {kind} is for the maps and spectra of jaxunmix.fit; fit_tensor does not take it.")
    if term.is_auto:
        raise ValueError(f'{name}: the weight of {kind} is "auto", which tune chooses for matrices; give a number.')
    if not term.has_bound:
        raise ValueError(
            f"{name}: {term.label} has no separable bound, which fit_tensor needs; use another form of it."
        )
    if term.asks_nonnegative and not nonnegative:
        raise ValueError(f'{name}: {kind} needs NonNegative("maps") among the constraints of this mode.')


def reference_of(total: Float[Array, ""], squares: Float[Array, ""], size: int, entries: float | int) -> Reference:
    """The scales of the data as `Problem` has them of the unfolded data, the mode being either block.

    Args:
        total: the scale of the objective.
        squares: the sum of the squares of the entries that are there.
        size: of the mode.
        entries: their number in the tensor.
    """
    weight, unit = total / size, jnp.sqrt(size / jnp.maximum(squares, TINY))
    mean = jnp.sqrt(squares / entries)
    return Reference(weight, unit, weight, unit, mean, jnp.asarray(float(entries), mean.dtype), 2)
