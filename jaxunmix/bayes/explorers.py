"""Markov moves within one temperature, for many points at many temperatures at once.

Points are flat, (points, size), and lie group after group: with `groups` temperatures and `walkers` points at each,
point g * walkers + w is walker w of group g. Settings (step sizes, whitening) have the groups as leading axis. Every
sweep leaves q_b of each point unchanged while its settings stay as they are; `tune` is for the warm-up.
"""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key

from .density import Density, PerPoint, Points, choose, value_and_grad

PerGroup = Float[Array, " groups"]


class Info(NamedTuple):
    """What a sweep tells of itself.

    Attributes:
        acceptance: (points,), the mean acceptance probability (of `Slice`: the share of lines that moved the point).
        signal: (points,), what `tune` steers: positive where the step should grow.
    """

    acceptance: PerPoint
    signal: PerPoint


class Settings(NamedTuple):
    """What an explorer has learned of each temperature.

    Attributes:
        log_step: (groups,).
        weight: (groups,), the points that the moments stand for.
        mean: (groups, size).
        covariance: (groups, size, size).
        factor: (groups, size, size), lower triangular, factor @ factor' being the covariance, shrunk to its diagonal.
    """

    log_step: PerGroup
    weight: PerGroup
    mean: Float[Array, "groups size"]
    covariance: Float[Array, "groups size size"]
    factor: Float[Array, "groups size size"]


class Explorer(eqx.Module):
    """A Markov move for a batch of points at their temperatures."""

    @abc.abstractmethod
    def init(self, density: Density, groups: int) -> Any:
        """Settings to begin with: a pytree of arrays with leading axis `groups`."""

    @abc.abstractmethod
    def sweep(
        self, key: Key[Array, ""], density: Density, z: Points, terms: Any, beta: PerPoint, settings: Any
    ) -> tuple[Points, Any, Info]:
        """One sweep of every point: the points, `density.evaluate` of them, and how it went."""

    @abc.abstractmethod
    def tune(self, settings: Any, z: Points, info: Info | None, memory: float | Array = 0.0) -> Any:
        """Settings learned from the cloud of points z and, unless None, from the last sweep.

        `memory` is the weight of what was learned before: 0 takes the moments from this cloud alone.
        """


class HMC(Explorer):
    """Hamiltonian Monte Carlo of a fixed number of steps, whitened by the dense covariance of each temperature.

    In u with z = F u, F F' = covariance, momenta are standard normal and

        p <- p + e/2 F' g(z),  z <- z + e F p,  p <- p + e/2 F' g(z),

    `steps` times, then accepted with min(1, exp(-change of energy)) (Neal, MCMC using Hamiltonian dynamics, 2011). The
    step e of each point is jittered by a factor of 0.6 to 1.4 each time.
    """

    steps: int = eqx.field(static=True, default=8)
    target: float = eqx.field(static=True, default=0.8)

    def init(self, density: Density, groups: int) -> Settings:
        return blank(density, groups, 0.3)

    def sweep(
        self, key: Key[Array, ""], density: Density, z: Points, terms: Any, beta: PerPoint, settings: Settings
    ) -> tuple[Points, Any, Info]:
        keys = jax.random.split(key, 3)
        start = jax.random.normal(keys[0], z.shape, z.dtype)
        groups, points = len(settings.log_step), len(z)
        jitter = jax.random.uniform(keys[1], (points,), z.dtype, 0.6, 1.4)
        step = (jnp.repeat(jnp.exp(settings.log_step), points // groups) * jitter)[:, None]
        before, gradient, _ = value_and_grad(density, z, beta)

        def leap(_, carry):
            at, p, gradient, _, _ = carry
            p = p + step / 2 * _rotate(settings.factor, gradient, transpose=True)
            at = at + step * _rotate(settings.factor, p)
            value, gradient, reached = value_and_grad(density, at, beta)
            return at, p + step / 2 * _rotate(settings.factor, gradient, transpose=True), gradient, value, reached

        at, p, _, value, reached = lax.fori_loop(0, self.steps, leap, (z, start, gradient, before, terms))
        change = value - before - (jnp.sum(p**2, 1) - jnp.sum(start**2, 1)) / 2
        accept = _probability(change)
        moved = jax.random.uniform(keys[2], (points,), z.dtype) < accept
        return jnp.where(moved[:, None], at, z), choose(moved, reached, terms), Info(accept, accept - self.target)

    def tune(self, settings: Settings, z: Points, info: Info | None, memory: float | Array = 0.0) -> Settings:
        return learn(settings, z, info, memory)


class RandomWalk(Explorer):
    """Metropolis: `moves` proposals z + e s F n, n normal, s log-uniform between 1/4 and 1."""

    moves: int = eqx.field(static=True, default=24)
    target: float = eqx.field(static=True, default=0.3)

    def init(self, density: Density, groups: int) -> Settings:
        return blank(density, groups, 2.4 / density.size**0.5)

    def sweep(
        self, key: Key[Array, ""], density: Density, z: Points, terms: Any, beta: PerPoint, settings: Settings
    ) -> tuple[Points, Any, Info]:
        keys = jax.random.split(key, 3)
        groups, points = len(settings.log_step), len(z)
        scale = jnp.exp2(-2 * jax.random.uniform(keys[0], (self.moves, points), z.dtype))
        scale = scale * jnp.repeat(jnp.exp(settings.log_step), points // groups)
        normal = jax.random.normal(keys[1], (self.moves, *z.shape), z.dtype)
        threshold = jax.random.uniform(keys[2], (self.moves, points), z.dtype)

        def move(carry, draws):
            z, terms, value = carry
            scale, normal, threshold = draws
            proposed = z + scale[:, None] * _rotate(settings.factor, normal)
            reached = density.evaluate(proposed)
            new = density.log_density(reached, beta)
            accept = _probability(new - value)
            moved = threshold < accept
            carry = jnp.where(moved[:, None], proposed, z), choose(moved, reached, terms), jnp.where(moved, new, value)
            return carry, accept

        carry = z, terms, density.log_density(terms, beta)
        (z, terms, _), accept = lax.scan(move, carry, (scale, normal, threshold))
        accept = jnp.mean(accept, 0)
        return z, terms, Info(accept, accept - self.target)

    def tune(self, settings: Settings, z: Points, info: Info | None, memory: float | Array = 0.0) -> Settings:
        return learn(settings, z, info, memory)


class Slice(Explorer):
    """Slice sampling along `lines` random directions F n / |n|, with bounded stepping out and shrinking.

    Neal, Slice sampling (2003), figures 3 and 5: an interval of width e is stepped out up to `out` times, its limit
    shared at random between the ends, then shrunk towards the point up to `shrink` times; if by then nothing was
    found the point stays, which keeps the balance: the way there and the way back see the same failures.
    """

    lines: int = eqx.field(static=True, default=4)
    out: int = eqx.field(static=True, default=4)
    shrink: int = eqx.field(static=True, default=8)

    def init(self, density: Density, groups: int) -> Settings:
        return blank(density, groups, 2.0)

    def sweep(
        self, key: Key[Array, ""], density: Density, z: Points, terms: Any, beta: PerPoint, settings: Settings
    ) -> tuple[Points, Any, Info]:
        keys = jax.random.split(key, 2)
        groups, points = len(settings.log_step), len(z)
        width = jnp.repeat(jnp.exp(settings.log_step), points // groups)
        normal = jax.random.normal(keys[0], (self.lines, *z.shape), z.dtype)
        uniform = jax.random.uniform(keys[1], (self.lines, 3 + self.shrink, points), z.dtype, 1e-7)

        def line(carry, draws):
            z, terms, value = carry
            normal, uniform = draws
            direction = _rotate(settings.factor, normal / jnp.linalg.norm(normal, axis=1, keepdims=True))
            level = value + jnp.log(uniform[0])
            ends, grown = self._bracket(density, z, beta, direction, level, width, uniform[1:3])
            z, terms, value, moved = self._shrink(density, (z, terms, value), beta, direction, level, ends, uniform[3:])
            return (z, terms, value), (moved, grown)

        carry = z, terms, density.log_density(terms, beta)
        (z, terms, _), (moved, grown) = lax.scan(line, carry, (normal, uniform))
        return z, terms, Info(jnp.mean(moved, 0), jnp.mean(grown, 0) - 1.0)

    def _bracket(self, density, z, beta, direction, level, width, uniform):
        """The ends of the interval, (points,) each, and how often it grew."""
        low = -uniform[0] * width
        left = jnp.floor(self.out * uniform[1])
        limits = left, self.out - 1 - left

        def inside(at):
            return density.log_density(density.evaluate(z + at[:, None] * direction), beta) > level

        def grow(step, carry):
            low, high, down, up = carry
            down = down & (step < limits[0]) & inside(low)
            up = up & (step < limits[1]) & inside(high)
            return low - down * width, high + up * width, down, up

        going = jnp.ones(len(z), bool)
        low, high, _, _ = lax.fori_loop(0, self.out - 1, grow, (low, low + width, going, going))
        return (low, high), (high - low) / width - 1

    def _shrink(self, density, start, beta, direction, level, ends, uniform):
        """The first draw from the shrinking interval that is inside the slice."""
        origin = start[0]

        def attempt(carry, uniform):
            (z, terms, value), low, high, found = carry
            at = low + uniform * (high - low)
            proposed = origin + at[:, None] * direction
            reached = density.evaluate(proposed)
            new = density.log_density(reached, beta)
            hit = ~found & (new > level)
            low = jnp.where((at < 0) & ~hit, at, low)
            high = jnp.where((at >= 0) & ~hit, at, high)
            state = jnp.where(hit[:, None], proposed, z), choose(hit, reached, terms), jnp.where(hit, new, value)
            return (state, low, high, found | hit), None

        found = jnp.zeros(len(origin), bool)
        ((z, terms, value), _, _, found), _ = lax.scan(attempt, (start, *ends, found), uniform)
        return z, terms, value, found.astype(value.dtype)

    def tune(self, settings: Settings, z: Points, info: Info | None, memory: float | Array = 0.0) -> Settings:
        return learn(settings, z, info, memory)


def blank(density: Density, groups: int, step: float) -> Settings:
    """Settings before anything is known: no whitening, and this step."""
    size, dtype = density.size, jnp.result_type(float)
    eye = jnp.broadcast_to(jnp.eye(size, dtype=dtype), (groups, size, size))
    log_step = jnp.full(groups, jnp.log(step), dtype)
    return Settings(log_step, jnp.zeros(groups, dtype), jnp.zeros((groups, size), dtype), eye, eye)


def learn(settings: Settings, z: Points, info: Info | None, memory: float | Array) -> Settings:
    """The step steered by the sweep's signal, the moments brought up to date with the cloud.

    The covariance S of n points in d dimensions is shrunk to its diagonal by (d / (n + d))^2, so that it can always be
    factored. The step's gain grows with the square root of the walkers, up to 1.
    """
    groups, size = settings.mean.shape
    cloud = z.reshape(groups, -1, size)
    walkers = cloud.shape[1]
    kept = memory * settings.weight
    share = walkers / (kept + walkers)
    mean = jnp.mean(cloud, 1)
    about = cloud - mean[:, None]
    covariance = jnp.einsum("gwi,gwj->gij", about, about) / walkers
    shift = mean - settings.mean
    between = (share * (1 - share))[:, None, None] * shift[:, :, None] * shift[:, None, :]
    covariance = between + settings.covariance + share[:, None, None] * (covariance - settings.covariance)
    mean = settings.mean + share[:, None] * shift
    log_step = settings.log_step
    if info is not None:
        signal = jnp.mean(info.signal.reshape(groups, -1), 1)
        log_step = jnp.clip(log_step + min(1.0, walkers**0.5 / 8) * signal, -20.0, 3.0)
    count = kept + walkers
    return Settings(log_step, count, mean, covariance, factored(covariance, count))


def factored(covariance: Float[Array, "groups size size"], count: PerGroup) -> Float[Array, "groups size size"]:
    """The lower triangular factors of covariances of so many points each, shrunk to their diagonals."""
    size = covariance.shape[-1]
    shrink = ((size / (count + size)) ** 2)[:, None, None]
    variance = jnp.diagonal(covariance, axis1=1, axis2=2)
    variance = jnp.maximum(variance, jnp.finfo(variance.dtype).eps * (1 + jnp.max(variance, 1, keepdims=True)))
    scale = jnp.sqrt(variance)
    correlation = covariance / (scale[:, :, None] * scale[:, None, :])
    eye = jnp.eye(size, dtype=covariance.dtype)
    correlation = jnp.where(eye > 0, 1 + 1e-5, (1 - shrink) * correlation)
    factor = jnp.linalg.cholesky(correlation)
    return scale[:, :, None] * jnp.where(jnp.isfinite(factor), factor, eye)


def _rotate(factor: Float[Array, "groups size size"], points: Points, transpose: bool = False) -> Points:
    """F p, or F' p, of each point with the factor of its group."""
    groups, size, _ = factor.shape
    equation = "gji,gwj->gwi" if transpose else "gij,gwj->gwi"
    rotated = jnp.einsum(equation, factor, points.reshape(groups, -1, size))
    return rotated.reshape(-1, size)


def _probability(change: PerPoint) -> PerPoint:
    """min(1, exp(change)), and 0 where it is not a number."""
    return jnp.where(jnp.isnan(change), 0.0, jnp.exp(jnp.minimum(change, 0)))
