r"""Kinematical electron diffraction of thin sheets of simple structures.

A thin crystal with its first two lattice vectors across the beam gives spots at the reciprocal vectors g, with

$I(g) = |F(g)|^2 \, \mathrm{sinc}^2(t s_g), \quad F(g) = \sum_j f_j(|g| / 2) e^{-B_j |g|^2 / 4} e^{2 \pi i g \cdot r_j}$

where $\mathrm{sinc}(x) = \sin(\pi x) / \pi x$, t is the thickness and $s_g = -g_z - \lambda |g|^2 / 2$ the distance
of g from Ewald's sphere along the beam (De Graef, Introduction to Conventional Transmission Electron Microscopy,
2003, chapter 2). Each electron is scattered once, absorption is left out, and so is the relativistic factor of the
mass, the same for all atoms: intensities are relative.

Lengths are in nm, k and g in 1/nm without the factor of 2 pi, $s = \sin \theta / \lambda = |g| / 2$. x runs along
kx, y along ky, and the beam along z. All of it is differentiable, in the rotation, the lattice, the positions and
B, except for the choice of `reflections`.
"""

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Complex, Float, Int, Shaped

from .._util.tracing import is_known
from .._util.validation import check_choice, check_instance, check_number, check_numbers, check_several, float_array

# Elastic scattering factors of neutral atoms for s up to 20 1/nm, five Gaussians: a in angstrom, b in square angstrom.
# Peng, Ren, Dudarev and Whelan, Acta Cryst. A52 (1996) 257; International Tables C, table 4.3.2.2.
GAUSSIANS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "O": ((0.0974, 0.2921, 0.6910, 0.6990, 0.2039), (0.2067, 1.3815, 4.6943, 12.7105, 32.4726)),
    "Ti": ((0.3825, 1.2598, 2.0008, 3.0617, 2.0694), (0.3040, 2.4863, 9.2783, 39.0751, 109.4583)),
}


def _check_element(element: str) -> None:
    if not isinstance(element, str) or element not in GAUSSIANS:
        raise ValueError(f"no scattering factor for {element!r}; there are those of {', '.join(GAUSSIANS)}")


def _of_crystal(name: str) -> Callable[[Any], Any]:
    """Makes of an argument of a crystal what the formulas take: floats of this machine, or what is traced."""

    def converted(values: Any) -> Any:
        if isinstance(values, jax.Array) or not is_known(values):
            return check_numbers(values, name)
        array = float_array(values, name)
        check_numbers(array, name)
        return array

    return converted


def _check_cell(lattice: Any) -> None:
    """Refuse vectors that are not two or three, or that span no area or volume."""
    cell = jnp.shape(lattice)
    if cell not in ((2, 2), (3, 3)):
        raise ValueError(f"lattice has the shape {cell}: give two or three vectors in rows, (2, 2) or (3, 3)")
    if is_known(lattice) and np.linalg.matrix_rank(np.asarray(lattice, np.float64)) < cell[0]:
        raise ValueError("lattice: the vectors lie in a line or a plane, and have no reciprocal ones; give others")


def _checked_indices(crystal: "Crystal", indices: Any) -> Array:
    """Miller indices of a crystal, whole numbers, (spots, d)."""
    check_instance(crystal, Crystal, "crystal", "diffraction.TIO2_NANOSHEET")
    indices = check_numbers(indices, "indices")
    dimension = jnp.shape(crystal.lattice)[0]
    if indices.ndim != 2 or indices.shape[1] != dimension:
        raise ValueError(f"indices of shape {indices.shape}; {crystal.name} needs {dimension} of each reflection")
    if is_known(indices) and bool((indices != jnp.round(indices)).any()):
        raise ValueError("indices must be whole numbers; see `reflections`")
    return indices.astype(int)


def _single(value: Any, name: str, **limits: Any) -> Array:
    """A single number, or what is traced in place of it."""
    return jnp.asarray(check_number(value, name, **limits) if is_known(value) else value, float)


class Crystal(eqx.Module):
    """A crystal structure, of a sheet (2-D) or a film (3-D) with its first two lattice vectors across the beam.

    Attributes:
        name: such as "TiO2".
        elements: symbol of each atom, one of `GAUSSIANS`.
        lattice: (d, d), the lattice vectors in rows, d = 2 (x, y) or 3 (x, y, z); nm.
        positions: (atoms, d), fractions of the lattice vectors.
        debye_waller: (atoms,), B in nm^2 (0.01 square angstrom); 0 for atoms at rest.

    Raises:
        ValueError: an unknown element, or arrays that do not fit each other.
    """

    name: str = eqx.field(static=True)
    elements: tuple[str, ...] = eqx.field(static=True)
    lattice: Shaped[ArrayLike, "d d"] = eqx.field(converter=_of_crystal("lattice"))
    positions: Shaped[ArrayLike, "atoms d"] = eqx.field(converter=_of_crystal("positions"))
    debye_waller: Shaped[ArrayLike, " atoms"] = eqx.field(converter=_of_crystal("debye_waller"))

    def __check_init__(self) -> None:
        check_instance(self.name, str, "name", '"TiO2"')
        check_several(self.elements, "elements", '("Ti", "O", "O")')
        for element in self.elements:
            _check_element(element)
        atoms, cell = len(self.elements), jnp.shape(self.lattice)
        shapes = (cell, jnp.shape(self.positions), jnp.shape(self.debye_waller))
        _check_cell(self.lattice)
        check_numbers(self.debye_waller, "debye_waller", 0)
        if shapes[1:] != ((atoms, cell[0]), (atoms,)):
            raise ValueError(
                f"{self.name}: lattice, positions and debye_waller of shapes {shapes} for {atoms} atoms; "
                "give (d, d), (atoms, d) and (atoms,) with d = 2 or 3"
            )


class Spots(eqx.Module):
    """Spots of a pattern.

    Attributes:
        ky: (spots,), 1/nm.
        kx: (spots,), 1/nm.
        intensities: (spots,), relative.
    """

    ky: Float[Array, " spots"]
    kx: Float[Array, " spots"]
    intensities: Float[Array, " spots"]


def _nanosheet(name: str, atoms: tuple[tuple[str, float, float, float], ...]) -> Crystal:
    elements, x, y, b = zip(*atoms, strict=True)
    return Crystal(name, elements, np.diag([0.376, 0.297]), np.stack([x, y], axis=1), np.asarray(b))


TIO2_NANOSHEET = _nanosheet(
    "TiO2",
    (
        ("Ti", 0.0, 0.0, 0.005),
        ("Ti", 0.5, 0.5, 0.005),
        ("O", 0.5, 0.0, 0.007),
        ("O", 0.0, 0.5, 0.007),
        ("O", 0.0, 0.5, 0.007),
        ("O", 0.5, 0.0, 0.007),
    ),
)
"""Titania nanosheet of the lepidocrocite type, in projection.

From the literature: the rectangular cell, commonly given as 0.376 nm x 0.297 nm, and the topology, two layers of TiO6
octahedra that share edges, those of the sheets in lepidocrocite. All atoms lie on mirror planes of the sheet, so that
symmetry alone fixes the projected positions: the projection is centred, and reflections with h + k odd are absent.
Two of the four O are bridges in the layer of their Ti, two are terminal. Model: no Ti vacancies (the real sheet is
Ti0.87O2), and round values of B.
"""

TI2O3_NANOSHEET = _nanosheet(
    "Ti2O3",
    (
        ("Ti", 0.0, 0.0, 0.005),
        ("Ti", 0.42, 0.5, 0.005),
        ("O", 0.5, 0.0, 0.007),
        ("O", 0.0, 0.5, 0.007),
        ("O", 0.0, 0.5, 0.007),
    ),
)
"""Titania nanosheet reduced to Ti2O3, in projection: a model chosen for likeness, not a structure determination.

From the literature: under the electron beam the sheet turns into one of Ti2O3 whose octahedra share faces (Ohwada et
al., J. Phys. Chem. Lett. 2 (2011) 1820), in the same orientation, and shows the reflections that TiO2 forbids (Uesugi
et al., Ultramicroscopy 221 (2021) 113168). Model: the cell is that of `TIO2_NANOSHEET`, one O of four is missing, and
one Ti is moved by 0.03 nm towards its neighbour along x. Each of the two alone would lift the extinction.
"""


def wavelength(energy_keV: float | int) -> float:
    r"""Wavelength of electrons in nm: $\lambda = h / \sqrt{2 m e U (1 + e U / 2 m c^2)}$.

    >>> round(wavelength(200), 6)
    0.002508
    """
    energy_keV = check_number(energy_keV, "energy_keV", above=0)
    # h c in keV nm and m c^2 in keV.
    return float(1.23984198 / np.sqrt(energy_keV * (energy_keV + 2 * 510.99895)))


def scattering_factor(element: str, s: Shaped[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    r"""Electron scattering factor $f(s) = \sum_{i=1}^5 a_i e^{-b_i s^2}$ in nm.

    In the first Born approximation, for electrons at rest mass; Peng et al., Acta Cryst. A52 (1996) 257, eq. 3.

    Args:
        element: symbol, one of `GAUSSIANS`.
        s: $\sin \theta / \lambda = |g| / 2$ in 1/nm, up to 20.

    Raises:
        ValueError: an element that is not in the table.
    """
    _check_element(element)
    a, b = (np.asarray(row) for row in GAUSSIANS[element])
    squared = jnp.square(check_numbers(s, "s", 0))[..., None]
    return jnp.sum(0.1 * a * jnp.exp(-0.01 * b * squared), axis=-1)


def reciprocal(lattice: Shaped[ArrayLike, "d d"]) -> Float[Array, "d d"]:
    r"""Reciprocal vectors in rows, $a_i \cdot b_j = \delta_{ij}$, 1/nm."""
    lattice = check_numbers(lattice, "lattice")
    _check_cell(lattice)
    return jnp.linalg.inv(lattice).T


def reflections(crystal: Crystal, k_max: float | int) -> Int[np.ndarray, "spots d"]:
    """Miller indices of the reflections with 0 < |g| <= k_max, whether they are extinct or not.

    Args:
        crystal: its lattice must be concrete, not traced.
        k_max: 1/nm.

    Raises:
        ValueError: k_max is not a finite number above 0.
    """
    check_instance(crystal, Crystal, "crystal", "diffraction.TIO2_NANOSHEET")
    k_max = check_number(k_max, "k_max", above=0)
    lattice = np.asarray(crystal.lattice, np.float64)
    # h_i = g . a_i, so that |h_i| <= |g| |a_i|.
    limits = np.floor(k_max * np.linalg.norm(lattice, axis=1)).astype(int)
    indices = np.array(list(product(*(range(-n, n + 1) for n in limits))))
    size = np.linalg.norm(indices @ np.linalg.inv(lattice).T, axis=1)
    return indices[(size > 0) & (size <= k_max)]


def structure_factor(crystal: Crystal, indices: Int[ArrayLike, "spots d"]) -> Complex[Array, " spots"]:
    r"""$F(g) = \sum_j f_j(|g| / 2) e^{-B_j |g|^2 / 4} e^{2 \pi i (h x_j + k y_j + l z_j)}$ in nm.

    Args:
        crystal: the structure.
        indices: Miller indices.
    """
    indices = _checked_indices(crystal, indices)
    squared = jnp.sum(jnp.square(indices @ reciprocal(crystal.lattice)), axis=1)[:, None] / 4
    # One row for each element, which the atoms then share.
    kinds = sorted(set(crystal.elements))
    factors = jnp.stack([scattering_factor(kind, jnp.sqrt(squared[:, 0])) for kind in kinds], axis=1)
    factors = factors[:, np.array([kinds.index(element) for element in crystal.elements])]
    phase = 2 * jnp.pi * (indices @ jnp.asarray(crystal.positions, float).T)
    return jnp.sum(factors * jnp.exp(-squared * jnp.asarray(crystal.debye_waller)) * jnp.exp(1j * phase), axis=1)


def spots(
    crystal: Crystal,
    indices: Int[ArrayLike, "spots d"],
    rotation: Shaped[ArrayLike, ""] = 0.0,
    thickness_nm: Shaped[ArrayLike, ""] = 0.0,
    energy_keV: float | int = 200.0,
) -> Spots:
    r"""Places and intensities $|F|^2 \mathrm{sinc}^2(t s_g)$ of reflections, the beam along z.

    A sheet (2-D lattice) has its relrods all along the beam: $s_g = -\lambda |g|^2 / 2$. In a film (3-D lattice)
    reflections far from Ewald's sphere come out as faint as its thickness makes them.

    Args:
        crystal: the structure.
        indices: Miller indices, see `reflections`.
        rotation: of the crystal about the beam, in degrees from kx towards ky.
        thickness_nm: t; 0, of a sheet, for no shape factor.
        energy_keV: of the electrons.

    Raises:
        ValueError: a film without thickness, or indices of another dimension than the lattice.

    Example:
        >>> first = spots(TIO2_NANOSHEET, np.array([[2, 0], [1, 0]]), rotation=90.0)
        >>> [round(float(k), 2) for k in first.ky], bool(first.intensities[1] < 1e-9 * first.intensities[0])
        ([5.32, 2.66], True)
    """
    indices = _checked_indices(crystal, indices)
    turn, thickness = _single(rotation, "rotation"), _single(thickness_nm, "thickness_nm", least=0)
    if indices.shape[1] == 3 and is_known(thickness) and float(thickness) == 0:
        raise ValueError(f"thickness_nm=0: {crystal.name} is a film (3-D lattice), give its thickness")
    return _spots(crystal, indices, turn, thickness, jnp.asarray(wavelength(energy_keV)))


@eqx.filter_jit
def _spots(crystal: Crystal, indices: Array, rotation: Array, thickness: Array, wave: Array) -> Spots:
    g = indices @ reciprocal(crystal.lattice)
    error = -wave * jnp.sum(jnp.square(g), axis=1) / 2
    if g.shape[1] == 3:
        error -= g[:, 2]
    # Not the square of |F|, which has no derivative where a reflection is extinct.
    amplitude = structure_factor(crystal, indices)
    intensities = (jnp.square(amplitude.real) + jnp.square(amplitude.imag)) * jnp.square(jnp.sinc(thickness * error))
    cos, sin = jnp.cos(jnp.deg2rad(rotation)), jnp.sin(jnp.deg2rad(rotation))
    return Spots(ky=sin * g[:, 0] + cos * g[:, 1], kx=cos * g[:, 0] - sin * g[:, 1], intensities=intensities)


def paint(
    spots: Spots,
    ky: Shaped[ArrayLike, " ky"],
    kx: Shaped[ArrayLike, " kx"],
    width: Shaped[ArrayLike, ""],
    profile: Literal["gaussian", "disk"] = "gaussian",
) -> Float[Array, "ky kx"]:
    r"""A pattern on a detector, as intensity per (1/nm)^2: the integral over a spot is its intensity.

    $\sum_g I(g) \, p(|k - g|)$ with $p(r) = e^{-r^2 / 2 w^2} / 2 \pi w^2$ or, for the disks of a convergent beam,
    $p(r) = 1 / \pi w^2$ inside r = w, with an edge as wide as a detector pixel.

    Args:
        spots: see `spots`.
        ky: places of the rows, 1/nm.
        kx: places of the columns, 1/nm.
        width: w, the standard deviation of the Gaussian or the radius of the disk, 1/nm.
        profile: "gaussian" or "disk".

    Raises:
        ValueError: another profile, or disks on one column, which has no width.
    """
    check_instance(spots, Spots, "spots", "diffraction.spots(crystal, indices)")
    check_choice(profile, ("gaussian", "disk"), "profile")
    ky, kx = check_numbers(ky, "ky"), check_numbers(kx, "kx")
    if not (ky.ndim == kx.ndim == 1 and ky.size and kx.size):
        raise ValueError(f"ky and kx of shapes {ky.shape} and {kx.shape}: give places of rows and columns")
    if profile == "disk" and len(kx) < 2:
        raise ValueError("kx has 1 entry: disks need 2 or more, the edge is as wide as a detector pixel")
    return _paint(spots, ky, kx, _single(width, "width", above=0), profile)


@eqx.filter_jit
def _paint(spots: Spots, ky: Array, kx: Array, width: Array, profile: str) -> Array:
    y, x = ky[None] - spots.ky[:, None], kx[None] - spots.kx[:, None]
    if profile == "gaussian":
        columns = jnp.exp(-jnp.square(x / width) / 2) * spots.intensities[:, None]
        return jnp.exp(-jnp.square(y / width) / 2).T @ columns / (2 * jnp.pi * width**2)
    # The root has no derivative at 0, where the disk is flat anyway.
    distance = jnp.sqrt(jnp.maximum(jnp.square(y)[:, :, None] + jnp.square(x)[:, None, :], 1e-12))
    inside = jnp.clip(0.5 + (width - distance) / jnp.mean(jnp.abs(jnp.diff(kx))), 0.0, 1.0)
    return jnp.einsum("syx,s->yx", inside, spots.intensities) / (jnp.pi * width**2)
