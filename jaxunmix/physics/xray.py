r"""EDX spectra from physics: emission lines and bremsstrahlung of a foil, as a basis of columns.

A spectrum is modelled as coefficients @ basis. The row of an element is its spectrum per atom: cross-section of
ionisation, cascade of vacancies, yield, relative intensities, absorption in the foil, efficiency and resolution of the
detector. All rows of the sample share one unit, so that coefficients which sum to one over the elements are atomic
fractions (Teurtrie et al., Ultramicroscopy 249 (2023) 113719).

Energies are in keV, thickness in nm, density in g per cubic cm, angles in degrees, cross-sections in barn.
"""

from collections.abc import Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf
from jaxtyping import Array, ArrayLike, Float, Shaped

from .._util.tracing import is_known
from .._util.validation import check_callable, check_flag, check_instance, check_number, float_array
from .atoms import FAMILIES, atomic_mass, attenuation_sd, yield_sd
from .basis import Basis, atomic_to_weight, weight_to_atomic
from .checks import checked_axis, checked_composition, checked_elements, checked_geometry
from .cross_sections import CrossSections, LineTable, bethe, casnati, load_bote_salvat, load_emtables
from .detector import Detector, Layer, pile_up_column, thin_window, windowless
from .emission import Continuum, LineList, bremsstrahlung, continuum, line_groups, line_list, slab

__all__ = [
    "Basis",
    "Detector",
    "EmissionModel",
    "Layer",
    "LineTable",
    "atomic_to_weight",
    "attenuation_sd",
    "bethe",
    "bremsstrahlung",
    "casnati",
    "emission_basis",
    "load_bote_salvat",
    "load_emtables",
    "pile_up_column",
    "sensitivity_from_standard",
    "slab",
    "thin_window",
    "weight_to_atomic",
    "windowless",
    "yield_sd",
]


class EmissionModel(eqx.Module):
    r"""What a foil of some elements emits and a detector shows; a pytree to be differentiated in its float leaves.

    A line of energy E lies at offset_keV + gain E on the axis. It is a Gaussian, integrated over each channel, with
    the detector's width at E. Its area in the row of its element is

    $\sigma_{line} \, s \, \epsilon(E) \, (1 - e^{-\chi(E)}) / \chi(E) / u$,
    $\chi(E) = \frac{\rho t}{\sin \theta} \sum_j w_j \mu_j(E)$

    with the production cross-section of the line (ionisation, cascade, yield, relative intensity), the sensitivity s,
    the detector's efficiency, the weight fractions w of **all** elements of the phase and the unit u, the mean over the
    sample's elements of the summed $\sigma \epsilon$: with equal parts of all elements and no absorption, one unit of a
    map is one photon of the sample on the axis. u is frozen when the model is made. Rows of free elements (grid,
    holder) are not absorbed by the sample; they and bremsstrahlung have an area of 1 before absorption. Bremsstrahlung
    is absorbed and detected at each channel's energy, but not broadened.

    Approximations: the beam loses no energy and is not scattered (a foil), no fluorescence by other lines, no
    coherent bremsstrahlung, attenuation below 0.1 keV unknown, line shapes without tails. For bulk samples in the SEM
    the rows are lines per atom at the energy of the beam, without the depth distribution: use it without absorption and
    read at.% with care.

    Args:
        elements: symbols of the sample's elements; each is a row of the basis (or one for each family of lines).
        energy_keV: centres of uniform channels.
        beam_keV: of the electrons.
        take_off_deg: angle between the detector's direction and the foil's surface; None where nothing is absorbed.
        thickness_nm: of the foil, or of each phase.
        density: g per cubic cm, or of each phase.
        detector: `windowless()` by default, or `thin_window()` or your own.
        offset_keV: where a photon of zero energy lies on the axis.
        gain: keV of the axis per keV.
        split: "element" for one row per element, "family" for one per family K, L, M of each.
        free: elements of the grid and holder, with a row of its own for each family: radiation from the sample and
            stray electrons excite them in other proportions than the beam does.
        bremsstrahlung: whether there are two rows of it, see `bremsstrahlung`.
        escape: whether lines have their silicon escape peaks.
        cross_sections: a source such as `bethe`, or what `load_bote_salvat` or `load_emtables` gives.
        minimum_weight: lines weaker than this times the strongest of their element are left out.
        sensitivity: factors on the sample's rows (or on elements), such as `sensitivity_from_standard` gives.

    Raises:
        ValueError: unknown or repeated elements, elements without a line on the axis or with edges above the beam's
            energy, energies in eV, an axis that is not uniform, angles, thicknesses or densities out of range.
    """

    thickness_nm: Float[Array, "*phases"]
    density: Float[Array, "*phases"]
    take_off_deg: Float[Array, ""] | None
    offset_keV: Float[Array, ""]
    gain: Float[Array, ""]
    sensitivity: Float[Array, " rows"]
    detector: Detector
    lines: LineList
    continuum: Continuum | None
    energy_keV: Float[Array, " channels"]
    scale: Float[Array, " features"]
    beam_keV: float = eqx.field(static=True)
    elements: tuple[str, ...] = eqx.field(static=True)
    kinds: tuple[str, ...] = eqx.field(static=True)
    owners: tuple[str, ...] = eqx.field(static=True)
    families: tuple[str, ...] = eqx.field(static=True)

    def __init__(
        self,
        elements: Sequence[str],
        energy_keV: Any,
        beam_keV: float | int = 200.0,
        take_off_deg: Any = 22.0,
        thickness_nm: Any = 100.0,
        density: Any = 5.0,
        *,
        detector: Detector | None = None,
        offset_keV: Any = 0.0,
        gain: Any = 1.0,
        split: Literal["element", "family"] = "element",
        free: Sequence[str] = (),
        bremsstrahlung: bool = True,
        escape: bool = False,
        cross_sections: CrossSections | LineTable = bethe,
        minimum_weight: float = 1e-4,
        sensitivity: Any = None,
    ):
        axis = checked_axis(energy_keV, beam_keV)
        self.elements, others = checked_elements(elements, free)
        checked_geometry(take_off_deg, thickness_nm, density, gain)
        _check_parts(detector, cross_sections, offset_keV)
        check_flag(bremsstrahlung, "bremsstrahlung")
        check_flag(escape, "escape")
        self.beam_keV, self.detector = float(beam_keV), windowless() if detector is None else detector
        groups = line_groups(self.elements, axis, self.beam_keV, cross_sections, minimum_weight, split)
        groups += line_groups(others, axis, self.beam_keV, cross_sections, minimum_weight, "family")
        kinds = ["element" if group[0].element in self.elements else "free" for group in groups]
        more = 2 if bremsstrahlung else 0
        self.kinds = (*kinds, *["bremsstrahlung"] * more)
        self.owners = (*(group[0].element for group in groups), *[""] * more)
        whole = [split == "element" and kind == "element" for kind in kinds]
        self.families = (*("" if w else g[0].family for w, g in zip(whole, groups, strict=True)), *[""] * more)
        self.take_off_deg = None if take_off_deg is None else jnp.asarray(take_off_deg, float)
        self.thickness_nm, self.density = jnp.asarray(thickness_nm, float), jnp.asarray(density, float)
        self.offset_keV, self.gain = jnp.asarray(offset_keV, float), jnp.asarray(gain, float)
        self.energy_keV = jnp.asarray(axis, float)
        self.sensitivity = self._checked_sensitivity(sensitivity)
        self.lines = line_list(groups, self.elements, self.detector, escape)
        self.continuum = continuum(axis, self.elements, self.detector) if bremsstrahlung else None
        self.scale = jnp.ones(len(self.kinds))
        self.scale = _unit(self)

    def _rows(self, kind: str) -> np.ndarray:
        return np.array([found == kind for found in self.kinds])

    def _checked_sensitivity(self, sensitivity: Any) -> Float[Array, " rows"]:
        owners = [owner for owner, kind in zip(self.owners, self.kinds, strict=True) if kind == "element"]
        if sensitivity is None:
            return jnp.ones(len(owners))
        known = is_known(sensitivity)
        array = jnp.asarray(float_array(sensitivity, "sensitivity") if known else sensitivity, float)
        if array.shape == (len(self.elements),):
            array = array[np.array([self.elements.index(owner) for owner in owners])]
        if array.shape != (len(owners),):
            raise ValueError(
                f"sensitivity of shape {array.shape}: give one factor for each of {', '.join(self.elements)} or for "
                f"each of the {len(owners)} rows of the sample"
            )
        if is_known(array) and not (jnp.isfinite(array).all() and (array > 0).all()):
            raise ValueError("sensitivity must be finite and above 0; give 1 where nothing is known")
        return array

    def _membership(self) -> Float[Array, "features lines"]:
        return jnp.asarray(np.arange(len(self.kinds))[:, None] == np.array(self.lines.columns), float)

    def _leaving(
        self, weights: Float[Array, "*phases elements"] | None, attenuation: Float[Array, "elements n"]
    ) -> Float[Array, "*phases n"]:
        """Share that leaves the foil, at energies where the elements have this attenuation."""
        if weights is None or self.take_off_deg is None:
            return jnp.ones(attenuation.shape[1])
        path = 1e-7 * self.density * self.thickness_nm / jnp.sin(jnp.deg2rad(self.take_off_deg))
        return slab(path[..., None] * (weights @ attenuation))

    def _lines(self, weights: Float[Array, "*phases elements"] | None) -> Float[Array, "*phases features channels"]:
        lines, size = self.lines, len(self.energy_keV)
        step = (self.energy_keV[-1] - self.energy_keV[0]) / (size - 1)
        borders = self.energy_keV[0] + step * (jnp.arange(size + 1) - 0.5)
        distance = (borders - self.offset_keV) / self.gain - lines.detected_keV[:, None]
        integral = erf(distance / (np.sqrt(2) * self.detector.sigma_keV(lines.detected_keV)[:, None])) / 2
        shapes = jnp.maximum(jnp.diff(integral, axis=1), 0.0)
        sample, columns = self._rows("element"), np.array(self.lines.columns)
        factors = jnp.ones(len(self.kinds)).at[np.flatnonzero(sample)].set(self.sensitivity) * self.scale
        heights = factors[columns] * lines.barn * self.detector.efficiency(lines.materials)
        heights *= jnp.where(sample[columns], self._leaving(weights, lines.sample), 1.0)
        return jnp.matmul(heights[..., None, :] * self._membership(), shapes, precision="highest")

    def _bremsstrahlung(
        self, table: Continuum, weights: Float[Array, "*phases elements"] | None
    ) -> Float[Array, "*phases 2 channels"]:
        energy = (self.energy_keV - self.offset_keV) / self.gain
        rows = bremsstrahlung(energy, self.beam_keV) * self.detector.efficiency(table.materials_at(energy))
        return rows * self._leaving(weights, table.sample_at(energy))[..., None, :]

    def yield_sd(self) -> Float[np.ndarray, " rows"]:
        """Relative standard deviation of each of the sample's rows from the yields of its families, see `yield_sd`.

        Families are taken as independent, weighted by their detected share without absorption; yields of different
        elements are independent as well. The error of a composition follows from it: rows that are too large by some
        factor make atomic fractions too small by it.
        """
        detected = np.asarray(self.lines.barn * self.detector.efficiency(self.lines.materials), np.float64)
        rows = int(self._rows("element").sum())
        parts = np.zeros((rows, len(FAMILIES)))
        for row, family, amount in zip(self.lines.columns, self.lines.families, detected, strict=True):
            if row < rows:
                parts[row, FAMILIES.index(family)] += amount
        sds = np.array([[yield_sd(owner, family) for family in FAMILIES] for owner in self.owners[:rows]])
        return np.sqrt(np.square(parts * sds).sum(axis=1)) / np.maximum(parts.sum(axis=1), 1e-30)

    def basis(self, composition: Any = None) -> Basis:
        """The rows for a composition.

        Args:
            composition: atomic fractions of the sample's elements, (elements,) or (phases, elements): each phase
                absorbs by itself, and `values` are (phases, features, channels). Sums other than one are rescaled.
                None: nothing is absorbed in the sample, whatever its thickness.

        Raises:
            ValueError: a composition of another shape, negative, or empty; absorption without a take-off angle.
        """
        if composition is not None:
            composition = checked_composition(composition, self.elements, self.thickness_nm, self.density)
            if self.take_off_deg is None:
                raise ValueError(
                    "take_off_deg=None: absorption in the sample needs the take-off angle; give it in degrees"
                )
        return Basis(
            values=_values(self, composition),
            kinds=self.kinds,
            owners=self.owners,
            families=self.families,
            elements=self.elements,
            atomic_masses=tuple(atomic_mass(element) for element in self.elements),
        )


def _check_parts(detector: Any, cross_sections: Any, offset_keV: Any) -> None:
    check_instance(detector, (Detector, type(None)), "detector", "thin_window()")
    if not isinstance(cross_sections, LineTable):
        check_callable(cross_sections, "cross_sections", "xray.bethe")
    if is_known(offset_keV):
        check_number(offset_keV, "offset_keV")


@eqx.filter_jit
def _unit(model: EmissionModel) -> Float[Array, " features"]:
    """Factors that give the rows their unit."""
    sample = model._rows("element")
    areas = model._membership() @ (model.lines.barn * model.detector.efficiency(model.lines.materials))
    areas = jnp.where(sample, jnp.sum(areas[sample]) / len(model.elements), areas)
    if model.continuum is not None:
        areas = areas.at[-2:].set(jnp.sum(model._bremsstrahlung(model.continuum, None), axis=-1))
    return jax.lax.stop_gradient(1 / jnp.where(areas > 0, areas, 1.0))


@eqx.filter_jit
def _values(model: EmissionModel, composition: Array | None) -> Float[Array, "*phases features channels"]:
    weights = None
    if composition is not None:
        weights = atomic_to_weight(composition, np.array([atomic_mass(element) for element in model.elements]))
    values = model._lines(weights)
    if model.continuum is None:
        return values
    rows = model.scale[-2:, None] * model._bremsstrahlung(model.continuum, weights)
    return values.at[..., -2:, :].set(rows)


def emission_basis(
    elements: Sequence[str],
    energy_keV: Any,
    beam_keV: float | int = 200.0,
    take_off_deg: Any = 22.0,
    thickness_nm: Any = 100.0,
    density: Any = 5.0,
    *,
    composition: Any = None,
    **options: Any,
) -> Basis:
    """The basis of `EmissionModel(elements, energy_keV, ..., **options)` for a composition.

    Without a composition nothing is absorbed in the sample: thickness, density and take-off angle then do not matter.

    Args:
        elements: symbols.
        energy_keV: centres of uniform channels.
        beam_keV: of the electrons.
        take_off_deg: angle between the detector's direction and the foil's surface.
        thickness_nm: of the foil, or of each phase.
        density: g per cubic cm, or of each phase.
        composition: atomic fractions, (elements,) or (phases, elements), or None.
        options: of `EmissionModel`.

    Raises:
        ValueError: see `EmissionModel`.

    Example:
        >>> basis = emission_basis(["O", "Mg"], 0.01 * np.arange(400), free=["Cu"], composition=np.array([0.5, 0.5]))
        >>> basis.names
        ('O', 'Mg', 'Cu L (free)', 'bremsstrahlung 1', 'bremsstrahlung 2')
        >>> basis.shape, basis.element_columns
        ((5, 400), (0, 1))
    """
    model = EmissionModel(elements, energy_keV, beam_keV, take_off_deg, thickness_nm, density, **options)
    return model.basis(composition)


def sensitivity_from_standard(
    model: EmissionModel,
    measured_coefficients: Shaped[ArrayLike, " rows"],
    known_composition: Shaped[ArrayLike, " elements"],
) -> Float[Array, " rows"]:
    """Sensitivities of the sample's rows from a standard, which take the place of k-factors.

    The coefficients are those fitted to the standard's spectrum with `model.basis(known_composition)`. With the result,
    `EmissionModel(..., sensitivity=result)`, the same fit gives the known composition. Ratios are all that a standard
    tells: the geometric mean of the changes is 1, and rows of elements that it does not have stay as they are.

    Args:
        model: the one the coefficients were fitted with.
        measured_coefficients: of the sample's rows.
        known_composition: atomic fractions of the model's elements; 0 for those the standard does not have.

    Raises:
        ValueError: sizes that do not fit, or an element of the standard without a coefficient above 0.
    """
    check_instance(model, EmissionModel, "model", "EmissionModel(...)")
    measured = float_array(measured_coefficients, "measured_coefficients")
    known = float_array(known_composition, "known_composition")
    if not (np.isfinite(measured).all() and np.isfinite(known).all()):
        raise ValueError("measured_coefficients and known_composition must be finite")
    owners = [owner for owner, kind in zip(model.owners, model.kinds, strict=True) if kind == "element"]
    if measured.shape != (len(owners),) or known.shape != (len(model.elements),):
        raise ValueError(
            f"measured_coefficients {measured.shape} and known_composition {known.shape}: give {len(owners)} rows of "
            f"the sample and {len(model.elements)} elements"
        )
    expected = known[[model.elements.index(owner) for owner in owners]]
    there = expected > 0
    if not there.any() or (measured[there] <= 0).any():
        bad = [owner for owner, here, m in zip(owners, there, measured, strict=True) if here and m <= 0]
        raise ValueError(f"the standard needs a coefficient above 0 of each of its elements; {bad or 'it has none'}")
    change = np.ones(len(owners))
    logs = np.log(measured[there] / expected[there])
    change[there] = np.exp(logs - logs.mean())
    return model.sensitivity * change
