"""Maps of known spectra: equal to scipy's and to a quadratic program solved by trying every set of free entries."""

from itertools import product

import jax
import numpy as np
import pytest
from scipy.optimize import lsq_linear, nnls

import jaxunmix as jxu

C = jxu.constraints
PIXELS, CHANNELS, RANK = 60, 25, 4
RNG = np.random.default_rng(0)
SPECTRA = RNG.random((RANK, CHANNELS)) + 3 * np.exp(-(((np.arange(CHANNELS) - RNG.uniform(0, 25, (RANK, 1))) / 4) ** 2))
TOTAL = RNG.uniform(0.5, 1.5, PIXELS)
# Some maps near the limits, noise that makes many constraints active.
X = RNG.dirichlet(np.full(RANK, 0.5), PIXELS) @ SPECTRA + 0.5 * RNG.normal(size=(PIXELS, CHANNELS))

CASES = {
    "free": ((), (-np.inf, np.inf), None, False),
    "non-negative": ((C.NonNegative("maps"),), (0, np.inf), None, False),
    "box": ((C.Box("maps", 0.1, 0.4),), (0.1, 0.4), None, False),
    "upper": ((C.Box("maps", high=0.3),), (-np.inf, 0.3), None, False),
    "fully constrained": ((C.NonNegative("maps"), C.Simplex("maps")), (0, np.inf), 1.0, False),
    "at most": ((C.NonNegative("maps"), C.SumAtMost("maps", 0.8)), (0, np.inf), 0.8, True),
    "box and sum": ((C.NonNegative("maps"), C.Box("maps", high=0.6), C.Simplex("maps")), (0, 0.6), 1.0, False),
    "closure": ((C.NonNegative("maps"), C.Closure("maps", TOTAL)), (0, np.inf), TOTAL, False),
}


def quadratic_program(x, low, high, total, at_most):
    """The minimum of one pixel by trying which entries are at which limit."""
    gram, cross = SPECTRA @ SPECTRA.T, SPECTRA @ x
    best, least = None, np.inf
    sides = [s for s in (-1, 0, 1) if s == 0 or np.isfinite({-1: low, 1: high}[s])]
    for side in product(sides, repeat=RANK):
        side = np.array(side)
        for summed in (True,) if total is not None and not at_most else (False, True) if at_most else (False,):
            w = np.where(side < 0, low, np.where(side > 0, high, 0.0))
            free = np.flatnonzero(side == 0)
            if not free.size and summed:
                continue
            n = len(free) + summed
            a, b = np.zeros((n, n)), np.zeros(n)
            a[: len(free), : len(free)] = gram[np.ix_(free, free)]
            b[: len(free)] = (cross - gram @ w)[free]
            if summed:
                a[-1, :-1] = a[:-1, -1] = 1
                b[-1] = total - w.sum()
            w[free] = np.linalg.solve(a, b)[: len(free)] if n else []
            inside = (w >= low - 1e-12).all() and (w <= high + 1e-12).all()
            if inside and (total is None or w.sum() <= total + 1e-12):
                value = w @ gram @ w / 2 - cross @ w
                if value < least:
                    best, least = w, value
    return best


@pytest.fixture(scope="module")
def solutions():
    with jax.enable_x64():
        return {name: jxu.project(X, SPECTRA, constraints=case[0]) for name, case in CASES.items()}


@pytest.mark.parametrize("name", CASES)
def test_every_pixel_is_the_minimum_of_its_quadratic_program(solutions, name):
    _, (low, high), total, at_most = CASES[name]
    totals = np.broadcast_to(total, PIXELS) if total is not None else [None] * PIXELS
    expected = np.array([quadratic_program(x, low, high, t, at_most) for x, t in zip(X, totals, strict=True)])
    np.testing.assert_allclose(solutions[name].maps, expected, atol=1e-9)
    assert dict(solutions[name].description)["update"] == "block principal pivoting"


def test_non_negative_is_that_of_scipy(solutions):
    expected = [nnls(SPECTRA.T, x)[0] for x in X]
    np.testing.assert_allclose(solutions["non-negative"].maps, expected, atol=1e-9)


def test_box_is_that_of_scipy(solutions):
    expected = [lsq_linear(SPECTRA.T, x, (0.1, 0.4), tol=1e-13).x for x in X]
    np.testing.assert_allclose(solutions["box"].maps, expected, atol=1e-6)


@pytest.mark.parametrize("rank", [1, 2, 9])
@pytest.mark.parametrize("name", ["non-negative", "fully constrained"])
def test_conditions_of_optimality_at_other_ranks_and_many_pixels(name, rank):
    """More pixels than one chunk, the last chunk not full; correlated spectra."""
    rng = np.random.default_rng(rank)
    spectra = rng.random((rank, 12)) + 5
    x = rng.random((4100, rank)) @ spectra + rng.normal(size=(4100, 12))
    with jax.enable_x64():
        maps = np.asarray(jxu.project(x, spectra, constraints=CASES[name][0]).maps)
    slope = maps @ (spectra @ spectra.T) - x @ spectra.T
    if name == "fully constrained":
        np.testing.assert_allclose(maps.sum(axis=1), 1, atol=1e-12)
        slope -= np.where(maps > 0, slope, np.nan).min(axis=1, where=maps > 0, initial=np.inf)[:, None]
    assert maps.min() >= 0
    scale = np.abs(x @ spectra.T).max()
    assert slope.min() >= -1e-9 * scale
    assert np.abs(slope[maps > 0]).max(initial=0) <= 1e-9 * scale


def test_single_precision_is_near(solutions):
    for name in ("non-negative", "box", "fully constrained", "at most"):
        single = jxu.project(X, SPECTRA, constraints=CASES[name][0])
        np.testing.assert_allclose(single.maps, solutions[name].maps, atol=2e-5)


def test_known_spectra_under_other_losses_and_penalties_are_iterated():
    """Convex problems: the same minimum from FISTA as by pivoting, and Poisson as ever."""
    with jax.enable_x64():
        exact = jxu.project(X, SPECTRA, constraints=CASES["fully constrained"][0])
        signs = C.NonNegative("spectra")
        problem = jxu.Problem(X, constraints=(*CASES["fully constrained"][0], signs, C.Fixed("spectra")))
        start = jxu.initial.Given(np.full((PIXELS, RANK), 0.25), SPECTRA)
        iterated = jxu.fit(problem, RANK, jxu.updates.FISTA(), start, max_steps=300, rtol=1e-14)
    np.testing.assert_allclose(iterated.maps, exact.maps, atol=1e-5)
    assert float(iterated.objective) == pytest.approx(float(exact.objective), rel=1e-9)


def test_sums_without_a_sign_are_refused():
    with pytest.raises(ValueError, match=r"Simplex\(.maps.\) needs NonNegative"):
        jxu.project(X, SPECTRA, constraints=(C.Simplex("maps"),))
