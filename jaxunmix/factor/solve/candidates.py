"""Restarts that may be as good as the best: chosen batch by batch, and brought into the order of the best."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...metrics.scores import match
from ..alternatives import Alternatives, limit_of
from ..model import Bilinear, expand
from ..problem import Problem
from ..updates.base import AbstractUpdate
from .loop import batches, polish


class Candidate(NamedTuple):
    """A restart that has ended, on the host.

    Attributes:
        objective: the least that it reached.
        restart: its number.
        maps_t: (K, pixels).
        profiles: (K, features).
    """

    objective: float
    restart: int
    maps_t: np.ndarray
    profiles: np.ndarray

    @property
    def factors(self) -> Bilinear:
        """Back on the device."""
        return Bilinear.of_rows(self.maps_t, self.profiles)

    def only(self, components: np.ndarray) -> "Candidate":
        """These components of it."""
        return self._replace(maps_t=self.maps_t[components], profiles=self.profiles[components])

    @classmethod
    def of(cls, objective: float, restart: int, factors: Bilinear) -> "Candidate":
        """From factors on the device."""
        return cls(objective, restart, np.asarray(factors.maps_t), np.asarray(factors.profiles))


class Allowance(NamedTuple):
    """Which restarts are kept beside the best: up to `most`, whose objective is at most `tolerance` above, relatively.

    The order by objective makes the choice the same however the restarts are divided into batches: those that are kept
    in the end are among the first `most` of any part, and within the tolerance of any part's best.
    """

    tolerance: float = 0.0
    most: int = 0

    @classmethod
    def of(cls, tolerance: float | int | None, most: int) -> "Allowance":
        """From the arguments of `fit`: None or 0 keeps none."""
        return cls(float(tolerance or 0), int(most)) if tolerance and most else cls()

    def choose(self, candidates: Sequence[Candidate], best: float) -> list[Candidate]:
        """Those that are kept, by increasing objective, then by their number."""
        limit = limit_of(best, self.tolerance)
        near = [one for one in candidates if one.objective <= limit]
        return sorted(near, key=lambda one: one[:2])[: self.most]


NONE = Allowance()


def polish_all(
    problem: Problem, update: AbstractUpdate, candidates: Sequence[Candidate], steps: int
) -> list[Candidate]:
    """Each candidate polished on the full data as the best is, side by side where memory allows."""
    done: list[Candidate] = []
    rank = len(candidates[0].profiles) if candidates else 1
    for part in batches(len(candidates), problem.restart_bytes(rank)) if candidates else ():
        some = candidates[part]
        each = [one.factors for one in some]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
        factors, reached = polish(problem, update, stacked, steps)
        maps, profiles = np.asarray(factors.maps_t), np.asarray(factors.profiles)
        done += [Candidate(float(reached[i]), one.restart, maps[i], profiles[i]) for i, one in enumerate(some)]
    return done


def alternatives_of(
    problem: Problem, best: Bilinear, order: np.ndarray, candidates: Sequence[Candidate], tolerance: float
) -> Alternatives:
    """The candidates as users get them, each matched to the best factors and then in `order`, as these."""
    dtype, basis = problem.matrix.dtype, problem.basis
    maps_t, profiles = np.asarray(best.maps_t), np.asarray(best.profiles)
    spectra = _spectra(problem, profiles)
    groups = _alike(problem, maps_t, profiles)
    aligned = [_aligned(problem, spectra, groups, one) for one in candidates]
    maps, rows, coefficients = (
        np.stack([one[i][order] for one in aligned]) if aligned else np.zeros((0, *empty.shape))
        for i, empty in enumerate((maps_t, spectra, profiles))
    )
    return Alternatives(
        maps=jnp.asarray(np.swapaxes(maps, 1, 2), dtype),
        spectra=jnp.asarray(rows, dtype),
        coefficients=None if basis is None else jnp.asarray(coefficients, dtype),
        objective=jnp.asarray([one.objective for one in candidates], dtype),
        restart=jnp.asarray([one.restart for one in candidates], int),
        tolerance=jnp.asarray(tolerance, dtype),
    )


def _spectra(problem: Problem, profiles: np.ndarray) -> np.ndarray:
    return profiles if problem.basis is None else np.asarray(expand(jnp.asarray(profiles), problem.basis))


def _alike(problem: Problem, maps_t: np.ndarray, profiles: np.ndarray) -> list[np.ndarray]:
    """The components in groups within which they may change places: those that know the same of themselves."""
    rank = len(profiles)
    known: list[list[bytes]] = [[] for _ in range(rank)]
    for block, rows in (("maps", maps_t), (problem.profile_block, profiles)):
        free = problem.constraints.free(block, rank)
        if free is not None:
            held = ~np.broadcast_to(np.asarray(free), rows.shape)
            for k in range(rank):
                known[k] += [held[k].tobytes(), rows[k][held[k]].tobytes()]
    if problem.basis is not None and problem.basis.ndim == 3:
        known = [[bytes(k)] for k in range(rank)]
    names = ["|".join(one.hex() for one in each) for each in known]
    return [np.flatnonzero([name == group for name in names]) for group in dict.fromkeys(names)]


def _aligned(
    problem: Problem, spectra: np.ndarray, groups: list[np.ndarray], one: Candidate
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(maps, spectra, profiles) of a candidate, its components matched to these spectra, and of their norms."""
    own = _spectra(problem, one.profiles)
    order = np.arange(len(own))
    for group in groups:
        if len(group) > 1:
            order[group] = group[match(own[group], spectra[group]).order]
    maps_t, own, profiles = one.maps_t[order], own[order], one.profiles[order]
    if not _is_scale_free(problem):
        return maps_t, own, profiles
    norms, wanted = (np.linalg.norm(rows, axis=1, keepdims=True) for rows in (own, spectra))
    scale = np.where((norms > 0) & (wanted > 0), wanted / np.where(norms > 0, norms, 1), 1)
    return maps_t / scale, own * scale, profiles * scale


def _is_scale_free(problem: Problem) -> bool:
    """Whether a component's spectrum may be multiplied by any number that its map is divided by."""
    constraints = problem.constraints
    bound = any(constraints.of(kind) for kind in ("sum", "norm", "set"))
    return constraints.is_scale_free and not bound and all(p.is_scale_free for p in problem.penalties)
