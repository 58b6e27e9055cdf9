"""The data projected onto their leading directions: the Frobenius engine's fast lane."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, Key

from .._util.validation import check_key, check_whole_number
from .base import TINY, AbstractMatrix, Maps, Spectra, Weights, accurate_sum, matmul, taken
from .convert import as_matrix
from .dense import Dense
from .sharding import over_pixels


class Compressed(AbstractMatrix):
    """X projected onto its leading directions, X ~ coordinates' @ directions, for fast Frobenius fits.

    With orthonormal directions Q, spectra X' ~ (spectra Q')(Q X') and maps X ~ (maps X Q') Q: products of the
    compressed size. A spectrum's part outside the directions meets the data's part outside them in the objective;
    that product is left out here, so the kept fit is polished and scored on the full matrix.

    Where channels are few the directions are the leading eigenvectors of X'X, otherwise they come from a
    randomised range finder with power iterations (Halko, Martinsson and Tropp, SIAM Rev. 53 (2011) 217,
    algorithms 4.4 and 5.1).

    `error` is |X - projection| / |X|, from |X|^2 - |coordinates|^2: values below 0.002 are in the rounding of float32.

    Args:
        matrix: a matrix or an array, (pixels, channels).
        rank: number of directions; take several times the number of components.
        key: randomness of the range finder.
        power: power iterations; each costs two passes over the data.
        polish: steps on the full matrix after the fit.

    Raises:
        ValueError: the rank is below 1 or above the smaller side of the data.
    """

    full: AbstractMatrix
    coordinates: Float[Array, "directions pixels"]
    directions: Float[Array, "directions channels"]
    squares: Float[Array, " pixels"]
    pixel_sums: Float[Array, " pixels"]
    channel_sums: Float[Array, " channels"]
    minimum: Float[Array, ""]
    error: Float[Array, ""]
    polish: int = eqx.field(static=True)
    is_compressed = True

    def __init__(self, matrix: Any, rank: int, *, key: Key[Array, ""], power: int = 1, polish: int = 2):
        full, key = as_matrix(matrix), check_key(key)
        rank = check_whole_number(rank, "Compressed: rank")
        power, polish = check_whole_number(power, "power", 0), check_whole_number(polish, "polish", 0)
        if not 1 <= rank <= min(full.shape):
            raise ValueError(f"Compressed: rank must lie in 1..{min(full.shape)} for data of {full.shape}, got {rank}.")
        self.full, self.polish = full, polish
        self.coordinates, self.directions = _leading_directions(full, key, rank, power)
        self.squares, self.minimum = full.squares, full.minimum
        self.pixel_sums, self.channel_sums = full.pixel_sums, full.channel_sums
        total = accurate_sum(self.squares)
        lost = accurate_sum(self.squares - jnp.sum(self.coordinates**2, axis=0))
        self.error = jnp.sqrt(jnp.maximum(lost, 0) / jnp.maximum(total, TINY))

    @property
    def whole(self) -> AbstractMatrix:
        return self.full

    @property
    def polish_steps(self) -> int:
        return self.polish

    def to_host(self) -> Any:
        return self.full.to_host()

    def to_dense(self) -> Float[Array, "pixels channels"]:
        return self.full.to_dense()

    def like(self, array: Any, key: Key[Array, ""] | None = None) -> "Compressed":
        """Other entries on as many leading directions of their own, found with the key; without polish."""
        assert key is not None, "directions are found with random numbers"
        whole = Dense(array)
        return Compressed(whole, min(len(self.directions), *whole.shape), key=key, polish=0)

    def total(self, per_pixel: Float[Array, " pixels"]) -> Float[Array, ""]:
        return self.full.total(per_pixel)

    def take(self, pixels: Int[Array, " some"], channels: Int[Array, " few"]) -> "Compressed":
        parts = (self.coordinates[:, pixels], self.directions[:, channels])
        return taken(self, lambda m: (m.coordinates, m.directions), parts, pixels, channels)

    def shard(self, mesh: Mesh) -> "Compressed":
        """As the other matrices; the coordinates go with their pixels."""
        full = self.full.shard(mesh)
        by_row = over_pixels(mesh, self.shape[0])
        by_column = NamedSharding(mesh, PartitionSpec(None, mesh.axis_names[0]))
        return eqx.tree_at(
            lambda m: (m.full, m.coordinates, m.squares, m.pixel_sums),
            self,
            (
                full,
                jax.device_put(self.coordinates, by_column),
                full.squares,
                jax.device_put(self.pixel_sums, by_row),
            ),
        )

    def onto_spectra(self, spectra: Spectra) -> Maps:
        return matmul(matmul(spectra, self.directions.T), self.coordinates)

    def onto_maps(self, maps: Maps) -> Spectra:
        return matmul(matmul(maps, self.coordinates.T), self.directions)

    def score_maps(self, split: Callable, maps: Maps, spectra: Spectra, weights: Weights) -> tuple[Maps, Maps | None]:
        raise NotImplementedError("Compressed serves the Frobenius loss alone; use Dense or Counts.")

    def score_spectra(
        self, split: Callable, maps: Maps, spectra: Spectra, weights: Weights
    ) -> tuple[Spectra, Spectra | None]:
        raise NotImplementedError("Compressed serves the Frobenius loss alone; use Dense or Counts.")

    def divergence(self, loss: Callable, maps: Maps, spectra: Spectra, weights: Weights) -> Float[Array, ""]:
        raise NotImplementedError("Compressed serves the Frobenius loss alone; use Dense or Counts.")


def leading_svd(
    matrix: AbstractMatrix, rank: int, key: Key[Array, ""], power: int = 4
) -> tuple[Float[Array, "rank pixels"], Float[Array, " rank"], Float[Array, "rank channels"]]:
    """The leading singular triplets, X ~ u' diag(s) v, signs fixed so that each v sums to zero or more."""
    sketch = min(rank + 10, *matrix.shape)
    coordinates, directions = _leading_directions(matrix, key, sketch, power)
    gram = matmul(coordinates, coordinates.T)
    eigenvalues, vectors = jnp.linalg.eigh(gram)
    order = jnp.argsort(-eigenvalues)[:rank]
    s = jnp.sqrt(jnp.maximum(eigenvalues[order], 0))
    v = matmul(vectors[:, order].T, directions)
    sign = jnp.where(v.sum(axis=1) < 0, -1, 1)[:, None]
    u = matmul(vectors[:, order].T, coordinates) / jnp.maximum(s, TINY)[:, None]
    return u * sign, s, v * sign


@eqx.filter_jit
def _leading_directions(matrix: AbstractMatrix, key: Key[Array, ""], rank: int, power: int) -> tuple[Array, Array]:
    """(coordinates, directions): the projection of X onto its `rank` leading directions of channel space."""
    pixels, channels = matrix.shape
    sketch = min(rank + 10, pixels, channels)
    if channels <= 256 and isinstance(matrix, Dense):
        directions = jnp.linalg.eigh(matmul(matrix.values.T, matrix.values))[1].T
        directions = directions[::-1][:rank]
        return matrix.onto_spectra(directions), directions
    directions = jax.random.normal(key, (sketch, channels), matrix.dtype)
    for _ in range(power + 1):
        directions = _orthonormal_rows(matrix.onto_maps(_orthonormal_rows(matrix.onto_spectra(directions))))
    coordinates = matrix.onto_spectra(directions)
    rotation = jnp.linalg.eigh(matmul(coordinates, coordinates.T))[1].T[::-1][:rank]
    return matmul(rotation, coordinates), matmul(rotation, directions)


def _orthonormal_rows(rows: Float[Array, "rank length"]) -> Float[Array, "rank length"]:
    """An orthonormal basis of the rows' span by two rounds of eigenvalue whitening: products only, so any sharding.

    One round leaves errors of the square root of the rounding along weak directions; the second removes them.
    """
    for _ in range(2):
        values, vectors = jnp.linalg.eigh(matmul(rows, rows.T))
        keep = values > values[-1] * 1e-10
        scale = jnp.where(keep, 1 / jnp.sqrt(jnp.where(keep, values, 1)), 0)
        rows = matmul(scale[:, None] * vectors.T, rows)
    return rows
