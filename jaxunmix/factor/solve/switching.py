"""Components that the data do not need, left out where the descent by itself would not: see `penalties.ARD`."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..model import Bilinear
from ..problem import Problem

# The smaller models that are tried.
TRIALS = 2


def smaller(problem: Problem, factors: Bilinear, trial: Int[Array, ""]) -> tuple[Bilinear, Bool[Array, ""]]:
    """The factors with one component fewer, and whether there is more than one.

    Two components that share one spectrum between different pixels, and one that fits noise, are local minima: the way
    from there leads uphill. So first (`trial` 0) the two are united whose spectra are most alike, then (1) the
    component of least relevance is left out.
    """
    relevance, off = problem.relevance(factors)
    united, without = _unite(problem, factors, off), _without(factors, relevance, off)
    return _choose(trial == 0, united, without), jnp.sum(~off) > 1


def _without(factors: Bilinear, relevance: Float[Array, " components"], off: Bool[Array, " components"]) -> Bilinear:
    """Without the least relevant component that is not off."""
    return _empty(factors, jnp.argmin(jnp.where(off, jnp.inf, relevance)))


def _unite(problem: Problem, factors: Bilinear, off: Bool[Array, " components"]) -> Bilinear:
    """The two components of the most similar spectra as one: the maps added, the spectra averaged by their sizes."""
    spectra = problem.spectra(factors)
    length = jnp.linalg.norm(spectra, axis=1)
    length = jnp.where(length > 0, length, 1)
    unit = spectra / length[:, None]
    pairs = jnp.where(jnp.triu(jnp.ones((len(off), len(off)), bool), 1) & ~off & ~off[:, None], unit @ unit.T, -2)
    first, second = jnp.unravel_index(jnp.argmax(pairs), pairs.shape)
    scaled = factors.scaled(length)
    size = jnp.sum(scaled.maps_t, axis=1)
    share = size[first] / jnp.where(size[first] + size[second] > 0, size[first] + size[second], 1)
    profile = share * scaled.profiles[first] + (1 - share) * scaled.profiles[second]
    one = Bilinear(
        scaled.maps_t.at[first].add(scaled.maps_t[second]), scaled.profiles.at[first].set(profile), factors.basis
    )
    return _empty(one, second)


def _empty(factors: Bilinear, k: Int[Array, ""]) -> Bilinear:
    return Bilinear(factors.maps_t.at[k].set(0), factors.profiles.at[k].set(0), factors.basis)


def _choose(first: Bool[Array, ""], new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(first, a, b), new, old)
