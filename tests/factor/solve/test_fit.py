"""The loop: outcomes, restarts, interrupts, checkpoints, compilation and every refusal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import jaxunmix as jxu
from jaxunmix.factor.solve import loop
from jaxunmix.factor.solve.checkpoint import Ledger
from jaxunmix.factor.updates.base import AbstractUpdate
from jaxunmix.factor.updates.hals import HALS

KEY = jax.random.key(0)


class Spy(AbstractUpdate):
    """HALS that counts how often it is traced, and can break after some steps."""

    traced = 0
    broken: bool = False

    def check(self, problem):
        pass

    def step(self, problem, factors, state):
        type(self).traced += 1
        factors, state = HALS().step(problem, factors, state)
        if self.broken:
            factors = jax.tree.map(lambda x: x * jnp.nan, factors)
        return factors, state


def _data(pixels: int = 60, channels: int = 20, seed: int = 0, noise: float = 0.05) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.random((pixels, 3)) @ rng.random((3, channels)) + noise * rng.random((pixels, channels))).astype("f4")


@pytest.fixture
def problem():
    return jxu.Problem(_data())


def test_components_come_in_order_of_their_contribution(problem):
    fit = jxu.fit(problem, 3, key=KEY)
    share = np.linalg.norm(fit.maps, axis=0) * np.linalg.norm(fit.spectra, axis=1)
    assert (np.diff(share) <= 0).all()
    assert fit.maps.shape == (60, 3)
    assert fit.spectra.shape == (3, 20)


def test_given_components_keep_their_place(problem):
    first = jxu.fit(problem, 3, key=KEY)
    swapped = jxu.initial.Given(first.maps[:, ::-1], first.spectra[::-1])
    again = jxu.fit(problem, 3, init=swapped, key=KEY, max_steps=3)
    assert jxu.metrics.spectral_angle(again.spectra, first.spectra[::-1]).max() < 1


def test_best_restart_is_kept_and_all_are_told():
    # The objective is what is left of |X|^2, and is rounded as that is: enough must be left.
    data = _data(noise=0.3)
    fit = jxu.fit(jxu.Problem(data), 3, restarts=6, key=KEY, max_steps=40, rtol=0)
    assert fit.objective == fit.restarts.objective.min() == fit.restarts.objective[fit.restarts.best]
    assert fit.restarts.trace.shape == (6, 5)
    assert len(set(fit.restarts.objective.tolist())) > 1
    np.testing.assert_array_equal(fit.trace_steps, [0, 10, 20, 30, 40])
    exact = 0.5 * ((data.astype(float) - np.asarray(fit.maps, float) @ np.asarray(fit.spectra, float)) ** 2).sum()
    np.testing.assert_allclose(fit.objective, exact, rtol=1e-4)


@pytest.mark.parametrize("loss", [jxu.losses.Frobenius(), jxu.losses.Poisson()])
def test_restarts_in_one_batch_and_apart_agree(loss, monkeypatch):
    problem = jxu.Problem(_data(), loss)
    together = jxu.fit(problem, 3, restarts=4, key=KEY, max_steps=20, rtol=0)
    monkeypatch.setattr(loop, "BATCH_BYTES", 1)
    apart = jxu.fit(problem, 3, restarts=4, key=KEY, max_steps=20, rtol=0)
    np.testing.assert_allclose(apart.restarts.objective, together.restarts.objective, rtol=1e-3)


def test_status_says_why_it_stopped(problem):
    assert jxu.fit(problem, 3, key=KEY, max_steps=3).status is jxu.Status.MAX_STEPS
    done = jxu.fit(problem, 3, key=KEY, rtol=1e-4, max_steps=5000)
    assert done.status is jxu.Status.CONVERGED
    assert done.steps < 5000
    longer = jxu.fit(problem, 3, key=KEY, rtol=0, max_steps=int(done.steps) + 100)
    assert done.objective < longer.objective * (1 + 1e-4 * 100)


def test_zero_steps_return_the_start(problem):
    w, h = np.random.default_rng(0).random((60, 3), np.float32), np.random.default_rng(1).random((3, 20), np.float32)
    fit = jxu.fit(problem, 3, init=jxu.initial.Given(w, h), key=KEY, max_steps=0)
    np.testing.assert_array_equal(fit.maps, w)
    np.testing.assert_array_equal(fit.spectra, h)


def test_non_finite_raises_or_says_so(problem):
    with pytest.raises(FloatingPointError, match="No restart stayed finite"):
        jxu.fit(problem, 2, _broken_start(), key=KEY)
    told = jxu.fit(problem, 2, Spy(broken=True), key=KEY, throw=False)
    assert told.status is jxu.Status.NON_FINITE
    assert np.isfinite(told.maps).all()


def _broken_start():
    class NoNumber(AbstractUpdate):
        def check(self, problem):
            pass

        def init(self, problem, factors):
            return None

        def step(self, problem, factors, state):
            return jax.tree.map(lambda x: x * jnp.nan, factors), state

    return NoNumber()


def test_a_broken_restart_does_not_spoil_the_others(problem):
    class BreaksLarge(AbstractUpdate):
        """Breaks the starts whose first map entry is large."""

        def check(self, problem):
            pass

        def step(self, problem, factors, state):
            broken = factors.maps_t[0, 0] > jnp.median(factors.maps_t)
            moved, state = HALS().step(problem, factors, state)
            return jax.tree.map(lambda x: jnp.where(broken, jnp.nan, x), moved), state

    fit = jxu.fit(problem, 2, BreaksLarge(), restarts=6, key=KEY, max_steps=1)
    assert {jxu.Status.NON_FINITE, jxu.Status.MAX_STEPS} == set(fit.restarts.status)
    assert fit.status is jxu.Status.MAX_STEPS


def test_second_call_of_the_same_shape_compiles_nothing():
    Spy.traced = 0
    jxu.fit(jxu.Problem(_data()), 3, Spy(), key=KEY, max_steps=25)
    first = Spy.traced
    assert first > 0
    other = jxu.Problem(_data(seed=1), penalties=())
    jxu.fit(other, 3, Spy(), key=jax.random.key(5), max_steps=37, rtol=1e-3)
    assert Spy.traced == first
    jxu.fit(other, 4, Spy(), key=KEY, max_steps=5)
    assert Spy.traced > first


def test_another_weight_of_a_penalty_compiles_nothing():
    Spy.traced = 0
    traced = []
    for weight in (0.1, 0.7):
        jxu.fit(jxu.Problem(_data(), penalties=(jxu.penalties.L1("maps", weight),)), 3, Spy(), key=KEY, max_steps=5)
        traced.append(Spy.traced)
    assert traced[0] == traced[1]


def _cut_after(monkeypatch, looks: int, error: type[BaseException]):
    """Break off at the given look at the objective, as Ctrl-C or a lost machine would."""
    record, seen = Ledger.record, []

    def cut(self, run):
        record(self, run)
        seen.append(None)
        if len(seen) == looks:
            raise error

    monkeypatch.setattr(Ledger, "record", cut)


def test_interrupt_returns_the_best_iterate(problem, monkeypatch):
    _cut_after(monkeypatch, 2, KeyboardInterrupt)
    fit = jxu.fit(problem, 3, restarts=3, key=KEY, max_steps=1000, rtol=0)
    assert fit.status is jxu.Status.INTERRUPTED
    assert fit.steps == 20
    assert fit.objective == fit.trace.min()


def test_interrupted_fit_goes_on_from_its_checkpoint(problem, monkeypatch, tmp_path):
    options = {"restarts": 3, "key": KEY, "max_steps": 60, "rtol": 0, "checkpoint": tmp_path / "fit.ckpt"}
    whole = jxu.fit(problem, 3, **options)
    with monkeypatch.context() as patch:
        _cut_after(patch, 2, KeyboardInterrupt)
        assert jxu.fit(problem, 3, **options).steps == 20
    assert options["checkpoint"].exists()
    resumed = jxu.fit(problem, 3, **options)
    np.testing.assert_array_equal(resumed.restarts.trace, whole.restarts.trace)
    assert not options["checkpoint"].exists()


def test_gradient_that_is_no_number_is_told():
    """The square root's slope at 0 is infinite; refused steps must not pass for convergence."""
    problem = jxu.Problem(_data(), penalties=(lambda f: jnp.sum(jnp.sqrt(f.maps - f.maps)),))
    told = jxu.fit(problem, 2, jxu.updates.ProjectedGradient(), key=KEY, throw=False)
    assert told.status is jxu.Status.NON_FINITE


@pytest.mark.parametrize("batch", [2**31, 1])
def test_checkpoint_resumes_to_the_same_numbers(problem, monkeypatch, tmp_path, batch):
    monkeypatch.setattr(loop, "BATCH_BYTES", batch)
    monkeypatch.setattr("jaxunmix.factor.solve.checkpoint.CHECKPOINT_SECONDS", -1.0)
    options = {"restarts": 3, "key": KEY, "max_steps": 60, "rtol": 0}
    whole = jxu.fit(problem, 3, **options)
    path = tmp_path / "fit.ckpt"
    with monkeypatch.context() as patch:
        _cut_after(patch, 9 if batch == 1 else 3, RuntimeError)
        with pytest.raises(RuntimeError):
            jxu.fit(problem, 3, checkpoint=path, **options)
    assert path.exists()
    with pytest.raises(ValueError, match="belongs to another fit"):
        jxu.fit(problem, 2, checkpoint=path, **options)
    resumed = jxu.fit(problem, 3, checkpoint=path, **options)
    np.testing.assert_array_equal(resumed.maps, whole.maps)
    np.testing.assert_array_equal(resumed.restarts.trace, whole.restarts.trace)
    assert not path.exists()


def test_a_file_that_is_no_checkpoint_is_refused(problem, tmp_path):
    path = tmp_path / "fit.ckpt"
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match="no checkpoint"):
        jxu.fit(problem, 3, checkpoint=path, key=KEY)


def test_progress_goes_to_stderr(problem, capsys):
    jxu.fit(problem, 3, key=KEY, progress=True, max_steps=20)
    out, err = capsys.readouterr()
    assert out == ""
    assert "objective" in err


def test_compressed_fit_is_polished_and_scored_on_the_full_data():
    x = _data(400, 80)
    compressed = jxu.Compressed(x, 12, key=KEY, polish=4)
    fit = jxu.fit(jxu.Problem(compressed), 3, restarts=5, key=KEY, max_steps=100, rtol=0)
    exact = 0.5 * ((x.astype(float) - np.asarray(fit.maps, float) @ np.asarray(fit.spectra, float)) ** 2).sum()
    np.testing.assert_allclose(fit.objective, exact, atol=1e-7 * (x**2).sum())
    assert fit.steps == fit.trace_steps[-1] == 104
    full = jxu.fit(jxu.Problem(x), 3, restarts=5, key=KEY, max_steps=104, rtol=0)
    assert fit.objective <= full.objective * 1.001


def test_solution_survives_the_file(problem, tmp_path):
    fit = jxu.fit(jxu.Problem(_data(), basis=np.eye(20)[:7] + 0.1), 3, restarts=2, key=KEY, max_steps=20)
    fit.save(tmp_path / "fit.nc")
    back = jxu.Solution.load(tmp_path / "fit.nc")
    for name in ("maps", "spectra", "coefficients", "trace", "trace_steps"):
        np.testing.assert_array_equal(getattr(back, name), getattr(fit, name))
    for name in ("objective", "steps", "status"):
        assert getattr(back, name) == getattr(fit, name)
    assert back.restarts.status == fit.restarts.status
    assert back.info["loss"] == "Frobenius"
    assert repr(back) == repr(fit)


def test_solution_takes_the_labels_of_the_image(tmp_path):
    keep = np.ones((6, 11), bool)
    keep[2, 3:9] = False
    img = jxu.SpectrumImage.from_array(
        _data(66).reshape(6, 11, 20), coords={"energy": np.linspace(5, 9, 20)}, units={"energy": "eV"}, keep_pixels=keep
    )
    fit = jxu.fit(jxu.Problem(img.matrix()), 3, key=KEY, max_steps=20)
    result = fit.to_xarray(img)
    assert result["maps"].dims == ("component", "y", "x")
    assert result["spectra"].dims == ("component", "energy")
    assert result["energy"].attrs["units"] == "eV"
    assert int(np.isnan(result["maps"][0]).sum()) == 6
    np.testing.assert_allclose(result["maps"].values[:, keep].T, fit.maps)
    fit.save(tmp_path / "fit.nc", img)
    xr.testing.assert_allclose(jxu.Solution.load(tmp_path / "fit.nc").to_xarray()["trace"], result["trace"])


def test_empty_pixels_and_dead_channels_have_a_defined_answer():
    """An empty pixel gets maps of 0, a dead channel spectra of 0, under both losses."""
    x = np.random.default_rng(0).poisson(5 * _data())
    x[4], x[:, 6] = 0, 0
    for loss in (jxu.losses.Frobenius(), jxu.losses.Poisson()):
        fit = jxu.fit(jxu.Problem(x, loss), 2, key=KEY, max_steps=300)
        assert np.isfinite(fit.objective)
        np.testing.assert_allclose(fit.maps[4], 0, atol=1e-6)
        np.testing.assert_allclose(fit.spectra[:, 6], 0, atol=1e-6)


@pytest.mark.parametrize("loss", [jxu.losses.Frobenius(), jxu.losses.Poisson()])
def test_one_pixel_and_one_channel(loss):
    for shape in ((1, 9), (9, 1), (1, 1)):
        x = np.arange(1, 1 + np.prod(shape), dtype=float).reshape(shape)
        fit = jxu.fit(jxu.Problem(x, loss), 1, key=KEY, max_steps=50)
        np.testing.assert_allclose(fit.maps @ fit.spectra, x, rtol=1e-4)


def test_constant_channels_are_fitted():
    x = np.hstack([_data(), np.ones((60, 4), np.float32)])
    fit = jxu.fit(jxu.Problem(x), 3, key=KEY)
    assert np.isfinite(fit.objective)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, "rank must lie in 1..20"),
        ({"rank": 21}, "rank must lie in 1..20 for data of 60 pixels and 20 channels, got 21"),
        ({"restarts": 0}, "restarts"),
        ({"max_steps": -1}, "max_steps"),
        ({"rtol": -1.0}, "rtol"),
        ({"rtol": float("nan")}, "rtol"),
        ({"check_every": 0}, "check_every"),
        ({"key": None}, "key=jax.random.key"),
        ({"init": jxu.initial.NNDSVD(), "restarts": 3}, "no randomness"),
        ({"init": jxu.initial.Given(maps=np.ones((60, 4)))}, "maps must be"),
        ({"init": jxu.initial.Given(maps=np.ones((59, 3)))}, "maps must be .60, K."),
        ({"init": jxu.initial.Given(spectra=np.ones((3, 21)))}, "spectra must be .K, 20."),
        ({"init": jxu.initial.Given(spectra=-np.ones((3, 20)))}, "negative values"),
        ({"init": jxu.initial.Given(coefficients=np.ones((3, 20)))}, "basis"),
    ],
)
def test_bad_options_are_refused(problem, options, message):
    with pytest.raises(ValueError, match=message):
        jxu.fit(problem, **{"rank": 3, "key": KEY, **options})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: jxu.Problem(0 * x), "zero everywhere"),
        (lambda x: jxu.Problem(x, weights=-np.ones_like(x)), "weights must be 0 or more.*pixel 0, channel 0"),
        (lambda x: jxu.Problem(x, weights=np.full_like(x, np.nan)), "weights must be"),
        (lambda x: jxu.Problem(x, weights=0 * x), "nothing is left"),
        (lambda x: jxu.Problem(x, weights=np.ones((3, 3))), "do not broadcast"),
        (lambda x: jxu.Problem(np.where(x > 1, np.nan, x)), "not finite"),
        (lambda x: jxu.Problem(x, basis=np.ones((4, 19))), "basis must be .features, 20 channels."),
        (lambda x: jxu.Problem(x, basis=np.zeros((2, 20))), "zero everywhere"),
        (lambda x: jxu.Problem(x, basis=np.full((2, 20), np.nan)), "finite"),
        (lambda x: jxu.Problem(jxu.Counts(x), jxu.losses.Beta(1.5)), "use Dense"),
        (lambda x: jxu.Problem(jxu.Counts(x), weights=np.ones_like(x)), "Counts take no weights"),
        (lambda x: jxu.Problem(x, constraints=(jxu.constraints.NonNegative("coefficients"),)), "name one of them"),
        (lambda x: jxu.constraints.NonNegative("map"), "block"),
        (lambda x: jxu.constraints.UnitNorm("maps", "l3"), "norm"),
        (lambda x: jxu.Problem(x, constraints=[jxu.constraints.UnitNorm(b) for b in ("maps", "spectra")]), "Only one"),
        (lambda x: jxu.constraints.Fixed("maps", rows=(3,)).free(3), "not among"),
        (lambda x: jxu.initial.Given(), "give maps"),
        (lambda x: jxu.initial.Given(spectra=np.ones(20)), "two-dimensional"),
        (lambda x: jxu.initial.Given(spectra=np.ones((2, 20)), coefficients=np.ones((2, 3))), "not both"),
        (lambda x: jxu.updates.HALS(sweeps=0), "sweeps"),
        (lambda x: jxu.project(x, np.ones((2, 19))), "spectra must be"),
    ],
)
def test_bad_problems_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make(_data())


def test_fixed_asks_for_given(problem):
    fixed = jxu.Problem(_data(), constraints=(*problem.constraints, jxu.constraints.Fixed("spectra")))
    with pytest.raises(ValueError, match=r"initial\.Given"):
        jxu.fit(fixed, 3, key=KEY)
