"""Figures of a decomposition: what they show is what was found."""

import jax
import numpy as np
import pytest

import jaxunmix as jxu


@pytest.fixture(scope="module")
def result():
    energy, intensity, _ = jxu.simulate.edge_spectrum(jax.random.key(3), peaks=1, noise=0.03, channels=40)
    return jxu.bayes.decompose_spectrum(energy, intensity, [0, 1], key=jax.random.key(0), particles=64, runs=2, moves=2)


def test_the_spectrum_is_drawn_with_its_parts_and_residual(result):
    upper, lower = jxu.plots.decomposition(result).axes
    names = [text.get_text() for text in upper.get_legend().get_texts()]
    assert names == ["edge", "white line", *(f"peak {i + 1}" for i in range(result.peaks)), "fit", "spectrum"]
    np.testing.assert_allclose(upper.lines[-1].get_ydata(), result.intensity)
    fitted = result.components().sel(component="fit")
    np.testing.assert_allclose(lower.lines[-1].get_ydata(), result.intensity - fitted)


def test_free_energies_noise_and_white_line_are_drawn(result):
    figure = jxu.plots.free_energy(result)
    left, middle, right = figure.axes
    np.testing.assert_allclose(left.lines[0].get_ydata(), result.table["free_energy"])
    drawn = middle.lines[-1]
    near = result.fits[-1].free_energy < min(fit.free_energy.min() for fit in result.fits) + 60
    np.testing.assert_allclose(drawn.get_xdata(), result.fits[-1].noise[near])
    assert right.get_xlabel() == "white line (eV)"
    figure.draw_without_rendering()
