"""Weights by search: for every loss, penalty and block, near the best of a fine grid on data that nobody saw."""

import warnings

import jax
import numpy as np
import pytest

import jaxunmix as jxu
from jaxunmix.factor.tuning.held_out import hold_out_entries
from jaxunmix.factor.tuning.searching import search_grid, search_line, search_random

P, L = jxu.penalties, jxu.losses
KEY, RANK, GRID = jax.random.key(0), 3, (16, 16)


def scene(kind, loss, seed):
    """Maps that are smooth, or of which most entries are zero; the data, and other data of the same truth."""
    rng = np.random.default_rng(seed)
    spectra = rng.random((RANK, 30)) ** 3 + 0.05
    if kind == "smooth":
        y, x = np.mgrid[:16, :16] / 16
        maps = np.stack([1 + np.sin(2 * np.pi * (a * x + b * y + c)) for a, b, c in rng.uniform(0.3, 1.2, (RANK, 3))])
    else:
        maps = rng.random((RANK, 16, 16)) * (rng.random((RANK, 16, 16)) < 0.25)
    mean = maps.reshape(RANK, -1).T @ spectra
    mean /= mean.mean()
    if loss == "poisson":
        return mean, rng.poisson(mean).astype(float), rng.poisson(mean).astype(float)
    return mean, *(mean + 0.7 * rng.normal(size=(2, *mean.shape)))


def lost(problem, found, other):
    """On the other data, without what no model changes; of counts over a background of a thousandth of their mean."""
    model = np.asarray(found.maps @ found.spectra)
    if problem.loss.beta == 1:
        return float((model - other * np.log(model + 1e-3 * model.mean())).sum())
    return float(((other - model) ** 2).sum() / 2)


def test_a_line_goes_through_the_penalties_in_order_and_beyond_its_end():
    def score(weights):
        return (np.log10(weights.get(0, 1e-9) + 1e-9) - 2) ** 2 + (np.log10(weights.get(1, 1e-9) + 1e-9) + 1) ** 2

    lines = search_line((1, 0), ((0.01, 0.1, 1.0), (0.1, 1.0)), score)
    best = [min(line, key=lambda one: one[1])[0] for line in lines]
    # Each to a quarter of a step of four, the second with the best of the first and beyond its range.
    assert best[0].keys() == {1}
    assert abs(np.log(best[0][1] / 0.1)) <= np.log(4) / 4
    assert best[1][1] == best[0][1]
    assert abs(np.log(best[1][0] / 100)) <= np.log(4) / 4
    for line, place in zip(lines, (1, 0), strict=True):
        weights = [w[place] for w, _ in line]
        assert weights[0] == 0
        assert (np.diff(weights) > 0).all()
    grid = search_grid((0, 1), ((1.0, 100.0), (0.1,)), score)
    assert len(grid) == 6
    assert min(grid, key=lambda one: one[1])[0] == {0: 100.0, 1: 0.1}
    drawn = search_random((0,), ((1.0, 10.0),), score, 1000, np.random.default_rng(0))
    values = np.array([w[0] for w, _ in drawn[1:]])
    assert values.min() >= 0.1
    assert values.max() <= 100
    assert np.median(values) == pytest.approx(np.sqrt(10), rel=0.3)


def test_entries_that_are_held_out_are_not_fitted_and_alone_judge():
    x = np.random.default_rng(0).random((40, 12))
    problem = jxu.Problem(x, penalties=(P.Ridge("maps", 0.0),))
    parts = hold_out_entries(problem, 0.8, KEY)
    hidden = np.asarray(parts.train.weights) == 0
    assert 0.1 < hidden.mean() < 0.3
    found = jxu.fit(parts.train, 2, key=KEY, max_steps=20)
    expected = (np.where(hidden, x - np.asarray(found.maps @ found.spectra), 0) ** 2).sum(axis=1) / 2
    np.testing.assert_allclose(parts.judge(found), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("loss", "penalty", "search"),
    [
        (L.Frobenius(), P.Smoothness("spectra", "auto"), "line"),
        (L.Beta(1.5), P.Ridge("maps", "auto"), "random"),
        (L.Poisson(), P.TotalVariation("maps", "auto", GRID), "line"),
        (L.Frobenius(), P.Laplacian("maps", "auto", GRID), "bayes"),
    ],
    ids=["spectra", "random", "counts", "bayes"],
)
def test_every_loss_penalty_and_search(loss, penalty, search):
    if search == "bayes":
        pytest.importorskip("optuna", reason="optuna is an optional extra")
    _, x, _ = scene("smooth", "poisson", 0)
    problem = jxu.Problem(x + 0.1 * (loss.beta != 1), loss, penalties=(penalty, P.L1("maps", 1e-4)))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "tune: the best weight")
        tuned = jxu.tune(problem, RANK, key=KEY, search=search, trials=4, restarts=1, max_steps=30)
    (curve,) = tuned.tuning.curves
    assert float(tuned.penalties[0].weight) == pytest.approx(curve.chosen)
    assert float(tuned.penalties[1].weight) == pytest.approx(1e-4)
    assert tuned.tuning.held_out == ("counts" if loss.beta == 1 else "entries")
    assert curve.deviance.min() == pytest.approx(0, abs=1e-9) or curve.best == 0
    assert np.isfinite(curve.without)


def test_an_end_that_stays_best_is_said():
    """Data without noise want no penalty: the least weight is best, however long the row becomes, or none at all."""
    mean, _, _ = scene("smooth", "frobenius", 0)
    problem = jxu.Problem(1000 * mean, penalties=(P.Ridge("maps", "auto"),))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        tuned = jxu.tune(problem, RANK, key=KEY, restarts=1, max_steps=50)
    curve = tuned.tuning.curves[0]
    assert curve.best == 0 or (curve.at_end and any("is an end of those tried" in str(w.message) for w in said))


def test_what_cannot_be_tuned_says_so():
    x = np.ones((16, 10))
    with pytest.raises(ValueError, match=r"take held_out=.entries."):
        jxu.tune(jxu.Problem(x + 0.5, penalties=(P.Ridge("maps", "auto"),)), 2, key=KEY, held_out="counts")
    with pytest.raises(ValueError, match="search must be one of"):
        jxu.tune(jxu.Problem(x, penalties=(P.Ridge("maps", "auto"),)), 2, key=KEY, search="annealing")


def regret(kind, loss, seed):
    """How far the chosen weight is from the best of a grid, as a share of what the best one gains."""
    _, x, other = scene(kind, loss.command, seed)

    def make(weight):
        return (P.Laplacian("maps", weight, GRID) if kind == "smooth" else P.L1("maps", weight),)

    problem = jxu.Problem(x, loss, penalties=make("auto"))
    options = {"restarts": 8, "key": KEY, "max_steps": 300}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "tune: the best weight")
        problems = [jxu.tune(problem, RANK, **options)]
    problems += [problem.replace(penalties=make(weight)) for weight in (0.0, *np.geomspace(1e-4, 1e2, 20))]
    chosen, *grid = (lost(one, jxu.fit(one, RANK, **options), other) for one in problems)
    # The first of the grid is no penalty at all, which may be best.
    return (chosen - min(grid)) / max(grid[0] - min(grid), 1e-12)


@pytest.mark.slow
def test_chosen_weights_are_near_the_best_of_a_fine_grid():
    """Acceptance: of ten scenes, on nine (chosen - best) / (unpenalised - best) is at most 0.2 on fresh data."""
    shares = []
    for loss in (L.Frobenius(), L.Poisson()):
        for seed in range(5):
            kind = ("smooth", "sparse")[seed % 2]
            shares.append(regret(kind, loss, seed))
            print(loss.command, kind, shares[-1])
    assert sum(share <= 0.2 for share in shares) >= 9, shares
