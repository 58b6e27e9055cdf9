"""Random numbers of NumPy from the keys of JAX."""

import jax
import numpy as np
from jaxtyping import PRNGKeyArray


def numpy_generator(key: PRNGKeyArray) -> np.random.Generator:
    """A generator of NumPy whose numbers follow from the key."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel().tolist())
