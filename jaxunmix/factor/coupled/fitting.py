"""Fit several images of one scan together."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from ..._util.validation import check_choice, check_flag, check_key, check_number, check_whole_number
from ..alternatives import Alternatives
from ..initial.base import AbstractInitial
from ..model import expand
from ..problem import Problem
from ..solution import Solution
from ..solve.checks import parts
from ..solve.descent import Descent, Pace, best_of, descend
from .building import build
from .deviation import SIDES, Deviation
from .noise import find_noise
from .outcome import CoupledSolution
from .problem import Coupled, CoupledProblem
from .starts import Start
from .steps import step


def fit_coupled(
    problems: Mapping[str, Problem],
    rank: int,
    share: str = "maps",
    deviations: Mapping[str, Deviation] | None = None,
    noise: Mapping[str, float] | None = None,
    init: AbstractInitial | None = None,
    restarts: int | None = None,
    *,
    key: Key[Array, ""] | None = None,
    max_steps: int = 500,
    rtol: float | int = 1e-6,
    check_every: int = 10,
    throw: bool = True,
) -> CoupledSolution:
    r"""Factorise several images together that have the same maps, the same spectra, or both.

    Such as EELS, EDX and an annular dark-field image (of one channel) of one scan: what one of them leaves open another
    may decide (structured data fusion: Sorber, Van Barel and De Lathauwer, IEEE J. Sel. Top. Signal Process. 9 (2015)
    586; Muto and Shiga, Microscopy 69 (2020) 110, equations 14 and 15). With the blocks b,

    $\min \sum_b w_b [J_b(M + N_b, S_b) + R(N_b)],$

    J_b being the block's own objective, with its own loss, basis, weights, penalties and constraints; N_b is there only
    where `deviations` names it. w_b is one over the variance of the block's noise under least squares, and 1 for counts
    under Poisson, so that the sum is minus the logarithm of one likelihood.

    Penalties and constraints of the shared side are those of all blocks together.

    Args:
        problems: name -> problem of each block, two or more. Blocks with Poisson or Frobenius without link serve; one
            whose maps are shared moves its spectra by what `fit` would take, so that their constraints are all served.
        rank: the number of components K.
        share: "maps" (the blocks have the same pixels), "spectra" (the same channels, or coefficients of as many
            features), or "both".
        deviations: name -> `Deviation` of a block from what is shared.
        noise: name -> standard deviation of an entry, in the units of the block; what is left out is estimated from
            what K principal components leave, see `solution.noise`. A block with weights takes them for inverse
            variances.
        init: the start of one block, which is fitted alone for a while before the others join; None takes
            `initial.Random`.
        restarts: how many starts; the blocks begin by turns. None takes one for each block that can begin.
        key: randomness of the starts; a start without any needs none.
        max_steps: steps at most.
        rtol: stop when the objective's relative change per step is below this; 0 never stops early.
        check_every: steps between looks at the objective.
        throw: raise when the kept fit is not finite.

    Returns:
        The best restart: `solution["eels"].spectra`, `solution.maps`. Components come by decreasing size. Their size is
        in the spectra: shared maps have the mean one, unless a constraint says otherwise; where spectra are shared
        these have norm one.

    Raises:
        ValueError: fewer than two problems, blocks of another number of pixels (or channels) than the first, a loss,
            link, resolution, basis, penalty or constraint that a shared side does not serve, a deviation of a side that
            is not shared, noise that cannot be found.
        FloatingPointError: no restart stayed finite, and `throw` is set.

    Example:
        >>> import jax, numpy as np, jaxunmix as jxu
        >>> rng = np.random.default_rng(0)
        >>> maps = rng.dirichlet(np.ones(2), 300)
        >>> eels = jxu.Problem(maps @ rng.random((2, 40)) + 0.01 * rng.normal(size=(300, 40)))
        >>> edx = jxu.Problem(rng.poisson(9.0 * maps @ rng.random((2, 30))), jxu.losses.Poisson())
        >>> both = jxu.fit_coupled({"eels": eels, "edx": edx}, 2, key=jax.random.key(0))
        >>> both.maps.shape, both["edx"].spectra.shape
        ((300, 2), (2, 30))
    """
    sides = _read_share(share)
    pace = Pace(check_whole_number(max_steps, "max_steps", 0), check_whole_number(check_every, "check_every", 1))
    check_whole_number(rank, "rank", 1)
    if restarts is not None:
        check_whole_number(restarts, "restarts", 1)
    check_number(rtol, "rtol", 0)
    check_flag(throw, "throw")
    problem = build(problems, rank, sides, deviations, lambda known: find_noise(known, rank, sides, noise))
    starts = _starts(problem, rank, init, restarts, key)
    keys = jax.random.split(jax.random.key(0) if key is None else key, len(starts))
    began = [_begin(start, one) for start, one in zip(starts, keys, strict=True)]
    run = descend(step, problem, jax.tree.map(lambda *leaves: jnp.stack(leaves), *began), rtol, pace)
    return _outcome(problem, run, pace, starts[0], throw)


def _read_share(share: Any) -> tuple[str, ...]:
    check_choice(share, (*SIDES, "both"), "share")
    return SIDES if share == "both" else (share,)


@eqx.filter_jit
def _begin(start: Start, key: Key[Array, ""]) -> Coupled:
    return start(key)


def _starts(problem: CoupledProblem, rank: int, init: Any, restarts: int | None, key: Any) -> list[Start]:
    """One start for each restart: the blocks by turns, those first of whose components more is known."""
    known = [
        len(part.problem.constraints.of("fixed")) + len(part.problem.constraints.of("presence"))
        for part in problem.parts
    ]
    able = [b for b, part in enumerate(problem.parts) if min(part.problem.matrix.shape) >= rank]
    able.sort(key=lambda b: -known[b])
    found = []
    for b in able[: len(able) if restarts is None else restarts]:
        block = problem.parts[b].problem
        chosen = parts(block, None, init)[1]
        chosen.check(block, rank)
        found.append(Start(problem, chosen, rank, b))
    if key is not None:
        check_key(key)
    random = [start.init.is_random(rank) for start in found]
    if any(random) and key is None:
        raise ValueError("The start is random: give key=jax.random.key(seed).")
    if restarts is not None and restarts > len(found):
        if not all(random):
            name = type(found[random.index(False)].init).__name__
            raise ValueError(f"{name} has no randomness: give at most {len(found)} restarts, one for each block.")
        found = [found[r % len(found)] for r in range(restarts)]
    return found


def _outcome(problem: CoupledProblem, run: Descent, pace: Pace, start: Start, throw: bool) -> CoupledSolution:
    best, restarts = best_of(run, throw)
    factors = _normalise(problem, jax.tree.map(lambda leaf: leaf[best], run.factors), start.init.is_given)
    trace = pace.trace_of(np.asarray(run.trace[best]))
    common = (*trace, run.steps[best], run.code[best], restarts)
    blocks = {name: _block(problem, factors, b, start, common) for b, name in enumerate(problem.names)}
    shared = {side: factors.shared.get(side) for side in SIDES}
    moved = {
        name: {side: rows.T if side == "maps" else rows for side, rows in factors.deviations[b].items()}
        for b, name in enumerate(problem.names)
        if factors.deviations[b]
    }
    return CoupledSolution(
        blocks,
        None if shared["maps"] is None else shared["maps"].T,
        shared["spectra"],
        moved,
        {name: float(1 / np.sqrt(w)) for name, w in zip(problem.names, np.asarray(problem.weights), strict=True)},
        run.objective[best],
        *common,
    )


def _normalise(problem: CoupledProblem, factors: Coupled, is_given: bool) -> Coupled:
    """Shared maps of mean one, or shared spectra of norm one, where no size is given; the largest component first."""
    sizes = jnp.zeros(len(factors.rows(0, "maps")), problem.scale.dtype)
    for b, part in enumerate(problem.parts):
        now = factors.of_block(b)
        norms = jnp.linalg.norm(now.maps_t, axis=1) * jnp.linalg.norm(part.problem.spectra(now), axis=1)
        sizes = sizes + problem.weights[b] * norms**2
    if not problem.is_pinned:
        rows = factors.shared[problem.share[-1]]
        unit = jnp.mean(jnp.abs(rows), axis=1) if problem.share[-1] == "maps" else jnp.linalg.norm(rows, axis=1)
        unit = jnp.where(unit > 0, unit, 1)[:, None]
        divided = problem.share[-1]

        def scaled(side, rows):
            return rows / unit if side == divided else rows * unit

        other = next((side for side in SIDES if side not in problem.share), "")
        factors = Coupled(
            {side: scaled(side, rows) for side, rows in factors.shared.items()},
            tuple(None if rows is None else scaled(other, rows) for rows in factors.own),
            tuple({side: scaled(side, rows) for side, rows in each.items()} for each in factors.deviations),
        )
    labelled = any(p.problem.constraints.of(kind) for p in problem.parts for kind in ("fixed", "presence"))
    each_basis = any(p.problem.basis is not None and p.problem.basis.ndim == 3 for p in problem.parts)
    if is_given or labelled or each_basis:
        return factors
    order = jnp.argsort(-sizes)
    return jax.tree.map(lambda rows: rows[order], factors)


def _block(problem: CoupledProblem, factors: Coupled, b: int, start: Start, common: tuple) -> Solution:
    part, now = problem.parts[b], factors.of_block(b)
    spectra = now.profiles if part.problem.basis is None else expand(now.profiles, part.problem.basis)
    coefficients = None if part.problem.basis is None else now.profiles
    trace, trace_steps, steps, code, restarts = common
    return Solution(
        maps=now.maps,
        spectra=spectra,
        coefficients=coefficients,
        objective=part.problem.objective(now),
        trace=trace,
        trace_steps=trace_steps,
        steps=steps,
        code=code,
        restarts=restarts,
        alternatives=Alternatives.none(now.maps, spectra, coefficients),
        description=_describe(problem, b, start),
    )


def _describe(problem: CoupledProblem, b: int, start: Start) -> tuple[tuple[str, Any], ...]:
    part = problem.parts[b]
    return (
        ("loss", part.problem.loss.label),
        ("update", "coupled" if part.update is None else f"coupled, {type(part.update).__name__}"),
        ("initial", type(start.init).__name__),
        ("rank", start.rank),
        ("matrix", type(part.problem.matrix).__name__),
        ("penalties", tuple(penalty.label for penalty in part.problem.penalties)),
        ("constraints", tuple(f"{type(c).__name__}({c.block})" for c in part.problem.constraints)),
        ("coupled_with", tuple(name for name in problem.names if name != problem.names[b])),
        ("shared", problem.share),
    )
