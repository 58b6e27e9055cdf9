"""The factors as pytrees."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..data.matrix import matmul


class Bilinear(eqx.Module):
    """X ~ maps @ spectra, where the spectra may be coefficients @ basis.

    The maps are stored transposed, the long axis last. `profiles` are the spectra, or the coefficients where
    there is a basis.
    """

    maps_t: Float[Array, "components pixels"]
    profiles: Float[Array, "components features"]
    basis: Float[Array, "features channels"] | None = None

    @property
    def maps(self) -> Float[Array, "pixels components"]:
        """The weight of each component in each pixel."""
        return self.maps_t.T

    @property
    def spectra(self) -> Float[Array, "components channels"]:
        """The components in channel space."""
        return self.profiles if self.basis is None else matmul(self.profiles, self.basis)

    @property
    def coefficients(self) -> Float[Array, "components features"]:
        """The weight of each basis row in each component; the spectra themselves where there is no basis."""
        return self.profiles

    @property
    def rank(self) -> int:
        """The number of components."""
        return self.maps_t.shape[0]

    def scaled(self, scale: Float[Array, " components"]) -> "Bilinear":
        """The same model with the profiles divided by `scale` and the maps multiplied by it."""
        return Bilinear(self.maps_t * scale[:, None], self.profiles / scale[:, None], self.basis)


def contribution(factors: Bilinear) -> Float[Array, " components"]:
    """|map| x |spectrum| of each component, the Frobenius norm of its part of the model."""
    return jnp.linalg.norm(factors.maps_t, axis=1) * jnp.linalg.norm(factors.spectra, axis=1)
