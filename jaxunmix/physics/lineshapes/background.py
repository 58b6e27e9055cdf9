"""Smooth backgrounds."""

from jaxtyping import Array, ArrayLike, Float

from ..._util.validation import check_numbers


def power_law(energy: ArrayLike, exponent: ArrayLike, reference: ArrayLike) -> Float[Array, "..."]:
    r"""$(E / E_r)^{-r}$: the background below an energy-loss edge, or the fall of absorption above an X-ray edge.

    Args:
        energy: E, positive.
        exponent: r, about 2 to 5 in energy loss, about 3 in X-ray absorption.
        reference: E_r, positive: there the background is one.

    Returns:
        Of the broadcast shape.
    """
    energy, reference = check_numbers(energy, "energy", above=0), check_numbers(reference, "reference", above=0)
    return (energy / reference) ** (-check_numbers(exponent, "exponent"))
