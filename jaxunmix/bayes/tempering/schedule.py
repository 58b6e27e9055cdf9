"""The ladder of b: what stands between prior and posterior, and rungs at equal distances in it.

The rejections r of swaps between neighbours add up to the communication barrier

    Lambda(b) = sum of r over the pairs below b,        Lambda = Lambda(1),

which depends little on the rungs that it is measured with (Syed et al., Non-reversible parallel tempering, 2022,
sections 4 and 5). Rungs at equal steps of Lambda(b) let replicas pass fastest, and 2 Lambda + 1 of them are about
right; with fewer, evidences were 0.7 nats off.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Ladder = Float[Array, " rungs"]
# The least rejection that a pair counts with, so that no two rungs are as one.
LEAST = 1e-3


def equalise(betas: Ladder, rejection: Float[Array, " pairs"]) -> Ladder:
    """Rungs at equal steps of the barrier, from 0 to the last as before.

    Lambda is interpolated by a monotone cubic of ln(1 + b / b_1), b_1 being the first rung above 0.
    """
    barrier = jnp.concatenate([jnp.zeros(1, betas.dtype), jnp.cumsum(jnp.clip(rejection, LEAST, 1))])
    position = jnp.log1p(betas / betas[1])
    places = jnp.linspace(0, barrier[-1], len(betas), dtype=betas.dtype)
    new = betas[1] * jnp.expm1(monotone_cubic(barrier, position, places))
    return new.at[0].set(0).at[-1].set(betas[-1])


def monotone_cubic(x: Ladder, y: Ladder, at: Float[Array, " places"]) -> Float[Array, " places"]:
    """The monotone cubic of Fritsch and Butland (1984) through increasing (x, y)."""
    step, slope = jnp.diff(x), jnp.diff(y) / jnp.diff(x)
    ahead, behind = 2 * step[1:] + step[:-1], step[1:] + 2 * step[:-1]
    inner = (ahead + behind) / (ahead / slope[:-1] + behind / slope[1:])
    tangent = jnp.concatenate([slope[:1], inner, slope[-1:]])
    k = jnp.clip(jnp.searchsorted(x, at, side="right") - 1, 0, len(step) - 1)
    t = (at - x[k]) / step[k]
    rise, left, right = slope[k], tangent[k], tangent[k + 1]
    cubic = t * (left + t * (3 * rise - 2 * left - right + t * (left + right - 2 * rise)))
    return y[k] + step[k] * cubic


def rungs(betas: np.ndarray, rejection: np.ndarray, number: int | None, last: float) -> np.ndarray:
    """A first ladder to `last` from the levels of several runs, (runs, levels), and rejections between them.

    Without a `number` there are 2 Lambda + 3, at least 4.
    """
    curves = [_curve(b[: _length(b)], r[: _length(b) - 1]) for b, r in zip(betas, rejection, strict=True)]
    first = np.mean([b[1] for b, _ in curves])
    grid = np.unique(np.concatenate([np.log1p(b / first) for b, _ in curves]))
    grid = np.append(grid[grid < np.log1p(last / first)], np.log1p(last / first))
    barrier = np.mean([np.interp(grid, np.log1p(b / first), c) for b, c in curves], axis=0)
    number = max(4, int(np.ceil(2 * barrier[-1])) + 3) if number is None else number
    barrier = barrier + LEAST * np.linspace(0, 1, len(grid))
    ladder = first * np.expm1(np.interp(np.linspace(0, barrier[-1], number), barrier, grid))
    ladder[0], ladder[-1] = 0.0, last
    return ladder


def _length(betas: np.ndarray) -> int:
    """The levels before a run's last one repeats."""
    return 1 + int(np.sum(np.diff(betas) > 0))


def _curve(betas: np.ndarray, rejection: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return betas, np.concatenate([[0.0], np.cumsum(rejection)])
