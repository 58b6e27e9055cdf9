"""Each divergence against its closed form, its gradient and its neighbours in beta."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import kl_div
from sklearn.decomposition._nmf import _beta_divergence

import jaxunmix as jxu

LOSSES = {
    "frobenius": jxu.losses.Frobenius(),
    "poisson": jxu.losses.Poisson(),
    "itakura-saito": jxu.losses.ItakuraSaito(),
    "beta 0.5": jxu.losses.Beta(0.5),
    "beta 1.5": jxu.losses.Beta(1.5),
    "beta 3": jxu.losses.Beta(3.0),
    "beta -1": jxu.losses.Beta(-1.0),
}


@pytest.mark.parametrize("name", LOSSES)
def test_divergence_equals_scikit_learn(name):
    rng = np.random.default_rng(0)
    loss = LOSSES[name]
    w, h = rng.random((20, 3)) + 0.1, rng.random((3, 9)) + 0.1
    x = rng.random((20, 9)) + 0.1
    mine = loss.divergence(jnp.asarray(x), jnp.asarray(w @ h)).sum()
    np.testing.assert_allclose(mine, _beta_divergence(x, w, h, loss.beta), rtol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_split_is_the_derivative(name):
    loss = LOSSES[name]
    x, m = jnp.asarray([0.5, 1.0, 3.0]), jnp.asarray([0.7, 1.0, 2.0])
    positive, negative = loss.split(x, m)
    slope = jax.vmap(jax.grad(loss.divergence, argnums=1))(x, m)
    np.testing.assert_allclose((1.0 if negative is None else negative) - positive, slope, rtol=1e-5, atol=1e-6)


@settings(deadline=None)
@given(st.floats(0.01, 100), st.floats(0.01, 100), st.floats(0.1, 10))
def test_divergence_is_zero_at_the_data_and_scales_with_beta(x, m, scale):
    """d(x|x) = 0, d >= 0, and d(s x | s m) = s^beta d(x | m)."""
    for loss in LOSSES.values():
        at = [loss.divergence(jnp.asarray(a, float), jnp.asarray(b, float)) for a, b in ((x, x), (x, m))]
        assert abs(float(at[0])) <= 3e-5 * (x**loss.beta + 1)
        assert float(at[1]) >= -3e-5 * (x**loss.beta + m**loss.beta + 1)
    with jax.enable_x64():
        for loss in LOSSES.values():
            one = loss.divergence(jnp.asarray(x), jnp.asarray(m))
            other = loss.divergence(jnp.asarray(scale * x), jnp.asarray(scale * m))
            rounding = 1e-12 * (1 + sum((s * v) ** loss.beta for s in (1, scale) for v in (x, m)))
            np.testing.assert_allclose(other, scale**loss.beta * one, rtol=1e-9, atol=rounding)


@pytest.mark.parametrize("name", LOSSES)
def test_derivative_is_finite_where_the_model_vanishes(name):
    """As over a dead channel, which autodiff must survive."""
    x = jnp.asarray([0.0, 2.0]) if LOSSES[name].beta > 0 else jnp.asarray([1.0, 2.0])
    slope = jax.grad(lambda m: LOSSES[name].divergence(x, m).sum())(jnp.zeros(2))
    assert np.isfinite(slope).all()


def test_poisson_takes_empty_entries():
    x, m = jnp.asarray([0.0, 2.0]), jnp.asarray([0.3, 1.5])
    np.testing.assert_allclose(jxu.losses.Poisson().divergence(x, m), kl_div([0.0, 2.0], [0.3, 1.5]), rtol=1e-6)


def test_limits_in_beta_meet_poisson_and_itakura_saito():
    x, m = jnp.asarray(2.0), jnp.asarray(1.3)
    with jax.enable_x64():
        for limit, beta in ((jxu.losses.Poisson(), 1 + 1e-6), (jxu.losses.ItakuraSaito(), 1e-6)):
            near = jxu.losses.Beta(beta).divergence(jnp.float64(x), jnp.float64(m))
            np.testing.assert_allclose(near, limit.divergence(jnp.float64(x), jnp.float64(m)), rtol=1e-5)


@pytest.mark.parametrize("beta", [0, 1, float("nan"), float("inf")])
def test_beta_refuses_values_with_classes_of_their_own(beta):
    with pytest.raises(ValueError, match="ItakuraSaito"):
        jxu.losses.Beta(beta)


def test_losses_refuse_data_they_are_not_defined_for():
    negative = np.array([[1.0, -0.5], [2.0, 1.0]])
    with pytest.raises(ValueError, match=r"smallest entry is -0\.5.*clip_negative"):
        jxu.Problem(negative, jxu.losses.Poisson())
    zero = np.array([[1.0, 0.0], [2.0, 1.0]])
    with pytest.raises(ValueError, match="positive data"):
        jxu.Problem(zero, jxu.losses.ItakuraSaito())
    jxu.Problem(negative, constraints=())


@pytest.mark.parametrize("weighted", [False, True])
def test_angle_is_one_minus_the_cosine_of_metrics(weighted):
    """Of whole spectra, whatever their size; weights leave channels out of both; an empty pixel counts nothing."""
    rng = np.random.default_rng(0)
    with jax.enable_x64():
        x, model = rng.random((6, 9)), rng.random((6, 9))
        seen = np.where(np.arange(9) % 3 == 0, 0.0, 1.0) if weighted else np.ones(9)
        loss, v = jxu.losses.Angle(), jnp.asarray(np.broadcast_to(seen, x.shape))
        found = np.asarray(loss.measure(jnp.asarray(x), jnp.asarray(model), v if weighted else None))[:, 0]
        some = seen > 0
        expected = 1 - np.cos(np.radians(jxu.metrics.spectral_angle(x[:, some], model[:, some])))
        np.testing.assert_allclose(found, np.diag(expected) if expected.ndim == 2 else expected, atol=1e-12)
        again = np.asarray(loss.measure(jnp.asarray(7 * x), jnp.asarray(0.1 * model), v))[:, 0]
        np.testing.assert_allclose(again, found, atol=1e-12)
        assert float(loss.measure(jnp.zeros((1, 9)), jnp.asarray(model[:1]))[0, 0]) == 0
        problem = jxu.Problem(x, loss, weights=seen if weighted else None)
        start = jxu.Bilinear.of(rng.random((6, 2)), rng.random((2, 9)))
        own = np.asarray(start.maps @ start.spectra)[:, some]
        cosines = np.sum(x[:, some] * own, axis=1) / np.linalg.norm(x[:, some], axis=1) / np.linalg.norm(own, axis=1)
        assert float(problem.objective(start)) == pytest.approx(np.sum(1 - cosines), rel=1e-9)


def test_angle_cannot_be_split():
    with pytest.raises(ValueError, match=r"does not serve the loss Angle; use FISTA"):
        jxu.fit(jxu.Problem(np.eye(5), jxu.losses.Angle()), 2, jxu.updates.Multiplicative(), key=jax.random.key(0))
