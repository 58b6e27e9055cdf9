"""What a solver sees of the data: one small set of products, whatever the storage.

The public orientation is (pixels, channels). Inside the engine the maps are kept as (components, pixels), the
long axis last, so that a sweep over components works on contiguous rows.
"""

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from .devices import indivisible, mesh_over_pixels, on_each_device, over_pixels, put, to_device

# Elements of a block of pixels in the passes that form the model: a few such blocks stay within a core's cache.
BLOCK_ELEMENTS = 2**16
# Below this share of non-zeros the passes over the counts alone are faster (tests/benchmarks).
SPARSE_DENSITY = 0.1
# The counts of one pixel are stored in rows of this many slots: short rows waste little padding.
SLOTS = 16
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

    @property
    def shape(self) -> tuple[int, int]:
        """(pixels, channels)."""
        return self.squares.shape[-1], self.channel_sums.shape[-1]

    @property
    def dtype(self) -> Any:
        """The floating type of all products."""
        return self.squares.dtype

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
        """The sum of `loss(x, model)` over all entries."""

    @abstractmethod
    def take(self, pixels: Int[Array, " some"], channels: Int[Array, " few"]) -> "AbstractMatrix":
        """A part of the data for the products of a step; the sums of a pixel or channel stay those of the whole."""

    @abstractmethod
    def shard(self, mesh: Mesh) -> "AbstractMatrix":
        """Spread the pixels over the first axis of `mesh`; the fit then runs on all its devices.

        Raises:
            ValueError: the number of pixels is not a multiple of the number of devices.
        """


class Dense(AbstractMatrix):
    """Every entry stored, (pixels, channels).

    Args:
        array: (pixels, channels), any real type; integers become the default float type.

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
        check_array(array)
        values = to_device(array)
        self.values = values
        self.mesh = mesh_over_pixels(values)
        self.squares, self.pixel_sums, self.channel_sums, self.minimum, finite = _summaries(values)
        if not bool(finite):
            raise ValueError(_place_of_non_finite(array))

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
            entries = loss(x, matmul(w, spectra))
            rows = jnp.sum(entries if v is None else v * entries, axis=1)
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

    def __init__(self, array: Any, mesh: Mesh | None = None):
        if not scipy.sparse.issparse(array):
            check_array(array)
        sparse = scipy.sparse.csr_array(array)
        sparse.sum_duplicates()
        if not np.isfinite(sparse.data).all():
            raise ValueError(_place_of_non_finite(array))
        if sparse.nnz and sparse.data.min() < 0:
            raise ValueError(f"Counts holds non-negative entries, the smallest is {sparse.data.min()}; use Dense.")
        dtype = jnp.result_type(float)
        data = sparse.astype(np.float64)
        marginals = (data.multiply(data).sum(axis=1), data.sum(axis=1))
        self.squares, self.pixel_sums = (put(np.asarray(m, dtype).reshape(-1), mesh) for m in marginals)
        self.channel_sums = jnp.asarray(np.asarray(data.sum(axis=0)).reshape(-1), dtype)
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


def taken(matrix: Any, where: Callable, parts: Any, pixels: Array, channels: Array) -> Any:
    """The matrix with the stored arrays at `where` replaced by their parts, and its sums cut to length."""
    sums = (matrix.squares[pixels], matrix.pixel_sums[pixels], matrix.channel_sums[channels])
    matrix = eqx.tree_at(lambda m: (m.squares, m.pixel_sums, m.channel_sums), matrix, sums)
    return eqx.tree_at(where, matrix, parts)


def as_matrix(array: Any, kind: str = "auto") -> AbstractMatrix:
    """A matrix for the solvers from an array, (pixels, channels).

    Args:
        array: a matrix (returned as it is), an array, or a scipy sparse matrix.
        kind: "auto" takes `Counts` for non-negative whole numbers of which fewer than 10 % are not zero, where its
            passes are faster, and `Dense` otherwise.

    Raises:
        ValueError: as `Dense` and `Counts`; a kind that is neither.
    """
    if isinstance(array, AbstractMatrix):
        return array
    if kind not in ("auto", "dense", "counts"):
        raise ValueError(f'kind must be "auto", "dense" or "counts", got {kind!r}.')
    if scipy.sparse.issparse(array):
        return Dense(array.toarray()) if kind == "dense" else Counts(array)
    if kind == "auto":
        kind = "counts" if _mostly_empty_counts(array) else "dense"
    return Counts(array) if kind == "counts" else Dense(array)


def check_array(array: Any) -> None:
    """Refuse what is no (pixels, channels) array of real numbers, before anything is computed."""
    dtype = np.dtype(getattr(array, "dtype", None) or np.asarray(array).dtype)
    shape = np.shape(array)
    if len(shape) != 2:
        raise ValueError(
            f"X must be (pixels, channels), got {len(shape)} dimensions of {shape}; "
            "reshape it, or let SpectrumImage.from_array(...).matrix() do so."
        )
    if 0 in shape:
        axis = "pixels" if shape[0] == 0 else "channels"
        raise ValueError(f"X of {shape} has no {axis}; check the crop or the masks.")
    if dtype.kind not in "iufb" and not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"X must hold real numbers, its type is {dtype}; convert it with X.astype(float).")


def _place_of_non_finite(array: Any) -> str:
    entries = array.toarray() if scipy.sparse.issparse(array) else np.asarray(array)
    places = np.argwhere(~np.isfinite(entries))
    if not len(places):
        return "X has entries too large for the float type in use; rescale the data."
    pixel, channel = places[0]
    return (
        f"X has {len(places)} entries that are not finite, the first ({entries[pixel, channel]}) at pixel {pixel}, "
        f"channel {channel}; mask these pixels or channels, or give the plain array with weights of 0 there."
    )


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


def _mostly_empty_counts(array: Any) -> bool:
    array = np.asarray(array)
    check_array(array)
    some = array[:: max(1, len(array) // 500)]
    # A look at some pixels settles nearly all cases without a pass over the data.
    if any(np.count_nonzero(part) >= SPARSE_DENSITY * part.size for part in (some, array)):
        return False
    entries = array[array != 0]
    return bool(np.all(entries > 0) and np.all(entries == np.floor(entries)) and np.all(np.isfinite(entries)))
