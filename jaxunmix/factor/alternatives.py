"""Restarts that fit as well as the best: what is kept of them, and how far apart they are."""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int

from ..data.image import SpectrumImage
from ..metrics.scores import spectral_angle


class Spread(NamedTuple):
    """How far the best restart and its alternatives are apart, entry by entry.

    Attributes:
        sd: the standard deviation of these values themselves (divided by their number); 0 where there is only the best.
        low: the least of them.
        high: the greatest.
    """

    sd: Float[Array, "rows columns"]
    low: Float[Array, "rows columns"]
    high: Float[Array, "rows columns"]


class Alternatives(eqx.Module):
    """Restarts that fit as well as the best one, without it, by increasing objective.

    Each has its components in the order of the best's, by the assignment that makes the sum of the spectral angles
    least (`metrics.match`), and where the scale is free its spectra have the norms of the best's.

    Attributes:
        maps: (alternatives, pixels, K).
        spectra: (alternatives, K, channels).
        coefficients: (alternatives, K, features) where there is a basis, else None.
        objective: (alternatives,) on the full data.
        restart: (alternatives,) which of `Solution.restarts` each is.
        tolerance: how much above the best, relative to it, an objective counts as good as it.
    """

    maps: Float[Array, "alternatives pixels components"]
    spectra: Float[Array, "alternatives components channels"]
    coefficients: Float[Array, "alternatives components features"] | None
    objective: Float[Array, " alternatives"]
    restart: Int[Array, " alternatives"]
    tolerance: Float[Array, ""]

    @classmethod
    def none(
        cls,
        maps: Float[Array, "pixels components"],
        spectra: Float[Array, "components channels"],
        coefficients: Float[Array, "components features"] | None,
    ) -> "Alternatives":
        """No alternatives to these factors."""
        return cls(
            jnp.zeros((0, *maps.shape), maps.dtype),
            jnp.zeros((0, *spectra.shape), spectra.dtype),
            None if coefficients is None else jnp.zeros((0, *coefficients.shape), coefficients.dtype),
            jnp.zeros(0, maps.dtype),
            jnp.zeros(0, int),
            jnp.zeros((), maps.dtype),
        )

    @classmethod
    def of_dataset(cls, ds: xr.Dataset, none: "Alternatives") -> "Alternatives":
        """Those that a result holds, as `to_variables` wrote them.

        Args:
            ds: of `Solution.to_xarray`.
            none: what there is where it holds none, whose types of numbers are taken.
        """
        tolerance = jnp.asarray(ds.attrs.get("alternatives_tolerance", 0.0), none.tolerance.dtype)
        if "alternative_maps" not in ds:
            return eqx.tree_at(lambda one: one.tolerance, none, tolerance)

        def rows(name: str) -> np.ndarray:
            values = ds[f"alternative_{name}"].transpose("alternative", "component", ...).values
            return values.reshape(*values.shape[:2], -1)

        return cls(
            maps=jnp.asarray(np.swapaxes(rows("maps"), 1, 2), none.maps.dtype),
            spectra=jnp.asarray(rows("spectra"), none.spectra.dtype),
            coefficients=None if none.coefficients is None else jnp.asarray(rows("coefficients")),
            objective=jnp.asarray(ds["alternative_objective"].values, none.objective.dtype),
            restart=jnp.asarray(ds["alternative_restart"].values, int),
            tolerance=tolerance,
        )

    def to_variables(self, img: SpectrumImage | None) -> dict[str, Any]:
        """The variables of a Dataset, over "alternative": maps and spectra on the axes of the image, or in rows."""
        maps, spectra = np.asarray(self.maps), np.asarray(self.spectra)
        over = ("alternative", "component")
        variables: dict[str, Any] = {
            "alternative_maps": ((*over, "pixel"), np.swapaxes(maps, 1, 2)),
            "alternative_spectra": ((*over, "channel"), spectra),
            "alternative_objective": ("alternative", np.asarray(self.objective)),
            "alternative_restart": ("alternative", np.asarray(self.restart)),
        }
        if img is not None:
            variables["alternative_maps"] = xr.concat([img.to_maps(one) for one in maps], "alternative")
            variables["alternative_spectra"] = xr.concat([img.to_spectra(one) for one in spectra], "alternative")
        if self.coefficients is not None:
            variables["alternative_coefficients"] = ((*over, "feature"), np.asarray(self.coefficients))
        return variables

    def __len__(self) -> int:
        return self.objective.shape[-1]


def spread_of(best: Float[Array, "rows columns"], others: Float[Array, "alternatives rows columns"]) -> Spread:
    """The spread of the best and the others."""
    every = jnp.concatenate([best[None], others])
    return Spread(jnp.std(every, axis=0), jnp.min(every, axis=0), jnp.max(every, axis=0))


def largest_angles(
    best: Float[np.ndarray, "components channels"], others: Float[np.ndarray, "alternatives components channels"]
) -> Float[np.ndarray, " components"]:
    """The largest spectral angle of each component between the best and the others, in degrees; 0 without others.

    A component that is zero in both is the same in both.
    """
    found = np.zeros(len(best))
    for other in others:
        both_zero = ~best.any(axis=1) & ~other.any(axis=1)
        found = np.maximum(found, np.where(both_zero, 0.0, spectral_angle(best, other)))
    return found


def limit_of(objective: float, tolerance: float) -> float:
    """The greatest objective that counts as good as this one."""
    return objective + tolerance * abs(objective)
