import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import nnls

import jaxunmix as jxu
from jaxunmix.physics import xray
from jaxunmix.physics.atoms import atomic_mass, mass_attenuation
from jaxunmix.physics.emission import production
from jaxunmix.physics.xray import Basis, EmissionModel, emission_basis

AXIS = 0.2 + 0.01 * np.arange(800)
SCANDATE = ("O", "Sc", "Dy")
FOIL = {"take_off_deg": 18.0, "thickness_nm": 150.0, "density": 6.9}
TRUTH = np.array([0.6, 0.2, 0.2])


def areas(basis):
    return np.asarray(basis).sum(axis=-1)


def changed(model, **values):
    names = list(values)
    return eqx.tree_at(lambda m: [getattr(m, n) for n in names], model, [jnp.asarray(values[n]) for n in names])


def test_basis_names_its_rows():
    whole = emission_basis(["O", "Fe"], AXIS, free=["Cu"])
    assert whole.names[:4] == ("O", "Fe", "Cu K (free)", "Cu L (free)")
    basis = emission_basis(["O", "Fe"], AXIS, free=["Cu"], split="family")
    assert basis.names[:5] == ("O K", "Fe K", "Fe L", "Cu K (free)", "Cu L (free)")
    assert basis.names[5:] == ("bremsstrahlung 1", "bremsstrahlung 2")
    assert basis.element_columns == (0, 1, 2)
    assert basis.free_columns == (3, 4)
    assert basis.bremsstrahlung_columns == (5, 6)
    assert basis.columns_of("Fe") == (1, 2)
    assert basis.elements == ("O", "Fe")
    assert np.allclose(basis.masses, [15.999, 55.845], rtol=1e-4)
    assert basis.shape == np.asarray(basis).shape == (7, 800)
    with pytest.raises(ValueError, match="no 'Mg'; it has O, Fe, Cu"):
        basis.columns_of("Mg")


def test_basis_is_a_basis_of_a_problem():
    basis = emission_basis(["O", "Mg"], AXIS, composition=np.array([0.5, 0.5]))
    problem = jxu.Problem(np.asarray(basis)[:2] + 1e-3, basis=basis)
    assert problem.features == 4
    assert jxu.physics.xray.emission_basis is emission_basis


def test_rows_are_spectra_per_atom_in_one_unit():
    axis = 0.2 + 0.01 * np.arange(1900)
    model = EmissionModel(["O", "Si", "Fe"], axis, free=["Cu"])
    found = areas(model.basis())
    # Their mean is 1; without a window and above 1 keV they go like the production cross-sections.
    assert np.isclose(found[:3].mean(), 1, rtol=1e-4)
    assert np.allclose(found[3:], 1, rtol=1e-4)
    barn = {
        e: sum(line.barn for line in production(e, 200.0, xray.bethe) if line.energy_keV > 0.2) for e in ("Si", "Fe")
    }
    assert np.isclose(found[2] / found[1], barn["Fe"] / barn["Si"], rtol=0.1)


def test_families_add_up_to_the_element():
    whole = np.asarray(emission_basis(["Fe", "O"], AXIS))
    parts = np.asarray(emission_basis(["Fe", "O"], AXIS, split="family"))
    assert np.allclose(parts[:2].sum(axis=0), whole[0], atol=1e-6)
    assert np.allclose(parts[2:], whole[1:], atol=1e-6)


def test_areas_do_not_depend_on_the_channels():
    fine = 0.2 - 0.0025 + 0.005 * np.arange(1600)
    options = {"free": ["Cu"], "composition": np.array([0.5, 0.5]), **FOIL}
    coarse, halved = (np.asarray(emission_basis(["O", "Si"], axis, **options)) for axis in (AXIS, fine))
    merged = halved.reshape(6, 800, 2).sum(axis=2)
    assert np.allclose(merged[:4], coarse[:4], atol=2e-5)
    # Bremsstrahlung steps at the edges of the sample, wherever these lie within a channel.
    assert np.allclose(merged[4:].sum(axis=1), coarse[4:].sum(axis=1), rtol=1e-2)
    assert np.median(np.abs(merged[4:] / coarse[4:] - 1)) < 1e-3


def test_lines_are_gaussians_integrated_over_channels():
    model = EmissionModel(["Mn"], 5.0 + 0.02 * np.arange(100), bremsstrahlung=False, minimum_weight=0.6)
    (values,) = np.asarray(model.basis())
    axis, energy = np.asarray(model.energy_keV), float(model.lines.detected_keV[0])
    sd = float(model.detector.sigma_keV(energy))
    fine = np.linspace(axis - 0.01, axis + 0.01, 201)
    expected = np.exp(-0.5 * ((fine - energy) / sd) ** 2).mean(axis=0) * 0.02 / (sd * np.sqrt(2 * np.pi))
    assert len(model.lines.columns) == 1
    assert np.allclose(values, expected, atol=1e-5)
    assert np.isclose(np.sqrt(8 * np.log(2)) * sd, 0.129, rtol=1e-3)


def test_slab_and_its_limits():
    chi = np.array([0.0, 1e-6, 0.01, 1.0, 50.0, 1e4])
    found = np.asarray(xray.slab(chi))
    assert found[0] == 1
    assert np.isclose(found[1], 1)
    assert np.allclose(found[2:4], [1 - 0.01 / 2 + 0.0001 / 6, 1 - np.exp(-1)], rtol=1e-5)
    assert np.allclose(found[4:], 1 / chi[4:], rtol=1e-5)
    gradient = jax.vmap(jax.grad(xray.slab))(jnp.array([0.0, 5e-4, 2e-3]))
    assert np.allclose(gradient, -0.5 + np.array([0.0, 5e-4, 2e-3]) / 3, atol=1e-3)


def test_absorption_of_thin_and_thick_foils():
    model = EmissionModel(["O", "Mg"], AXIS, bremsstrahlung=False, take_off_deg=30.0, density=3.6)
    free = areas(model.basis())
    equal = np.array([0.5, 0.5])
    assert np.allclose(areas(changed(model, thickness_nm=1e-3).basis(equal)), free, rtol=1e-5)
    thick = areas(changed(model, thickness_nm=1e7).basis(equal))
    weights = np.array([15.999, 24.305]) / 40.304
    mu = weights @ mass_attenuation(("O", "Mg"), np.array([0.5249]))[:, 0]
    assert np.isclose(thick[0] / free[0], np.sin(np.deg2rad(30)) / (mu * 3.6 * 1e7 * 1e-7), rtol=1e-3)


def test_oxygen_in_dysprosium_scandate_is_absorbed_by_the_matrix():
    mu = mass_attenuation(SCANDATE, np.array([0.5249]))[:, 0]
    masses = np.array([atomic_mass(element) for element in SCANDATE])
    weights = TRUTH * masses / (TRUTH @ masses)
    assert 6 < (weights @ mu) / mu[0] < 8
    assert weights[0] * mu[0] < 0.04 * (weights @ mu)
    model = EmissionModel(SCANDATE, AXIS, bremsstrahlung=False, **FOIL)
    matrix, itself = (areas(model.basis(c))[0] / areas(model.basis())[0] for c in (TRUTH, np.array([1.0, 0, 0])))
    chi = (weights @ mu) * 6.9 * 150e-7 / np.sin(np.deg2rad(18))
    assert np.isclose(matrix, (1 - np.exp(-chi)) / chi, rtol=1e-3)
    assert matrix < 0.4 < 0.8 < itself


def foil_spectrum(model, layers=2000):
    """Counts of a DyScO3 foil, summed over its layers without the code under test; lines from the lists of emission."""
    masses = np.array([atomic_mass(element) for element in SCANDATE])
    weights = TRUTH * masses / (TRUTH @ masses)
    depth = (np.arange(layers) + 0.5) * FOIL["thickness_nm"] / layers
    way = 1e-7 * FOIL["density"] * depth / np.sin(np.deg2rad(FOIL["take_off_deg"]))
    counts = np.zeros(len(AXIS))
    for element, fraction in zip(SCANDATE, TRUTH, strict=True):
        for line in production(element, 200.0, xray.bethe):
            if not 0.2 <= line.energy_keV <= AXIS[-1]:
                continue
            at = np.array([line.energy_keV])
            leaving = np.exp(-(weights @ mass_attenuation(SCANDATE, at)[:, 0]) * way).mean()
            silicon = mass_attenuation(("Si",), at)[0, 0] * 2.33e-7
            seen = np.exp(-30 * silicon) * (1 - np.exp(-450e3 * silicon))
            sd = np.sqrt((0.129**2 + 5.545 * 0.115 * 3.66e-3 * (line.energy_keV - 5.895)) / 5.545)
            peak = np.exp(-0.5 * ((AXIS - line.energy_keV) / sd) ** 2)
            counts += fraction * line.barn * leaving * seen * peak / peak.sum()
    background = np.asarray(model.basis(TRUTH))[3:]
    return 1e6 * counts / counts.sum() + 2e5 * background.sum(axis=0)


def fitted_composition(spectrum, basis_of):
    composition = np.full(3, 1 / 3)
    for _ in range(20):
        coefficients, _ = nnls(np.asarray(basis_of(composition), np.float64).T, spectrum)
        previous, composition = composition, coefficients[:3] / coefficients[:3].sum()
    assert np.allclose(composition, previous, atol=1e-4)
    return 100 * composition


def test_composition_of_a_foil_comes_back_only_with_the_absorption_by_the_matrix():
    model = EmissionModel(SCANDATE, AXIS, **FOIL)
    noise = np.random.default_rng(0)
    spectrum = noise.poisson(foil_spectrum(model)).astype(float)
    pure = np.asarray(model.basis(TRUTH)).copy()
    for row in range(3):
        pure[row] = np.asarray(model.basis(np.eye(3)[row]))[row]
    by_matrix = fitted_composition(spectrum, model.basis)
    by_itself = fitted_composition(spectrum, lambda composition: pure)
    assert np.allclose(by_matrix, [60, 20, 20], atol=2)
    assert by_itself[0] < 45


def test_phases_absorb_by_themselves():
    compositions = np.array([[0.5, 0.5], [0.1, 0.9]])
    model = EmissionModel(["O", "Fe"], AXIS, thickness_nm=np.array([100.0, 300.0]), density=np.array([5.0, 7.0]))
    both = np.asarray(model.basis(compositions))
    assert both.shape == (2, 4, 800)
    for i, (thickness, density) in enumerate([(100.0, 5.0), (300.0, 7.0)]):
        one = EmissionModel(["O", "Fe"], AXIS, thickness_nm=thickness, density=density)
        assert np.allclose(both[i], np.asarray(one.basis(compositions[i])), atol=1e-7)
    # Fractions need not sum to one, and rows of the holder are never absorbed by the sample.
    assert np.allclose(both, np.asarray(model.basis(3 * compositions)), atol=1e-7)
    held = EmissionModel(["O", "Fe"], AXIS, free=["Cu"])
    assert np.allclose(np.asarray(held.basis(compositions))[:, 2:4], np.asarray(held.basis())[2:4], atol=1e-8)


def test_bremsstrahlung_is_lifshins_with_non_negative_coefficients():
    energy, beam = np.linspace(0.11, 199.9, 3000), 200.0
    rows = np.asarray(xray.bremsstrahlung(energy, beam))
    x = (beam - energy) / beam
    lifshin = np.stack([x, x**2]) / energy
    assert (rows >= 0).all()
    for b0, b1 in ((1.0, 0.0), (2.0, -1.5), (0.3, 4.0), (1.0, -1.0)):
        parts = np.array([b0, b0 + b1])
        assert (parts >= 0).all()
        assert np.allclose(parts @ rows, np.array([b0, b1]) @ lifshin, rtol=1e-3, atol=1e-6)
    # Where one of the two is negative, so is the model: just below the beam energy, or at low energies.
    for b0, b1 in ((-0.1, 1.0), (1.0, -1.1)):
        assert (np.array([b0, b1]) @ lifshin).min() < 0
    assert np.asarray(xray.bremsstrahlung(np.array([-1.0, 0.0, 0.05, 201.0]), beam)).sum() == 0


def test_bremsstrahlung_is_absorbed_and_detected_at_each_energy():
    model = EmissionModel(["O", "Fe"], AXIS, take_off_deg=20.0, detector=xray.thin_window())
    plain, absorbed = (np.asarray(model.basis(c))[2:] for c in (None, np.array([0.5, 0.5])))
    ratio = absorbed / plain
    assert np.allclose(ratio[0], ratio[1], rtol=1e-5)
    at = np.searchsorted(AXIS, [0.5, 0.6, 6.5, 7.5])
    mu = np.array([15.999, 55.845]) / 71.844 @ mass_attenuation(("O", "Fe"), AXIS[at])
    chi = mu * 5.0 * 100e-7 / np.sin(np.deg2rad(20))
    assert np.allclose(ratio[0, at], (1 - np.exp(-chi)) / chi, rtol=2e-3)
    emitted = np.asarray(xray.bremsstrahlung(AXIS, 200.0))
    seen = plain / emitted
    efficiency = np.asarray(model.detector.efficiency(model.detector.attenuation(AXIS[at])))
    assert np.allclose(seen[0, at] / seen[0, at[-1]], efficiency / efficiency[-1], rtol=2e-3)


def test_escape_peaks_take_their_counts_from_the_line():
    options = {"bremsstrahlung": False, "minimum_weight": 0.0}
    plain, escaping = (EmissionModel(["O", "Fe"], AXIS, escape=e, **options).basis() for e in (False, True))
    assert np.allclose(areas(plain), areas(escaping), rtol=1e-3)
    window = (AXIS > 4.4) & (AXIS < 4.9)
    iron = np.asarray(plain)[1][AXIS > 6].sum()
    assert np.asarray(plain)[1][window].sum() < 1e-6
    assert 0.002 < np.asarray(escaping)[1][window].sum() / iron < 0.006


@pytest.mark.parametrize("composition", [TRUTH, np.stack([TRUTH, TRUTH[::-1]])])
def test_gradients_of_expected_counts_against_differences(composition):
    with jax.enable_x64():
        model = EmissionModel(SCANDATE, AXIS[::2], escape=True, detector=xray.thin_window(), **FOIL)
        weights = np.cos(np.arange(400) / 7)

        @jax.jit
        def change(values):
            thickness, density, offset, gain, fwhm, fano, oxygen = values
            moved = changed(model, thickness_nm=thickness, density=density, offset_keV=offset, gain=gain)
            moved = eqx.tree_at(lambda m: (m.detector.fwhm_keV, m.detector.fano), moved, (fwhm, fano))
            return moved.basis(jnp.asarray(composition).at[..., 0].set(oxygen)).values @ weights

        point = jnp.array([150.0, 6.9, 0.003, 1.001, 0.13, 0.115, 0.6])
        gradient = jax.jacfwd(change)(point)
        backward = jax.grad(lambda values: jnp.sum(change(values)))(point)
        assert np.allclose(gradient.sum(axis=range(gradient.ndim - 1)), backward, rtol=1e-9)
        for i, step in enumerate([1e-3, 1e-4, 1e-6, 1e-7, 1e-6, 1e-6, 1e-5]):
            shift = step * jnp.eye(7)[i]
            difference = (change(point + shift) - change(point - shift)) / (2 * step)
            assert np.abs(difference).max() > 1e-6
            assert np.allclose(gradient[..., i], difference, rtol=1e-5, atol=1e-7 * np.abs(difference).max())


def test_a_model_is_differentiated_in_all_its_leaves():
    model = EmissionModel(["O", "Mg"], AXIS, escape=True)
    gradient = jax.grad(lambda m: jnp.sum(jnp.square(m.basis(np.array([0.5, 0.5])).values)))(model)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    for part in (gradient.thickness_nm, gradient.offset_keV, gradient.sensitivity[0], gradient.detector.fwhm_keV):
        assert part != 0


def test_a_model_can_be_made_under_a_transformation():
    def oxygen(thickness):
        basis = emission_basis(["O", "Mg"], AXIS[:200], thickness_nm=thickness, composition=np.array([0.5, 0.5]))
        return basis.values[0].sum()

    value, gradient = jax.value_and_grad(oxygen)(100.0)
    assert gradient < 0
    assert np.isclose((oxygen(110.0) - oxygen(90.0)) / 20, gradient, rtol=1e-2)
    assert np.isclose(jax.jit(oxygen)(100.0), value, rtol=1e-6)


def test_offset_and_broadening_of_a_shifted_spectrum_are_recovered():
    with jax.enable_x64():
        model = EmissionModel(["O", "Mg", "Si", "Fe"], AXIS)
        composition = np.array([0.6, 0.15, 0.2, 0.05])
        scale = np.append(composition, [0.3, 0.3])

        def spectrum(values):
            moved = changed(model, offset_keV=values[0], gain=values[1])
            moved = eqx.tree_at(lambda m: m.detector.fwhm_keV, moved, values[2])
            return 1e5 * scale @ moved.basis(composition).values

        true = jnp.array([0.012, 1.002, 0.142])
        counts = np.random.default_rng(1).poisson(spectrum(true))
        jacobian = jax.jit(jax.jacfwd(spectrum))
        values = jnp.array([0.0, 1.0, 0.129])
        for _ in range(8):
            weight = 1 / jnp.sqrt(jnp.maximum(spectrum(values), 1.0))
            step, *_ = jnp.linalg.lstsq(weight[:, None] * jacobian(values), weight * (counts - spectrum(values)))
            values = values + step
        assert np.allclose(values, true, atol=[5e-4, 3e-4, 1e-3])


def test_a_basis_is_compiled_once_for_all_thicknesses():
    model = EmissionModel(["O", "Mg"], AXIS)
    traces = []

    @eqx.filter_jit
    def values(model):
        traces.append(1)
        return model.basis(np.array([0.5, 0.5])).values

    assert all(np.isfinite(values(changed(model, thickness_nm=t))).all() for t in (50.0, 100.0, 200.0))
    assert len(traces) == 1


def test_float32_is_enough():
    single = np.asarray(emission_basis(SCANDATE, AXIS, composition=TRUTH, **FOIL))
    with jax.enable_x64():
        double = np.asarray(emission_basis(SCANDATE, AXIS, composition=TRUTH, **FOIL))
    assert single.dtype == np.float32
    assert double.dtype == np.float64
    assert np.allclose(single, double, atol=2e-4 * double.max(axis=-1, keepdims=True))
    assert (single >= 0).all()


def test_sensitivities_from_a_standard():
    known = np.array([0.5, 0.3, 0.2])
    factors = np.array([0.8, 1.3, 1.1])
    elements = ["O", "Mg", "Si"]
    spectrum = 1e4 * known @ np.asarray(EmissionModel(elements, AXIS, sensitivity=factors).basis(known))[:3]
    model = EmissionModel(elements, AXIS, bremsstrahlung=False)
    measured, _ = nnls(np.asarray(model.basis(known), np.float64).T, spectrum)
    found = xray.sensitivity_from_standard(model, measured, known)
    assert np.allclose(found / found[0], factors / factors[0], rtol=1e-3)
    assert np.isclose(np.prod(np.asarray(found)), 1, rtol=1e-4)
    calibrated = EmissionModel(elements, AXIS, bremsstrahlung=False, sensitivity=found)
    again, _ = nnls(np.asarray(calibrated.basis(known), np.float64).T, spectrum)
    assert np.allclose(again / again.sum(), known, atol=1e-3)
    part = xray.sensitivity_from_standard(model, np.array([1.0, 0.0, 4.0]), np.array([0.5, 0.0, 0.5]))
    assert np.allclose(part, [0.5, 1, 2], rtol=1e-5)


def test_width_of_the_rows_from_the_yields():
    model = EmissionModel(["O", "Fe"], AXIS, split="family")
    assert np.allclose(model.yield_sd(), [0.15, 0.04, 0.25])
    mixed = EmissionModel(["O", "Fe"], AXIS).yield_sd()
    assert np.isclose(mixed[0], 0.15)
    assert 0.04 < mixed[1] < 0.25
    assert xray.attenuation_sd("O", 0.525) == 0.1


def test_atomic_and_weight_fractions():
    masses = np.array([15.999, 24.305, 28.085])
    atomic = np.array([[0.6, 0.2, 0.2], [0.0, 0.0, 0.0]])
    weights = xray.atomic_to_weight(atomic, masses)
    # MgSiO3: 47.81 wt% O, 24.21 Mg, 27.98 Si.
    assert np.allclose(weights[0], [0.4781, 0.2421, 0.2798], atol=1e-4)
    assert (weights[1] == 0).all()
    assert np.allclose(xray.weight_to_atomic(weights, masses), atomic, atol=1e-6)


def test_a_table_of_lines_takes_the_place_of_the_cross_sections():
    table = xray.LineTable({"O": [("KL3", 0.5249, 30.0)], "Fe": [("KL3", 6.4, 60.0), ("L3M5", 0.7045, 90.0)]}, 200.0)
    model = EmissionModel(["O", "Fe"], AXIS, cross_sections=table, split="family", bremsstrahlung=False)
    assert model.basis().names == ("O K", "Fe K", "Fe L")
    found = areas(model.basis()) / np.asarray(model.detector.efficiency(model.lines.materials))
    assert np.allclose(found / found[0], [1, 2, 3], rtol=1e-3)


def test_axes_that_start_below_zero_and_end_above_the_beam():
    axis = -0.5 + 0.02 * np.arange(1300)
    basis = emission_basis(["O", "Fe"], axis, beam_keV=15.0, composition=np.array([0.5, 0.5]))
    values = np.asarray(basis)
    assert np.isfinite(values).all()
    assert (values >= 0).all()
    assert (values[2:, axis > 15] == 0).all()
    assert isinstance(basis, Basis)


def model_of(elements=("O", "Fe"), axis=AXIS, **options):
    return EmissionModel(elements, axis, **options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: model_of(["O", "fE"]), "unknown element 'fE'; did you mean 'Fe'"),
        (lambda: model_of(["O", "Fe", "O"]), "O is twice in elements and free"),
        (lambda: model_of(free=["Fe"]), "Fe is twice"),
        (lambda: model_of([]), "elements is empty"),
        (lambda: model_of(["Fe"], 4 + 0.01 * np.arange(400), beam_keV=5.0), r"below the edges of Fe .*K at 7\.112 keV"),
        (lambda: model_of(["Fe"], 2 + 0.01 * np.arange(300)), r"Fe has no line on the axis from 2\.000 to 4\.990"),
        (lambda: model_of(["Fe"], 2 + 0.01 * np.arange(300)), r"strongest are at 6\.405 keV \(K\), 0\.705 keV \(L\)"),
        (lambda: model_of(["H"]), "H has no line"),
        (lambda: model_of(axis=10.0 * np.arange(2000)), "looks like eV; divide it by 1000"),
        (lambda: model_of(beam_keV=200e3), "beam_keV=200000.0: give keV"),
        (lambda: model_of(axis=AXIS[::-1]), "must increase; channel 1"),
        (lambda: model_of(axis=np.geomspace(0.2, 10, 200)), "must be uniform; rebin"),
        (lambda: model_of(axis=AXIS[:, None]), "finite centres of two or more channels"),
        (lambda: model_of(take_off_deg=0.0), "take_off_deg=0.0: give an angle above 0 and up to 90"),
        (lambda: model_of(take_off_deg=95), "take_off_deg=95"),
        (lambda: model_of(take_off_deg=None).basis(np.ones(2)), "take_off_deg=None: absorption .* needs"),
        (lambda: model_of(thickness_nm=-1.0), "thickness_nm=-1.0: give a number, or 0"),
        (lambda: model_of(density=np.nan), "density=nan"),
        (lambda: model_of(gain=0.0), "gain=0.0: give a number above 0"),
        (lambda: model_of(minimum_weight=1.0), "minimum_weight=1.0"),
        (lambda: model_of(sensitivity=np.ones(3)), r"sensitivity of shape \(3,\): give one factor"),
        (lambda: model_of(sensitivity=np.zeros(2)), "sensitivity must be finite and above 0"),
        (lambda: model_of().basis(np.ones(3)), r"composition of shape \(3,\): give atomic fractions of O, Fe"),
        (lambda: model_of().basis(np.array([1.5, -0.5])), "not negative"),
        (lambda: model_of().basis(np.zeros((2, 2))), "a phase without any element"),
        (lambda: model_of(density=np.ones(3)).basis(np.ones((2, 2))), "different numbers of phases"),
        (lambda: xray.sensitivity_from_standard(model_of(), np.ones(3), np.ones(2)), "give 2 rows of the sample"),
        (lambda: xray.sensitivity_from_standard(model_of(), np.array([1.0, 0]), np.ones(2)), r"\['Fe'\]"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_without_a_take_off_angle_nothing_is_absorbed():
    bulk = model_of(beam_keV=20.0, take_off_deg=None).basis()
    assert np.allclose(np.asarray(bulk), np.asarray(model_of(beam_keV=20.0).basis()))
