"""Energy offset, gain and resolution of an EDX axis, fitted to a spectrum together with its coefficients."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import nnls

from .._util.validation import check_instance, check_several, check_whole_number, float_array
from .checks import checked_composition
from .xray import EmissionModel

# What can be fitted, and the first step that a damped iteration dares, in the unit of each.
STEPS = {"offset_keV": 0.02, "gain": 0.01, "fwhm_keV": 0.02}


@dataclass(frozen=True)
class Calibration:
    """The outcome of `calibrate`.

    Attributes:
        model: with the fitted values.
        values: offset_keV, gain and fwhm_keV, those that were fitted.
        sd: their standard deviations from the curvature of the likelihood.
        coefficients: (features,) of the spectrum.
        expected: (channels,) counts of the fit.
        deviance: of the fit, per channel: near 1 where the model describes the spectrum to its noise.
    """

    model: EmissionModel
    values: dict[str, float]
    sd: dict[str, float]
    coefficients: Float[np.ndarray, " features"]
    expected: Float[np.ndarray, " channels"]
    deviance: float


def calibrate(
    model: EmissionModel,
    counts: Any,
    composition: Any = None,
    parameters: Sequence[str] = ("offset_keV", "gain", "fwhm_keV"),
    *,
    max_steps: int = 60,
) -> Calibration:
    r"""Fit where the lines lie on the axis, and how wide they are, to the sum of an image.

    Maximises the Poisson likelihood of $x_c \sim a\,B_c(\theta)$ over non-negative coefficients a and $\theta$ by
    Fisher scoring (McCullagh and Nelder, Generalized Linear Models, 1989, section 2.5): weighted non-negative least
    squares for a, a damped Gauss-Newton step for both, derivatives of B by automatic differentiation.

    Args:
        model: with starting values within about half a line's width of the truth.
        counts: (channels,), or (spectra, channels), which are summed.
        composition: of the sample, where it absorbs; see `EmissionModel.basis`.
        parameters: which of "offset_keV", "gain" and "fwhm_keV" (at Mn K alpha) to fit.
        max_steps: iterations at most.

    Raises:
        ValueError: other parameters, counts of another length, negative, not finite or all zero.
    """
    observed = _checked(model, counts, parameters)
    check_whole_number(max_steps, "max_steps", 1)
    if composition is not None:
        checked_composition(composition, model.elements, model.thickness_nm, model.density)
    names = tuple(parameters)
    start = np.array([float(_get(model, name)) for name in names])
    derive = _derivatives(model, composition, names)
    theta, step = start, 1e-3
    best, coefficients = _coefficients(derive(theta)[0], observed)
    limits = np.array([STEPS[name] for name in names])
    for _ in range(max_steps):
        expected, weighted, scale = _weighted(derive(theta), coefficients)
        residual = (observed - expected) / np.sqrt(expected)
        move = np.linalg.solve(weighted @ weighted.T + step * np.eye(len(scale)), weighted @ residual) / scale
        trial = theta + np.clip(move[-len(names) :], -limits, limits)
        reached, found = _coefficients(derive(trial)[0], observed, coefficients)
        settled = abs(best - reached) < 1e-7 * max(abs(best), 1.0)
        if reached <= best:
            theta, best, coefficients, step = trial, reached, found, step / 5
        else:
            step *= 10
        if settled or step > 1e8:
            break
    expected, weighted, scale = _weighted(derive(theta), coefficients)
    sds = (np.sqrt(np.diag(np.linalg.pinv(weighted @ weighted.T))) / scale)[-len(names) :]
    return Calibration(
        model=_with(model, names, jnp.asarray(theta, float)),
        values=dict(zip(names, theta.tolist(), strict=True)),
        sd=dict(zip(names, sds.tolist(), strict=True)),
        coefficients=coefficients,
        expected=expected,
        deviance=2 * best / len(observed),
    )


def _weighted(
    derived: tuple[np.ndarray, np.ndarray], coefficients: Float[np.ndarray, " features"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(expected counts, their derivatives over their standard deviation at unit length, the lengths).

    Derivatives in the coefficients that are not zero come first, those in the parameters last.
    """
    rows, slopes = derived
    expected = np.maximum(coefficients @ rows, 1e-9)
    jacobian = np.concatenate([rows[coefficients > 0], np.einsum("f,tfc->tc", coefficients, slopes)])
    jacobian /= np.sqrt(expected)
    scale = np.linalg.norm(jacobian, axis=1)
    return expected, jacobian / scale[:, None], scale


def _checked(model: EmissionModel, counts: Any, parameters: Sequence[str]) -> Float[np.ndarray, " channels"]:
    check_instance(model, EmissionModel, "model", "EmissionModel(...)")
    check_several(parameters, "parameters", '("offset_keV", "gain")')
    unknown = [name for name in parameters if not isinstance(name, str) or name not in STEPS]
    if unknown or not parameters:
        raise ValueError(f"parameters: {unknown or 'none given'}; choose of {', '.join(STEPS)}")
    observed = float_array(counts, "counts")
    observed = observed.sum(axis=0) if observed.ndim == 2 else observed
    if observed.shape != model.energy_keV.shape:
        raise ValueError(f"counts of shape {np.shape(counts)}: give {len(model.energy_keV)} channels, as the model has")
    if not np.isfinite(observed).all() or observed.min() < 0 or not observed.any():
        raise ValueError("counts must be finite, not negative and not all zero; mask channels before they are summed")
    return observed


def _get(model: EmissionModel, name: str) -> Any:
    return model.detector.fwhm_keV if name == "fwhm_keV" else getattr(model, name)


def _with(model: EmissionModel, names: Sequence[str], theta: Float[Array, " parameters"]) -> EmissionModel:
    for name, value in zip(names, theta, strict=True):
        model = eqx.tree_at(partial(_get, name=name), model, value)
    return model


def _derivatives(model: EmissionModel, composition: Any, names: tuple[str, ...]) -> Any:
    """A function of the parameters: the basis and its derivatives, (parameters, features, channels)."""

    @jax.jit
    def both(theta: Float[Array, " parameters"]) -> tuple[Array, Array]:
        def basis(theta: Float[Array, " parameters"]) -> Array:
            return _with(model, names, theta).basis(composition).values

        return basis(theta), jnp.moveaxis(jax.jacfwd(basis)(theta), -1, 0)

    def run(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, slopes = both(jnp.asarray(theta, float))
        return np.asarray(values, np.float64), np.asarray(slopes, np.float64)

    return run


def _coefficients(
    rows: Float[np.ndarray, "features channels"],
    observed: Float[np.ndarray, " channels"],
    start: Float[np.ndarray, " features"] | None = None,
) -> tuple[float, Float[np.ndarray, " features"]]:
    """(half the deviance, coefficients): non-negative least squares, reweighted by what it expects."""
    expected = np.maximum(observed, 1.0) if start is None else np.maximum(start @ rows, 1e-3 * observed.mean())
    found = np.zeros(len(rows)) if start is None else start
    for _ in range(4):
        weight = 1 / np.sqrt(expected)
        found, _ = nnls((rows * weight).T, observed * weight)
        expected = np.maximum(found @ rows, 1e-3 * observed.mean())
    model = np.maximum(found @ rows, 1e-9)
    seen = observed > 0
    logs = np.log(observed[seen] / model[seen])
    return float((observed[seen] * logs).sum() - observed.sum() + model.sum()), found
