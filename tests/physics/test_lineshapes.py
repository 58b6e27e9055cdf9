"""Areas, widths, limits and gradients of the line shapes, against quadrature, SciPy and differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import voigt_profile

from jaxunmix.physics import lineshapes

LINES = {
    "gaussian": lineshapes.gaussian,
    "lorentzian": lineshapes.lorentzian,
    "pseudo-Voigt": lambda e, c, w: lineshapes.pseudo_voigt(e, c, w, 0.3),
}
STEPS = lineshapes.EDGES
AREAS = {"arctangent": lineshapes.lorentzian, "erf": lineshapes.gaussian}


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("name", LINES)
@given(centre=st.floats(-50, 50), fwhm=st.floats(0.1, 20))
@settings(max_examples=15, deadline=None)
def test_lines_have_unit_area_and_the_width_they_say(name, centre, fwhm):
    line = LINES[name]
    # From the centre out, in units of the width; the tail of a Lorentzian by the substitution 1/x.
    inner = quad(lambda x: float(line(centre + x * fwhm, centre, fwhm)) * fwhm, 0, 2, epsabs=1e-10)[0]
    outer = quad(lambda s: float(line(centre + fwhm / s, centre, fwhm)) * fwhm / s**2, 1e-12, 0.5, epsabs=1e-10)[0]
    assert 2 * (inner + outer) == pytest.approx(1.0, abs=1e-7)
    middle = float(line(centre, centre, fwhm))
    np.testing.assert_allclose(line(centre + np.array([-0.5, 0.5]) * fwhm, centre, fwhm), middle / 2, rtol=1e-9)


def test_edges_are_the_steps_by_name():
    assert {"arctangent": lineshapes.arctangent_step, "erf": lineshapes.erf_step} == lineshapes.EDGES


@pytest.mark.parametrize("name", STEPS)
def test_steps_are_integrals_of_lines_from_0_to_1(name):
    step, line = STEPS[name], AREAS[name]
    assert float(step(3.0, 3.0, 2.0)) == pytest.approx(0.5)
    assert float(step(-1e9, 3.0, 2.0)) == pytest.approx(0.0, abs=1e-8)
    assert float(step(1e9, 3.0, 2.0)) == pytest.approx(1.0, abs=1e-8)
    energies = jnp.linspace(-5.0, 9.0, 29)
    slope = jax.vmap(jax.grad(lambda e: step(e, 3.0, 2.0)))(energies)
    np.testing.assert_allclose(slope, line(energies, 3.0, 2.0), rtol=1e-10)


def test_arctangent_is_at_a_quarter_half_a_width_below():
    assert float(lineshapes.arctangent_step(7709.0, 7710.0, 2.0)) == pytest.approx(0.25)


def test_peaks_are_values_at_the_centre():
    assert float(lineshapes.gaussian(1.0, 1.0, 0.7)) == pytest.approx(float(lineshapes.gaussian_peak(0.7)))
    assert float(lineshapes.lorentzian(1.0, 1.0, 0.7)) == pytest.approx(float(lineshapes.lorentzian_peak(0.7)))


@pytest.mark.parametrize(("mixing", "line"), [(0.0, lineshapes.gaussian), (1.0, lineshapes.lorentzian)])
def test_pseudo_voigt_has_both_limits(mixing, line):
    energies = np.linspace(-5, 5, 21)
    np.testing.assert_allclose(
        lineshapes.pseudo_voigt(energies, 0.3, 1.7, mixing), line(energies, 0.3, 1.7), rtol=1e-12
    )


@pytest.mark.parametrize(("g", "l"), [(1.0, 0.2), (1.0, 1.0), (0.3, 1.5), (2.0, 0.0), (0.0, 2.0)])
def test_thompson_cox_hastings_is_within_2_percent_of_a_voigt(g, l):  # noqa: E741
    fwhm, mixing = lineshapes.voigt_as_pseudo(g, l)
    energies = np.linspace(-6, 6, 241)
    exact = voigt_profile(energies, g / (2 * np.sqrt(2 * np.log(2))), l / 2)
    found = lineshapes.pseudo_voigt(energies, 0.0, fwhm, mixing)
    assert np.max(np.abs(found - exact)) < 0.02 * exact.max()


def test_power_law_is_one_at_its_reference_and_straight_in_logarithms():
    assert float(lineshapes.power_law(500.0, 3.0, 500.0)) == pytest.approx(1.0)
    assert float(lineshapes.power_law(1000.0, 3.0, 500.0)) == pytest.approx(0.125)


@pytest.mark.parametrize("name", [*LINES, *STEPS])
def test_gradients_agree_with_differences(name):
    shape = {**LINES, **STEPS}[name]
    at, step = np.array([1.3, 0.4, 0.9]), 1e-6
    found = jax.grad(lambda p: shape(p[0], p[1], p[2]))(jnp.asarray(at))
    for i in range(3):
        up, down = at.copy(), at.copy()
        up[i], down[i] = up[i] + step, down[i] - step
        assert float(found[i]) == pytest.approx((float(shape(*up)) - float(shape(*down))) / (2 * step), abs=1e-7)


def test_shapes_broadcast_and_keep_single_precision():
    energies = jnp.linspace(0.0, 10.0, 11, dtype=jnp.float32)
    found = lineshapes.gaussian(energies, jnp.float32([[2.0], [5.0]]), jnp.float32([[1.0], [2.0]]))
    assert found.shape == (2, 11)
    assert found.dtype == jnp.float32
