"""How nearly data are multilinear in given factors: whether CP has too many components."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..._util.validation import check_several, float_array
from .entries import read_entries


def core_consistency(array: Any, factors: Sequence[Any], weights: Any = None) -> float:
    r"""CORCONDIA, in percent: 100 where CP with these factors leaves nothing that other triads would describe.

    With the least-squares core G of a Tucker model that has the factors of CP, and T the superdiagonal of ones,

        core consistency = 100 (1 - sum (G - T)^2 / K),    G = X x_1 A_1^+ x_2 A_2^+ ...

    (Bro and Kiers, J. Chemometrics 17 (2003) 274, equation 8). Near 100 the components are as many as the data bear or
    fewer; with one too many it falls, often below zero. Take the largest K before the fall. The columns of all modes
    are scaled alike first: otherwise G would depend on where the size of a component stands.

    Args:
        array: three or more modes.
        factors: of each mode (size, K), the sizes of the components in any of them.
        weights: that broadcast to the array; entries of weight 0 are taken from the model, other weights do not count.

    Returns:
        100 or less; no lower limit.

    Raises:
        ValueError: factors that do not fit the array or one another, or a component that is zero in some mode.
    """
    entries = read_entries(array, weights)
    columns = _read_factors(factors, entries.values.shape, entries.names)
    values = entries.values.astype(np.float64)
    rank, order = columns[0].shape[1], len(columns)
    if entries.weights is not None:
        letters = [f"{chr(ord('a') + m)}Z" for m in range(order)]
        out = "".join(pair[0] for pair in letters)
        model = np.einsum(f"{','.join(letters)}->{out}", *columns, optimize=True)
        values = np.where(entries.weights > 0, values, model)
    norms = np.array([np.linalg.norm(factor, axis=0) for factor in columns])
    size = np.exp(np.mean(np.log(norms), axis=0))
    core = values
    for m, factor in enumerate(columns):
        core = np.moveaxis(np.tensordot(np.linalg.pinv(factor / norms[m] * size), core, axes=(1, m)), 0, m)
    ideal = np.zeros(core.shape)
    ideal[(np.arange(rank),) * order] = 1
    return 100 * (1 - float(np.sum((core - ideal) ** 2)) / rank)


def _read_factors(factors: Any, shape: tuple[int, ...], names: Sequence[str]) -> list[np.ndarray]:
    several = list(check_several(factors, "factors", "result.factors"))
    if len(several) != len(shape):
        raise ValueError(f"factors must be {len(shape)}, one for each mode ({', '.join(names)}), got {len(several)}.")
    columns = [float_array(factor, f"factors[{m}]") for m, factor in enumerate(several)]
    for m, (factor, size, name) in enumerate(zip(columns, shape, names, strict=True)):
        if factor.ndim != 2 or len(factor) != size or factor.shape[1:] != columns[0].shape[1:] or not factor.size:
            raise ValueError(
                f"factors[{m}] of {name} has shape {factor.shape}; it must be ({size}, K), with one K for all modes."
            )
        wrong = np.flatnonzero(~(np.isfinite(factor).all(axis=0) & (np.abs(factor).max(axis=0) > 0)))
        if len(wrong):
            raise ValueError(
                f"factors[{m}] of {name}: component {wrong[0]} is zero or not finite; fit fewer components, or leave "
                "it out of all modes."
            )
        if not math.isfinite(float(np.linalg.norm(factor))):
            raise ValueError(f"factors[{m}] of {name} is too large; rescale it.")
    return columns
