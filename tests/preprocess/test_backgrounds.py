"""Backgrounds in front of an edge: exact ones, few counts, the way back, measured data, and what is refused."""

import numpy as np
import pytest

from jaxunmix import preprocess as pp
from jaxunmix.data.image import SpectrumImage
from jaxunmix.data.io import load, save

ENERGY = np.arange(560.0, 720.0)
WINDOW = (570, 630)
FITTED = (ENERGY >= 570) & (ENERGY <= 630)
BEYOND = (ENERGY >= 640) & (ENERGY <= 700)
STEPS = {
    "power law": pp.power_law_background,
    "rank 1": lambda i, w: pp.low_rank_background(i, w, rank=1),
    "rank 2": pp.low_rank_background,
    "rank 3": lambda i, w: pp.low_rank_background(i, w, rank=3),
}


def image(values, energy=ENERGY, **more):
    return SpectrumImage.from_array(values, coords={"energy": energy}, units={"energy": "eV"}, **more)


def drawn(level, exponents, seed=0):
    """Counts of power laws, and what they are drawn of."""
    rng = np.random.default_rng(seed)
    exact = level * rng.uniform(0.5, 1.5, (len(exponents), 1)) * (ENERGY / 600) ** -exponents[:, None]
    return rng.poisson(exact), exact


def extrapolated(values, exact, step, window=WINDOW):
    """Relative errors of the background summed beyond the window."""
    found = values - step(image(values.astype(float)), window).data.values
    wanted = exact[:, BEYOND].sum(axis=1)
    return (found[:, BEYOND].sum(axis=1) - wanted) / wanted.mean()


def rms(errors):
    return float(np.sqrt(np.mean(errors**2)))


def test_an_exact_power_law_leaves_the_edge():
    rng = np.random.default_rng(0)
    exponent = rng.uniform(1, 5, (3, 4, 1))
    edge = np.where(ENERGY >= 640, 50.0, 0)
    values = rng.uniform(100, 1000, (3, 4, 1)) * (ENERGY / 600) ** -exponent + edge
    out = pp.power_law_background(image(values), WINDOW)
    np.testing.assert_allclose(out.data.values, np.broadcast_to(edge, values.shape), atol=1e-9 * values.max())
    record = out.provenance[-1]["parameters"]
    np.testing.assert_allclose(record["exponent"], exponent[..., 0], rtol=1e-9)
    assert record["window"] == [[570, 630]]


@pytest.mark.parametrize("windows", [[(565, 600), (610, 630)], [(565, 600), (700, None)]])
def test_several_windows(windows):
    values = 500 * (ENERGY / 600) ** -3.0 + np.where((ENERGY > 602) & (ENERGY < 608), 9.0, 0)
    out = pp.power_law_background(image(values[None]), windows)
    np.testing.assert_allclose(out.data.values[0], np.where((ENERGY > 602) & (ENERGY < 608), 9.0, 0), atol=1e-9)


def test_equals_the_poisson_likelihood():
    from scipy.optimize import minimize

    values, _ = drawn(3.0, np.full(5, 3.0))
    rates = pp.power_law_background(image(values), WINDOW).provenance[-1]["parameters"]["exponent"]
    position = np.log(ENERGY[FITTED] / 600)
    for row, rate in zip(values[:, FITTED], rates, strict=True):

        def minus(q, row=row):
            log_mean = q[0] - q[1] * position
            return np.exp(log_mean).sum() - row @ log_mean

        best = minimize(minus, [1.0, 3.0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12})
        assert rate == pytest.approx(best.x[1], abs=1e-5)


def straight_line(img, window):
    """The usual fit, through the logarithms of the channels that have counts."""
    values, out = img.data.values, img.data.values.copy()
    for row, counts in enumerate(values):
        seen = FITTED & (counts > 0)
        slope, offset = np.polyfit(np.log(ENERGY[seen] / 600), np.log(counts[seen]), 1)
        out[row] -= np.exp(offset) * (ENERGY / 600) ** slope
    return img.__class__(img.data.copy(data=out), img.signal_dims)


@pytest.mark.parametrize(("level", "likelihood", "line"), [(1, 0.055, 0.84), (10, 0.011, -0.056)])
def test_the_bias_at_few_counts_is_as_documented(level, likelihood, line):
    values, exact = drawn(level, np.full(3000, 3.0))
    error = 0.5 / np.sqrt(3000) * {1: 1.0, 10: 0.33}[level]
    assert np.mean(extrapolated(values, exact, pp.power_law_background)) == pytest.approx(likelihood, abs=4 * error)
    assert np.mean(extrapolated(values, exact, straight_line)) == pytest.approx(line, abs=6 * error)


@pytest.mark.parametrize(
    ("level", "single", "low_rank"), [(1, 0.44, 0.13), (10, 0.16, 0.053), (100, 0.050, 0.030), (1000, 0.0157, 0.0145)]
)
def test_low_rank_is_less_noisy_as_documented(level, single, low_rank):
    values, exact = drawn(level, np.random.default_rng(1).uniform(2.5, 3.5, 3000))
    assert rms(extrapolated(values, exact, pp.power_law_background)) == pytest.approx(single, rel=0.08)
    assert rms(extrapolated(values, exact, pp.low_rank_background)) == pytest.approx(low_rank, rel=0.08)


def test_low_rank_is_less_noisy_from_a_camera():
    """Noise of even strength, no counts: kappa is what the residual says."""
    rng = np.random.default_rng(2)
    exact = 1000 * (ENERGY / 600) ** -rng.uniform(2.8, 3.2, (1000, 1))
    values = 7 * rng.poisson(exact) + rng.normal(0, 100, exact.shape)
    single, several = (rms(extrapolated(values, 7 * exact, STEPS[s])) for s in ("power law", "rank 2"))
    assert several < 0.75 * single


def test_sums_of_power_laws_need_a_third_dimension():
    rng = np.random.default_rng(3)
    share = rng.uniform(0, 1, (500, 1))
    exact = 1e5 * (share * (ENERGY / 600) ** -2.0 + (1 - share) * (ENERGY / 600) ** -5.0)
    values = rng.poisson(exact)
    assert np.mean(extrapolated(values, exact, pp.power_law_background)) == pytest.approx(-0.009, abs=0.001)
    assert abs(np.mean(extrapolated(values, exact, STEPS["rank 3"]))) < 0.001


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS.keys())
@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.float64])
def test_undo_comes_back(step, dtype):
    values = drawn(30.0, np.full(12, 3.0))[0].reshape(3, 4, -1).astype(dtype)
    keep = np.ones((3, 4), bool)
    keep[1, 2] = False
    channels = ENERGY < 715
    img = image(values, keep_pixels=keep, keep_channels=channels)
    out = step(img, WINDOW)
    np.testing.assert_array_equal(out.data.values[1, 2], values[1, 2])
    np.testing.assert_array_equal(out.data.values[..., ~channels], values[..., ~channels])
    assert out.data.dtype == (np.float64 if dtype == np.float64 else np.float32)
    back = pp.undo(out)
    assert back.data.dtype == dtype
    np.testing.assert_allclose(back.data.values, values, rtol=0 if dtype == np.uint16 else 1e-5)


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS.keys())
@pytest.mark.parametrize("suffix", ["npz", "nc"])
def test_undo_after_a_file(tmp_path, step, suffix):
    values = drawn(30.0, np.full(12, 3.0))[0].reshape(3, 4, -1).astype(np.uint16)
    save(step(image(values), WINDOW), tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(pp.undo(load(tmp_path / f"a.{suffix}")).data.values, values)


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS.keys())
def test_pixels_without_counts_and_with_few_have_an_answer(step):
    values = np.zeros((4, len(ENERGY)))
    values[1, 10] = 1.0  # one count, in the first channel of the window
    values[2, 70] = 1.0  # in the last
    values[3] = 5 * (ENERGY / 600) ** -3.0
    out = step(image(values), WINDOW)
    np.testing.assert_array_equal(out.data.values[0], 0)
    assert np.isfinite(out.data.values).all()
    assert out.provenance[-1]["parameters"]["without_counts"] == 1
    left = out.data.values[:, FITTED].sum(axis=1)
    np.testing.assert_allclose(left, 0, atol=1e-9 * values[3].sum())


def test_one_spectrum_keeps_its_own_background():
    values = 1e4 * (ENERGY / 600) ** -3.0
    out = pp.low_rank_background(image(values[None]), WINDOW)
    assert np.abs(out.data.values).max() < 1e-6 * values.max()


@pytest.mark.parametrize("step", [STEPS["power law"], STEPS["rank 2"]], ids=["power law", "rank 2"])
def test_the_manganese_edge_of_lsmo_is_not_negative(shared_data, step):
    """Real line scan: Mn L begins at 629 eV, and lies on the tail of O K."""
    path = shared_data / "eels_lsmo_lines" / "lsmo_linescans.npz"
    if not path.is_file():
        pytest.skip(f"the measured line scan is not here: {path}")
    with np.load(path) as file:
        energy, values = file["LSMO_linescan_core_energy_eV"], file["LSMO_linescan_core"]
    img = pp.crop(image(values, energy, dims=("x", "energy")), energy=(570, None))
    left = step(img, (580, 626)).data
    # Of one channel, from the differences between neighbours.
    noise = np.diff(img.data.sel(energy=slice(580, 626)).values, axis=1).std(axis=1) / np.sqrt(2)
    edge = left.sel(energy=slice(629, None)).values
    assert (edge.min(axis=1) > -5 * noise).all()
    # A tail of some 30,000 counts after two white lines of 150,000 and 85,000, in all 40 spectra.
    assert left.sel(energy=slice(665, 720)).mean("energy").min() > 15 * noise.max()
    assert left.sel(energy=slice(632, 637)).mean("energy").min() > 5e4
    before = left.sel(energy=slice(580, 626)).mean("energy").values
    assert (np.abs(before) < noise).all()


def with_nan():
    values = drawn(30.0, np.full(3, 3.0))[0].astype(float)
    values[1, 5] = np.nan
    return image(values)


@pytest.mark.parametrize("step", [STEPS["power law"], STEPS["rank 2"]], ids=["power law", "rank 2"])
def test_refusals_name_the_place_and_the_remedy(step):
    img = image(drawn(30.0, np.full(3, 3.0))[0])
    for window, message in (
        ((800, 900), "holds no live channel; they are at 560 to 719 eV"),
        ([(570, 580), (800, 900)], "holds no live channel"),
        ((600, 601), "2 live channels.*widen"),
    ):
        with pytest.raises(ValueError, match=message):
            step(img, window)
    with pytest.raises(ValueError, match=r"begins at -40.*preprocess.crop"):
        step(image(img.data.values, ENERGY - 600), (10, 50))
    with pytest.raises(ValueError, match=r"NaN or infinite.*energy=565"):
        step(with_nan(), WINDOW)


def test_low_rank_refuses_ranks_and_windows_without_counts():
    img = image(drawn(30.0, np.full(3, 3.0))[0])
    with pytest.raises(ValueError, match="rank=3, but window"):
        pp.low_rank_background(img, (600, 602), rank=3)
    with pytest.raises(ValueError, match="no counts in window"):
        pp.low_rank_background(image(np.zeros((2, 160))), WINDOW)
