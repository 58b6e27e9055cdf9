"""A NumPyro model split into prior and likelihood, against NumPyro's own density; and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer.reparam import LocScaleReparam
from numpyro.infer.util import initialize_model

from jaxunmix.bayes.numpyro_support.path import NumpyroDensity
from jaxunmix.bayes.path import FunctionDensity

Y = np.random.default_rng(0).normal(size=(5, 3))
KEPT = np.random.default_rng(1).random((5, 3)) > 0.3


@pytest.fixture(autouse=True)
def _x64():
    with jax.enable_x64(True):
        yield


def plates(y=Y):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    sd = numpyro.sample("sd", dist.HalfCauchy(1))
    with numpyro.plate("columns", 3, dim=-1):
        theta = numpyro.sample("theta", dist.Normal(mu, sd))
        with numpyro.plate("rows", 5, dim=-2):
            numpyro.sample("y", dist.Normal(theta, 1), obs=y)


def masked_and_scaled(y=Y):
    mu = numpyro.sample("mu", dist.Normal(0, 1).expand([3]).to_event(1))
    with numpyro.handlers.mask(mask=KEPT), numpyro.handlers.scale(scale=2.0):
        numpyro.sample("y", dist.Normal(mu, 1), obs=y)


def dynamic_support(y=Y):
    top = numpyro.sample("top", dist.Gamma(3, 1))
    share = numpyro.sample("share", dist.Dirichlet(jnp.ones(3)))
    low = numpyro.sample("low", dist.Uniform(0, top))
    numpyro.deterministic("twice", 2 * low)
    numpyro.sample("y", dist.Normal(share, low), obs=y)


def fixed():
    return numpyro.handlers.do(numpyro.handlers.condition(plates, {"mu": 0.3}), {"sd": 0.7})


def with_factor():
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    numpyro.factor("f", -(mu**2))


MODELS = {
    "plates": (plates, {}),
    "mask and scale": (masked_and_scaled, {}),
    "dynamic support": (dynamic_support, {}),
    "reparametrised": (numpyro.handlers.reparam(plates, config={"theta": LocScaleReparam(0.0)}), {}),
    "conditioned": (numpyro.handlers.condition(plates, {"mu": 0.3}), {}),
    "conditioned and done": (fixed(), {}),
    "factor as likelihood": (with_factor, {"likelihood_factors": ("f",)}),
    "factor as prior": (with_factor, {"prior_factors": ("f",)}),
}


@pytest.mark.parametrize("name", MODELS)
def test_prior_and_likelihood_make_the_models_density(name):
    model, factors = MODELS[name]
    density = NumpyroDensity(model, **factors)
    potential = initialize_model(jax.random.key(0), model, validate_grad=False).potential_fn

    @jax.jit
    def both(key):
        z = density.sample(key, 5)
        expected = -jax.vmap(lambda point: potential(density.unravel(point)))(z)
        return density.log_density(density.evaluate(z), jnp.ones(5)), expected

    np.testing.assert_allclose(*both(jax.random.key(1)), rtol=1e-12)


def test_at_zero_the_density_is_that_of_the_draws():
    density = NumpyroDensity(lambda: _beta_and_scale(), ())

    @jax.jit
    def log_ratio(key):
        z = density.sample(key, 20_000)
        fitted = dist.MultivariateNormal(jnp.mean(z, 0), 0.5 * jnp.cov(z.T))
        return fitted.log_prob(z) - density.log_density(density.evaluate(z), jnp.zeros(len(z)))

    ratio = np.exp(log_ratio(jax.random.key(0)))
    assert abs(ratio.mean() - 1) < 5 * ratio.std() / len(ratio) ** 0.5 < 0.1


def _beta_and_scale():
    share = numpyro.sample("share", dist.Beta(2, 3))
    scale = numpyro.sample("scale", dist.LogNormal(0, 1))
    numpyro.sample("y", dist.Normal(share, scale), obs=0.3)


def test_an_impossible_likelihood_leaves_the_prior_as_it_is():
    density = FunctionDensity(
        1, lambda key: jax.random.normal(key, (1,)), lambda z: -(z[0] ** 2) / 2, lambda z: jnp.log(z[0] > 0)
    )
    terms = density.evaluate(jnp.array([[-1.0], [1.0]]))
    np.testing.assert_allclose(density.log_density(terms, jnp.zeros(2)), -0.5)
    np.testing.assert_allclose(density.log_density(terms, jnp.full(2, 0.5)), [-np.inf, -0.5])


def test_a_prior_factor_stays_out_of_what_is_drawn():
    density = NumpyroDensity(with_factor, prior_factors=("f",))
    terms = density.evaluate(jnp.array([[2.0]]))
    prior = float(dist.Normal(0, 1).log_prob(2.0))
    assert float(density.log_density(terms, jnp.zeros(1))[0]) == pytest.approx(prior)
    assert float(density.log_density(terms, jnp.full(1, 1e-9))[0]) == pytest.approx(prior - 4)


def test_points_are_constrained_with_their_deterministic_sites():
    density = NumpyroDensity(dynamic_support)
    z = jax.jit(lambda key: density.sample(key, 6))(jax.random.key(2)).reshape(2, 3, -1)
    sites = jax.jit(lambda z: density.constrain(z))(z)
    assert {name: value.shape[2:] for name, value in sites.items()} == {
        "top": (),
        "share": (3,),
        "low": (),
        "twice": (),
    }
    assert np.all((sites["low"] > 0) & (sites["low"] < sites["top"]))
    np.testing.assert_allclose(sites["twice"], 2 * sites["low"])
    np.testing.assert_allclose(density.ravel(density.unravel(z[0, 0])), z[0, 0])


def _observed(fn, value=0.0):
    numpyro.sample("y", fn, obs=value)


def _subsampled():
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    with numpyro.plate("data", 5, subsample_size=2) as index:
        _observed(dist.Normal(mu, 1), Y[index, 0])


def _scaled_prior():
    with numpyro.handlers.scale(scale=2.0):
        plates()


def _masked_prior():
    with numpyro.handlers.mask(mask=False):
        mu = numpyro.sample("mu", dist.Normal(0, 1))
    _observed(dist.Normal(mu, 1))


def _one(fn, value=0.0):
    return lambda: _observed(dist.Normal(numpyro.sample("mu", fn), 1), value)


REFUSED = {
    "no observed": (lambda: numpyro.sample("mu", dist.Normal(0, 1)), "no observed site"),
    "no latent": (lambda: _observed(dist.Normal(0, 1)), "no latent site"),
    "factor": (with_factor, "factor 'f'.*prior_factors"),
    "subsampled": (_subsampled, "plate 'data' is subsampled"),
    "discrete": (_one(dist.Poisson(3.0)), "site 'mu' is discrete"),
    "improper": (_one(dist.ImproperUniform(dist.constraints.real, (), ())), "site 'mu': ImproperUniform"),
    "delta": (_one(dist.Delta(1.0)), "site 'mu' is a Delta"),
    "scaled prior": (_scaled_prior, "site 'mu': a scaled prior"),
    "masked prior": (_masked_prior, "site 'mu': a masked prior"),
    "NaN": (_one(dist.Normal(0, 1), np.array([1.0, np.nan])), r"'y' has NaN at \(1,\)"),
    "infinite": (_one(dist.Normal(0, 1), np.inf), "'y' has infinity"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    model, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        NumpyroDensity(model)


def test_factors_must_exist_and_be_one_thing():
    with pytest.raises(ValueError, match="no such site"):
        NumpyroDensity(plates, prior_factors=("g",))
    with pytest.raises(ValueError, match="both prior and likelihood"):
        NumpyroDensity(with_factor, prior_factors=("f",), likelihood_factors=("f",))


def test_an_impossible_likelihood_is_refused():
    def impossible():
        numpyro.factor("f", -jnp.inf * numpyro.sample("mu", dist.HalfNormal(1)))

    with pytest.raises(ValueError, match="the likelihood is not finite at any"):
        NumpyroDensity(impossible, likelihood_factors=("f",))


def test_masked_nan_passes():
    y = np.where(KEPT, Y, np.nan)
    density = NumpyroDensity(masked_and_scaled, (y,))
    assert np.all(np.isfinite(density.evaluate(density.sample(jax.random.key(0), 4)).likelihood))
