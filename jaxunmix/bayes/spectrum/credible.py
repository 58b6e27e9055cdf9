"""Credible places and regions of a parameter from draws of its posterior, and the standard errors of their shares.

A white line may be either of two lines. One interval of all draws then spans what no draw is at, and its width jumps
when the share of the other place passes what the interval leaves out. Places are given one by one, and the width of the
smallest region that holds a probability (R. J. Hyndman, Am. Stat. 50 (1996) 120) changes no faster than the shares do.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int

from ..._util.statistics import jackknife

# The share of draws by which a density is estimated, and how many times lower a valley between two places is.
NEIGHBOURS = 0.02
DEPTH = 3.0
# Of the 90 % of the draws, the part of their width that is not looked into: equal draws are no place.
FINEST = 0.02


class Provenance(NamedTuple):
    """Provenance of posterior draws, used for the standard error of their fractions.

    Attributes:
        run: (draws,), which tempered run each comes from; -1 where it is one of a mixture.
        groups: sets of runs that are independent of each other, in one or more ways.
        independent: how many independent draws those of the mixture are worth.
        of_mixture: the standard error of the share of draws of the mixture.
    """

    run: Int[np.ndarray, " draws"]
    groups: Sequence[Sequence[set[int]]]
    independent: float
    of_mixture: float


def places(draws: Float[np.ndarray, " draws"], sources: Provenance, prob: float) -> xr.Dataset:
    """See `Decomposition.places`."""
    check_probability(prob)
    order = np.argsort(draws, kind="stable")
    cuts = _cuts(draws[order])
    parts = sorted(np.split(order, cuts), key=len, reverse=True)
    ends = [np.quantile(draws[part], [0.5, (1 - prob) / 2, (1 + prob) / 2]) for part in parts]
    inside = [np.isin(np.arange(len(draws)), part) for part in parts]
    columns = {"share": list(map(np.mean, inside)), "error": [share_error(each, sources) for each in inside]}
    columns |= dict(zip(("median", "low", "high"), np.transpose(ends), strict=True))
    return xr.Dataset({name: ("place", np.asarray(values)) for name, values in columns.items()})


def region(draws: Float[np.ndarray, " draws"], prob: float) -> Float[np.ndarray, "intervals 2"]:
    """See `Decomposition.region`."""
    check_probability(prob, 1 - 2.5 * NEIGHBOURS)
    values = np.sort(draws)
    parts = np.split(values, _cuts(values))
    spacing = np.concatenate([_spacing(part, _near(values), _finest(values)) for part in parts])
    # Those of the highest density; where many are alike, so many of them.
    held = np.zeros(len(values), bool)
    held[np.argsort(spacing, kind="stable")[: max(round(prob * len(values)), 1)]] = True
    found = []
    for part, own in zip(parts, np.split(held, np.cumsum([len(part) for part in parts])[:-1]), strict=True):
        if number := int(np.sum(own)):
            at = int(np.argmin(part[number - 1 :] - part[: len(part) - number + 1]))
            found.append((part[at], part[at + number - 1]))
    return np.array(found)


def share_error(inside: Bool[np.ndarray, " draws"], sources: Provenance) -> float:
    """The standard error of the share p of draws that are inside.

    With m of the draws from tempered runs and the others from the mixture, p = (1 - m) p_q + m p_r:

        var = p (1 - p) / n + (1 - m)^2 p_q (1 - p_q) / independent + m^2 var_r + (p_r - p_q)^2 var_m,

    n being the number of draws that were picked, and var_r the jackknife's over runs.
    """
    share, of_run = float(np.mean(inside)), sources.run >= 0
    part = float(np.mean(of_run))
    own, other = (float(np.mean(inside[which])) if np.any(which) else share for which in (of_run, ~of_run))
    variance = share * (1 - share) / len(inside) + (own - other) ** 2 * sources.of_mixture**2
    if part < 1:
        variance += (1 - part) ** 2 * other * (1 - other) / sources.independent
    if part:
        variance += (part * _error_by_runs(inside[of_run], sources.run[of_run], sources.groups)) ** 2
    return math.sqrt(variance)


def _error_by_runs(inside: np.ndarray, run: np.ndarray, groups: Sequence[Sequence[set[int]]]) -> float:
    share = float(np.mean(inside))
    unknown = math.sqrt(share * (1 - share))

    def error(each: Sequence[set[int]]) -> float:
        left = [inside[~np.isin(run, list(group))] for group in each]
        # Where one has all the draws it is unknown what others would give.
        return jackknife([np.mean(rest) for rest in left]) if all(map(len, left)) else unknown

    return max((error(each) for each in groups if len(each) > 1), default=unknown)


def _near(values: np.ndarray) -> int:
    return max(int(NEIGHBOURS * len(values)), 2)


def _finest(values: np.ndarray) -> float:
    low, high = np.quantile(values, [0.05, 0.95])
    return FINEST * float(high - low)


def _spacing(part: np.ndarray, near: int, finest: float) -> np.ndarray:
    """The inverse of the density at each of sorted draws, in no unit, by the distance of neighbours about it."""
    near = min(near, len(part) - 1)
    first = np.clip(np.arange(len(part)) - near // 2, 0, len(part) - 1 - near)
    return (part[first + near] - part[first] + finest) / max(near, 1)


def _cuts(values: np.ndarray) -> np.ndarray:
    """Where sorted draws are parted between places: the indices at which others begin."""
    near, finest = _near(values), _finest(values)

    def cuts(first: int, last: int) -> list[int]:
        part = values[first:last]
        if len(part) < 3 * near or not finest:
            return []
        density = 1 / (part[near:] - part[:-near] + finest)
        sides = np.maximum.accumulate(density), np.maximum.accumulate(density[::-1])[::-1]
        depth = np.minimum(*sides) / density
        at = int(np.argmax(depth))
        if not depth[at] > DEPTH:
            return []
        # Between the two of these neighbours that are farthest apart.
        cut = first + at + 1 + int(np.argmax(np.diff(part[at : at + near + 1])))
        return [*cuts(first, cut), cut, *cuts(cut, last)]

    return np.array(cuts(0, len(values)), int)


def check_probability(prob: float, most: float = 1.0) -> None:
    """Raises ValueError where an interval cannot hold that much."""
    if not 0 < prob < 1 or prob > most:
        limit = f"at most {most:g}" if most < 1 else "less than 1"
        raise ValueError(f"prob must be above 0 and {limit}, got {prob}.")
