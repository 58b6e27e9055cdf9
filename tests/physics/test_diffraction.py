import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxunmix.physics import diffraction
from jaxunmix.physics.diffraction import TI2O3_NANOSHEET, TIO2_NANOSHEET, Crystal

SHEETS = [TIO2_NANOSHEET, TI2O3_NANOSHEET]
# Four Gaussians and the X-ray scattering factors of the same atoms: a, b and c of
# Doyle and Turner, Acta Cryst. A24 (1968) 390, and of International Tables C, table 6.1.1.4.
DOYLE_TURNER = {
    "O": ([0.455, 0.917, 0.472, 0.138], [23.780, 7.622, 2.144, 0.296]),
    "Ti": ([3.565, 2.818, 1.893, 0.483], [81.982, 19.049, 3.590, 0.386]),
}
X_RAY = {
    "O": ([3.0485, 2.2868, 1.5463, 0.8670], [13.2771, 5.7011, 0.3239, 32.9089], 0.2508, 8),
    "Ti": ([9.7595, 7.3558, 1.6991, 1.9021], [7.8508, 0.5000, 35.6338, 116.105], 1.2807, 22),
}


def rock_salt(spacing=0.42):
    corners = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    positions = np.concatenate([corners, corners + np.array([0.5, 0, 0])])
    return Crystal("TiO", ("Ti",) * 4 + ("O",) * 4, spacing * np.eye(3), positions, np.zeros(8))


def gaussians(a, b, s):
    return np.sum(np.asarray(a) * np.exp(-np.asarray(b) * np.square(s)[:, None]), axis=1)


def intensity(crystal, index, **keywords):
    return float(diffraction.spots(crystal, np.array([index]), **keywords).intensities[0])


@pytest.mark.parametrize(
    ("element", "angstrom"),
    # International Tables C, table 4.3.1.1: s = 0, 0.05 and 0.1 1/angstrom; s = 0.
    [("O", [1.983, 1.937, 1.808]), ("Ti", [8.776])],
)
def test_scattering_factors_are_those_of_the_tables(element, angstrom):
    s = 0.5 * np.arange(len(angstrom))
    assert np.allclose(10 * diffraction.scattering_factor(element, s), angstrom, atol=3e-3)


@pytest.mark.parametrize("element", ["O", "Ti"])
def test_scattering_factors_agree_with_another_parametrisation(element):
    s = np.linspace(0, 1, 21)
    found = 10 * diffraction.scattering_factor(element, 10 * s)
    assert np.allclose(found, gaussians(*DOYLE_TURNER[element], s), atol=0.02 * found[0])


@pytest.mark.parametrize("element", ["O", "Ti"])
def test_mott_bethe_formula_from_x_ray_scattering_factors(element):
    a, b, c, charge = X_RAY[element]
    s = np.linspace(0.2, 1, 17)
    expected = 0.0239337 * (charge - gaussians(a, b, s) - c) / s**2
    assert np.allclose(10 * diffraction.scattering_factor(element, 10 * s), expected, rtol=0.02)


@pytest.mark.parametrize(("energy", "picometres"), [(80, 4.1757), (200, 2.5079), (300, 1.9687)])
def test_wavelength_of_relativistic_electrons(energy, picometres):
    assert np.isclose(1000 * diffraction.wavelength(energy), picometres, rtol=1e-4)


def test_reciprocal_lattice_of_an_oblique_cell():
    lattice = np.array([[0.3, 0.0], [-0.15, 0.26]])
    assert np.allclose(lattice @ diffraction.reciprocal(lattice).T, np.eye(2), atol=1e-6)


def test_reflections_are_all_within_the_circle():
    found = {tuple(row) for row in diffraction.reflections(TIO2_NANOSHEET, 9.0)}
    a, b = np.diag(TIO2_NANOSHEET.lattice)
    sizes = {(h, k): np.hypot(h / a, k / b) for h in range(-9, 10) for k in range(-9, 10)}
    assert found == {index for index, size in sizes.items() if 0 < size <= 9.0}


@pytest.mark.parametrize("rotation", [0.0, 33.0])
def test_extinction_h_plus_k_odd_of_the_centred_sheet(rotation):
    indices = diffraction.reflections(TIO2_NANOSHEET, 12.0)
    odd = indices.sum(axis=1) % 2 == 1
    pristine, reduced = (np.asarray(diffraction.spots(c, indices, rotation).intensities) for c in SHEETS)
    assert odd.sum() > 10
    assert pristine[odd].max() < 1e-10 * pristine.max()
    assert pristine[~odd].min() > 1e-5 * pristine.max()
    assert reduced[odd].min() > 1e-4 * reduced.max()
    assert intensity(TI2O3_NANOSHEET, [1, 0]) > 0.1 * intensity(TI2O3_NANOSHEET, [2, 0])


@pytest.mark.parametrize(
    "change",
    [
        {"elements": TIO2_NANOSHEET.elements[:5]},  # an O missing
        {"move": 0.08},  # a Ti moved
    ],
)
def test_each_change_of_the_reduced_sheet_lifts_the_extinction(change):
    atoms = len(change.get("elements", TIO2_NANOSHEET.elements))
    positions = TIO2_NANOSHEET.positions[:atoms].copy()
    positions[1, 0] -= change.get("move", 0.0)
    sheet = Crystal(
        "changed",
        TIO2_NANOSHEET.elements[:atoms],
        TIO2_NANOSHEET.lattice,
        positions,
        TIO2_NANOSHEET.debye_waller[:atoms],
    )
    assert intensity(sheet, [1, 0]) > 0.01 * intensity(sheet, [2, 0])


def test_extinction_of_a_face_centred_lattice():
    indices = diffraction.reflections(rock_salt(), 8.0)
    found = np.abs(diffraction.structure_factor(rock_salt(), indices))
    parity = indices % 2
    mixed = (parity != parity[:, :1]).any(axis=1)
    assert found[mixed].max() < 1e-5 * found.max()
    # All even: Ti + O; all odd: Ti - O.
    size = np.linalg.norm(indices, axis=1) / 0.42
    titanium, oxygen = (np.asarray(diffraction.scattering_factor(e, size / 2)) for e in ("Ti", "O"))
    even = ~mixed & (parity[:, 0] == 0)
    odd = ~mixed & (parity[:, 0] == 1)
    assert np.allclose(found[even], 4 * (titanium + oxygen)[even], rtol=1e-4)
    assert np.allclose(found[odd], 4 * (titanium - oxygen)[odd], rtol=1e-4)


@pytest.mark.parametrize("crystal", SHEETS)
def test_friedels_law(crystal):
    indices = diffraction.reflections(crystal, 10.0)
    there, back = (diffraction.structure_factor(crystal, sign * indices) for sign in (1, -1))
    assert np.allclose(there, np.conj(back), atol=1e-5 * np.abs(there).max())
    there, back = (diffraction.spots(crystal, sign * indices, 20.0) for sign in (1, -1))
    assert np.allclose(there.intensities, back.intensities, rtol=1e-4, atol=1e-8)
    assert np.allclose([there.ky, there.kx], [-back.ky, -back.kx], atol=1e-5)


def test_rotation_moves_the_spots_by_its_angle_and_keeps_their_intensities():
    indices = diffraction.reflections(TI2O3_NANOSHEET, 10.0)
    before, after = (diffraction.spots(TI2O3_NANOSHEET, indices, angle) for angle in (10.0, 47.0))
    assert np.array_equal(before.intensities, after.intensities)
    turned = (np.asarray(before.kx) + 1j * np.asarray(before.ky)) * np.exp(1j * np.deg2rad(37.0))
    assert np.allclose(np.asarray(after.kx) + 1j * np.asarray(after.ky), turned, atol=1e-5)


def test_debye_waller_factor_and_its_limit():
    indices = diffraction.reflections(TIO2_NANOSHEET, 10.0)
    size = np.linalg.norm(indices / np.diag(TIO2_NANOSHEET.lattice), axis=1)

    def intensities(b):
        crystal = eqx.tree_at(lambda c: c.debye_waller, TIO2_NANOSHEET, np.full(6, b))
        return np.asarray(diffraction.spots(crystal, indices).intensities)

    # The same B for all atoms: the square of exp(-B s^2) on every intensity.
    assert np.allclose(intensities(0.02), intensities(0.0) * np.exp(-0.01 * size**2), rtol=1e-4, atol=1e-8)
    assert np.allclose(intensities(1e-7), intensities(0.0), rtol=1e-4, atol=1e-8)
    assert intensities(10.0).max() < 1e-10


def test_shape_factor_of_a_sheet_and_of_a_film():
    wave = diffraction.wavelength(200)
    ratio = intensity(TIO2_NANOSHEET, [2, 0], thickness_nm=5.0) / intensity(TIO2_NANOSHEET, [2, 0])
    assert np.isclose(ratio, np.sinc(5.0 * wave * (2 / 0.376) ** 2 / 2) ** 2, rtol=1e-4)
    # 200 lies on Ewald's sphere but for its curvature, 202 is far from it and at the first zero of t = 0.21 nm.
    zero, far = (intensity(rock_salt(), [2, 0, layer], thickness_nm=0.21) for layer in (0, 2))
    assert zero > 1000 * far
    error = 2 / 0.42 + wave * 2 * (2 / 0.42) ** 2 / 2
    found = intensity(rock_salt(), [2, 0, 2], thickness_nm=0.1)
    strength = np.abs(diffraction.structure_factor(rock_salt(), np.array([[2, 0, 2]])))[0] ** 2
    assert np.isclose(found, strength * np.sinc(0.1 * error) ** 2, rtol=1e-3)


@pytest.mark.parametrize(("profile", "width"), [("gaussian", 0.4), ("disk", 1.0)])
def test_painted_intensity_is_that_of_the_spots(profile, width):
    indices = diffraction.reflections(TI2O3_NANOSHEET, 8.0)
    found = diffraction.spots(TI2O3_NANOSHEET, indices, 25.0)
    ky, kx = np.linspace(-12, 12, 161), np.linspace(-11, 11, 140)
    image = np.asarray(diffraction.paint(found, ky, kx, width, profile))
    cell = (ky[1] - ky[0]) * (kx[1] - kx[0])
    assert image.shape == (161, 140)
    assert np.isclose(image.sum() * cell, found.intensities.sum(), rtol=2e-2 if profile == "disk" else 1e-3)
    assert np.allclose(image.sum(axis=0) @ kx, 0, atol=1e-2 * image.sum())


def one_spot():
    return diffraction.Spots(ky=jnp.array([2.0]), kx=jnp.array([-1.0]), intensities=jnp.array([3.0]))


@pytest.mark.parametrize(("profile", "width"), [("gaussian", 0.3), ("disk", 0.8)])
def test_painted_spots_are_at_their_places(profile, width):
    ky, kx = np.linspace(-4, 4, 81), np.linspace(-4, 4, 81)
    image = np.asarray(diffraction.paint(one_spot(), ky, kx, width, profile))
    assert np.isclose(image.sum(axis=1) @ ky / image.sum(), 2.0, atol=1e-3)
    assert np.isclose(image.sum(axis=0) @ kx / image.sum(), -1.0, atol=1e-3)
    height = 3.0 / (np.pi * width**2) / (2 if profile == "gaussian" else 1)
    assert np.isclose(image[60, 30], height, rtol=1e-4)


@pytest.mark.parametrize(("profile", "width"), [("gaussian", 0.4), ("disk", 0.8)])
def test_gradient_in_rotation_lattice_and_debye_waller(profile, width):
    with jax.enable_x64():
        indices = diffraction.reflections(TI2O3_NANOSHEET, 7.0)
        axis = np.linspace(-8, 8, 24)
        weights = np.cos(np.arange(24 * 24)).reshape(24, 24)

        @jax.jit
        def value(parameters):
            crystal = eqx.tree_at(
                lambda c: (c.lattice, c.debye_waller),
                TI2O3_NANOSHEET,
                (jnp.diag(parameters[1:3]), jnp.full(5, parameters[3])),
            )
            found = diffraction.spots(crystal, indices, parameters[0], thickness_nm=2.0)
            return jnp.sum(weights * diffraction.paint(found, axis, axis, width, profile))

        point = jnp.array([12.0, 0.376, 0.297, 0.006])
        gradient = jax.grad(value)(point)
        for i, step in enumerate([1e-4, 1e-7, 1e-7, 1e-6]):
            shift = step * jnp.eye(4)[i]
            difference = (value(point + shift) - value(point - shift)) / (2 * step)
            assert abs(difference) > 1e-8
            assert np.isclose(gradient[i], difference, rtol=1e-5)


def test_gradient_is_finite_where_reflections_are_extinct_and_pixels_are_hit():
    axis = np.linspace(-8, 8, 33)

    def value(rotation):
        found = diffraction.spots(TIO2_NANOSHEET, np.array([[1, 0], [2, 0]]), rotation)
        centred = diffraction.Spots(jnp.round(found.ky), jnp.round(found.kx), found.intensities)
        return sum(diffraction.paint(s, axis, axis, 1.0, "disk").max() for s in (found, centred))

    assert np.isfinite(jax.grad(value)(0.0))

    def of_b(b):  # B so large that F is exactly 0
        crystal = eqx.tree_at(lambda c: c.debye_waller, TIO2_NANOSHEET, b)
        return diffraction.spots(crystal, np.array([[2, 0]])).intensities.sum()

    assert of_b(jnp.full(6, 1e3)) == 0
    assert np.isfinite(jax.grad(of_b)(jnp.full(6, 1e3))).all()


def test_spots_are_compiled_once_for_all_rotations():
    indices = diffraction.reflections(TIO2_NANOSHEET, 8.0)
    compiled = eqx.filter_jit(diffraction.spots)
    found = [compiled(TIO2_NANOSHEET, indices, jnp.asarray(angle)) for angle in (0.0, 30.0)]
    assert np.allclose(found[1].kx, diffraction.spots(TIO2_NANOSHEET, indices, 30.0).kx, atol=1e-5)


def crystal_of(elements=("Ti",), dimension=2):
    return Crystal("bad", elements, np.eye(dimension), np.zeros((1, dimension)), np.zeros(1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: crystal_of(elements=("Xx",)), "no scattering factor for 'Xx'"),
        (lambda: crystal_of(elements=("Ti", "O")), "for 2 atoms"),
        (lambda: crystal_of(dimension=4), "two or three vectors"),
        (lambda: diffraction.scattering_factor("Xx", 0.0), "there are those of O, Ti"),
        (lambda: diffraction.reflections(TIO2_NANOSHEET, 0.0), "k_max must be above 0"),
        (lambda: diffraction.spots(TIO2_NANOSHEET, np.array([[1, 0, 0]])), "needs 2"),
        (lambda: diffraction.spots(rock_salt(), np.array([[2, 0, 0]])), "give its thickness"),
        (lambda: diffraction.wavelength(-1.0), "energy_keV"),
        (lambda: diffraction.paint(one_spot(), np.arange(3.0), np.zeros(1), 1.0, "disk"), "kx has 1 entry"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
