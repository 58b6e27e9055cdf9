"""Random numbers of NumPy from keys of JAX."""

import jax
import numpy as np
from jaxtyping import Array, Key


def numpy_generator(key: Key[Array, ""]) -> np.random.Generator:
    """NumPy's generator, seeded by the key's own bits."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))
