"""From where the factors of a tensor start: drawn, from singular vectors, or given."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from ..._util.validation import check_choice, real_array
from ...matrix.base import TINY, accurate_sum
from ...matrix.compressed import leading_svd
from ...matrix.dense import Dense
from ..initial.base import SUBSPACE_SEED
from .entries import Entries
from .modes import Mode
from .multilinear import Multilinear, Rows, gram
from .outcome import TensorSolution, multilinear_of
from .sweeps import Products, TensorProblem, balance, move_core, scale_core

# Passes over the core where the factors are given and it is not.
CORE_SWEEPS = 10
# Zeros of singular vectors are filled by this share of the root mean square, so that no entry starts at its bound.
FILL = 0.1


@eqx.filter_jit
def starts(
    problem: TensorProblem,
    ranks: tuple[int, ...] | int,
    given: Sequence[Rows | None],
    core: Array | None,
    keys: Key[Array, " restarts"],
) -> Multilinear:
    """`start` for each key, every leaf with a leading axis of restarts."""
    return jax.vmap(lambda key: start(problem, ranks, given, core, key))(keys)


def start(
    problem: TensorProblem,
    ranks: tuple[int, ...] | int,
    given: Sequence[Rows | None],
    core: Array | None,
    key: Key[Array, ""],
) -> Multilinear:
    """Factors that hold the constraints, of the norm of the data where they are drawn.

    Args:
        problem: what is fitted.
        ranks: of each mode, or of CP.
        given: of each mode (components, size), or None to draw it.
        core: of Tucker, or None to draw it, or to find it where all factors are given.
        key: randomness.
    """
    order = len(problem.modes)
    per_mode = (ranks,) * order if isinstance(ranks, int) else ranks
    shapes = [(rank, size) for rank, size in zip(per_mode, problem.x.shape, strict=True)]
    drawn = _draw(key, [*shapes, () if isinstance(ranks, int) else per_mode], problem.x.dtype)
    rows = []
    for m, mode in enumerate(problem.modes):
        known = given[m]
        rows.append(mode.impose(_spread(drawn[m], mode.is_nonnegative) if known is None else known))
    if isinstance(ranks, int):
        return _with_norm(problem, Multilinear(tuple(rows)), given)
    inner = _spread(drawn[-1], problem.core_nonnegative) if core is None else core
    factors = balance(problem, Multilinear(tuple(rows), inner))
    if core is not None:
        return factors
    factors = _with_norm(problem, factors, given)
    if all(known is not None for known in given):
        factors = move_core(problem, factors, Products.of(problem, factors, order - 1), CORE_SWEEPS)
    return factors


def _draw(key: Key[Array, ""], shapes: Sequence[tuple[int, ...]], dtype: Any) -> list[Array]:
    """Uniform numbers of several shapes, drawn as one array: each draw by itself would take seconds to compile."""
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    parts = jnp.split(jax.random.uniform(key, (int(ends[-1]),), dtype, minval=1e-3), ends[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def _spread(drawn: Array, nonnegative: bool) -> Array:
    """Numbers from 0 to 1 as they are, or of either sign."""
    return drawn if nonnegative else 2 * drawn - 1


def _with_norm(problem: TensorProblem, factors: Multilinear, given: Sequence[Rows | None]) -> Multilinear:
    """The model scaled to the norm of the data, by the core or by what was drawn and has no scale of its own."""
    last = factors.order - 1
    squares = jnp.sum(gram(factors, factors.grams(), last) * (factors.rows[last] @ factors.rows[last].T))
    seen = 1.0 if problem.weights is None else accurate_sum(problem.weights) / problem.weights.size
    scale = jnp.sqrt(problem.scale / jnp.maximum(squares * seen, TINY))
    if factors.core is not None:
        return scale_core(factors, 0, jnp.full(factors.ranks[0], scale))
    free = [m for m, mode in enumerate(problem.modes) if given[m] is None and not mode.is_pinned]
    for m in free:
        factors = factors.with_rows(m, factors.rows[m] * scale ** (1 / len(free)))
    return factors


def singular_rows(values: np.ndarray, ranks: tuple[int, ...] | int, signed: Sequence[bool]) -> list[Rows]:
    """Of each mode the leading singular vectors of its unfolding (HOSVD), of unit norm.

    De Lathauwer, De Moor and Vandewalle, SIAM J. Matrix Anal. Appl. 21 (2000) 1253. Of modes that are not signed the
    larger of the positive and the negative part, zeros filled (Boutsidis and Gallopoulos, Pattern Recognit. 41 (2008)
    1350). Components beyond the size of a mode are drawn, from a key of their own.

    Args:
        values: the tensor on the host.
        ranks: of each mode, or of CP.
        signed: of each mode whether entries may be below zero.
    """
    found = []
    for m, size in enumerate(values.shape):
        rank = ranks if isinstance(ranks, int) else ranks[m]
        unfolded = np.moveaxis(values, m, 0).reshape(size, -1)
        key = jax.random.fold_in(jax.random.key(SUBSPACE_SEED), m)
        rows = leading_svd(Dense(unfolded), min(rank, *unfolded.shape), key)[0]
        if not signed[m]:
            up, down = jnp.maximum(rows, 0), jnp.maximum(-rows, 0)
            larger = jnp.sum(up**2, axis=1, keepdims=True) >= jnp.sum(down**2, axis=1, keepdims=True)
            rows = jnp.where(larger, up, down)
            rows = jnp.where(rows > 0, rows, FILL / math.sqrt(size))
        (drawn,) = _draw(key, [(rank - len(rows), size)], rows.dtype)
        extra = _spread(drawn, not signed[m]) / math.sqrt(size)
        found.append(jnp.concatenate([rows, extra]))
    return found


class Start(NamedTuple):
    """From where all restarts start.

    Attributes:
        rows: of each mode (components, size), or None where it is drawn.
        core: of Tucker, or None.
        is_given: whether a user gave factors, whose components keep their place.
    """

    rows: list[Rows | None]
    core: Array | None = None
    is_given: bool = False

    @property
    def is_random(self) -> bool:
        """Whether something is drawn."""
        return any(rows is None for rows in self.rows)

    def arrange(self, order: Sequence[int]) -> "Start":
        """The same with the modes in another order."""
        core = None if self.core is None else self.core.transpose(order)
        return Start([self.rows[m] for m in order], core, self.is_given)


def read_start(
    init: Any, entries: Entries, ranks: tuple[int, ...] | int, modes: Sequence[Mode], signed_core: bool
) -> Start:
    """What `fit_tensor` is told to start from.

    Raises:
        ValueError: no known start, factors that do not fit, or none where a constraint keeps those of the start.
    """
    shape, order = entries.values.shape, len(modes)
    if isinstance(init, str):
        check_choice(init, ("random", "hosvd"), "init")
        signed = [not mode.is_nonnegative for mode in modes]
        found = Start([None] * order if init == "random" else list(singular_rows(entries.values, ranks, signed)))
    elif isinstance(init, TensorSolution):
        if isinstance(ranks, int) != init.is_cp or init.core.shape != ((ranks,) if isinstance(ranks, int) else ranks):
            raise ValueError(f"init is a result of rank {init.rank}, asked for is {ranks}; give factors of that rank.")
        factors = multilinear_of(init.factors, init.core)
        found = Start(_read_given([rows.T for rows in factors.rows], shape, ranks, modes), factors.core, True)
    else:
        found = Start(_read_given(init, shape, ranks, modes), None, True)
    if found.core is not None and not signed_core and float(jnp.min(found.core)) < 0:
        raise ValueError('init has a core with negative entries; clip it, or pass constraints={"core": ()}.')
    for m, mode in enumerate(modes):
        keeps = any(item.values is None for item in mode.constraints.of("fixed"))
        if keeps and (not found.is_given or found.rows[m] is None):
            raise ValueError(f"{mode.name}: Fixed keeps the values of the start; give its factors by init=[...].")
    return found


def _read_given(init: Any, shape: tuple[int, ...], ranks: tuple[int, ...] | int, modes: Sequence[Mode]) -> list[Any]:
    """Factors as a user gives them, (size, components) or None for each mode, as rows."""
    if (
        isinstance(init, bytes | dict | np.ndarray | jax.Array)
        or not hasattr(init, "__len__")
        or len(init) != len(shape)
    ):
        raise ValueError(
            f'init must be "random", "hosvd", a TensorSolution or {len(shape)} factors, one (size, components) for '
            f"each mode and None where it is drawn; got {type(init).__name__}."
        )
    found: list[Any] = []
    for m, (values, size, mode) in enumerate(zip(init, shape, modes, strict=True)):
        if values is None:
            found.append(None)
            continue
        rank = ranks if isinstance(ranks, int) else ranks[m]
        array = real_array(values, f"init[{m}]")
        if array.shape != (size, rank):
            raise ValueError(
                f"init[{m}] of {mode.name} has shape {array.shape}; data and rank ask for ({size}, {rank}), (size, "
                "components)."
            )
        low = 0 if mode.is_nonnegative else -np.inf
        bad = np.argwhere(~(np.isfinite(array) & (array >= low)))
        if len(bad):
            at = tuple(bad[0])
            raise ValueError(
                f"init[{m}] of {mode.name} has {array[at]:g} at index {at[0]}, component {at[1]}; it must be finite"
                + (", and 0 or more under NonNegative." if low == 0 else ".")
            )
        found.append(jnp.asarray(np.array(array.T), float))
    return found
