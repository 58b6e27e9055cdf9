import jax
import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxunmix as jxu
from jaxunmix import preprocess, simulate

KEY = jax.random.key(0)
ENERGY = np.arange(100.0, 140.0, 0.5)


def image(values, energy=None, **more):
    coords = {} if energy is None else {"energy": energy}
    return jxu.SpectrumImage.from_array(np.asarray(values, np.float32), coords=coords, **more)


def scene(noise, seed=3, shape=(32, 32), channels=120):
    """An image and its standard deviations, (pixels, channels)."""
    img, truth = simulate.eels_oxides(jax.random.key(seed), shape=shape, channels=channels)
    expected = truth.expected
    if noise == "poisson":
        return img.live().reshape(*shape, channels), expected, np.sqrt(expected)
    rng = np.random.default_rng(seed)
    values = expected + rng.normal(0, 2, expected.shape)
    return values.reshape(*shape, channels), expected, np.full(expected.shape, 2.0)


def with_spikes(values, sd, count, width, least=7.0):
    """The values with spikes in pixels of their own, and where they are."""
    rng = np.random.default_rng(5)
    out, where = values.reshape(sd.shape).astype(float), np.zeros(sd.shape, bool)
    for row in rng.choice(len(sd), count, replace=False):
        wide = int(rng.integers(1, width + 1))
        first = int(rng.integers(0, sd.shape[1] - wide))
        cells = slice(first, first + wide)
        out[row, cells] += np.round(sd[row, first] * least * 10 ** rng.uniform(0, 1.5) * np.array([1, 0.7, 0.5])[:wide])
        where[row, cells] = True
    return out.reshape(values.shape), where


@pytest.mark.parametrize("noise", ["poisson", "gaussian"])
@pytest.mark.parametrize("width", [1, 3])
def test_spikes_are_found_and_little_else(noise, width):
    values, expected, sd = scene(noise)
    bad, where = with_spikes(values, sd, 60, width)
    found = preprocess.find_spikes(image(bad)).values.reshape(sd.shape)
    clear = where & ((bad.reshape(sd.shape) - expected) / sd > 6)
    assert (found & clear).sum() > 0.95 * clear.sum()
    assert (found & where).sum() >= 0.95 * found.sum() - 1


def test_spikes_are_mended_and_come_back():
    values, expected, sd = scene("poisson")
    bad, where = with_spikes(values, sd, 60, 1, least=20.0)
    img = image(bad)
    mended = preprocess.remove_spikes(img)
    left = mended.live()[where] - expected[where]
    assert np.sqrt(np.mean(left**2)) < np.sqrt(expected.mean())
    assert np.array_equal(mended.live(), np.rint(mended.live()))
    assert np.array_equal(preprocess.undo(mended).data.values, img.data.values)
    assert mended.provenance[-1]["parameters"]["found"] == preprocess.find_spikes(img).sum()


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["poisson", "gaussian"])
@pytest.mark.parametrize("width", [1, 3])
def test_acceptance_spectra_after_200_spikes_are_those_without(noise, width):
    values, expected, sd = scene(noise, shape=(64, 64), channels=200)
    bad, where = with_spikes(values, sd, 200, width, least=6.5)
    found = preprocess.find_spikes(image(bad)).values.reshape(sd.shape)
    clear = where & ((bad.reshape(sd.shape) - expected) / sd > 6)
    assert (found & clear).sum() > 0.95 * clear.sum()
    assert (found & where).sum() > 0.95 * found.sum()
    fits = [
        jxu.fit(jxu.Problem(img.matrix()), 3, init=jxu.initial.NNDSVD())
        for img in (image(values), preprocess.remove_spikes(image(bad)))
    ]
    assert max(jxu.metrics.match(fits[1].spectra, fits[0].spectra).angles) < 0.2


@pytest.mark.parametrize("corner", [(10, 20), (0, 0), (29, 29)])
def test_a_particle_of_nine_pixels_is_no_spike(corner):
    _, expected, _ = scene("poisson")
    cells = expected.reshape(32, 32, 120).copy()
    place = np.s_[corner[0] : corner[0] + 3, corner[1] : corner[1] + 3]
    cells[place][..., 60:62] += [40, 25]
    found = preprocess.find_spikes(image(np.random.default_rng(0).poisson(cells)))
    assert not found.values[place][..., 58:64].any()


def test_a_zero_loss_peak_that_drifts_is_no_spike():
    shifts = np.repeat(np.linspace(0, 3, 32), 32)
    low = simulate.zero_loss(KEY, shifts, shape=(32, 32), counts=1e4)
    near = np.abs(low.data.energy.values) < 4
    assert preprocess.find_spikes(low).values[..., near].sum() <= 3


def test_spikes_leave_masked_cells_alone():
    values, _, sd = scene("poisson")
    bad, where = with_spikes(values, sd, 40, 1, least=30.0)
    img = preprocess.mask(image(bad), channels=np.arange(120) > 9, pixels=np.indices((32, 32))[0] > 3)
    found = preprocess.find_spikes(img).values
    assert not found[:4].any()
    assert not found[..., :10].any()
    assert found.sum() > 0.9 * where.reshape(bad.shape)[4:, :, 10:].sum()


def lag(values, fraction, decay):
    return scipy.signal.lfilter([1, fraction - decay], [1, -decay], values.reshape(-1, values.shape[-1]), axis=0)


def test_given_persistence_is_undone_exactly():
    values, _, _ = scene("poisson")
    seen = image(lag(values, 0.1, 0.3).reshape(values.shape))
    undone = preprocess.remove_persistence(seen, 0.1, 0.3)
    assert np.allclose(undone.data.values, values, atol=1e-4)


def test_persistence_is_estimated_from_the_noise():
    values, _, _ = scene("poisson", shape=(48, 48))
    seen = image(lag(values, 0.08, 0.4).reshape(values.shape))
    found = preprocess.remove_persistence(seen).provenance[-1]["parameters"]
    assert abs(found["fraction"] - 0.08) < 0.01
    assert abs(found["decay"] - 0.4) < 0.1
    none = preprocess.remove_persistence(image(values)).provenance[-1]["parameters"]
    assert none["fraction"] < 0.01


def test_rows_scanned_to_and_fro():
    values, _, _ = scene("poisson")
    turned = values.copy()
    turned[1::2] = turned[1::2, ::-1]
    seen = lag(turned, 0.1, 0.0).reshape(values.shape)
    seen[1::2] = seen[1::2, ::-1]
    undone = preprocess.remove_persistence(image(seen), 0.1, 0.0, snake=True)
    assert np.allclose(undone.data.values, values, atol=1e-4)


@pytest.mark.parametrize("kind", ["gain", "offset"])
def test_a_fixed_pattern_goes_and_comes_back(kind):
    rng = np.random.default_rng(0)
    smooth = 100 + 20 * np.sin(np.arange(80) / 12) * np.ones((6, 5, 80))
    pattern = np.where(rng.random(80) < 0.1, 0.3, 0.0)
    seen = image(smooth * (1 + pattern) if kind == "gain" else smooth + 50 * pattern)
    clean = preprocess.remove_fixed_pattern(seen, kind)
    assert np.abs(clean.data.values / smooth - 1).max() < 0.06
    assert np.allclose(preprocess.undo(clean).data.values, seen.data.values, rtol=1e-5)


def peaks(shifts, energy=ENERGY):
    place = energy - shifts[..., None]
    return 100 * np.exp(-(((place - 120) / 1.5) ** 2) / 2) + 40 * np.exp(-(((place - 128) / 2) ** 2) / 2) + 5


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(-1.4, 1.4), min_size=6, max_size=6))
def test_known_shifts_are_measured(shifts):
    shifts = np.array(shifts).reshape(2, 3)
    found = preprocess.measure_shifts(image(peaks(shifts), ENERGY))
    assert np.abs(found.values - (shifts - shifts.mean())).max() < 0.02


@pytest.mark.parametrize("how", ["spline", "fourier"])
def test_aligned_spectra_are_alike(how):
    shifts = np.linspace(-1, 1, 12).reshape(3, 4)
    img = image(peaks(shifts), ENERGY)
    aligned = preprocess.align(img, shifts, how=how)
    assert np.abs(aligned.live() - peaks(np.zeros(1))[:, aligned.keep_channels.values]).max() < 0.7
    assert aligned.keep_channels.values.sum() == len(ENERGY) - 4


def test_an_axis_that_falls_has_shifts_of_the_same_sign():
    shifts = np.linspace(-1, 1, 12).reshape(3, 4)
    up = preprocess.measure_shifts(image(peaks(shifts), ENERGY))
    down = preprocess.measure_shifts(image(peaks(shifts)[..., ::-1], ENERGY[::-1]))
    assert np.allclose(up.values, down.values, atol=0.01)


def test_a_line_shares_its_shift():
    shifts = np.repeat([[-0.5], [0.8], [-0.3]], 4, axis=1)
    noisy = np.random.default_rng(0).poisson(peaks(shifts))
    found = preprocess.measure_shifts(image(noisy, ENERGY), per="line")
    assert np.array_equal(found.values, np.repeat(found.values[:, :1], 4, axis=1))
    assert np.abs(found.values - shifts).max() < 0.1


def test_acceptance_alignment_by_the_zero_loss_to_a_tenth_of_a_channel():
    img, truth = simulate.oxide_interface(KEY, shape=(16, 16))
    low = simulate.zero_loss(jax.random.key(1), truth.shifts, shape=(16, 16), counts=1e4)
    found = preprocess.measure_shifts(low, (-5, 5), place=0.0).values.ravel()
    assert np.sqrt(np.mean((found - truth.shifts) ** 2)) < 0.1 * 0.5
    aligned = preprocess.align(img, low)
    recorded = aligned.provenance[-1]["parameters"]["shifts"]
    assert np.sqrt(np.mean((recorded - truth.shifts) ** 2)) < 0.1 * 2.0
    assert aligned.live().shape[1] < 200


LOW = image(np.ones((3, 4, 80)) + peaks(np.zeros((3, 4)), ENERGY), ENERGY - 120)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: preprocess.find_spikes(image(np.ones((3, 4, 9)))), r"16 pixels .* \(12, 9\)"),
        (lambda: preprocess.find_spikes(image(np.full((5, 5, 9), np.nan))), "NaN"),
        (lambda: preprocess.remove_persistence(image(np.ones((3, 4, 9)))), "12 readouts are too few"),
        (lambda: preprocess.remove_persistence(image(np.ones((30, 4, 9))), 0.1), "both fraction and decay"),
        (lambda: preprocess.remove_persistence(image(np.full((2, 2, 3), np.inf)), 0.1, 0.1), "y=0, x=0, energy=0"),
        (lambda: preprocess.remove_fixed_pattern(image(np.zeros((3, 3, 9)))), "mean at energy=0 is 0"),
        (lambda: preprocess.measure_shifts(image(np.ones((3, 4, 4)))), "4 live channels of 'energy'"),
        (lambda: preprocess.measure_shifts(image(np.ones((3, 4, 9)))), "all spectra are flat"),
        (lambda: preprocess.measure_shifts(LOW, place=99.0), "place=99 is not in the window"),
        (lambda: preprocess.measure_shifts(image(peaks(np.zeros(3)), ENERGY**2)), "uneven at energy"),
        (lambda: preprocess.align(image(np.ones((5, 4, 9))), LOW), r"map of \(3, 4\), the image of \(5, 4\)"),
        (lambda: preprocess.align(LOW, LOW, (5, 15)), "misses the zero loss at 0"),
        (lambda: preprocess.align(LOW, np.full((3, 4), np.nan)), "shift at y=0, x=0 is nan"),
        (lambda: preprocess.align(LOW, np.full((3, 4), 60.0)), "leave none"),
    ],
)
def test_what_cannot_be_done_is_said(call, message):
    with pytest.raises(ValueError, match=message):
        call()
