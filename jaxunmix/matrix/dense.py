"""Data stored entry by entry."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key

from .._util.tracing import is_known
from .base import AbstractMatrix, Maps, Spectra, Weights, accurate_sum, matmul, taken
from .checks import check_array, place_of_non_finite
from .sharding import mesh_over_pixels, on_each_device, over_pixels, to_device

# Elements of a block of pixels in the passes that form the model: a few such blocks stay within a core's cache.
BLOCK_ELEMENTS = 2**16


class Dense(AbstractMatrix):
    """Every entry stored, (pixels, channels).

    Args:
        array: (pixels, channels), any real type; integers and floats of 16 bits become the default float type. It is
            copied: what is done to it later changes nothing here.

    Raises:
        ValueError: not two-dimensional, empty, not real numbers, or not finite (the first place is named).
    """

    values: Float[Array, "pixels channels"]
    squares: Float[Array, " pixels"]
    pixel_sums: Float[Array, " pixels"]
    channel_sums: Float[Array, " channels"]
    minimum: Float[Array, ""]
    mesh: Mesh | None = eqx.field(static=True)

    def __init__(self, array: Any):
        array = check_array(array)
        # Entries named twice are summed in double precision, whatever their own type holds.
        array = array.astype(np.float64).toarray() if scipy.sparse.issparse(array) else array
        values = to_device(array)
        self.values = values
        self.mesh = mesh_over_pixels(values)
        self.squares, self.pixel_sums, self.channel_sums, self.minimum, finite = _summaries(values)
        if is_known(finite) and not bool(finite):
            raise ValueError(place_of_non_finite(array))

    def to_host(self) -> np.ndarray:
        return np.asarray(self.values)

    def to_dense(self) -> Float[Array, "pixels channels"]:
        return self.values

    def like(self, array: Any, key: Key[Array, ""] | None = None) -> "Dense":
        return Dense(array)

    def shard(self, mesh: Mesh) -> "Dense":
        return Dense(jax.device_put(self.values, over_pixels(mesh, self.shape[0])))

    def take(self, pixels: Int[Array, " some"], channels: Int[Array, " few"]) -> "Dense":
        return taken(self, lambda m: m.values, self.values[pixels][:, channels], pixels, channels)

    def total(self, per_pixel: Float[Array, " pixels"]) -> Float[Array, ""]:
        return on_each_device(self.mesh, lambda arrays: accurate_sum(arrays[0]), True, (per_pixel,))

    def onto_spectra(self, spectra: Spectra) -> Maps:
        return matmul(spectra, self.values.T)

    def onto_maps(self, maps: Maps) -> Spectra:
        return matmul(maps, self.values)

    def score_maps(self, split: Callable, maps: Maps, spectra: Spectra, weights: Weights) -> tuple[Maps, Maps | None]:
        def block(x, w, v, fresh):
            return jax.tree.map(lambda part: matmul(part, spectra.T), _split_entries(split, x, matmul(w, spectra), v))

        return self._by_blocks(block, maps, weights, total=False)

    def score_spectra(
        self, split: Callable, maps: Maps, spectra: Spectra, weights: Weights
    ) -> tuple[Spectra, Spectra | None]:
        def block(x, w, v, fresh):
            w_fresh = jnp.where(fresh[:, None], w, 0).T
            return jax.tree.map(lambda part: matmul(w_fresh, part), _split_entries(split, x, matmul(w, spectra), v))

        return self._by_blocks(block, maps, weights, total=True)

    def divergence(self, loss: Callable, maps: Maps, spectra: Spectra, weights: Weights) -> Float[Array, ""]:
        @jax.checkpoint
        def block(x, w, v, fresh):
            rows = jnp.sum(loss(x, matmul(w, spectra), *(() if v is None else (v,))), axis=1)
            return accurate_sum(jnp.where(fresh, rows, 0))

        return self._by_blocks(block, maps, weights, total=True)

    def _by_blocks(self, block: Callable, maps: Maps, weights: Weights, total: bool) -> Any:
        """`block(x, maps, weights, fresh)` over blocks of pixels, on each device by itself.

        The model is formed a block at a time, so that it never leaves the cache. The last block overlaps the one
        before it where the pixels do not divide; `fresh` marks the rows that no earlier block has seen.
        With `total` the results are summed, without it they are per pixel and come back (components, pixels).
        """

        def one_device(arrays):
            local, channels = arrays[0].shape
            size = min(local, max(16, BLOCK_ELEMENTS // channels))

            def run(index):
                start = jnp.minimum(index * size, local - size)
                taken = jax.tree.map(lambda a: lax.dynamic_slice_in_dim(a, start, size), arrays)
                return start, block(*taken, start + jnp.arange(size) >= index * size)

            def add(carry, index):
                return jax.tree.map(jnp.add, carry, run(index)[1]), None

            def write(carry, index):
                start, rows = run(index)
                return jax.tree.map(lambda c, r: lax.dynamic_update_slice_in_dim(c, r, start, 0), carry, rows), None

            like = jax.eval_shape(lambda: run(0)[1])
            shape = (lambda s: s.shape) if total else (lambda s: (local, *s.shape[1:]))
            zeros = jax.tree.map(lambda s: jnp.zeros(shape(s), s.dtype), like)
            return lax.scan(add if total else write, zeros, jnp.arange(-(-local // size)))[0]

        out = on_each_device(self.mesh, one_device, total, (self.values, maps.T, weights))
        return out if total else jax.tree.map(jnp.transpose, out)


@jax.jit
def _summaries(values: Array) -> tuple[Array, Array, Array, Array, Array]:
    """One pass for what is wanted per pixel, and one product, faster than a sum across rows, for the channels."""
    squares, sums = jnp.sum(values * values, axis=1), values.sum(axis=1)
    channel_sums = matmul(jnp.ones(values.shape[0], values.dtype), values)
    return squares, sums, channel_sums, values.min(axis=1).min(), jnp.isfinite(squares).all()


def _split_entries(split: Callable, x: Array, model: Array, weights: Array | None) -> tuple[Array, Array | None]:
    positive, negative = split(x, model)
    if weights is None:
        return positive, negative
    return weights * positive, weights if negative is None else weights * negative
