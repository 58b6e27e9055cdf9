"""Fit a tensor: what is asked of each mode, restarts side by side in one program, and the best of them."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from ..._util.validation import (
    check_flag,
    check_instance,
    check_key,
    check_mapping,
    check_number,
    check_whole_number,
)
from ...matrix.base import accurate_sum
from ..losses.base import AbstractLoss
from ..losses.frobenius import Frobenius
from ..solve.descent import Descent, Pace, best_of, descend
from ..solve.loop import batches
from .entries import Entries, by_mode, read_entries, read_ranks
from .modes import Mode, mode_of, reference_of
from .multilinear import Multilinear
from .outcome import TensorSolution
from .starts import Start, read_start, starts
from .sweeps import TensorProblem, scale_core, step

Ranks = tuple[int, ...] | int
CORE = "core"


def fit_tensor(
    array: Any,
    rank: Any,
    *,
    key: Key[Array, ""] | None = None,
    penalties: Mapping[Any, Any] | None = None,
    constraints: Any = None,
    weights: Any = None,
    loss: AbstractLoss | None = None,
    init: Any = "random",
    restarts: int = 1,
    max_steps: int = 500,
    rtol: float | int = 1e-6,
    check_every: int = 10,
    sweeps: int = 5,
    throw: bool = True,
) -> TensorSolution:
    r"""Factors of a tensor of three or more modes, by CP (PARAFAC) or Tucker, non-negative unless asked otherwise.

    With a whole number as rank CP, a sum of K outer products (Harshman, UCLA Work. Pap. Phon. 16 (1970) 1), with a
    tuple Tucker (Psychometrika 31 (1966) 279), whose core joins each component of a mode with all of the others:

        x_abc ~ sum_k core_k A_ak B_bk C_ck,        x_abc ~ sum_pqr core_pqr A_ap B_bq C_cr.

    Along mode n both are a matrix problem, X_(n) ~ A_n S_n with all other modes in S_n. HALS takes the modes in turn,
    each component to its exact optimum (Cichocki and Phan, IEICE Trans. E92-A (2009) 708, algorithm 2), and Tucker's
    core entry by entry. A step is two passes over the data, as plain matrix products. With weights each index of a mode
    has its own Hessian sum_j w_ij s_j s_j', formed exactly, so that gaps cost passes but no accuracy. The objective
    (1/2) sum w (x - model)^2 + penalties never rises.

    Args:
        array: three or more modes of real numbers, in any unit, such as (y x, energy, time); the modes of an
            xarray.DataArray have names. NaN is allowed where the weight is 0; a masked array hides its entries so.
        rank: K of CP, or the components of each mode, such as (3, 4, 5).
        key: randomness of the starts.
        penalties: mode -> of `penalties`, such as {0: (Smoothness("maps", 0.1),)} or {"time": ...}. "maps" and
            "spectra" both mean the factors of that mode; weights are free of scale and those of the matrix X_(n).
        constraints: mode -> of `constraints`. As "maps" the entries of a mode are pixels (`Simplex("maps")`: the
            components of each sum to one), as "spectra" channels (`Simplex("spectra")`: each component sums to one).
            Modes that are not named are non-negative, and so is the core: {1: (), "core": ()} makes both signed. () for
            none.
        weights: that broadcast to the array, 0 or more; 0 leaves an entry out, whatever it holds.
        loss: `losses.Frobenius()`, which None means too; no other is served.
        init: "random"; "hosvd", from singular vectors; the factors, (size, components) for each mode or None where it
            is drawn; or a `TensorSolution`.
        restarts: how many starts, side by side where memory allows.
        max_steps: steps at most.
        rtol: stop when the objective's relative decrease per step is below this; 0 never stops early.
        check_every: steps between looks at the objective.
        sweeps: passes over the components of a mode for each product with the data. More are
            cheap where the data are large.
        throw: raise when no restart stays finite.

    Returns:
        The best restart. Components are ordered by decreasing size, but stay in place where factors are given or a
        constraint names single components. CP is unique up to that order under mild conditions, Tucker is not: its
        factors are known up to a linear map, as far as constraints leave one.

    Raises:
        ValueError: data, weights, a rank, penalties, constraints or a start that do not fit one another, or that no
            step can honour; naming the mode and the place.
        FloatingPointError: no restart stayed finite, and `throw` is set.
    """
    loss = Frobenius() if loss is None else check_instance(loss, AbstractLoss, "loss", "losses.Frobenius()")
    if not loss.is_least_squares:
        raise ValueError(f"fit_tensor serves losses.Frobenius() without a link, not {loss.label}.")
    pace = Pace(check_whole_number(max_steps, "max_steps", 0), check_whole_number(check_every, "check_every", 1))
    many = jnp.asarray(check_whole_number(sweeps, "sweeps", 1), int)
    check_whole_number(restarts, "restarts", 1)
    check_number(rtol, "rtol", 0)
    check_flag(throw, "throw")
    entries = read_entries(array, weights)
    ranks = read_ranks(rank, entries)
    modes, signed_core = _modes(entries, ranks, penalties, constraints)
    first = read_start(init, entries, ranks, modes, signed_core)
    _check_key(first, restarts, key)
    order = _order(entries.values.shape)
    problem = _problem(entries, modes, signed_core, order)
    arranged, began = _arrange(ranks, order), first.arrange(order)
    keys = jax.random.split(jax.random.key(0) if key is None else key, restarts)
    parts = batches(restarts, _restart_bytes(problem, arranged))
    runs = []
    for part in parts:
        several = starts(problem, arranged, began.rows, began.core, keys[part])
        runs.append(descend(jax.tree_util.Partial(step, many), problem, several, rtol, pace, True))
    every = jax.tree.map(lambda *parts: jnp.concatenate(parts), *runs)
    description = _describe(ranks, init, modes, entries)
    return _outcome(every, problem, order, (entries.names, pace, first.is_given, throw), description)


def _check_key(first: Start, restarts: int, key: Any) -> None:
    if key is not None:
        check_key(key)
    if first.is_random and key is None:
        raise ValueError("The start is random: give key=jax.random.key(seed).")
    if not first.is_random and restarts > 1:
        raise ValueError(f"The start has no randomness: {restarts} restarts would be one; use restarts=1.")


def _modes(entries: Entries, ranks: Ranks, penalties: Any, constraints: Any) -> tuple[list[Mode], bool]:
    """Every mode, and whether a core may have entries below zero."""
    names, values = entries.names, entries.values
    example = '{0: (penalties.L1("maps", 0.1),)}'
    terms = {} if penalties is None else by_mode(check_mapping(penalties, "penalties", example), names, "penalties")
    asked, signed_core = _read_constraints(constraints, ranks, names)
    squares = jnp.asarray(np.sum(values.astype(np.float64) ** 2), float)
    mean_weight = 1.0 if entries.weights is None else float(np.mean(entries.weights))
    found = []
    for m, (name, size) in enumerate(zip(names, values.shape, strict=True)):
        reference = reference_of(squares * mean_weight, squares, size, values.size)
        label = f"mode {m} ({name})"
        number = ranks if isinstance(ranks, int) else ranks[m]
        mode = mode_of(label, size, values.size // size, number, terms.get(m, ()), asked.get(m), reference)
        found.append(mode)
    return found, signed_core


def _read_constraints(constraints: Any, ranks: Ranks, names: tuple[str, ...]) -> tuple[dict[Any, Any], bool]:
    if constraints is None:
        return {}, False
    if isinstance(constraints, tuple | list) and not len(constraints):
        return dict.fromkeys(range(len(names)), ()), True
    example = '{0: (constraints.Simplex("maps"),)} by mode, () for none, or None for non-negative factors'
    extra = () if isinstance(ranks, int) else (CORE,)
    asked = by_mode(check_mapping(constraints, "constraints", example), names, "constraints", extra)
    of_core = asked.pop(CORE, None)
    if of_core is None:
        return asked, False
    wrong = [type(item).__name__ for item in of_core if getattr(item, "kind", None) != "sign"]
    if wrong:
        raise ValueError(
            f'constraints["core"] has {wrong[0]}: the core is non-negative, or signed with {{"core": ()}}; what else '
            "is known belongs to the factors."
        )
    return asked, not len(of_core)


def _order(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The modes as a step takes them: the longest last and the next first.

    A sum over the first or last mode is a plain matrix product, and what a sum over the longest leaves is smallest.
    """
    *rest, first, last = sorted(range(len(shape)), key=lambda m: (shape[m], -m))
    return (first, *rest, last)


def _arrange(ranks: Ranks, order: tuple[int, ...]) -> Ranks:
    return ranks if isinstance(ranks, int) else tuple(ranks[m] for m in order)


def _problem(entries: Entries, modes: list[Mode], signed_core: bool, order: tuple[int, ...]) -> TensorProblem:
    # Names would be part of the program, and others compile it anew.
    x = jnp.asarray(np.ascontiguousarray(entries.values.transpose(order)))
    weights = None if entries.weights is None else jnp.asarray(np.ascontiguousarray(entries.weights.transpose(order)))
    pushed = x if weights is None else weights * x
    return TensorProblem(
        pushed, weights, tuple(replace(modes[m], name="") for m in order), accurate_sum(pushed * x), not signed_core
    )


def _restart_bytes(problem: TensorProblem, ranks: Ranks) -> int:
    """Roughly what one more restart takes: the data summed against one mode, and the weights against its pairs."""
    shape, most = problem.x.shape, ranks if isinstance(ranks, int) else max(ranks)
    components = 3 * most if problem.weights is None else 3 * (most + most**2)
    core = 0 if isinstance(ranks, int) or problem.weights is None else 2 * math.prod(ranks) ** 2
    return (components * problem.x.size // min(shape[0], shape[-1]) + core) * problem.x.dtype.itemsize


def _outcome(
    every: Descent,
    problem: TensorProblem,
    order: tuple[int, ...],
    settings: tuple[tuple[str, ...], Pace, bool, bool],
    description: tuple[tuple[str, Any], ...],
) -> TensorSolution:
    """The best restart, its modes in the order of the array."""
    names, pace, is_given, throw = settings
    best, restarts = best_of(every, throw)
    factors, sizes = _normalise(problem, jax.tree.map(lambda leaf: leaf[best], every.factors), is_given)
    place = [order.index(m) for m in range(len(order))]
    trace, trace_steps = pace.trace_of(np.asarray(every.trace[best]))
    return TensorSolution(
        factors=tuple(factors.rows[p].T for p in place),
        core=sizes if factors.core is None else factors.core.transpose(place),
        objective=every.objective[best],
        trace=trace,
        trace_steps=trace_steps,
        steps=every.steps[best],
        code=every.code[best],
        restarts=restarts,
        dims=names,
        description=description,
    )


def _normalise(problem: TensorProblem, factors: Multilinear, is_given: bool) -> tuple[Multilinear, Array]:
    """Columns of norm one where a mode's scale is open, their size in the core, and the largest component first."""
    sizes = jnp.ones(factors.ranks[0], problem.x.dtype)
    for m, mode in enumerate(problem.modes):
        if mode.is_pinned:
            continue
        norm = mode.norm(factors.rows[m])
        factors = factors.with_rows(m, factors.rows[m] / jnp.where(norm > 0, norm, 1)[:, None])
        if factors.core is None:
            sizes = sizes * norm
        else:
            factors = scale_core(factors, m, norm)
    labelled = [is_given or mode.is_labelled for mode in problem.modes]
    if factors.core is None:
        whole = sizes * jnp.prod(jnp.stack([jnp.linalg.norm(rows, axis=1) for rows in factors.rows]), axis=0)
        if not any(labelled):
            largest = jnp.argsort(-whole)
            factors = Multilinear(tuple(rows[largest] for rows in factors.rows))
            sizes = sizes[largest]
        return factors, sizes
    for m, rows in enumerate(factors.rows):
        assert factors.core is not None, "Tucker has a core"
        slices = jnp.moveaxis(factors.core, m, 0).reshape(len(rows), -1)
        largest = jnp.argsort(-jnp.linalg.norm(slices, axis=1) * jnp.linalg.norm(rows, axis=1))
        if not labelled[m]:
            factors = factors.with_rows(m, rows[largest]).with_core(jnp.take(factors.core, largest, axis=m))
    return factors, sizes


def _describe(ranks: Ranks, init: Any, modes: list[Mode], entries: Entries) -> tuple[tuple[str, Any], ...]:
    """What was fitted, in words."""
    asked = {mode.name: [f"{type(c).__name__}({c.block})" for c in mode.constraints] for mode in modes}
    terms = {mode.name: [p.label for p in mode.penalties] for mode in modes}
    return (
        ("model", "CP" if isinstance(ranks, int) else "Tucker"),
        ("rank", ranks),
        ("loss", "Frobenius"),
        ("initial", init if isinstance(init, str) else "given"),
        ("weights", "none" if entries.weights is None else "given"),
        ("constraints", "; ".join(f"{name}: {', '.join(c) or 'none'}" for name, c in asked.items())),
        ("penalties", "; ".join(f"{name}: {', '.join(p)}" for name, p in terms.items() if p) or "none"),
    )
