"""CP and Tucker: they find what is known, whatever stands in the arguments, and never climb."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from tensor_cases import KEY, C, P, angle, error, outer_sum, trilinear, unfold

import jaxunmix as jxu
from jaxunmix.factor.model import Bilinear
from jaxunmix.factor.tensors.entries import read_entries
from jaxunmix.factor.tensors.fitting import _modes, _order, _problem
from jaxunmix.factor.tensors.multilinear import Multilinear, reconstruct
from jaxunmix.factor.tensors.sweeps import step

NOISY = trilinear(noise=0.05)[1]
HOLES = np.random.default_rng(5).uniform(size=NOISY.shape) > 0.3
WEIGHTS = np.where(HOLES, np.random.default_rng(6).uniform(0.5, 2, NOISY.shape), 0)


def problem_of(x, rank, penalties=None, constraints=None, weights=None):
    """The problem as a step sees it, and the order of its modes."""
    entries, order = read_entries(x, weights), _order(np.shape(x))
    modes, signed = _modes(entries, rank, penalties, constraints)
    return _problem(entries, modes, signed, order), order


# -- it finds what is known ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [(6, 7, 8), pytest.param((5, 4, 6, 3), marks=pytest.mark.slow)], ids=["three modes", "four modes"]
)
def test_cp_finds_the_factors_of_trilinear_data(shape):
    factors, x = trilinear(shape)
    found = jxu.fit_tensor(x, 2, key=KEY, restarts=3, max_steps=1000, rtol=1e-7)
    assert error(x, found.reconstruct()) < 1e-3
    assert max(angle(a, b) for a, b in zip(found.factors, factors, strict=True)) < 0.3
    assert [factor.shape for factor in found.factors] == [(size, 2) for size in shape]
    np.testing.assert_allclose(np.linalg.norm(found.factors[0], axis=0), 1, rtol=1e-5)
    assert found.core[0] >= found.core[1] > 0


def test_tucker_fits_what_has_its_ranks():
    rng = np.random.default_rng(1)
    factors = [rng.uniform(size=(size, r)) ** 2 for size, r in zip((6, 7, 8), (2, 3, 2), strict=True)]
    x = np.einsum("ABC,aA,bB,cC->abc", rng.uniform(size=(2, 3, 2)) ** 2, *factors)
    found = jxu.fit_tensor(x, (2, 3, 2), key=KEY, restarts=3, max_steps=1000, rtol=1e-7)
    assert error(x, found.reconstruct()) < 2e-3
    assert found.core.shape == (2, 3, 2)
    assert found.rank == (2, 3, 2)
    assert float(found.core.min()) >= 0
    model = np.einsum("ABC,aA,bB,cC->abc", found.core, *found.factors)
    np.testing.assert_allclose(model, found.reconstruct(), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [2, (2, 2, 2)], ids=["CP", "Tucker"])
def test_signed_factors_fit_at_least_as_well(rank):
    x = NOISY - NOISY.mean()
    bare = jxu.fit_tensor(x, rank, key=KEY)
    signed = jxu.fit_tensor(x, rank, constraints=(), key=KEY, restarts=3)
    assert error(x, signed.reconstruct()) < error(x, bare.reconstruct()) - 0.01


def test_missing_entries_are_found_again():
    factors, x = trilinear((12, 13, 14), 3)
    seen = np.random.default_rng(2).uniform(size=x.shape) > 0.3
    found = jxu.fit_tensor(np.where(seen, x, np.nan), 3, weights=seen, key=KEY, restarts=3, max_steps=1000, rtol=1e-7)
    assert error(x[~seen], found.reconstruct()[~seen]) < 5e-3
    assert max(angle(a, b) for a, b in zip(found.factors, factors, strict=True)) < 0.5


@pytest.mark.slow
def test_what_a_mask_hides_has_no_weight():
    hidden = jxu.fit_tensor(np.ma.masked_array(NOISY, ~HOLES), 2, key=KEY, max_steps=20)
    weighed = jxu.fit_tensor(np.where(HOLES, NOISY, np.nan), 2, weights=HOLES, key=KEY, max_steps=20)
    np.testing.assert_array_equal(hidden.factors[0], weighed.factors[0])


@pytest.mark.slow
def test_weights_of_one_change_nothing():
    plain = jxu.fit_tensor(NOISY, 2, key=KEY, max_steps=30, rtol=0)
    weighed = jxu.fit_tensor(NOISY, 2, weights=np.ones(NOISY.shape), key=KEY, max_steps=30, rtol=0)
    np.testing.assert_allclose(plain.reconstruct(), weighed.reconstruct(), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(plain.objective, weighed.objective, rtol=1e-5)


# -- it never climbs -----------------------------------------------------------------------------------------------

GRAPH = np.diag(np.ones(6), 1) + np.diag(np.ones(6), -1)
ASKED = {
    "plain": {},
    "signed": {"constraints": ()},
    "a signed mode": {"constraints": {1: ()}},
    "weights": {"weights": WEIGHTS},
    "ridge and L1": {"penalties": {0: (P.Ridge("maps", 0.1),), 2: (P.L1("spectra", 0.05),)}},
    "smooth": {"penalties": {1: (P.Smoothness("spectra", 1.0), P.LogSparsity("maps", 0.01))}},
    "rims": {"penalties": {2: (P.TotalVariation("maps", 0.1, (2, 4)), P.Laplacian("maps", 0.1, (2, 4)))}},
    "apart": {"penalties": {0: (P.SoftOrthogonality("maps", 0.3),), 1: (P.GraphSimilarity("maps", 0.5, GRAPH),)}},
    "weights and penalties": {"weights": WEIGHTS, "penalties": {0: (P.L1("maps", 0.05),), 2: (P.Ridge("maps", 0.1),)}},
    "between limits": {"constraints": {0: (C.Box("maps", 0, 0.5),), 1: (C.UnitNorm("maps", "l1"),)}},
    "shares of an index": {"constraints": {0: (C.NonNegative("maps"), C.Simplex("maps"))}},
    "shares of a component": {"constraints": {2: (C.NonNegative("spectra"), C.Simplex("spectra"))}},
    "sums and weights": {"constraints": {2: (C.NonNegative("maps"), C.Closure("maps", 2.0))}, "weights": WEIGHTS},
    "one maximum": {"constraints": {2: (C.NonNegative("maps"), C.Unimodal("maps")), 0: (C.Monotone("maps"),)}},
    "one component": {"constraints": {1: (C.NonNegative("maps"), C.MaxComponents("maps", most=1))}},
    "orthogonal": {"constraints": {0: (C.NonNegative("maps"), C.Orthogonal("maps"))}},
}


# Of each way that a step takes one stands here, the others where there is time: each is a program to compile.
QUICK = {("plain", 2), ("apart", 2), ("shares of an index", 2), ("weights and penalties", (2, 3, 2))}
OPTIONS = [(name, 2) for name in ASKED]
OPTIONS += [(name, (2, 3, 2)) for name in ("plain", "signed", "weights and penalties", "apart", "shares of an index")]


@pytest.mark.parametrize(
    ("name", "rank"),
    [pytest.param(*case, marks=[] if case in QUICK else pytest.mark.slow) for case in OPTIONS],
    ids=str,
)
def test_no_step_raises_the_objective(name, rank):
    found = jxu.fit_tensor(NOISY, rank, key=KEY, max_steps=12, check_every=1, rtol=0, **ASKED[name])
    trace = np.asarray(found.trace, float)
    assert len(trace) == 13
    # The first step may have to bring a start onto the constraints.
    assert (np.diff(trace[1:]) <= 2e-6 * trace[1:-1]).all(), trace
    assert trace[-1] < trace[0]


@pytest.mark.parametrize("rank", [2, (2, 3, 2)], ids=str)
@pytest.mark.parametrize("name", [name for name in ASKED if "penalties" in ASKED[name]])
def test_penalties_are_those_of_the_unfolded_matrix(name, rank):
    asked = ASKED[name]
    problem, order = problem_of(NOISY, rank, **asked)
    rng = np.random.default_rng(3)
    ranks = (rank,) * 3 if isinstance(rank, int) else rank
    rows = [rng.uniform(size=(r, size)).astype(np.float32) for r, size in zip(ranks, NOISY.shape, strict=True)]
    core = None if isinstance(rank, int) else rng.uniform(size=ranks).astype(np.float32)
    arranged = Multilinear(
        tuple(jnp.asarray(rows[m]) for m in order), None if core is None else jnp.asarray(core.transpose(order))
    )
    ideal = np.zeros((2, 2, 2))
    ideal[(np.arange(2),) * 3] = 1
    core = ideal if core is None else core
    expected = 0.0
    for mode, penalties in asked["penalties"].items():
        for penalty in penalties:
            beside = np.einsum("ABC,Aa,Bb,Cc->" + {0: "Abc", 1: "Bac", 2: "Cab"}[mode], core, *_ones_at(rows, mode))
            maps, spectra = jnp.asarray(rows[mode]), jnp.asarray(beside.reshape(ranks[mode], -1), jnp.float32)
            turned = penalty.block == "spectra"
            weights = None if "weights" not in asked else unfold(asked["weights"], mode)
            x = unfold(NOISY, mode)
            x, weights = (x.T, None if weights is None else weights.T) if turned else (x, weights)
            matrix = jxu.Problem(x, penalties=(penalty,), weights=weights)
            factors = Bilinear(spectra, maps) if turned else Bilinear(maps, spectra)
            expected += float(matrix.penalty(factors))
    np.testing.assert_allclose(problem.penalty(arranged), expected, rtol=1e-4)


def _ones_at(rows, mode):
    """The factors, of one mode a single column of ones for each component."""
    return [np.eye(len(r)) if m == mode else r for m, r in enumerate(rows)]


# -- it is what it says --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sweeps", "smooth", "sparse"), [(3, (), ()), (1, (0.2,), (0.1,))], ids=["plain", "penalties"])
def test_a_step_of_a_matrix_is_that_of_hals(sweeps, smooth, sparse):
    """A mode of size one that does not move leaves a matrix; a step takes its longest mode first, as HALS the maps."""
    rng = np.random.default_rng(4)
    x = rng.uniform(size=(6, 1, 9)).astype(np.float32)
    maps, spectra = (jnp.asarray(rng.uniform(size=(2, size)), jnp.float32) for size in (9, 6))
    penalties = {0: [P.L1("maps", w) for w in sparse], 2: [P.Smoothness("maps", w) for w in smooth]}
    problem, order = problem_of(x, 2, penalties, {1: (C.Fixed("maps"),)})
    assert order == (0, 1, 2)
    moved = step(sweeps, problem, Multilinear((spectra, jnp.ones((2, 1)), maps)))
    terms = [P.Smoothness("maps", w) for w in smooth] + [P.L1("spectra", w) for w in sparse]
    expected, _ = jxu.updates.HALS(sweeps).step(jxu.Problem(x[:, 0].T, penalties=terms), Bilinear(maps, spectra), None)
    model = np.asarray(expected.maps) @ np.asarray(expected.profiles)
    np.testing.assert_allclose(np.asarray(reconstruct(moved))[:, 0].T, model, rtol=2e-5)


@pytest.mark.parametrize("order", [(1, 0, 2), (1, 2, 0), (2, 1, 0)], ids=str)
def test_the_order_of_the_modes_changes_nothing(order):
    smooth = P.Smoothness("maps", 0.1)
    plain = jxu.fit_tensor(NOISY, 2, penalties={1: (smooth,)}, key=KEY, max_steps=20, rtol=0)
    turned = jxu.fit_tensor(
        NOISY.transpose(order), 2, penalties={order.index(1): (smooth,)}, key=KEY, max_steps=20, rtol=0
    )
    np.testing.assert_allclose(turned.objective, plain.objective, rtol=1e-5)
    for place, mode in enumerate(order):
        np.testing.assert_allclose(turned.factors[place], plain.factors[mode], rtol=1e-4, atol=1e-5)


@hypothesis.settings(max_examples=5, deadline=None)
@hypothesis.given(st.floats(1e-3, 1e3), st.integers(0, 10))
def test_the_scale_of_the_data_changes_nothing(scale, seed):
    asked = {"penalties": {0: (P.L1("maps", 0.05),), 2: (P.Smoothness("spectra", 0.1),)}, "max_steps": 10, "rtol": 0}
    plain = jxu.fit_tensor(NOISY, 2, key=jax.random.key(seed), **asked)
    scaled = jxu.fit_tensor(scale * NOISY, 2, key=jax.random.key(seed), **asked)
    np.testing.assert_allclose(scaled.core, scale * plain.core, rtol=2e-3)
    np.testing.assert_allclose(scaled.factors[2], plain.factors[2], rtol=2e-3, atol=1e-3)
    np.testing.assert_allclose(scaled.objective, scale**2 * plain.objective, rtol=2e-3)


@hypothesis.settings(max_examples=5, deadline=None)
@hypothesis.given(st.integers(0, 1000), st.integers(1, 3), st.integers(0, 2))
def test_contractions_are_those_of_the_unfolding(seed, rank, mode):
    from jaxunmix.factor.tensors import multilinear as ml

    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 5, 3))
    rows = tuple(jnp.asarray(rng.normal(size=(rank, size)), jnp.float32) for size in shape)
    core = jnp.asarray(rng.normal(size=(rank,) * 3), jnp.float32) if seed % 2 else None
    factors, x = ml.Multilinear(rows, core), jnp.asarray(rng.normal(size=shape), jnp.float32)
    ones = ml.Multilinear(tuple(jnp.eye(rank) if m == mode else r for m, r in enumerate(rows)), core)
    beside = unfold(ml.reconstruct(ones), mode)
    np.testing.assert_allclose(ml.gram(factors, factors.grams(), mode), beside @ beside.T, rtol=1e-3, atol=1e-4)
    closed = (mode + 1) % 3
    got = ml.cross(ml.close(x, factors, closed), factors, mode)
    np.testing.assert_allclose(got, beside @ unfold(x, mode).T, rtol=1e-3, atol=1e-4)


def test_restarts_follow_from_the_key():
    one, two = (jxu.fit_tensor(NOISY, 2, key=KEY, restarts=3, max_steps=15) for _ in range(2))
    other = jxu.fit_tensor(NOISY, 2, key=jax.random.key(9), restarts=3, max_steps=15)
    np.testing.assert_array_equal(one.restarts.objective, two.restarts.objective)
    assert not np.array_equal(one.restarts.objective, other.restarts.objective)
    assert one.objective == one.restarts.objective.min()
    assert len(set(np.asarray(one.restarts.objective).tolist())) == 3


# -- constraints hold ----------------------------------------------------------------------------------------------


def test_constraints_hold_in_the_result():
    known = np.full((2, 8), np.nan)
    known[0, 3] = 0.7
    asked = {
        0: (C.NonNegative("maps"), C.Simplex("maps")),
        1: (C.NonNegative("maps"), C.Unimodal("maps")),
        2: (C.NonNegative("spectra"), C.Fixed("spectra", values=known)),
    }
    found = jxu.fit_tensor(NOISY, 2, constraints=asked, key=KEY, max_steps=30)
    np.testing.assert_allclose(found.factors[0].sum(axis=1), 1, rtol=1e-5)
    for column in np.asarray(found.factors[1]).T:
        top = int(np.argmax(column))
        assert (np.diff(column)[:top] >= -1e-6).all()
        assert (np.diff(column)[top:] <= 1e-6).all()
    assert found.factors[2][3, 0] == np.float32(0.7)
    model = np.einsum("Z,aZ,bZ,cZ->abc", found.core, *found.factors)
    np.testing.assert_allclose(found.reconstruct(), model, rtol=1e-5)


def test_known_factors_stay():
    factors, x = trilinear()
    init = [None, factors[1], None]
    found = jxu.fit_tensor(x, 2, constraints={1: (C.Fixed("maps"),)}, init=init, key=KEY)
    np.testing.assert_allclose(found.factors[1], factors[1], rtol=1e-6)
    assert error(x, found.reconstruct()) < 1e-3


@pytest.mark.slow
def test_unit_norms_are_measured_as_asked():
    found = jxu.fit_tensor(NOISY, 2, constraints={2: (C.NonNegative("maps"), C.UnitNorm("maps", "max"))}, key=KEY)
    np.testing.assert_allclose(found.factors[2].max(axis=0), 1, rtol=1e-6)


# -- starts --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("rank", [2, (2, 2, 2), 7], ids=str)
def test_singular_vectors_need_no_key(rank):
    found = jxu.fit_tensor(NOISY, rank, init="hosvd", max_steps=50)
    assert error(NOISY, found.reconstruct()) < 0.1
    with pytest.raises(ValueError, match="no randomness"):
        jxu.fit_tensor(NOISY, rank, init="hosvd", restarts=2)


@pytest.mark.parametrize("rank", [2, pytest.param((2, 3, 2), marks=pytest.mark.slow)], ids=str)
def test_a_result_is_a_start(rank):
    before = jxu.fit_tensor(NOISY, rank, key=KEY, max_steps=20)
    after = jxu.fit_tensor(NOISY, rank, init=before, max_steps=20, rtol=0)
    np.testing.assert_allclose(after.trace[0], before.objective, rtol=1e-4)
    assert after.objective <= before.objective * (1 + 1e-6)


def test_modes_have_the_names_of_the_array():
    array = xr.DataArray(NOISY, dims=("sample", "time", "energy"), coords={"energy": np.arange(8.0)})
    found = jxu.fit_tensor(array, 2, penalties={"energy": (P.Ridge("maps", 0.1),)}, key=KEY, max_steps=10)
    dataset = found.to_xarray(array)
    assert dataset["energy_factor"].dims == ("energy", "component")
    np.testing.assert_array_equal(dataset["energy"], array["energy"])
    tucker = jxu.fit_tensor(array, (2, 3, 2), key=KEY, max_steps=10).to_xarray()
    assert tucker["core"].dims == ("sample_component", "time_component", "energy_component")
    assert "mode 2 (energy): Ridge" in found.info["penalties"]


@pytest.mark.parametrize("rank", [1, (1, 1, 1)], ids=str)
@pytest.mark.parametrize("shape", [(3, 1, 1), pytest.param((1, 4, 5), marks=pytest.mark.slow)], ids=str)
def test_modes_of_size_one_are_modes(shape, rank):
    x = outer_sum([np.arange(1.0, size + 1)[:, None] for size in shape])
    found = jxu.fit_tensor(x, rank, key=KEY, max_steps=20)
    assert error(x, found.reconstruct()) < 1e-4


@pytest.mark.slow
def test_a_slice_of_zeros_has_factors_of_zero():
    x = NOISY.copy()
    x[2] = 0
    found = jxu.fit_tensor(x, 2, key=KEY, max_steps=100)
    np.testing.assert_allclose(found.factors[0][2], 0, atol=1e-6)


# -- what it refuses -----------------------------------------------------------------------------------------------

HOLE = np.ones(NOISY.shape)
HOLE[:, 3] = 0
NAN = NOISY.copy()
NAN[1, 2, 3] = np.nan


def my_penalty(factors):
    return jnp.sum(factors.maps)


REFUSED = {
    "a matrix": ({"array": NOISY[0]}, "2 modes"),
    "an empty mode": ({"array": NOISY[:, :0]}, "along mode_1"),
    "NaN": ({"array": NAN}, "mode_0 1, mode_1 2, mode_2 3"),
    "an empty slice": ({"weights": HOLE}, "mode_1, index 3"),
    "weights of another shape": ({"weights": np.ones((6, 7, 9))}, "do not broadcast"),
    "negative weights": ({"weights": -HOLE}, "0 or more"),
    "a short rank": ({"rank": (2, 2)}, "2 numbers, the array 3 modes"),
    "a rank beyond the mode": ({"rank": (2, 8, 2)}, r"rank\[1\] of mode_1"),
    "a rank beyond the others": ({"rank": (5, 2, 2)}, "other ranks multiply to 4"),
    "a rank beyond the data": ({"rank": 43}, r"1\.\.42"),
    "rank zero": ({"rank": 0}, "1 or more"),
    "another loss": ({"loss": jxu.losses.Poisson()}, "Frobenius"),
    "no mode": ({"penalties": {3: (P.L1("maps", 0.1),)}}, "no mode"),
    "no name": ({"constraints": {"energy": ()}}, "no mode"),
    "a mode twice": ({"penalties": {1: (), "mode_1": ()}}, "twice"),
    "a penalty by itself": ({"penalties": {1: P.L1("maps", 0.1)}}, "several"),
    "constraints of no mode": ({"constraints": (C.Simplex("maps"),)}, "by mode"),
    "a function": ({"penalties": {0: (my_penalty,)}}, "no separable bound"),
    "a weight to choose": ({"penalties": {0: (P.L1("maps", "auto"),)}}, '"auto"'),
    "relevance": ({"penalties": {0: (P.ARD("maps"),)}}, "ARD"),
    "a grid that does not fit": ({"penalties": {0: (P.Laplacian("maps", 1.0, (2, 2)),)}}, "4 cells"),
    "L1 of a signed mode": ({"penalties": {0: (P.L1("maps", 0.1),)}, "constraints": {0: ()}}, "NonNegative"),
    "a ratio": ({"constraints": {0: (C.Proportional("spectra", (0, 1), (1, 2)),)}}, "Proportional"),
    "limits of the model": ({"constraints": {0: (C.Box("product", 0, 1),)}}, "product"),
    "soft orthogonality": (
        {"constraints": {0: (C.NonNegative("maps"), C.Orthogonal("maps", strict=False))}},
        "strict=True",
    ),
    "both words": (
        {"constraints": {0: (C.NonNegative("maps"), C.Simplex("maps"), C.Unimodal("spectra"))}},
        'both "maps" and "spectra"',
    ),
    "fixed without a start": ({"constraints": {0: (C.Fixed("maps"),)}}, "init="),
    "limits of the core": ({"constraints": {"core": ()}}, "no mode"),
    "a start of another shape": ({"init": [np.ones((6, 2)), np.ones((7, 3)), None]}, r"init\[1\]"),
    "a start of two modes": ({"init": [np.ones((6, 2)), np.ones((7, 2))]}, "3 factors"),
    "a negative start": ({"init": [-np.ones((6, 2)), None, None]}, "0 or more"),
    "no key": ({"key": None}, "key="),
    "zeros": ({"array": np.zeros((3, 4, 5))}, "zero everywhere"),
    "too large": ({"array": NOISY.astype(float) * 1e30}, "rescale"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_fitted_is_refused(name):
    wrong, words = REFUSED[name]
    with pytest.raises(ValueError, match=words):
        jxu.fit_tensor(**{"array": NOISY, "rank": 2, "key": KEY, **wrong})


def test_a_fit_that_is_not_finite_says_so(monkeypatch):
    start = [np.full((size, 2), 3e30) for size in NOISY.shape]
    with pytest.raises(FloatingPointError, match="no restart stayed finite"):
        jxu.fit_tensor(NOISY, 2, init=start, max_steps=0)
    found = jxu.fit_tensor(NOISY, 2, init=start, max_steps=0, throw=False)
    assert found.status is jxu.Status.NON_FINITE
