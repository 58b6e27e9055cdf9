"""Parameters of a spectrum by name, and the most probable ones by least squares from the best draws."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array
from scipy.optimize import least_squares

from ...physics import lineshapes
from .marginal import SHAPES, CollapsedSpectrum, Shapes
from .result import curves
from .truncated_normal import FIXED, GAUSS, LORENTZ

# How steep the wall is that keeps the best fit where the white line is the highest.
STEEP = 100.0
# Share of its cost by which a step of the best fit must lower it, or else it ends: some 1e-4 nats.
TOLERANCE = 1e-6
# Counts are fitted again so many times, with variances of at least so many counts.
REWEIGHED, LEAST_RATE = 4, 0.1


def by_name(shapes: Shapes, heights: np.ndarray, noise: np.ndarray, peaks: int) -> xr.Dataset:
    """Parameters by name, over "draw" and "peak", peaks by position."""
    order = np.argsort(np.asarray(shapes.centres)[:, :peaks], axis=1)
    centre, width, height = (
        np.take_along_axis(np.asarray(a)[:, :peaks], order, 1)
        for a in (shapes.centres, shapes.widths, heights[:, FIXED:])
    )
    single = {
        "E_WL": shapes.white_line,
        "E0": shapes.edge,
        "edge_width": shapes.edge_width,
        "line_width": shapes.line_width,
        **dict(zip(("baseline", "step", "lorentzian", "gaussian"), heights[:, :FIXED].T, strict=True)),
        "noise": noise,
    }
    area = height / np.asarray(lineshapes.gaussian_peak(width))
    plural = {"peak_centre": centre, "peak_width": width, "peak_height": height, "peak_area": area}
    variables = {name: ("draw", np.asarray(value)) for name, value in single.items()}
    return xr.Dataset(variables | {name: (("draw", "peak"), value) for name, value in plural.items()})


def noise_sd(density: CollapsedSpectrum, beta: np.ndarray) -> np.ndarray:
    """The sd of the noise: sigma, times the mean of what each channel has in units of it."""
    return 1 / np.sqrt(beta) * float(np.mean(1 / density.measured))


def best_fit(density, z, heights, beta, peaks) -> tuple[xr.Dataset, float]:
    """The most probable parameters from the best draws, at the mean noise, and their log likelihood."""
    b = float(1 / np.mean(1 / np.sqrt(beta)) ** 2)
    first = density.size - density.heights
    starts = np.concatenate([np.clip(z[:, :first], 1e-9, 1 - 1e-9), heights / np.asarray(density.scales)], 1)
    x = _least(density, starts, b, peaks)
    for _ in range(REWEIGHED if density.poisson else 0):
        x = _least(_reweighed(density, x), np.asarray(x), b, peaks)
    height = np.asarray(x[:, first:] * density.scales)
    best = by_name(density.shapes(x), height, noise_sd(density, np.array([b])), peaks).isel(draw=0)
    return best, _log_likelihood(density, best, b)


def _reweighed(density: CollapsedSpectrum, x: Array) -> CollapsedSpectrum:
    """With the variances of counts that are expected at a point, not those that were counted.

    Least squares with these ends where the likelihood of the counts is largest: its gradient is that of the latter.
    """
    fitted = (x[:, -density.heights :] @ density.columns(x)[0])[0] / jnp.where(density.weight > 0, density.weight, 1)
    weight = jnp.where(density.weight > 0, jnp.maximum(fitted, LEAST_RATE) ** -0.5, 0)
    return replace(density, weight=weight)


def _least(density: CollapsedSpectrum, starts: np.ndarray, b: float, peaks: int) -> Array:
    """(1, size), the point with heights in place of its u that is most probable, from the best of the starts."""
    # Only what there is of the slots is fitted; the programs take all of them, so that they serve several K.
    first = density.size - density.heights
    free = np.r_[np.arange(SHAPES + peaks), SHAPES + density.slots + np.arange(peaks)].astype(int)
    index = np.r_[free, first + np.arange(FIXED + peaks)]
    positive = np.zeros(FIXED + peaks - 1)
    lower = np.r_[np.zeros(len(free)), 0.0 if density.poisson else -np.inf, positive]
    upper = np.r_[np.ones(len(free)), np.inf, positive + np.inf]

    def whole(x):
        found = np.r_[np.full(first, 0.5), np.zeros(density.heights)] * np.ones((*x.shape[:-1], 1))
        found[..., index] = x
        return jnp.asarray(found)

    # An array, as a number would be part of the program, compiled anew for each spectrum.
    noise = jnp.asarray(b)

    def residual(x):
        return np.asarray(_residual(density, whole(x), noise))

    def jacobian(x):
        return np.asarray(_jacobian(density, whole(x), noise))[:, index]

    starts = starts[:, index]
    order = np.argsort(np.sum(np.asarray(_residuals(density, whole(starts), noise)) ** 2, 1))
    # With more peaks there are more places to begin at.
    inside = np.clip(starts[order[:: max(len(order) // 64, 1)][: max(3, peaks - 5)]], lower + 1e-12, upper - 1e-12)
    fitted = [
        least_squares(residual, start, jacobian, (lower, upper), ftol=TOLERANCE, max_nfev=200) for start in inside
    ]
    return whole(min(fitted, key=lambda fit: fit.cost).x[None])


def _log_likelihood(density: CollapsedSpectrum, best: xr.Dataset, b: float) -> float:
    measured = np.asarray(density.weight) > 0
    energy, data, weight = (np.asarray(a)[measured] for a in (density.energy, density.intensity, density.weight))
    fitted = np.sum([np.asarray(c) for c in curves(energy, best, density.edge).values()], axis=0)
    if density.poisson:
        rate = np.maximum(fitted, 1e-30)
        return float(np.sum(data * np.log(rate) - rate - jax.scipy.special.gammaln(data + 1)))
    return float(np.sum(-0.5 * b * (weight * (data - fitted)) ** 2 + 0.5 * np.log(b / (2 * np.pi)) + np.log(weight)))


def _squared(density: CollapsedSpectrum, x: Array, b: Array) -> Array:
    """What is squared and halved in the negative log posterior: weighted residuals, and heights in their prior sds.

    They are those of a point that has the heights in place of its u. A peak above the white line, where that is to be
    the highest, costs what a misfit of `STEEP` times that would.
    """
    heights = x[-density.heights :]
    misfit = density.target - heights @ density.columns(x[None])[0]
    scaled = density.ceiling * heights
    line, peaks = density.prior.highest * heights[LORENTZ] + scaled[GAUSS], scaled[FIXED:]
    scale = STEEP * jnp.sqrt(b) * density.scales[LORENTZ]
    above = scale * jnp.maximum(peaks - line, 0)
    return jnp.concatenate([jnp.sqrt(b) * misfit, heights, above])


@eqx.filter_jit
def _residual(density: CollapsedSpectrum, x: Array, b: Array) -> Array:
    return _squared(density, x, b)


@eqx.filter_jit
def _jacobian(density: CollapsedSpectrum, x: Array, b: Array) -> Array:
    return jax.jacfwd(lambda x: _squared(density, x, b))(x)


@eqx.filter_jit
def _residuals(density: CollapsedSpectrum, x: Array, b: Array) -> Array:
    return jax.vmap(lambda x: _squared(density, x, b))(x)
