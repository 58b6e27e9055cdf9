"""What a foil emits: lists of lines, bremsstrahlung, and the share of it that leaves."""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Shaped

from .._util.validation import check_number, check_numbers, real_number
from .atoms import FAMILIES, LOWEST_KEV, cascade, edges, fluorescence_yield, mass_attenuation
from .atoms import lines as lines_of
from .cross_sections import CrossSections, LineTable
from .detector import SILICON_KALPHA_KEV, Detector, escape_share


class Emitted(NamedTuple):
    """A line and its production cross-section."""

    element: str
    family: str
    energy_keV: float
    barn: float


def production(element: str, beam_keV: float, cross_sections: CrossSections | LineTable) -> list[Emitted]:
    """Lines of an element and the cross-sections at which they are produced.

    Ionisation of each subshell, cascade, fluorescence yield and relative intensity; of a `LineTable` what it holds.

    Args:
        element: symbol.
        beam_keV: of the electrons.
        cross_sections: a source of ionisation cross-sections, or a table of lines.

    Raises:
        ValueError: the table is for another beam energy, or does not have the element.
    """
    if isinstance(cross_sections, LineTable):
        if abs(cross_sections.beam_keV - beam_keV) > 1e-3 * beam_keV:
            raise ValueError(
                f"the table is for {cross_sections.beam_keV} keV, beam_keV={beam_keV}; use its beam energy"
            )
        if element not in cross_sections.lines:
            raise ValueError(f"the table has no {element}; it has {', '.join(cross_sections.lines)}")
        return [Emitted(element, name[0], energy, barn) for name, energy, barn in cross_sections.lines[element]]
    ionised = {s: cross_sections(element, s, edge, beam_keV) for s, edge in edges(element).items()}
    vacancies = cascade(element, ionised)
    return [
        Emitted(
            element,
            line.family,
            line.energy_keV,
            vacancies[line.subshell] * fluorescence_yield(element, line.subshell) * line.intensity,
        )
        for line in lines_of(element)
        if line.subshell in vacancies
    ]


def visible(lines: Sequence[Emitted], axis: Float[np.ndarray, " channels"], least: float) -> list[Emitted]:
    """The lines of one element on an energy axis, without those weaker than `least` times the strongest of them.

    Those below `LOWEST_KEV` are left out. Lines up to 0.1 keV beyond the end of the axis are kept for their flanks.
    """
    low, high = max(LOWEST_KEV, axis[0]), axis[-1]
    inside = [line for line in lines if low <= line.energy_keV <= high and line.barn > 0]
    if not inside:
        return []
    strongest = max(line.barn for line in inside)
    return [n for n in lines if low <= n.energy_keV <= high + 0.1 and n.barn >= max(least * strongest, 1e-30)]


def explain_absence(element: str, lines: Sequence[Emitted], axis: Float[np.ndarray, " channels"], beam: float) -> str:
    """Why an element has no line on an axis, and what to do."""
    low, high = max(LOWEST_KEV, axis[0]), axis[-1]
    above = {
        subshell: edge
        for subshell, edge in edges(element).items()
        if edge >= beam and any(n.subshell == subshell and low <= n.energy_keV <= high for n in lines_of(element))
    }
    if above:
        subshell, edge = min(above.items(), key=lambda item: item[1])
        return (
            f"beam_keV={beam} is below the edges of {element} whose lines lie on the axis ({subshell} at {edge:.3f} "
            "keV); raise it, extend the axis, or leave the element out"
        )
    strongest: dict[str, Emitted] = {}
    for line in lines:
        if line.barn > strongest.get(line.family, line._replace(barn=0.0)).barn:
            strongest[line.family] = line
    nearest = ", ".join(f"{line.energy_keV:.3f} keV ({family})" for family, line in strongest.items()) or "nowhere"
    return (
        f"{element} has no line on the axis from {low:.3f} to {high:.3f} keV; its strongest are at {nearest}: extend "
        "the axis or leave the element out"
    )


def line_groups(
    elements: Sequence[str],
    axis: Float[np.ndarray, " channels"],
    beam_keV: float,
    cross_sections: CrossSections | LineTable,
    minimum_weight: float,
    split: str,
) -> list[list[Emitted]]:
    """Lines of each row of a basis: one group for each element, or for each family of it.

    Raises:
        ValueError: an element without lines on the axis, an unknown split, or a minimum weight that is not in [0, 1).
    """
    if not isinstance(split, str) or split not in ("element", "family"):
        raise ValueError(f"split={split!r}: use 'element' or 'family'")
    if not 0 <= real_number(minimum_weight, "minimum_weight") < 1:
        raise ValueError(f"minimum_weight={minimum_weight}: give a number from 0 to below 1")
    groups = []
    for element in elements:
        found = production(element, beam_keV, cross_sections)
        kept = visible(found, axis, minimum_weight)
        if not kept:
            raise ValueError(explain_absence(element, found, axis, beam_keV))
        families = [kept] if split == "element" else [[n for n in kept if n.family == f] for f in FAMILIES]
        groups += [group for group in families if group]
    return groups


class LineList(eqx.Module):
    """Lines as arrays; an escape peak is a line of its own, detected lower than it is emitted.

    Attributes:
        detected_keV: where the detector shows them.
        barn: production cross-section, times the share of the photons that escape or stay.
        sample: attenuation of the sample's elements at the energy of emission, square cm per g.
        materials: attenuation of the detector's materials at that energy, 1/nm.
        columns: the row of the basis that each belongs to.
        families: "K", "L" or "M" of each.
    """

    detected_keV: Float[Array, " lines"]
    barn: Float[Array, " lines"]
    sample: Float[Array, "elements lines"]
    materials: Float[Array, "materials lines"]
    columns: tuple[int, ...] = eqx.field(static=True)
    families: tuple[str, ...] = eqx.field(static=True)


def line_list(
    groups: Sequence[Sequence[Emitted]], elements: Sequence[str], detector: Detector, escape: bool
) -> LineList:
    """Lines of the groups, each a row of the basis, ready for a model.

    Args:
        groups: lines of each row.
        elements: of the sample, which absorb.
        detector: its materials.
        escape: whether lines above silicon's K edge have escape peaks.
    """
    flat = [(row, line) for row, group in enumerate(groups) for line in group]
    columns = np.array([row for row, _ in flat])
    energy = np.array([line.energy_keV for _, line in flat])
    barn = np.array([line.barn for _, line in flat])
    source = np.arange(len(flat))
    detected = energy
    if escape:
        share = escape_share(energy)
        leaving = np.flatnonzero(share)
        detected = np.append(energy, energy[leaving] - SILICON_KALPHA_KEV)
        barn = np.append(barn * (1 - share), (barn * share)[leaving])
        source = np.append(source, leaving)
    sample, materials = mass_attenuation(elements, energy), detector.attenuation(energy)
    return LineList(
        detected_keV=jnp.asarray(detected, float),
        barn=jnp.asarray(barn, float),
        sample=jnp.asarray(sample[:, source], float),
        materials=jnp.asarray(materials[:, source], float),
        columns=tuple(columns[source].tolist()),
        families=tuple(flat[i][1].family for i in source),
    )


class Continuum(eqx.Module):
    """Attenuation between tabulated energies, for bremsstrahlung.

    Attributes:
        knots: energies, keV.
        sample: logarithm of the elements' attenuation in square cm per g.
        materials: logarithm of the detector's in 1/nm.
    """

    knots: Float[Array, " knots"]
    sample: Float[Array, "elements knots"]
    materials: Float[Array, "materials knots"]

    def sample_at(self, energy_keV: Float[Array, " n"]) -> Float[Array, "elements n"]:
        """Attenuation of the elements."""
        return self._at(energy_keV, self.sample)

    def materials_at(self, energy_keV: Float[Array, " n"]) -> Float[Array, "materials n"]:
        """Attenuation of the detector's materials."""
        return self._at(energy_keV, self.materials)

    def _at(self, energy: Float[Array, " n"], rows: Float[Array, "rows knots"]) -> Float[Array, "rows n"]:
        return jnp.exp(jax.vmap(lambda row: jnp.interp(energy, self.knots, row))(rows))


def continuum(axis: Float[np.ndarray, " channels"], elements: Sequence[str], detector: Detector) -> Continuum:
    """Attenuation at the borders of channels, so that at their centres, where values are taken, it has derivatives."""
    step = (axis[-1] - axis[0]) / (len(axis) - 1)
    knots = axis[0] + step * (np.arange(-5, len(axis) + 6) - 0.5)
    arrays = (knots, np.log(mass_attenuation(elements, knots)), np.log(detector.attenuation(knots)))
    return Continuum(*(jnp.asarray(array, float) for array in arrays))


def slab(chi: Shaped[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    r"""Share of the photons that leave a slab in which they start evenly: $(1 - e^{-\chi}) / \chi$.

    $\chi = \mu \rho t / \sin(\text{take-off})$; 1 for $\chi \to 0$, $1 / \chi$ for thick slabs (Goldstein et al.,
    1977).

    >>> [f"{share:.3f}" for share in slab(np.array([0.0, 1.0, 100.0]))]
    ['1.000', '0.632', '0.010']
    """
    chi = check_numbers(chi, "chi")
    small = chi < 1e-3
    safe = jnp.where(small, 1.0, chi)
    return jnp.where(small, 1 - chi / 2 + jnp.square(chi) / 6, -jnp.expm1(-safe) / safe)


def bremsstrahlung(energy_keV: Shaped[ArrayLike, " n"], beam_keV: float | int) -> Float[Array, "2 n"]:
    r"""Two non-negative parts of bremsstrahlung as it is emitted, per keV and not normalised.

    With $x = (E_0 - E) / E_0$: $x (1 - x) / E = (E_0 - E) / E_0^2$ and $x^2 / E = (E_0 - E)^2 / (E_0^2 E)$.

    Lifshin's model (Proc. 9th Conf. Microbeam Analysis Society (1974) 53) is $(b_0 x + b_1 x^2) / E$. It is
    non-negative for all $0 < E < E_0$ if and only if $b_0 \ge 0$ and $b_0 + b_1 \ge 0$: these are its coefficients, as
    $b_0 x + b_1 x^2 = b_0 x (1 - x) + (b_0 + b_1) x^2$. So both being non-negative is no loss (after appendix A of
    Teurtrie et al., Ultramicroscopy 249 (2023) 113719).

    Args:
        energy_keV: E; zero below 0.1 keV and above the beam energy.
        beam_keV: E_0.
    """
    energy = check_numbers(energy_keV, "energy_keV")
    if energy.ndim != 1 or not energy.size:
        raise ValueError(f"energy_keV of shape {energy.shape}: give one or more energies, (n,)")
    beam_keV = check_number(beam_keV, "beam_keV", above=0)
    inside = (energy > LOWEST_KEV) & (energy < beam_keV)
    safe = jnp.where(inside, energy, beam_keV / 2)
    x = (beam_keV - safe) / beam_keV
    return jnp.where(inside, jnp.stack([x * (1 - x), x * x]) / safe, 0.0)
