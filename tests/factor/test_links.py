"""Links: their equations, inverses, ranges, and what they are for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

import jaxunmix as jxu

K, L, C = jxu.links, jxu.losses, jxu.constraints
LINKS = {
    "identity": (K.Identity(), lambda e: e),
    "logistic": (K.Logistic(-1.0, 3.0), lambda e: -1 + 4 / (1 + np.exp(-e))),
    "exponential": (K.Exponential(), np.exp),
    "log": (K.Log(0.5), lambda e: np.log(e + 0.5)),
}


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64():
        yield


@pytest.mark.parametrize("name", LINKS)
def test_each_is_its_equation_and_the_inverse_undoes_it(name):
    link, expected = LINKS[name]
    linear = np.linspace(0.01, 2, 7)
    np.testing.assert_allclose(link(jnp.asarray(linear)), expected(linear), rtol=1e-12)
    np.testing.assert_allclose(link.inverse(link(jnp.asarray(linear))), linear, rtol=1e-9)


def test_rounding_is_the_likelihood_of_an_interval():
    """-s^2 log(Phi((x + h/2 - m) / s) - Phi((x - h/2 - m) / s)), less its value at m = x; far away half a square."""
    link, loss = K.Rounding(step=2.0, noise=0.25), L.Frobenius(link=K.Rounding(step=2.0, noise=0.25))
    x, m = np.meshgrid([0.0, 4.0], np.linspace(-3, 7, 21))
    sd = 0.5
    chance = norm.cdf((x + 1 - m) / sd) - norm.cdf((x - 1 - m) / sd)
    some = chance > 1e-8  # below it the difference of the two is all rounding
    expected = -(sd**2) * (np.log(np.where(some, chance, 1)) - np.log(2 * norm.cdf(2.0) - 1))
    found = np.asarray(loss.measure(jnp.asarray(x), jnp.asarray(m)))
    np.testing.assert_allclose(found[some], expected[some], rtol=1e-6, atol=1e-12)
    far = float(loss.measure(jnp.asarray(0.0), jnp.asarray(101.0)))
    assert far == pytest.approx(100**2 / 2, rel=1e-2)
    slope = jax.grad(lambda m: loss.measure(jnp.asarray(0.0), m))(101.0)
    assert float(slope) == pytest.approx(100, rel=1e-2)
    assert link.counts_interval


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: K.Logistic(1.0, 0.0), "low must be below high"),
        (lambda: K.Log(0.0), "offset"),
        (lambda: K.Rounding(step=-1.0), "step"),
        (lambda: L.Frobenius(link="logistic"), r"links.Logistic\(\)"),
        (lambda: jxu.Problem(np.full((4, 3), 1.5), L.Frobenius(link=K.Logistic())), "an entry is 1.5"),
        (lambda: jxu.Problem(np.eye(4), L.Poisson(link=K.Rounding())), "likelihood of its own"),
        (lambda: jxu.Problem(jxu.Counts(np.eye(4)), L.Poisson(link=K.Exponential())), "use Dense for Poisson"),
    ],
)
def test_what_does_not_fit_is_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_a_logistic_link_finds_what_is_linear_in_bounded_data():
    """Of rank two before the link, full rank after it: two components are enough with the link alone."""
    rng = np.random.default_rng(0)
    maps, spectra = rng.normal(size=(200, 2)), 2 * rng.normal(size=(2, 30))
    x = np.asarray(K.Logistic()(jnp.asarray(maps @ spectra)))
    options = {"key": jax.random.key(0), "restarts": 2, "max_steps": 400, "rtol": 1e-9}
    linked = jxu.fit(jxu.Problem(x, L.Frobenius(link=K.Logistic()), constraints=()), 2, **options)
    plain = jxu.fit(jxu.Problem(x, constraints=()), 2, **options)
    assert float(linked.objective) < 1e-3 * float(plain.objective)
    span = np.linalg.qr(np.asarray(linked.spectra).T)[0]
    inside = np.linalg.norm(spectra @ span, axis=1) / np.linalg.norm(spectra, axis=1)
    np.testing.assert_allclose(inside, 1, atol=1e-3)


def test_an_exponential_link_separates_layers_that_absorb():
    """Transmission: intensities multiply, optical densities add."""
    rng = np.random.default_rng(1)
    thickness, attenuation = rng.random((150, 2)), rng.random((2, 25))
    x = np.exp(-thickness @ attenuation)
    signs = (C.NonNegative("maps"), C.Box("spectra", high=0.0))
    problem = jxu.Problem(x, L.Frobenius(link=K.Exponential()), constraints=signs)
    found = jxu.fit(problem, 2, key=jax.random.key(0), restarts=3, max_steps=600, rtol=1e-10)
    model = np.asarray(found.maps @ found.spectra)
    np.testing.assert_allclose(np.exp(model), x, atol=2e-3)
    assert found.info["loss"] == "Frobenius(link=Exponential)"


def test_a_rounding_link_sees_below_the_step():
    """Values rounded to whole steps: their mean is nearer with the interval's likelihood than with least squares."""
    rng = np.random.default_rng(2)
    mean = rng.random((300, 2)) @ (2 * rng.random((2, 40)))
    x = np.round(mean + 0.2 * rng.normal(size=mean.shape))
    options = {"key": jax.random.key(0), "max_steps": 300}
    fits = [jxu.fit(jxu.Problem(x, loss), 2, **options) for loss in (L.Frobenius(link=K.Rounding(noise=0.2)), None)]
    errors = [np.sqrt(np.mean((np.asarray(f.maps @ f.spectra) - mean) ** 2)) for f in fits]
    assert errors[0] < 0.9 * errors[1]
