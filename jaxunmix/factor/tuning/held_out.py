"""What a fit has not seen: counts or entries that are held out, and how well a fit predicts them."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jaxtyping import Array, Float, Key

from ..._util.random import numpy_generator
from ...matrix.base import matmul
from ..model import Bilinear
from ..problem import Problem
from ..solution import Solution

Scores = Float[np.ndarray, " pixels"]
# A background under every prediction of counts, as a share of their mean: where a fit says that there is nothing at
# all, one count is a surprise of finite size.
BACKGROUND = 1e-3


class HeldOut(NamedTuple):
    """A problem on one part of the data, and the judge that has the other.

    Attributes:
        train: the problem on what is fitted.
        judge: what is lost in each pixel when a fit predicts the other part, without what no model changes.
        factor: what a weight chosen for `train` is multiplied by for all the data.
    """

    train: Problem
    judge: Callable[[Solution], Scores]
    factor: float


def is_whole(problem: Problem) -> bool:
    """Whether all entries are whole numbers, which can be thinned."""
    entries = scipy.sparse.coo_array(problem.matrix.to_host()).data
    return bool((entries == entries.round()).all())


def thin(problem: Problem, share: float, key: Key[Array, ""]) -> tuple[Problem, Problem]:
    """The problem on a binomial share of the counts, and on the others."""
    rng = numpy_generator(key)
    whole = problem.matrix.to_host()
    if scipy.sparse.issparse(whole):
        drawn = whole.copy()
        drawn.data = rng.binomial(whole.data.astype(int), share).astype(whole.dtype)
        drawn.eliminate_zeros()
    else:
        drawn = rng.binomial(whole.astype(int), share).astype(whole.dtype)
    like = problem.matrix.like
    return problem.replace(matrix=like(drawn)), problem.replace(matrix=like(whole - drawn))


def hold_out_counts(problem: Problem, share: float, key: Key[Array, ""]) -> HeldOut:
    """Each count into one of two sets, with the probability `share` for the one that is fitted.

    What a penalty is to balance is noise, whose share in the data falls with the counts: the weight for all of them is
    `share` times the best one.
    """
    train, test = thin(problem, share, key)
    return HeldOut(train, lambda found: deviance(test, found, (1 - share) / share), share)


def hold_out_entries(problem: Problem, share: float, key: Key[Array, ""]) -> HeldOut:
    """Entries drawn at random, of which the share `share` is fitted, the others having the weight 0 (Wold, 1978)."""
    fitted = numpy_generator(key).random(problem.matrix.shape) < share
    weights = np.ones(problem.matrix.shape) if problem.weights is None else np.asarray(problem.weights)
    train = problem.replace(weights=weights * fitted)
    hidden = jnp.asarray(weights * ~fitted, problem.matrix.dtype)

    @eqx.filter_jit
    def lost(problem: Problem, maps_t: Array, profiles: Array) -> Float[Array, " pixels"]:
        factors = Bilinear(maps_t, profiles)
        linear = matmul(problem.seen_maps(factors).T, problem.spectra(factors))
        return jnp.sum(problem.loss.measure(problem.matrix.to_dense(), linear, hidden), axis=1)

    def judge(found: Solution) -> Scores:
        profiles = found.spectra if found.coefficients is None else found.coefficients
        return np.asarray(lost(problem, found.maps.T, profiles), float)

    return HeldOut(train, judge, 1.0)


def deviance(judge: Problem, found: Solution, ratio: float) -> Scores:
    """Minus the Poisson log-likelihood of each pixel's counts over a background, without what no model changes."""
    maps, spectra = ratio * np.asarray(found.maps), np.asarray(found.spectra)
    expected = maps @ spectra.sum(axis=1)
    counts = scipy.sparse.coo_array(judge.matrix.to_host())
    model = np.einsum("ik,ki->i", maps[counts.row], spectra[:, counts.col])
    background = BACKGROUND * expected.mean() / spectra.shape[1]
    seen = np.bincount(counts.row, counts.data * np.log(model + background + 1e-30), minlength=len(maps))
    return expected - seen
