"""The factors as pytrees."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._util.tracing import is_known
from .._util.validation import real_array
from ..matrix.base import matmul

Rows = Float[Array, "components length"]
# One basis for all components, or one for each, as where each phase absorbs its own lines.
Basis = Float[Array, "features channels"] | Float[Array, "components features channels"]


def expand(coefficients: Float[Array, "components features"], basis: Basis) -> Float[Array, "components channels"]:
    """Coefficients @ basis, each component with its own basis where there are several."""
    if basis.ndim == 2:
        return matmul(coefficients, basis)
    return jax.vmap(matmul)(coefficients[:, None], basis)[:, 0]


def onto_basis(rows: Float[Array, "components channels"], basis: Basis) -> Float[Array, "components features"]:
    """Rows @ basis', each component with its own basis where there are several: the transpose of `expand`."""
    if basis.ndim == 2:
        return matmul(rows, basis.T)
    return jax.vmap(matmul)(rows[:, None], jnp.swapaxes(basis, 1, 2))[:, 0]


class Bilinear(eqx.Module):
    """X ~ maps @ spectra, where the spectra may be coefficients @ basis.

    The maps are stored transposed, the long axis last. `profiles` are the spectra, or the coefficients where
    there is a basis.
    """

    maps_t: Float[Array, "components pixels"]
    profiles: Float[Array, "components features"]
    basis: Basis | None = None

    @classmethod
    def of(cls, maps: Any, profiles: Any) -> "Bilinear":
        """Factors from arrays.

        Args:
            maps: (pixels, K).
            profiles: the spectra, (K, channels), or the coefficients, (K, features), where the problem has a basis.

        Raises:
            ValueError: not two dimensions each, or another number of components K in the two.
        """
        maps, profiles = (_copy_factor(maps, "maps"), _copy_factor(profiles, "profiles"))
        if not maps.ndim == profiles.ndim == 2 or maps.shape[1] != len(profiles) or not (maps.size and profiles.size):
            raise ValueError(
                "maps must be (pixels, K) and profiles (K, columns), with one K, none of them empty; got "
                f"{maps.shape} and {profiles.shape}."
            )
        return cls(maps.T, profiles)

    @classmethod
    def of_rows(cls, maps_t: Any, profiles: Any) -> "Bilinear":
        """Factors as they are stored, from arrays of the host."""
        return cls(jnp.asarray(maps_t), jnp.asarray(profiles))

    @property
    def maps(self) -> Float[Array, "pixels components"]:
        """The weight of each component in each pixel."""
        return self.maps_t.T

    @property
    def spectra(self) -> Float[Array, "components channels"]:
        """The components in channel space."""
        return self.profiles if self.basis is None else expand(self.profiles, self.basis)

    @property
    def coefficients(self) -> Float[Array, "components features"]:
        """The weight of each basis row in each component; the spectra themselves where there is no basis."""
        return self.profiles

    @property
    def rank(self) -> int:
        """The number of components."""
        return self.maps_t.shape[0]

    def without_basis(self) -> "Bilinear":
        """The two blocks alone, as a step moves them."""
        return Bilinear(self.maps_t, self.profiles)

    def scaled(self, scale: Float[Array, " components"]) -> "Bilinear":
        """The same model with the profiles divided by `scale` and the maps multiplied by it."""
        return Bilinear(self.maps_t * scale[:, None], self.profiles / scale[:, None], self.basis)


def _copy_factor(values: Any, name: str) -> Array:
    """An array of floats whose memory is our own: NumPy's could be written to later."""
    if not is_known(values):
        return jnp.asarray(values, float)
    array = np.array(real_array(values, name))
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite; set what is not to what the fit shall start from.")
    return jnp.asarray(array, float)


def rows_of(factors: Bilinear, block: str) -> Rows:
    """The rows of "maps", or of the block beside them whatever it is called."""
    return factors.maps_t if block == "maps" else factors.profiles


def with_rows(factors: Bilinear, block: str, rows: Rows) -> Bilinear:
    """The factors with the rows of one block replaced."""
    if block == "maps":
        return Bilinear(rows, factors.profiles, factors.basis)
    return Bilinear(factors.maps_t, rows, factors.basis)
