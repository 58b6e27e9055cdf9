"""What a fit of drifting spectra gives back."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from ..._util.validation import check_instance, check_number
from ...data.image import SpectrumImage
from ..solution import Solution
from .splines import SUPPORT, shifted_model, spectra_at


class DriftFit(eqx.Module):
    """Maps and spectra of an image whose energy axis drifts, and the shift of each pixel.

    Attributes:
        solution: maps (pixels, K) and spectra (K, channels), as a pixel of shift 0 sees them; `objective` and `trace`
            are the loss and the penalty of the shifts, the latter with the `roughness` that is kept.
        shifts: (pixels,) in units of the energy axis (channels where it has no coordinate): the features of pixel p lie
            at energies higher by `shifts[p]` than in `solution.spectra`. Their mean is 0, unless they were given.
        roughness: tau, the standard deviation of the difference between a pixel's shift and the mean of its neighbours'
            that the penalty stands for, in the same unit; NaN where the shifts were given.
        coefficients: (K, channels + 2 J) of the cubic B-splines that the spectra are sums of, from channel -J on.
        offsets: (K,) channels by which each spectrum lies higher than its coefficients say.
        step: energy per channel, negative on an axis that falls.
        reach: J.
    """

    solution: Solution
    shifts: Float[Array, " pixels"]
    roughness: Float[Array, ""]
    coefficients: Float[Array, "components padded"]
    offsets: Float[Array, " components"]
    step: float = eqx.field(static=True)
    reach: int = eqx.field(static=True)

    @property
    def maps(self) -> Float[Array, "pixels components"]:
        """The weight of each component in each pixel."""
        return self.solution.maps

    @property
    def spectra(self) -> Float[Array, "components channels"]:
        """The spectra as a pixel of shift 0 sees them."""
        return self.solution.spectra

    def spectra_at(self, shift: Any) -> Float[Array, "components channels"]:
        """The spectra as a pixel of another shift sees them.

        The zero of the shifts is a convention, the mean of the map. Where a line of known energy lies too high by e in
        `spectra`, `spectra_at(-e)` has it in its place.

        Args:
            shift: in units of the axis, no further from 0 than the `most` of the fit.

        Raises:
            ValueError: a shift beyond that.
        """
        shift = check_number(shift, "spectra_at: shift")
        most = (self.reach - SUPPORT - 0.5) * abs(self.step)
        if abs(shift) > most * (1 + 1e-6):
            raise ValueError(f"spectra_at: shift={shift:g} is beyond {most:g}, the most of this fit; fit with a larger")
        return spectra_at(self.coefficients, self.offsets, shift / self.step, self.reach)

    def model(self) -> Float[Array, "pixels channels"]:
        """What the fit expects of the data, each pixel at its own shift."""
        return shifted_model(self.maps, self.coefficients, self.shifts / self.step, self.offsets, self.reach)

    def to_xarray(self, img: SpectrumImage) -> xr.Dataset:
        """The labelled result: that of `solution.to_xarray(img)`, and "shift" over the navigation dims.

        Args:
            img: the image that was fitted, for its axes.

        Raises:
            ValueError: the image has another number of pixels or channels in use.
        """
        check_instance(img, SpectrumImage, "img", "the image that was fitted")
        out, dim = self.solution.to_xarray(img), img.signal_dims[0]
        shift = img.to_maps(np.asarray(self.shifts)[:, None]).isel(component=0, drop=True)
        units = img.data.coords[dim].attrs.get("units") if dim in img.data.coords else "channel"
        attrs: dict[str, Any] = {} if units is None else {"units": units}
        return out.assign(shift=shift.assign_attrs(attrs)).assign_attrs(roughness=float(self.roughness))

    def __repr__(self) -> str:
        low, high = float(jnp.min(self.shifts)), float(jnp.max(self.shifts))
        return f"DriftFit(shifts from {low:.3g} to {high:.3g}, roughness {float(self.roughness):.3g}; {self.solution})"
