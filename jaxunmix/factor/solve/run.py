"""Restarts in flight."""

from typing import Any, NamedTuple

from jaxtyping import Array, Float, Int

from ..model import Bilinear


class Run(NamedTuple):
    """A batch of restarts in flight; every leaf has a leading axis of restarts."""

    factors: Bilinear
    state: Any
    best: Bilinear
    objective: Float[Array, " restarts"]
    last: Float[Array, " restarts"]
    steps: Int[Array, " restarts"]
    code: Int[Array, " restarts"]
