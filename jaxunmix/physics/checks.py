"""Checks of what a model of emission is made from; each says what is wrong and what to do."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._util.tracing import is_known
from .._util.validation import check_instances, check_number, float_array, real_number
from .atoms import check_element


def as_leaf(value: Any) -> Array:
    """A number as an array of floats, to be traced and differentiated."""
    return jnp.asarray(real_number(value, "what is given of a detector or layer") if is_known(value) else value, float)


def checked_axis(energy_keV: Any, beam_keV: float | int) -> Float[np.ndarray, " channels"]:
    """Centres of uniform channels in keV, which fit the energy of the beam."""
    axis = float_array(energy_keV, "energy_keV")
    if axis.ndim != 1 or len(axis) < 2 or not np.isfinite(axis).all():
        raise ValueError(f"energy_keV of shape {axis.shape}: give the finite centres of two or more channels")
    if not (np.isfinite(real_number(beam_keV, "beam_keV")) and 0 < beam_keV <= 3000):
        raise ValueError(f"beam_keV={beam_keV}: give keV, such as 200 for 200 kV")
    if axis.max() > 1000 or axis.max() > 10 * beam_keV:
        raise ValueError(
            f"energy_keV reaches {axis.max():g} with a beam of {beam_keV:g} keV: this looks like eV; divide it by 1000"
        )
    steps = np.diff(axis)
    if (steps <= 0).any():
        at = int(np.argmax(steps <= 0))
        raise ValueError(f"energy_keV must increase; channel {at + 1} ({axis[at + 1]:g}) does not; sort the channels")
    if np.abs(axis - np.linspace(axis[0], axis[-1], len(axis))).max() > 0.05 * steps.mean():
        raise ValueError("energy_keV must be uniform; rebin the spectra to channels of one width")
    return axis


def checked_elements(elements: Sequence[str], free: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Symbols of the sample's and of the free elements, each known and given once."""
    for name, several in (("elements", elements), ("free", free)):
        check_instances((several,) if isinstance(several, str) else several, str, name, '"Fe"')
    names = (*((elements,) if isinstance(elements, str) else elements),)
    others = (*((free,) if isinstance(free, str) else free),)
    if not names:
        raise ValueError("elements is empty; give the symbols of the sample's elements")
    for i, name in enumerate(names + others):
        check_element(name)
        if name in (names + others)[:i]:
            raise ValueError(f"{name} is twice in elements and free; give each element once")
    return names, others


def checked_positive(name: str, value: Any, above: bool) -> None:
    """A number, or one for each phase, not below 0 (above it if `above`), where it is known."""
    if is_known(value):
        array = float_array(value, name)
        if array.ndim > 1 or not np.isfinite(array).all() or (array < 0).any() or (above and (array == 0).any()):
            raise ValueError(f"{name}={value}: give a number{' above' if above else ', or'} 0, or one for each phase")


def checked_geometry(take_off_deg: Any, thickness_nm: Any, density: Any, gain: Any) -> None:
    """Angle, thickness, density and gain in their ranges, where they are known."""
    looked_at = take_off_deg is not None and is_known(take_off_deg)
    if looked_at and not 0 < real_number(take_off_deg, "take_off_deg") <= 90:
        raise ValueError(f"take_off_deg={take_off_deg}: give an angle above 0 and up to 90 degrees")
    checked_positive("thickness_nm", thickness_nm, above=False)
    checked_positive("density", density, above=False)
    if is_known(gain):
        check_number(gain, "gain")
    checked_positive("gain", gain, above=True)


def checked_composition(
    composition: Any, elements: Sequence[str], thickness_nm: Any, density: Any
) -> Float[Array, "*phases elements"]:
    """Atomic fractions of one or more phases, which fit the thickness and density."""
    array = jnp.asarray(float_array(composition, "composition") if is_known(composition) else composition, float)
    if array.ndim not in (1, 2) or array.shape[-1] != len(elements):
        raise ValueError(
            f"composition of shape {array.shape}: give atomic fractions of {', '.join(elements)}, "
            f"as ({len(elements)},) or (phases, {len(elements)})"
        )
    phases = {shape[0] for shape in (array.shape[:-1], jnp.shape(thickness_nm), jnp.shape(density)) if shape}
    if len(phases) > 1:
        raise ValueError(
            f"composition {array.shape}, thickness_nm {jnp.shape(thickness_nm)} and density {jnp.shape(density)} are "
            "for different numbers of phases; give single numbers or one for each phase"
        )
    if is_known(array):
        bad = ~jnp.isfinite(array) | (array < 0)
        if bad.any():
            raise ValueError("composition must be finite and not negative; set small negative fractions to 0")
        if (array.sum(axis=-1) == 0).any():
            raise ValueError("composition has a phase without any element; give its fractions, or leave the phase out")
    return array
