"""Sparse counts, stored twice, by pixel and by channel."""

from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key

from .._util.validation import check_instance
from .base import AbstractMatrix, Maps, Spectra, Weights, accurate_sum
from .checks import check_array, place_of_non_finite
from .sharding import indivisible, on_each_device, put

# The counts of one pixel are stored in rows of this many slots: short rows waste little padding.
SLOTS = 16


class Counts(AbstractMatrix):
    """Only the non-zero entries stored: for counts with few events per pixel.

    The entries of a pixel lie in rows of `SLOTS`, the rows of a pixel one after the other: gathers and sums over
    a row need no scatter, and little is lost to padding (entries of value 0).

    Args:
        array: (pixels, channels), non-negative, or a scipy sparse matrix of that shape.
        mesh: devices over which to spread the pixels; each gets an equal run of them.

    Raises:
        ValueError: as `Dense`; negative entries; pixels that are not a multiple of the devices.
    """

    channel: Int[Array, "rows slots"]
    value: Float[Array, "rows slots"]
    owner: Int[Array, " rows"]
    squares: Float[Array, " pixels"]
    pixel_sums: Float[Array, " pixels"]
    channel_sums: Float[Array, " channels"]
    minimum: Float[Array, ""]
    mesh: Mesh | None = eqx.field(static=True)
    is_sparse = True

    def __init__(self, array: Any, mesh: Mesh | None = None):
        check_instance(mesh, (Mesh, type(None)), "mesh", 'jax.make_mesh((2,), ("pixels",))')
        array = check_array(array)
        # In double precision first: entries named twice are summed, which their own type may have no room for. It is
        # a copy besides, so that what was given stays as it is.
        sparse = scipy.sparse.csr_array(array.astype(np.float64) if scipy.sparse.issparse(array) else _plain(array))
        sparse = sparse.astype(np.float64, copy=False)
        sparse.sum_duplicates()
        largest = float(jnp.finfo(jnp.result_type(float)).max)
        if not (np.isfinite(sparse.data).all() and np.square(sparse.data).sum() <= largest):
            raise ValueError(place_of_non_finite(array))
        if sparse.nnz and sparse.data.min() < 0:
            raise ValueError(f"Counts holds non-negative entries, the smallest is {sparse.data.min()}; use Dense.")
        dtype = jnp.result_type(float)
        marginals = (sparse.multiply(sparse).sum(axis=1), sparse.sum(axis=1))
        self.squares, self.pixel_sums = (put(np.asarray(m, dtype).reshape(-1), mesh) for m in marginals)
        self.channel_sums = jnp.asarray(np.asarray(sparse.sum(axis=0)).reshape(-1), dtype)
        self.minimum = jnp.zeros((), dtype)
        rows = _rows_of_slots(sparse, 1 if mesh is None else mesh.devices.shape[0], dtype)
        self.channel, self.value, self.owner = (put(r, mesh) for r in rows)
        self.mesh = mesh

    @property
    def density(self) -> float:
        """The share of entries that are not zero."""
        return float(jnp.count_nonzero(self.value)) / (self.shape[0] * self.shape[1])

    def to_scipy(self) -> scipy.sparse.csr_array:
        """The entries as a scipy sparse array, (pixels, channels)."""
        devices = 1 if self.mesh is None else self.mesh.devices.shape[0]
        first = np.repeat(np.arange(devices) * (self.shape[0] // devices), self.owner.size // devices)
        value = np.asarray(self.value)
        row, slot = np.nonzero(value)
        pixel = (np.asarray(self.owner) + first)[row]
        places = (pixel, np.asarray(self.channel)[row, slot])
        return scipy.sparse.csr_array((value[row, slot], places), shape=self.shape)

    def to_host(self) -> scipy.sparse.csr_array:
        return self.to_scipy()

    def to_dense(self) -> Float[Array, "pixels channels"]:
        return jnp.asarray(self.to_scipy().toarray())

    def like(self, array: Any, key: Key[Array, ""] | None = None) -> "Counts":
        return Counts(array if scipy.sparse.issparse(array) else np.asarray(array))

    def working_elements(self, rank: int) -> int:
        return 2 * (rank + 1) * self.value.size

    def shard(self, mesh: Mesh) -> "Counts":
        return Counts(self.to_scipy(), mesh)

    def take(self, pixels: Int[Array, " some"], channels: Int[Array, " few"]) -> "Counts":
        raise NotImplementedError("The rows of Counts have no fixed places for a part of them; use Dense.")

    def total(self, per_pixel: Float[Array, " pixels"]) -> Float[Array, ""]:
        return on_each_device(self.mesh, lambda arrays: accurate_sum(arrays[0]), True, (per_pixel,))

    def onto_spectra(self, spectra: Spectra) -> Maps:
        return self._sum_per_pixel(lambda value, owned, at: value, None, spectra)

    def onto_maps(self, maps: Maps) -> Spectra:
        return self._sum_per_channel(lambda value, owned, at: value, maps, None)

    def score_maps(self, split: Callable, maps: Maps, spectra: Spectra, weights: Weights) -> tuple[Maps, Maps | None]:
        return self._sum_per_pixel(partial(_ratio, split), maps, spectra), None

    def score_spectra(
        self, split: Callable, maps: Maps, spectra: Spectra, weights: Weights
    ) -> tuple[Spectra, Spectra | None]:
        return self._sum_per_channel(partial(_ratio, split), maps, spectra), None

    def divergence(self, loss: Callable, maps: Maps, spectra: Spectra, weights: Weights) -> Float[Array, ""]:
        # loss(0, model) is the model itself (Poisson), so the empty entries are known in closed form.
        def one_device(arrays):
            channel, value, owner, w = arrays
            model = _model_at(w[owner].T, [spectrum[channel] for spectrum in spectra])
            return accurate_sum(jnp.where(value > 0, loss(value, model) - model, 0).sum(axis=1))

        seen = on_each_device(self.mesh, one_device, True, (self.channel, self.value, self.owner, maps.T))
        return seen + jnp.sum(maps.sum(axis=1) * spectra.sum(axis=1))

    def _sum_per_pixel(self, entries: Callable, maps: Maps | None, spectra: Spectra) -> Maps:
        """The sum over channels of `entries(value, maps, spectra)` times each spectrum."""

        def one_device(arrays):
            channel, value, owner, pixel_sums, w = arrays
            at = [spectrum[channel] for spectrum in spectra]
            e = entries(value, None if w is None else w[owner].T, at)
            rows = jnp.stack([jnp.sum(e * a, axis=1) for a in at]).T
            return jax.ops.segment_sum(rows, owner, pixel_sums.shape[0], indices_are_sorted=True)

        w = None if maps is None else maps.T
        arrays = (self.channel, self.value, self.owner, self.pixel_sums, w)
        return on_each_device(self.mesh, one_device, False, arrays).T

    def _sum_per_channel(self, entries: Callable, maps: Maps, spectra: Spectra | None) -> Spectra:
        """The sum over pixels of `entries(value, maps, spectra)` times each map."""

        def one_device(arrays):
            channel, value, owner, w = arrays
            owned = w[owner].T
            e = entries(value, owned, None if spectra is None else [spectrum[channel] for spectrum in spectra])
            added = (owned[:, :, None] * e).reshape(len(owned), -1)
            return jnp.zeros((len(owned), self.shape[1]), self.dtype).at[:, channel.reshape(-1)].add(added)

        return on_each_device(self.mesh, one_device, True, (self.channel, self.value, self.owner, maps.T))


def _plain(array: Any) -> np.ndarray:
    """An array of a type that SciPy's sparse arrays have; only what is not zero is then widened."""
    array = np.asarray(array)
    known = array.dtype.kind in "iu" or array.dtype in (np.float32, np.float64)
    return array if known and array.dtype.isnative else array.astype(np.float64)


def _model_at(owned: Float[Array, "components rows"], at: list[Array]) -> Float[Array, "rows slots"]:
    # One gather for each component fuses with the arithmetic, a joint one would be stored.
    return sum(m[:, None] * a for m, a in zip(owned, at, strict=True))


def _ratio(split: Callable, value: Array, owned: Array, at: list[Array]) -> Array:
    return split(value, _model_at(owned, at))[0]


def _rows_of_slots(sparse: scipy.sparse.csr_array, devices: int, dtype: Any) -> tuple[np.ndarray, ...]:
    """(channel, value, owner): the entries in rows of `SLOTS`, every device padded to the same number of rows."""
    per_pixel = np.diff(sparse.indptr)
    if len(per_pixel) % devices:
        raise ValueError(indivisible(len(per_pixel), devices))
    rows = np.maximum(1, -(-per_pixel // SLOTS)).reshape(devices, -1)
    height = rows.sum(axis=1).max()
    local = rows.shape[1]
    start = (np.cumsum(rows, axis=1) - rows + np.arange(devices)[:, None] * height).reshape(-1)
    slot = np.arange(sparse.nnz) - np.repeat(sparse.indptr[:-1], per_pixel)
    row = np.repeat(start, per_pixel) + slot // SLOTS
    channel = np.zeros((devices * height, SLOTS), np.int32)
    value = np.zeros((devices * height, SLOTS), dtype)
    channel[row, slot % SLOTS] = sparse.indices
    value[row, slot % SLOTS] = sparse.data
    # Padding rows belong to the last pixel, which keeps the owners sorted; their values are zero.
    owner = np.full((devices, height), local - 1, np.int32)
    for device in range(devices):
        owner[device, : rows[device].sum()] = np.repeat(np.arange(local), rows[device])
    return channel, value, owner.reshape(-1)
