"""The survey of many ranks: padding, batches, coarse starts, and the scan that reads it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxunmix as jxu
from jaxunmix.factor.initial.clusters import Clusters
from jaxunmix.factor.initial.coarse import Coarse
from jaxunmix.factor.initial.nndsvd import NNDSVD
from jaxunmix.factor.initial.random import Random
from jaxunmix.factor.initial.vertices import VCA
from jaxunmix.factor.problem import Problem
from jaxunmix.factor.solve import loop
from jaxunmix.rank import cross_validation as crossvalidation
from jaxunmix.rank import survey

KEY = jax.random.key(0)
UPDATES = [
    jxu.updates.HALS(),
    jxu.updates.HALS(sweeps=2),
    jxu.updates.ALS(),
    jxu.updates.ALS("spectra"),
    jxu.updates.MALS(),
    jxu.updates.Multiplicative(),
    jxu.updates.ProjectedGradient(),
]


def _data(rank=3, pixels=300, channels=40, noise=0.02, seed=0):
    rng = np.random.default_rng(seed)
    maps = rng.dirichlet(np.full(rank, 0.5), pixels) * rng.uniform(0.5, 1.5, (pixels, 1))
    x = maps @ (rng.random((rank, channels)) ** 3 + 0.2)
    x = x + noise * x.std() * rng.normal(size=x.shape)
    assert x.min() > 0, "clipped noise would be a component of its own"
    return x.astype(np.float32)


def _settings(**changes):
    options = {"update": jxu.updates.HALS(), "init": Random(), "restarts": 3, "max_steps": 30, "rtol": 0}
    return survey.Settings(**{**options, "check_every": 10, **changes})


@pytest.mark.parametrize("update", UPDATES, ids=lambda u: str(u)[:30])
def test_components_of_zeros_change_nothing_and_stay_zero(update):
    """A padded fit is the unpadded one."""
    problem = Problem(_data())
    start = Random().padded(problem, 5, KEY, 3)
    bare = type(start)(start.maps_t[:3], start.profiles[:3])

    @eqx.filter_jit
    def stepped(factors):
        carry = factors, update.init(problem, factors)
        return jax.lax.fori_loop(0, 8, lambda _, carry: update.step(problem, *carry), carry)[0]

    ends = [stepped(factors) for factors in (start, bare)]
    assert not np.any(ends[0].maps_t[3:])
    assert not np.any(ends[0].profiles[3:])
    for padded, own in zip(jax.tree.leaves(ends[0]), jax.tree.leaves(ends[1]), strict=True):
        np.testing.assert_allclose(padded[:3], own, rtol=2e-3, atol=2e-4 * float(jnp.abs(own).max()))


@pytest.mark.parametrize(
    "init", [Random(), Clusters(), Coarse(pixels=100, channels=20)], ids=lambda i: type(i).__name__
)
def test_padded_starts_have_as_many_components_as_asked(init):
    problem = Problem(_data())
    padded = jax.jit(lambda live: init.padded(problem, 6, KEY, live))
    for live in (1, 3, 6):
        factors = jax.tree.map(np.asarray, padded(jnp.asarray(live)))
        used = np.any(factors.maps_t > 0, axis=1) & np.any(factors.profiles > 0, axis=1)
        assert used.tolist() == [True] * live + [False] * (6 - live)
        norm = np.linalg.norm(factors.maps_t.T @ factors.profiles) / np.linalg.norm(problem.matrix.values)
        assert 0.5 < norm < 1.5


@pytest.mark.parametrize("init", [Random(), NNDSVD(), VCA()], ids=lambda i: type(i).__name__)
def test_survey_of_one_rank_is_the_fit(init):
    """NNDSVD and VCA cannot leave components out: each rank has a start of its own, padded afterwards."""
    problem, restarts = Problem(_data()), 1 if isinstance(init, NNDSVD) else 2
    done = survey.survey(problem, [2, 3, 4], _settings(init=init, restarts=restarts, max_steps=40), KEY)
    assert done.ranks == (2, 3, 4)
    assert done.loss.shape == (3, restarts)
    if not isinstance(init, Random):  # whose padded draw is another one
        keys, update = jax.random.split(jax.random.fold_in(KEY, 3), restarts), jxu.updates.HALS()
        own = loop.first_look(problem, update, loop.start(problem, update, init, 3, keys), 0)
        *_, own = loop.looks(problem, update, own, (40, 0, 10))
        np.testing.assert_allclose(np.sort(done.restarts[1].objective), np.sort(own.objective), rtol=2e-3)
    assert np.all(done.objective[1:] < 0.01 * done.objective[0])


@pytest.mark.slow
def test_batches_of_ranks_and_of_restarts_give_the_same_numbers(monkeypatch):
    data, ranks = _data(), [2, 3, 4, 5]
    problem = Problem(data)
    whole = survey.survey(problem, ranks, _settings(restarts=4), KEY)
    # The objective is what is left of |X|^2, and is rounded as that is.
    rounding = np.finfo(np.float32).eps * np.sum(data**2)
    bytes_of_rank = problem.restart_bytes(5) * 4
    for limit in (bytes_of_rank * 2, bytes_of_rank // 2, 1):
        monkeypatch.setattr(loop, "BATCH_BYTES", limit)
        parts = survey.survey(problem, ranks, _settings(restarts=4), KEY)
        assert parts.ranks == whole.ranks
        for a, b in zip(parts.restarts, whole.restarts, strict=True):
            np.testing.assert_allclose(a.objective, b.objective, rtol=1e-3, atol=rounding)
            assert a.trace.shape == b.trace.shape


def test_ranks_share_programs_without_much_padding():
    problem = Problem(_data())
    groups = survey._groups(range(2, 16), problem, 1, workers=1)
    assert [rank for group in groups for batch in group for rank in batch] == [*range(6, 16), *range(2, 6)]
    assert all(group[-1][-1] < 3 * group[0][0] for group in groups)


def test_each_worker_has_about_the_same_to_do():
    groups = survey._groups(range(2, 16), Problem(_data()), 1, workers=2)
    assert groups == [[[11, 12, 13, 14, 15]], [[2, 3, 4, 5, 6, 7, 8, 9, 10]]]
    assert survey._groups([7], Problem(_data()), 1, workers=2) == [[[7]]]


def test_a_second_fold_compiles_nothing(monkeypatch):
    traced = []

    class Spy(jxu.updates.HALS):
        def step(self, problem, factors, state):
            traced.append(factors.maps_t.shape)
            return super().step(problem, factors, state)

    problem = Problem(_data())
    settings = _settings(update=Spy(), restarts=2, max_steps=20)
    values = problem.matrix.values
    crossvalidation._fold(problem, values, [2, 3], 0, 5, settings, KEY, False)
    first = len(traced)
    for fold in (1, 4):
        crossvalidation._fold(problem, values, [2, 3], fold, 5, settings, jax.random.key(fold), False)
    assert len(traced) == first > 0


@pytest.mark.parametrize("make", [jxu.Dense, lambda x: jxu.Compressed(x, 8, key=KEY)], ids=["dense", "compressed"])
def test_take_has_the_products_of_the_part(make):
    x = _data(noise=0.0)
    pixels, channels = jnp.asarray([3, 5, 250]), jnp.asarray([0, 7, 8, 39])
    part = make(x).take(pixels, channels)
    expected = x[np.ix_(pixels, channels)]
    assert part.shape == (3, 4)
    np.testing.assert_allclose(part.onto_spectra(jnp.eye(4)), expected.T, atol=2e-3)
    np.testing.assert_allclose(part.onto_maps(jnp.eye(3)), expected, atol=2e-3)
    with pytest.raises(NotImplementedError, match="Dense"):
        jxu.Counts(np.ones((5, 5))).take(pixels, channels)


def test_coarse_starts_near_the_end():
    problem = Problem(_data(pixels=4000))
    ends = jxu.fit(problem, 3, restarts=3, key=KEY, max_steps=400).objective
    at = {
        type(init).__name__: min(jxu.fit(problem, 3, init=init, restarts=3, key=KEY, max_steps=2).restarts.objective)
        for init in (Random(), Coarse(pixels=500, steps=200))
    }
    assert at["Coarse"] < 1.02 * ends
    assert at["Random"] > 2 * ends


@pytest.mark.parametrize(
    "problem",
    [
        lambda x: Problem(x, jxu.losses.Poisson()),
        lambda x: Problem(x, penalties=(jxu.penalties.L1("maps", 0.1),)),
        lambda x: Problem(x, weights=np.ones_like(x)),
    ],
)
def test_coarse_refuses_what_a_part_does_not_pose(problem):
    with pytest.raises(ValueError, match=r"use initial.Random"):
        Coarse()(problem(_data()), 2, KEY)
    with pytest.raises(ValueError, match="1 or more"):
        Coarse(steps=0)


@pytest.fixture(scope="module")
def scanned():
    problem = Problem(_data())
    criteria = (jxu.rank.BiCrossValidation(folds=5, max_steps=200), jxu.rank.Elbow())
    return problem, jxu.rank.scan(problem, [5, 2, 3, 4, 3], criteria, restarts=4, key=KEY)


def test_scan_keeps_every_restart_and_says_what_chose(scanned):
    problem, scan = scanned
    assert scan.best == 3 == scan.decision["BiCrossValidation"].best
    assert scan.table["rank"].values.tolist() == [2, 3, 4, 5]
    assert scan.table["objective"].dims == ("rank", "restart")
    assert scan.table.sizes["restart"] == 4
    # A missing component costs many errors; one too many hardly any on so few pixels, and the verdict says so.
    held_out, error = scan.table["BiCrossValidation"], scan.table["BiCrossValidation_error"]
    assert float(held_out.sel(rank=2) - held_out.sel(rank=3)) > 3 * float(error.sel(rank=2))
    assert (scan.decision["BiCrossValidation"].margin < 2) == ("not told apart" in repr(scan))
    assert "best=3" in repr(scan)
    for rank, solution in scan.solutions.items():
        assert solution.rank == rank
        assert solution.objective == pytest.approx(float(scan.table["best_objective"].sel(rank=rank)))
        x = problem.matrix.values
        mse = float(jnp.mean((x - solution.maps @ solution.spectra) ** 2))
        assert float(scan.table["best_mse"].sel(rank=rank)) == pytest.approx(mse, rel=1e-3)
        size = np.linalg.norm(solution.maps, axis=0) * np.linalg.norm(solution.spectra, axis=1)
        assert np.all(np.diff(size) <= 1e-5 * size[0])


def test_scan_of_uncompressed_data_agrees(scanned):
    problem, scan = scanned
    whole = jxu.rank.scan(
        problem, range(2, 6), (jxu.rank.Elbow(),), restarts=4, init=Random(), key=KEY, compress=False, max_steps=400
    )
    assert whole.best == 3
    np.testing.assert_allclose(whole.table["best_mse"][:2], scan.table["best_mse"][:2], rtol=0.01)


def test_the_key_decides_the_scan(scanned):
    problem, scan = scanned
    again = jxu.rank.scan(problem, range(2, 6), (jxu.rank.Elbow(),), restarts=4, key=KEY)
    np.testing.assert_array_equal(again.table["objective"], scan.table["objective"])
    other = jxu.rank.scan(problem, range(2, 6), (jxu.rank.Elbow(),), restarts=4, key=jax.random.key(9))
    assert not np.array_equal(other.table["objective"], scan.table["objective"])


@pytest.mark.slow
@pytest.mark.parametrize("make", [jxu.Dense, jxu.Counts])
def test_scan_of_counts_under_poisson(make):
    img, _ = jxu.simulate.mixture(KEY, pixels=400, channels=50, components=3, noise="poisson", counts=3000.0)
    x = img.data.values.reshape(400, 50)
    criteria = (jxu.rank.BiCrossValidation(folds=5), jxu.rank.AIC())
    scan = jxu.rank.scan(
        Problem(make(x), jxu.losses.Poisson()), range(2, 6), criteria, restarts=2, key=KEY, max_steps=300
    )
    assert scan.decision["AIC"].best == 3
    assert scan.best == 3


@pytest.mark.slow
def test_scan_of_orthogonal_domains_finds_their_number():
    img, truth = jxu.simulate.battery_xas(jax.random.key(1), shape=(40, 40), domains=4)
    x = jxu.preprocess.subtract_reference(img, truth.reference).matrix()
    constraints = (jxu.constraints.NonNegative("maps"), jxu.constraints.Orthogonal("maps"))
    criteria = (jxu.rank.BiCrossValidation(folds=5),)
    scan = jxu.rank.scan(Problem(x, constraints=constraints), range(3, 6), criteria, restarts=2, key=KEY)
    assert scan.best == 4
    assert scan.solutions[4].info["initial"] == "Clusters"


def test_a_scan_that_breaks_says_where():
    x = _data() * 1e25
    with pytest.raises((FloatingPointError, ValueError), match="rescale the data"):
        jxu.rank.scan(Problem(x), range(2, 4), (jxu.rank.AIC(),), restarts=2, key=KEY)
