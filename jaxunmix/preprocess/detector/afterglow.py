"""Afterglow: what a detector still shows of the readouts before. Public through `preprocess`."""

import numpy as np
import scipy.optimize
import scipy.signal

from ..._util.validation import check_flag, check_number
from ...data.image import SpectrumImage
from ..provenance import check_image, energies, take_step
from ..region import floating
from .spikes import measure_noise

# Readouts back to which correlations are looked at.
LAGS = 8
# The residual is that of so many singular vectors.
RANK = 6
FEWEST = 256


def remove_persistence(
    img: SpectrumImage,
    fraction: float | int | None = None,
    decay: float | int | None = None,
    *,
    snake: bool = False,
) -> SpectrumImage:
    r"""Undo the detector's persistence, given or estimated from the noise.

    Readout t of the scan shows $y_t = x_t + f \sum_{j \geq 1} \lambda^{j - 1} x_{t - j}$ in each channel: a
    fraction f of the one before, and of earlier ones less by a factor $\lambda$ each. It is undone exactly, by
    $x_t = y_t - \lambda y_{t-1} - (f - \lambda) x_{t-1}$; nothing is known of what came before the first readout.

    Noise is new in every readout, so the afterglow shows in its correlation along the scan: of white noise so filtered
    the autocovariance is $r_0 = 1 + f^2 / (1 - \lambda^2)$, $r_j = \lambda^{j-1} [f + f^2 \lambda / (1 - \lambda^2)]$.
    Both numbers are fitted to the first eight lags of the residual of a low-rank approximation. Their errors are about
    one over the root of the number of entries; $\lambda$ is uncertain where f is little more than that.

    Args:
        img: the image; the last navigation dim is the fast one of the scan. All cells are readouts, masked ones too.
        fraction: f, 0 to below 1; None to estimate it, and the decay with it.
        decay: lambda, 0 to below 1; 0 where only the readout before is seen. Needed with a fraction.
        snake: every other row was scanned backwards.

    Raises:
        ValueError: values that are not finite; only one of fraction and decay; no navigation dims; fewer than 256
            readouts to estimate from.
    """
    what = "remove_persistence"
    check_image(img, what)
    energies(img, what)
    snake = check_flag(snake, f"{what}: snake")
    values = _readouts(img, what, snake)
    if (fraction is None) != (decay is None):
        raise ValueError(f"{what}: give both fraction and decay, or neither to have them estimated")
    if fraction is None or decay is None:
        if len(values) < FEWEST:
            raise ValueError(f"{what}: {len(values)} readouts are too few to estimate from; give fraction and decay")
        fraction, decay = estimate_persistence(values)
    fraction = check_number(fraction, f"{what}: fraction", 0, 0.999)
    decay = check_number(decay, f"{what}: decay", 0, 0.999)
    undone = scipy.signal.lfilter([1.0, -decay], [1.0, fraction - decay], values, axis=0)
    cells = undone.reshape(img.data.shape)
    if snake:
        cells = _turn(cells)
    shown = {"fraction": fraction, "decay": decay, "snake": snake}
    return take_step(img, what, shown, cells.astype(floating(img)))


def estimate_persistence(values: np.ndarray) -> tuple[float, float]:
    """The fraction and the decay of readouts (readouts, channels), 0 and 0 where there is none beyond its error."""
    rank = min(RANK, min(values.shape) // 4)
    small = values.T @ values if len(values) >= values.shape[1] else values @ values.T
    leading = np.linalg.eigh(small)[1][:, -rank:]
    low = values @ leading @ leading.T if len(values) >= values.shape[1] else leading @ (leading.T @ values)
    noise = measure_noise(values, low, np.zeros(values.shape, bool))
    residual = (values - low) / np.sqrt(noise.variance(low))
    # A spike is no noise, and its square would outweigh all.
    residual = np.clip(residual, -4, 4)
    found = np.array([np.mean(residual[lag:] * residual[: len(residual) - lag]) for lag in range(LAGS + 1)])
    found = found[1:] / found[0]
    if found[0] < 3 / np.sqrt(residual.size):
        return 0.0, 0.0

    def misfit(pair: np.ndarray) -> np.ndarray:
        f, decay = pair
        spread = f**2 / (1 - decay**2)
        return decay ** np.arange(LAGS) * (f + spread * decay) / (1 + spread) - found

    fit = scipy.optimize.least_squares(misfit, [found[0], 0.3], bounds=([0, 0], [0.999, 0.99]))
    return float(fit.x[0]), float(fit.x[1])


def _readouts(img: SpectrumImage, what: str, snake: bool) -> np.ndarray:
    """(readouts, channels) in the order of the scan."""
    if not img.navigation_dims:
        raise ValueError(f"{what} needs a scan, one navigation dim or more; this is a single spectrum")
    cells = img.data.values.astype(np.float64)
    bad = ~np.isfinite(cells).reshape(-1, cells.shape[-1])
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"{what}: the value at {img.place(row, column)} is not finite, and later readouts hang on it; fill it, "
            "masked or not"
        )
    return (_turn(cells) if snake else cells).reshape(-1, cells.shape[-1])


def _turn(cells: np.ndarray) -> np.ndarray:
    """Every other row backwards."""
    rows = cells.reshape(-1, *cells.shape[-2:]).copy()
    rows[1::2] = rows[1::2, ::-1]
    return rows.reshape(cells.shape)
