"""What a problem is made from: weights, basis and the size of the numbers, checked as they come in."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.sparse
from jaxtyping import Array

from .._util.tracing import is_known
from .._util.validation import real_array
from ..matrix.base import AbstractMatrix, accurate_sum
from ..matrix.checks import check_array
from ..matrix.sharding import float_type
from .losses.base import FLOOR, AbstractLoss
from .model import Basis

# Of the brightest pixel's root mean square: below it the squares of single precision vanish, or the least model value
# (FLOOR) of the losses that have one is no longer nothing. Measured: fits of data smaller than that ended elsewhere.
SMALLEST, SMALLEST_ABOVE_FLOOR = 1e-15, 1e3 * FLOOR
# What is left of the float type's range for the sums of products in a step.
HEADROOM = 100.0


def copy_to_device(values: Any, dtype: Any) -> Array:
    """An array on the device whose memory is our own: NumPy's could be written to later."""
    return jnp.asarray(np.array(values, dtype) if is_known(values) else values, dtype)


def apply_weights(matrix: Any, weights: Any, takes_zero: bool = True) -> tuple[Any, Any]:
    """The data with what has no weight filled in, and the weights broadcast to their shape.

    Args:
        matrix: the data.
        weights: of its entries, or None.
        takes_zero: whether 0 is in the range of the loss; if not, the smallest visible entry is filled in.
    """
    if isinstance(matrix, np.ma.MaskedArray) and np.ma.is_masked(matrix):
        hidden = np.ma.getmaskarray(matrix)
        matrix = matrix.filled(0)
        weights = np.where(hidden, 0, 1 if weights is None else _broadcast(weights, matrix.shape))
    if weights is None:
        return matrix, None
    is_array = not isinstance(matrix, AbstractMatrix)
    matrix = check_array(matrix) if is_array and is_known(matrix) else matrix
    weights = _broadcast(weights, np.shape(matrix))
    if is_known(weights):
        _check_weights(np.asarray(weights))
    if is_array:
        xp = np if is_known((matrix, weights)) else jnp
        if scipy.sparse.issparse(matrix):
            matrix = matrix.astype(np.float64).toarray()
        matrix = xp.asarray(matrix)
        if not takes_zero:
            smallest = xp.min(xp.where(weights > 0, matrix, np.inf))
            matrix = xp.where(weights > 0, matrix, smallest.astype(matrix.dtype))
        elif jnp.issubdtype(matrix.dtype, jnp.floating):
            matrix = xp.where(weights > 0, matrix, xp.zeros((), matrix.dtype))
    return matrix, weights


def _broadcast(weights: Any, shape: tuple[int, ...]) -> Any:
    known = is_known(weights)
    weights = real_array(weights, "weights") if known else jnp.asarray(weights)
    try:
        return np.broadcast_to(weights, shape) if known else jnp.broadcast_to(weights, shape)
    except ValueError:
        raise ValueError(f"weights of shape {weights.shape} do not broadcast to the data's {shape}.") from None


def _check_weights(weights: np.ndarray) -> None:
    largest = float(jnp.finfo(float_type(float)).max)
    wide = weights.astype(np.promote_types(weights.dtype, np.float64), copy=False)
    bad = ~((wide >= 0) & (wide <= largest))
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"weights must be 0 or more and finite; {int(bad.sum())} are not, the first ({weights[place]}) at pixel "
            f"{place[0]}, channel {place[1]}. 0 leaves an entry out."
        )
    if not weights.any():
        raise ValueError("weights are 0 everywhere: nothing is left to fit.")


def check_scale(matrix: AbstractMatrix, loss: AbstractLoss, weights: Array | None) -> None:
    """Refuse data, or weights, whose squares the float type in use cannot hold.

    Raises:
        ValueError: nothing but zeros, or numbers too small or too large; with the factor that mends it.
    """
    if not is_known((matrix.squares, weights)):
        return
    info = jnp.finfo(matrix.dtype)
    brightest, total = map(float, _measure(matrix.squares))
    size = float(np.sqrt(brightest / matrix.shape[1]))
    if not brightest > 0:
        host = matrix.to_host()
        if not (abs(host).max() > 0):
            raise ValueError("X is zero everywhere: there is nothing to factorise; check the array and the masks.")
    floored = loss.beta not in (1, 2)
    least = SMALLEST_ABOVE_FLOOR if floored else SMALLEST
    if size < least or not total <= float(info.max) / HEADROOM:
        what = "small" if size < least else "large"
        raise ValueError(
            f"X is too {what} for {type(loss).__name__} in {matrix.dtype}: the root mean square of its brightest pixel "
            f"is {size:.3g}, whose squares leave the range of the type; rescale the data towards 1 (X * factor)."
        )
    if weights is not None:
        heaviest = float(jnp.max(weights))
        if heaviest < SMALLEST or not heaviest * total <= float(info.max) / HEADROOM:
            raise ValueError(
                f"weights of up to {heaviest:.3g} leave the range of {matrix.dtype} beside X; rescale them towards 1 "
                "(their scale changes the objective alone)."
            )


@jax.jit
def _measure(squares: Array) -> tuple[Array, Array]:
    """The largest, and their sum."""
    return jnp.max(squares), accurate_sum(squares)


def check_basis(basis: Any, matrix: AbstractMatrix) -> Basis:
    """A basis that fits the channels, none of whose rows is empty or a combination of the others."""
    if not is_known(basis):
        return jnp.asarray(basis, matrix.dtype)
    array = real_array(basis, "basis")
    channels = matrix.shape[1]
    if array.ndim not in (2, 3) or array.shape[-1] != channels or not array.size:
        raise ValueError(
            f"basis must be (features, {channels} channels), or (components, features, {channels} channels) for one "
            f"each, got {array.shape}."
        )
    with np.errstate(over="ignore"):
        used = np.array(array, matrix.dtype)
    if array.dtype.kind not in "iuf" or not np.isfinite(used).all():
        raise ValueError("basis must hold finite real numbers.")
    for i, one in enumerate(used if array.ndim == 3 else used[None]):
        which = f"basis of component {i}" if array.ndim == 3 else "basis"
        size = np.abs(one).max(axis=1)
        empty = np.flatnonzero(size == 0)
        if len(empty):
            raise ValueError(f"{which}: rows {empty.tolist()} are zero everywhere; leave them out.")
        _check_rows(which, size, matrix.dtype)
        dependent = _dependent(array[i] if array.ndim == 3 else array)
        if dependent:
            raise ValueError(
                f"{which}: rows {dependent} are combinations of the others, so that their coefficients cannot be told "
                "apart; leave some of them out."
            )
    return jnp.asarray(used)


def _check_rows(which: str, size: np.ndarray, dtype: Any) -> None:
    wrong = np.flatnonzero((size < SMALLEST) | (size > np.sqrt(float(jnp.finfo(dtype).max)) / HEADROOM))
    if len(wrong):
        raise ValueError(
            f"{which}: rows {wrong.tolist()} are too small or too large for {dtype} (up to {size[wrong[0]]:.3g}); "
            "rescale them towards 1, which their coefficients follow."
        )


def _dependent(rows: np.ndarray) -> list[int]:
    """Rows that add no direction, to the rounding of single precision, by QR with pivoting."""
    unit = rows.astype(float) / np.linalg.norm(rows.astype(float), axis=1, keepdims=True)
    _, r, order = scipy.linalg.qr(unit.T, mode="economic", pivoting=True)
    left = np.abs(np.diag(r)) > 1e-6
    return sorted(int(i) for i in order[int(left.sum()) :])
