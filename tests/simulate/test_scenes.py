"""Scenes of mass spectrometry, atomic resolution, tunnelling and rods: peaks at their places, sums, and the key."""

import functools

import jax
import numpy as np
import pytest

from jaxunmix import simulate
from jaxunmix.simulate.atomic_scale import BROWNMILLERITE, PEROVSKITE
from jaxunmix.simulate.mass_spectra import isotope_pattern

KEY = jax.random.key(7)
SCENES = [
    (simulate.tof_sims, {"shape": (12, 14)}),
    (simulate.tof_sims, {"shape": (8, 6, 7)}),
    (simulate.oxide_lattice, {"shape": (40, 50)}),
    (simulate.tunnelling_spectroscopy, {"shape": (14, 12)}),
    (simulate.rod_scans, {"shape": (9, 8)}),
    (simulate.rod_scans, {"shape": (9, 8), "films": 4}),
]


@functools.cache
def scene(index):
    make, sizes = SCENES[index]
    return make(KEY, **sizes)


@pytest.mark.parametrize("index", range(len(SCENES)))
def test_image_and_truth_fit_each_other(index):
    img, truth = scene(index)
    shape = SCENES[index][1]["shape"]
    assert img.navigation_shape == shape
    assert truth.maps.shape == (np.prod(shape), len(truth.names))
    assert truth.spectra.shape == (len(truth.names), img.live().shape[1])
    assert img.data.dtype == truth.maps.dtype == truth.spectra.dtype == np.float32
    assert min(truth.maps.min(), truth.spectra.min(), img.data.values.min()) >= 0
    total = truth.maps.sum(axis=1)
    assert np.allclose(total, total[0], rtol=1e-5)
    assert truth.maps.sum(axis=0).min() > 0
    if img.live().shape[1] > 1:
        assert np.linalg.matrix_rank(truth.spectra) == len(truth.names)
        assert np.corrcoef(img.live().ravel(), truth.expected.ravel())[0, 1] > 0.8


@pytest.mark.parametrize("index", range(len(SCENES)))
def test_the_key_decides(index):
    make, sizes = SCENES[index]
    first = scene(index)[0].data.values
    again, other = (make(key, **sizes)[0].data.values for key in (KEY, jax.random.key(8)))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("index", [0, 1, 4, 5])
def test_counts_are_whole_and_have_their_total(index):
    make, sizes = SCENES[index]
    img, truth = make(KEY, **sizes, counts=55.0)
    assert np.array_equal(img.data.values, np.round(img.data.values))
    assert img.data.attrs["units"] == "counts"
    assert np.allclose(truth.spectra.sum(axis=1), 1, rtol=1e-5)
    assert np.allclose(truth.maps.sum(axis=1), 55, rtol=1e-5)
    expected = 55 * len(truth.maps)
    assert abs(img.data.values.sum(dtype=float) - expected) < 4 * np.sqrt(expected)


def test_isotopes():
    chlorine = isotope_pattern("Cl")
    assert chlorine[35] / chlorine[37] == pytest.approx(0.7576 / 0.2424)
    silicon = isotope_pattern("Si2")
    assert silicon[57] == pytest.approx(2 * 0.92223 * 0.04685)
    assert isotope_pattern("SrOH").sum() == pytest.approx(1)
    assert np.argmax(isotope_pattern("Si2C5H15O")) == 147


def test_fragments_are_at_their_masses_and_overlap():
    img, truth = simulate.tof_sims(KEY, shape=(4, 4))
    mass = img.data.mz.values
    assert np.array_equal(mass, np.arange(1, 201))
    of = dict(zip(truth.names, truth.spectra.astype(float), strict=True))
    background = {name: row[199] * np.exp((200 - mass) / 60) for name, row in of.items()}
    peaks = {name: row - background[name] for name, row in of.items()}
    assert mass[np.argmax(of["silicone"])] == 73
    assert mass[np.argmax(of["salt"])] == 23
    assert mass[np.argmax(of["titanate"])] in (64, 88)
    assert peaks["salt"][81 - 1] / peaks["salt"][83 - 1] == pytest.approx(0.7576 / 0.2424, rel=1e-3)
    assert peaks["titanate"][88 - 1] / peaks["titanate"][86 - 1] == pytest.approx(0.8258 / 0.0986, rel=1e-3)
    for shared, both in {43: "hydrocarbon silicone", 39: "hydrocarbon salt", 81: "hydrocarbon salt"}.items():
        assert min(peaks[name][shared - 1] for name in both.split()) > 0.01
    assert 0 < background["salt"].sum() < 0.04


def test_maps_of_tof_sims_are_smooth_and_patchy():
    img, truth = simulate.tof_sims(KEY, shape=(64, 64))
    maps = img.to_maps(truth.maps).values / 30
    patches = maps[1:] / maps[1:].sum(axis=0)
    assert np.mean(patches.max(axis=0) > 0.9) > 0.7
    assert 0.04 < maps[0].min() < 0.2 < 0.4 < maps[0].max() < 0.56
    assert np.abs(np.diff(maps[0], axis=0)).max() < 0.1 < 0.3 < np.abs(np.diff(patches, axis=1)).max()


def test_layers_of_tof_sims_lie_in_their_order():
    img, truth = simulate.tof_sims(KEY, shape=(40, 16, 16), layer_um=0.02)
    maps = img.to_maps(truth.maps)
    assert float(img.data.z[-1]) == pytest.approx(39 * 0.02)
    depth = (maps * maps.z).sum(("z", "y", "x")) / maps.sum(("z", "y", "x"))
    assert np.all(np.diff(depth) > 0.1)
    assert np.all(maps.isel(z=0).argmax("component") == 0)
    assert np.all(maps.isel(z=-1).argmax("component") == 3)
    # Interfaces are rough: at the depth of one there are both layers.
    assert set(np.unique(maps.isel(z=10).argmax("component"))) == {0, 1}


def test_lattices_have_the_periods_of_their_cells():
    img, truth = simulate.oxide_lattice(KEY, shape=(256, 256), counts=400)
    share = img.to_maps(truth.maps).values[1]
    values = img.data.values[..., 0].astype(float)

    def power(part, ky, kx):
        y, x = (0.04 * np.arange(n) for n in part.shape)
        window = np.outer(*(np.hanning(n) for n in part.shape))
        waves = np.outer(np.exp(-2j * np.pi * ky * y), np.exp(-2j * np.pi * kx * x))
        return abs(((part - part.mean()) * window * waves).sum() / window.sum())

    left, right = values[:, :75], values[:, -75:]
    assert share[:, :75].max() < 0.01
    assert share[:, -75:].min() > 0.99
    for part, cell in ((left, PEROVSKITE.cell), (right, BROWNMILLERITE.cell)):
        assert power(part, 0, 1 / cell[1]) > 10 * power(part, 0, 1.5 / cell[1])
    assert power(right, 1 / 0.79, 0) > 5 * power(left, 1 / 0.79, 0)
    grid = np.linspace(2.3, 2.9, 601)
    assert abs(grid[np.argmax([power(left, k, 0) for k in grid])] - 1 / 0.385) < 0.01


def test_lattices_average_to_the_expected_image():
    img, truth = simulate.oxide_lattice(KEY, shape=(256, 256))
    pure = truth.maps[:, 0] > 0.999
    assert img.live()[pure].mean() == pytest.approx(100, rel=0.02)
    assert truth.spectra[0, 0] == pytest.approx(100)
    other = truth.maps[:, 1] > 0.999
    assert img.live()[other].mean() == pytest.approx(truth.spectra[1, 0], rel=0.02)
    y, x = (np.arange(200) / 200 * side for side in BROWNMILLERITE.cell)
    assert BROWNMILLERITE.picture(y, x, 0.07).mean() == pytest.approx(BROWNMILLERITE.mean(0.07), rel=1e-4)


@pytest.mark.parametrize("gap", [5.0, 20.0])
def test_tunnelling_spectra_have_their_gap_and_state(gap):
    img, truth = simulate.tunnelling_spectroscopy(KEY, shape=(6, 6), channels=601, gap_mV=gap)
    bias = img.data.bias.values
    gapped, metallic, defect = truth.spectra
    assert img.data.bias.attrs["units"] == "mV"
    np.testing.assert_allclose(gapped, gapped[::-1], rtol=1e-4)
    # At the edge of the gap, which temperature moves by twice kT at most.
    assert -0.01 * gap < abs(bias[np.argmax(gapped)]) - gap < 0.05 * gap + 0.72
    assert gapped[300] < 0.25 * gapped[0]
    assert gapped[0] == pytest.approx(0.1 + 0.9 * 3 / np.sqrt(8), rel=0.02)  # |E| / sqrt(E^2 - gap^2), at 3 gaps
    assert metallic.min() > 0.4
    np.testing.assert_allclose(np.diff(metallic), np.diff(metallic)[0], rtol=1e-3)
    within = np.abs(bias) < 0.7 * gap
    assert abs(bias[within][np.argmax(defect[within])] - 0.35 * gap) < 0.02 * gap


def test_tunnelling_noise_and_domains():
    img, truth = simulate.tunnelling_spectroscopy(KEY, snr_db=40.0)
    residual = img.live() - truth.expected.astype(float)
    assert residual.std() == pytest.approx(truth.noise_sd, rel=0.02)
    assert np.allclose(truth.maps.sum(axis=1), 1, rtol=1e-5)
    assert truth.maps[:, 2].max() > 0.8
    assert simulate.tunnelling_spectroscopy(KEY, shape=(8, 8), snr_db=0.0)[0].data.values.min() >= 0


@pytest.mark.parametrize("films", [1, 2, 5])
def test_rods_have_bragg_peaks_at_their_spacings(films):
    img, truth = simulate.rod_scans(KEY, shape=(4, 4), channels=4000, films=films)
    q = img.data.q.values
    assert len(truth.d_spacings) == films + 1 == len(set(truth.d_spacings))
    assert truth.d_spacings[0] == 3.905
    for d, row in zip(truth.d_spacings, truth.spectra, strict=True):
        for order in (1, 2):
            near = np.abs(q - 2 * np.pi * order / d) < 0.1
            assert abs(q[near][np.argmax(row[near])] * d / (2 * np.pi) - order) < 2e-3
        # Nothing between the peaks comes near to them.
        assert row[np.argmin(np.abs(q - 3 * np.pi / d))] < 0.02 * row.max()


def test_fringes_of_rods_tell_the_layers():
    img, truth = simulate.rod_scans(KEY, shape=(4, 4), channels=20000, films=1)
    q, row = img.data.q.values, truth.spectra[1] - 0.01 / 20000
    between = np.diff(q[1:-1][(row[1:-1] < row[:-2]) & (row[1:-1] <= row[2:])])
    layers = 2 * np.pi / (np.median(between) * truth.d_spacings[1])
    assert 15 <= round(layers) <= 40
    assert layers == pytest.approx(round(layers), abs=0.15)


def test_substrate_is_everywhere():
    _, truth = simulate.rod_scans(KEY, counts=100.0)
    assert truth.maps[:, 0].min() > 19.99


@pytest.mark.parametrize(
    ("make", "bad", "message"),
    [
        (simulate.tof_sims, {"shape": (8,)}, r"give \(y, x\) or \(z, y, x\)"),
        (simulate.tof_sims, {"shape": (8, 0, 8)}, "1 pixel or more"),
        (simulate.tof_sims, {"counts": 0.0}, "counts"),
        (simulate.tof_sims, {"channels": 0}, "channels=0"),
        (simulate.oxide_lattice, {"shape": (0, 8)}, "shape"),
        (simulate.oxide_lattice, {"pixel_nm": 0.2}, "pixel_nm must be above 0 and up to 0.1"),
        (simulate.tunnelling_spectroscopy, {"gap_mV": 0.0}, "gap_mV"),
        (simulate.tunnelling_spectroscopy, {"snr_db": np.nan}, "snr_db"),
        (simulate.rod_scans, {"films": 0}, "films=0"),
        (simulate.rod_scans, {"counts": -1.0}, "counts"),
    ],
)
def test_bad_arguments_are_named(make, bad, message):
    with pytest.raises(ValueError, match=message):
        make(KEY, **bad)
