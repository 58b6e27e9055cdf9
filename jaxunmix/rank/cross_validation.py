"""Bi-cross-validation: a block of pixels and channels is held out, and predicted from what surrounds it.

With fold i of the pixels and fold i of the channels held out the data are

    X = [[A, B], [C, D]],    A: held-out pixels and channels,  D: neither.

D ~ W H is fitted at every rank. Its factors predict the block that the fit has not seen,

    A ~ B D^+ C,    D^+ = H^+ W^+,

so that a component that describes D's noise predicts nothing and costs (Owen and Perry, Ann. Appl. Stat. 3 (2009)
564, equations 1.4 and 3.1). Fold i has the pixels i, i + folds, i + 2 folds, ... and likewise the channels.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from .._util.validation import check_number, check_whole_number
from ..factor.problem import Problem
from ..matrix.base import accurate_sum, matmul
from .criterion import AbstractCriterion, Evidence, Verdict, note_end
from .survey import Settings, survey


@dataclass(frozen=True)
class BiCrossValidation(AbstractCriterion):
    """The fewest components that predict blocks unseen by the fit as well as any; see the module.

    `values` are mean squared residuals over all held-out blocks, `error` the standard error over the folds of the
    difference from the least (paired, fold by fold). The smallest rank within `within` errors of the least is taken
    (the rule of one standard error of Breiman et al., Classification and Regression Trees, 1984, section 3.4.3):
    fits from few starts, or not converged, let ranks above the true one predict a hair better. The margin is the
    smallest distance of another rank from the least, in errors: below 2 the ranks are not told apart.

    Args:
        folds: each holds out every folds-th pixel and channel, 20 as in Tanimoto et al., J. Phys. Commun. 5 (2021)
            115005, who take the least (`within=0`).
        restarts: starts for each fit.
        max_steps: of each fit; give 200 where spectra are alike, whose fits settle slowly.
        within: standard errors.
    """

    command = "bcv"

    folds: int = 20
    restarts: int = 2
    max_steps: int = 50
    within: float | int = 1.0

    def __post_init__(self) -> None:
        for name, least in (("folds", 2), ("restarts", 1), ("max_steps", 1)):
            check_whole_number(getattr(self, name), f"BiCrossValidation: {name}", least)
        check_number(self.within, "BiCrossValidation: within", 0)

    def check(self, problem: Problem, ranks: list[int], restarts: int) -> None:
        check_folds(problem.matrix.shape, ranks, self.folds)
        if problem.basis is not None or problem.weights is not None:
            raise ValueError("BiCrossValidation serves no problem with basis or weights; use rank.AIC() or rank.BIC().")
        if any(p.pixel_grid is not None or not p.has_bound for p in problem.penalties):
            raise ValueError(
                "BiCrossValidation leaves out pixels, which a grid or a function of the factors does not know of; "
                "leave that penalty out of the scan."
            )

    def __call__(self, evidence: Evidence) -> Verdict:
        settings = evidence.settings
        ranks, problem, key = evidence.ranks.tolist(), evidence.problem, evidence.key
        starts = self.restarts if settings.init.is_random(ranks[-1]) else 1
        settings = replace(settings, restarts=starts, max_steps=min(self.max_steps, settings.max_steps))
        table = residuals(problem, ranks, self.folds, settings, key, evidence.progress)
        each = int(np.prod([size // self.folds for size in evidence.shape]))
        values = table.mean(axis=1) / each
        least = int(np.argmin(values))
        apart = (table - table[least]) / each
        error = apart.std(axis=1, ddof=1) / np.sqrt(self.folds)
        scores = apart.mean(axis=1) / np.maximum(error, np.finfo(float).tiny)
        best = int(np.argmax(scores <= self.within))
        margin, nearest = min(zip(np.delete(scores, best), np.delete(ranks, best), strict=True), default=(np.nan, None))
        reason = f"held-out residual least at {ranks[least]}, "
        if nearest is None:
            reason = f"{ranks[0]} is the only rank"
        elif best == least:
            reason += f"{margin:.1f} standard errors below that of {nearest}" + ": not told apart" * bool(margin < 2)
        else:
            reason += f"{ranks[best]} within {scores[best]:.1f} standard errors of it: not told apart, the fewest taken"
        return Verdict(ranks[best], values, error, float(margin), reason + note_end(best, ranks))


class Blocks(NamedTuple):
    """The four parts of the data at one fold."""

    held: Float[Array, "some few"]
    beside: Float[Array, "some channels"]
    below: Float[Array, "pixels few"]
    training: Float[Array, "pixels channels"]


def residuals(
    problem: Problem, ranks: list[int], folds: int, settings: Settings, key: Key[Array, ""], progress: bool
) -> Float[np.ndarray, "ranks folds"]:
    """The sum of |A - B D^+ C|^2 of each fold, by the best restart at each rank.

    The folds have equal shapes (pixels and channels left over at the end are always in D), so all run the same
    compiled programs. Each D is compressed by itself where the problem's data are, and nothing of A, B or C enters
    the fit.

    Raises:
        ValueError: more folds than pixels or channels, or too few channels left for the largest rank.
    """
    values = problem.matrix.to_dense()
    check_folds(values.shape, ranks, folds)
    keys = jax.random.split(key, folds)
    scores = [_fold(problem, values, ranks, fold, folds, settings, keys[fold], progress) for fold in range(folds)]
    return np.array(scores).T


def check_folds(shape: tuple[int, ...], ranks: list[int], folds: int) -> None:
    """Refuse folds that leave nothing to fit or nothing to predict."""
    for axis, size in zip(("pixels", "channels"), shape, strict=True):
        if not 2 <= folds <= size:
            raise ValueError(
                f"BiCrossValidation: folds={folds} must lie in 2..{size}, since there are {size} {axis}; "
                f"BiCrossValidation(folds={max(2, min(size, 10))}) would do."
            )
        left = size - size // folds
        if max(ranks) > left:
            raise ValueError(
                f"BiCrossValidation: with folds={folds} a fit sees {left} of {size} {axis}, fewer than the rank "
                f"{max(ranks)}; leave out the ranks above {left} or ask for more folds."
            )


def _fold(
    problem: Problem,
    values: Float[Array, "pixels channels"],
    ranks: list[int],
    fold: int,
    folds: int,
    settings: Settings,
    key: Key[Array, ""],
    progress: bool,
) -> np.ndarray:
    blocks = _blocks(values, *(_split(size, fold, folds) for size in values.shape))
    # A third key for the compression: its random directions are not those of the starts.
    fit_key, compress_key = jax.random.split(key)
    training = problem.replace(matrix=problem.matrix.like(blocks.training, compress_key))
    fitted = survey(training, ranks, settings, fit_key, progress)
    largest = max(ranks)
    maps, spectra = (
        jnp.asarray(np.stack([np.pad(rows, ((0, largest - len(rows)), (0, 0))) for rows in block]))
        for block in zip(*fitted.best, strict=True)
    )
    return np.asarray(_scores(blocks, maps, spectra), float)


def _split(size: int, fold: int, folds: int) -> tuple[Array, Array]:
    """(held out, training) indices along one axis."""
    held = np.arange(size // folds) * folds + fold
    return jnp.asarray(held), jnp.asarray(np.setdiff1d(np.arange(size), held))


@jax.jit
def _blocks(values: Array, pixels: tuple[Array, Array], channels: tuple[Array, Array]) -> Blocks:
    held, training = values[pixels[0]], values[pixels[1]]
    return Blocks(held[:, channels[0]], held[:, channels[1]], training[:, channels[0]], training[:, channels[1]])


@jax.jit
def _scores(
    blocks: Blocks, maps: Float[Array, "ranks components pixels"], spectra: Float[Array, "ranks components channels"]
) -> Float[Array, " ranks"]:
    def score(w, h):
        left = matmul(blocks.beside, pseudoinverse(h))
        right = matmul(pseudoinverse(w).T, blocks.below)
        return accurate_sum((blocks.held - matmul(left, right)) ** 2)

    return jax.vmap(score)(maps, spectra)


def pseudoinverse(rows: Float[Array, "components length"]) -> Float[Array, "length components"]:
    """rows^+ by the eigenvalues of rows rows', each row at unit length; rows of zeros give zeros.

    Directions that the rows share to the rounding of their type are left out.
    """
    length = jnp.linalg.norm(rows, axis=1, keepdims=True)
    unit = jnp.where(length > 0, rows / jnp.where(length > 0, length, 1), 0)
    values, vectors = jnp.linalg.eigh(matmul(unit, unit.T))
    keep = values > 10 * jnp.finfo(rows.dtype).eps * len(rows)
    inverse = matmul(vectors * jnp.where(keep, 1 / jnp.where(keep, values, 1), 0), vectors.T)
    scale = jnp.where(length > 0, 1 / jnp.where(length > 0, length, 1), 0)
    return matmul(unit.T, inverse) * scale[:, 0]
