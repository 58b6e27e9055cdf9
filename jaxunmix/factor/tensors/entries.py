"""What a tensor is fitted from: its entries, weights and ranks, checked as they come in."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from ..._util.validation import check_several, check_whole_number, real_array
from ...matrix.sharding import float_type
from ..inputs import HEADROOM, SMALLEST

LEAST_ORDER = 3
# Of a Tucker core under weights, whose quadratic form is stored as a whole.
MOST_CORE_ENTRIES = 4096


class Entries(NamedTuple):
    """A tensor on the host.

    Attributes:
        values: the entries, 0 where they have no weight.
        weights: of the same shape, or None.
        names: of the modes.
    """

    values: np.ndarray
    weights: np.ndarray | None
    names: tuple[str, ...]


def read_entries(array: Any, weights: Any, nonnegative: bool = False) -> Entries:
    """The entries and weights of a tensor.

    Args:
        array: three or more modes; an xarray.DataArray names them.
        weights: that broadcast to it, or None.
        nonnegative: whether an entry below zero is refused.

    Raises:
        ValueError: what is no such array, or cannot be fitted; naming the mode and the place.
    """
    named = isinstance(array, xr.DataArray)
    names = tuple(str(dim) for dim in array.dims) if named else ()
    values, hidden = array.values if named else array, None
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        hidden, values = np.ma.getmaskarray(values), values.filled(0)
    values = real_array(values, "array")
    names = names or tuple(f"mode_{m}" for m in range(values.ndim))
    _check_shape(values, names)
    known = _read_weights(weights, values, names)
    if hidden is not None:
        known = np.where(hidden, 0.0, 1.0 if known is None else known)
    seen = np.ones(values.shape, bool) if known is None else known > 0
    _check_entries(values, seen, names, nonnegative)
    values = np.where(seen, values, 0).astype(float_type(float))
    _check_size(values, known)
    if known is not None:
        _check_slices(seen, names)
        known = known.astype(values.dtype)
    return Entries(values, known, names)


def _check_shape(values: np.ndarray, names: Sequence[str]) -> None:
    if values.ndim < LEAST_ORDER:
        raise ValueError(
            f"array has {values.ndim} modes, shape {values.shape}; fit_tensor takes three or more. A matrix is for "
            "jaxunmix.fit(Problem(X), rank)."
        )
    empty = [name for name, size in zip(names, values.shape, strict=True) if not size]
    if empty:
        raise ValueError(f"array of shape {values.shape} has no entries along {empty[0]}; check the crop or the masks.")


def _read_weights(weights: Any, values: np.ndarray, names: Sequence[str]) -> np.ndarray | None:
    if weights is None:
        return None
    if isinstance(weights, xr.DataArray):
        weights = weights.values
    given = real_array(weights, "weights")
    try:
        known = np.broadcast_to(given, values.shape).astype(np.float64)
    except ValueError:
        raise ValueError(
            f"weights of shape {given.shape} do not broadcast to the array's {values.shape} ({', '.join(names)})."
        ) from None
    bad = ~((known >= 0) & (known <= float(np.finfo(float_type(float)).max) / HEADROOM))
    if bad.any():
        raise ValueError(
            f"weights must be 0 or more and finite; {int(bad.sum())} are not, the first "
            f"({known[tuple(np.argwhere(bad)[0])]:g}) at {_place(np.argwhere(bad)[0], names)}. 0 leaves an entry out."
        )
    if not (known > 0).any():
        raise ValueError("weights are 0 everywhere: nothing is left to fit.")
    return known


def _check_entries(values: np.ndarray, seen: np.ndarray, names: Sequence[str], nonnegative: bool) -> None:
    largest = float(np.finfo(float_type(float)).max)
    with np.errstate(invalid="ignore"):
        bad = seen & ~(np.abs(values) <= largest)
        below = seen & (values < 0) if nonnegative else np.zeros(1, bool)
    if bad.any():
        place = np.argwhere(bad)[0]
        raise ValueError(
            f"array has {int(bad.sum())} entries that are not finite, the first ({values[tuple(place)]}) at "
            f"{_place(place, names)}; give weights with 0 there, or leave the slice out."
        )
    if below.any():
        place = np.argwhere(below)[0]
        raise ValueError(
            f"array has {int(below.sum())} entries below zero, the first ({values[tuple(place)]:g}) at "
            f"{_place(place, names)}; Poisson asks for counts: set them to zero, or use losses.Frobenius()."
        )


def _check_slices(seen: np.ndarray, names: Sequence[str]) -> None:
    """Of a slice without any weight nothing can be known."""
    for mode, name in enumerate(names):
        others = tuple(m for m in range(seen.ndim) if m != mode)
        empty = np.flatnonzero(~seen.any(axis=others))
        if len(empty):
            raise ValueError(
                f"{name}, index {empty[0]}: every entry of this slice has weight 0 ({len(empty)} such along {name}); "
                f"nothing is known of its factors. Leave it out with np.delete(array, {empty.tolist()[:3]}, {mode})."
            )


def _check_size(values: np.ndarray, weights: np.ndarray | None) -> None:
    total = float(np.sum(values.astype(np.float64) ** 2))
    if total == 0:
        raise ValueError("array is zero everywhere: there is nothing to factorise; check the array and the weights.")
    size, most = math.sqrt(total / values.size), float(np.finfo(values.dtype).max) / HEADROOM
    heaviest = 1.0 if weights is None else float(weights.max())
    if size < SMALLEST or not total <= most:
        raise ValueError(
            f"array is too {'small' if size < SMALLEST else 'large'} for {values.dtype}: its root mean square is "
            f"{size:.3g}, whose squares leave the range of the type; rescale the data towards 1 (array * factor)."
        )
    if heaviest < SMALLEST or not heaviest * total <= most:
        raise ValueError(
            f"weights of up to {heaviest:.3g} leave the range of {values.dtype} beside the array; rescale them "
            "towards 1 (their scale changes the objective alone)."
        )


def _place(place: Any, names: Sequence[str]) -> str:
    return ", ".join(f"{name} {int(i)}" for name, i in zip(names, place, strict=True))


def read_ranks(rank: Any, entries: Entries) -> tuple[int, ...] | int:
    """The components of CP, or of each mode of Tucker.

    Raises:
        ValueError: no whole numbers of 1 or more, as many as there are modes; more components than can be told apart.
    """
    shape, names = entries.values.shape, entries.names
    if not isinstance(rank, tuple | list):
        number = check_whole_number(rank, "rank", 1)
        most = math.prod(shape) // max(shape)
        if number > most:
            raise ValueError(
                f"rank must lie in 1..{most} for an array of shape {shape}, got {number}: a tensor has no more "
                "components than entries in the slice across its longest mode."
            )
        return number
    if len(rank) != len(shape):
        raise ValueError(
            f"rank {tuple(rank)} has {len(rank)} numbers, the array {len(shape)} modes ({', '.join(names)}); give one "
            "for each, or a single number for CP."
        )
    ranks = tuple(check_whole_number(r, f"rank[{m}]", 1) for m, r in enumerate(rank))
    for m, (number, size, name) in enumerate(zip(ranks, shape, names, strict=True)):
        others = math.prod(ranks) // number
        if number > min(size, others):
            what = f"the mode has size {size}" if number > size else f"the other ranks multiply to {others}"
            raise ValueError(f"rank[{m}] of {name} is {number}, but {what}; give {min(size, others)} or fewer.")
    if entries.weights is not None and math.prod(ranks) > MOST_CORE_ENTRIES:
        raise ValueError(
            f"rank {ranks} makes a core of {math.prod(ranks)} entries; with weights it can have {MOST_CORE_ENTRIES}."
        )
    return ranks


def by_mode(given: Mapping[Any, Any], names: Sequence[str], what: str, extra: Sequence[str] = ()) -> dict[Any, Any]:
    """A table by mode, whose keys are numbers or names, by number.

    Args:
        given: mode -> anything.
        names: of the modes.
        what: the argument, as a message names it.
        extra: other keys that are allowed, which stay as they are.

    Raises:
        ValueError: a key that is no mode, or two for one mode.
    """
    found: dict[Any, Any] = {}
    for key, value in given.items():
        mode = key if key in extra else _number_of(key, names, what)
        if mode in found:
            raise ValueError(f"{what} names {names[mode]} (mode {mode}) twice; join the two into one.")
        found[mode] = check_several(value, f"{what}[{key!r}]", f"{{{key!r}: (...,)}}")
    return found


def _number_of(key: Any, names: Sequence[str], what: str) -> int:
    if isinstance(key, str):
        if key in names:
            return list(names).index(key)
    elif not isinstance(key, bool) and isinstance(key, int | np.integer) and 0 <= key < len(names):
        return int(key)
    known = ", ".join(f"{m} ({name!r})" for m, name in enumerate(names))
    raise ValueError(f"{what} names {key!r}, which is no mode; the modes are {known}.")
