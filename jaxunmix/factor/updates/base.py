"""What every update shares: its two methods, the blocks by name, and what it may refuse."""

import abc
from typing import Any, ClassVar

import equinox as eqx
from jaxtyping import Array, Float

from ..losses import Frobenius
from ..model import Bilinear
from ..penalties.base import AbstractPenalty
from ..penalties.l1 import L1
from ..penalties.log_sparsity import LogSparsity
from ..penalties.soft_orthogonality import SoftOrthogonality
from ..problem import Problem

Rows = Float[Array, "components length"]


class AbstractUpdate(eqx.Module):
    """`init` makes the state, `step` moves factors and state once."""

    # The name on the command line; None where it is not offered there.
    command: ClassVar[str | None] = None

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


def rows_of(factors: Bilinear, block: str) -> Rows:
    """The rows of "maps", or of the second block whatever it is called."""
    return factors.maps_t if block == "maps" else factors.profiles


def with_rows(factors: Bilinear, block: str, rows: Rows) -> Bilinear:
    """The factors with the rows of one block replaced."""
    return Bilinear(rows, factors.profiles) if block == "maps" else Bilinear(factors.maps_t, rows)


def check_least_squares(update: AbstractUpdate, problem: Problem) -> None:
    """Refuse all but the plain Frobenius loss."""
    name = type(update).__name__
    if not isinstance(problem.loss, Frobenius):
        raise ValueError(f"{name} solves Frobenius; for {type(problem.loss).__name__} use updates.Multiplicative().")
    if problem.weights is not None:
        raise ValueError(f"{name} takes no weights; use updates.Multiplicative() or updates.ProjectedGradient().")


def check_bounded(update: AbstractUpdate, problem: Problem) -> None:
    """Refuse penalties without a separable bound."""
    for penalty in problem.penalties:
        if not isinstance(penalty, AbstractPenalty):
            raise ValueError(
                f"{type(update).__name__} cannot differentiate the penalty {getattr(penalty, '__name__', penalty)!r}; "
                "use updates.ProjectedGradient()."
            )
        if penalty.block == "spectra" and problem.basis is not None:
            raise ValueError(
                f"{type(update).__name__} takes no penalty on the spectra where they are coefficients @ basis; "
                "use updates.ProjectedGradient()."
            )


def check_signs(update: AbstractUpdate, problem: Problem) -> None:
    """Refuse penalties on a signed block whose bounds are those of non-negative rows."""
    for penalty in problem.penalties:
        if isinstance(penalty, L1 | LogSparsity | SoftOrthogonality) and not problem.is_nonnegative(penalty.block):
            name, block = type(update).__name__, penalty.block
            raise ValueError(f'{type(penalty).__name__}("{block}") under {name} needs NonNegative("{block}").')


def refuse_sums(update: AbstractUpdate, problem: Problem, beside: str = "") -> None:
    """Refuse sums, ratios and a basis for each component, which only some updates keep."""
    name = type(update).__name__
    for block in ("maps", problem.second):
        if problem.simplex(block) is not None or problem.ties(block):
            kept = "Simplex" if problem.simplex(block) is not None else "Proportional"
            raise ValueError(f'{name} does not keep {kept}("{block}"); use Multiplicative(){beside}.')
    if problem.basis is not None and problem.basis.ndim == 3:
        raise ValueError(f"{name} takes one basis for all components; use Multiplicative(){beside}.")


def refuse_orthogonal(update: AbstractUpdate, problem: Problem) -> None:
    """Refuse the constraint that only HALS keeps."""
    if problem.orthogonal is not None:
        raise ValueError(f'{type(update).__name__} does not keep Orthogonal("maps"); use HALS().')
