r"""Evidence and posterior of a number of peaks by importance and bridge sampling, from draws of tempered runs.

Tempered runs find the places of the posterior, but the weight that reaches a place is what many levels of resampling
have made of it: with 8 peaks runs in the same place differ by a nat and more. What a place holds is better asked of
itself. In normal scores x of positions, widths and ln sigma the prior is standard normal, and a mixture q of
t distributions that is fitted to draws of the posterior is near it. From draws of q and uniform u,

    w = p(D | x, u) N(x; 0, 1) / q(x),        p(D | K) = K! <w>_q,

with w = 0 but for the one order of the exchangeable peaks that q was fitted in. The mixture is fitted anew to draws and
weighted draws, round by round, and all rounds count, with the mean of their mixtures for q (adaptive multiple
importance sampling; J.-M. Cornuet et al., Scand. J. Stat. 39 (2012) 798).

Where q falls short of the posterior no draw of it tells so: the mean of w is then too low by a part of a nat while the
weights seem even. Draws of the posterior tell, when they have moved on from those that q was fitted to. Both together
give Z = p(D | K) by the bridge of X.-L. Meng and W. H. Wong (Statistica Sinica 6 (1996) 831), n_q and n_p being what
they count for:

    sum_q  n_p w / (n_q Z + n_p w)  =  n_p < n_q Z / (n_q Z + n_p w) >_p ,

and both together, weighed accordingly, are the posterior. The mean on the right is the share of the posterior that is
within reach of q. Places that no run has found are in neither.
"""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr
from jaxtyping import Array, Key
from scipy.optimize import brentq, linear_sum_assignment
from scipy.special import expit, gammaln, logsumexp, ndtri

from ...explorers.mixture import Mixture, fit_mixture
from ...programs import Call
from ..marginal import SHAPES, CollapsedSpectrum
from .draws import Draws

# Components, the points by which their covariances are drawn to the pooled one, and their degrees of freedom: the tails
# of q must not be lighter than those of the posterior.
COMPONENTS, SHRUNK, FREEDOM = 10, 5.0, 6
# Draws that a mixture is fitted to, draws of a program, programs of a round, and rounds at most.
POOL, BATCH, BATCHES, ROUNDS = 8000, 4000, 4, 8
# Effective sample sizes: enough, and too small to go on where so many rounds have not surpassed it.
ENOUGH, HOPELESS, PATIENCE = 1000.0, 10.0, 2
# What the draws of the posterior count for together, n_p: as many independent ones. How they are shared out between
# places carries the noise of the tempered runs.
TRUSTED = 100
# The largest weights are cut to that of so many draws before a mixture is fitted to them.
CUT = 200
# Repeated from the same particles, with 8 peaks and with two too many, the mean of w spread by 0.7 to 2.3 times what
# the weights tell.
HONEST = 2.0
# Draws of less than the largest weight by so many nats are next to nothing: their order is not looked at.
NOTHING = 20.0
# So many nats beyond the least and the largest weight one of the sums of the bridge is next to nothing.
FAR = 30.0


class _Scored(NamedTuple):
    """Draws with their normal scores: scores, points, 1 / sigma^2, and ln of q_b(x, u) N(x)."""

    x: Any
    z: Any
    beta: Any
    log_target: Any


def importance(
    density: CollapsedSpectrum,
    posterior: Draws,
    moved: Draws,
    peaks: int,
    noise: tuple[float, float],
    rng: np.random.Generator,
) -> Draws:
    """Weighted draws from mixtures fitted to draws of the posterior, and of such that have moved on.

    Args:
        density: of the spectrum.
        posterior: `POOL` draws that mixtures are fitted to.
        moved: `BATCH` draws that have moved on from where the tempered runs left them.
        peaks: K.
        noise: the ends of the prior of sigma; equal where it is known.
        rng: the randomness.
    """
    order, ends = _Order(density, posterior.z, peaks), np.log(noise)
    start = pool = _scores(density, order.of(posterior.z), posterior.beta, peaks, ends, rng)
    mixtures: list[Mixture] = []
    sizes: list[float] = []
    draws = _Scored(np.empty((0, pool.shape[1])), np.empty((0, density.size)), np.empty(0), np.empty(0))
    log_q = np.empty((0, 0))
    while len(mixtures) < ROUNDS:
        mixtures.append(_fitted(jnp.asarray(pool)))
        keys = jax.random.split(jax.random.key(int(rng.integers(2**31))), BATCHES)
        new = [_target(density, *_proposed(density, mixtures[-1], jnp.asarray(ends), key)) for key in keys]
        draws = _Scored(*(np.concatenate([old, *parts]) for old, *parts in zip(draws, *new, strict=True)))
        log_q = _grown(log_q, mixtures, draws.x)
        log_w = _log_weight(density, draws, log_q)
        _leave_out(log_w, draws, order)
        if not np.any(np.isfinite(log_w)):
            # No draw is in order: nothing is within reach, and the evidence cannot be estimated.
            return Draws(moved.z, moved.beta, moved.run, -math.inf, math.inf)
        weights = np.exp(log_w - logsumexp(log_w))
        sizes.append(float(1 / np.sum(weights**2)))
        if sizes[-1] > ENOUGH or (len(sizes) >= PATIENCE and max(sizes) < HOPELESS):
            break
        # Where hardly any draw weighs anything that weight may be zero.
        cut = np.minimum(weights, max(np.sort(weights)[-CUT], np.finfo(float).tiny))
        picked = rng.choice(len(cut), POOL // 2, p=cut / cut.sum())
        pool = np.concatenate([start[: POOL // 2], draws.x[picked]])
    ordered = _in_order(density, order, moved)
    scores = _scores(density, ordered, moved.beta, peaks, ends, rng)
    own = _Scored(*map(np.asarray, _target(density, scores, ordered, moved.beta)))
    return _bridged(
        draws, log_w, own, _log_weight(density, own, _grown(np.empty((0, 0)), mixtures, own.x)), moved, peaks
    )


def _bridged(draws: _Scored, log_w: np.ndarray, own: _Scored, own_log_w: np.ndarray, moved: Draws, peaks: int) -> Draws:
    """Draws of the mixtures and of the posterior together."""
    odds = math.log(TRUSTED / len(log_w))

    def excess(log_z: float) -> float:
        return float(np.sum(expit(log_w + odds - log_z)) - TRUSTED * np.mean(expit(log_z - odds - own_log_w)))

    known = np.concatenate([log_w[np.isfinite(log_w)], own_log_w])
    log_z = brentq(excess, np.min(known) + odds - FAR, np.max(known) + FAR, xtol=1e-6)
    from_q, from_p = expit(log_w + odds - log_z), expit(log_z - odds - own_log_w)
    # What each draw adds to the posterior: n_p p / (n_q q Z + n_p p), that of its own among TRUSTED.
    weights = np.concatenate([from_q, TRUSTED * (1 - from_p) / len(from_p)])
    of_reached = _error_of_mean(from_p, moved)
    return Draws(
        z=np.concatenate([draws.z, own.z]),
        beta=np.concatenate([draws.beta, own.beta]),
        run=np.concatenate([np.full(len(from_q), -1), moved.run]),
        log_evidence=log_z + float(gammaln(peaks + 1)),
        error=math.hypot(HONEST * _relative(from_q) / math.sqrt(len(from_q)), of_reached),
        weights=weights / weights.sum(),
        independent=float(np.sum(from_q) ** 2 / np.sum(from_q**2)) / HONEST**2,
        reached=float(np.mean(from_p)),
        reached_error=float(np.mean(from_p)) * of_reached,
    )


def _relative(values: np.ndarray) -> float:
    """The sd over the mean."""
    return float(np.std(values) / np.mean(values))


def _error_of_mean(values: np.ndarray, moved: Draws) -> float:
    """The relative error of the mean: by the runs that the values come from, or by as many as are independent."""
    mean, runs = np.mean(values), np.unique(moved.run)
    within = _relative(values) / math.sqrt(moved.independent)
    apart = [np.mean(moved.run == run) * (np.mean(values[moved.run == run]) / mean - 1) for run in runs]
    between = math.sqrt(np.sum(np.square(apart)) * len(runs) / max(len(runs) - 1, 1))
    return max(within, between)


def importance_calls(density: CollapsedSpectrum) -> list[Call]:
    """The calls of jitted functions that `importance` makes."""
    fit = Call(_fitted, (jnp.zeros((POOL, density.size - density.heights + 1)),))
    propose = Call(_proposed, (density, fit.zeros(), jnp.zeros(2), jax.random.key(0)))
    x, z, beta = propose.zeros()
    points = Call(_with_heights, (density, z, beta)), Call(_with_uniforms, (density, z, beta))
    return [fit, propose, Call(_target, (density, x, z, beta)), *points, Call(_log_density, (fit.zeros(), x))]


def _in_order(density: CollapsedSpectrum, order: "_Order", moved: Draws) -> np.ndarray:
    """Points with their peaks in order: each takes its height with it, from which the u follow.

    The density of shapes and u is that of shapes and heights, which alone does not depend on the order.
    """
    with_heights = np.asarray(_with_heights(density, moved.z, moved.beta))
    ordered = order.of(with_heights)
    changed = np.any(ordered != with_heights, axis=1)
    return np.where(changed[:, None], np.asarray(_with_uniforms(density, ordered, moved.beta)), moved.z)


@eqx.filter_jit
def _with_heights(density: CollapsedSpectrum, z: Any, beta: Any) -> Array:
    """Points with heights, in units of the sds of their priors, in place of their u."""
    z = jnp.asarray(z)
    heights = density.draw(density.evaluate(z), jnp.asarray(beta)) / density.scales
    return z.at[:, -density.heights :].set(heights)


@eqx.filter_jit
def _with_uniforms(density: CollapsedSpectrum, z: Any, beta: Any) -> Array:
    return density.point_of_heights(jnp.asarray(z), jnp.asarray(beta))


class _Order:
    """The order of exchangeable peaks in which each is nearest to its own among reference peaks.

    Whatever the reference, one order of the K! is nearest. A distance counts for the less the larger it is, so that a
    peak that may be anywhere does not make others change places.
    """

    def __init__(self, density: CollapsedSpectrum, z: np.ndarray, peaks: int):
        self.density, self.peaks = density, peaks
        first = (SHAPES, SHAPES + density.slots, density.size - density.slots)
        self.index = tuple(start + np.arange(peaks) for start in first)
        self.reference = z[0]
        self.reference = np.median(self.of(z), axis=0)

    def of(self, z: np.ndarray) -> np.ndarray:
        """The points with their peaks, and what is in place of the heights of these, in order."""
        found = z.copy()
        for i, order in self._changed(z):
            for index in self.index:
                found[i, index] = z[i, index[order]]
        return found

    def is_of(self, z: np.ndarray) -> np.ndarray:
        """Whether the peaks of each point are in order."""
        found = np.ones(len(z), bool)
        found[[i for i, _ in self._changed(z)]] = False
        return found

    def _changed(self, z: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """Points whose peaks are not in order, and how they would be."""
        cost = self._cost(z)
        itself = np.arange(self.peaks)
        # Where every reference has its own as the nearest there is nothing to assign.
        unsure = np.any(np.argmin(cost, axis=2) != itself, axis=1) if self.peaks else np.zeros(len(z), bool)
        orders = ((int(i), linear_sum_assignment(cost[i])[1]) for i in np.flatnonzero(unsure))
        return [(i, order) for i, order in orders if np.any(order != itself)]

    def _cost(self, z: np.ndarray) -> np.ndarray:
        """(points, reference, peak)."""
        prior = self.density.prior
        window, span = float(prior.peak[1] - prior.peak[0]), float(np.log(prior.peak_width[1] / prior.peak_width[0]))
        place, width = (self.reference[index] for index in self.index[:2])
        half = float(prior.peak_width[0]) * np.exp(span * width) / 2
        by = (z[:, None, self.index[0]] - place[:, None]) * window / half[:, None]
        wider = (z[:, None, self.index[1]] - width[:, None]) * span
        return 1 - 1 / (1 + by**2 + wider**2)


def _scores(
    density: CollapsedSpectrum, z: np.ndarray, beta: np.ndarray, peaks: int, ends: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Normal scores of positions and widths and of ln sigma; random ones for what the data say nothing about."""
    live = np.r_[np.arange(SHAPES + peaks), SHAPES + density.slots + np.arange(peaks)].astype(int)
    x = rng.normal(size=(len(z), density.size - density.heights + 1))
    x[:, live] = _score(z[:, live])
    if ends[0] < ends[1]:
        x[:, -1] = _score((-0.5 * np.log(beta) - ends[0]) / (ends[1] - ends[0]))
    return x


def _score(quantile: np.ndarray) -> np.ndarray:
    tiny = np.finfo(float).eps
    return ndtri(np.clip(quantile, tiny, 1 - tiny))


def _leave_out(log_w: np.ndarray, draws: _Scored, order: _Order) -> None:
    """Makes the weights of draws whose peaks are in another order zero, where they are not next to nothing."""
    looked = np.zeros(len(log_w), bool)
    while True:
        near = np.flatnonzero((log_w > np.max(log_w) - NOTHING) & ~looked)
        if not len(near):
            return
        out = near[~order.is_of(draws.z[near])]
        looked[near], log_w[out], draws.log_target[out] = True, -np.inf, -np.inf


@eqx.filter_jit
def _fitted(x: Array) -> Mixture:
    return fit_mixture(x, COMPONENTS, prior=SHRUNK)


@eqx.filter_jit
def _proposed(density: CollapsedSpectrum, mixture: Mixture, ends: Array, key: Key[Array, ""]) -> tuple:
    """Normal scores, points and beta."""
    keys, dtype = jax.random.split(key), density.energy.dtype
    size = density.size - density.heights + 1
    normal = jax.random.normal(keys[0], (BATCH, size + FREEDOM), dtype)
    uniform = jax.random.uniform(keys[1], (BATCH, 1 + density.heights), dtype, jnp.finfo(dtype).tiny)
    chi = jnp.sqrt(jnp.mean(normal[:, size:] ** 2, axis=1, keepdims=True))
    x = mixture.draw(uniform[:, 0], normal[:, :size] / chi)
    z = jnp.concatenate([ndtr(x[:, :-1]), uniform[:, 1:]], 1)
    return x, z, jnp.exp(-2 * (ends[0] + (ends[1] - ends[0]) * ndtr(x[:, -1])))


@eqx.filter_jit
def _target(density: CollapsedSpectrum, x: Any, z: Any, beta: Any) -> _Scored:
    x, z, beta = map(jnp.asarray, (x, z, beta))
    log_normal = -0.5 * jnp.sum(x**2, 1) - x.shape[1] / 2 * math.log(2 * math.pi)
    return _Scored(x, z, beta, density.log_density(density.evaluate(z), beta) + log_normal)


def _log_weight(density: CollapsedSpectrum, draws: _Scored, log_q: np.ndarray) -> np.ndarray:
    """Ln w, for q the mean of the mixtures."""
    return density.log_marginal(draws.beta, draws.log_target) - logsumexp(log_q, axis=0) + math.log(len(log_q))


@eqx.filter_jit
def _log_density(mixture: Mixture, x: Array) -> Array:
    return mixture.log_density_of_t(x, FREEDOM)


def _grown(log_q: np.ndarray, mixtures: list[Mixture], x: np.ndarray) -> np.ndarray:
    """(mixtures, draws), after a round has added one of the first and some of the second."""
    rows = []
    for number, mixture in enumerate(mixtures):
        known = log_q[number] if number < len(log_q) else np.empty(0)
        parts = np.split(x[len(known) :], (len(x) - len(known)) // BATCH)
        rows.append(np.concatenate([known, *(np.asarray(_log_density(mixture, jnp.asarray(p))) for p in parts)]))
    return np.stack(rows)
