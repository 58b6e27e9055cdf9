import dataclasses
import functools

import jax
import numpy as np
import pytest
from scipy import ndimage

from jaxunmix import preprocess, simulate
from jaxunmix.simulate.cathodes import domain_labels

KEY = jax.random.key(7)

SMALL = [
    (simulate.mixture, {"pixels": 40, "channels": 30}),
    (simulate.mixture, {"pixels": 40, "channels": 30, "noise": "poisson"}),
    (simulate.mixture, {"pixels": 40, "channels": 30, "noise": "gaussian", "correlated": True}),
    (simulate.eels_oxides, {"shape": (6, 12), "channels": 80, "counts": 3000.0}),
    (simulate.line_scan, {"length": 20, "channels": 80}),
    (simulate.silicon_diode, {"shape": (6, 12), "channels": 80}),
    (simulate.edx_phases, {"shape": (12, 10), "channels": 80}),
    (simulate.xas_domains, {"shape": (8, 9), "channels": 40}),
    (simulate.patterns, {"shape": (4, 5), "detector": (16, 20)}),
    (simulate.battery_xas, {"shape": (20, 24), "channels": 40, "domains": 4}),
    (simulate.battery_xas, {"shape": (20, 24), "channels": 40, "domains": 4, "raw": True}),
    (simulate.oxide_interface, {"shape": (12, 10), "channels": 80, "counts": 2e4, "drift": 1.0}),
    (simulate.channelling_eels, {"shape": (6, 5), "channels": 80}),
    (simulate.channelling_edx, {"shape": (6, 5), "channels": 80}),
    (simulate.oxides_and_carbon, {"shape": (8, 9), "channels": 60}),
]
COUNTS = [*SMALL[1:2], *SMALL[3:7], *SMALL[8:9]]


@functools.cache
def small(index):
    make, sizes = SMALL[index]
    return make(KEY, **sizes)


@pytest.mark.parametrize("index", range(len(SMALL)))
def test_image_and_truth_fit_each_other(index):
    image, truth = small(index)
    pixels = int(np.prod([image.data.sizes[d] for d in image.navigation_dims]))
    channels = int(np.prod([image.data.sizes[d] for d in image.signal_dims]))
    components = len(truth.names)
    assert truth.maps.shape == (pixels, components)
    assert truth.spectra.shape == (components, channels)
    assert image.data.dtype == truth.maps.dtype == truth.spectra.dtype == np.float32
    assert truth.maps.min() >= 0
    assert truth.spectra.min() >= 0
    assert np.linalg.matrix_rank(truth.spectra) == components
    assert image.to_maps(truth.maps).sizes["component"] == components
    # Most of the image is the truth: the pixels and the channels have the same order in both.
    values = image.data.values.reshape(pixels, channels)
    assert np.corrcoef(values.ravel(), truth.expected.ravel())[0, 1] > 0.8


@pytest.mark.parametrize("index", range(len(SMALL)))
def test_the_key_decides(index):
    make, sizes = SMALL[index]
    first = small(index)[0].data.values
    again, other = (make(key, **sizes)[0].data.values for key in (KEY, jax.random.key(8)))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(("make", "sizes"), COUNTS)
def test_counts_have_the_scale_that_was_asked_for(make, sizes):
    image, truth = make(KEY, **{**sizes, "counts": 321.0})
    assert np.allclose(truth.spectra.sum(axis=1), 1, rtol=1e-5)
    assert np.allclose(truth.maps.sum(axis=1), 321, rtol=1e-5)
    assert np.array_equal(image.data.values, np.round(image.data.values))
    assert image.data.attrs["units"] == "counts"


def test_poisson_noise_has_its_moments():
    image, truth = simulate.mixture(KEY, pixels=3000, channels=60, noise="poisson", counts=600.0)
    values, expected = image.data.values.astype(float), truth.expected.astype(float)
    deviation = values - expected
    # Sum of Poisson numbers: mean and variance are the sum of the expectations.
    assert abs(deviation.sum()) < 4 * np.sqrt(expected.sum())
    # E (x - m)^2 = m, with the variance 2 m^2 + m.
    assert abs((deviation**2 - expected).sum()) < 4 * np.sqrt((2 * expected**2 + expected).sum())
    # E (x - m)^3 = m: skewed, as a Gaussian is not. Variance from the moments of the Poisson distribution.
    sixth = 15 * expected**3 + 25 * expected**2 + expected
    assert abs((deviation**3 - expected).sum()) < 4 * np.sqrt((sixth - expected**2).sum())


@pytest.mark.parametrize("snr_db", [0.0, 20.0, 40.0])
def test_gaussian_noise_has_the_signal_to_noise_ratio(snr_db):
    image, truth = simulate.mixture(KEY, pixels=500, channels=100, noise="gaussian", snr_db=snr_db)
    noise = image.data.values.astype(float) - truth.expected
    found = 10 * np.log10(np.mean(truth.expected**2) / np.mean(noise**2))
    assert np.isclose(found, snr_db, atol=0.1)
    assert abs(noise.mean()) < 4 * noise.std() / np.sqrt(noise.size)


def test_signal_to_noise_is_the_last_singular_value_over_the_edge_of_the_noise():
    _, truth = simulate.mixture(KEY, pixels=300, channels=50, components=4, noise="gaussian", snr_db=10.0)
    for reference, subtracted in (
        (None, np.zeros(50)),
        (truth.spectra.mean(axis=0) + 1, truth.spectra.mean(axis=0) + 1),
    ):
        with_reference = dataclasses.replace(truth, reference=reference)
        signal = np.linalg.svd(truth.maps @ (truth.spectra - subtracted).astype(float), compute_uv=False)[3]
        edge = truth.noise_sd * (np.sqrt(300) + np.sqrt(50))
        assert np.isclose(with_reference.signal_to_noise(), signal / edge, rtol=1e-5)
    noise = truth.noise_sd * np.random.default_rng(0).normal(size=(300, 50))
    assert np.isclose(np.linalg.norm(noise, 2), edge, rtol=0.05)


def test_signal_to_noise_is_zero_for_more_components_than_channels():
    assert simulate.Truth(np.eye(3), np.ones((3, 2)), ("a", "b", "c"), noise_sd=1.0).signal_to_noise() == 0


def test_signal_to_noise_asks_for_gaussian_noise():
    with pytest.raises(ValueError, match="noise_sd"):
        small(1)[1].signal_to_noise()


def test_oracle_gives_each_pixel_to_the_nearest_direction():
    spectra, reference = np.array([[3.0, 1.0], [1.0, 2.0]]), np.array([1.0, 1.0])
    truth = simulate.Truth(np.eye(2), spectra, ("a", "b"), reference)
    values = reference + np.array([[4.0, 1.0], [0.4, 0.5], [-2.0, -3.0]])
    assert np.allclose(truth.oracle(values), [[2.0, 0.0], [0.0, 0.5], [0.0, 0.0]])
    assert np.allclose(truth.oracle(truth.expected), np.eye(2))


def test_oracle_names_what_it_cannot_take():
    truth = simulate.Truth(np.eye(2), np.array([[3.0, 1.0], [1.0, 2.0]]), ("a", "b"), np.array([1.0, 2.0]))
    with pytest.raises(ValueError, match="b equals the reference"):
        truth.oracle(np.ones((4, 2)))
    with pytest.raises(ValueError, match=r"\(4, 3\)"):
        truth.oracle(np.ones((4, 3)))


def test_without_noise_the_image_is_the_product():
    image, truth = simulate.mixture(KEY, pixels=50, channels=20, components=4)
    assert np.array_equal(image.data.values, truth.expected)
    assert np.allclose(truth.maps.sum(axis=1), 1, rtol=1e-5)


def test_correlated_spectra_resemble_one_another():
    def cosines(correlated):
        _, truth = simulate.mixture(KEY, channels=300, components=5, correlated=correlated)
        unit = truth.spectra / np.linalg.norm(truth.spectra, axis=1, keepdims=True)
        return (unit @ unit.T)[np.triu_indices(5, 1)]

    assert cosines(True).min() > 0.95
    assert cosines(True).max() < 0.99999
    assert cosines(False).max() < 0.95


def test_small_concentration_gives_pure_pixels():
    purity = [np.mean(simulate.mixture(KEY, concentration=alpha)[1].maps.max(axis=1)) for alpha in (0.05, 1.0, 20.0)]
    assert purity[0] > 0.9 > purity[1] > 0.5 > purity[2]


def test_oxide_edges_are_at_their_energies():
    image, truth = simulate.eels_oxides(KEY, shape=(4, 8), channels=701)
    energy = image.data.coords["energy"].values
    assert image.data.coords["energy"].attrs["units"] == "eV"
    without_power_law = truth.spectra * energy**3
    for name, line in (("TiO2", 458.0), ("MnO", 641.0), ("Fe2O3", 709.5)):
        row = without_power_law[truth.names.index(name)]
        near = np.abs(energy - line) < 6
        assert abs(energy[near][np.argmax(row[near])] - line) <= 1
        oxygen = (row[np.abs(energy - 545) < 5].mean(), row[np.abs(energy - 520) < 5].mean())
        assert oxygen[0] > 1.1 * oxygen[1]


def test_layers_follow_one_another():
    image, truth = simulate.line_scan(KEY, length=90, channels=50)
    share = image.to_maps(truth.maps).values / 2000
    assert np.allclose(share[:, 5], [1, 0, 0], atol=1e-3)
    assert np.allclose(share[:, 45], [0, 1, 0], atol=1e-3)
    assert np.allclose(share[:, 85], [0, 0, 1], atol=1e-3)
    assert np.allclose(share[:, 30], [0.5, 0.5, 0], atol=1e-3)


def test_phases_have_the_lines_of_their_elements():
    image, truth = simulate.edx_phases(KEY, shape=(20, 20), channels=1001)
    energy = image.data.coords["energy"].values
    spectra = dict(zip(truth.names, truth.spectra, strict=True))
    height = {
        name: [row[np.argmin(np.abs(energy - line))] for line in (1.254, 1.487, 3.692, 6.404)]
        for name, row in spectra.items()
    }
    magnesium, aluminium, calcium, iron = range(4)
    assert height["olivine"][magnesium] > 5 * height["magnetite"][magnesium]
    assert height["feldspar"][aluminium] > 3 * height["olivine"][aluminium]
    assert height["feldspar"][calcium] > 5 * height["olivine"][calcium]
    assert height["magnetite"][iron] > 5 * height["olivine"][iron] > 5 * height["feldspar"][iron]


@pytest.mark.parametrize(("shape", "domains"), [((9, 11), 4), ((1, 3), 3), ((1, 1), 1)])
def test_domains_are_hard_and_none_is_empty(shape, domains):
    _, truth = simulate.xas_domains(KEY, shape=shape, domains=domains)
    assert set(np.unique(truth.maps)) <= {0.0, 1.0}
    assert np.array_equal(truth.maps.sum(axis=1), np.ones(len(truth.maps)))
    assert truth.maps.sum(axis=0).min() >= 1


def test_xas_is_normalised_absorbance():
    _, truth = simulate.xas_domains(KEY, channels=200)
    assert np.allclose(truth.spectra[:, 0], 0, atol=1e-3)
    assert np.allclose(truth.spectra[:, -1], 1, atol=0.2)


@functools.cache
def battery(seed=0, domains=8, **options):
    return simulate.battery_xas(jax.random.key(seed), shape=(60, 60), domains=domains, **options)


@pytest.mark.parametrize("seed", range(3))
def test_battery_spectra_are_normalised_at_two_points(seed):
    truth = battery(seed)[1]
    for spectra in (truth.spectra, truth.reference):
        assert np.all(spectra[..., 0] == 0)
        assert np.all(spectra[..., -1] == 1)
        assert np.all(spectra.max(axis=-1) > 1.1)  # a white line


@pytest.mark.parametrize("seed", range(3))
def test_battery_reference_is_outside_the_affine_hull(seed):
    truth = battery(seed)[1]
    plane = np.linalg.qr((truth.spectra[1:] - truth.spectra[0]).T.astype(float))[0]
    away = (truth.reference - truth.spectra[0]).astype(float)
    away -= plane @ (plane.T @ away)
    size = np.sqrt(np.mean(np.square(truth.spectra - truth.reference)))
    assert np.sqrt(np.mean(away**2)) > 0.09 * size


@pytest.mark.parametrize("domains", [4, 6, 8, 9, 10])
def test_battery_domains_stand_above_the_noise(domains):
    image, truth = battery(domains=domains)
    edge = truth.noise_sd * (np.sqrt(3600) + np.sqrt(100))
    rms = np.sqrt(np.mean((truth.expected - truth.reference) ** 2))
    assert truth.signal_to_noise() > 0.0899 * rms * np.sqrt(3600 * 100) / edge > 1.4
    oracle = truth.oracle(image.data.values.reshape(3600, 100))
    found = [np.corrcoef(oracle[:, k], truth.maps[:, k])[0, 1] for k in range(domains)]
    assert min(found) > 0.95


@pytest.mark.parametrize("snr_db", [0, 5.62, 30.0])
def test_battery_noise_is_measured_against_the_differences(snr_db):
    image, truth = battery(domains=5, snr_db=snr_db)
    noise = image.data.values.reshape(3600, 100) - truth.expected.astype(float)
    assert np.isclose(noise.std(), truth.noise_sd, rtol=0.01)
    signal = truth.expected - truth.reference.astype(float)
    assert np.isclose(10 * np.log10(np.mean(signal**2) / np.mean(noise**2)), snr_db, atol=0.05)


@pytest.mark.parametrize("domains", range(2, 13))
def test_battery_domains_are_in_one_piece_and_of_their_areas(domains):
    truth = battery(3, domains)[1]
    assert np.array_equal(truth.maps.sum(axis=1), np.ones(3600))
    for single in truth.maps.T:
        assert ndimage.label(single.reshape(60, 60))[1] == 1
    shares = truth.maps.mean(axis=0)
    assert shares.min() > 0.025
    assert shares.max() < (0.33 if domains > 5 else 0.8)
    assert shares.max() > 1.2 * shares.min()


@pytest.mark.parametrize(("shape", "domains"), [((2, 2), 4), ((1, 12), 3), ((5, 40), 12)])
def test_battery_domains_are_never_empty(shape, domains):
    _, truth = simulate.battery_xas(KEY, shape=shape, domains=domains, channels=20)
    assert truth.maps.sum(axis=0).min() >= 1


def test_battery_scene_is_the_same_at_any_resolution():
    coarse, fine = (domain_labels(KEY, shape, 6) for shape in ((50, 60), (150, 180)))
    assert np.mean(coarse == fine[1::3, 1::3]) > 0.9


def test_raw_battery_comes_back_by_normalise_edge():
    image, truth = battery(raw=True, snr_db=60)
    before = image.data.values
    step = before[..., -1] - before[..., 0]
    assert 0.55 < step.min() < 0.8
    assert 1.4 < step.max() < 1.65
    assert 0.15 < before[..., 0].min() < before[..., 0].max() < 0.65
    normalised = preprocess.normalise_edge(image).data.values
    error = normalised.reshape(3600, 100) - truth.expected
    assert 1.2 < error.std() / truth.noise_sd < 1.8
    plain = preprocess.normalise_edge(battery(snr_db=60)[0]).data.values
    assert np.allclose(normalised, plain, atol=1e-5)


def test_patterns_are_symmetric_and_differ():
    image, truth = simulate.patterns(KEY, shape=(5, 6), detector=(33, 33))
    assert image.signal_dims == ("ky", "kx")
    pictures = truth.spectra.reshape(-1, 33, 33)
    assert np.allclose(pictures, pictures[:, ::-1, ::-1], atol=1e-7)  # g and -g
    unit = truth.spectra / np.linalg.norm(truth.spectra, axis=1, keepdims=True)
    assert (unit @ unit.T)[np.triu_indices(3, 1)].max() < 0.95


@pytest.mark.parametrize(
    ("make", "bad", "message"),
    [
        (simulate.mixture, {"pixels": 0}, "pixels=0"),
        (simulate.mixture, {"components": 0}, "components=0"),
        (simulate.mixture, {"counts": -1.0}, "counts"),
        (simulate.mixture, {"concentration": 0.0}, "concentration"),
        (simulate.mixture, {"noise": "gaussian", "snr_db": np.inf}, "snr_db"),
        (simulate.eels_oxides, {"shape": (0, 4)}, "shape"),
        (simulate.eels_oxides, {"width": 0.0}, "width"),
        (simulate.line_scan, {"length": 0}, "length"),
        (simulate.oxide_interface, {"drift": -1.0}, "drift"),
        (simulate.edx_phases, {"grains": 0}, "grains"),
        (simulate.edx_phases, {"pixel_nm": np.nan}, "pixel_nm"),
        (simulate.xas_domains, {"shape": (2, 2), "domains": 5}, "fewer domains"),
        (simulate.patterns, {"detector": (4, 48)}, "detector"),
        (simulate.battery_xas, {"domains": 1}, "domains=1: give 2"),
        (simulate.battery_xas, {"shape": (2, 2), "domains": 5}, "fewer domains"),
        (simulate.battery_xas, {"channels": 9}, "channels=9 .* 10 channels"),
        (simulate.battery_xas, {"shape": (0, 4)}, "shape"),
        (simulate.battery_xas, {"shape": (9, 9), "snr_db": np.nan}, "snr_db"),
        (simulate.battery_xas, {"pixel_um": 0}, "pixel_um"),
    ],
)
def test_bad_arguments_are_named(make, bad, message):
    with pytest.raises(ValueError, match=message):
        make(KEY, **bad)


def test_the_cathode_is_edges_over_a_tail_whose_exponent_goes_across():
    """Without the edges' part the logarithm falls along the logarithm of the energy, steeper from left to right."""
    image, truth = simulate.cathode_oxygen(KEY, shape=(8, 24), counts=1e6)
    energy = image.data.energy.values
    before = energy < 524
    assert truth.spectra[:, before].sum() < 1e-6
    mean = image.data.values.mean(axis=0)[:, before]
    slopes = [np.polyfit(np.log(energy[before]), np.log(row), 1)[0] for row in mean]
    np.testing.assert_allclose(slopes, -np.linspace(2.6, 3.4, 24), atol=0.1)
    left = image.data.values.reshape(-1, len(energy)) - truth.expected
    np.testing.assert_allclose(left.mean(axis=0)[0], 2e6 / 240, rtol=0.02)


def test_the_drift_is_in_the_spectra():
    """Where a pixel is shifted its lines lie higher by as much, and its total stays that of the counts."""
    image, truth = simulate.oxide_interface(KEY, shape=(6, 40), counts=1e6, channels=400, drift=6.0)
    assert np.isclose(np.ptp(truth.shifts), 6.0, atol=1e-3)
    energy, pure = image.data.energy.values, truth.maps[:, 0] > 0.99e6
    near = np.abs(energy - 460) < 12
    rows = image.data.values.reshape(240, 400)[pure][:, near]
    rows = rows - rows[:, :1]
    centre = (rows @ energy[near]) / rows.sum(axis=1)
    slope = np.polyfit(truth.shifts[pure], centre, 1)[0]
    assert 0.4 < slope < 1.1
    assert np.allclose(image.data.values.sum(axis=-1), 1e6, rtol=0.05)


def test_the_zero_loss_lies_at_the_shift():
    shifts = np.array([0.0, 1.0, -2.0])
    low = simulate.zero_loss(KEY, shifts, shape=(1, 3))
    tops = low.data.energy.values[np.argmax(low.data.values[0], axis=1)]
    assert np.allclose(tops, shifts, atol=0.5)
    with pytest.raises(ValueError, match="each of 3 pixels"):
        simulate.zero_loss(KEY, np.zeros(4), shape=(1, 3))
