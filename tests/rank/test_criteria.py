"""Criteria for the number of components: a known number is found, and each published equation holds."""

import dataclasses
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxunmix as jxu
from jaxunmix import rank
from jaxunmix.factor.initial.random import Random
from jaxunmix.rank import cross_validation as crossvalidation
from jaxunmix.rank.agreement import _dispersion
from jaxunmix.rank.criterion import Evidence
from jaxunmix.rank.singular_values import heights_above_noise, marchenko_pastur
from jaxunmix.rank.survey import Settings, Survey

KEY = jax.random.key(0)
Bcv = rank.BiCrossValidation
CRITERIA = (
    Bcv(folds=5),
    rank.Plateau(),
    rank.Elbow(),
    rank.Crossing(),
    rank.Scree(),
    rank.Malinowski(),
    rank.AIC(),
    rank.BIC(),
    rank.Dispersion(),
    rank.Likeness(),
)
SETTINGS = Settings(jxu.updates.HALS(), Random(), 2, 60, 0, 10)


@pytest.fixture(scope="module")
def scanned():
    img, truth = jxu.simulate.mixture(KEY, 500, 50, 5, "gaussian", snr_db=20.0)
    problem = jxu.Problem(img.matrix())
    # From 3 to 8 all ranks share one program, and so do all folds.
    return problem, truth, rank.scan(problem, range(3, 9), CRITERIA, restarts=6, key=jax.random.key(1), compress=False)


@pytest.mark.parametrize("name", [c.name for c in CRITERIA])
def test_every_criterion_finds_a_known_number_at_moderate_noise(scanned, name):
    _, truth, scan = scanned
    verdict = scan.decision[name]
    assert verdict.best == len(truth.spectra) == 5, verdict.reason
    assert verdict.margin > 0
    assert verdict.values.shape == (6,)
    np.testing.assert_array_equal(scan.table[name], verdict.values)


@pytest.fixture(scope="module")
def values(scanned):
    return np.asarray(scanned[0].matrix.values, float)


def test_pca_has_as_many_spectra_as_the_model(scanned, values):
    """The mean spectrum and K - 1 components."""
    centred = np.linalg.svd(values - values.mean(axis=0), compute_uv=False) ** 2
    expected = [centred[k - 1 :].sum() / values.size for k in range(3, 9)]
    np.testing.assert_allclose(scanned[2].table["pca_mse"], expected, rtol=1e-3)


def test_malinowski_indicator(scanned, values):
    """IND of Anal. Chem. 49 (1977) 612, equations 1 and 8, with 500 rows and 50 columns."""
    squares = np.linalg.svd(values, compute_uv=False) ** 2
    real_error = [np.sqrt(squares[k:].sum() / (500 * (50 - k))) for k in range(3, 9)]
    expected = [error / (50 - k) ** 2 for k, error in enumerate(real_error, 3)]
    np.testing.assert_allclose(scanned[2].table["Malinowski"], expected, rtol=1e-3)


@pytest.mark.parametrize(("name", "price"), [("AIC", 2.0), ("BIC", np.log(500 * 50))])
def test_information_criteria(scanned, values, name, price):
    for k in (3, 5, 8):
        solution = scanned[2].solutions[k]
        mse = np.mean((values - np.asarray(solution.maps, float) @ np.asarray(solution.spectra)) ** 2)
        expected = values.size * np.log(mse) + price * k * (500 + 50 - k)
        assert float(scanned[2].table[name].sel(rank=k)) == pytest.approx(expected, rel=1e-4)


def test_crossing_is_the_residual_less_that_of_one_direction_more(scanned, values):
    squares = np.linalg.svd(values, compute_uv=False) ** 2
    expected = scanned[2].table["best_mse"] - np.array([squares[k + 1 :].sum() for k in range(3, 9)]) / values.size
    np.testing.assert_allclose(scanned[2].table["Crossing"], expected, rtol=1e-3, atol=1e-8)


def test_scree_counts_the_squared_singular_values(scanned, values):
    squares = np.linalg.svd(values, compute_uv=False) ** 2
    np.testing.assert_allclose(scanned[2].table["Scree"], np.log(squares[2:8]), atol=1e-2)


# ---------------------------------------------------------------- the rules, on curves made up


def evidence(mse=(1.0, 1.0, 1.0), ranks=None, **fields):
    """Evidence of a 100 x 20 survey with these numbers."""
    mse = np.asarray(mse, float)
    ranks = tuple(range(1, len(mse) + 1) if ranks is None else ranks)
    labels = fields.pop("labels", np.zeros((len(mse), 1, 1), int))
    made = {
        "problem": jxu.Problem(np.ones((100, 20), np.float32)),
        "survey": Survey(ranks, (), np.zeros((len(mse), 1)), labels, (), mse),
        "settings": SETTINGS,
        "loss": mse * 1000,
        "squares": (2000.0 * mse[0], 2000.0 * mse[0]),
        "energies": np.zeros(20),
        "centred": np.zeros(20),
        "heights": np.zeros(len(mse) + 1),
        "key": KEY,
        "progress": False,
    }
    return Evidence(**{**made, **fields})


def test_elbow_is_farthest_below_the_chord():
    # Logarithms 8, 4, 0, -1, -2, -3, ... : the bend is at the third.
    verdict = rank.Elbow()(evidence(np.exp([8.0, 4, 0, -1, -2, -3, -4])))
    assert verdict.best == 3
    np.testing.assert_allclose(verdict.values[[0, 2, 6]], [0, 1 - 2 / 6 - 4 / 12, 0], atol=1e-12)


def test_plateau_begins_where_the_line_of_noise_does():
    curve = np.exp([8.0, 5, 2, 1, 0, -1, -2, -3, -4])
    verdict = rank.Plateau()(evidence(curve))
    assert verdict.best == 3
    # One rank before lies 2 above the line, the whole fall is 12, a tolerance 2 % of it.
    assert verdict.margin == pytest.approx(2 / (0.02 * 12))
    assert rank.Plateau()(evidence(curve, ranks=range(2, 11))).best == 4


def test_plateau_says_where_there_is_none():
    verdict = rank.Plateau()(evidence(np.exp([9.0, 7, 5, 3, 2.9, 1, 0.2])))
    assert verdict.best is None
    assert "still falls" in verdict.reason


def test_plateau_of_a_flat_curve_is_the_first_rank():
    assert rank.Plateau()(evidence(np.ones(6))).best == 1


def test_crossing_of_the_gains():
    """Three directions of signal; then PCA takes 10 each and the model 6."""
    energies = np.array([800.0, 400, 200] + [10.0] * 17)
    total = energies.sum()
    model = total - np.cumsum([800, 390, 208, 6, 6, 6])
    verdict = rank.Crossing()(evidence(model / 2000, energies=energies, squares=(total, total), centred=energies))
    assert verdict.best == 3
    # At 3 and 4: 172 - 160 and 166 - 150.
    assert verdict.margin == pytest.approx(4 / 10)
    assert "do not cross" in verdict.reason or "cross after" in verdict.reason


def test_crossing_tells_where_the_curves_themselves_cross():
    mse, pca = np.array([9.0, 6, 3, 2.5, 2.2]), [10.0, 6.5, 3, 2.4, 1.9]
    centred = -np.diff([*pca, 0]) * 2000
    made = evidence(mse, centred=centred, squares=(20000.0, 20000.0), energies=np.full(20, 1000.0))
    np.testing.assert_allclose(made.pca_mse(made.ranks), pca)
    assert "cross after 3" in rank.Crossing()(made).reason


def test_dispersion_of_agreement_and_of_coin_flips():
    """Kim and Park's equation 14: 1 for agreement, 1 / restarts for coin flips, but for the diagonal."""
    rng = np.random.default_rng(0)
    same = np.tile(rng.integers(0, 3, 400), (8, 1))
    assert _dispersion(same) == 1
    renamed = np.stack([(row + i) % 3 for i, row in enumerate(same)])
    assert _dispersion(renamed) == 1
    flips = rng.integers(0, 2, (8, 400))
    assert _dispersion(flips) == pytest.approx(1 / 8 + (1 - 1 / 8) / 400, rel=0.02)
    assert _dispersion(np.array([[0, 0], [0, 1]])) == pytest.approx(1 / 2)


def test_dispersion_takes_the_last_lasting_fall():
    rng = np.random.default_rng(0)
    agreed, random = np.tile(rng.integers(0, 3, 200), (6, 1)), rng.integers(0, 3, (6, 200))
    dipped = np.array([agreed, random, agreed, random, random])
    assert rank.Dispersion()(evidence(np.ones(5), labels=dipped)).best == 3
    # All agree on one component, which says nothing.
    verdict = rank.Dispersion()(evidence(np.ones(3), labels=np.array([np.zeros_like(agreed), random, random])))
    assert verdict.best is None


def components(*pairs):
    """(maps_t, spectra) with the given cosines of the first two maps, less their mean, and of the first two spectra."""
    rng = np.random.default_rng(0)
    made = []
    for k, along_maps, along_spectra in pairs:
        free = np.linalg.qr(np.column_stack([np.ones(100), rng.normal(size=(100, k))]))[0].T[1:]
        spectra = np.linalg.qr(rng.normal(size=(20, k)))[0].T
        for rows, cosine in ((free, along_maps), (spectra, along_spectra)):
            if k > 1:
                rows[1] = cosine * rows[0] + np.sqrt(1 - cosine**2) * rows[1]
        # Neither size nor the mean of a map counts.
        made.append((3 * free + 5, 7 * spectra))
    return tuple(made)


def like(*pairs, ranks=None, limit=0.15):
    made = evidence(np.ones(len(pairs)), ranks=ranks)
    best = Survey(
        made.survey.ranks, (), made.survey.loss, made.survey.labels, components(*pairs), made.survey.objective
    )
    return rank.Likeness(limit)(dataclasses.replace(made, survey=best))


def test_a_limit_of_likeness_that_no_cosine_passes_is_refused_when_it_is_given():
    with pytest.raises(ValueError, match="limit must be above 0 and below 1, got 1"):
        rank.Likeness(1)


def test_likeness_is_the_cosine_of_maps_and_spectra():
    verdict = like((1, 0, 0), (2, -0.9, 0.5), (3, 0.2, 0.5), (4, 0.8, 0.9), (5, 0.9, 0.1))
    # The others are orthogonal: the largest product is 0 where that of the first two is negative.
    assert np.isnan(verdict.values[0])
    np.testing.assert_allclose(verdict.values[1:], [-0.45, 0.1, 0.72, 0.09], atol=1e-12)
    assert verdict.best == 3
    assert verdict.margin == pytest.approx(0.05)
    assert "alike at 4" in verdict.reason
    assert like((2, 0.1, 0.1), (4, 0.1, 0.1), (7, 0.5, 0.9), ranks=(2, 4, 7)).best == 4


def test_likeness_does_not_decide_where_it_cannot():
    never = like((2, 0.1, 0.1), (3, 0.1, 0.9))
    assert never.best is None
    assert "look further" in never.reason
    at_once = like((1, 0, 0), (2, 0.9, 0.9), (3, 0.9, 0.9))
    assert at_once.best is None
    assert "higher limit" in at_once.reason
    assert like((1, 0, 0), (2, 0.7, 0.7), (3, 0.9, 0.9), limit=0.6).best == 2


def test_scree_counts_what_stands_out_and_says_when_all_does():
    verdict = rank.Scree()(evidence(np.ones(4), heights=np.array([90.0, 30, 7, -1, -2])))
    assert verdict.best == 3
    assert verdict.margin == pytest.approx(7 - 3.27)
    assert rank.Scree(limit=10)(evidence(np.ones(4), heights=np.array([90.0, 30, 7, -1, -2]))).best == 2
    beyond = rank.Scree()(evidence(np.ones(4), heights=np.full(5, 9.0)))
    assert beyond.best is None
    assert "poisson_scale" in beyond.reason
    assert rank.Scree()(evidence(np.ones(4), heights=np.full(5, -1.0))).best is None


@pytest.mark.parametrize("shape", [(400, 60), (60, 400), (80, 80)])
def test_marchenko_pastur_is_what_noise_has(shape):
    rng = np.random.default_rng(0)
    drawn = np.mean([np.linalg.svd(rng.normal(size=shape), compute_uv=False) ** 2 for _ in range(20)], axis=0)
    expected = marchenko_pastur(*shape)
    assert expected.sum() == pytest.approx(np.prod(shape), rel=2e-3)
    np.testing.assert_allclose(expected[:-5], drawn[:-5], rtol=0.03, atol=0.5)


def test_noise_stands_above_noise_as_often_as_said():
    """Tracy-Widom's law: 5 % of noise above 0.98, and 0.1 % above 3.27; a known signal is seen among it."""
    rng = np.random.default_rng(1)
    tops, counts = [], []
    for _ in range(200):
        noise = rng.normal(size=(200, 40))
        squares = np.linalg.svd(noise, compute_uv=False) ** 2
        tops.append(heights_above_noise(squares, squares.sum(), (200, 40), 6)[0])
        # Twice the detection threshold, the fourth root of n m.
        u, v = np.linalg.qr(rng.normal(size=(200, 2)))[0], np.linalg.qr(rng.normal(size=(40, 2)))[0]
        squares = np.linalg.svd(noise + 2 * 8000**0.25 * u @ v.T, compute_uv=False) ** 2
        # Of which only the leading ones are known.
        heights = heights_above_noise(squares[:8], squares.sum(), (200, 40), 6)
        counts.append(int(np.argmax(heights < 3.27)))
    assert np.mean(np.array(tops) > 0.98) == pytest.approx(0.05, abs=0.045)
    assert np.mean(np.array(tops) > 3.27) <= 0.01
    assert np.mean(np.array(counts) == 2) >= 0.97


def test_heights_take_rounding_for_nothing():
    exact = np.array([5.0, 3, 1, 1e-8, 1e-9, 1e-9, 1e-10, 1e-10])
    heights = heights_above_noise(exact, exact.sum(), (30, 8), 4)
    assert (heights[:3] > 100).all()
    assert np.isneginf(heights[3:]).all()


# ---------------------------------------------------------------- bi-cross-validation


def test_owen_and_perry_equation_3_1_the_residual_of_the_held_out_block():
    """A - B (W H)^+ C for given factors of D, beside numpy."""
    rng = np.random.default_rng(0)
    a, b, c = rng.random((4, 3)), rng.random((4, 9)), rng.random((15, 3))
    w, h = rng.random((15, 2)), rng.random((2, 9))
    blocks = crossvalidation.Blocks(*(jnp.asarray(x, jnp.float32) for x in (a, b, c, w @ h)))
    padded = [np.zeros((2, 3, 15), np.float32), np.zeros((2, 3, 9), np.float32)]
    padded[0][0, :2], padded[1][0, :2] = w.T, h
    padded[0][1, :1], padded[1][1, :1] = w.T[:1], h[:1]
    found = crossvalidation._scores(blocks, *map(jnp.asarray, padded))
    for score, k in zip(found, (2, 1), strict=True):
        expected = np.sum((a - b @ np.linalg.pinv(w[:, :k] @ h[:k]) @ c) ** 2)
        assert float(score) == pytest.approx(expected, rel=1e-3)


def test_pseudoinverse_is_that_of_numpy():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(3, 8)) * np.array([[1e-3], [1.0], [1e3]])
    np.testing.assert_allclose(
        crossvalidation.pseudoinverse(jnp.asarray(rows, jnp.float32)) @ rows, np.linalg.pinv(rows) @ rows, atol=1e-4
    )
    rows[2] = 2 * rows[1]
    twice = np.asarray(crossvalidation.pseudoinverse(jnp.asarray(rows, jnp.float32)))
    assert np.isfinite(twice).all()
    assert np.abs(twice).max() < 10 * np.abs(np.linalg.pinv(rows)).max()
    assert not np.any(crossvalidation.pseudoinverse(jnp.zeros((2, 5))))


def test_held_out_data_do_not_touch_the_fit(monkeypatch, values):
    """Changing A, B or C leaves the factors of D as they are, and changes the score."""
    fitted = []

    def spy(*args):
        fitted.append(real(*args))
        return fitted[-1]

    real = crossvalidation.survey
    monkeypatch.setattr(crossvalidation, "survey", spy)
    x = jnp.asarray(values, jnp.float32)
    other = x.at[2::5].add(0.5).at[:, 2::5].add(0.3)
    problem = jxu.Problem(x)
    scores = [crossvalidation._fold(problem, v, [2, 3], 2, 5, SETTINGS, KEY, False) for v in (x, other)]
    for one, two in zip(jax.tree.leaves(fitted[0].best), jax.tree.leaves(fitted[1].best), strict=True):
        np.testing.assert_array_equal(one, two)
    assert (scores[0] != scores[1]).all()


@pytest.mark.parametrize(("size", "folds"), [(12, 4), (13, 4), (23, 10)])
def test_folds_are_equal_in_shape_and_hold_out_every_fold_th(size, folds):
    parts = [crossvalidation._split(size, fold, folds) for fold in range(folds)]
    assert {tuple(map(len, part)) for part in parts} == {(size // folds, size - size // folds)}
    held = np.sort(np.concatenate([part[0] for part in parts]))
    np.testing.assert_array_equal(held, np.arange(size // folds * folds))
    for fold, (out, training) in enumerate(parts):
        np.testing.assert_array_equal(out % folds, fold)
        assert not np.intersect1d(out, training).size


def test_the_fewest_components_within_one_standard_error(monkeypatch):
    """Folds' residuals by hand: 3 is 0.4 errors above 4, the least; within=0 is the published least."""
    rng = np.random.default_rng(0)
    wobble = rng.normal(size=8)
    wobble = (wobble - wobble.mean()) / wobble.std(ddof=1) * np.sqrt(8)  # mean 0, standard error 1
    table = np.stack([100 + 30 + wobble, 100 + 0.4 + wobble, np.full(8, 100.0), 100 + 5 + wobble])
    monkeypatch.setattr(crossvalidation, "residuals", lambda *args: table)
    made = evidence(np.ones(4), ranks=(2, 3, 4, 5))
    verdict = Bcv(folds=8)(made)
    assert verdict.best == 3
    assert verdict.margin == pytest.approx(0)
    assert "not told apart" in verdict.reason
    entries = (100 // 8) * (20 // 8)
    np.testing.assert_allclose(verdict.values, np.array([130, 100.4, 100, 105]) / entries)
    np.testing.assert_allclose(verdict.error, np.array([1, 1, 0, 1]) / entries, atol=1e-12)
    least = Bcv(folds=8, within=0)(made)
    assert least.best == 4
    assert least.margin == pytest.approx(0.4)
    assert "not told apart" in least.reason
    table[1] += 3
    clear = Bcv(folds=8)(made)
    assert clear.best == 4
    assert clear.margin == pytest.approx(3.4)


# ---------------------------------------------------------------- refusals


def refused(match, ranks=range(1, 5), criteria=CRITERIA[6:8], problem=None, **options):
    problem = problem or jxu.Problem(np.ones((12, 8), np.float32) + np.eye(12, 8, dtype=np.float32))
    with pytest.raises(ValueError, match=match):
        rank.scan(problem, ranks, criteria, key=KEY, **options)


@pytest.mark.parametrize(
    ("match", "options"),
    [
        (r"ranks is empty.*range\(2, 10\)", {"ranks": ()}),
        ("whole numbers, got True", {"ranks": (True, 2)}),
        (r"1\.\.8 for data of 12 pixels and 8 channels, got 9", {"ranks": (2, 9)}),
        (r"1\.\.8 .* got 0", {"ranks": (0, 2)}),
        (r"criteria must be one or more.*BiCrossValidation\(\),", {"criteria": ()}),
        (r"folds=10 must lie in 2\.\.8.* 8 channels.*\(folds=8\)", {"criteria": (Bcv(10),)}),
        ("fewer than the rank 5; leave out the ranks above 4", {"ranks": (2, 5), "criteria": (Bcv(2),)}),
        (r"Plateau reads a curve: give 5 ranks", {"criteria": (rank.Plateau(),)}),
        (r"Elbow reads a curve: give 3 ranks", {"ranks": (2, 3), "criteria": (rank.Elbow(),)}),
        (r"Crossing reads a curve: give 3 ranks", {"ranks": (2, 3), "criteria": (rank.Crossing(),)}),
        (r"Dispersion reads a curve: give 2 ranks", {"ranks": (2,), "criteria": (rank.Dispersion(),)}),
        (r"Likeness reads a curve: give 2 ranks", {"ranks": (2,), "criteria": (rank.Likeness(),)}),
        (r"2 are too few, give restarts=10", {"criteria": (rank.Dispersion(),), "restarts": 2}),
        ("no value at the full rank 8; leave that rank out", {"ranks": (2, 8), "criteria": (rank.Malinowski(),)}),
    ],
)
def test_refused_with_the_remedy_before_anything_is_fitted(match, options, monkeypatch):
    monkeypatch.setattr("jaxunmix.rank.scanning.survey", lambda *args: pytest.fail("fitted"))
    refused(match, **options)


@pytest.mark.parametrize(
    ("match", "ranks", "criteria"),
    [
        ("criteria must be one or more", range(1, 4), ("aic",)),
        ("criteria must be one or more", range(1, 4), (rank.AIC,)),
        (r"whole numbers, got 2\.5", iter((2, 2.5)), CRITERIA[:1]),
    ],
)
def test_what_is_no_criterion_or_no_rank_is_refused(match, ranks, criteria):
    problem = jxu.Problem(np.ones((12, 8), np.float32))
    # Beneath the checks of the annotations, which only tests have.
    bare = inspect.unwrap(rank.scan)
    with pytest.raises(ValueError, match=match):
        bare(problem, ranks, criteria, key=KEY)


@pytest.mark.parametrize(
    ("match", "change"),
    [
        (r"no problem with basis or weights; use rank.AIC\(\)", {"weights": np.ones((12, 8), np.float32)}),
        (r"no problem with basis or weights; use rank.AIC\(\)", {"basis": np.eye(8, dtype=np.float32)}),
        ("leave that penalty out", {"penalties": (jxu.penalties.Laplacian("maps", 0.1, grid=(3, 4)),)}),
        ("leave that penalty out", {"penalties": (lambda f: jnp.sum(f.maps),)}),
    ],
    ids=["weights", "basis", "grid", "function"],
)
def test_bi_cross_validation_refuses_what_it_cannot_leave_out(match, change):
    problem = jxu.Problem(np.ones((12, 8), np.float32) + np.eye(12, 8, dtype=np.float32), **change)
    update = jxu.updates.ProjectedGradient() if "penalties" in change and callable(change["penalties"][0]) else None
    refused(match, criteria=(Bcv(2),), problem=problem, update=update)


@pytest.mark.parametrize("change", [{"loss": jxu.losses.Poisson()}, {"weights": np.full((12, 8), 2, np.float32)}])
def test_crossing_refuses_what_pca_does_not_minimise(change):
    problem = jxu.Problem(np.ones((12, 8), np.float32), **change)
    refused("Crossing compares with PCA.*losses.Frobenius.*poisson_scale", criteria=(rank.Crossing(),), problem=problem)
