r"""Decomposition of an X-ray absorption spectrum: how many peaks, where, and how sure that is.

A spectrum near an edge is modelled as baseline, arctangent edge, white line (pseudo-Voigt) and K Gaussians, none higher
than the white line; see `marginal` for the equations and the priors. For each K the free energy

    F(K, b) = -ln p(D | K, b) = -(n / 2) ln (b / 2 pi) - ln Z_K(b),        b = 1 / sigma^2,

comes from one tempered run, since Z_K(b) is what tempered sampling passes through on its way: the noise is selected
together with K by its minimum (K. Nagata et al., Neural Networks 28 (2012) 82; S. Tokuda et al., J. Phys. Soc. Jpn. 86
(2017) 024001), or integrated out with a prior uniform in ln sigma, which gives the posterior of K. What the runs have
found is then weighed again by `importance` and bridge sampling, whose evidence hardly carries the noise of their way.
Above five peaks numbers of peaks that are next to each other first share what they have found, see `evidence.sharing`.

Everything here runs in double precision, whatever the default: at 0.5 % noise the products of single precision are no
longer exact to a nat.
"""

import os
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, ArrayLike, Key
from tqdm import tqdm

from ..._util.random import numpy_generator
from ..._util.validation import check_flag, check_instances, check_key, check_whole_number, float_array
from ...physics import lineshapes
from ..programs import wait_for
from ..tempering.evidence import BLOCKS
from ..tempering.sequential import smc
from ..tempering.sequential_result import SMCResult
from .budget import UNDIVIDED, _divided, _shared, explorer_of
from .compile import compile_programs
from .evidence.assemble import gather
from .evidence.noise import over_noise
from .evidence.sharing import share
from .exchange_check import exchanged
from .priors import Priors, noise_of, past_the_best, path
from .result import Decomposition, Decompositions, Exchange, Fit

# Error of an evidence in nats beyond which the user is warned, where the number of peaks is at all probable.
UNSURE, PROBABLE = 1.0, 0.01
# Of an intensity, and one over the least: their squares, and sums of these, must stay within double precision.
LARGEST = 1e100


def decompose_spectrum(
    energy: ArrayLike,
    intensity: ArrayLike,
    peaks: Sequence[int] | int = range(6),
    noise: float | int | str | ArrayLike | None = None,
    priors: Priors | Sequence[Priors] | None = None,
    *,
    key: Key[Array, ""],
    edge: str = "arctangent",
    runs: int = 4,
    particles: int | None = None,
    moves: int = 4,
    exchange: int = 0,
    progress: bool = False,
) -> Decomposition | Decompositions:
    """The number of peaks, the noise, and the posterior of every parameter of an X-ray absorption spectrum.

    For every K, `runs` tempered samplers go from the prior to beyond the best noise, independent of each other up to 5
    peaks. Evidence and posterior are then those of `importance` sampling from a mixture fitted to their particles,
    joined by a bridge to particles that have moved on, where the mixture reaches enough of the posterior
    (`Fit.reached` is not 0; what it does not reach adds its share of the difference from the particles to the error),
    or else those of the particles, with the spread of the runs, or of their offspring, for an error. It takes half a
    minute for K up to 5 and minutes for 14, most of the former to compile. Above 5 peaks each K shares what its runs
    have found with K - 1 and K + 1 where they are asked for too; a K that has missed the best place gains by that, and
    the error covers what they differ by.

    How far to trust it (`tests/benchmarks/spectra.py`): on simulated spectra of 100 channels with 0.5 % noise two calls
    differed in ln p(D | K) at the best K by at most 0.05 nats on three with 5 peaks (0.06 told there), and by 0.02,
    0.09 and 0.15 on three with 8 (with 640 particles, before numbers of peaks shared), where 0.03 to 0.04 was told: no
    error tells of a place that no run has found.
    With 14 peaks, and sometimes with peaks that the data do not ask for, a mixture does not reach the posterior: then
    the error is that of the runs and of what numbers of peaks differ by. For 14 alone calls on three spectra of 14 told
    210.5 and 211.0; 197.8 and 197.5; 193.0, 194.9 and 195.1. The offspring of the runs told errors of 0.1 to 0.5, too
    little on the last (that of single points counts too since; these calls were not made again): ask for the numbers
    beside the one of interest, whose differences enter the error (most of it is common to them, see
    `Fit.error_beside`): on the last spectrum two such calls differed by 0.5 at 14 and by at most 0.7 from 13 to 16,
    where 0.2 to 0.6 was told. Edge and white line can stand in several places where many peaks surround them: the edge
    was more than 6 eV from the truth in up to 0.7 of the draws of these calls, and with two peaks to spare the width of
    the 90 % interval of E_WL was 4.5 eV in one call and 0.4 in the other. On each of the spectra with 5 peaks such
    widths of two calls differed by less than a tenth.

    Args:
        energy: (channels,), eV, increasing.
        intensity: (channels,), or (spectra, channels) for several spectra, which share their compiled programs.
        peaks: the numbers of Gaussians K to try.
        noise: None where it is to be found; a known sd; an sd for each channel; or "poisson" for counts.
        priors: `Priors`, or one for each of several spectra.
        key: the randomness.
        edge: "arctangent", or "erf" for an edge blurred by the resolution more than by the lifetime.
        runs: samplers for each K.
        particles: of each sampler; by default 192 with up to 5 peaks, 512 with up to 8, and 640 with more. With more
            than 5 they are divided between eight parts of the prior of edge and white line, see
            `CollapsedSpectrum.strata`, until the weights of these are uneven; their number is rounded up to eights.
        moves: sweeps of `PeakMoves` at each level of noise; of divided runs half before, and half more after their
            parts are united.
        exchange: sweeps of replica exchange from the particles at the most probable K, 0 or 20 and more, as a check:
            `Decomposition.exchange` tells whether replicas pass between the prior and the data, and a second free
            energy. A thousand give some round trips at K = 3, and take longer than the tempered runs.
        progress: whether to show a bar.

    Returns:
        A `Decomposition`, or `Decompositions` of several spectra.

    Raises:
        ValueError: energies that do not increase, NaN, another length of the intensities, a constant spectrum, as many
            parameters as channels or more, numbers that are not whole or too small, a noise that is not positive,
            counts that are not, priors for another number of spectra, or an edge of unknown shape.
    """
    check_key(key)
    check_flag(progress, "decompose_spectrum: progress")
    energies, data = float_array(energy, "energy"), float_array(intensity, "intensity")
    counts = sorted(
        {
            check_whole_number(k, "decompose_spectrum: peaks", 0)
            for k in (peaks if isinstance(peaks, Iterable) else [peaks])
        }
    )
    if not counts:
        raise ValueError("decompose_spectrum: peaks is empty: give one or more numbers from 0 up.")
    settings: dict[str, Any] = {
        "runs": check_whole_number(runs, "decompose_spectrum: runs", 2),
        "moves": check_whole_number(moves, "decompose_spectrum: moves", 1),
    }
    settings["particles"] = (
        None if particles is None else check_whole_number(particles, "decompose_spectrum: particles", 2)
    )
    if exchange and check_whole_number(exchange, "decompose_spectrum: exchange", 0) < BLOCKS:
        raise ValueError(f"decompose_spectrum: exchange must be 0, or {BLOCKS} sweeps or more, got {exchange}.")
    if not isinstance(edge, str) or edge not in lineshapes.EDGES:
        raise ValueError(f"decompose_spectrum: edge must be one of {', '.join(lineshapes.EDGES)}, got {edge!r}.")

    def one(spectrum: np.ndarray, prior: Priors, key: Key[Array, ""]) -> Decomposition:
        _check(energies, spectrum, counts)
        noise_of(noise, spectrum)
        return _decomposed(energies, spectrum, counts, noise, prior, key, settings, edge, exchange, progress)

    spectra = data if data.ndim == 2 else data[None]
    one_prior = priors is None or isinstance(priors, Priors)
    each = [priors or Priors()] * len(spectra) if one_prior else check_instances(priors, Priors, "priors", "Priors()")
    if len(each) != len(spectra):
        raise ValueError(
            f"decompose_spectrum: {len(each)} priors for {len(spectra)} spectra; give one for all, or one for each."
        )
    keys = jax.random.split(key, len(data)) if data.ndim == 2 else [key]
    found = tuple(one(*of) for of in zip(spectra, each, keys, strict=True))
    for result in found:
        warn_of_errors(result)
    return Decompositions(found) if data.ndim == 2 else found[0]


def _decomposed(energy, intensity, counts, noise, priors, key, settings, edge, exchange, progress) -> Decomposition:
    """Every number of peaks of one spectrum; its runs side by side, as many at a time as there are cores."""
    _, limit = noise_of(noise, intensity)
    chosen = priors.complete(energy, intensity)
    last = 1 / chosen.noise[0] ** 2 if limit is None else limit
    stop = past_the_best(len(energy), 1 / chosen.noise[1] ** 2) if limit is None else None
    cores, explorers = os.cpu_count() or 1, {count: explorer_of(count) for count in counts}
    shared = {count: _shared(count, settings["runs"], settings["particles"]) for count in counts}

    def sampled(count: int) -> SMCResult:
        wait_for(programs[count].of_smc)
        with jax.enable_x64(True):
            own, how = _keys(key, count)[0], {"moves": settings["moves"], "keep": shared[count]["particles"]}
            how |= {"limit": last, "stop": stop, "workers": workers}
            return smc(densities[count], explorers[count], key=own, **how, **shared[count])

    with ThreadPoolExecutor(cores) as workers, ThreadPoolExecutor(cores) as pool, jax.enable_x64(True):
        densities = {k: _divided(path(energy, intensity, k, noise, chosen, edge), **shared[k]) for k in counts}
        # Programs first; then the largest K, which takes the longest.
        programs = compile_programs(pool, densities, explorers, shared)
        jobs = {count: pool.submit(sampled, count) for count in reversed(counts)}
        rngs = {count: numpy_generator(_keys(key, count)[1]) for count in counts}
        results, tempered = {}, {}
        for count in tqdm(reversed(counts), total=len(counts), disable=not progress, unit="K"):
            result = jobs.pop(count).result()
            wait_for(programs[count].of_draws)
            tempered[count] = over_noise(densities[count], result, noise_known=limit is not None, rng=rngs[count])
            # Particles are many: they are kept only where they are asked for.
            results[count] = result if exchange else None
        draws = share(tempered, densities, explorers, UNDIVIDED + 1, numpy_generator(key), workers)

        def fit(count: int) -> Fit:
            own = densities[count], explorers[count], tempered[count], draws[count], count
            return gather(*own, noise_known=limit is not None, rng=rngs[count], workers=workers)

        fits = tuple(fit(count) for count in counts)
        seen = _exchanged(fits, densities, explorers, results, key, exchange) if exchange else None
    return Decomposition(energy, intensity, chosen, fits, edge, seen)


def _exchanged(fits, densities, explorers, results, key, sweeps) -> Exchange:
    """Replica exchange at the most probable number of peaks."""
    best = max(fits, key=lambda fit: fit.log_evidence)
    # Ladders must know nothing of each other.
    alone = replace(explorers[best.peaks], crossovers=0)
    return exchanged(densities[best.peaks], alone, results[best.peaks], best, _keys(key, best.peaks)[2], sweeps)


def _keys(key: Key[Array, ""], peaks: int) -> Array:
    """Of the particles, of the draws and of replica exchange."""
    return jax.random.split(jax.random.fold_in(key, peaks), 3)


def warn_of_errors(found: Decomposition) -> None:
    """Warns where the runs disagree on a number of peaks that matters, and of what replica exchange shows."""
    matter = [f for f, share in zip(found.fits, found.table["probability"].values, strict=True) if share > PROBABLE]

    def error(fit: Fit) -> float:
        # What is common to numbers of peaks that share does not matter to their probabilities.
        beside = [fit.error_beside(f) for f in matter if f is not fit and f.shares.keys() & fit.shares.keys()]
        return max(beside, default=fit.error)

    unsure = [fit for fit in matter if error(fit) > UNSURE]
    if unsure:
        errors = ", ".join(f"{error(fit):.1f} at K = {fit.peaks}" for fit in unsure)
        warnings.warn(
            f"decompose_spectrum: the runs disagree, errors of ln p(D | K) in nats: {errors}; do not rely on the "
            "probabilities of K, or take more particles or runs.",
            stacklevel=3,
        )
    for text in () if found.exchange is None else found.exchange.warnings:
        warnings.warn(f"decompose_spectrum: replica exchange: {text}", stacklevel=3)


def _check(energy: np.ndarray, intensity: np.ndarray, peaks: Sequence[int]) -> None:
    if energy.ndim != 1 or intensity.shape != energy.shape:
        raise ValueError(
            f"decompose_spectrum: energy has shape {energy.shape} and intensity {intensity.shape}; both must be "
            "(channels,), or intensity (spectra, channels)."
        )
    for name, values in (("energy", energy), ("intensity", intensity)):
        if not np.all(np.isfinite(values)):
            at = int(np.flatnonzero(~np.isfinite(values))[0])
            raise ValueError(f"decompose_spectrum: {name} is not finite at channel {at}; leave such channels out.")
    if np.any(np.diff(energy) <= 0):
        at = int(np.flatnonzero(np.diff(energy) <= 0)[0])
        raise ValueError(
            f"decompose_spectrum: energies must increase, but channel {at + 1} ({energy[at + 1]:g} eV) is not above "
            f"channel {at} ({energy[at]:g} eV); sort them, and average what was measured twice."
        )
    largest = float(np.abs(intensity).max())
    if largest > LARGEST or (0 < largest < 1 / LARGEST):
        raise ValueError(
            f"decompose_spectrum: intensities of up to {largest:.3g} have squares beyond double precision; rescale "
            "them towards 1."
        )
    if np.ptp(intensity) == 0:
        raise ValueError(
            f"decompose_spectrum: the intensity is {intensity[0]:g} in every channel: nothing to decompose."
        )
    parameters = 8 + 3 * peaks[-1]
    if parameters >= len(energy):
        raise ValueError(
            f"decompose_spectrum: with {peaks[-1]} peaks there are {parameters} parameters, but only {len(energy)} "
            f"channels; ask for at most {max((len(energy) - 9) // 3, 0)} peaks."
        )
