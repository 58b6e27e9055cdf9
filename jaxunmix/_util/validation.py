"""What every public function asks of its arguments, in one place: each check names the argument and the remedy.

A check raises a ValueError before anything is computed, and returns the argument as the function then uses it. What JAX
traces cannot be looked at, and passes.
"""

import inspect
import operator
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jaxtyping import Array

from .tracing import is_known

# A key of the older kind is so many words, by its generator.
RAW_WORDS = (2, 4)
KEY = "write jax.random.key(0), with any whole number for 0"


def check_instance(value: Any, base: type | tuple[type, ...], name: str, example: str) -> Any:
    """Raise unless the value is an instance of a class; the class itself in place of an instance is refused too.

    Args:
        value: what was given.
        base: the class, or several.
        name: of the argument.
        example: what to write instead.
    """
    if isinstance(value, base):
        return value
    if inspect.isclass(value) and issubclass(value, base):
        raise ValueError(f"{name} is the class {value.__name__}, not one made of it: write {value.__name__}(...).")
    raise ValueError(f"{name} must be such as {example}, got {_describe(value)}.")


def check_instances(values: Any, base: type | tuple[type, ...], name: str, example: str) -> tuple[Any, ...]:
    """Raise unless the values are a sequence of instances of a class; a single instance belongs in a tuple."""
    check_several(values, name, f"({example},)")
    return tuple(check_instance(value, base, f"{name}[{i}]", example) for i, value in enumerate(values))


def check_several(values: Any, name: str, example: str) -> Any:
    """Raise where a single value is given in place of a tuple or a list of values."""
    if inspect.isclass(values) or isinstance(values, str | bytes | dict) or not hasattr(values, "__iter__"):
        raise ValueError(f"{name} must be several, such as {example}, got {_describe(values)} by itself.")
    return values


def check_callable(value: Any, name: str, example: str) -> Any:
    """Refuse what cannot be called."""
    if not callable(value) or inspect.isclass(value):
        raise ValueError(f"{name} must be a function, such as {example}, got {_describe(value)}.")
    return value


def check_choice(value: Any, choices: Sequence[Any], name: str) -> Any:
    """Refuse what is none of a few words."""
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {_describe(value)}.")
    return value


def check_flag(value: Any, name: str) -> bool:
    """Raise unless the value is True or False: other things would count as one of the two by their truth."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, got {_describe(value)}.")
    return bool(value)


def check_path(value: Any, name: str) -> Path:
    """Raise unless the value names a file, as text or as a path."""
    return Path(check_instance(value, (str, os.PathLike), name, '"file.npz"'))


def check_mapping(value: Any, name: str, example: str) -> Mapping[Any, Any]:
    """Raise unless the value is a dictionary or the like."""
    return check_instance(value, Mapping, name, example)


def check_key(key: Any, name: str = "key") -> Any:
    """Raise unless the value is one random key of JAX, made by `jax.random.key` or by `jax.random.PRNGKey`."""
    if isinstance(key, jax.Array | np.ndarray):
        if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
            if key.shape == ():
                return key
            raise ValueError(f"{name} holds keys of shape {key.shape}: give one of them, such as {name}[0].")
        if key.dtype == np.uint32 and key.ndim == 1 and key.size in RAW_WORDS:
            return key
    raise ValueError(f"{name} must be a random key, got {_describe(key)}: {KEY}.")


def check_whole_number(value: Any, name: str, least: int | None = None, most: int | None = None) -> int:
    """Raise unless the value is an integer within its limits; 3.0 and True are refused."""
    number = None
    if is_known(value) and not isinstance(value, bool | np.bool_):
        try:
            number = operator.index(value)
        except TypeError:
            number = None
    if number is None:
        raise ValueError(f"{name} must be a whole number, got {_describe(value)}.")
    if (least is not None and number < least) or (most is not None and number > most):
        raise ValueError(f"{name} must be {_limits(least, most)}, got {number}.")
    return number


def check_number(
    value: Any,
    name: str,
    least: float | int | None = None,
    most: float | int | None = None,
    *,
    above: float | int | None = None,
) -> float:
    """Refuse what is no finite real number, or outside its limits.

    Args:
        value: what was given.
        name: of the argument.
        least: the least value, itself allowed.
        most: the greatest value, itself allowed.
        above: a limit that is not allowed itself.
    """
    number = as_number(value, name)
    _check_range(number, number, name, least, most, above)
    return number


def as_number(value: Any, name: str) -> float:
    """A finite real number as a float of Python."""
    number = real_number(value, name)
    if not np.isfinite(number):
        raise ValueError(f"{name} must be a finite number, got {number}.")
    return number


def real_number(value: Any, name: str) -> float:
    """A real number as a float of Python, NaN and infinity too: for ranges that are checked elsewhere."""
    array = None if isinstance(value, str | bytes | bool) or value is None else real_array(value, name)
    if array is None or array.ndim or array.dtype.kind == "b":
        raise ValueError(f"{name} must be a number, got {_describe(value)}.")
    return float(array)


def check_numbers(
    values: Any,
    name: str,
    least: float | int | None = None,
    most: float | int | None = None,
    *,
    above: float | int | None = None,
    finite: bool = True,
) -> Array:
    """Real numbers, one or an array of them, as floats of JAX; what it traces is not looked at.

    Args:
        values: what was given.
        name: of the argument.
        least: the least value, itself allowed.
        most: the greatest value, itself allowed.
        above: a limit that is not allowed itself.
        finite: whether NaN and infinity are refused; else they pass whatever the limits.
    """
    if is_known(values):
        array = real_array(real_number(values, name) if isinstance(values, str | bool | None) else values, name)
        array = array.astype(np.float64) if _is_coarse(array.dtype) else array
        inside = np.isfinite(array)
        if finite and not inside.all():
            raise ValueError(f"{name} must be finite, but {array.size - inside.sum()} of {array.size} values are not.")
        low, high = array[inside].min(initial=np.inf), array[inside].max(initial=-np.inf)
        _check_range(low, high, name, least, most, above)
        # Numbers of Python and arrays of JAX keep how they decide the precision of what they meet.
        values = values if isinstance(values, float | jax.Array) else float(array) if array.ndim == 0 else array
    values = jnp.asarray(values)
    return values.astype(float) if _is_coarse(values.dtype) else values


def check_limits(value: Any, name: str) -> tuple[float | None, float | None]:
    """Raise unless the value is a pair (low, high), either of which may be None for no limit."""
    if isinstance(value, str) or not hasattr(value, "__len__") or len(value) != 2:
        raise ValueError(f"{name} must be (low, high), None where there is no limit, got {_describe(value)}.")
    low, high = (None if limit is None else _limit(limit, name) for limit in value)
    return low, high


def real_array(values: Any, name: str) -> np.ndarray:
    """An array of real numbers in the memory of the host and of a type of this machine; not copied where it need not.

    Raises:
        ValueError: entries that a mask hides, complex numbers, text, dates or objects, rows of unequal length, or a
            sparse matrix; numbers of more than 64 bits that double precision has no room for.
    """
    check_unmasked(values, name)
    if scipy.sparse.issparse(values):
        raise ValueError(f"{name} is sparse: give {name}.toarray().")
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, jax.errors.TracerArrayConversionError) as error:
        raise ValueError(f"{name} must be an array of real numbers, but is not: {error}") from error
    check_real(array.dtype, name)
    if array.dtype.kind == "V":  # half precisions that NumPy does not know
        return array.astype(np.float32)
    return (
        _in_double(array, name) if array.dtype.itemsize > 8 else array.astype(array.dtype.newbyteorder("="), copy=False)
    )


def float_array(values: Any, name: str) -> np.ndarray:
    """As `real_array`, in double precision."""
    return real_array(values, name).astype(np.float64, copy=False)


def check_real(dtype: Any, name: str) -> None:
    """Refuse a type of array that holds no real numbers."""
    if dtype.kind not in "biuf" and not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"{name} must hold real numbers, its type is {dtype}; convert it with {name}.astype(float).")


def check_unmasked(values: Any, name: str) -> None:
    """Refuse an array of which a mask hides some entries: NumPy's functions differ in what they make of these."""
    parts = values if isinstance(values, list | tuple) else (values,)
    if any(np.ma.is_masked(part) for part in parts if isinstance(part, np.ma.MaskedArray)):
        raise ValueError(f"{name} is a masked array with masked entries: leave them out, or .filled(...) them.")


def _in_double(array: np.ndarray, name: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        double = array.astype(np.float64)
    if (np.isfinite(array) & ~np.isfinite(double)).any():
        raise ValueError(f"{name} has numbers too large for double precision; rescale it.")
    return double


def _check_range(low: Any, high: Any, name: str, least: Any, most: Any, above: Any) -> None:
    """Raise where the smallest or the largest of some numbers lies outside the limits."""
    too_low = (least is not None and low < least) or (above is not None and low <= above)
    if too_low or (most is not None and high > most):
        raise ValueError(f"{name} must be {_limits(least, most, above)}, got {low if too_low else high:g}.")


def _is_coarse(dtype: Any) -> bool:
    """Whether a type holds whole numbers, whose powers overflow, or floats of 16 bits."""
    return not jnp.issubdtype(dtype, jnp.floating) or dtype.itemsize < 4


def _limit(limit: Any, name: str) -> float:
    if isinstance(limit, float) and np.isinf(limit):
        return limit
    return as_number(limit, name)


def _limits(least: float | int | None, most: float | int | None, above: float | int | None = None) -> str:
    if most is None:
        return f"above {above:g}" if least is None else f"{least:g} or more"
    return f"{least:g} to {most:g}" if above is None else f"above {above:g} and up to {most:g}"


def _describe(value: Any) -> str:
    """The value in few words."""
    if isinstance(value, np.ndarray | jax.Array):
        return f"an array of {value.dtype} of shape {value.shape}"
    try:
        text = repr(value)
    except Exception:  # of an object that is not complete
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:60]}... ({type(value).__name__})"
