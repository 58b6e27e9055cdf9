"""Multiple linear least squares with known spectra (MLLS): how much of each is in each pixel, and how sure that is."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from .._util.validation import check_flag, check_instance
from ..data.image import SpectrumImage
from ..matrix.base import matmul
from ..preprocess.provenance import check_image
from .least_squares import Estimate, solve_nonnegative, solve_signed, whiten
from .references import (
    as_references,
    as_variance,
    check_independent,
    with_derivatives,
    with_power_laws,
)

PerReference = Float[Array, "pixels references"]


class ReferenceFit(eqx.Module):
    """What `mlls` found.

    Attributes:
        coefficients: (pixels, terms), of the references, their derivatives and the power laws, in the order of `terms`.
        coefficients_sd: their standard errors, (pixels, terms); NaN where `nonnegative` holds an entry at zero.
        correlation: of the coefficients' errors, (terms, terms) where the weights are the same in all pixels, else and
            where `nonnegative` (pixels, terms, terms). The covariance is this times both standard errors.
        chi_square: (pixels,) weighted residual squares per degree of freedom, about 1 where the references and the
            variance are right; where no variance was given, the estimated variance of an entry.
        freedom: (pixels,) degrees of freedom: channels less coefficients that are not held at zero.
        design: (terms, channels) the spectrum of each term.
        terms: names; a derivative has a prime for each order.
        references: K, the number of references; they are the first terms.
        has_shifts: whether the first derivatives are the next terms.
        has_broadenings: whether the second derivatives are the next terms.
    """

    coefficients: Float[Array, "pixels terms"]
    coefficients_sd: Float[Array, "pixels terms"]
    correlation: Float[Array, "terms terms"] | Float[Array, "pixels terms terms"]
    chi_square: Float[Array, " pixels"]
    freedom: Float[Array, " pixels"]
    design: Float[Array, "terms channels"]
    terms: tuple[str, ...] = eqx.field(static=True)
    references: int = eqx.field(static=True)
    has_shifts: bool = eqx.field(static=True)
    has_broadenings: bool = eqx.field(static=True)

    @property
    def maps(self) -> PerReference:
        """(pixels, K) the amount of each reference."""
        return self.coefficients[:, : self.references]

    @property
    def maps_sd(self) -> PerReference:
        """(pixels, K) standard errors of the maps."""
        return self.coefficients_sd[:, : self.references]

    @property
    def shift(self) -> PerReference | None:
        """(pixels, K) by how much a reference lies higher in energy, in units of the axis; None without `shifts`."""
        return -self._ratio(self._first) if self.has_shifts else None

    @property
    def shift_sd(self) -> PerReference | None:
        """(pixels, K) standard errors of the shifts, to first order."""
        return self._sd(self._shift_slopes()) if self.has_shifts else None

    @property
    def broadening(self) -> PerReference | None:
        """(pixels, K) variance of the Gaussian that a reference is broadened by, in squared units of the axis.

        Below 0 where the spectrum is narrower than its reference. None without `broadenings`.
        """
        if not self.has_broadenings:
            return None
        shift = self.shift
        return 2 * self._ratio(self._second) - (0 if shift is None else shift**2)

    @property
    def broadening_sd(self) -> PerReference | None:
        """(pixels, K) standard errors of the broadenings, to first order."""
        if not self.has_broadenings:
            return None
        amount, second = self.maps, self._ratio(self._second)
        slopes = [(0, -2 * second / amount), (self._second, 2 / amount)]
        shift = self.shift
        if shift is not None:
            # d(-shift^2) = -2 shift d(shift)
            slopes += [(block, -2 * shift * slope) for block, slope in self._shift_slopes()]
        return self._sd(slopes)

    @property
    def broadening_fwhm(self) -> PerReference | None:
        """(pixels, K) full width at half maximum of that Gaussian, in units of the axis; NaN where it is narrower."""
        variance = self.broadening
        return None if variance is None else jnp.sqrt(8 * np.log(2) * jnp.where(variance >= 0, variance, jnp.nan))

    def model(self) -> Float[Array, "pixels channels"]:
        """What the terms describe, such as the counts that a camera's variance is asked for."""
        return matmul(self.coefficients, self.design)

    def to_xarray(self, img: SpectrumImage) -> xr.Dataset:
        """The labelled result.

        Args:
            img: the image that was fitted, for its axes.

        Returns:
            "maps", "maps_sd", and where asked for "shift", "broadening", each with "_sd", over ("component",
            *navigation); "coefficients" and "coefficients_sd" over ("term", *navigation); "chi_square" over the
            navigation dims; "correlation" over ("term", "other_term"), and the navigation dims where it differs.

        Raises:
            ValueError: the image has another number of pixels in use.
        """
        check_instance(img, SpectrumImage, "img", "the image that was fitted")
        units = (
            img.data.coords[img.signal_dims[0]].attrs.get("units") if img.signal_dims[0] in img.data.coords else None
        )
        names, terms = list(self.terms[: self.references]), list(self.terms)
        variables: dict[str, Any] = {}
        for name, power in (("maps", 0), ("shift", 1), ("broadening", 2)):
            for end in ("", "_sd"):
                values = getattr(self, name + end)
                if values is not None:
                    unit = {} if units is None or not power else {"units": units if power == 1 else f"{units}^2"}
                    found = img.to_maps(values).assign_coords(component=names)
                    variables[name + end] = found.assign_attrs(unit)
        for name in ("coefficients", "coefficients_sd"):
            found = img.to_maps(getattr(self, name)).assign_coords(component=terms)
            variables[name] = found.rename(component="term")
        variables["chi_square"] = img.to_maps(self.chi_square[:, None]).isel(component=0, drop=True)
        variables["correlation"] = self._labelled_correlation(img)
        return xr.Dataset(variables, {"other_term": terms})

    def _labelled_correlation(self, img: SpectrumImage) -> xr.DataArray:
        count, dims = len(self.terms), ("term", "other_term")
        values = np.asarray(self.correlation)
        if values.ndim == 2:
            return xr.DataArray(values, dims=dims)
        maps = img.to_maps(values.reshape(len(values), -1))
        shape = (count, count, *img.navigation_shape)
        return xr.DataArray(maps.values.reshape(shape), dims=(*dims, *img.navigation_dims))

    @property
    def _first(self) -> int:
        """Where the first derivatives begin among the terms."""
        return self.references

    @property
    def _second(self) -> int:
        return self.references * (2 if self.has_shifts else 1)

    def _block(self, start: int) -> PerReference:
        return self.coefficients[:, start : start + self.references]

    def _ratio(self, start: int) -> PerReference:
        amount = self.maps
        return jnp.where(amount != 0, self._block(start) / jnp.where(amount != 0, amount, 1), jnp.nan)

    def _shift_slopes(self) -> list[tuple[int, PerReference]]:
        return [(0, self._ratio(self._first) / self.maps), (self._first, -1 / self.maps)]

    def _sd(self, slopes: Sequence[tuple[int, PerReference]]) -> PerReference:
        """Standard errors of a function of each reference's own terms, from its slopes in blocks of coefficients."""
        k = np.arange(self.references)
        total = jnp.zeros_like(self.maps)
        for a, one in slopes:
            for b, other in slopes:
                sds = self.coefficients_sd[:, a + k] * self.coefficients_sd[:, b + k]
                total += one * other * sds * self.correlation[..., a + k, b + k]
        return jnp.sqrt(jnp.maximum(total, 0))


def mlls(
    img: SpectrumImage,
    references: Any,
    variance: Any = None,
    *,
    shifts: bool = False,
    broadenings: bool = False,
    background_exponents: Sequence[float | int] = (),
    nonnegative: bool = False,
) -> ReferenceFit:
    r"""Maps of known spectra by multiple linear least squares, with the errors that the noise gives them.

    In each pixel $\sum_c (x_c - \sum_t a_t d_{tc})^2 / \sigma_c^2$ is least, and the covariance of a is
    $(\sum_c d_c d_c^T / \sigma_c^2)^{-1}$ (Muto and Shiga, Microscopy 69 (2020) 110; the equations are those of any
    book on least squares). References are the average spectra of pure regions, or the spectra of a fit; their own
    noise is taken for signal, so they should be far less noisy than the pixels.

    Shifts and broadenings are to second order in energy. A reference that lies higher by $\delta$ and is broadened by
    a Gaussian of variance v is $f - \delta f' + \frac12 (v + \delta^2) f''$: with the coefficients $a_0, a_1, a_2$ of
    $f, f', f''$ the shift is $\delta = -a_1 / a_0$ and the broadening $v = 2 a_2 / a_0 - \delta^2$ (the last term
    with `shifts` only). That is for small ones, measured without noise on a Gaussian peak of standard deviation s, 0.42
    of its full width at half maximum: a shift of 0.2 s comes out 1 % low and one of 0.5 s 6 % low (without
    `broadenings` the shift is right, and the amount is low by the same); a broadening of standard deviation 0.3 s comes
    out 6 % low in v and one of 0.5 s 16 % low. A Voigt peak of that width is much the same (7 % and 19 % at 0.5 s).
    Align larger shifts first.

    With `nonnegative` amounts are zero or above, to the exact minimum as in `project`; derivatives and power laws may
    have either sign. The errors of the other entries are those with the entries at zero left out: right where these
    are absent, too small where they are present but below the noise.

    Args:
        img: the image, with one signal dim.
        references: (K, channels) on the channels of the image, all or the live ones; or a DataArray or SpectrumImage,
            whose energies are checked to be the image's.
        variance: of the noise of an entry, in squared units of the intensity: a number, or an array that broadcasts
            to the image or to (live pixels, live channels), such as `physics.camera.Camera.variance` of the counts
            that are expected. None: the same in all channels, and estimated in each pixel from the residual.
        shifts: fit the first derivative of each reference too.
        broadenings: fit the second derivative of each reference too; with `shifts` unless the energies are certain,
            since a shift looks like a broadening to second order.
        background_exponents: fit a background $\sum_r b_r E^{-r}$ of these exponents too, with either sign: a few
            fixed power laws combine to those between (Cueva et al., Microsc. Microanal. 18 (2012) 667).
        nonnegative: no reference of a negative amount.

    Raises:
        ValueError: no references, or on another axis; NaN; a variance that is not above 0; more terms than live
            channels, or a term that is a combination of others; an image whose squares leave the float type in use.
    """
    check_image(img, "mlls")
    values = img.finite_live()
    shifts, broadenings = check_flag(shifts, "mlls: shifts"), check_flag(broadenings, "mlls: broadenings")
    check_flag(nonnegative, "mlls: nonnegative")
    references = as_references(img, references)
    design = with_derivatives(img, references, shifts, broadenings)
    design = with_power_laws(img, design, background_exponents)
    weights = np.ones((1, values.shape[1])) if variance is None else 1 / as_variance(img, variance)
    # Of a mean of 1: squares of counts have no room in single precision where they are many.
    scale = weights.mean()
    weights = weights / scale
    mean = weights.mean(axis=0)
    check_independent(design, design.rows * np.sqrt(mean))
    found = _solve(values, weights, mean, design.rows, len(references.rows), nonnegative)
    freedom = values.shape[1] - found.free
    chi_square = scale * found.squares / freedom
    if not bool(jnp.isfinite(chi_square).all()):
        raise ValueError(f"mlls: the image's squares leave the range of {chi_square.dtype}; rescale the image")
    spread = jnp.sqrt(jnp.diagonal(found.covariance, axis1=1, axis2=2))
    correlation = found.covariance / (spread[:, :, None] * spread[:, None])
    sd = spread * (jnp.sqrt(chi_square)[:, None] if variance is None else 1 / np.sqrt(scale))
    return ReferenceFit(
        found.coefficients,
        jnp.broadcast_to(sd, found.coefficients.shape),
        correlation[0] if len(weights) == 1 and not nonnegative else correlation,
        chi_square,
        freedom,
        jnp.asarray(design.rows, float),
        design.names,
        len(references.rows),
        shifts,
        broadenings,
    )


def _solve(
    values: np.ndarray, weights: np.ndarray, mean: np.ndarray, rows: np.ndarray, amounts: int, nonnegative: bool
) -> Estimate:
    """Least squares in JAX's float type; `amounts` are the terms that `nonnegative` holds at zero or above."""
    x, w = jnp.asarray(values, float), jnp.asarray(weights, float)
    if not nonnegative:
        white = whiten(rows, mean)
        return solve_signed(x, w, jnp.asarray(white.rows, float), jnp.asarray(white.back, float))
    size = np.linalg.norm(rows * np.sqrt(mean), axis=1)
    signed = jnp.arange(len(rows)) >= amounts
    found = solve_nonnegative(x, w, jnp.asarray(rows / size[:, None], float), signed)
    size = jnp.asarray(size, float)
    return found._replace(
        coefficients=found.coefficients / size, covariance=found.covariance / (size[:, None] * size[None])
    )
