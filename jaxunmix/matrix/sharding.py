"""Pixels over many devices: who holds which, and what little crosses between them."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from .._util.tracing import is_known

# From here on the several threads pay.
LARGE_BYTES = 2**24
# What JAX asks of a buffer that it shall use in place, in bytes.
ALIGNMENT = 64


def on_each_device(mesh: Mesh | None, function: Callable, total: bool, arrays: tuple) -> Any:
    """`function(arrays)` on each device's run of pixels; only a `total` crosses devices, summed."""
    if mesh is None:
        return function(arrays)
    axis = mesh.axis_names[0]
    by_pixel = jax.tree.map(lambda _: PartitionSpec(axis), arrays)

    def local(arrays):
        out = function(arrays)
        return jax.tree.map(lambda o: lax.psum(o, axis), out) if total else out

    out_specs = PartitionSpec() if total else PartitionSpec(axis)
    return jax.shard_map(local, mesh=mesh, in_specs=(by_pixel,), out_specs=out_specs, check_vma=False)(arrays)


def to_device(array: Any) -> Array:
    """An array as floats on the default device, or where it already is; see `float_type`.

    The memory is our own: on a CPU JAX uses NumPy's in place where it lies well, and would see what is written to it;
    so does an array of JAX that `jax.device_put` or DLPack made of one of NumPy.
    On a CPU a large array is converted by several threads into a buffer of our own, which JAX then takes as it is:
    its own copy runs on one thread and costs more than the sums over the data.
    """
    dtype = float_type(getattr(array, "dtype", float))
    if isinstance(array, jax.Array):
        may_share = array.dtype == dtype and is_known(array) and jax.default_backend() == "cpu"
        return jnp.copy(array) if may_share else array.astype(dtype)
    array = np.asarray(array)
    with np.errstate(over="ignore"):  # the caller looks for what overflows
        if array.nbytes < LARGE_BYTES or jax.default_backend() != "cpu":
            return jnp.asarray(np.array(array, dtype))
        raw = np.empty(array.size * dtype.itemsize + ALIGNMENT, np.uint8)
        start = -raw.ctypes.data % ALIGNMENT
        own = raw[start : start + array.size * dtype.itemsize].view(dtype).reshape(array.shape)
    edges = np.linspace(0, len(array), 17).astype(int)

    def convert(part: slice) -> None:
        with np.errstate(over="ignore"):
            np.copyto(own[part], array[part], casting="unsafe")

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(convert, map(slice, edges[:-1], edges[1:])))
    return jax.device_put(own, may_alias=True)


def float_type(dtype: Any) -> np.dtype:
    """The type in which numbers of some type are computed with: the default float type for whole numbers.

    So it is for floats of 16 bits, whose sums over pixels would overflow at 65504, or keep three digits.
    """
    dtype = np.dtype(dtype)
    if not jnp.issubdtype(dtype, jnp.floating) or dtype.itemsize < 4:
        return jnp.result_type(float)
    return jax.dtypes.canonicalize_dtype(np.float64 if dtype.itemsize > 4 else np.float32)


def put(array: np.ndarray, mesh: Mesh | None) -> Array:
    """Rows on the default device, or spread over the mesh."""
    return jnp.asarray(array) if mesh is None else jax.device_put(array, over_pixels(mesh, len(array)))


def over_pixels(mesh: Mesh, pixels: int) -> NamedSharding:
    """The first axis, the pixels, spread over the mesh's first axis; they must divide."""
    devices = mesh.devices.shape[0]
    if pixels % devices:
        raise ValueError(indivisible(pixels, devices))
    return NamedSharding(mesh, PartitionSpec(mesh.axis_names[0]))


def indivisible(pixels: int, devices: int) -> str:
    """What to say of pixels that do not divide, and the remedy."""
    return (
        f"{pixels} pixels cannot be spread evenly over {devices} devices; crop to {pixels - pixels % devices} pixels."
    )


def mesh_over_pixels(values: Array) -> Mesh | None:
    """The mesh over whose first axis the pixels are spread, None on one device."""
    if not is_known(values):
        return None
    sharding = values.sharding
    if not isinstance(sharding, NamedSharding) or sharding.is_fully_replicated:
        return None
    mesh = sharding.mesh
    whole_rows = sharding.shard_shape(values.shape)[1] == values.shape[1]
    if not isinstance(mesh, Mesh) or sharding.spec[0] != mesh.axis_names[0] or not whole_rows:
        raise ValueError(
            f"X is spread as {sharding.spec}; spread only its first axis, the pixels, over the mesh's first axis."
        )
    return mesh
