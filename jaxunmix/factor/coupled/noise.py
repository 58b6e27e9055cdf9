"""The noise of each block, by which blocks of different units are weighed against one another."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._util.validation import check_mapping, check_number
from ...matrix.base import matmul
from ...matrix.compressed import leading_svd
from ..initial.base import SUBSPACE_SEED
from ..problem import Problem, residual_squares


def find_noise(problems: Mapping[str, Problem], rank: int, share: tuple[str, ...], given: Any) -> dict[str, float]:
    r"""The standard deviation of an entry of each block; 1 for counts, which tell their own.

    From what K principal components leave of P pixels and C channels,

    $\sigma^2 = |X - X_K|^2 / ((P - K)(C - K)).$

    A block of K channels or fewer, as a dark-field image, leaves nothing by itself: it is regressed on the principal
    maps of the other blocks that share its maps.

    Raises:
        ValueError: a name that is no block, a number that is no standard deviation, a block whose noise cannot be
            found.
    """
    given = {} if given is None else check_mapping(given, "noise", '{"eels": 12.0}')
    for name, value in given.items():
        if name not in problems:
            raise ValueError(f"noise names {name!r}, which is no block; the blocks are {', '.join(problems)}.")
        if problems[name].loss.beta == 1:
            raise ValueError(f"noise: the block {name!r} is of counts under Poisson, which tell their own noise.")
        check_number(value, f"noise[{name!r}]", above=0)
    found = {}
    for name, problem in problems.items():
        if name in given:
            found[name] = float(given[name])
        elif problem.loss.beta == 1:
            found[name] = 1.0
        else:
            found[name] = _estimate(name, problems, rank, share)
    return found


def _estimate(name: str, problems: Mapping[str, Problem], rank: int, share: tuple[str, ...]) -> float:
    problem = problems[name]
    if problem.weights is not None:
        # Weights are taken for inverse variances, as they are where noise differs from entry to entry.
        return 1.0
    pixels, channels = problem.matrix.shape
    key = jax.random.key(SUBSPACE_SEED)
    if min(pixels, channels) > rank:
        u, s, v = leading_svd(problem.matrix, rank, key)
        left = float(residual_squares(problem.matrix, u * s[:, None], v))
        free = (pixels - rank) * (channels - rank)
    else:
        others = [p for other, p in problems.items() if other != name and min(p.matrix.shape) > rank]
        if "maps" not in share or not others or pixels <= rank * len(others):
            raise ValueError(
                f"the block {name!r} of {pixels} pixels and {channels} channels leaves nothing beside {rank} "
                f"components from which its noise could be estimated; give noise={{{name!r}: standard deviation}}."
            )
        scores = jnp.concatenate([leading_svd(p.matrix, rank, key)[0] for p in others])
        axes = jnp.linalg.qr(scores.T)[0]
        left = float(residual_squares(problem.matrix, axes.T, matmul(axes.T, problem.matrix.to_dense())))
        free = (pixels - axes.shape[1]) * channels
    # Data without noise: to the rounding of their type.
    least = float(jnp.sum(problem.matrix.squares)) * float(np.finfo(problem.matrix.dtype).eps) ** 2
    return float(np.sqrt(max(left, least) / free))
