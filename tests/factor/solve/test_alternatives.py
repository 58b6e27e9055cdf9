"""Restarts that fit as well as the best: which are kept, how they are aligned, and that the best stays as it was."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxunmix as jxu
from jaxunmix.factor.alternatives import Alternatives
from jaxunmix.factor.model import Bilinear
from jaxunmix.factor.solve import loop
from jaxunmix.factor.solve.candidates import Allowance, Candidate, alternatives_of
from jaxunmix.factor.solve.checkpoint import Ledger

KEY = jax.random.key(0)
OPTIONS = {"restarts": 8, "key": KEY, "max_steps": 60, "rtol": 0}
C = jxu.constraints


def _mixture(purity: float, noise: float = 0.02) -> np.ndarray:
    """Three components in 80 pixels: at 1 each has pixels and channels of its own, below it none."""
    rng = np.random.default_rng(0)
    maps = purity * rng.dirichlet([0.2] * 3, 80) + (1 - purity) / 3
    spectra = rng.random((3, 24))
    if purity == 1:
        spectra *= np.arange(24) // 6 - 1 != np.array([[0], [1], [2]])
        spectra[:, :6] *= np.arange(6) // 2 == np.array([[0], [1], [2]])
    return (maps @ spectra + noise * rng.random((80, 24))).astype("f4")


@pytest.fixture(scope="module")
def problem():
    return jxu.Problem(_mixture(0.6))


@pytest.fixture(scope="module")
def solution(problem):
    return jxu.fit(problem, 3, alternatives=0.01, **OPTIONS)


def test_those_within_the_tolerance_are_kept_and_no_other(problem, solution):
    objective = np.asarray(solution.restarts.objective, float)
    best = int(solution.restarts.best)
    near = [i for i in np.argsort(objective) if i != best and objective[i] <= objective[best] * 1.01]
    assert 2 <= len(near) < 8
    np.testing.assert_array_equal(solution.alternatives.restart, near)
    np.testing.assert_array_equal(solution.alternatives.objective, solution.restarts.objective[np.array(near)])
    assert float(solution.alternatives.tolerance) == pytest.approx(0.01)
    few = jxu.fit(problem, 3, alternatives=0.01, most_alternatives=2, **OPTIONS)
    np.testing.assert_array_equal(few.alternatives.restart, near[:2])
    # Each is the model whose objective is told.
    for maps, spectra, told in zip(
        *(getattr(solution.alternatives, n) for n in ("maps", "spectra", "objective")), strict=True
    ):
        rest = _mixture(0.6).astype(float) - np.asarray(maps, float) @ np.asarray(spectra, float)
        assert 0.5 * (rest**2).sum() == pytest.approx(float(told), rel=1e-3)


@pytest.mark.parametrize("none", [0, None, 0.0])
def test_the_best_does_not_change_by_a_bit(problem, solution, none):
    alone = jxu.fit(problem, 3, alternatives=none, **OPTIONS)
    assert len(alone.alternatives) == 0
    assert alone.alternatives.spectra.shape == (0, 3, 24)
    for name in ("maps", "spectra", "objective", "trace"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(solution, name))
    np.testing.assert_array_equal(alone.spread_angle, 0)
    assert not np.any(alone.spread("maps").sd)


def test_components_stand_in_the_order_and_scale_of_the_best(solution):
    assert len(solution.alternatives) > 1
    for spectra in np.asarray(solution.alternatives.spectra):
        np.testing.assert_array_equal(jxu.metrics.match(spectra, solution.spectra).order, [0, 1, 2])
        np.testing.assert_allclose(np.linalg.norm(spectra, axis=1), np.linalg.norm(solution.spectra, axis=1), rtol=1e-5)


def test_a_permuted_and_rescaled_restart_is_the_best_again(problem):
    best = jxu.fit(problem, 3, key=KEY)
    order, scale = np.array([2, 0, 1]), np.array([3.0, 0.2, 7.0], "f4")
    maps_t, spectra = np.asarray(best.maps.T), np.asarray(best.spectra)
    other = Candidate(1.0, 4, (maps_t * scale[:, None])[order], (spectra / scale[:, None])[order])
    found = alternatives_of(problem, Bilinear(best.maps.T, best.spectra), np.arange(3), [other], 0.1)
    np.testing.assert_allclose(found.spectra[0], best.spectra, rtol=1e-5)
    np.testing.assert_allclose(found.maps[0], best.maps, rtol=1e-5)
    assert int(found.restart[0]) == 4


@pytest.mark.parametrize(
    ("constraints", "penalties"),
    [
        ((C.NonNegative("maps"), C.NonNegative("spectra"), C.Simplex("maps")), ()),
        ((C.NonNegative("maps"), C.NonNegative("spectra")), (lambda f: jnp.sum(f.maps**2),)),
    ],
    ids=["simplex", "function"],
)
def test_where_the_scale_is_determined_it_stays(constraints, penalties):
    problem = jxu.Problem(_mixture(0.6), constraints=constraints, penalties=penalties)
    best = Bilinear(jnp.ones((3, 80)) / 3, jnp.eye(3, 24))
    other = Candidate(1.0, 1, np.ones((3, 80), "f4") / 3, 2 * np.eye(3, 24, dtype="f4"))
    found = alternatives_of(problem, best, np.arange(3), [other], 0.1)
    np.testing.assert_array_equal(found.spectra[0], other.profiles)


def test_known_components_keep_their_place():
    """With known maps the component is told by its map, however its spectrum turned out."""
    maps = np.random.default_rng(0).random((80, 3)).astype("f4")
    constraints = (C.NonNegative("maps"), C.NonNegative("spectra"), C.Fixed("maps"))
    problem = jxu.Problem(_mixture(0.6), constraints=constraints)
    best, swapped = np.eye(3, 24, dtype="f4"), np.eye(3, 24, dtype="f4")[[1, 0, 2]]
    one = Candidate(1.0, 1, maps.T, swapped)
    found = alternatives_of(problem, Bilinear(jnp.asarray(maps.T), jnp.asarray(best)), np.arange(3), [one], 0.1)
    np.testing.assert_array_equal(found.spectra[0], swapped)


def test_what_is_determined_does_not_spread_and_what_is_not_does(solution):
    """Pure pixels determine three components, nearly even mixtures do not: the angles tell them apart."""
    pure = jxu.fit(jxu.Problem(_mixture(1.0)), 3, alternatives=0.01, **OPTIONS)
    assert len(pure.alternatives) > 0
    assert pure.spread_angle.shape == (3,)
    assert pure.spread_angle.max() < 2
    assert solution.spread_angle.max() > 5 * pure.spread_angle.max()


def test_spread_and_angles_are_those_of_the_table(solution):
    every = np.concatenate([np.asarray(solution.spectra)[None], solution.alternatives.spectra])
    spread = solution.spread("spectra")
    np.testing.assert_allclose(spread.sd, every.std(axis=0), rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(spread.low, every.min(axis=0))
    np.testing.assert_array_equal(spread.high, every.max(axis=0))
    assert solution.spread("maps").sd.shape == solution.maps.shape
    angles = [jxu.metrics.spectral_angle(every[0], other) for other in every[1:]]
    np.testing.assert_allclose(solution.spread_angle, np.max(angles, axis=0))
    with pytest.raises(ValueError, match="block must be one of 'spectra', 'maps'"):
        solution.spread("coefficients")


@pytest.mark.parametrize("most", [2, 10])
def test_batches_make_no_difference(problem, monkeypatch, most):
    """Poisson restarts run one after the other in any batch, so that the numbers are the same."""
    poisson = problem.replace(loss=jxu.losses.Poisson())
    options = OPTIONS | {"alternatives": 1.0, "most_alternatives": most}
    whole = jxu.fit(poisson, 3, **options)
    objective = np.asarray(whole.restarts.objective)
    near = np.argsort(objective)[1 : int(np.sum(objective <= 2 * objective.min()))]
    assert len(near) > 2
    np.testing.assert_array_equal(whole.alternatives.restart, near[:most])
    monkeypatch.setattr(loop, "BATCH_BYTES", 2 * poisson.restart_bytes(3))
    parts = jxu.fit(poisson, 3, **options)
    np.testing.assert_array_equal(parts.alternatives.restart, whole.alternatives.restart)
    np.testing.assert_array_equal(parts.alternatives.spectra, whole.alternatives.spectra)


@pytest.mark.parametrize("batch", [2**31, 1])
def test_a_checkpoint_resumes_to_the_same_alternatives(problem, monkeypatch, tmp_path, batch):
    monkeypatch.setattr(loop, "BATCH_BYTES", batch)
    monkeypatch.setattr("jaxunmix.factor.solve.checkpoint.CHECKPOINT_SECONDS", -1.0)
    options = OPTIONS | {"alternatives": 0.5}
    whole = jxu.fit(problem, 3, **options)
    record, seen = Ledger.record, []

    def cut(self, run):
        record(self, run)
        seen.append(None)
        if len(seen) == (33 if batch == 1 else 3):
            raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "record", cut)
        with pytest.raises(RuntimeError):
            jxu.fit(problem, 3, checkpoint=tmp_path / "fit.ckpt", **options)
    with pytest.raises(ValueError, match="belongs to another fit"):
        jxu.fit(problem, 3, checkpoint=tmp_path / "fit.ckpt", **options | {"alternatives": 0.4})
    resumed = jxu.fit(problem, 3, checkpoint=tmp_path / "fit.ckpt", **options)
    assert len(whole.alternatives) >= 5
    for one, two in zip(jax.tree.leaves(resumed.alternatives), jax.tree.leaves(whole.alternatives), strict=True):
        np.testing.assert_array_equal(one, two)


def test_compressed_alternatives_are_polished_and_scored_on_the_full_data():
    x = _mixture(0.6)
    compressed = jxu.Problem(jxu.Compressed(x, 6, key=KEY, polish=4))
    fit = jxu.fit(compressed, 3, alternatives=0.05, **OPTIONS)
    alone = jxu.fit(compressed, 3, alternatives=None, **OPTIONS)
    np.testing.assert_array_equal(fit.maps, alone.maps)
    np.testing.assert_array_equal(fit.objective, alone.objective)
    assert len(fit.alternatives) > 1
    assert float(fit.alternatives.objective.max()) <= float(fit.objective) * 1.05
    for i, told in enumerate(np.asarray(fit.alternatives.objective)):
        rest = x.astype(float) - np.asarray(fit.alternatives.maps[i], float) @ np.asarray(fit.alternatives.spectra[i])
        assert 0.5 * (rest**2).sum() == pytest.approx(told, rel=1e-2)


def test_they_survive_the_file(tmp_path):
    keep = np.ones((8, 10), bool)
    keep[2, 3] = False
    img = jxu.SpectrumImage.from_array(
        _mixture(0.6).reshape(8, 10, 24), coords={"energy": np.linspace(5, 9, 24)}, keep_pixels=keep
    )
    problem = jxu.Problem(img.matrix(), basis=np.eye(24)[:9] + 0.1)
    fit = jxu.fit(problem, 3, alternatives=0.5, **OPTIONS)
    assert len(fit.alternatives) > 1
    fit.save(tmp_path / "fit.nc", img)
    result = fit.to_xarray(img)
    assert result["alternative_maps"].dims == ("alternative", "component", "y", "x")
    np.testing.assert_allclose(result["spread_angle"], fit.spread_angle)
    fit.save(tmp_path / "rows.nc")
    back = jxu.Solution.load(tmp_path / "rows.nc")
    for one, two in zip(jax.tree.leaves(back.alternatives), jax.tree.leaves(fit.alternatives), strict=True):
        np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(back.spread("coefficients").sd, fit.spread("coefficients").sd)
    assert set(back.info) == set(fit.info)
    alone = jxu.fit(problem, 3, key=KEY, max_steps=5)
    alone.save(tmp_path / "alone.nc")
    assert len(jxu.Solution.load(tmp_path / "alone.nc").alternatives) == 0


def test_the_solution_is_still_a_pytree(solution):
    doubled = jax.jit(lambda s: jax.tree.map(lambda leaf: 2 * leaf, s))(solution)
    np.testing.assert_array_equal(doubled.alternatives.maps, 2 * solution.alternatives.maps)
    one = jxu.minimise(jxu.Problem(_mixture(0.6)), jxu.Bilinear.of(solution.maps, solution.spectra), max_steps=2)
    assert len(one.alternatives) == 0


def test_a_broken_restart_is_no_alternative():
    allowance = Allowance(0.5, 3)
    factors = jax.vmap(lambda i: Bilinear(i * jnp.ones((2, 5)), jnp.ones((2, 6))))(jnp.arange(4.0))
    ledger = Ledger(None, "", allowance)
    ledger.best_objective = ledger.best_score = 1.0
    kept = ledger._chosen([], factors, np.array([1.0, np.inf, 1.2, 1.7]))
    assert [one.restart for one in kept] == [2]


def test_choice_is_by_objective_relative_to_the_best_even_below_zero():
    some = [Candidate(value, i, np.zeros((1, 1)), np.zeros((1, 1))) for i, value in enumerate((-9.0, -9.95, -9.5))]
    assert [one.restart for one in Allowance(0.05, 5).choose(some, -10.0)] == [1, 2]
    assert Allowance.of(None, 10) == Allowance.of(0.1, 0) == Allowance()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alternatives": -0.1}, "alternatives must be 0 to 1, got -0.1"),
        ({"alternatives": 2}, "alternatives must be 0 to 1, got 2"),
        ({"most_alternatives": -1}, "most_alternatives must be 0 or more"),
    ],
)
def test_what_says_nothing_is_refused(problem, options, message):
    with pytest.raises(ValueError, match=message):
        jxu.fit(problem, 3, key=KEY, **options)


def test_labels_are_the_largest_contribution():
    """|map| x |spectrum|: a small map of a strong spectrum wins, signs do not count, and nothing is -1."""
    maps = jnp.array([[3.0, 1.0], [1.0, 1.0], [0.0, 0.0], [-9.0, 1.0], [2.0, 1.0]])
    spectra = jnp.array([[1.0, 0.0, 0.0], [0.0, 0.0, 2.0]])
    solution = jxu.minimise(jxu.Problem(np.ones((5, 3), "f4")), jxu.Bilinear.of(abs(maps), spectra), max_steps=0)
    solution = dataclasses.replace(solution, maps=maps, spectra=spectra)
    np.testing.assert_array_equal(solution.labels, [0, 1, -1, 0, 0])
    assert solution.labels.dtype.kind == "i"
    np.testing.assert_array_equal(jax.jit(lambda s: s.labels)(solution), solution.labels)


def test_no_alternatives_have_the_shapes_of_the_factors():
    none = Alternatives.none(jnp.zeros((5, 2)), jnp.zeros((2, 4)), jnp.zeros((2, 3)))
    assert len(none) == 0
    assert none.coefficients.shape == (0, 2, 3)
