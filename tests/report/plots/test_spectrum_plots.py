"""Figures of a decomposition: what they show is what was found."""

from dataclasses import replace

import jax
import numpy as np
import pytest
import xarray as xr

import jaxunmix as jxu
from jaxunmix.bayes.spectrum.result import Decomposition, Fit
from jaxunmix.physics import lineshapes


def _fit(peaks, log_evidence, truth):
    """As if found: draws about the truth, whose first peaks are taken."""
    rng, draws, noise = np.random.default_rng(peaks), 500, np.geomspace(0.01, 0.1, 40)
    best = truth.isel(peak=slice(peaks))
    about = {
        name: (("draw", *value.dims), value.values + 0.01 * rng.normal(size=(draws, *value.shape)))
        for name, value in best.items()
    }
    surface = -log_evidence + 200 * np.log(noise / 0.03) ** 2
    posterior = xr.Dataset(about, {"run": ("draw", np.full(draws, -1))})
    shown = {"noise": noise, "free_energy": surface, "posterior": posterior, "best": best}
    told = {
        "reached": 1.0,
        "shares": {},
        "reached_error": 0.0,
        "independent": 400.0,
        "of_weights": 0.0,
        "log_likelihood": 150.0,
        "levels": 10,
    }
    return Fit(peaks, log_evidence, 0.1, np.full(4, log_evidence), **told, **shown)


@pytest.fixture(scope="module")
def result():
    energy, intensity, truth = jxu.simulate.edge_spectrum(jax.random.key(3), peaks=1, noise=0.03, channels=60)
    area = truth["peak_height"] / np.asarray(lineshapes.gaussian_peak(truth["peak_width"].values))
    priors = jxu.bayes.Priors().complete(energy, intensity)
    fits = tuple(_fit(peaks, value, truth.assign(peak_area=area)) for peaks, value in ((0, 90.0), (1, 100.0)))
    return Decomposition(np.asarray(energy), np.asarray(intensity), priors, fits)


def test_the_spectrum_is_drawn_with_its_parts_and_residual(result):
    upper, lower = jxu.plots.decomposition(result).axes
    names = [text.get_text() for text in upper.get_legend().get_texts()]
    assert names == ["edge", "white line", *(f"peak {i + 1}" for i in range(result.peaks)), "fit", "spectrum"]
    np.testing.assert_allclose(upper.lines[-1].get_ydata(), result.intensity)
    fitted = result.components().sel(component="fit")
    np.testing.assert_allclose(lower.lines[-1].get_ydata(), result.intensity - fitted)


def test_parts_look_different_from_each_other_and_from_the_fit(result):
    one = next(fit for fit in result.fits if fit.peaks == 1)
    eight = {"posterior": one.posterior.isel(peak=[0] * 8), "best": one.best.isel(peak=[0] * 8)}
    many = replace(result, fits=(replace(one, peaks=8, **eight),))
    lines = [line for line in jxu.plots.decomposition(many).axes[0].lines if not line.get_label().startswith("_")]
    looks = {(line.get_color(), line.get_linestyle()) for line in lines if line.get_label() != "spectrum"}
    assert len(looks) == 8 + 3


def test_free_energies_noise_and_white_line_are_drawn(result):
    figure = jxu.plots.free_energy(result)
    left, middle, right = figure.axes
    np.testing.assert_allclose(left.lines[0].get_ydata(), result.table["free_energy"])
    drawn = middle.lines[-1]
    near = result.fits[-1].free_energy < min(fit.free_energy.min() for fit in result.fits) + 60
    np.testing.assert_allclose(drawn.get_xdata(), result.fits[-1].noise[near])
    assert right.get_xlabel() == "white line (eV)"
    figure.draw_without_rendering()


@pytest.fixture(scope="module")
def several(result):
    return jxu.bayes.Decompositions((result, result, result))


def test_several_spectra_are_drawn_with_their_parts(several, result):
    figure = jxu.plots.decompositions(several, ["one", "two", "three"])
    assert [axes.get_title().split(":")[0] for axes in figure.axes] == ["one", "two", "three", ""]
    assert not figure.axes[-1].axison
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), result.intensity)
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert named == ["spectrum", "fit", "edge", "white line", *(f"peak {i + 1}" for i in range(result.peaks))]
    figure.draw_without_rendering()


def test_white_lines_are_drawn_with_their_intervals_and_probabilities(several, result):
    figure = jxu.plots.white_lines(several, expected=[7721.0, np.nan, 7722.0])
    left, right = figure.axes
    assert [text.get_text() for text in left.get_yticklabels()] == ["spectrum 0", "spectrum 1", "spectrum 2"]
    np.testing.assert_allclose(left.lines[0].get_xdata(), result.interval("E_WL"))
    np.testing.assert_allclose(left.lines[-1].get_xdata(), [7721.0, np.nan, 7722.0])
    np.testing.assert_allclose(right.images[0].get_array(), several.above())
    assert [text.get_text() for text in right.texts] == ["0.50"] * 6
    assert jxu.plots.white_lines(several).axes[0].get_legend() is None
    figure.draw_without_rendering()


@pytest.mark.parametrize("draw", [jxu.plots.decompositions, jxu.plots.white_lines])
def test_names_are_one_for_each_spectrum(several, draw):
    with pytest.raises(ValueError, match="2 names for 3 spectra: give one for each"):
        draw(several, ["one", "two"])


def test_expected_energies_are_one_for_each_spectrum(several):
    with pytest.raises(ValueError, match=r"give \(3,\), an energy for each spectrum"):
        jxu.plots.white_lines(several, expected=[7721.0])
