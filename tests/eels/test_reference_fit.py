"""MLLS: the numbers of scipy, errors that cover what they claim, shifts and broadenings, and what is refused."""

from contextlib import nullcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import xarray as xr

import jaxunmix as jxu
from jaxunmix.physics.camera import Camera

ENERGY = np.linspace(620, 680, 241)
RNG = np.random.default_rng(0)


def white_lines(at, width, onset=1.0):
    """An edge of two white lines, much like Mn L."""
    step = 0.3 / (1 + np.exp(-(ENERGY - at) / onset))
    return step + sum(h * np.exp(-0.5 * ((ENERGY - at - d) / width) ** 2) for h, d in ((1.0, 2.0), (0.6, 13.0)))


REFERENCES = np.stack([white_lines(640.0, 1.5), white_lines(641.5, 1.7), white_lines(643.0, 1.6)])
AMOUNTS = RNG.uniform(50, 300, (100, 3))
EXACT = AMOUNTS @ REFERENCES
CAMERA = Camera(readout_sd=4.0, counts_per_electron=2.0, gain_sd=0.01)


def image(values, **more):
    return jxu.SpectrumImage.from_array(values, coords={"energy": ENERGY}, units={"energy": "eV"}, **more)


def z_scores(found, truth, sd):
    return float(np.sqrt(np.mean(((np.asarray(found) - truth) / np.asarray(sd)) ** 2)))


def close(found, wanted, rtol):
    np.testing.assert_allclose(np.asarray(found), wanted, rtol=rtol)


@pytest.mark.parametrize("double", [True, False], ids=["float64", "float32"])
@pytest.mark.parametrize("kind", ["number", "per entry", "estimated"])
def test_equals_curve_fit(double, kind):
    """Single precision loses what the references' collinearity (condition 11) takes of its 7 digits."""
    variance = {"number": 25.0, "per entry": np.asarray(CAMERA.variance(EXACT)), "estimated": None}[kind]
    spread = np.ones(EXACT.shape) if variance is None else np.sqrt(np.broadcast_to(variance, EXACT.shape))
    values = EXACT + np.random.default_rng(1).normal(0, 5, EXACT.shape) * (1 if variance is None else spread / 5)
    with jax.enable_x64(True) if double else nullcontext():
        fit = jxu.eels.mlls(image(values), REFERENCES, variance)
        maps, sd, correlation = (np.asarray(a) for a in (fit.maps, fit.maps_sd, fit.correlation))
    assert maps.dtype == (np.float64 if double else np.float32)
    assert correlation.shape == ((100, 3, 3) if kind == "per entry" else (3, 3))
    for p, row in enumerate(values):
        found, covariance = scipy.optimize.curve_fit(
            lambda _, *a: np.array(a) @ REFERENCES,
            ENERGY,
            row,
            np.ones(3),
            sigma=spread[p],
            absolute_sigma=variance is not None,
            jac=lambda _, *a: REFERENCES.T,
        )
        wanted = np.sqrt(np.diag(covariance))
        close(maps[p], found, 1e-7 if double else 1e-5)
        close(sd[p], wanted, 1e-7 if double else 1e-5)
        here = correlation[p] if correlation.ndim == 3 else correlation
        close(here, covariance / np.outer(wanted, wanted), 1e-6 if double else 1e-4)


def test_equals_lstsq_with_collinear_references_in_single_precision():
    near = np.stack([white_lines(640.0, 1.5), white_lines(640.02, 1.5), white_lines(643.0, 1.6)])
    assert np.linalg.cond(near) > 200
    values = (AMOUNTS @ near + RNG.normal(0, 5, EXACT.shape)).astype(np.float32)
    fit = jxu.eels.mlls(image(values), near, 25.0)
    wanted = np.linalg.lstsq(near.T, values.T.astype(np.float64), rcond=None)[0].T
    sd = 5 * np.sqrt(np.diag(np.linalg.inv(near @ near.T)))
    assert np.abs((np.asarray(fit.maps) - wanted) / sd).max() < 1e-3
    close(fit.maps_sd[0], sd, 1e-4)


@pytest.mark.parametrize("kind", ["number", "camera", "expected of the fit", "estimated", "broad"])
def test_errors_cover_what_they_claim(kind):
    rng = np.random.default_rng(2)
    amounts = rng.uniform(50, 300, (1000, 3))
    exact = amounts @ REFERENCES
    true = np.asarray(CAMERA.variance(exact)) if kind in ("camera", "expected of the fit") else 25.0
    img = image(exact + rng.normal(0, np.sqrt(true), exact.shape))
    variance = {"number": 25.0, "camera": true, "estimated": None, "broad": 25.0}.get(kind)
    if kind == "expected of the fit":
        variance = CAMERA.variance(jxu.eels.mlls(img, REFERENCES).model())
    options = {"shifts": True} if kind == "broad" else {}
    fit = jxu.eels.mlls(img, REFERENCES, variance, **options)
    assert 0.95 < z_scores(fit.maps, amounts, fit.maps_sd) < 1.05
    wanted = 25.0 if kind == "estimated" else 1.0
    assert np.mean(fit.chi_square) == pytest.approx(wanted, rel=0.02)
    assert float(fit.freedom[0]) == 241 - (6 if kind == "broad" else 3)


def test_shifts_and_broadenings_are_found_within_their_errors():
    """On one white line of sd 2 eV: a shift of 0.05 and a broadening of 0.2 of that, at a noise of 2 % of the top."""
    rng = np.random.default_rng(3)
    shape = np.exp(-0.5 * ((ENERGY - 650) / 2) ** 2)
    shift, variance = 0.1, 0.16
    moved = 2 / np.sqrt(4 + variance) * np.exp(-0.5 * (ENERGY - 650 - shift) ** 2 / (4 + variance))
    values = 1000 * moved + rng.normal(0, 20, (2000, 241))
    img = image(values)
    fit = jxu.eels.mlls(img, shape[None], 400.0, shifts=True, broadenings=True)
    # To second order in energy: the bias is far below the error of one pixel, and shows in the mean of 2,000.
    assert abs(np.mean(fit.shift) - shift) < 0.1 * shift
    assert abs(np.mean(fit.broadening) - variance) < 0.1 * variance
    assert 0.9 < z_scores(fit.shift, shift, fit.shift_sd) < 1.1
    assert 0.9 < z_scores(fit.broadening, variance, fit.broadening_sd) < 1.1
    assert np.mean(fit.maps) == pytest.approx(1000, rel=0.01)
    fwhm, seen = np.asarray(fit.broadening_fwhm), np.asarray(fit.broadening) >= 0
    np.testing.assert_array_equal(np.isfinite(fwhm), seen)
    close(fwhm[seen] ** 2, 8 * np.log(2) * np.asarray(fit.broadening)[seen], 1e-5)
    plain = jxu.eels.mlls(image(1000 * shape + rng.normal(0, 20, (2000, 241))), shape[None], 400.0, shifts=True)
    assert plain.broadening is None
    assert plain.broadening_sd is None
    assert 0.9 < z_scores(plain.shift, 0, plain.shift_sd) < 1.1


@pytest.mark.parametrize(("share", "low"), [(0.2, 0.01), (0.5, 0.06)])
def test_the_range_of_shifts_is_as_documented(share, low):
    with jax.enable_x64(True):
        shape, moved = (np.exp(-0.5 * ((ENERGY - 650 - d) / 2) ** 2) for d in (0, 2 * share))
        both = jxu.eels.mlls(image(moved[None]), shape[None], 1.0, shifts=True, broadenings=True)
        alone = jxu.eels.mlls(image(moved[None]), shape[None], 1.0, shifts=True)
        assert 1 - float(both.shift[0, 0]) / (2 * share) == pytest.approx(low, abs=0.003)
        assert float(alone.shift[0, 0]) == pytest.approx(2 * share, rel=1e-3)
        assert 1 - float(alone.maps[0, 0]) == pytest.approx(low, abs=0.003)


@pytest.mark.parametrize(("share", "low"), [(0.3, 0.06), (0.5, 0.16)])
def test_the_range_of_broadenings_is_as_documented(share, low):
    with jax.enable_x64(True):
        added = (2 * share) ** 2
        shape, broad = (np.exp(-0.5 * (ENERGY - 650) ** 2 / (4 + v)) / np.sqrt(4 + v) for v in (0, added))
        fit = jxu.eels.mlls(image(broad[None]), shape[None], 1.0, broadenings=True)
        assert 1 - float(fit.broadening[0, 0]) / added == pytest.approx(low, abs=0.005)


@pytest.mark.parametrize("kind", ["number", "per entry"])
def test_nonnegative_equals_nnls(kind):
    rng = np.random.default_rng(4)
    amounts = np.where(rng.random((60, 3)) < 0.5, 0, rng.uniform(5, 30, (60, 3)))
    variance = np.broadcast_to(25.0, (60, 241)) if kind == "number" else rng.uniform(10, 40, (60, 241))
    values = amounts @ REFERENCES + rng.normal(0, np.sqrt(variance))
    fit = jxu.eels.mlls(image(values), REFERENCES, 25.0 if kind == "number" else variance, nonnegative=True)
    maps, sd = np.asarray(fit.maps), np.asarray(fit.maps_sd)
    assert maps.min() == 0
    for p, row in enumerate(values):
        design = REFERENCES / np.sqrt(variance[p])
        wanted = scipy.optimize.nnls(design.T, row / np.sqrt(variance[p]))[0]
        np.testing.assert_allclose(maps[p], wanted, rtol=1e-4, atol=1e-3)
        free = wanted > 0
        assert np.isnan(sd[p, ~free]).all()
        close(sd[p, free], np.sqrt(np.diag(np.linalg.inv(design[free] @ design[free].T))), 1e-4)
    project = jxu.project(values, REFERENCES)
    if kind == "number":
        np.testing.assert_allclose(maps, np.asarray(project.maps), rtol=1e-4, atol=1e-3)


def test_nonnegative_leaves_derivatives_and_power_laws_their_signs():
    shape = np.exp(-0.5 * ((ENERGY - 650) / 2) ** 2)
    moved = np.exp(-0.5 * ((ENERGY - 650.2) / 2) ** 2)
    background = 300 * (ENERGY / 620) ** -2.0 - 100 * (ENERGY / 620) ** -4.0
    values = np.array([[1000.0], [-1000.0]]) * moved + background
    fit = jxu.eels.mlls(image(values), shape[None], 1.0, shifts=True, background_exponents=(2.0, 4.0), nonnegative=True)
    assert fit.terms == ("0", "0′", "E^-2", "E^-4")
    assert float(fit.shift[0, 0]) == pytest.approx(0.2, rel=0.02)
    np.testing.assert_allclose(fit.coefficients[0, 2:], [300, -100], rtol=0.05)
    assert float(fit.maps[1, 0]) == 0
    assert np.isnan(fit.shift[1, 0])


def test_masked_channels_and_pixels_take_no_part():
    """Derivatives beside a gap are those of the channels on their own side."""
    keep_channels = np.abs(ENERGY - 660) > 2
    keep_pixels = np.ones((10, 10), bool)
    keep_pixels[3, 4] = False
    values = EXACT.copy().reshape(10, 10, -1)
    values[..., ~keep_channels] = np.nan
    values[3, 4] = np.nan
    masked = image(values, keep_channels=keep_channels, keep_pixels=keep_pixels)
    gaps = REFERENCES[:2].copy()
    gaps[:, ~keep_channels] = np.nan
    alike = [
        jxu.eels.mlls(masked, given, 1.0, shifts=True)
        for given in (REFERENCES[:2], REFERENCES[:2, keep_channels], gaps)
    ]
    for fit in alike:
        np.testing.assert_array_equal(fit.maps, alike[0].maps)
    exact = jxu.eels.mlls(masked, REFERENCES, variance=np.ones((10, 10, 241)), shifts=True)
    close(exact.maps, AMOUNTS[keep_pixels.ravel()], 1e-3)
    assert np.abs(exact.shift).max() < 1e-3
    assert np.isnan(exact.to_xarray(masked)["maps"].values[:, 3, 4]).all()


def test_labelled_references_and_results():
    names = ["Mn2+", "Mn3+", "Mn4+"]
    labelled = xr.DataArray(
        REFERENCES, dims=("phase", "energy"), coords={"phase": names, "energy": ("energy", ENERGY, {"units": "eV"})}
    )
    img = image(EXACT.reshape(10, 10, -1))
    one = jxu.eels.mlls(img, labelled.T, shifts=True, broadenings=True)
    assert one.terms[:4] == ("Mn2+", "Mn3+", "Mn4+", "Mn2+′")
    table = one.to_xarray(img)
    assert table["maps"].dims == ("component", "y", "x")
    assert table["component"].values.tolist() == names
    assert table["shift"].attrs["units"] == "eV"
    assert table["broadening"].attrs["units"] == "eV^2"
    assert table["correlation"].dims == ("term", "other_term")
    each = jxu.eels.mlls(img, image(REFERENCES), variance=np.ones((10, 10, 241))).to_xarray(img)
    assert each["correlation"].dims == ("term", "other_term", "y", "x")
    np.testing.assert_allclose(each["maps"].values.reshape(3, -1).T, AMOUNTS, rtol=1e-4)


def test_the_camera_weighs_a_problem():
    values = EXACT + np.random.default_rng(5).normal(0, np.sqrt(CAMERA.variance(EXACT)))
    # By iterations that end where the objective changes by less than a millionth.
    weighed = jxu.project(values, REFERENCES, weights=CAMERA.weights(EXACT), constraints=())
    fit = jxu.eels.mlls(image(values), REFERENCES, CAMERA.variance(EXACT))
    assert z_scores(weighed.maps, np.asarray(fit.maps), fit.maps_sd) < 0.2


def test_compiles_once_for_images_of_one_shape():
    from jaxunmix.eels.least_squares import solve_signed

    jxu.eels.mlls(image(EXACT), REFERENCES, 1.0)
    before = solve_signed._cache_size()
    jxu.eels.mlls(image(EXACT + 1), REFERENCES + 0.1, 2.0)
    assert solve_signed._cache_size() == before


def with_nan():
    values = EXACT.copy()
    values[2, 5] = np.nan
    return image(values)


def variance_of(value):
    made = np.ones(EXACT.shape)
    made[1, 3] = value
    return made


def on_axis(energy):
    return xr.DataArray(np.ones((1, len(energy))), dims=("k", "energy"), coords={"energy": energy})


REFUSED = {
    "NaN": (with_nan, REFERENCES, {}, r"pixel|x=2|y=2"),
    "no references": (None, np.zeros((0, 241)), {}, "references of shape"),
    "one row": (None, REFERENCES[0], {}, r"spectrum\[None\]"),
    "channels": (None, REFERENCES[:, :-1], {}, "240 channels, the image 241.*interpolate"),
    "another axis": (None, on_axis(ENERGY + 0.1), {}, "another energy axis.*preprocess.interpolate"),
    "another length": (None, on_axis(ENERGY[1:]), {}, "another energy axis.*240 channels.*preprocess.interpolate"),
    "NaN reference": (None, np.where(ENERGY == 620, np.nan, REFERENCES), {}, "references.*nan at energy=620 eV"),
    "zero reference": (None, REFERENCES * [[1], [0], [1]], {}, r"references\[1\] is zero"),
    "the same twice": (None, REFERENCES[[0, 1, 0]], {}, "term 2 .* combination"),
    "more than channels": (None, RNG.random((241, 241)), {}, "241 terms"),
    "negative variance": (None, REFERENCES, {"variance": -1.0}, "variance is -1"),
    "one negative variance": (None, REFERENCES, {"variance": variance_of(-1)}, "variance is -1 at .*=1, energy=620.75"),
    "zero variance": (None, REFERENCES, {"variance": variance_of(0)}, "variances above 0"),
    "NaN variance": (None, REFERENCES, {"variance": variance_of(np.nan)}, "variance is nan"),
    "shape of variance": (None, REFERENCES, {"variance": np.ones(7)}, r"variance of shape \(7,\)"),
    "too large": (lambda: image(1e30 * EXACT), REFERENCES, {}, "rescale the image"),
    "exponents": (None, REFERENCES, {"background_exponents": (2.0, 2.0)}, "background_exponents"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_argument_and_the_remedy(name):
    img, references, options, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        jxu.eels.mlls(image(EXACT) if img is None else img(), references, **options)


def test_refuses_power_laws_below_zero_energy_and_short_runs():
    below = jxu.SpectrumImage.from_array(EXACT, coords={"energy": ENERGY - 640})
    with pytest.raises(ValueError, match=r"above 0.*preprocess.crop"):
        jxu.eels.mlls(below, REFERENCES, background_exponents=(2.0,))
    keep = np.ones(241, bool)
    keep[4] = False
    with pytest.raises(ValueError, match="6 live channels in a row"):
        jxu.eels.mlls(image(EXACT, keep_channels=keep), REFERENCES, shifts=True)


def test_is_a_pytree():
    fit = jxu.eels.mlls(image(EXACT), REFERENCES, 1.0, shifts=True)
    doubled = jax.tree.map(lambda leaf: 2 * leaf, fit)
    np.testing.assert_allclose(doubled.maps, 2 * jnp.asarray(fit.maps))
