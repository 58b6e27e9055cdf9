"""Where a peak has its top, in every pixel at once. Public through `preprocess`."""

import math
from functools import partial
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int

from .._util.validation import check_choice, check_whole_number
from ..data.image import SpectrumImage
from .absorption_edge import local_fits
from .provenance import Window, as_map, energy_units, inside, live_energies

Shape = Literal["gaussian", "parabola"]
Baseline = Literal["none", "constant", "linear"]

_TERMS = {"none": 0, "constant": 1, "linear": 2}
_STEPS = 15  # of the iteration; 10 were enough for 600 peaks in noise of their own height
_BLOCK = 1024  # pixels at a time: what they need stays in the cache


def peak_top_energy(
    img: SpectrumImage,
    window: Window = None,
    *,
    shape: Shape = "gaussian",
    baseline: Baseline | None = None,
    channels: int | None = None,
) -> xr.DataArray:
    """Energy of the peak top in each pixel by a least-squares fit: `fit_peak(...)["energy"]`, which see.

    Returns:
        (*navigation), in units of the energy; NaN at masked pixels and where there is no peak.

    Raises:
        ValueError: as `fit_peak`.
    """
    found = fit_peak(img, window, shape=shape, baseline=baseline, channels=channels)
    return found["energy"].rename("peak_top_energy")


def fit_peak(
    img: SpectrumImage,
    window: Window = None,
    *,
    shape: Shape = "gaussian",
    baseline: Baseline | None = None,
    channels: int | None = None,
) -> xr.Dataset:
    r"""Fits one peak to the spectrum of each pixel by least squares.

    A Gaussian $h \exp(-(E - c)^2 / 2w^2)$ on a baseline b(E), or a parabola, all of one weight. Height and baseline
    are linear: they are eliminated (variable projection, Golub and Pereyra, SIAM J. Numer. Anal. 10 (1973) 413), and
    c and ln w found by damped Newton steps from the best of a grid of centres and widths over the window: no single
    high channel of noise decides where it starts.
    All pixels are one compiled program in float32, with energies taken from the middle of what is fitted.

    What is fitted decides what is found: a white line on the slope of its edge needs a window that holds it from
    foot to foot and the linear baseline.

    Args:
        img: the image, with one signal dim.
        window: (low, high) energies. All its live channels are fitted, unless `channels` is given.
        shape: "gaussian" or "parabola".
        baseline: of the Gaussian: "none", "constant" or "linear"; None for "linear" in a window and "none" about
            the highest channel. A parabola has both in it.
        channels: how many about the highest are fitted, in spectra smoothed over as many; None for all of the
            window, or for 7 where there is no window.

    Returns:
        Over (*navigation): `energy` of the top; `height` over the baseline (parabola: over zero); `width`, the
        standard deviation w (parabola: of the Gaussian with its height and curvature); `error`, the standard error
        of the energy by the scatter about the fit, NaN where there are no more channels than parameters. All NaN
        at masked pixels, for flat spectra, and where the top is not inside the fitted channels or the peak is wider
        than they can tell.

    Raises:
        ValueError: more than one signal dim; a window without live channels; fewer channels than parameters.
    """
    energy = live_energies(img, "fit_peak")
    check_choice(shape, ("gaussian", "parabola"), "fit_peak: shape")
    check_choice(baseline, (None, *_TERMS), "fit_peak: baseline")
    channels = None if channels is None else check_whole_number(channels, "fit_peak: channels")
    order = np.argsort(energy)
    if window is not None:
        order = order[inside(img, energy, window, "fit_peak: window")[order]]
    elif channels is None:
        channels = 7
    size = len(order) if channels is None else channels
    terms = 2 if shape == "parabola" else _TERMS[baseline or ("linear" if channels is None else "none")]
    least = 3 if shape == "parabola" else 3 + terms
    if not least <= size <= len(order) or (shape == "parabola" and baseline is not None):
        raise ValueError(
            f"fit_peak: {size} of {len(order)} live channels of '{img.signal_dims[0]}' for a {shape} with "
            f"baseline={baseline}; give a window with {least} or more, and a baseline with a gaussian only"
        )
    energy, y = energy[order], img.finite_live()[:, order]
    unit = _unit(y)
    y = y if unit == 1 else y / unit
    if channels is None:
        first, grid = np.zeros(len(y), np.int32), _grid(energy, terms) if shape == "gaussian" else None
    else:
        first, grid = _highest(energy, y, channels), None
    found = _fit(energy, y, first, size, shape, terms, grid)
    units = energy_units(img)
    attrs = {"energy": units, "height": {k: v for k, v in img.data.attrs.items() if k == "units"}}
    middle, half = (energy[first + size - 1] + energy[first]) / 2, (energy[first + size - 1] - energy[first]) / 2
    values = found._asdict() | {"energy": middle + half * found.energy}
    values |= {"height": unit * found.height, "width": half * found.width, "error": half * found.error}
    return xr.Dataset({k: as_map(img, v, k, attrs.get(k, units)) for k, v in values.items()})


def _unit(y: np.ndarray) -> float:
    """A power of two in whose unit single precision holds the intensities and their squares; mostly 1."""
    largest = max(abs(float(y.min())), abs(float(y.max())))
    return 1.0 if largest == 0 or 1e-15 < largest < 1e15 else 2.0 ** math.floor(math.log2(largest))


def _highest(energy: np.ndarray, y: np.ndarray, channels: int) -> np.ndarray:
    """First of the `channels` about the highest value of each smoothed spectrum, (pixels,)."""
    rows = np.arange(channels // 2, len(energy) - channels + channels // 2 + 1)
    smooth = local_fits(energy, rows, channels, 0).astype(np.result_type(y, np.float32))
    return (y @ smooth.T).argmax(axis=1).astype(np.int32)


class _Grid(eqx.Module):
    """Gaussians to begin with: centre and ln width, and what finds the best of them by one product.

    The sum of squares falls by (f . y)^2, with f the Gaussian less its part in the baseline, of length 1.
    """

    start: Float[Array, "gaussians 2"]
    filters: Float[Array, "gaussians channels"]


def _grid(energy: np.ndarray, terms: int) -> _Grid:
    """Widths from one channel to half the window, centres closer than the widths."""
    x = _scaled(energy)
    step = float(np.median(np.diff(x)))
    widths = np.geomspace(step, 1, max(2, round(-np.log(step) / np.log(1.5))))
    places = [np.linspace(-1, 1, int(np.ceil(2 / (0.7 * w))) + 1) for w in widths]
    centre = np.concatenate(places)[:, None]
    width = np.repeat(widths, [len(p) for p in places])[:, None]
    base = np.linalg.qr(x[:, None] ** np.arange(terms))[0]
    filters = np.exp(-0.5 * ((x - centre) / width) ** 2)
    seen = filters.max(axis=1) > 0.5  # not those that fall between two channels of an uneven axis
    filters -= (filters @ base) @ base.T
    filters /= np.linalg.norm(filters, axis=1, keepdims=True) + 1e-6
    return _Grid(_single(np.hstack([centre, np.log(width)])[seen]), _single(filters[seen]))


def _scaled(energy: np.ndarray) -> np.ndarray:
    return (2 * energy - energy[0] - energy[-1]) / (energy[-1] - energy[0])


def _single(values: np.ndarray) -> Array:
    return jnp.asarray(values, jnp.int32 if values.dtype.kind == "i" else jnp.float32)


class _Peak(NamedTuple):
    """A peak, or (pixels,) of them: energies in half widths from the middle of the fitted channels."""

    energy: Any
    height: Any
    width: Any
    error: Any


def _fit(
    energy: np.ndarray, y: np.ndarray, first: np.ndarray, size: int, shape: Shape, terms: int, grid: _Grid | None
) -> _Peak:
    """Prepares the numbers so that float32 will do, and runs the compiled program."""
    low, high = y.min(axis=1), y.max(axis=1)
    dtype = np.result_type(y, np.float32)
    flat = (high - low) <= 8 * np.finfo(dtype).eps * np.maximum(np.abs(low), np.abs(high))
    # an offset that is large beside the peak would take its digits
    offset = y.mean(axis=1, dtype=dtype) if terms else np.zeros(len(y), dtype)
    # whole blocks, or a power of two, so that crops of other sizes seldom compile again
    pad = -len(y) % min(_BLOCK, 2 ** math.ceil(math.log2(len(y))))
    rows = (np.pad(v, ((0, pad), *[(0, 0)] * (v.ndim - 1))) for v in (y - offset[:, None], offset, first))
    found = _fit_all(_single(_scaled(energy)), *map(_single, rows), grid, size, shape, terms)
    return _Peak(*(np.where(flat, np.nan, np.asarray(v, np.float64)[: len(y)]) for v in found))


@partial(jax.jit, static_argnames=("size", "shape", "terms"))
def _fit_all(
    energy: Float[Array, " all"],
    y: Float[Array, "pixels all"],
    offset: Float[Array, " pixels"],
    first: Int[Array, " pixels"],
    grid: _Grid | None,
    size: int,
    shape: Shape,
    terms: int,
) -> _Peak:
    def one(row: tuple[Array, Array, Array]) -> _Peak:
        x, y = (jax.lax.dynamic_slice(v, (row[2],), (size,)) for v in (energy, row[0]))
        x = 2 * (x - x[0]) / (x[-1] - x[0]) - 1
        scale = jnp.maximum(jnp.max(jnp.abs(y)), jnp.finfo(y.dtype).tiny)
        base = jnp.stack([jnp.ones_like(x), x - x.mean()])[:terms]
        base = base / jnp.linalg.norm(base, axis=1, keepdims=True)
        if shape == "parabola":
            peak = _parabola(x, y / scale, row[1] / scale, base)
        else:
            peak = _gaussian(x, y / scale, base, grid)
        peak = peak._replace(height=scale * peak.height)
        return jax.tree.map(lambda v: jnp.where(jnp.abs(peak.energy) < 1, v, jnp.nan), peak)

    return jax.lax.map(one, (y, offset, first), batch_size=min(_BLOCK, len(y)))


def _parabola(
    x: Float[Array, " n"], y: Float[Array, " n"], offset: Float[Array, ""], base: Float[Array, "2 n"]
) -> _Peak:
    """The top of s x^2 + (l - k s) x + ..., l and k the slopes of the lines through y and through x^2."""
    spread = base[1] @ x
    slope, own = base[1] @ y / spread, base[1] @ x**2 / spread
    q = x**2 - (base @ x**2) @ base
    curve = (q @ y) / (q @ q)
    down = jnp.where(curve < 0, -curve, jnp.nan)
    top = slope / (2 * down) + own / 2
    height = offset + y.mean() + down * (jnp.mean(x**2) + top**2 - 2 * top * x.mean())
    residual = y - (base @ y) @ base - curve * q
    freedom = len(x) - 3
    variance = residual @ residual / freedom if freedom else jnp.nan
    error = jnp.sqrt(variance * (1 / spread**2 + (slope / down) ** 2 / (q @ q))) / (2 * down)
    width = jnp.sqrt(jnp.where(height > 0, height, jnp.nan) / (2 * down))
    return _Peak(top, height, width, error)


class _State(NamedTuple):
    """Where the iteration is: centre and ln width, the damping, and the model there."""

    place: Float[Array, "2"]
    damping: Float[Array, ""]
    height: Float[Array, ""]
    squares: Float[Array, ""]
    normal: Float[Array, "2 2"]
    hessian: Float[Array, "2 2"]
    gradient: Float[Array, "2"]


def _gaussian(x: Float[Array, " n"], y: Float[Array, " n"], base: Float[Array, "terms n"], grid: _Grid | None) -> _Peak:
    """Damped Newton steps on centre and ln width, the linear parameters eliminated.

    The Jacobian is Kaufman's (BIT 15 (1975) 49). At the solution the Hessian differs from its square by the residual
    times the second derivatives alone; without these the steps zigzag where noise is as high as the peak.
    """
    y = y - (base @ y) @ base
    y = jnp.where(jnp.max(jnp.abs(y)) > 1e-5, y, 0)  # what rounding leaves of a straight line
    # a baseline takes in what is wider than the window; without one a narrow piece of a wide peak has a top
    widest = math.log(2 if len(base) else 50)
    low = jnp.array([-1.2, jnp.log(0.3 * jnp.min(jnp.diff(x)))])
    high = jnp.array([1.2, widest], y.dtype)

    def step(_: Array, now: _State) -> _State:
        limit = jnp.stack([jnp.exp(now.place[1]), jnp.float32(0.7)])  # a width, a factor of two
        change = jnp.clip(_solved(now), -limit, limit)
        new = _at(x, y, base, jnp.clip(now.place + change, low, high), 0.2 * now.damping)
        better = (new.squares <= now.squares) & (new.height > 0)
        back = now._replace(damping=jnp.minimum(5 * now.damping, 1e6))
        return jax.tree.map(lambda a, b: jnp.where(better, a, b), new, back)

    start = jnp.array([0, -0.4], y.dtype) if grid is None else grid.start[jnp.argmax(grid.filters @ y)]
    found = jax.lax.fori_loop(0, _STEPS, step, _at(x, y, base, start, jnp.float32(1e-2)))
    a, freedom = found.normal, len(x) - 3 - len(base)
    determinant = a[0, 0] * a[1, 1] - a[0, 1] ** 2
    variance = found.squares / freedom if freedom else jnp.nan
    good = (found.height > 0) & (found.place[1] < widest - 1e-3)
    top = jnp.where(good, found.place[0], jnp.nan)
    return _Peak(top, found.height, jnp.exp(found.place[1]), jnp.sqrt(variance * a[1, 1] / determinant))


def _at(
    x: Float[Array, " n"], y: Float[Array, " n"], base: Float[Array, "terms n"], place: Array, damping: Array
) -> _State:
    """The model at a centre and ln width; y is orthogonal to the base."""
    inverse = jnp.exp(-place[1])
    u = (x - place[0]) * inverse
    g0 = jnp.exp(-0.5 * u**2)
    rows = jnp.stack([g0, g0 * u * inverse, g0 * u**2])
    rows = rows - (rows @ base.T) @ base
    g = rows[0]
    power = jnp.maximum(g @ g, jnp.finfo(g.dtype).tiny)
    height = (g @ y) / power
    residual = y - height * g
    jacobian = height * (rows[1:] - ((rows[1:] @ g) / power)[:, None] * g)
    normal = jacobian @ jacobian.T
    # the residual is orthogonal to the base, so that these need not be
    bent = jnp.stack([g0 * (u**2 - 1) * inverse**2, g0 * u * (u**2 - 2) * inverse, g0 * u**2 * (u**2 - 2)])
    bent = height * (bent @ residual)
    hessian = normal - bent[jnp.array([[0, 1], [1, 2]])]
    return _State(place, damping, height, residual @ residual, normal, hessian, jacobian @ residual)


def _solved(now: _State) -> Float[Array, "2"]:
    """Damped Newton step; a Gauss-Newton one where the sum of squares is not convex."""
    h, right = now.hessian, now.gradient
    convex = (h[0, 0] > 0) & (h[0, 0] * h[1, 1] > h[0, 1] ** 2)
    m = jnp.where(convex, h, now.normal)
    a, d = jnp.diag(m) + now.damping * jnp.diag(now.normal) + jnp.finfo(m.dtype).tiny
    b = m[0, 1]
    return jnp.stack([d * right[0] - b * right[1], a * right[1] - b * right[0]]) / (a * d - b * b)
