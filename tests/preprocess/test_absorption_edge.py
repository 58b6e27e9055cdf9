"""X-ray absorption: edges and their normalisation, and peak tops, against known answers."""

import numpy as np
import pytest
from scipy.optimize import curve_fit

from jaxunmix import preprocess as pp
from jaxunmix.data.image import SpectrumImage
from jaxunmix.data.io import load, save
from jaxunmix.preprocess import peak_position

ENERGY = np.concatenate([np.arange(7600.0, 7690, 5), np.arange(7690, 7740, 0.5), np.arange(7740, 7905, 3)])
EDGES = np.random.default_rng(0).uniform(7705, 7715, (3, 4))
WINDOWS = {"pre": (None, 7690), "post": (7740, None)}


def raw(degree=2, dtype=np.float64, noise=0.0, **options):
    """mu(E) of a sharp edge at EDGES between a line and the line plus a polynomial; the image, and the steps."""
    rng = np.random.default_rng(1)
    offset, slope, step = (rng.uniform(*limits, (3, 4, 1)) for limits in ((-3, 3), (-3e-3, 3e-3), (0.1, 2)))
    past = ENERGY - EDGES[..., None]
    above = sum(rng.uniform(-1, 1, (3, 4, 1)) * (past / 300) ** n for n in range(1, degree + 1))
    mu = offset + slope * (ENERGY - 7600) + (past >= 0) * step * (1 + above)
    mu += noise * rng.normal(size=mu.shape)
    img = SpectrumImage.from_array(mu.astype(dtype), coords={"energy": ENERGY}, units={"energy": "eV"}, **options)
    return img, step[..., 0]


@pytest.mark.parametrize("degree", [1, 2, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_edge_between_a_line_and_a_polynomial(degree, dtype):
    img, step = raw(degree, dtype)
    tolerance = 1e-9 if dtype == np.float64 else 2e-4
    out = pp.normalise_edge(img, **WINDOWS, degree=degree, e0=EDGES)
    assert out.data.dtype == dtype
    below = EDGES[..., None] > ENERGY
    np.testing.assert_allclose(out.data.values[below], 0, atol=tolerance)
    record = out.provenance[-1]["parameters"]
    np.testing.assert_allclose(record["step"], step, rtol=tolerance)
    flat = pp.normalise_edge(img, **WINDOWS, degree=degree, e0=EDGES, flatten=True)
    np.testing.assert_allclose(flat.data.values, ~below, atol=tolerance)
    for done in (out, flat):
        back = pp.undo(done)
        np.testing.assert_allclose(back.data, img.data, atol=tolerance / 10)
        assert back.data.dtype == dtype


def test_flattening_takes_out_the_polynomial_through_the_normalised_post_edge():
    """Larch fits the normalised spectrum over the post-edge window again, and subtracts it less its value at e0."""
    img, _ = raw(3, noise=0.01)
    plain = pp.normalise_edge(img, **WINDOWS, degree=2, e0=7710).data.values[1, 2]
    flat = pp.normalise_edge(img, **WINDOWS, degree=2, e0=7710, flatten=True).data.values[1, 2]
    post = ENERGY >= 7740
    fit = np.polyfit(ENERGY[post] - 7710, plain[post], 2)
    expected = plain - (ENERGY >= 7710) * (np.polyval(fit, ENERGY - 7710) - fit[-1])
    np.testing.assert_allclose(flat, expected, atol=1e-9)


def test_normalised_edge_comes_back_from_a_file(tmp_path):
    keep = np.ones((3, 4), bool)
    keep[2, 1] = False
    img, _ = raw(dtype=np.float32, keep_pixels=keep, keep_channels=ENERGY != 7800)
    img.data.values[2, 1] = np.nan
    save(pp.normalise_edge(img, **WINDOWS, degree=2, e0=7710, flatten=True), tmp_path / "a.h5")
    back = pp.undo(load(tmp_path / "a.h5"))
    np.testing.assert_allclose(back.data, img.data, atol=1e-5)


def test_edge_is_found_where_none_is_given():
    img, step = raw(1)
    out = pp.normalise_edge(img, **WINDOWS, degree=1)
    record = out.provenance[-1]["parameters"]
    assert np.abs(record["e0"] - EDGES).max() < 0.5
    np.testing.assert_allclose(record["step"], step, rtol=5e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pre": (0, 1)}, r"normalise_edge: pre=\(0, 1\) holds no live channel; they are at 7600 to 7902"),
        ({"pre": (7600, 7602)}, "holds 1 live channels of 'energy', and its polynomial has 2 coefficients; widen"),
        ({"post": (7895, None), "degree": 3}, "holds 3 live .* has 4 coefficients; widen the window or lower"),
        ({"pre": (7740, None), "post": (None, 7690)}, "pre ends at 7902, but post begins at 7600"),
        ({"e0": 7600}, "e0 is not between the end of pre .7690. and the start of post .7740. at 12 pixels, the first"),
        ({"e0": 710.0}, "it is in the unit of 'energy'"),
        ({"e0": np.ones(3)}, r"e0 of shape \(3,\); give a number or \(3, 4\)"),
        ({"degree": 4}, "give both windows, and 1, 2 or 3"),
        ({"post": None}, "give both windows"),
        ({"degree": None}, "give degree=1, 2 or 3 too"),
    ],
)
def test_edge_normalisation_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        pp.normalise_edge(raw()[0], **({"degree": 1, "e0": 7710} | WINDOWS | options))


def test_pixels_without_a_positive_step_are_named():
    img, _ = raw(1)
    img.data.values[1, 3] *= -1
    with pytest.raises(ValueError, match="no positive step at 1 pixels, the first at y=1, x=3"):
        pp.normalise_edge(img, **WINDOWS, degree=1, e0=7710)
    img.data.values[1, 3] = 0.7
    with pytest.raises(ValueError, match="no edge between pre and post at 1 pixels, the first at y=1, x=3"):
        pp.normalise_edge(img, **WINDOWS, degree=1)


def arctangent(energy, edge, width=1.0):
    return 0.5 + np.arctan((energy - edge) / width) / np.pi


def test_edge_energy_of_steps_between_channels():
    keep = np.ones((3, 4), bool)
    keep[0, 0] = False
    mu = arctangent(ENERGY, EDGES[..., None])
    mu[1, 1, 60] += 5  # a glitch
    mu[2, 2] = 1
    for order in (slice(None), slice(None, None, -1)):
        img = SpectrumImage.from_array(
            mu[..., order], coords={"energy": ENERGY[order]}, units={"energy": "eV"}, keep_pixels=keep
        )
        for found, error in ((pp.edge_energy(img), 0.05), (pp.edge_energy(img, level=0.5), 0.02)):
            assert found.attrs == {"units": "eV"}
            gone = np.isnan(found.values)
            assert gone.sum() == 2
            assert gone[0, 0]
            assert gone[2, 2]
            assert np.nanmax(np.abs(found - EDGES)) < error


def test_edge_energy_looks_in_its_window():
    mu = 3 * arctangent(ENERGY, 7700) + arctangent(ENERGY, 7720)
    img = SpectrumImage.from_array(mu, coords={"energy": ENERGY})
    assert float(pp.edge_energy(img)) == pytest.approx(7700, abs=0.05)
    assert float(pp.edge_energy(img, (7710, 7730))) == pytest.approx(7720, abs=0.1)
    assert np.isnan(pp.edge_energy(img, (7701, 7705)))  # it only falls off from the border
    with pytest.raises(ValueError, match="2 channels of 'energy' in window"):
        pp.edge_energy(img, (7700, 7700.5))
    with pytest.raises(ValueError, match="give an odd number of channels"):
        pp.edge_energy(img, channels=4)


def test_edge_energy_in_noise_needs_more_channels():
    rng = np.random.default_rng(3)
    mu = arctangent(ENERGY, 7710, 2.0) + rng.normal(0, 0.05, (200, len(ENERGY)))
    img = SpectrumImage.from_array(mu, coords={"energy": ENERGY})
    assert (pp.edge_energy(img, channels=15) - 7710).std() < 0.8
    assert (pp.edge_energy(img, channels=15, level=0.5) - 7710).std() < 0.2


WHITE = np.linspace(7715, 7745, 100)


def white_lines(n, seed=0):
    """Absorption with a white line (pseudo-Voigt) over an arctangent step, and the centres of the lines."""
    rng = np.random.default_rng(seed)
    centre, height, width = (rng.uniform(*limits, (n, 1)) for limits in ((7726, 7734), (0.6, 1.4), (4, 6)))
    u = (WHITE - centre) / width
    line = 0.5 / (1 + 4 * u**2) + 0.5 * np.exp(-4 * np.log(2) * u**2)
    return arctangent(WHITE, centre - 4, 1.5) + height * line, centre[:, 0]


def with_noise(clean, db, seed=9):
    sd = np.sqrt(np.mean(clean**2) / 10 ** (db / 10))
    return clean + np.random.default_rng(seed).normal(0, sd, clean.shape)


def gaussian(e, height, centre, width, a, b):
    return height * np.exp(-0.5 * ((e - centre) / width) ** 2) + a + b * (e - 7730)


def by_scipy(y, centre):
    """(parameters, standard error of the centre, sum of squares), begun at the true centre."""
    p, covariance = curve_fit(gaussian, WHITE, y, [1, centre, 2, 0.5, 0], maxfev=5000)
    return p, np.sqrt(covariance[1, 1]), np.sum((y - gaussian(WHITE, *p)) ** 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gaussian_is_that_of_scipy(dtype):
    clean, centre = white_lines(50)
    y = with_noise(clean, 25).astype(dtype)
    img = SpectrumImage.from_array(y, coords={"energy": WHITE}, units={"energy": "eV", "intensity": "OD"})
    found = pp.fit_peak(img, (7715, 7745))
    reference = [by_scipy(*one) for one in zip(y.astype(float), centre, strict=True)]
    expected = np.array([p for p, _, _ in reference])
    assert np.sqrt(np.mean((found["energy"] - expected[:, 1]) ** 2)) < 0.002
    np.testing.assert_allclose(found["height"], expected[:, 0], rtol=1e-3)
    np.testing.assert_allclose(found["width"], expected[:, 2], rtol=1e-3)
    np.testing.assert_allclose(found["error"], [e for _, e, _ in reference], rtol=1e-2)
    assert found["energy"].attrs == {"units": "eV"}
    assert found["height"].attrs == {"units": "OD"}
    np.testing.assert_array_equal(pp.peak_top_energy(img, (7715, 7745)), found["energy"])


def test_gaussian_in_noise_of_its_own_height():
    """At 5.62 dB the highest channel is 2.6 eV off; no fit of ours leaves more than scipy's from the true centre."""
    clean, centre = white_lines(150)
    y = with_noise(clean, 5.62)
    found = pp.fit_peak(SpectrumImage.from_array(y, coords={"energy": WHITE}), (7715, 7745))
    assert np.std(WHITE[y.argmax(axis=1)] - centre) > 2
    assert np.nanstd(found["energy"] - centre) < 0.8
    apart, worse = [], 0
    for i in np.flatnonzero(np.isfinite(found["energy"].values)):
        p, _, squares = by_scipy(y[i], centre[i])
        shape = np.exp(-0.5 * ((WHITE - float(found["energy"][i])) / float(found["width"][i])) ** 2)
        design = np.stack([shape, np.ones_like(WHITE), WHITE - 7730], axis=1)
        ours = np.linalg.lstsq(design, y[i], rcond=None)[1][0]
        worse += ours > 1.001 * squares
        apart.append(float(found["energy"][i]) - p[1])
    assert worse == 0
    assert np.median(np.abs(apart)) < 1e-3
    assert len(apart) > 145


@pytest.mark.parametrize(
    "options",
    [{"window": (7722, 7738), "shape": "parabola"}, {"window": (7715, 7745), "baseline": "constant"}, {"channels": 41}],
)
def test_standard_error_is_the_scatter(options):
    y = np.exp(-0.5 * ((WHITE - 7730.2) / 12) ** 2) + np.random.default_rng(0).normal(0, 0.01, (600, 100))
    found = pp.fit_peak(SpectrumImage.from_array(y, coords={"energy": WHITE}), **options)
    assert float(found["energy"].mean()) == pytest.approx(7730.2, abs=0.1)
    assert float(found["energy"].std() / found["error"].mean()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("offset", [0.0, -1000.0])
def test_parabola_has_the_top_of_a_parabola(offset):
    energy = np.concatenate([WHITE[:50], WHITE[50::2]])[::-1]  # falling, and not uniform
    centre = np.linspace(7725, 7735, 11)[:, None]
    y = offset + 4 - 0.03 * (energy - centre) ** 2
    img = SpectrumImage.from_array(y, coords={"energy": energy})
    for options in ({"window": (7720, 7741)}, {"channels": 9}):
        found = pp.fit_peak(img, shape="parabola", **options)
        np.testing.assert_allclose(found["energy"], centre[:, 0], atol=1e-3)
        np.testing.assert_allclose(found["height"], offset + 4, atol=1e-3)
        if offset == 0:
            np.testing.assert_allclose(found["width"], np.sqrt(4 / 0.06), rtol=1e-3)


def test_peak_top_energy_of_gaussians_between_channels():
    energy = np.linspace(7700, 7760, 121)
    centres = np.random.default_rng(2).uniform(7720, 7740, (5, 6))
    y = 3 * np.exp(-0.5 * ((energy - centres[..., None]) / 2.5) ** 2)
    img = SpectrumImage.from_array(y, coords={"energy": energy}, units={"energy": "eV"})
    for options in ({}, {"window": (7715, 7745)}, {"window": (7715, 7745), "channels": 9, "baseline": "none"}):
        top = pp.peak_top_energy(img, **options)
        np.testing.assert_allclose(top, centres, atol=1e-3)
        assert top.attrs == {"units": "eV"}
        assert top.name == "peak_top_energy"


def test_peak_on_an_uneven_axis_with_a_gap():
    energy = np.concatenate([np.arange(7700, 7725, 5.0), np.arange(7725, 7735, 0.25), np.arange(7735, 7800, 5.0)])
    centres = np.linspace(7726, 7734, 9)
    y = 0.2 + 3 * np.exp(-0.5 * ((energy - centres[:, None]) / 1.5) ** 2)
    found = pp.peak_top_energy(SpectrumImage.from_array(y, coords={"energy": energy}), (7700, 7790))
    np.testing.assert_allclose(found, centres, atol=1e-3)


@pytest.mark.parametrize("options", [{}, {"window": (7715, 7745)}, {"shape": "parabola"}])
def test_where_there_is_no_peak(options):
    clean, centre = white_lines(8)
    y = clean.copy()
    y[1] = 0
    y[2] = 1e6 / 3  # flat
    y[3] = WHITE - 7700  # rises up to the border
    y[4] = -clean[4]
    if "shape" in options:
        y[4] = 7745 - WHITE
    keep = np.arange(8) != 5
    img = SpectrumImage.from_array(y, coords={"energy": WHITE}, keep_pixels=keep)
    found = pp.fit_peak(img, **options)
    for name in ("energy", "height", "width", "error"):
        gone = np.isnan(found[name].values)
        assert gone[[1, 2, 3, 5]].all()
        assert not gone[[0, 6, 7]].any()
    assert np.abs(found["energy"].values - centre)[[0, 6, 7]].max() < 0.5


def test_peaks_of_whole_numbers_and_masked_channels():
    y = np.rint(1000 * white_lines(3)[0]).astype(np.uint16)
    y[:, 50] = 60000
    img = SpectrumImage.from_array(y, coords={"energy": WHITE}, keep_channels=np.arange(100) != 50)
    assert np.abs(pp.peak_top_energy(img, (7715, 7745)) - white_lines(3)[1]).max() < 0.5


def test_other_windows_of_the_same_size_are_not_compiled_again():
    img = SpectrumImage.from_array(white_lines(4)[0], coords={"energy": WHITE})
    pp.peak_top_energy(img, (7720, 7741))
    before = peak_position._fit_all._cache_size()
    shifted = SpectrumImage.from_array(white_lines(4, 1)[0], coords={"energy": WHITE + 100})
    pp.peak_top_energy(shifted, (7820, 7841))
    assert peak_position._fit_all._cache_size() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": (0, 1)}, r"fit_peak: window=\(0, 1\) holds no live channel"),
        ({"window": (7720, 7721)}, "3 of 3 live channels of 'energy' for a gaussian .* give a window with 5 or more"),
        ({"channels": 101}, "101 of 100 live channels"),
        ({"channels": 2, "shape": "parabola"}, "with 3 or more"),
        ({"shape": "parabola", "baseline": "linear"}, "a baseline with a gaussian only"),
    ],
)
def test_peak_fit_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        pp.fit_peak(SpectrumImage.from_array(white_lines(2)[0], coords={"energy": WHITE}), **options)


def test_one_signal_dim_is_needed():
    img = SpectrumImage.from_array(np.ones((2, 3, 4)), signal_dims=2)
    for step in (pp.fit_peak, pp.edge_energy, pp.normalise_edge):
        with pytest.raises(ValueError, match="needs one signal dim"):
            step(img)
