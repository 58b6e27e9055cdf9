"""`minimise`: the fit as a function of JAX, against single fits and against differences."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxunmix as jxu

UPDATES = {"hals": jxu.updates.HALS(), "multiplicative": jxu.updates.Multiplicative()}
WEIGHTS = np.array([0.01, 0.05, 0.2])


@pytest.fixture(autouse=True)
def double():
    """Differences need more digits than single precision has."""
    with jax.enable_x64():
        yield


def scene():
    rng = np.random.default_rng(0)
    maps, spectra = rng.uniform(0.1, 1, (30, 3)), rng.uniform(0.1, 1, (3, 12))
    return maps @ spectra + 0.05 * rng.uniform(size=(30, 12))


def start():
    rng = np.random.default_rng(1)
    return jxu.Bilinear.of(rng.uniform(0.2, 1, (30, 3)), rng.uniform(0.2, 1, (3, 12)))


def reached(update, weight, data, max_steps=20):
    problem = jxu.Problem(jnp.asarray(data), penalties=(jxu.penalties.L1("maps", weight),))
    return jxu.minimise(problem, start(), UPDATES[update], max_steps=max_steps)


def fitted(update, weight, data, max_steps=20):
    problem = jxu.Problem(data, penalties=(jxu.penalties.L1("maps", weight),))
    given = jxu.initial.Given(start().maps, start().spectra)
    return jxu.fit(problem, 3, UPDATES[update], given, max_steps=max_steps, rtol=0)


def difference(function, at, step):
    return (function(at + step) - function(at - step)) / (2 * step)


@pytest.mark.parametrize("update", UPDATES)
def test_jitted_it_is_the_single_fit(update):
    alone = fitted(update, 0.05, scene())
    jitted = jax.jit(lambda data: reached(update, 0.05, data))(scene())
    for name in ("maps", "spectra", "objective", "trace", "trace_steps", "steps"):
        np.testing.assert_allclose(getattr(jitted, name), getattr(alone, name), rtol=1e-9, atol=1e-12)
    assert jitted.status is alone.status


@pytest.mark.parametrize("update", UPDATES)
def test_vmapped_over_weights_it_is_the_single_fits(update):
    together = jax.vmap(lambda weight: reached(update, weight, scene()))(jnp.asarray(WEIGHTS))
    alone = [fitted(update, float(weight), scene()) for weight in WEIGHTS]
    np.testing.assert_allclose(together.objective, [float(one.objective) for one in alone], rtol=1e-9)
    np.testing.assert_allclose(together.maps, [np.asarray(one.maps) for one in alone], rtol=1e-7, atol=1e-10)
    # Heavier weights make sparser maps: the three are not the same fit.
    assert np.all(np.diff(np.asarray(together.maps).sum(axis=(1, 2))) < 0)


@pytest.mark.parametrize("update", UPDATES)
def test_the_gradient_in_a_weight_is_the_difference(update):
    slope = jax.jit(jax.grad(lambda weight: reached(update, weight, scene()).objective))(0.05)
    wanted = difference(lambda weight: float(fitted(update, weight, scene()).objective), 0.05, 1e-5)
    assert slope == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize("update", UPDATES)
def test_the_gradient_in_the_data_is_the_difference(update):
    data = scene()
    slope = jax.grad(lambda x: reached(update, 0.05, x).objective)(jnp.asarray(data))
    direction = np.random.default_rng(2).normal(size=data.shape)
    wanted = difference(lambda t: float(fitted(update, 0.05, data + t * direction).objective), 0.0, 1e-5)
    assert np.sum(np.asarray(slope) * direction) == pytest.approx(wanted, rel=1e-3)
    # Entry by entry too, where the difference is not one of rounding.
    entry = np.unravel_index(np.argmax(np.abs(slope)), data.shape)
    unit = np.zeros(data.shape)
    unit[entry] = 1
    alone = difference(lambda t: float(fitted(update, 0.05, data + t * unit).objective), 0.0, 1e-5)
    assert slope[entry] == pytest.approx(alone, rel=1e-3)


@pytest.mark.parametrize("loss", [jxu.losses.Poisson(), jxu.losses.Frobenius()], ids=lambda one: type(one).__name__)
def test_the_gradient_in_weights_of_entries_is_the_difference(loss):
    def objective(weights):
        problem = jxu.Problem(scene(), loss, weights=weights)
        return jxu.minimise(problem, start(), max_steps=10).objective

    rng = np.random.default_rng(3)
    weights, direction = rng.uniform(0.5, 1, scene().shape), rng.normal(size=scene().shape)
    slope = jax.grad(objective)(jnp.asarray(weights))
    wanted = difference(lambda t: float(objective(weights + t * direction)), 0.0, 1e-5)
    assert np.sum(np.asarray(slope) * direction) == pytest.approx(wanted, rel=1e-3)


def test_it_stops_where_fit_stops():
    settings = {"max_steps": 200, "rtol": 1e-5}
    problem = jxu.Problem(scene())
    alone = jxu.fit(problem, 3, init=jxu.initial.Given(start().maps, start().spectra), **settings)
    pure = jxu.minimise(problem, start(), **settings)
    assert pure.status is alone.status is jxu.Status.CONVERGED
    assert pure.steps == alone.steps < 200
    np.testing.assert_allclose(pure.maps, alone.maps, rtol=1e-9, atol=1e-12)
    assert np.isnan(pure.trace[len(alone.trace) :]).all()


def test_a_solution_goes_through_jit():
    solution = reached("hals", 0.05, scene())
    doubled = eqx.filter_jit(lambda s: jax.tree.map(lambda leaf: 2 * leaf, s))(solution)
    np.testing.assert_array_equal(doubled.maps, 2 * solution.maps)
    assert jax.tree.structure(jax.jit(lambda s: s)(solution)) == jax.tree.structure(solution)


def test_the_steps_need_not_be_a_multiple_of_the_looks():
    trace = reached("hals", 0.05, scene(), max_steps=13).trace_steps
    assert trace.tolist() == [0, 10, 13]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_steps": -1}, "max_steps"),
        ({"check_every": 0}, "check_every"),
        ({"start": jxu.Bilinear.of(np.ones((29, 3)), np.ones((3, 12)))}, r"maps must be \(30, K\)"),
        ({"start": jxu.Bilinear.of(np.ones((30, 3)), np.ones((3, 11)))}, r"spectra \(K, 12\)"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    arguments = {"problem": jxu.Problem(scene()), "start": start(), **change}
    with pytest.raises(ValueError, match=message):
        jxu.minimise(**arguments)


def test_factors_share_their_components():
    with pytest.raises(ValueError, match="with one K"):
        jxu.Bilinear.of(np.ones((30, 3)), np.ones((2, 12)))


def test_an_update_refuses_what_it_cannot_take():
    with pytest.raises(ValueError, match="HALS solves Frobenius"):
        jxu.minimise(jxu.Problem(scene(), jxu.losses.Poisson()), start(), jxu.updates.HALS())
