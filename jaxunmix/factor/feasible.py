"""Known values, ratios and sums of the factors: whether they agree, and how a start comes to hold them."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..matrix.base import TINY
from .constraints.fixed import Fixed
from .constraints.orthogonal import Orthogonal
from .constraints.simplex import Simplex
from .constraints.unit_norm import UnitNorm
from .model import Bilinear

if TYPE_CHECKING:
    from .problem import Problem


def imposed(problem: "Problem", factors: Bilinear) -> Bilinear:
    """The factors with known values, ratios and sums put in; the model stays the same where a scale can do it."""
    maps, profiles = factors.maps_t, factors.profiles
    fixed = problem.fixed(problem.second)
    if fixed is not None and fixed.values is not None:
        profiles = jnp.where(jnp.isnan(fixed.values), profiles, jnp.nan_to_num(fixed.values).astype(profiles.dtype))
    for tie in problem.ties(problem.second):
        ratio = jnp.asarray(tie.ratio, profiles.dtype)
        level = profiles[:, np.asarray(tie.columns)].sum(axis=1, keepdims=True) / ratio.sum()
        profiles = profiles.at[:, np.asarray(tie.columns)].set(level * ratio)
    if problem.simplex("maps") is not None:
        maps = maps / jnp.maximum(maps.sum(axis=0), TINY)
    simplex = problem.simplex(problem.second)
    if simplex is None:
        return Bilinear(maps, profiles)
    members = simplex.members(profiles.shape[1])
    if fixed is None and problem.fixed("maps") is None and problem.simplex("maps") is None:
        total = jnp.where(members, profiles, 0).sum(axis=1)
        return Bilinear(maps, profiles).scaled(jnp.where(total > 0, total, 1))
    # The maps cannot take the scale, or not all entries have one: those that are free share what is left.
    free = members & (True if fixed is None else jnp.broadcast_to(fixed.free(len(profiles)), profiles.shape))
    left = 1 - jnp.where(members & ~free, profiles, 0).sum(axis=1, keepdims=True)
    total = jnp.where(free, profiles, 0).sum(axis=1, keepdims=True)
    return Bilinear(maps, jnp.where(free & (total > 0), profiles * left / jnp.maximum(total, TINY), profiles))


def check(problem: "Problem") -> None:
    """Refuse known values, ratios and sums that do not fit the blocks or contradict one another.

    Raises:
        ValueError: naming the component and the columns.
    """
    second = problem.second
    fixed, simplex, ties = problem.fixed(second), problem.simplex(second), problem.ties(second)
    known = None if fixed is None else fixed.values
    if known is not None:
        _check_values(problem, known)
    for tie in ties:
        outside = [c for c in tie.columns if not 0 <= c < problem.features]
        if outside:
            raise ValueError(f"Proportional: columns {outside} are not among the {problem.features} of the {second}.")
    tied = [c for tie in ties for c in tie.columns]
    if len(set(tied)) < len(tied):
        raise ValueError("Proportional: a column stands in two ratios; join them into one.")
    if ties and fixed is not None and (known is None or (~np.isnan(known[:, tied])).any()):
        raise ValueError(f"Proportional: columns {tied} are fixed as well; leave them out of one of the two.")
    for one in (simplex, problem.simplex("maps")):
        if one is not None:
            _check_simplex(problem, one)
    if simplex is not None and known is not None:
        _check_known_sums(simplex, known, problem.features)


def _check_values(problem: "Problem", values: Float[np.ndarray, "components columns"]) -> None:
    if values.shape[1] != problem.features:
        raise ValueError(
            f"Fixed({problem.second!r}): values have {values.shape[1]} columns, the block has {problem.features}."
        )
    if problem.is_nonnegative(problem.second) and np.nanmin(np.append(values, 0)) < 0:
        raise ValueError(
            f"Fixed({problem.second!r}): negative values contradict NonNegative; the smallest is "
            f"{np.nanmin(values):.4g}."
        )


def _check_simplex(problem: "Problem", simplex: Simplex) -> None:
    block = simplex.block
    if not problem.is_nonnegative(block):
        raise ValueError(f"Simplex({block!r}) needs NonNegative({block!r}) beside it: shares are not negative.")
    if problem.is_settled(block):
        raise ValueError(f"Simplex({block!r}) cannot move what Fixed({block!r}) keeps; leave one of them out.")
    if any(isinstance(c, UnitNorm | Orthogonal) for c in problem.constraints):
        raise ValueError(f"Simplex({block!r}) gives the components their scale; leave UnitNorm and Orthogonal out.")
    if block == "maps" and any(isinstance(c, Fixed) and c.block == "maps" for c in problem.constraints):
        raise ValueError('Simplex("maps") and Fixed("maps") together are not served; leave one of them out.')
    if block != "maps":
        simplex.members(problem.features)


def _check_known_sums(simplex: Simplex, values: Float[np.ndarray, "components columns"], length: int) -> None:
    inside = values[:, simplex.members(length)]
    sums, open_ones = np.nansum(inside, axis=1), np.isnan(inside).sum(axis=1)
    for k, (total, free) in enumerate(zip(sums, open_ones, strict=True)):
        if total > 1 + 1e-6 or (not free and abs(total - 1) > 1e-6):
            raise ValueError(
                f"Fixed({simplex.block!r}) contradicts Simplex: the known entries of component {k} sum to {total:.6g}"
                + (", above 1." if free else " and none is free, so they must sum to 1.")
            )


def free_entries(
    problem: "Problem", block: str, rows: Float[Array, "components length"]
) -> tuple[Array, Float[Array, "components 1"]]:
    """Which entries of the second block share the sum of its `Simplex`, and what known entries leave of it."""
    simplex = problem.simplex(block)
    assert simplex is not None
    members = jnp.broadcast_to(simplex.members(rows.shape[1]), rows.shape)
    free = problem.free(block, len(rows))
    if free is None:
        return members, jnp.ones((len(rows), 1), rows.dtype)
    free = members & free
    return free, 1 - jnp.where(members & ~free, rows, 0).sum(axis=1, keepdims=True)
