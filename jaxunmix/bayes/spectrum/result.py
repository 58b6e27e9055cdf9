"""What the decomposition of a spectrum gives back: evidences over K and noise, posteriors, the best fit."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from ..._util.statistics import jackknife
from ..._util.validation import float_array
from ...physics import lineshapes
from .credible import Provenance, check_probability, places, region

RESOLVED = 0.95
# Runs are numbered from so many times the number of peaks.
RUNS = 1000
# Of what is left without a run, its least share: a run that tells nearly all is not known to be wrong by more.
LEFT = 0.01


@dataclass(frozen=True)
class Fit:
    """One number of peaks.

    Attributes:
        peaks: K.
        log_evidence: ln p(D | K), the noise integrated out: by `importance` and bridge sampling where that is reliable,
            or else the mean of the evidences of all tempered runs, and of what others have lent.
        error: its standard error, by the weights of the former or by how the latter differ.
        run_log_evidence: (runs,), of the tempered runs; of united ones what the offspring of each would give alone.
        reached: the share of the posterior within reach of the mixture that importance sampling draws from; 0 where
            that is too little to rely on, and the tempered runs tell.
        shares: of each tempered run, of this number of peaks or of one that lends to it, the part that it has given to
            the evidence, and the one that is expected of it: what this error and that of another `Fit` have in common.
            Empty where importance sampling tells.
        reached_error: its standard error.
        independent: how many independent draws those of the mixture are worth.
        of_weights: the part of the error that comes from the weights of what others have lent.
        noise: a grid of sds of the noise, increasing; empty where the noise is known.
        free_energy: F(K, b) there, the runs together, moved to that evidence.
        posterior: draws over "draw": see `Decomposition.posterior`. The coordinate "run" tells which tempered run each
            comes from, -1 where it is a draw of the mixture.
        best: the parameters of the best fit, the same names.
        log_likelihood: of the best fit at its noise.
        levels: how many each run went through.
    """

    peaks: int
    log_evidence: float
    error: float
    run_log_evidence: np.ndarray
    reached: float
    shares: dict[int, tuple[float, float]]
    reached_error: float
    independent: float
    of_weights: float
    noise: np.ndarray
    free_energy: np.ndarray
    posterior: xr.Dataset
    best: xr.Dataset
    log_likelihood: float
    levels: int

    def error_beside(self, other: "Fit") -> float:
        """The standard error of the difference of ln p(D | K) from that of another number of peaks.

        Where both owe something to the same runs it is the jackknife's: by how the difference changes without each of
        the runs, or without all those of one number of peaks, whichever is more.
        """
        if not self.shares.keys() & other.shares.keys():
            return math.hypot(self.error, other.error)
        groups = _grouped(self.shares.keys() | other.shares.keys())
        of_runs = max(jackknife([self._without(g) - other._without(g) for g in each]) for each in groups)
        return math.hypot(of_runs, self.of_weights, other.of_weights)

    @property
    def sources(self) -> Provenance:
        """Which runs the draws come from, for the standard error of their fractions."""
        run = self.posterior["run"].to_numpy()
        known = self.shares.keys() | set(run[run >= 0].tolist())
        return Provenance(run, _grouped(known), self.independent, self.reached_error)

    def draws(self, name: str) -> np.ndarray:
        """(draws,), of a parameter that is one number.

        Raises:
            ValueError: a parameter of every peak.
        """
        draws = self.posterior[name]
        if draws.dims != ("draw",):
            raise ValueError(f"{name} has a value for each peak: give a parameter that is one number, such as E_WL")
        return draws.to_numpy()

    def _without(self, runs: set[int]) -> float:
        """What ln p(D | K) changes by without some runs."""
        given, expected = (sum(self.shares[run][i] for run in runs & self.shares.keys()) for i in range(2))
        return math.log(max(1 - given, LEFT) / max(1 - expected, LEFT))


@dataclass(frozen=True)
class Exchange:
    """Replica exchange at one number of peaks, begun from the particles: whether replicas pass, and a second evidence.

    Attributes:
        noise: (rungs,), sd of the noise at each rung, infinite at the first, the prior; the most probable at the last.
        flow: (rungs,), the share of the replicas there that were last at the prior. It falls evenly from 1 to 0 where
            nothing stalls.
        round_trips: of all replicas, from the prior to the last rung and back.
        rejection: (rungs - 1,), of swaps between neighbours.
        free_energy: F(K, b) at the last rung by Bennett's acceptance ratio, nats.
        error: its standard error.
        of_particles: F(K, b) there as the `Fit` tells it.
        warnings: why it may be wrong although the error is small.
    """

    noise: np.ndarray
    flow: np.ndarray
    round_trips: int
    rejection: np.ndarray
    free_energy: float
    error: float
    of_particles: float
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Decomposition:
    """Peaks of one spectrum.

    Attributes:
        energy: (channels,), eV.
        intensity: (channels,).
        priors: the complete `Priors`.
        fits: one `Fit` for each number of peaks.
        edge: its shape, of `lineshapes.EDGES`.
        exchange: replica exchange at the most probable one, where it was asked for.
    """

    energy: np.ndarray
    intensity: np.ndarray
    priors: Any
    fits: tuple[Fit, ...]
    edge: str = "arctangent"
    exchange: Exchange | None = None

    @cached_property
    def table(self) -> xr.Dataset:
        """What was found for each K, over "peaks".

        `free_energy`, -ln p(D | K) in nats, with its `error`; `noise` and `noise_sd`, mean and sd of its posterior;
        `probability` of K, every K alike before the data; `log_likelihood` of the best fit.
        """
        evidence = np.array([fit.log_evidence for fit in self.fits])
        share = np.exp(evidence - evidence.max())
        columns = {
            "free_energy": -evidence,
            "error": [fit.error for fit in self.fits],
            "noise": [float(fit.posterior["noise"].mean()) for fit in self.fits],
            "noise_sd": [float(fit.posterior["noise"].std()) for fit in self.fits],
            "probability": share / share.sum(),
            "log_likelihood": [fit.log_likelihood for fit in self.fits],
        }
        return xr.Dataset(
            {name: ("peaks", np.asarray(v)) for name, v in columns.items()}, {"peaks": [f.peaks for f in self.fits]}
        )

    @property
    def fit(self) -> Fit:
        """That of the most probable number of peaks."""
        return self.fits[int(np.argmax([fit.log_evidence for fit in self.fits]))]

    @property
    def peaks(self) -> int:
        """The most probable number of Gaussians."""
        return self.fit.peaks

    @property
    def noise(self) -> float:
        """The mean of the posterior of the noise sd, for that number."""
        return float(self.posterior["noise"].mean())

    @property
    def resolved(self) -> bool:
        """Whether the data decide the number of peaks.

        Its probability is at least 0.95, its evidence is above every other by twice the error of the difference or
        more, and it is not the largest of several that were tried.
        """
        best, others = self.fit, [fit for fit in self.fits if fit.peaks != self.peaks]
        apart = [best.log_evidence - fit.log_evidence - 2 * best.error_beside(fit) for fit in others]
        edge = bool(others) and best is self.fits[-1]
        return bool(self.table["probability"].max() >= RESOLVED) and min(apart, default=0.0) >= 0 and not edge

    @property
    def posterior(self) -> xr.DataTree:
        """Draws of every parameter for the chosen K, dims (chain, draw) and "peak", peaks by position.

        E_WL, E0, edge_width, line_width, peak_centre, peak_width in eV; baseline, step, lorentzian, gaussian and
        peak_height in the unit of the intensity, peak_area in that times eV; noise.
        """
        return xr.DataTree(self.fit.posterior.expand_dims(chain=[0]), name="posterior")

    @property
    def map_estimate(self) -> xr.Dataset:
        """The most probable parameters for the chosen K: the same names. Positions and widths have flat quantiles."""
        return self.fit.best

    def interval(self, name: str = "E_WL", prob: float = 0.9) -> np.ndarray:
        """The central interval of a parameter that holds this probability: (2,), or (2, peak).

        Where the parameter has several `places` it spans what is between them, and is wide as soon as more than half
        of what it leaves out is in another place: there `region` tells more.
        """
        check_probability(prob)
        tail = (1 - prob) / 2
        return self.fit.posterior[name].quantile([tail, 1 - tail], "draw").to_numpy()

    def places(self, name: str = "E_WL", prob: float = 0.9) -> xr.Dataset:
        """Where a parameter may be, the most probable place first: a white line may be either of two lines.

        Draws are in two places where their density, by the distance of neighbours (Loftsgaarden and Quesenberry,
        1965), falls between them to a third of what it reaches on either side.

        Args:
            name: of a parameter that is one number.
            prob: what `low` and `high` hold between them, of the draws of each place.

        Returns:
            Over "place": `share` of the draws with its standard `error`, by the number of independent draws and by what
            the tempered runs differ by; `median`, `low` and `high`. No error tells of a place that no run has found.

        Raises:
            ValueError: a parameter of every peak; a probability that is not between 0 and 1.
        """
        return places(self.fit.draws(name), self.fit.sources, prob)

    def region(self, name: str = "E_WL", prob: float = 0.9) -> np.ndarray:
        """The smallest region that holds this probability, (intervals, 2): at most one interval for each of the places.

        It holds the values of the highest density (R. J. Hyndman, Am. Stat. 50 (1996) 120), so that its width changes
        no faster than the shares of the places do.

        Raises:
            ValueError: a parameter of every peak; a probability that is not between 0 and 0.95: beyond that what is
                left out are fewer draws than tell a density.
        """
        return region(self.fit.draws(name), prob)

    def components(self, energy: Any = None, parameters: xr.Dataset | None = None) -> xr.DataArray:
        """The parts of a fit, ("component", "energy"): baseline, edge, white line, peak 1 to K, and their sum "fit".

        Args:
            energy: eV; that of the data by default.
            parameters: one set of them, such as `fit.posterior.isel(draw=0)`; those of the best fit by default.
        """
        at = self.energy if energy is None else float_array(energy, "components: energy")
        p = self.map_estimate if parameters is None else parameters
        parts = {name: np.asarray(curve) for name, curve in curves(at, p, self.edge).items()}
        parts["fit"] = np.sum(list(parts.values()), axis=0)
        coords = {"component": list(parts), "energy": at}
        return xr.DataArray(np.stack(list(parts.values())), coords, ("component", "energy"))

    def __repr__(self) -> str:
        word = "" if self.resolved else ", not resolved"
        places = self.places("E_WL")
        at = [
            f"{low:.3f} to {high:.3f} eV" for low, high in zip(places["low"].values, places["high"].values, strict=True)
        ]
        if len(at) > 1:
            at = [f"{each} ({share:.2f})" for each, share in zip(at, places["share"].values, strict=True)]
        probability = float(self.table["probability"].max())
        found = f"{self.peaks} peak{'s' * (self.peaks != 1)} with probability {probability:.2f}{word}"
        return f"Decomposition({found}; E_WL {' or '.join(at)})"


@dataclass(frozen=True)
class Decompositions:
    """Peaks of several spectra."""

    spectra: tuple[Decomposition, ...]

    def __len__(self) -> int:
        return len(self.spectra)

    def __getitem__(self, index: int) -> Decomposition:
        return self.spectra[index]

    @property
    def table(self) -> xr.Dataset:
        """The tables of all, over "spectrum" and "peaks"."""
        return xr.concat([each.table for each in self.spectra], "spectrum")

    def difference(self, first: int, second: int, name: str = "E_WL", prob: float = 0.9) -> dict[str, float]:
        """How a parameter of one spectrum compares with that of another.

        Returns:
            `mean` of the difference second - first, `low` and `high` of its interval, and `probability` that it is
            positive.

        Raises:
            ValueError: a parameter of every peak; a probability that is not between 0 and 1.
        """
        check_probability(prob)
        a, b = (self.spectra[i].fit.draws(name) for i in (first, second))
        apart = b - a
        low, high = np.quantile(apart, [(1 - prob) / 2, (1 + prob) / 2])
        return {
            "mean": float(apart.mean()),
            "low": float(low),
            "high": float(high),
            "probability": float(np.mean(apart > 0)),
        }

    def above(self, name: str = "E_WL") -> np.ndarray:
        """The probability that a parameter of one spectrum lies above that of another, (spectra, spectra).

        Of the row's over the column's, from all pairs of draws: P and its transpose add up to one, and the diagonal
        is one half.
        """
        draws = [np.sort(each.fit.draws(name)) for each in self.spectra]

        def share(a: np.ndarray, b: np.ndarray) -> float:
            ranks = np.searchsorted(b, a, "left") + np.searchsorted(b, a, "right")
            return float(np.mean(ranks) / (2 * len(b)))

        return np.array([[share(a, b) for b in draws] for a in draws])


def curves(energy: Any, p: Any, edge: str) -> dict[str, Array]:
    """The parts of a spectrum at these parameters."""
    value = {name: np.asarray(p[name]) for name in p}
    line = value["E_WL"], value["line_width"]
    parts = {
        "baseline": value["baseline"] * jnp.ones_like(jnp.asarray(energy, float)),
        "edge": value["step"] * lineshapes.EDGES[edge](energy, value["E0"], value["edge_width"]),
        "white line": value["lorentzian"] * lineshapes.lorentzian(energy, *line) / lineshapes.lorentzian_peak(line[1])
        + value["gaussian"] * lineshapes.gaussian(energy, *line) / lineshapes.gaussian_peak(line[1]),
    }
    peaks = zip(value["peak_centre"], value["peak_width"], value["peak_area"], strict=True)
    return parts | {f"peak {i + 1}": area * lineshapes.gaussian(energy, c, w) for i, (c, w, area) in enumerate(peaks)}


def _grouped(runs: Iterable[int]) -> list[list[set[int]]]:
    """Each run, and all of each number of peaks together."""
    known = sorted(runs)
    numbers = sorted({run // RUNS for run in known})
    return [[{run} for run in known], [{run for run in known if run // RUNS == number} for number in numbers]]
