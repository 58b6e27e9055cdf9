import functools

import jax
import numpy as np
import pytest

from jaxunmix import preprocess, simulate
from jaxunmix.physics import diffraction

KEY = jax.random.key(3)
SMALL = {"shape": (24, 20), "detector": (48, 44), "k_max": 6.0, "counts": 1e5}


@functools.cache
def small(**options):
    return simulate.nanosheets(KEY, **{**SMALL, **options})


def crystalline(truth):
    """(K - 1, ky, kx) patterns, and the (K - 1, y, x) thickness in sheets."""
    thickness = truth.maps[:, :-1] / truth.maps[:, :-1].max(axis=0)
    return truth.spectra[:-1].reshape(-1, 48, 44), thickness.T.reshape(-1, 24, 20)


def distance(image):
    return np.hypot(image.data.ky, image.data.kx)


def test_dims_units_and_types():
    image, truth = small()
    assert image.data.dims == ("y", "x", "ky", "kx")
    assert image.signal_dims == ("ky", "kx")
    assert image.data.shape == (24, 20, 48, 44)
    assert image.data.dtype == truth.maps.dtype == truth.spectra.dtype == np.float32
    assert image.data.attrs["units"] == "counts"
    assert image.data.ky.attrs["units"] == "1/nm"
    assert truth.maps.shape == (480, 7)
    assert truth.spectra.shape == (7, 48 * 44)


def test_pristine_sheets_scatter_what_was_asked_for():
    _, truth = small(scattered=0.03)
    largest = truth.maps.max(axis=0)[:-1] / 1e5
    pristine = np.array([name.startswith("TiO2") for name in truth.names[:-1]])
    assert np.allclose(largest[pristine], 0.03, rtol=1e-3)
    assert np.all((largest[~pristine] > 0.02) & (largest[~pristine] < 0.03))  # one O of four is missing


def test_all_electrons_arrive():
    image, truth = small()
    assert np.allclose(truth.spectra.sum(axis=1), 1, rtol=1e-5)
    assert np.allclose(truth.maps.sum(axis=1), 1e5, rtol=1e-5)
    assert truth.maps.min() >= 0
    assert np.array_equal(image.data.values, np.round(image.data.values))
    deviation = image.data.values.reshape(480, -1).astype(float) - truth.expected
    assert abs(deviation.sum()) < 4 * np.sqrt(truth.maps.sum())
    chi_squared = np.sum(deviation**2 / truth.expected) / deviation.size
    assert np.isclose(chi_squared, 1, atol=0.05)


def test_names_tell_phase_and_orientation():
    _, truth = small()
    assert truth.names[-1] == "direct beam"
    assert len(set(truth.names)) == 7
    phases = [name.split()[0] for name in truth.names[:-1]]
    assert (phases.count("TiO2"), phases.count("Ti2O3")) == (3, 3)
    assert sum("fold" in name for name in truth.names) == 2
    angles = np.sort([float(name.split()[1]) for name in truth.names[:-1]])
    assert angles.min() >= 0
    assert angles.max() <= 180
    assert np.diff(angles, append=angles[0] + 180).min() > 9


@pytest.mark.parametrize("sheets", [1, 2, 3, 5, 9])
def test_sheets_decide_the_number_of_components(sheets):
    _, truth = small(sheets=sheets, shape=(9, 7), counts=1e3)
    assert len(truth.names) == sheets + 1
    assert np.linalg.matrix_rank(truth.spectra) == sheets + 1
    assert truth.names[0].startswith("TiO2")


def test_patterns_are_those_of_the_named_crystals():
    image, truth = small()
    ky, kx = image.data.ky.values, image.data.kx.values
    for name, row in zip(truth.names[:-1], truth.spectra, strict=False):
        phase, angle = name.split()[:2]
        crystal = diffraction.TIO2_NANOSHEET if phase == "TiO2" else diffraction.TI2O3_NANOSHEET
        spots = diffraction.spots(crystal, diffraction.reflections(crystal, 10.0), float(angle))
        expected = np.asarray(diffraction.paint(spots, ky, kx, 0.2)).ravel()
        assert np.corrcoef(expected, row)[0, 1] > 0.98  # the angle in the name is rounded


def test_forbidden_reflections_are_in_the_reduced_sheets_only():
    image, truth = small()
    patterns, _ = crystalline(truth)
    ky, kx = (axis.values[None] for axis in (image.data.ky, image.data.kx))
    for name, pattern in zip(truth.names[:-1], patterns, strict=True):
        angle = float(name.split()[1])
        forbidden, allowed = (
            diffraction.spots(diffraction.TI2O3_NANOSHEET, np.array([index]), angle) for index in ([1, 0], [2, 0])
        )
        found = [
            pattern[np.hypot(ky.T - spot.ky, kx - spot.kx) < 0.5].sum() / pattern.sum() for spot in (forbidden, allowed)
        ]
        assert found[1] > 0.04
        assert (found[0] > 0.01) if name.startswith("Ti2O3") else (found[0] < 1e-4)


def test_the_direct_beam_is_brightest_everywhere_and_the_support_smooth():
    image, truth = small()
    brightest = image.data.values.reshape(480, -1).argmax(axis=1)
    near = distance(image).values.ravel()
    assert near[brightest].max() < 0.3
    beam = truth.spectra[-1]
    assert beam.max() * truth.maps[:, -1].min() > 50 * (truth.maps[:, :-1] @ truth.spectra[:-1]).max()
    far = near > 1.5
    assert np.isclose(beam[far].sum(), 0.02 * 0.5, rtol=0.5)
    order = np.argsort(near[far])
    assert np.all(np.diff(beam[far][order]) <= 1e-9)


def test_masking_the_direct_beam_leaves_all_spots():
    image, truth = small()
    beam = distance(image) < 1.5
    masked = preprocess.mask(image, channels=~beam)
    keep = masked.keep_channels.values.ravel()
    assert masked.live().shape == (480, keep.sum())
    assert truth.spectra[:-1, keep].sum(axis=1).min() > 0.999
    assert truth.spectra[-1, keep].sum() < 0.02


def test_where_sheets_overlap_their_patterns_add():
    image, truth = small()
    _, thickness = crystalline(truth)
    number = (thickness > 0.99).sum(axis=0)
    clear = ((thickness > 0.99) | (thickness < 1e-3)).all(axis=0)
    assert number[clear].max() >= 2
    keep = (distance(image).values > 1.5).ravel()
    totals = image.data.values.reshape(480, -1)[:, keep].sum(axis=1).reshape(24, 20)
    support = totals[clear & (number == 0)].mean()
    pair = np.argwhere(clear & (number == 2))[0]
    layers = np.flatnonzero(thickness[:, pair[0], pair[1]] > 0.99)
    expected = truth.maps[:, layers].max(axis=0).sum() + support
    assert abs(totals[tuple(pair)] - expected) < 5 * np.sqrt(expected)


def test_every_pattern_has_some_area_of_its_own():
    _, truth = simulate.nanosheets(KEY, shape=(60, 60), detector=(24, 24), k_max=5.5, width=0.3, counts=1e3)
    inside = truth.maps[:, :-1] > 0.5 * truth.maps[:, :-1].max(axis=0)
    number = inside.sum(axis=1)
    assert (inside & (number == 1)[:, None]).mean(axis=0).min() > 0.025
    assert np.mean(number > 1) > 0.1
    assert np.mean(number == 0) > 0.05


def test_a_flap_lies_on_its_flake_and_past_its_rim():
    _, truth = small()
    _, thickness = crystalline(truth)
    for i, name in enumerate(truth.names):
        if "fold" in name:
            flake, flap = thickness[i - 1] > 0.5, thickness[i] > 0.5
            assert (flake & flap).any()
            assert (flap & ~flake).any()
            assert truth.names[i - 1].split()[0] == name.split()[0]


def test_the_line_of_a_fold_mirrors_the_lattice():
    """The flap and what it was cut from are mirror images: so are their lattices, in the same line."""
    coarse = {"detector": (24, 24), "k_max": 5.5, "width": 0.3, "counts": 1e3}
    _, truth = simulate.nanosheets(KEY, shape=(120, 120), sheets=3, **coarse)
    flake, flap = (truth.maps[:, i].reshape(120, 120) > 10 for i in (0, 1))
    rotation, turned = (float(name.split()[1]) for name in truth.names[:2])
    # The line is an edge that both share: no part of either lies beyond it, and both lie along it.
    along = []
    y, x = np.indices((120, 120))
    for angle in np.deg2rad([(rotation + turned) / 2 + turn for turn in (0, 90, 180, 270)]):
        across = np.cos(angle) * y - np.sin(angle) * x
        edge = [across[part].max() for part in (flake, flap)]
        both = min((across[part] > max(edge) - 2).sum() for part in (flake, flap))
        along.append(both if abs(edge[0] - edge[1]) < 2 else 0)
    assert max(along) > 40


def test_reduced_areas_share_flake_and_orientation():
    _, truth = small(topotactic=True)
    assert truth.names[-3].split()[1:] == truth.names[-2].split()[1:]
    assert [name.split()[0] for name in truth.names[-3:-1]] == ["TiO2", "Ti2O3"]
    _, thickness = crystalline(truth)
    together = thickness[-1] + thickness[-2]
    assert together.max() < 1.001
    both = (thickness[-1] > 0.2) & (thickness[-2] > 0.2)
    assert both.any()  # they touch
    assert together[both].min() > 0.5
    assert np.corrcoef(truth.spectra[-3], truth.spectra[-2])[0, 1] > 0.9


def test_the_key_decides():
    image, truth = small()
    again, same = simulate.nanosheets(KEY, **SMALL)
    other, _ = simulate.nanosheets(jax.random.key(4), **SMALL)
    assert np.array_equal(image.data.values, again.data.values)
    assert truth.names == same.names
    assert not np.array_equal(image.data.values, other.data.values)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"shape": (0, 4)}, "shape"),
        ({"sheets": 0}, "sheets=0"),
        ({"counts": 0.0}, "counts"),
        ({"diffuse": 1.5}, "diffuse=1.5"),
        ({"scattered": 0.9}, "scattered=0.9"),
        ({"width": np.nan}, "width"),
        ({"k_max": -1.0}, "k_max"),
        ({"k_max": 5.0}, "k_max=5.0: give 5.32"),
        ({"pixel_nm": 0.0}, "pixel_nm"),
        ({"detector": (48, 12)}, "more channels"),
        ({"detector": (1, 48)}, "detector"),
    ],
)
def test_bad_arguments_are_named(bad, message):
    with pytest.raises(ValueError, match=message):
        simulate.nanosheets(KEY, **{**SMALL, **bad})
