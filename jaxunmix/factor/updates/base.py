"""What every update shares: its two methods, what it keeps, and what it may refuse."""

import abc
from typing import Any, ClassVar

import equinox as eqx

from ..model import Bilinear
from ..problem import Problem


class AbstractUpdate(eqx.Module):
    """`init` makes the state, `step` moves factors and state once."""

    # The name on the command line; None where it is not offered there.
    command: ClassVar[str | None] = None
    # The kinds of constraints that a step keeps, see `constraints.AbstractConstraint`.
    keeps: ClassVar[frozenset[str]] = frozenset({"sign", "fixed", "norm"})

    @abc.abstractmethod
    def check(self, problem: Problem) -> None:
        """Refuse a problem that the update cannot solve as stated.

        Raises:
            ValueError: naming what it cannot take and the update that can.
        """

    def init(self, problem: Problem, factors: Bilinear) -> Any:
        """What the update remembers between steps; nothing by default."""
        return None

    @abc.abstractmethod
    def step(self, problem: Problem, factors: Bilinear, state: Any) -> tuple[Bilinear, Any]:
        """One pass over both blocks."""


def check_constraints(update: AbstractUpdate, problem: Problem) -> None:
    """Refuse constraints of a kind that the update does not keep."""
    for constraint in problem.constraints:
        if constraint.kind not in update.keeps:
            raise ValueError(
                f'{type(update).__name__} does not keep {type(constraint).__name__}("{constraint.block}"); use '
                f"{constraint.keepers}."
            )


def check_single_basis(update: AbstractUpdate, problem: Problem) -> None:
    """Refuse a basis for each component."""
    if problem.basis is not None and problem.basis.ndim == 3:
        raise ValueError(
            f"{type(update).__name__} takes one basis for all components; use Multiplicative() or FISTA()."
        )


def check_plain(update: AbstractUpdate, problem: Problem) -> None:
    """Refuse a link, a loss of whole spectra, and a resolution function."""
    name = type(update).__name__
    if not problem.loss.is_split:
        raise ValueError(f"{name} does not serve the loss {problem.loss.label}; use FISTA().")
    if problem.resolution is not None:
        raise ValueError(f"{name} does not see through a Resolution; use FISTA().")


def check_least_squares(update: AbstractUpdate, problem: Problem) -> None:
    """Refuse all but the plain Frobenius loss."""
    check_plain(update, problem)
    name = type(update).__name__
    if not problem.loss.is_least_squares:
        raise ValueError(f"{name} solves Frobenius; for {type(problem.loss).__name__} use updates.Multiplicative().")
    if problem.weights is not None:
        raise ValueError(f"{name} takes no weights; use updates.Multiplicative() or updates.FISTA().")


def check_bounded(update: AbstractUpdate, problem: Problem) -> None:
    """Refuse penalties without a separable bound."""
    name = type(update).__name__
    for penalty in problem.penalties:
        if not penalty.has_bound:
            raise ValueError(f"{name} cannot differentiate the penalty {penalty.label!r}; use FISTA().")
        if penalty.block != "maps" and problem.basis is not None:
            raise ValueError(
                f"{name} takes no penalty on the spectra where they are coefficients @ basis; use FISTA()."
            )


def check_signs(update: AbstractUpdate, problem: Problem) -> None:
    """Refuse penalties on a signed block whose bounds are those of non-negative rows."""
    for penalty in problem.penalties:
        if penalty.asks_nonnegative and (signed := problem.signed_block(penalty)):
            name, kind = type(update).__name__, type(penalty).__name__
            raise ValueError(f'{kind}("{penalty.block}") under {name} needs NonNegative("{signed}").')
