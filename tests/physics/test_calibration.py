"""Offset, gain and width of an axis, recovered from a spectrum whose truth is known."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from jaxunmix.physics.calibration import calibrate
from jaxunmix.physics.xray import EmissionModel

ELEMENTS, COMPOSITION = ("O", "Mg", "Si", "Ca", "Fe"), np.array([0.6, 0.15, 0.15, 0.06, 0.04])


@pytest.fixture(scope="module")
def model():
    return EmissionModel(ELEMENTS, 0.2 + 0.01 * np.arange(900), 200.0, 22.0, 100.0, 4.2)


def _shifted(model, offset, gain, fwhm):
    places = lambda m: (m.offset_keV, m.gain, m.detector.fwhm_keV)  # noqa: E731
    return eqx.tree_at(places, model, tuple(jnp.asarray(value, float) for value in (offset, gain, fwhm)))


def test_a_shifted_and_broadened_spectrum_is_calibrated_within_its_errors(model):
    truth = {"offset_keV": 0.015, "gain": 1.003, "fwhm_keV": 0.145}
    rows = np.asarray(_shifted(model, *truth.values()).basis(COMPOSITION).values, float)
    expected = 4e5 * np.r_[COMPOSITION, 0.05, 0.03] @ rows
    found = [calibrate(model, np.random.default_rng(seed).poisson(expected), COMPOSITION) for seed in range(6)]
    for name, value in truth.items():
        scores = np.array([(one.values[name] - value) / one.sd[name] for one in found])
        assert np.abs(scores).max() < 4
        assert np.sqrt(np.mean(scores**2)) < 2
    assert 0.8 < np.mean([one.deviance for one in found]) < 1.3
    np.testing.assert_allclose(float(found[0].model.offset_keV), truth["offset_keV"], atol=1e-3)
    fractions = found[0].coefficients[:5] / found[0].coefficients[:5].sum()
    np.testing.assert_allclose(fractions, COMPOSITION, atol=0.01)


def test_what_is_not_asked_for_stays(model):
    counts = 1e5 * COMPOSITION @ np.asarray(_shifted(model, 0.01, 1.0, 0.129).basis(None).values)[:5]
    found = calibrate(model, counts, parameters=("offset_keV",))
    assert found.values["offset_keV"] == pytest.approx(0.01, abs=1e-4)
    assert float(found.model.gain) == 1
    assert set(found.values) == {"offset_keV"}


@pytest.mark.parametrize(
    ("counts", "parameters", "match"),
    [
        (np.ones(900), ("shift",), "choose of offset_keV"),
        (np.ones(899), ("gain",), "900 channels"),
        (-np.ones(900), ("gain",), "not negative"),
        (np.zeros(900), ("gain",), "not all zero"),
    ],
)
def test_bad_input_is_refused(model, counts, parameters, match):
    with pytest.raises(ValueError, match=match):
        calibrate(model, counts, parameters=parameters)
