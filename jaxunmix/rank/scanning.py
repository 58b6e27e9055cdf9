"""Fits at every rank from every start, and what each criterion makes of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Key
from tqdm import tqdm

from .._util.validation import check_flag, check_key, check_several, check_whole_number
from ..factor.initial.base import AbstractInitial
from ..factor.initial.coarse import Coarse
from ..factor.initial.random import Random
from ..factor.problem import Problem
from ..factor.solution import Solution
from ..factor.solve.checks import check, check_limits, parts
from ..factor.updates.base import AbstractUpdate
from ..matrix.base import accurate_sum, matmul
from ..matrix.compressed import Compressed, leading_svd
from .criterion import AbstractCriterion, Evidence, Verdict
from .cross_validation import BiCrossValidation
from .singular_values import heights_above_noise
from .survey import Settings, Survey, survey

# Data whose smaller side is longer than this many times the largest rank are compressed for the survey.
COMPRESS_ABOVE = 4
# A side up to this long is diagonalised whole; of a longer one the leading directions are taken.
WHOLE_SPECTRUM = 512
DEFAULT = (BiCrossValidation(),)


@dataclass(frozen=True)
class Scan:
    """The outcome of `scan`.

    Attributes:
        table: over "rank" and "restart": `objective`, `loss` (the data term alone), `mse` (2 loss / entries: the
            mean squared residual under least squares), `steps`, `status`; over "rank": `best_mse` and
            `best_objective` of the best restart on the full data, `pca_mse`, and each criterion's values by its
            name (their errors as NAME_error).
        solutions: the best restart at each rank.
        decision: the `Verdict` of each criterion, by name, in the order they were given.
    """

    table: xr.Dataset
    solutions: dict[int, Solution]
    decision: dict[str, Verdict]

    @property
    def best(self) -> int | None:
        """The first criterion's number of components; None where it does not decide."""
        return next(iter(self.decision.values())).best

    def __repr__(self) -> str:
        ranks = self.table["rank"].values
        lines = [f"{name}: {v.best} ({v.reason})" for name, v in self.decision.items()]
        return f"Scan(K={ranks[0]}..{ranks[-1]}, best={self.best})\n  " + "\n  ".join(lines)


def scan(
    problem: Problem,
    ranks: Iterable[int],
    criteria: Sequence[AbstractCriterion] = DEFAULT,
    restarts: int = 10,
    update: AbstractUpdate | None = None,
    init: AbstractInitial | None = None,
    *,
    key: Key[Array, ""],
    max_steps: int = 200,
    rtol: float | int = 1e-5,
    check_every: int = 10,
    compress: int | bool | None = None,
    progress: bool = False,
) -> Scan:
    """Fit every rank from several starts, and choose among them.

    Args:
        problem: what to minimise.
        ranks: the numbers of components K, such as range(2, 10).
        criteria: what chooses; the first one's choice is `Scan.best`.
        restarts: starts at each rank.
        update: as in `fit`.
        init: as in `fit`; None takes `initial.Coarse` where the data are large enough to gain from it.
        key: randomness.
        max_steps: as in `fit`.
        rtol: as in `fit`.
        check_every: as in `fit`.
        compress: number of directions to compress the data to; None chooses where it helps (plain least squares on
            data whose smaller side is more than 4 times the largest rank), False never.
        progress: a bar on stderr.

    Returns:
        A `Scan`.

    Raises:
        ValueError: no ranks, ranks that are not whole numbers or above the data, criteria that the ranks or the
            problem cannot serve, and what `fit` raises.
        FloatingPointError: no restart of some rank stayed finite.

    Example:
        >>> import jaxunmix as jxu
        >>> img, _ = jxu.simulate.mixture(jax.random.key(0), 300, 40, 3, "gaussian")
        >>> jxu.rank.scan(jxu.Problem(img.matrix()), range(2, 5), restarts=3, key=jax.random.key(1)).best
        3
    """
    update, chosen = parts(problem, update, init)
    check_key(key)
    check_limits(max_steps, rtol, check_every, restarts)
    check_flag(progress, "progress")
    wanted = _checked_ranks(ranks, problem)
    criteria = tuple(check_several(criteria, "criteria", "(rank.BiCrossValidation(),)"))
    if not criteria or not all(isinstance(c, AbstractCriterion) for c in criteria):
        raise ValueError("criteria must be one or more of jaxunmix.rank, such as (rank.BiCrossValidation(),).")
    for criterion in criteria:
        criterion.check(problem, wanted, restarts)
    fit_key, compress_key, own_key = jax.random.split(key, 3)
    problem = _compressed(problem, wanted[-1], compress, compress_key)
    large = max(problem.matrix.shape) > 8192 and Coarse().suits(problem)
    if init is None and isinstance(chosen, Random) and large:
        chosen = Coarse()
    settings = Settings(update, chosen, restarts if chosen.is_random(wanted[-1]) else 1, max_steps, rtol, check_every)
    check(problem, wanted[-1], update, chosen, settings.restarts, key, (max_steps, rtol, check_every))
    done = survey(problem, wanted, settings, fit_key, progress)
    evidence = _evidence(problem, done, settings, own_key, progress)
    decision = {}
    for criterion in tqdm(criteria, disable=not progress, leave=False, unit="criterion"):
        decision[criterion.name] = criterion(evidence)
    return Scan(_table(evidence, decision), done.solutions(problem, settings), decision)


def _checked_ranks(ranks: Iterable[int], problem: Problem) -> list[int]:
    found = list(check_several(ranks, "ranks", "range(2, 10)"))
    if not found:
        raise ValueError("ranks is empty: give the numbers of components to try, such as range(2, 10).")
    wrong = [rank for rank in found if not isinstance(rank, int | np.integer) or isinstance(rank, bool)]
    if wrong:
        raise ValueError(f"ranks must be whole numbers, got {wrong[0]!r}.")
    most = min(problem.matrix.shape)
    outside = sorted(rank for rank in found if not 1 <= rank <= most)
    if outside:
        pixels, channels = problem.matrix.shape
        raise ValueError(
            f"ranks must lie in 1..{most} for data of {pixels} pixels and {channels} channels, got {outside[-1]}."
        )
    return sorted({int(rank) for rank in found})


def _compressed(problem: Problem, most: int, compress: int | bool | None, key: Key[Array, ""]) -> Problem:
    """The problem on compressed data, where asked for or where it helps."""
    matrix = problem.matrix
    plain = problem.is_least_squares and not (matrix.is_sparse or matrix.is_compressed)
    short = min(problem.matrix.shape)
    if compress is not None:
        check_whole_number(int(compress) if compress in (True, False) else compress, "compress", 0)
    if compress is False or (compress is None and not (plain and short > COMPRESS_ABOVE * most)):
        return problem
    directions = min(short, max(2 * most, most + 10)) if compress is None or compress is True else compress
    return problem.replace(matrix=Compressed(matrix, directions, key=key, polish=1))


def _evidence(problem: Problem, done: Survey, settings: Settings, key: Key[Array, ""], progress: bool) -> Evidence:
    matrix = problem.matrix
    pixels = matrix.shape[0]
    short = min(matrix.shape)
    count = short if short <= WHOLE_SPECTRUM else min(short, 2 * max(done.ranks) + 10)
    if short <= WHOLE_SPECTRUM:
        matrix = matrix.whole
    u, s, _ = leading_svd(matrix, count, jax.random.key(0))
    mean = matrix.channel_sums / pixels
    along = s[:, None] * u
    middle = along.mean(axis=1, keepdims=True)
    centred = jnp.linalg.eigvalsh(matmul(along - middle, (along - middle).T))[::-1]
    total = float(accurate_sum(matrix.squares))
    best = [int(restarts.best) for restarts in done.restarts]
    own = np.array([np.asarray(restarts.objective)[i] for i, restarts in zip(best, done.restarts, strict=True)])
    loss = np.array([of_rank[i] for of_rank, i in zip(done.loss, best, strict=True)])
    energies = np.asarray(s, float) ** 2
    return Evidence(
        problem=problem,
        survey=done,
        settings=settings,
        # The polish on the full data moves the data term as it moves the objective.
        loss=np.maximum(loss + done.objective - own, 0),
        squares=(total, total - pixels * float(jnp.sum(mean**2))),
        energies=energies,
        centred=np.maximum(np.asarray(centred, float), 0),
        heights=heights_above_noise(energies, total, matrix.shape, done.ranks[-1]),
        key=key,
        progress=progress,
    )


def _table(evidence: Evidence, decision: dict[str, Verdict]) -> xr.Dataset:
    done, entries = evidence.survey, float(np.prod(evidence.shape))
    each = ("rank", "restart")
    variables: dict[str, Any] = {
        "objective": (each, np.array([r.objective for r in done.restarts])),
        "loss": (each, done.loss),
        "mse": (each, 2 * done.loss / entries),
        "steps": (each, np.array([r.steps for r in done.restarts])),
        "status": (each, np.array([[status.name for status in r.status] for r in done.restarts])),
        "best_objective": ("rank", done.objective),
        "best_mse": ("rank", evidence.mse),
        "pca_mse": ("rank", evidence.pca_mse(evidence.ranks)),
    }
    for name, verdict in decision.items():
        variables[name] = ("rank", verdict.values)
        if verdict.error is not None:
            variables[f"{name}_error"] = ("rank", verdict.error)
    return xr.Dataset(variables, {"rank": evidence.ranks})
