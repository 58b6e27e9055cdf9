"""What is known of a spectrum before its data, and the path of densities from there to the data."""

from dataclasses import dataclass, fields
from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy.stats import halfnorm

from ..._util.validation import check_flag, float_array, real_number
from .marginal import CollapsedSpectrum, Prior

# Slots for peaks that programs are compiled for: K is rounded up to the next of them.
SLOTS = (2, 5, 8, 11, 14, 17, 20, 25, 30)
# Likewise channels are rounded up, to one of these times a power of ten; those beyond the data weigh nothing.
LENGTHS = (1.0, 1.25, 1.6, 2.0, 2.5, 3.2, 4.0, 5.0, 6.4, 8.0, 10.0)
# A run ends when the noise that it has reached is so many nats less probable than the best.
BEYOND = 10.0
# Of the quadrature over each height of the white line.
NODES = 200
Pair = tuple[float | int, float | int]


@dataclass(frozen=True)
class Priors:
    """What is known before the data; what is None follows from the energies and the range of the intensities.

    Attributes:
        white_line: mean and sd of E_WL in eV; by default where the spectrum is highest, and 1/20 of the window. Give
            it where that is not the white line, as in a window about a pre-edge peak.
        edge: sd of E_0 - E_WL in eV; 4.5 after the battery study.
        edge_width, line_width, peak_width: least and largest full width at half maximum in eV, uniform in the
            logarithm; by default two channels and a quarter of the window.
        peak: least and largest position of a peak in eV; by default the window.
        baseline: sd of the constant; by default the largest absolute intensity.
        heights: sds of the half-normal priors of the step, the Lorentzian and the Gaussian of the white line, and the
            peaks; by default the range of the intensities for each.
        noise: least and largest sd of the noise, uniform in the logarithm; by default 1e-4 and 1 times the range.
        highest: whether the white line is the highest of the lines, A_L + A_G at least every a_k: without it nothing
            but its place tells it from a peak. False where it is not, as in a window about a pre-edge peak.
    """

    white_line: Pair | None = None
    edge: float | int = 4.5
    edge_width: Pair | None = None
    line_width: Pair | None = None
    peak_width: Pair | None = None
    peak: Pair | None = None
    baseline: float | int | None = None
    heights: tuple[float | int, float | int, float | int, float | int] | None = None
    noise: Pair | None = None
    highest: bool = True

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and field.name != "highest":
                float_array(value, f"Priors: {field.name}")
        check_flag(self.highest, "Priors: highest")
        for name in ("edge", "baseline"):
            if name == "edge" or self.baseline is not None:
                real_number(getattr(self, name), f"Priors: {name}")
        for name in ("edge_width", "line_width", "peak_width", "peak", "noise"):
            pair = getattr(self, name)
            if pair is not None and not (
                np.shape(pair) == (2,) and -np.inf < pair[0] < pair[1] < np.inf and (name == "peak" or pair[0] > 0)
            ):
                raise ValueError(f"Priors: {name} must be (least, largest), widths and noise positive, got {pair}.")
        if self.white_line is not None and not (
            np.shape(self.white_line) == (2,) and np.all(np.isfinite(self.white_line)) and self.white_line[1] > 0
        ):
            raise ValueError(f"Priors: white_line must be (mean, sd), finite, the sd positive, got {self.white_line}.")
        for name in ("edge", "baseline", "heights"):
            value = getattr(self, name)
            if value is not None and not np.all((np.asarray(value) > 0) & np.isfinite(value)):
                raise ValueError(f"Priors: {name} must be positive and finite, got {value}.")
        if self.heights is not None and np.shape(self.heights) != (4,):
            raise ValueError(
                "Priors: heights must be four sds, of the step, the Lorentzian and the Gaussian of the white line, and "
                f"the peaks, got {self.heights}."
            )

    def complete(self, energy: np.ndarray, intensity: np.ndarray) -> "Priors":
        """With every None replaced by its default for these data.

        Raises:
            ValueError: the energies lie so far apart that no width is left between the defaults.
        """
        window, spacing = float(np.ptp(energy)), float(np.median(np.diff(energy)))
        span, widths = float(np.ptp(intensity)), (2 * spacing, window / 4)
        defaults: dict[str, Any] = {
            "white_line": (float(energy[np.argmax(intensity)]), window / 20),
            "edge_width": widths,
            "line_width": widths,
            "peak_width": widths,
            "peak": (float(energy[0]), float(energy[-1])),
            "baseline": float(np.max(np.abs(intensity))),
            "heights": (span,) * 4,
            "noise": (1e-4 * span, span),
        }
        given: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        missing = [name for name in ("edge_width", "line_width", "peak_width") if given[name] is None]
        if missing and not widths[0] < widths[1]:
            raise ValueError(
                f"Priors: energies {spacing:g} eV apart in a window of {window:g} eV leave no widths between two "
                f"channels and a quarter of the window; give {', '.join(missing)}, or ten channels or more, evenly."
            )
        return Priors(**{name: defaults[name] if value is None else value for name, value in given.items()})

    def arrays(self, peaks: int) -> Prior:
        """As the density takes them for so many peaks."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["log_share"] = self.log_share(peaks)
        return Prior(**{name: jnp.asarray(value, float) for name, value in values.items()})

    def log_share(self, peaks: int) -> float:
        """The logarithm of the probability that half-normal heights have the white line `highest`; 0 without that.

        The integral over A_L and A_G of the probability that every peak is lower, over their quantiles.
        """
        if not self.highest or self.heights is None:
            return 0.0
        nodes, weights = np.polynomial.legendre.leggauss(NODES)
        height = halfnorm.ppf((1 + nodes) / 2)
        top = self.heights[1] * height[:, None] + self.heights[2] * height
        lower = halfnorm.cdf(top / self.heights[3]) ** peaks
        return float(np.log(weights @ lower @ weights / 4))


def path(
    energy: np.ndarray, intensity: np.ndarray, peaks: int, noise: Any, priors: Priors, edge: str = "arctangent"
) -> CollapsedSpectrum:
    """The path of densities from the prior to the data that `decompose_spectrum` follows, for samplers of one's own.

    Args:
        energy: (channels,), eV.
        intensity: (channels,).
        peaks: K; there is room for the next of `SLOTS`.
        noise: as `decompose_spectrum` takes it.
        priors: complete, see `Priors.complete`.
        edge: "arctangent" or "erf".
    """
    slots = next((s for s in SLOTS if s >= peaks), peaks)
    weight, _ = noise_of(noise, intensity)
    beyond = (0, _length(len(energy)) - len(energy))
    return CollapsedSpectrum(  # type: ignore[call-arg]
        energy=jnp.asarray(np.pad(energy, beyond, mode="edge"), float),
        intensity=jnp.asarray(np.pad(intensity, beyond), float),
        weight=jnp.asarray(np.pad(weight, beyond), float),
        live=(jnp.arange(slots) < peaks).astype(float),
        prior=priors.arrays(peaks),
        poisson=isinstance(noise, str),
        edge=edge,
    )


def _length(channels: int) -> int:
    """The next of the `LENGTHS`."""
    decade = 10 ** int(np.floor(np.log10(channels)))
    return next(round(decade * share) for share in LENGTHS if round(decade * share) >= channels)


def past_the_best(channels: int, first: float = 0.0) -> Any:
    """Whether a run has gone to where the noise is too small by far, among b from the first that the prior allows."""

    def stop(betas: np.ndarray, log_evidence: np.ndarray) -> bool:
        free_energy = np.where(betas[1:] < first, np.inf, -0.5 * channels * np.log(betas[1:]) - log_evidence[1:])
        return bool(betas[-1] >= first and free_energy[-1] > np.min(free_energy) + BEYOND)

    return stop


def noise_of(noise: Any, intensity: np.ndarray) -> tuple[np.ndarray, float | None]:
    """One over the noise of each channel in units of sigma, and b at the end where it is known."""
    if noise is None:
        return np.ones_like(intensity), None
    if isinstance(noise, str):
        if noise != "poisson":
            raise ValueError(f'decompose_spectrum: noise must be None, a number, an array or "poisson", got {noise!r}.')
        if np.any(intensity < 0) or np.any(intensity != np.round(intensity)):
            raise ValueError("decompose_spectrum: Poisson noise needs counts, whole numbers from 0 up.")
        return 1 / np.sqrt(np.maximum(intensity, 1)), 1.0
    if isinstance(noise, bool):
        raise ValueError(f'decompose_spectrum: noise must be None, a number, an array or "poisson", got {noise}.')
    sd = float_array(noise, "decompose_spectrum: noise")
    if sd.shape not in ((), intensity.shape):
        raise ValueError(
            f"decompose_spectrum: noise has shape {sd.shape}; give one number, or one for each of the "
            f"{len(intensity)} channels."
        )
    sd = np.broadcast_to(sd, intensity.shape)
    if not np.all(sd > 0) or not np.all(np.isfinite(sd)):
        raise ValueError(
            "decompose_spectrum: the noise must be positive and finite, one number or one for each channel."
        )
    return 1 / sd, 1.0
