"""What may be looked at while JAX traces a program."""

from typing import Any

import jax


def is_known(tree: Any) -> bool:
    """Whether all arrays of a tree hold numbers that can be looked at, none of them being traced."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))
