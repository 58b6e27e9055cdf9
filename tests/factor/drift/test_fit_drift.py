import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxunmix as jxu
from jaxunmix import losses, simulate
from jaxunmix.factor.drift import splines
from jaxunmix.factor.drift.factors import frobenius_step, poisson_step
from jaxunmix.factor.drift.movement import State, data_term, slopes
from jaxunmix.factor.drift.smoothing import Prior, penalty, plate, solve

KEY = jax.random.key(0)
LOSSES = [losses.Poisson(), losses.Frobenius()]


@functools.cache
def small(drift=3.0, seed=0):
    return simulate.oxide_interface(jax.random.key(seed), shape=(12, 14), counts=2e4, channels=100, drift=drift)


@functools.cache
def found(index):
    return jxu.fit_drift(small()[0], 3, LOSSES[index], key=KEY, max_rounds=30)


def random_state(seed=0, pixels=6, rank=2, channels=12, reach=4):
    rng = np.random.default_rng(seed)
    maps, coefficients = rng.uniform(0.5, 2, (pixels, rank)), rng.uniform(0.5, 2, (rank, channels + 2 * reach))
    shifts, offsets = rng.uniform(-1, 1, pixels), rng.uniform(-0.4, 0.4, rank)
    field = jnp.asarray(shifts)
    return State(*map(jnp.asarray, (maps, coefficients)), field, field, jnp.asarray(offsets)), reach


def test_splines_sum_to_one_and_their_slope_is_a_derivative():
    shifts, offsets = jnp.linspace(-1.3, 1.3, 7), jnp.array([0.2])
    assert jnp.allclose(splines.offset_weights(shifts, offsets, 4).sum(axis=-1), 1, atol=1e-6)
    ahead, behind = (splines.offset_weights(shifts + e, offsets, 4) for e in (1e-2, -1e-2))
    assert jnp.allclose((ahead - behind) / 2e-2, splines.offset_slopes(shifts, offsets, 4), atol=1e-3)


def test_gathering_is_the_transpose_of_copying():
    rng = np.random.default_rng(0)
    rows, moved = jnp.asarray(rng.normal(size=(2, 20))), jnp.asarray(rng.normal(size=(2, 9, 12)))
    assert jnp.allclose(
        (splines.copies(rows, 4) * moved).sum(), (rows * splines.gather_copies(moved, 4)).sum(), atol=1e-4
    )


@settings(max_examples=10, deadline=None)
@given(st.integers(-2, 2), st.floats(-0.4, 0.4))
def test_whole_channels_roll_into_coefficients(whole, rest):
    state, reach = random_state(reach=6)
    inside = state.coefficients.at[:, :6].set(1.0).at[:, -6:].set(1.0)
    offsets = jnp.array([whole + rest, rest])
    rolled = splines.roll_whole(inside, offsets)
    before, after = (splines.spectra_at(c, o, 0.0, reach) for c, o in ((inside, offsets), rolled))
    assert jnp.abs(rolled[1]).max() <= 0.5
    assert jnp.allclose(before, after, atol=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_slopes_are_derivatives(loss):
    state, reach = random_state()
    values = jnp.asarray(np.random.default_rng(1).uniform(1, 5, (6, 12)))

    def height(moves):
        return data_term(loss, values, state._replace(shifts=state.shifts + moves), reach)

    gradient = slopes(loss, values, state, reach).gradient.sum(axis=1)
    assert jnp.allclose(jax.grad(height)(jnp.zeros(6)), gradient, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("step", [poisson_step, frobenius_step])
def test_steps_of_the_factors_never_raise_the_loss(step):
    loss = losses.Poisson() if step is poisson_step else losses.Frobenius()
    state, reach = random_state()
    values = jnp.asarray(np.random.default_rng(1).poisson(6.0, (6, 12)), float)
    weights, heights = splines.offset_weights(state.shifts, state.offsets, reach), []
    for _ in range(20):
        heights.append(float(data_term(loss, values, state, reach)))
        state = state._replace(
            **dict(zip(("maps", "coefficients"), step(values, *state[:2], weights, reach), strict=True))
        )
    assert np.diff(heights).max() <= 1e-5 * heights[0]
    assert state.maps.min() >= 0
    assert state.coefficients.min() >= 0


def test_the_plate_is_solved_with_masked_cells():
    keep = np.ones((6, 7), bool)
    keep[2, 3:] = False
    grid = jxu.Grid.of((6, 7), keep)
    prior = Prior(*map(jnp.asarray, (0.5, 0.3, 1.0)))
    rng = np.random.default_rng(0)
    curve, target = (jnp.asarray(rng.uniform(0.1, 1, (6, 7)) * keep) for _ in range(2))
    cells = solve(curve, prior, grid, target)
    assert jnp.allclose(curve * cells + prior.weight * plate(cells, prior, grid), target, atol=2e-3)
    assert penalty(jnp.ones((6, 7)), prior, grid) < 1e-6


@pytest.mark.parametrize("index", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_shifts_are_found_and_the_objective_never_rises(index):
    fit, truth = found(index), small()[1]
    error = np.asarray(fit.shifts) - truth.shifts
    assert error.std() < 0.2 * fit.step
    assert abs(float(fit.shifts.mean())) < 1e-3
    assert np.diff(np.asarray(fit.solution.trace)).max() <= 0
    assert fit.maps.min() >= 0
    assert fit.spectra.min() >= 0
    assert max(jxu.metrics.match(fit.spectra_at(-truth.shifts.mean()), truth.spectra).angles) < 10


def test_without_drift_it_is_the_plain_fit():
    img, _ = small(drift=0.0)
    fit = jxu.fit_drift(img, 3, losses.Poisson(), key=KEY, max_rounds=30)
    plain = jxu.fit(jxu.Problem(img.matrix(), losses.Poisson()), 3, init=jxu.initial.VCA(tries=10), key=KEY)
    assert np.abs(np.asarray(fit.shifts)).max() < 0.15 * fit.step
    assert max(jxu.metrics.match(fit.spectra, plain.spectra).angles) < 4


def test_given_shifts_are_held():
    img, truth = small()
    fit = jxu.fit_drift(img, 3, losses.Poisson(), key=KEY, shifts=truth.shifts.reshape(12, 14), max_rounds=10)
    assert np.allclose(fit.shifts, truth.shifts, atol=1e-5)
    assert np.isnan(float(fit.roughness))


def test_an_axis_that_falls_turns_channels_not_shifts():
    img, _ = small()
    turned = jxu.SpectrumImage.from_array(img.data.isel(energy=slice(None, None, -1)))
    fit = jxu.fit_drift(turned, 3, losses.Poisson(), key=KEY, max_rounds=30)
    assert fit.step < 0
    assert np.abs(np.asarray(fit.shifts) - np.asarray(found(0).shifts)).std() < 0.1 * abs(fit.step)


def test_the_result_is_labelled():
    img, _ = small()
    labelled = found(0).to_xarray(img)
    assert labelled["shift"].dims == ("y", "x")
    assert labelled["shift"].attrs["units"] == "eV"
    assert found(0).model().shape == (168, 100)
    assert "shifts from" in repr(found(0))
    with pytest.raises(ValueError, match="beyond"):
        found(0).spectra_at(1e3)


def image(values, **more):
    return jxu.SpectrumImage.from_array(np.asarray(values, np.float32), **more)


@pytest.mark.parametrize(
    ("img", "more", "message"),
    [
        (image(np.ones((3, 4, 7))), {}, "'energy' has 7 live channels"),
        (image(np.ones((3, 4, 9, 9)), signal_dims=2), {}, "one signal dim"),
        (image(np.full((3, 4, 9), np.nan)), {}, "NaN"),
        (image(np.ones((3, 4, 9)), coords={"energy": np.arange(9.0) ** 2}), {}, "uneven at energy"),
        (image(np.ones((3, 4, 12)), keep_channels=np.arange(12) != 5), {}, "masked channels after energy=4"),
        (image(-np.ones((3, 4, 9))), {"loss": losses.Poisson()}, "non-negative data"),
        (image(np.ones((3, 4, 9))), {"roughness": -1.0}, "roughness must be above 0"),
        (image(np.ones((3, 4, 9))), {"most": 5.0}, "a quarter of the spectrum, 2.25"),
        (image(np.ones((3, 4, 9))), {"shifts": np.zeros(5)}, "one for each of 12 pixels"),
        (image(np.ones((3, 4, 9))), {"shifts": np.full((3, 4), np.inf)}, "y=0, x=0"),
        (image(np.ones((3, 4, 9))), {"loss": losses.Angle()}, "fit_drift serves"),
    ],
)
def test_what_cannot_be_fitted_is_said(img, more, message):
    with pytest.raises(ValueError, match=message):
        jxu.fit_drift(img, 2, key=KEY, **more)
