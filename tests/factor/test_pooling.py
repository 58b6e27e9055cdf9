"""Pooled counts, shears and weights from counts not fitted, on small simulated minerals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxunmix as jxu
from jaxunmix.factor.model import Bilinear
from jaxunmix.factor.pooling import pool_size, pooled
from jaxunmix.factor.tuning.held_out import thin
from jaxunmix.factor.updates.shear import _sheared

pytestmark = pytest.mark.optimised
C, P = jxu.constraints, jxu.penalties
SHAPE, COUNTS = (32, 32), 60


@pytest.fixture(scope="module")
def minerals():
    img, truth = jxu.simulate.mantle_minerals(jax.random.key(0), COUNTS, SHAPE, channels=800)
    model = jxu.physics.xray.EmissionModel(truth.elements, img.data.energy.values, 200.0, 22.0, 100.0, [4.2, 4.1, 4.5])
    return img, truth, model


def _problem(minerals, *penalties):
    img, _, model = minerals
    basis = model.basis(None)
    signs = (C.NonNegative("maps"), C.NonNegative("coefficients"))
    simplex = C.Simplex("coefficients", basis.element_columns)
    return jxu.Problem(img.matrix(), jxu.losses.Poisson(), basis, penalties, constraints=(*signs, simplex))


def _fractions(solution, truth):
    order = jxu.metrics.match(solution.spectra, truth.spectra).order
    return (solution.maps * solution.spectra.sum(axis=1))[:, order] / COUNTS


def test_sums_keep_every_count_and_leave_masked_pixels_out(minerals):
    img = minerals[0]
    keep = np.ones(SHAPE, bool)
    keep[:5, :9] = False
    grid = jxu.Grid.of(SHAPE, keep)
    values = img.data.values[keep]
    problem = jxu.Problem(values, jxu.losses.Poisson())
    pool, block, cells = pooled(problem, grid, 8)
    assert pool.matrix.shape[0] == 16
    assert cells.sum() == keep.sum() == len(block)
    np.testing.assert_allclose(np.asarray(pool.matrix.channel_sums), values.sum(axis=0), rtol=1e-6)
    expected = np.bincount(block, values.sum(axis=1))
    np.testing.assert_allclose(np.asarray(pool.matrix.pixel_sums), expected, rtol=1e-6)


def test_pool_size_has_the_wanted_counts_while_pixels_are_left(minerals):
    problem = _problem(minerals)
    size = pool_size(problem, minerals[0].grid, 3)
    mean = float(problem.matrix.pixel_sums.mean())
    assert mean * size**2 >= 1000 or np.prod(SHAPE) < 16 * 3 * (2 * size) ** 2


def test_a_shear_keeps_the_model_and_lowers_the_penalty(minerals):
    with jax.enable_x64():
        problem = _problem(minerals, P.LogSparsity("maps", 0.01))
        rng = np.random.default_rng(0)
        factors = problem.normalise(
            Bilinear(jnp.asarray(rng.random((3, 1024))), jnp.asarray(rng.random((3, problem.features)) + 0.1))
        )
        moved = _sheared(problem, factors)
        before, after = (f.maps @ problem.spectra(f) for f in (factors, moved))
        np.testing.assert_allclose(after, before, rtol=1e-10)
        assert float(problem.penalty(moved)) < float(problem.penalty(factors))
        assert float(moved.profiles.min()) >= 0


def test_sheared_updates_descend(minerals):
    with jax.enable_x64():
        problem = _problem(minerals, P.LogSparsity("maps", 0.003), P.Laplacian("maps", 0.1, minerals[0].grid))
        fit = jxu.fit(
            problem, 3, jxu.updates.Sheared(2), restarts=2, key=jax.random.key(0), max_steps=20, rtol=0, check_every=1
        )
        trace = fit.restarts.trace
        assert np.all(np.diff(trace, axis=1) <= 1e-12 * np.abs(trace[:, :-1]))


@pytest.mark.parametrize(
    ("constraints", "match"),
    [
        ((C.Simplex("maps"),), "Simplex or Fixed maps"),
        ((C.Fixed("spectra", values=np.where(np.arange(400) < 3, 0.2, np.nan)[None].repeat(2, 0)),), "zero only"),
    ],
)
def test_shears_are_refused_where_they_would_break_a_constraint(constraints, match):
    signs = (C.NonNegative("maps"), C.NonNegative("spectra"))
    problem = jxu.Problem(np.ones((10, 400)), jxu.losses.Poisson(), constraints=(*signs, *constraints))
    with pytest.raises(ValueError, match=match):
        jxu.updates.Sheared().check(problem)


def test_thinned_counts_add_up_and_are_binomial(minerals):
    problem = _problem(minerals)
    first, second = thin(problem, 0.3, jax.random.key(0))
    dense = [np.asarray(p.matrix.to_scipy().toarray()) for p in (first, second)]
    np.testing.assert_array_equal(sum(dense), minerals[0].data.values.reshape(1024, -1))
    total = sum(dense).sum()
    assert abs(dense[0].sum() - 0.3 * total) < 4 * np.sqrt(0.21 * total)


@pytest.mark.slow
def test_pooled_spectra_are_nearer_the_truth_than_those_fitted_with_every_pixel(minerals):
    _, truth, _ = minerals
    problem = _problem(minerals, P.LogSparsity("maps", 1e-3), P.Laplacian("maps", 2.0, minerals[0].grid))
    done = jxu.fit_pooled(problem, 3, key=jax.random.key(0), restarts=12, max_steps=300)
    joint = jxu.fit(_problem(minerals), 3, key=jax.random.key(0), restarts=4, max_steps=300)
    own, other = (jxu.metrics.match(s.spectra, truth.spectra).mean_angle for s in (done.solution, joint))
    assert own < other
    errors = [np.mean((_fractions(s, truth) - truth.maps / COUNTS) ** 2) for s in (done.solution, joint)]
    assert errors[0] < 0.5 * errors[1]
    assert done.solution.maps.shape == (1024, 3)
    assert done.size >= 4
    assert len(done.solution.restarts.objective) == 12


def test_absorption_by_the_current_composition_converges_and_helps(minerals):
    _, truth, model = minerals
    columns = list(model.basis(None).element_columns)
    problem = _problem(minerals, P.LogSparsity("maps", 1e-3), P.Laplacian("maps", 2.0, minerals[0].grid))
    plain = jxu.fit_pooled(problem, 3, key=jax.random.key(0), restarts=6, max_steps=200)
    done = jxu.fit_pooled(
        problem,
        3,
        key=jax.random.key(0),
        restarts=6,
        max_steps=200,
        refresh=lambda coefficients: model.basis(coefficients[:, columns]),
    )
    assert done.changes[-1] < 1e-2 < done.changes[0]
    assert done.problem.basis.shape[0] == 3
    angles = [jxu.metrics.match(f.solution.spectra, truth.spectra).mean_angle for f in (done, plain)]
    assert angles[0] < angles[1]


def test_tune_takes_the_weights_that_predict_best(minerals):
    problem = _problem(minerals, P.LogSparsity("maps", "auto"), P.Laplacian("maps", "auto", minerals[0].grid))
    with pytest.raises(ValueError, match=r"jaxunmix.tune\(problem, rank=3"):
        jxu.fit(problem, 3, key=jax.random.key(0))
    tuned = jxu.tune(problem, 3, key=jax.random.key(0), restarts=6, max_steps=150)
    assert [c.penalty for c in tuned.tuning.curves] == ['LogSparsity("maps")', 'Laplacian("maps")']
    for curve, penalty in zip(tuned.tuning.curves, tuned.penalties, strict=True):
        assert curve.deviance.min() == 0
        assert curve.best in curve.weights
        assert float(penalty.weight) == pytest.approx(curve.best * 0.5)
    # Neither no smoothing nor the strongest: the scene has sharp rims and few counts.
    smooth = tuned.tuning.curves[1]
    assert smooth.deviance[0] > 0
    assert smooth.deviance[-1] > 0


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda x: jxu.Problem(x, jxu.losses.Poisson(), penalties=(P.L1("maps", 1.0),)), "nothing to choose"),
        (
            lambda x: jxu.Problem(
                jxu.Compressed(x + np.eye(16, 10), 3, key=jax.random.key(0)), penalties=(P.L1("maps", "auto"),)
            ),
            "not Compressed",
        ),
    ],
)
def test_tune_says_what_it_cannot_choose(make, match):
    with pytest.raises(ValueError, match=match):
        jxu.tune(make(np.ones((16, 10))), 2, key=jax.random.key(0))
