"""Backgrounds that fall as a power of the energy, fitted in front of an edge. Public through `preprocess`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from .._util.blocks import row_blocks
from .._util.validation import check_limits
from ..data.image import SpectrumImage
from .provenance import Limits, apply_operation, inside, live_energies, take_step
from .region import floating, over_channels, over_pixels

# Exponents that are looked at. Few counts, all at one end of the window, have none that is most likely.
LEAST, MOST = -2.0, 12.0
# Channels in a window: a background has at least two parameters.
FEWEST = 3
# Exponents that are tabulated, and Newton steps from there: each doubles the digits, of which the table has three.
TABLE, STEPS = 113, 3


def power_law_background(img: SpectrumImage, window: Limits | Sequence[Limits]) -> SpectrumImage:
    r"""Subtract $A E^{-r}$ from each spectrum, fitted in front of an edge and extrapolated. Reversible.

    A and r maximise the Poisson likelihood of the counts in the window (Egerton, Electron Energy-Loss Spectroscopy in
    the Electron Microscope, 3rd ed. (2011), section 4.4, has the model): r solves
    $\sum_c \ln E_c \, E_c^{-r} / \sum_c E_c^{-r} = \sum_c x_c \ln E_c / \sum_c x_c$, and
    $A = \sum_c x_c / \sum_c E_c^{-r}$. Channels without counts take part, and the background's sum over the window
    is that of the counts. Multiplying the counts changes nothing, so that a camera's counts serve too; where its
    read-out noise outweighs the electrons', the fit is right on average and not the least noisy.

    Few counts: of 3,000 simulated spectra with r = 3, a window of 570 to 630 eV and 61 channels, the background
    extrapolated to 640 to 700 eV was on average too high by 5.5 % at 1 count per channel, 3.5 % at 3, 1.1 % at 10 and
    0.2 % at 100 (what the noise of r does to an extrapolation), with a scatter of 45, 29, 16 and 5 %. A straight line
    through the logarithms of the channels that have counts was off by 84, 0.4, -5.6 and -0.5 %. Where the scatter
    matters, `low_rank_background` has less.

    Exponents are kept to -2 to 12. A pixel whose counts in the window sum to zero or less has no background: nothing
    is subtracted there, and the record says how many there are. The background is subtracted at all live channels,
    those below the window too, where it may be far above the counts: crop them.

    Args:
        img: the image, with one signal dim of energies above 0.
        window: (low, high) in front of the edge, None for no limit, in the unit of the axis; or several such, as
            before and after a small edge. 10 to 30 % of the edge's energy wide, and clear of the edge's onset.

    Raises:
        ValueError: more than one signal dim; energies of zero or below; a window outside the axis or with fewer than
            three live channels; NaN.
    """
    energy, within = background_channels(img, window, "power_law_background")
    counts = img.finite_live()[:, within].astype(np.float64)
    scale = float(np.exp(np.log(energy[within]).mean()))
    total, exponent = fit_power_laws(counts, np.log(energy[within] / scale))
    amplitude = total / _integrals(exponent, np.log(energy[within] / scale))
    maps = [over_pixels(img, one, 0)[..., 0] for one in (amplitude, exponent)]
    everywhere = over_channels(img, energy / scale, np.nan)
    back = {"do": "add_power_law", "values": maps[0], "exponent": maps[1], "x": everywhere}
    shown = {
        "window": [list(one) for one in windows_of(window, "power_law_background: window")],
        "exponent": over_pixels(img, exponent, np.nan)[..., 0],
        "without_counts": int((total <= 0).sum()),
    }
    return subtract_background(img, "power_law_background", shown, back)


def subtract_background(
    img: SpectrumImage, name: str, parameters: dict[str, Any], back: dict[str, Any]
) -> SpectrumImage:
    """The image less the background that the operation `back` adds; masked cells stay as they are."""
    away = {**back, "values": -back["values"]}
    values = apply_operation(img.data.values.astype(floating(img), copy=False), away)
    return take_step(img, name, parameters, values, [back])


def windows_of(window: Any, what: str) -> list[Limits]:
    """One window, or several, as a list."""
    several = isinstance(window, list | tuple | np.ndarray) and len(window) > 0
    if several and all(isinstance(one, list | tuple | np.ndarray) for one in window):
        return [check_limits(one, f"{what}[{i}]") for i, one in enumerate(window)]
    return [check_limits(window, what)]


def background_channels(
    img: SpectrumImage, window: Any, what: str
) -> tuple[Float[np.ndarray, " channels"], Bool[np.ndarray, " channels"]]:
    """Live energies, all above 0, and which of them lie in the windows."""
    energy = live_energies(img, what)
    windows = windows_of(window, f"{what}: window")
    within = np.zeros(len(energy), bool)
    for one in windows:
        within |= inside(img, energy, one, f"{what}: window")
    if within.sum() < FEWEST:
        raise ValueError(
            f"{what}: window={window} holds {within.sum()} live channels of '{img.signal_dims[0]}', and a background "
            f"needs {FEWEST}; widen it"
        )
    if energy.min() <= 0:
        raise ValueError(
            f"{what}: '{img.signal_dims[0]}' begins at {energy.min():g}, where a power law has no value; "
            "leave energies of zero and below out with preprocess.crop"
        )
    return energy, within


def fit_power_laws(
    counts: Float[np.ndarray, "pixels channels"], position: Float[np.ndarray, " channels"]
) -> tuple[Float[np.ndarray, " pixels"], Float[np.ndarray, " pixels"]]:
    """Sum of the counts and most likely exponent of each row; both 0 where the sum is not positive.

    The mean position under E^-r falls with r, whatever the pixel: all rows invert one function, by a table and Newton's
    steps.

    Args:
        counts: in the window.
        position: ln(E / E_0) of its channels.
    """
    total = counts.sum(axis=1)
    live = total > 0
    wanted = counts[live] @ position / total[live]
    table = np.linspace(LEAST, MOST, TABLE)
    exponent = np.interp(-wanted, -_moments(table, position)[0], table)
    for _ in range(STEPS):
        mean, variance = _moments(exponent, position)
        exponent = np.clip(exponent + (mean - wanted) / variance, LEAST, MOST)
    rates = np.zeros(len(counts))
    rates[live] = exponent
    return np.where(live, total, 0), rates


def _moments(exponent: np.ndarray, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the positions under the power laws."""
    mean, variance = np.empty(len(exponent)), np.empty(len(exponent))
    for rows in row_blocks(len(exponent), len(position)):
        law = np.exp(-exponent[rows, None] * position)
        law /= law.sum(axis=1, keepdims=True)
        mean[rows] = law @ position
        variance[rows] = law @ position**2 - mean[rows] ** 2
    return mean, variance


def _integrals(exponent: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Sum of (E / E_0)^-r over the window, for each exponent."""
    found = np.empty(len(exponent))
    for rows in row_blocks(len(exponent), len(position)):
        found[rows] = np.exp(-exponent[rows, None] * position).sum(axis=1)
    return found
