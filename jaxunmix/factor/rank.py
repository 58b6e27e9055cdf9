"""How many components: fits at every rank from every start, and what each criterion makes of them.

No criterion is right everywhere. Of four simulated images of each kind with four components (2,000 pixels x 100
channels; domains 3,600; ranks 1 to 10 of 8 restarts, default limits), each found the number in as many as the table
says, in brackets the commonest wrong answer, "-" where it did not decide. s/n is `Truth.signal_to_noise`.
`python tests/benchmarks/criteria.py` makes it, and has more rows.

                          s/n   Bi-CV    Plateau  Elbow    Crossing Scree    Malinow. AIC      BIC      Dispersion
    mixture, 10 dB        5.6   4        4        4        4        4        4        4        4        4
    mixture, 0 dB         1.8   4        3 (5)    4        4        4        3 (3)    4        0 (2)    4
    mixture, -5 dB        1.0   4        1 (5)    4        4        4        0 (2)    3 (3)    0 (1)    4
    mixture, -10 dB       0.6   1 (3)    0 (7)    3 (3)    0 (2)    4        0 (1)    0 (2)    0 (1)    3 (3)
    evenly mixed, 10 dB   4.0   4        4        4        4        4        4        4        4        3 (5)
    evenly mixed, 5 dB    2.3   4        4        4        4        4        4        4        0 (3)    3 (3)
    thickness varies, 10  5.5   4        4        4        4        4        4        4        4        4
    thickness varies, 0   1.8   4        4        4        4        4        3 (3)    4        0 (2)    4
    spectra alike, 30 dB  4.0   0 (6)    4        3 (3)    4        4        4        4        3 (3)    0 (-)
    spectra alike, 20 dB  1.3   2 (3)    2 (5)    2 (3)    4        4        0 (3)    4        0 (2)    0 (-)
    spectra alike, 10 dB  0.4   0 (2)    0 (2)    0 (2)    1 (3)    1 (3)    0 (1)    0 (2)    0 (1)    0 (-)
    2,000 counts          -     4        4        4        2 (6)    0 (-)    4        0 (10)   4        3 (5)
      scaled              -     4        4        4        4        4        4        4        4        4
      Poisson loss        -     3 (5)    4        4        refused  0 (-)    4        4        4        2 (5)
    50 counts             -     4        4        2 (3)    1 (10)   0 (-)    2 (3)    0 (10)   0 (2)    4
      scaled              -     4        4        3 (3)    4        4        3 (3)    4        0 (1)    4
      Poisson loss        -     4        4        3 (3)    refused  0 (-)    2 (3)    4        0 (3)    3 (3)
    domains, 5.62 dB      2.1   4        4        4        4        4        3 (3)    4        1 (3)    4
    domains, 0 dB         1.1   3 (3)    1 (5)    3 (3)    3 (2)    4        0 (2)    2 (3)    0 (1)    4
    domains, -5 dB        0.6   0 (3)    0 (6)    2 (3)    0 (1)    4        0 (1)    0 (2)    0 (1)    4
    domains, -10 dB       0.3   0 (2)    0 (7)    3 (3)    0 (1)    0 (3)    0 (1)    0 (1)    0 (1)    1 (3)

Advice from it:

- `BiCrossValidation` asks what predicts data that no fit has seen, and assumes least about the noise: the default.
  It needs fits that have settled: with `max_steps=200` it is right in the first three images of spectra alike at 30
  dB, where with its 50 steps it asked for too many in all.
- `Scree` goes deepest where the noise is even and independent, down to an s/n of about 0.5, and is the cheapest. It
  sees the data alone, not the fits. Correlated noise, drift and uneven noise all stand out of the law it assumes.
- Counts fitted by least squares have uneven noise: apply `preprocess.poisson_scale` first, for `Scree`, `Crossing`
  and `AIC` above all; or take the Poisson loss with `AIC` and `BiCrossValidation`.
- `Plateau` and `Elbow` read the curve as the eye does, and depend on which ranks are scanned. `Malinowski` and `BIC`
  ask for too few from an s/n of 2 downwards. `Dispersion` is for components with pixels of their own.
- Measured data have structure that is no component: drift, misregistration, correlated noise. Criteria then count it
  and disagree; look at what the further components describe.

Where the number cannot be found by anyone: components whose spectra (or, where a reference was subtracted, difference
spectra) span fewer dimensions than their number (of five in four dimensions every criterion found four), or that stand
out of the noise too little. Below an s/n of about 1 fits do not predict; below about (n m)^(1/4) / (n^(1/2) + m^(1/2)),
0.4 here, the singular values of n pixels x m channels do not show the weakest direction either.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Key
from tqdm import tqdm

from ..data.compressed import Compressed, leading_svd
from ..data.matrix import Dense, accurate_sum, matmul
from .criteria import AIC as AIC
from .criteria import BIC as BIC
from .criteria import AbstractCriterion as AbstractCriterion
from .criteria import BiCrossValidation as BiCrossValidation
from .criteria import Crossing as Crossing
from .criteria import Dispersion as Dispersion
from .criteria import Elbow as Elbow
from .criteria import Evidence as Evidence
from .criteria import Malinowski as Malinowski
from .criteria import Plateau as Plateau
from .criteria import Scree as Scree
from .criteria import Verdict as Verdict
from .fit import check, defaults
from .initial import AbstractInitial, Coarse, Random
from .losses import Frobenius
from .problem import Problem
from .solution import Solution
from .step import AbstractUpdate
from .survey import Settings, Survey, survey

# Data whose smaller side is longer than this many times the largest rank are compressed for the survey.
COMPRESS_ABOVE = 4
# A side up to this long is diagonalised whole; of a longer one the leading directions are taken.
WHOLE_SPECTRUM = 512
# Squared singular values below this share of the largest are rounding: they come from products in single precision.
RESOLVED = 1e-6
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
    wanted = _checked_ranks(ranks, problem)
    if not criteria or not all(isinstance(c, AbstractCriterion) for c in criteria):
        raise ValueError("criteria must be one or more of jaxunmix.rank, such as (rank.BiCrossValidation(),).")
    for criterion in criteria:
        criterion.check(problem, wanted, restarts)
    fit_key, compress_key, own_key = jax.random.split(key, 3)
    problem = _compressed(problem, wanted[-1], compress, compress_key)
    update, chosen = defaults(problem, update, init)
    if init is None and isinstance(chosen, Random) and Coarse().suits(problem) and max(problem.matrix.shape) > 8192:
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
    found = list(ranks)
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
    plain = isinstance(problem.loss, Frobenius) and problem.weights is None and isinstance(problem.matrix, Dense)
    short = min(problem.matrix.shape)
    if compress is False or (compress is None and not (plain and short > COMPRESS_ABOVE * most)):
        return problem
    directions = min(short, max(2 * most, most + 10)) if compress is None or compress is True else compress
    matrix = Compressed(problem.matrix, directions, key=key, polish=1)
    return Problem(matrix, problem.loss, problem.basis, problem.penalties, None, problem.constraints)


def _evidence(problem: Problem, done: Survey, settings: Settings, key: Key[Array, ""], progress: bool) -> Evidence:
    matrix = problem.matrix
    pixels = matrix.shape[0]
    short = min(matrix.shape)
    count = short if short <= WHOLE_SPECTRUM else min(short, 2 * max(done.ranks) + 10)
    if isinstance(matrix, Compressed):
        matrix = matrix.full if short <= WHOLE_SPECTRUM else matrix
    u, s, _ = leading_svd(matrix, count, jax.random.key(0))
    mean = matrix.channel_sums / pixels
    along = s[:, None] * u
    middle = along.mean(axis=1, keepdims=True)
    centred = jnp.linalg.eigvalsh(matmul(along - middle, (along - middle).T))[::-1]
    total = float(accurate_sum(matrix.squares))
    own = np.array([restarts.objective[restarts.best] for restarts in done.restarts])
    loss = np.array([of_rank[restarts.best] for of_rank, restarts in zip(done.loss, done.restarts, strict=True)])
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


def heights_above_noise(energies: np.ndarray, total: float | int, shape: tuple[int, ...], last: int) -> np.ndarray:
    """(s_k^2 / v - edge) / tau of the leading squared singular values, up to one beyond `last`; see `criteria.Scree`.

    Args:
        energies: squared singular values, decreasing; `last` of them or more.
        total: the sum of all, known ones or not.
        shape: of the data.
        last: signal is sought in the first `last` values (half of all at most); the others tell the noise.
    """
    found = np.full(min(last + 1, len(energies)), -np.inf)
    for k in range(len(found)):
        if energies[k] <= RESOLVED * energies[0]:
            break
        first = max(min(last, min(shape) // 2), k)
        rest = max(total - energies[:first].sum(), RESOLVED**2 * total)
        n, m = (size - k for size in shape)
        variance = rest / marchenko_pastur(n, m)[first - k :].sum()
        a, b = np.sqrt(n - 0.5), np.sqrt(m - 0.5)
        edge, tau = (a + b) ** 2, (a + b) * (1 / a + 1 / b) ** (1 / 3)
        found[k] = (energies[k] / variance - edge) / tau
    return found


def marchenko_pastur(n: int, m: int) -> np.ndarray:
    """The decreasing squared singular values to expect of n x m noise of variance 1: quantiles of the law."""
    short, long = sorted((n, m))
    middle, half = short + long, 2 * np.sqrt(short * long)
    angle = np.linspace(0, np.pi, 4001)
    x = middle - half * np.cos(angle)
    weight = np.sin(angle) ** 2 / np.maximum(x, np.finfo(float).tiny)
    share = np.concatenate([[0], np.cumsum(weight[1:] + weight[:-1])])
    return np.interp(1 - (np.arange(short) + 0.5) / short, share / share[-1], x)


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
