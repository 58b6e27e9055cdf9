"""Places, the error of their shares, and the smallest region, of draws whose distribution is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm

from jaxunmix.bayes.spectrum.credible import Provenance, places, region, share_error

ALONE = Provenance(np.full(2000, -1), [], 2000.0, 0.0)
NARROW, BROAD = norm(7722, 0.1), norm(7718, 0.4)


def two_places(seed, share, number=2000):
    """Of the broad place with this probability, and which are."""
    rng = np.random.default_rng(seed)
    first = rng.random(number) < share
    return np.where(first, BROAD.rvs(number, rng), NARROW.rvs(number, rng)), first


@settings(max_examples=20, deadline=None)
@given(share=st.floats(0.04, 0.96), seed=st.integers(0, 2**31))
def test_two_places_have_their_shares_and_intervals_however_one_outweighs_the_other(share, seed):
    draws, first = two_places(seed, share)
    found = places(draws, ALONE, 0.9)
    assert np.all(np.diff(found["share"]) <= 0)
    found = found.sortby("median")
    assert found["share"].values == pytest.approx([first.mean(), 1 - first.mean()], abs=1e-9)
    expected = [np.quantile(part, [0.5, 0.05, 0.95]) for part in (draws[first], draws[~first])]
    np.testing.assert_allclose(found[["median", "low", "high"]].to_array("of").transpose("place", "of"), expected)
    # Of 2,000 independent draws, and of as many that were picked from them.
    np.testing.assert_allclose(found["error"], np.sqrt(2 * first.mean() * (1 - first.mean()) / 2000))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), of=st.sampled_from(["normal", "exponential", "standard_cauchy", "uniform", "same"]))
def test_noise_tails_and_equal_draws_are_no_places(seed, of):
    rng = np.random.default_rng(seed)
    draws = np.full(2000, 3.0) if of == "same" else getattr(rng, of)(size=2000)
    draws[:20] = draws[0]
    assert places(draws, ALONE, 0.9).sizes == {"place": 1}
    assert region(draws, 0.9).shape == (1, 2)


def smallest(share, prob):
    """The width of the smallest region of both places: where the density is above the level that leaves so much."""

    def density(level):
        half = [
            of.std() * np.sqrt(max(-2 * np.log(level * of.std() * np.sqrt(2 * np.pi) / part), 0))
            for of, part in ((BROAD, share), (NARROW, 1 - share))
        ]
        held = share * (2 * BROAD.cdf(7718 + half[0]) - 1) + (1 - share) * (2 * NARROW.cdf(7722 + half[1]) - 1)
        return held - prob, 2 * sum(half)

    top = max(share * BROAD.pdf(7718), (1 - share) * NARROW.pdf(7722))
    return density(brentq(lambda level: density(level)[0], 1e-9 * top, top * (1 - 1e-9)))[1]


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1, 0.3, 0.7])
def test_the_region_is_as_wide_as_the_smallest_of_two_normal_distributions(share):
    widths = [np.sum(np.diff(region(two_places(seed, share)[0], 0.9))) for seed in range(20)]
    # 2,000 draws fix it to some percent, and the shortest interval that holds a share of them is too short: 0.99 here.
    assert np.mean(widths) == pytest.approx(smallest(share, 0.9), rel=0.03)


def test_the_region_grows_as_the_share_of_the_other_place_does_where_the_interval_jumps():
    shares = np.linspace(0.03, 0.09, 7)
    draws = [two_places(0, share, 20_000)[0] for share in shares]
    widths = [float(np.sum(np.diff(region(each, 0.9)))) for each in draws]
    central = [float(np.ptp(np.quantile(each, [0.05, 0.95]))) for each in draws]
    assert np.max(np.diff(central)) > 3
    assert np.max(np.abs(np.diff(widths))) < 0.1
    assert all(len(region(each, 0.9)) == 1 for each in draws)
    assert len(region(two_places(0, 0.2)[0], 0.9)) == 2


def test_the_region_of_one_place_is_its_shortest_interval():
    draws = np.random.default_rng(0).exponential(size=20_000)
    ((low, high),) = region(draws, 0.9)
    assert low == pytest.approx(0, abs=0.01)
    assert high == pytest.approx(np.log(10), abs=0.1)
    assert np.mean((draws >= low) & (draws <= high)) == pytest.approx(0.9, abs=1e-4)


@pytest.mark.parametrize("numbers", [1, 3])
def test_the_error_of_a_share_is_what_it_differs_by_between_calls(numbers):
    rng, runs, errors, shares = np.random.default_rng(0), 4 * numbers, [], []
    for _ in range(400):
        # Each run has a weight and a share of its own.
        weight, own = rng.lognormal(sigma=0.3, size=runs), rng.beta(4, 2, size=runs)
        run = rng.choice(runs, 2000, p=weight / weight.sum())
        of_number = 1000 * (run // 4) + run % 4
        known = sorted({1000 * (r // 4) + r % 4 for r in range(runs)})
        groups = [[{r} for r in known], [{r for r in known if r // 1000 == n} for n in range(numbers)]]
        inside = rng.random(2000) < own[run]
        shares.append(inside.mean())
        errors.append(share_error(inside, Provenance(of_number, groups, 0.0, 0.0)))
    # The larger of two estimates is too large on average: with three numbers by an eighth (1.12).
    assert 0.9 < np.sqrt(np.mean(np.square(errors))) / np.std(shares) < 1.3


def test_the_error_of_a_share_covers_what_only_runs_tell():
    rng, errors, shares = np.random.default_rng(0), [], []
    for _ in range(400):
        # A place that the mixture does not reach, whose part the runs tell, and one that it shares with the runs.
        of_run = np.exp(0.3 * rng.normal(size=4))
        odds = 0.25 * of_run.sum()
        run = np.where(rng.random(2000) < odds / (1 + odds), rng.choice(4, 2000, p=of_run / of_run.sum()), -1)
        inside = (run >= 0) | (rng.random(2000) < 0.2)
        part = odds / (1 + odds)
        of_mixture = part * (1 - part) * 0.3 / 2
        shares.append(inside.mean())
        errors.append(share_error(inside, Provenance(run, [[{0}, {1}, {2}, {3}]], 1000.0, of_mixture)))
    assert 0.9 < np.sqrt(np.mean(np.square(errors))) / np.std(shares) < 1.2


def test_a_share_that_one_run_alone_tells_is_not_called_sure():
    inside = np.arange(2000) < 800
    one = Provenance(np.zeros(2000, int), [[{0}, {1}, {2}, {3}], [{0, 1, 2, 3}]], 0.0, 0.0)
    assert share_error(inside, one) == pytest.approx(np.sqrt(0.24), rel=1e-3)
