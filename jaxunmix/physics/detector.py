r"""The detector of energy-dispersive spectra: efficiency, resolution, escape peaks."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xraydb
from jaxtyping import Array, ArrayLike, Float, Shaped

from .._util.tracing import is_known
from .._util.validation import check_instance, check_instances, check_number, check_numbers, float_array
from .atoms import check_element, edges, fluorescence_yield, mass_attenuation
from .checks import as_leaf

MANGANESE_KEV = 5.895
"""Energy of Mn K alpha, where resolutions are stated."""
PAIR_KEV = 3.66e-3
"""Mean energy of an electron-hole pair in silicon."""
SILICON_KALPHA_KEV = 1.7398
_SILICON_DENSITY = 2.33
_FWHM = 8 * np.log(2)


def material_attenuation(formula: str, density: float, energy_keV: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Linear attenuation coefficient of a compound in 1/nm.

    Args:
        formula: such as "Si3N4".
        density: g per cubic cm.
        energy_keV: in any order.

    Raises:
        ValueError: the formula cannot be read.
    """
    parts = _atoms_of(formula)
    elements = [check_element(e) for e in parts]
    masses = np.array([parts[e] * xraydb.atomic_mass(e) for e in elements])
    return 1e-7 * density * (masses / masses.sum()) @ mass_attenuation(elements, energy_keV)


def _atoms_of(formula: str) -> dict[str, float | int]:
    """How many atoms of each element a formula has."""
    try:
        parts = xraydb.chemparse(formula)
    except ValueError as error:
        raise ValueError(f"formula {formula!r} cannot be read; write it like 'Si3N4'") from error
    if not parts:
        raise ValueError("formula is empty; write it like 'Si3N4'")
    return parts


class Layer(eqx.Module):
    """A layer before the detector.

    Attributes:
        formula: such as "Si3N4".
        thickness_nm: where it is.
        density: g per cubic cm.
        cover: share of the area that it covers, 1 but for grids.
    """

    formula: str = eqx.field(static=True)
    thickness_nm: Shaped[ArrayLike, ""] = eqx.field(converter=as_leaf)
    density: float = eqx.field(static=True)
    cover: Shaped[ArrayLike, ""] = eqx.field(default=1.0, converter=as_leaf)

    def __check_init__(self) -> None:
        _atoms_of(check_instance(self.formula, str, "Layer: formula", '"Si3N4"'))
        check_numbers(self.thickness_nm, f"Layer: thickness_nm of {self.formula}", 0)
        check_number(self.density, "Layer: density", above=0)
        if is_known(self.cover):
            check_number(self.cover, "Layer: cover", 0, 1)


class Detector(eqx.Module):
    r"""A silicon detector behind some layers.

    Efficiency: $\prod_l (1 - c_l + c_l e^{-\mu_l t_l}) \, e^{-\mu_{Si} t_{dead}} (1 - e^{-\mu_{Si} t_{Si}})$, at normal
    incidence. Resolution: $FWHM^2 = FWHM_{Mn}^2 + 5.545 F \epsilon (E - E_{Mn})$, that is, electronic noise squared
    plus $5.545 F \epsilon E$ with $\epsilon$ = 3.66 eV. Incomplete collection of charge is left out: lines below about
    1 keV have tails in reality.

    Attributes:
        layers: windows, contacts, grids.
        silicon_um: active thickness.
        dead_layer_nm: of silicon.
        fwhm_keV: at Mn K alpha.
        fano: F.

    Raises:
        ValueError: a thickness below 0, or a resolution finer than F allows.
    """

    layers: tuple[Layer, ...] = ()
    silicon_um: Shaped[ArrayLike, ""] = eqx.field(default=450.0, converter=as_leaf)
    dead_layer_nm: Shaped[ArrayLike, ""] = eqx.field(default=30.0, converter=as_leaf)
    fwhm_keV: Shaped[ArrayLike, ""] = eqx.field(default=0.129, converter=as_leaf)
    fano: Shaped[ArrayLike, ""] = eqx.field(default=0.115, converter=as_leaf)

    def __check_init__(self) -> None:
        check_instances(self.layers, Layer, "Detector: layers", 'Layer("Si3N4", 50, 3.2)')
        sizes: dict[str, Any] = {"silicon_um": self.silicon_um, "dead_layer_nm": self.dead_layer_nm, "fano": self.fano}
        fano: Any = self.fano
        fwhm: Any = self.fwhm_keV
        if not all(map(is_known, (*sizes.values(), fwhm))):
            return
        for name, size in sizes.items():
            if not (jnp.isfinite(size) and jnp.asarray(size) >= 0):
                raise ValueError(f"Detector: {name}={size}; give a finite number, 0 or above")
        least = float(np.sqrt(_FWHM * float(fano) * PAIR_KEV * MANGANESE_KEV))
        if not least < float(fwhm) < np.inf:
            raise ValueError(
                f"Detector: fwhm_keV={float(fwhm):g} is below {least:.4f} keV, what fano={float(fano):g} "
                "allows without any noise; give the width at Mn K alpha in keV, or a smaller fano"
            )

    def attenuation(self, energy_keV: Float[np.ndarray, " n"]) -> Float[np.ndarray, "materials n"]:
        """Attenuation in 1/nm of each layer, then of silicon."""
        rows = [material_attenuation(layer.formula, layer.density, energy_keV) for layer in self.layers]
        return np.stack([*rows, material_attenuation("Si", _SILICON_DENSITY, energy_keV)])

    def efficiency(self, attenuation: Float[ArrayLike, "materials n"]) -> Float[Array, " n"]:
        """Share of the photons that are detected, from what `attenuation` gives at their energies."""
        rows = jnp.asarray(attenuation, float)
        share = jnp.exp(-rows[-1] * self.dead_layer_nm) * -jnp.expm1(-rows[-1] * self.silicon_um * 1e3)
        for row, layer in zip(rows, self.layers, strict=False):
            share *= 1 - layer.cover + layer.cover * jnp.exp(-row * layer.thickness_nm)
        return share

    def sigma_keV(self, energy_keV: Shaped[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
        """Standard deviation of a line at an energy; at least 1 eV."""
        squared = jnp.square(self.fwhm_keV) / _FWHM + self.fano * PAIR_KEV * (jnp.asarray(energy_keV) - MANGANESE_KEV)
        return jnp.sqrt(jnp.maximum(squared, 1e-6))


def windowless(**changes: Any) -> Detector:
    """A drift detector without a window: 450 um, 30 nm dead layer, 129 eV; `changes` replace fields of `Detector`."""
    return Detector(**changes)


def thin_window(**changes: Any) -> Detector:
    """A drift detector behind a polymer window, much like the common AP3.3.

    300 nm of polyimide and 40 nm of aluminium on a silicon grid of 380 um that covers 23 %; `changes` replace fields of
    `Detector`. The thicknesses of an actual window may differ by a tenth, which matters below 1 keV.
    """
    layers = (Layer("C22H10N2O5", 300.0, 1.43), Layer("Al", 40.0, 2.70), Layer("Si", 380e3, 2.33, cover=0.23))
    return Detector(layers, **changes)


def escape_share(energy_keV: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    r"""Share of the detected photons that come out in the silicon escape peak, 1.74 keV below their line.

    $\frac{1}{2} \omega_K (1 - 1/r) \left[ 1 - \frac{\mu_K}{\mu_E} \ln \left(1 + \frac{\mu_E}{\mu_K}\right) \right]$,
    with r = 11 the jump of silicon's K edge, $\mu_E$ and $\mu_K$ its attenuation at the energy of the photon and at
    Si K alpha: isotropic emission at the depth of absorption, normal incidence, front side only (Reed and Ware, J.
    Phys. E 5 (1972) 582). Zero below silicon's K edge.

    >>> escape_share(np.array([1.0, 6.0])).round(4).tolist()
    [0.0, 0.0037]
    """
    energy = np.asarray(energy_keV, np.float64)
    ratio = mass_attenuation(("Si",), energy)[0] / mass_attenuation(("Si",), np.array([SILICON_KALPHA_KEV]))[0, 0]
    share = 0.5 * fluorescence_yield("Si", "K") * (1 - 1 / 11) * (1 - np.log1p(ratio) / ratio)
    return np.where(energy > edges("Si")["K"], share, 0.0)


def pile_up_column(
    mean_spectrum: Shaped[ArrayLike, " channels"], energy_keV: Shaped[ArrayLike, " energies"]
) -> Float[Array, " channels"]:
    r"""Sum peaks of two photons that came at once: the spectrum's convolution with itself on the energy axis, area 1.

    Channel k of $\sum_i s_i s_j$ lies at $E_i + E_j$; where this falls between two channels it is shared linearly, and
    beyond the axis it is left out. To be put below a basis as one more, free column.

    Args:
        mean_spectrum: counts, without negative ones.
        energy_keV: centres of uniform channels.

    Raises:
        ValueError: the two differ in length, or no sum falls onto the axis.
    """
    spectrum, energy = check_numbers(mean_spectrum, "mean_spectrum", 0), float_array(energy_keV, "energy_keV")
    if spectrum.shape != energy.shape or energy.ndim != 1:
        raise ValueError(f"mean_spectrum {spectrum.shape} and energy_keV {energy.shape} must be of one length")
    if len(energy) < 2 or not np.isfinite(energy).all() or not energy[1] > energy[0]:
        raise ValueError("energy_keV must be the finite, increasing centres of two or more channels")
    size, step = len(energy), float(energy[1] - energy[0])
    # Sums start at twice the first energy: by how many channels that is off the axis.
    whole = int(np.floor(energy[0] / step))
    part = float(energy[0] / step - whole)
    at = np.arange(2 * size - 1) + whole
    inside = (at >= 0) & (at < size)
    if not inside.any():
        raise ValueError("no sum of two energies falls onto energy_keV; there is no pile-up to be seen on it")
    sums = jnp.convolve(spectrum, spectrum, precision="highest")[inside]
    column = jnp.zeros(size + 1).at[at[inside]].add((1 - part) * sums).at[at[inside] + 1].add(part * sums)[:size]
    return column / jnp.maximum(jnp.sum(column), jnp.finfo(column.dtype).tiny)
