"""Spectra of the windows of an atomically resolved image. Public through `preprocess`."""

from dataclasses import replace
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int

from .._util.validation import check_choice, check_unmasked, check_whole_number
from ..data.axes import uniform_step
from ..data.image import SpectrumImage

# Values of the windows that are transformed at once.
_BLOCK_VALUES = 2**20
# The smallest window that holds a period between its mean and its Nyquist frequency.
_LEAST = 4

Pair = int | tuple[int, int]


def sliding_fft(
    image: Any,
    window: Pair,
    step: Pair,
    *,
    taper: Literal["hann", "none"] = "hann",
    scale: Literal["magnitude", "power", "log"] = "magnitude",
    half: bool = False,
    keep: Pair | None = None,
) -> SpectrumImage:
    r"""The local spatial frequencies of an atomically resolved image: the FFT of a window that slides over it.

    $F_p(k) = \sum_r w(r) (I(r) - \bar I_p) e^{-2 \pi i k \cdot r} / \sum_r w(r)$ over the window p, with
    $\bar I_p = \sum w I / \sum w$, so that F is 0 at the origin and a wave $a \cos(2 \pi k \cdot r)$ gives a / 2 at k
    and -k. What becomes of it tells lattices apart whatever their phase, and its factorisation maps them: Vasudevan
    et al., Appl. Phys. Lett. 106 (2015) 091601; Kannan et al., Adv. Struct. Chem. Imaging 4 (2018) 6.

    Windows stand at every `step` pixels from the first corner, as long as they lie within the image. Computed, and
    returned, in single precision, or in double where JAX has been told to. Not reversible.

    Args:
        image: (y, x), an array, a DataArray, whose coordinates must be uniform, or a SpectrumImage with no other
            axes but of length one.
        window: pixels (along y, along x) of a window, 4 or more each; one number for both.
        step: pixels from one window to the next, likewise.
        taper: w(r), "hann" for $\sin^2(\pi (j + 1/2) / n)$ along each axis, or "none" for 1.
        scale: "magnitude" |F|, in the unit of the image; "power" |F|^2; or "log", ln(1 + |F| / m), where m is the
            root mean square that white noise of the image's standard deviation would have.
        half: only kx >= 0, which is all there is to know: |F(-k)| = |F(k)|.
        keep: frequencies on each side of the origin to keep (along ky, along kx); None for all.

    Returns:
        (y, x | ky, kx), with the dims of the image and "k" before them: the centres of the windows, and frequencies in
        periods per unit of the image's axes, the origin in the middle (first along kx for `half`). Where an axis has
        no coordinate its unit is the pixel, "px".

    Raises:
        ValueError: an image that is not 2-D, has masked, NaN or infinite values or an axis that is not uniform; a
            window larger than the image; a window, step or keep out of its range.

    >>> rows = np.cos(2 * np.pi * np.arange(32) / 4)[:, None] * np.ones(32)
    >>> spectra = sliding_fft(rows, window=16, step=8, half=True)
    >>> spectra.data.shape, [round(float(spectra.data.sel(ky=k, kx=0)[0, 0]), 3) for k in (0, 0.25)]
    ((3, 3, 16, 9), [0.0, 0.5])
    """
    img = _as_picture(image)
    check_choice(taper, ("hann", "none"), "sliding_fft: taper")
    check_choice(scale, ("magnitude", "power", "log"), "sliding_fft: scale")
    check_choice(half, (True, False), "sliding_fft: half")
    size = _sizes(img, window)
    stride, kept = _pair(step, "step", 1), None if keep is None else _kept(keep, size)
    corners = [np.arange(0, n - m + 1, s) for n, m, s in zip(img.signal_shape, size, stride, strict=True)]
    index = [_frequencies(m, None if kept is None else kept[i], half and i == 1) for i, m in enumerate(size)]
    weights = [_taper(m, taper) for m in size]
    values, noise = _transform(img, corners, index, weights, scale)
    units = {"magnitude": img.data.attrs.get("units"), "log": "1"}.get(scale, _squared(img.data.attrs.get("units")))
    data = _labelled(img, values, (corners, index, size), units)
    parameters: dict[str, Any] = {"window": list(size), "step": list(stride), "taper": taper, "scale": scale}
    parameters |= {"half": bool(half), "keep": None if kept is None else list(kept)}
    parameters |= {"noise": noise} if scale == "log" else {}
    record = {"step": "sliding_fft", "parameters": parameters}
    return SpectrumImage(data, tuple(map(str, data.dims[2:])), provenance=(*img.provenance, record))


def _as_picture(image: Any) -> SpectrumImage:
    """The image with its two axes as signal dims, all values finite."""
    given: tuple[dict[str, Any], ...] = ()
    data = image
    if isinstance(image, SpectrumImage):
        for what, kept in (("pixels", image.keep_pixels), ("channels", image.keep_channels)):
            if kept is not None and not kept.values.all():
                raise ValueError(f"sliding_fft: the image has masked {what}; crop it to what is whole, or fill them")
        given = image.provenance
        single = [d for d, n in image.data.sizes.items() if n == 1] if image.data.ndim > 2 else []
        data = image.data.isel(dict.fromkeys(single, 0), drop=True)
    elif not isinstance(image, xr.DataArray):
        check_unmasked(image, "sliding_fft: the image")
        shape = getattr(image, "shape", None)
        data = np.asarray(image) if shape is None and isinstance(image, list | tuple) else image
    if getattr(data, "ndim", None) != 2:
        found = f"has shape {data.shape}" if hasattr(data, "shape") else f"is {str(data)[:60]!r}"
        raise ValueError(f"sliding_fft: the image must be (y, x), but {found}; give one 2-D image, such as image[0]")
    if not isinstance(data, xr.DataArray):
        data = xr.DataArray(np.asarray(data), dims=("y", "x"))
    img = replace(SpectrumImage.from_array(data, signal_dims=2), provenance=given)
    img.finite_live()
    for dim in img.signal_dims:
        if dim in img.data.coords and uniform_step(img.data.coords[dim].values) is None:
            raise ValueError(
                f"sliding_fft: the coordinate of '{dim}' is not uniform, so that it has no spatial frequencies; "
                f"put the image on a uniform grid first (preprocess.interpolate)"
            )
    return img


def _pair(value: Any, name: str, least: int) -> tuple[int, int]:
    """One number, or one along each axis."""
    several = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(several) != 2:
        raise ValueError(f"sliding_fft: {name} must be one number or (along y, along x), got {value!r}")
    first, second = (check_whole_number(n, f"sliding_fft: {name}", least) for n in several)
    return first, second


def _sizes(img: SpectrumImage, window: Pair) -> tuple[int, int]:
    size = _pair(window, "window", _LEAST)
    for dim, n, m in zip(img.signal_dims, img.signal_shape, size, strict=True):
        if m > n:
            raise ValueError(f"sliding_fft: a window of {m} pixels along '{dim}', which has {n}; give {_LEAST} to {n}")
    return size


def _kept(keep: Pair, size: tuple[int, int]) -> tuple[int, int]:
    kept = _pair(keep, "keep", 1)
    for n, m in zip(kept, size, strict=True):
        check_whole_number(n, f"sliding_fft: keep, of a window of {m} pixels,", 1, (m - 1) // 2)
    return kept


def _frequencies(size: int, keep: int | None, half: bool) -> Int[np.ndarray, " frequencies"]:
    """Whole periods in the window, in rising order."""
    low, high = (-(size // 2), (size - 1) // 2) if keep is None else (-keep, keep)
    if half:
        low, high = 0, size // 2 if keep is None else keep
    return np.arange(low, high + 1)


def _taper(size: int, taper: str) -> Float[np.ndarray, " size"]:
    return np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2 if taper == "hann" else np.ones(size)


def _transform(
    img: SpectrumImage, corners: list[np.ndarray], index: list[np.ndarray], weights: list[np.ndarray], scale: str
) -> tuple[np.ndarray, float]:
    """The scaled spectra (y, x, ky, kx), and what white noise would have on the way to the logarithm."""
    # Centred and scaled in double precision: neither an offset nor the unit costs the digits of single precision.
    picture = img.data.values.astype(np.float64)
    picture /= (largest := float(np.abs(picture).max())) or 1.0
    picture -= picture.mean()
    spread = float(np.abs(picture).max())
    picture /= spread or 1.0
    window = np.outer(*weights) / np.outer(*weights).sum()
    noise = float(picture.std() * np.sqrt((window**2).sum()))
    unit = largest * spread
    factor = {"magnitude": unit, "power": unit * unit, "log": 1 / (noise or 1.0)}[scale]
    kind = np.finfo(jnp.result_type(float))
    if spread and not float(kind.tiny) < factor < float(kind.max) / 8:
        raise ValueError(f"sliding_fft: a {scale} of about {factor:g} is beyond the range of {kind.dtype}; rescale it")
    starts = np.stack(np.meshgrid(*corners, indexing="ij"), axis=-1).reshape(-1, 2)
    # Only half of the plane is computed; the rest of it is the same, turned by 180 degrees.
    ky, kx = np.meshgrid(*index, indexing="ij")
    height, width = (len(w) for w in weights)
    places = (np.where(kx < 0, -ky, ky) % height) * (width // 2 + 1) + np.abs(kx)
    arrays = (jnp.asarray(picture, float), jnp.asarray(starts), jnp.asarray(window, float), jnp.asarray(places.ravel()))
    batch = max(1, min(len(starts), _BLOCK_VALUES // (height * width)))
    values = np.asarray(_spectra(*arrays, jnp.asarray(factor, float), scale, batch))
    return values.reshape(*map(len, corners), *ky.shape), noise * unit


@partial(jax.jit, static_argnames=("scale", "batch"))
def _spectra(
    picture: Float[Array, "y x"],
    starts: Int[Array, "windows 2"],
    window: Float[Array, "h w"],
    places: Int[Array, " frequencies"],
    factor: Float[Array, ""],
    scale: str,
    batch: int,
) -> Float[Array, "windows frequencies"]:
    """Spectra of all windows, a block of them at a time; `window` sums to one."""

    def one(start: Int[Array, " 2"]) -> Float[Array, " frequencies"]:
        part = jax.lax.dynamic_slice(picture, (start[0], start[1]), window.shape)
        part = window * (part - jnp.sum(window * part))
        waves = jnp.fft.rfft2(part)
        power = (jnp.square(waves.real) + jnp.square(waves.imag)).ravel()[places]
        if scale == "power":
            return factor * power
        size = factor * jnp.sqrt(power)
        return jnp.log1p(size) if scale == "log" else size

    return jax.lax.map(one, starts, batch_size=batch)


def _squared(units: str | None) -> str | None:
    return None if units is None else units if units == "1" else f"({units})^2"


def _labelled(
    img: SpectrumImage,
    values: np.ndarray,
    places: tuple[list[np.ndarray], list[np.ndarray], tuple[int, int]],
    units: str | None,
) -> xr.DataArray:
    """The spectra with the centres of their windows and their frequencies."""
    coords: dict[str, xr.DataArray] = {}
    waves: dict[str, xr.DataArray] = {}
    for dim, corner, index, size in zip(img.signal_dims, *places, strict=True):
        first, pitch, unit = 0.0, 1.0, "px"
        if dim in img.data.coords:
            along = img.data.coords[dim]
            first, pitch, unit = float(along[0]), uniform_step(along.values) or 1.0, along.attrs.get("units", "")
        centres = first + pitch * (corner + (size - 1) / 2)
        coords[dim] = xr.DataArray(centres, dims=(dim,), attrs={"units": unit} if unit else {})
        wave = f"k{dim}"
        waves[wave] = xr.DataArray(index / (size * pitch), dims=(wave,), attrs={"units": f"1/{unit}"} if unit else {})
    both = coords | waves
    attrs = {key: text for key, text in img.data.attrs.items() if key != "units"}
    attrs |= {} if units is None else {"units": units}
    return xr.DataArray(values, dims=tuple(both), coords=both, name=img.data.name, attrs=attrs)
