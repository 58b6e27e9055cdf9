"""The truth of a simulated image, and what the generators share: noise, labels and checks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from .._util.validation import check_several, check_whole_number, real_number
from ..data.image import SpectrumImage


@dataclass(frozen=True)
class Truth:
    """What a simulated image is made of.

    Attributes:
        maps: (pixels, K), pixels in the order of `SpectrumImage.matrix`.
        spectra: (K, channels).
        names: K names.
        reference: (channels,), the spectrum that the analysis subtracts from each pixel; None for none.
        noise_sd: standard deviation of the Gaussian noise; None where the noise is of another kind or absent.
        elements: the names of the first columns of `coefficients`; empty where the spectra do not come from elements.
        coefficients: (K, features) of a basis, atomic fractions first, up to a scale of each spectrum; or None.
        white_lines: (K,), eV, of absorption edges; or None.
        d_spacings: (K,), angstrom, of the planes whose Bragg peaks the spectra have; or None.
        backgrounds: (K, channels), the part of each spectrum that is background; or None.
        shifts: (pixels,), in units of the energy axis, positive where features lie higher than in `spectra`; or None.
    """

    maps: np.ndarray
    spectra: np.ndarray
    names: tuple[str, ...]
    reference: np.ndarray | None = None
    noise_sd: float | None = None
    elements: tuple[str, ...] = ()
    coefficients: np.ndarray | None = None
    white_lines: np.ndarray | None = None
    d_spacings: np.ndarray | None = None
    shifts: np.ndarray | None = None
    backgrounds: np.ndarray | None = None

    @property
    def compositions(self) -> np.ndarray:
        """(K, elements), the atomic fractions of each phase.

        Raises:
            ValueError: the spectra do not come from elements.
        """
        if self.coefficients is None:
            raise ValueError("this truth has no compositions: its spectra do not come from elements")
        return self.coefficients[:, : len(self.elements)]

    @property
    def expected(self) -> np.ndarray:
        """The image without noise, (pixels, channels)."""
        return self.maps @ self.spectra

    def signal_to_noise(self) -> float:
        r"""How far the weakest direction of the signal stands above the noise.

        $\sigma_K(M (S - \mathbf 1 r^T)) / [\sigma (\sqrt n + \sqrt m)]$: the K-th singular value of the n pixels
        x m channels without noise, the reference r subtracted (0 for None), over the largest that Gaussian noise
        of standard deviation $\sigma$ has, the edge of the Marchenko-Pastur law. Below about 1 the noise hides a
        component from any factorisation that knows nothing but the rank.

        Raises:
            ValueError: the truth has no noise_sd.

        Example:
            >>> Truth(3 * np.eye(4), np.eye(4), tuple("abcd"), noise_sd=0.5).signal_to_noise()
            1.5
        """
        if self.noise_sd is None:
            raise ValueError("noise_sd is None: signal_to_noise needs an image with Gaussian noise")
        signal = self._differences()
        # R of M = QR keeps the singular values, and makes n pixels K rows.
        values = np.linalg.svd(np.linalg.qr(self.maps.astype(np.float64), mode="r") @ signal, compute_uv=False)
        weakest = values[-1] if len(values) == len(signal) else 0.0
        return float(weakest / (self.noise_sd * (np.sqrt(len(self.maps)) + np.sqrt(signal.shape[1]))))

    def oracle(self, values: np.ndarray) -> np.ndarray:
        r"""The maps of one component in each pixel, as somebody would draw them who knows the spectra.

        With $s_k = S_k - r$ and $x_i = X_i - r$ (r = 0 for None), pixel i is given to
        $k_i = \arg\max_k x_i \cdot s_k / |s_k|$, the direction most like it, and
        $M_{ik} = \max(0, x_i \cdot s_k / |s_k|^2)$ for $k = k_i$, 0 for the others: the best that maps of one
        component in each pixel can do against this noise.

        Args:
            values: (pixels, channels), the reference not subtracted.

        Returns:
            (pixels, K), non-negative, one entry in each row at most.

        Raises:
            ValueError: not as many channels as the spectra have, or a spectrum equal to the reference.
        """
        signal = self._differences()
        if values.ndim != 2 or values.shape[1] != signal.shape[1]:
            raise ValueError(f"values has shape {values.shape}: give (pixels, {signal.shape[1]})")
        norm = np.linalg.norm(signal, axis=1)
        if not norm.all():
            raise ValueError(f"{self.names[int(np.argmin(norm))]} equals the reference: it has no direction")
        shift = 0.0 if self.reference is None else self.reference.astype(np.float64) @ signal.T
        projected = (values @ signal.T - shift) / norm
        nearest = np.argmax(projected, axis=1)
        maps = np.zeros_like(projected)
        rows = np.arange(len(maps))
        maps[rows, nearest] = np.maximum(projected[rows, nearest] / norm[nearest], 0.0)
        return maps

    def _differences(self) -> np.ndarray:
        """Spectra less the reference in double precision, (K, channels)."""
        reference = 0.0 if self.reference is None else self.reference.astype(np.float64)
        return self.spectra.astype(np.float64) - reference


def make_truth(
    maps: np.ndarray,
    spectra: np.ndarray,
    names: Sequence[str],
    reference: np.ndarray | None = None,
    noise_sd: float | None = None,
    elements: Sequence[str] = (),
    coefficients: np.ndarray | None = None,
) -> Truth:
    """The truth in single precision, as the image is."""
    kept, coefficients = (None if array is None else array.astype(np.float32) for array in (reference, coefficients))
    maps, spectra = maps.astype(np.float32), spectra.astype(np.float32)
    return Truth(maps, spectra, tuple(names), kept, noise_sd, tuple(elements), coefficients)


def poisson(key: PRNGKeyArray, expected: np.ndarray) -> np.ndarray:
    """Counts of these expectations."""
    draw = jax.random.poisson(key, jnp.asarray(expected, dtype=jnp.float32), dtype=jnp.int32)
    return np.asarray(draw, dtype=np.float32)


def noise_level(signal: np.ndarray, snr_db: float | int) -> float:
    r"""Standard deviation $\sigma$ of the noise that gives $10 \log_{10}(\overline{x^2} / \sigma^2)$ decibels."""
    if not np.isfinite(real_number(snr_db, "snr_db")):
        raise ValueError(f"snr_db={snr_db}: give a finite number of decibels")
    return float(np.sqrt(np.mean(np.square(signal))) * 10 ** (-snr_db / 20))


def gaussian(key: PRNGKeyArray, expected: np.ndarray, sd: float) -> np.ndarray:
    """The expectation and noise of this standard deviation."""
    draw = jax.random.normal(key, expected.shape, dtype=jnp.float32)
    return np.asarray(expected + sd * np.asarray(draw), dtype=np.float32)


def image(
    values: np.ndarray,
    shape: tuple[int, ...],
    axes: Mapping[str, np.ndarray],
    unit: str,
    pixel: float | Sequence[float],
    name: str,
    space_unit: str = "nm",
    intensity: str = "counts",
) -> SpectrumImage:
    """Labels (pixels, channels) as a map of spectra; `pixel` is its size, or that along each axis."""
    navigation = ("z", "y", "x")[-len(shape) :]
    pitches = pixel if isinstance(pixel, Sequence) else (pixel,) * len(shape)
    coords = {dim: p * np.arange(size) for dim, p, size in zip(navigation, pitches, shape, strict=True)}
    units = {**dict.fromkeys(navigation, space_unit), **dict.fromkeys(axes, unit), "intensity": intensity}
    return SpectrumImage.from_array(
        values.reshape(*shape, *(len(axis) for axis in axes.values())),
        signal_dims=len(axes),
        dims=(*navigation, *axes),
        coords={**coords, **axes},
        units={what: text for what, text in units.items() if text},
        name=name,
    )


def check_shape(shape: tuple[int, int]) -> None:
    """Refuse a map without pixels."""
    check_pair(shape, "shape", "(64, 64)")
    if min(shape) < 1:
        raise ValueError(f"shape={shape}: give (y, x), 1 pixel or more each")


def check_volume(shape: tuple[int, ...]) -> None:
    """Refuse what is neither a map nor a volume with pixels."""
    if len(check_several(shape, "shape", "(64, 64)")) not in (2, 3):
        raise ValueError(f"shape={shape!r}: give (y, x) or (z, y, x)")
    for size in shape:
        if check_whole_number(size, "shape") < 1:
            raise ValueError(f"shape={shape}: give 1 pixel or more along each axis")


def check_pair(values: Any, name: str, example: str) -> None:
    """Refuse what are no two whole numbers."""
    if len(check_several(values, name, example)) != 2:
        raise ValueError(f"{name} must be two whole numbers, such as {example}, got {values!r}.")
    for value in values:
        check_whole_number(value, name)


def check_counts(**values: int) -> None:
    """Refuse what is not whole, and numbers below 1, by name."""
    for name, value in values.items():
        if check_whole_number(value, name) < 1:
            raise ValueError(f"{name}={value}: give 1 or more")


def check_positive(**values: float | int) -> None:
    """Refuse numbers that are not finite and above 0, by name."""
    for name, value in values.items():
        if not (np.isfinite(real_number(value, name)) and value > 0):
            raise ValueError(f"{name}={value}: give a finite number above 0")
