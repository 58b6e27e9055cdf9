"""What a solver sees of the data: one small set of products, whatever the storage.

The public orientation is (pixels, channels). Inside the engine the maps are kept as (components, pixels), the
long axis last, so that a sweep over components works on contiguous rows.
"""

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key

# A model value below this is taken for this, so that a count where the model vanishes stays finite.
TINY = 1e-30

Maps = Float[Array, "components pixels"]
Spectra = Float[Array, "components channels"]
Weights = Float[Array, "pixels channels"] | None

matmul = partial(jnp.matmul, precision="highest")


def accurate_sum(x: Float[Array, "..."]) -> Float[Array, ""]:
    """Sum by blocks of 64, and their sums by blocks of 64: the rounding grows with log n instead of n."""
    x = x.reshape(-1)
    while x.size > 64:
        x = jnp.pad(x, (0, -x.size % 64)).reshape(-1, 64).sum(axis=1)
    return x.sum()


class AbstractMatrix(eqx.Module):
    """The data as the updates see them, with the marginal sums that every check and start needs."""

    squares: eqx.AbstractVar[Float[Array, " pixels"]]
    pixel_sums: eqx.AbstractVar[Float[Array, " pixels"]]
    channel_sums: eqx.AbstractVar[Float[Array, " channels"]]
    minimum: eqx.AbstractVar[Float[Array, ""]]
    # Whether only entries that are not zero are stored, and whether only leading directions are.
    is_sparse: ClassVar[bool] = False
    is_compressed: ClassVar[bool] = False

    @property
    def shape(self) -> tuple[int, int]:
        """(pixels, channels)."""
        return self.squares.shape[-1], self.channel_sums.shape[-1]

    @property
    def dtype(self) -> Any:
        """The floating type of all products."""
        return self.squares.dtype

    @property
    def whole(self) -> "AbstractMatrix":
        """The matrix with all entries: itself, or what was compressed."""
        return self

    @property
    def polish_steps(self) -> int:
        """Steps on the whole matrix that follow a fit of this one."""
        return 0

    def working_elements(self, rank: int) -> int:
        """Elements that a pass of one restart stores beside the factors."""
        return 0

    @abstractmethod
    def to_host(self) -> Any:
        """The entries in the memory of the host, (pixels, channels): a NumPy array, or a SciPy sparse one."""

    @abstractmethod
    def to_dense(self) -> Float[Array, "pixels channels"]:
        """All entries as one array on the device."""

    @abstractmethod
    def like(self, array: Any, key: Key[Array, ""] | None = None) -> "AbstractMatrix":
        """Other entries in the same layout.

        Args:
            array: as `to_host` gives it, or any array.
            key: randomness, where the layout needs some.
        """

    @abstractmethod
    def total(self, per_pixel: Float[Array, " pixels"]) -> Float[Array, ""]:
        """The sum of a value per pixel, of which one number crosses devices."""

    @abstractmethod
    def onto_spectra(self, spectra: Spectra) -> Maps:
        """Spectra X': each pixel's inner product with each spectrum."""

    @abstractmethod
    def onto_maps(self, maps: Maps) -> Spectra:
        """Maps X: the spectrum summed under each map."""

    @abstractmethod
    def score_maps(self, split: Callable, maps: Maps, spectra: Spectra, weights: Weights) -> tuple[Maps, Maps | None]:
        """Both parts of the loss's gradient in the maps, -(first) + (second).

        `split(x, model)` gives the two parts per entry; a second part of None stands for ones.
        """

    @abstractmethod
    def score_spectra(
        self, split: Callable, maps: Maps, spectra: Spectra, weights: Weights
    ) -> tuple[Spectra, Spectra | None]:
        """Both parts of the loss's gradient in the spectra, -(first) + (second)."""

    @abstractmethod
    def divergence(self, loss: Callable, maps: Maps, spectra: Spectra, weights: Weights) -> Float[Array, ""]:
        """The sum of `loss(x, model)` over all entries; with weights of `loss(x, model, weights)`."""

    @abstractmethod
    def take(self, pixels: Int[Array, " some"], channels: Int[Array, " few"]) -> "AbstractMatrix":
        """A part of the data for the products of a step; the sums of a pixel or channel stay those of the whole."""

    @abstractmethod
    def shard(self, mesh: Mesh) -> "AbstractMatrix":
        """Spread the pixels over the first axis of `mesh`; the fit then runs on all its devices.

        Raises:
            ValueError: the number of pixels is not a multiple of the number of devices.
        """


def taken(matrix: Any, where: Callable, parts: Any, pixels: Array, channels: Array) -> Any:
    """The matrix with the stored arrays at `where` replaced by their parts, and its sums cut to length."""
    sums = (matrix.squares[pixels], matrix.pixel_sums[pixels], matrix.channel_sums[channels])
    matrix = eqx.tree_at(lambda m: (m.squares, m.pixel_sums, m.channel_sums), matrix, sums)
    return eqx.tree_at(where, matrix, parts)
