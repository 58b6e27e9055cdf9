"""Any function of the factors as a penalty."""

import inspect
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._util.validation import check_several
from ..model import Bilinear
from .base import AbstractPenalty, Bound, Reference, Weight

Penalty = AbstractPenalty | Callable[[Bilinear], Float[Array, ""]]


class FunctionPenalty(AbstractPenalty):
    """A plain function of the factors, f(factors) -> scalar, added to the objective as it is.

    `Problem` makes one of each function among its penalties. Autodiff differentiates it; it has no separable bound,
    so that only updates by gradient take it. Arrays that a callable pytree holds are traced with the problem.

    Args:
        function: of a `Bilinear`, such as `lambda f: jnp.sum(f.maps**2)`.
    """

    block: str = eqx.field(static=True)
    weight: Weight
    arrays: Any
    code: Any = eqx.field(static=True)
    blocks = ("factors",)
    has_bound = False
    is_scale_free = False

    def __init__(self, function: Callable[[Bilinear], Float[Array, ""]]):
        self.block, self.weight = "factors", jnp.ones(())
        self.arrays, self.code = eqx.partition(function, eqx.is_array)

    @property
    def function(self) -> Callable[[Bilinear], Float[Array, ""]]:
        """The function as it was given."""
        return eqx.combine(self.arrays, self.code)

    @property
    def label(self) -> str:
        function = self.function
        return function.__name__ if inspect.isfunction(function) else type(function).__name__

    def value(self, factors: Bilinear, reference: Reference) -> Float[Array, ""]:
        return self.function(factors)

    def bound(self, factors: Bilinear, reference: Reference, block: str) -> Bound:
        raise NotImplementedError(f"the function {self.label!r} has no separable bound; use FISTA().")


def as_penalties(penalties: Any) -> tuple[AbstractPenalty, ...]:
    """Penalties as they are, and functions as penalties.

    Raises:
        ValueError: one by itself, or what is neither.
    """
    several = check_several(penalties, "penalties", '(penalties.L1("maps", 0.1),)')
    return tuple(as_penalty(penalty) for penalty in several)


def as_penalty(penalty: Any) -> AbstractPenalty:
    """A penalty as it is, or a function as one.

    Raises:
        ValueError: neither of them.
    """
    if hasattr(penalty, "has_bound") and not inspect.isclass(penalty):
        return penalty
    if not callable(penalty) or inspect.isclass(penalty):
        raise ValueError(f"penalties must come from jaxunmix.penalties or be functions, got {penalty!r}.")
    return FunctionPenalty(penalty)
