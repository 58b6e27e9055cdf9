"""Several images factorised together: what each of them alone leaves open, and what must hold of any of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxunmix as jxu
from jaxunmix.factor.coupled.building import build
from jaxunmix.factor.coupled.mixing import mix
from jaxunmix.factor.coupled.noise import find_noise
from jaxunmix.factor.coupled.problem import Coupled
from jaxunmix.factor.coupled.steps import sweep
from jaxunmix.preprocess import clip_negative, power_law_background
from jaxunmix.simulate.energy_loss import emission_rows

C, P = jxu.constraints, jxu.penalties
KEY = jax.random.key(0)
SIGNS = (C.NonNegative("maps"), C.NonNegative("spectra"))
Y = C.NonNegative("coefficients")


def scene(pixels=60, rank=3, seed=0):
    rng = np.random.default_rng(seed)
    maps = rng.dirichlet(np.full(rank, 0.5), pixels)
    return maps, rng.random((rank, 20)) ** 3, rng.random((rank, 15)) ** 3, rng


def blocks(seed=0, noise=0.01, counts=200.0):
    """Squares and counts of the same maps."""
    maps, first, second, rng = scene(seed=seed)
    return {
        "eels": jxu.Problem(np.maximum(maps @ first + noise * rng.normal(size=(60, 20)), 0)),
        "edx": jxu.Problem(rng.poisson(counts * maps @ second).astype(float), jxu.losses.Poisson()),
    }


def built(problems, rank=3, share=("maps",), deviations=None):
    return build(problems, rank, share, deviations, lambda known: find_noise(known, rank, share, None))


def random_factors(problem, rank, seed=0):
    """Positive rows of all kinds."""
    rng = np.random.default_rng(seed)

    def rows(columns):
        return jnp.asarray(rng.random((rank, columns)) + 0.1, float)

    sizes = {"maps": lambda p: p.matrix.shape[0], "spectra": lambda p: p.features}
    first = problem.parts[0].problem
    other = [side for side in sizes if side not in problem.share]
    return Coupled(
        {side: rows(sizes[side](first)) for side in problem.share},
        tuple(rows(sizes[other[0]](p.problem)) if other else None for p in problem.parts),
        tuple({side: 0.1 * rows(sizes[side](p.problem)) for side in p.deviations} for p in problem.parts),
    )


CASES = {
    "squares and counts": (blocks, {}),
    "squares": (lambda: {n: p.replace(loss=jxu.losses.Frobenius()) for n, p in blocks().items()}, {}),
    "penalties of both": (
        lambda: {
            "eels": blocks()["eels"].replace(penalties=(P.L1("maps", 0.01), P.Smoothness("spectra", 0.1))),
            "edx": blocks()["edx"].replace(penalties=(P.LogSparsity("maps", 0.01),)),
        },
        {},
    ),
    "weights": (
        lambda: blocks() | {"eels": jxu.Problem(np.ones((60, 20)), weights=np.random.default_rng(0).random((60, 20)))},
        {},
    ),
    "a deviation of the maps": (
        blocks,
        {"deviations": {"edx": jxu.Deviation("maps", 0.1, (C.NonNegative("maps"),), (P.L1("maps", 0.01),))}},
    ),
    "a signed deviation": (
        lambda: {n: p.replace(loss=jxu.losses.Frobenius()) for n, p in blocks().items()},
        {"deviations": {"eels": jxu.Deviation("maps", 0.1)}},
    ),
    "a background": (
        lambda: {"raw": jxu.Problem(np.ones((30, 12))), "edge": jxu.Problem(np.eye(30, 12))},
        {
            "share": ("maps", "spectra"),
            "deviations": {"raw": jxu.Deviation("spectra", 0.1, (C.Monotone("spectra", decreasing=True),))},
        },
    ),
    "shared spectra": (
        lambda: {"a": jxu.Problem(np.random.default_rng(1).random((9, 12))), "b": jxu.Problem(np.eye(30, 12))},
        {"share": ("spectra",)},
    ),
    "sums to one": (
        lambda: {
            "a": jxu.Problem(scene()[0] @ scene()[1], constraints=(*SIGNS, C.Simplex("maps"))),
            "b": jxu.Problem(scene()[0] @ scene()[2]),
        },
        {},
    ),
    "one channel": (lambda: blocks() | {"adf": jxu.Problem(scene()[0][:, :1] + 0.5)}, {}),
}


@pytest.mark.parametrize("name", CASES)
def test_neither_sweeps_nor_mixing_raise_the_objective(name):
    make, settings = CASES[name]
    with jax.enable_x64():
        problem = built(make(), **settings)
        factors = random_factors(problem, 3)
        if name == "sums to one":
            rows = factors.shared["maps"]
            factors = factors.with_shared("maps", rows / rows.sum(axis=0))
        if name == "a background":
            falling = -jnp.sort(-factors.deviations[0]["spectra"], axis=1)
            factors = factors.with_deviation(0, "spectra", falling)
        seen = [problem.objective(factors)]
        for move in (sweep, mix, sweep, mix, sweep):
            factors = jax.jit(lambda p, f, move=move: move(p, f))(problem, factors)
            seen.append(problem.objective(factors))
    assert (np.diff(seen) <= 1e-9 * np.abs(seen[:-1])).all(), seen
    assert seen[-1] < seen[0]


def test_one_block_twice_is_that_block():
    """Two equal blocks of squares: the fit of one, whose objective each of them reaches."""
    maps, spectra, _, rng = scene()
    x = np.maximum(maps @ spectra + 0.01 * rng.normal(size=(60, 20)), 0)
    alone = jxu.fit(jxu.Problem(x), 3, key=KEY, restarts=5, max_steps=2000, rtol=1e-7)
    twice = jxu.fit_coupled(
        {"a": jxu.Problem(x), "b": jxu.Problem(x)}, 3, key=KEY, restarts=5, max_steps=1000, rtol=1e-7
    )
    np.testing.assert_allclose(twice["a"].objective, alone.objective, rtol=2e-3)
    np.testing.assert_allclose(twice["a"].spectra, twice["b"].spectra, rtol=1e-2, atol=1e-3)


def test_stacked_squares_are_one_matrix():
    """Blocks of squares of one noise are the matrix of both beside one another."""
    maps, first, second, rng = scene()
    x, y = (np.maximum(maps @ s + 0.01 * rng.normal(size=(60, s.shape[1])), 0) for s in (first, second))
    both = jxu.fit_coupled(
        {"x": jxu.Problem(x), "y": jxu.Problem(y)}, 3, noise={"x": 1.0, "y": 1.0}, key=KEY, max_steps=1000, rtol=1e-8
    )
    matrix = jxu.Problem(np.hstack([x, y]))
    one = jxu.fit(matrix, 3, key=KEY, restarts=5, max_steps=2000, rtol=1e-7)
    np.testing.assert_allclose(both.objective, one.objective, rtol=2e-3)
    assert jxu.metrics.match(np.hstack([both["x"].spectra, both["y"].spectra]), one.spectra).angles.max() < 2


def test_the_noise_is_found_also_of_one_channel():
    maps, spectra, _, rng = scene(pixels=2000)
    x = maps @ spectra + 0.03 * rng.normal(size=(2000, 20))
    adf = maps @ np.array([[1.0], [2.0], [3.0]]) + 0.05 * rng.normal(size=(2000, 1))
    problems = {"eels": jxu.Problem(x, constraints=()), "adf": jxu.Problem(adf, constraints=())}
    found = find_noise(problems, 3, ("maps",), None)
    assert abs(found["eels"] / 0.03 - 1) < 0.02
    # What the principal maps have of noise is in it too.
    assert 0.95 < found["adf"] / 0.05 < 1.5


@settings(max_examples=5)
@given(st.sampled_from([1e-3, 1e3]))
def test_the_unit_of_a_block_does_not_matter(scale):
    problems = blocks()
    scaled = problems | {"eels": jxu.Problem(scale * problems["eels"].matrix.to_dense())}
    found = [jxu.fit_coupled(p, 3, key=KEY, max_steps=60, rtol=0) for p in (problems, scaled)]
    np.testing.assert_allclose(found[1].maps, found[0].maps, rtol=0.02, atol=0.02)
    np.testing.assert_allclose(found[1]["eels"].spectra, scale * found[0]["eels"].spectra, rtol=0.05, atol=0.02 * scale)


def sites(seed, shape=(40, 40)):
    """The problems of a tilt series, and its truths."""
    keys = jax.random.split(jax.random.key(seed))
    eels, of_eels = jxu.simulate.channelling_eels(keys[0], shape)
    edx, of_edx = jxu.simulate.channelling_edx(keys[1], shape)
    # Which element is on neither site is known, as of a spinel from its structure.
    known = np.where(of_edx.coefficients == 0, 0, np.nan)
    basis = emission_rows(edx.data.energy.values)
    constraints = (C.NonNegative("maps"), Y, C.Fixed("coefficients", values=known))
    problems = {
        "eels": jxu.Problem(eels.matrix()),
        "edx": jxu.Problem(edx.matrix(), jxu.losses.Poisson(), basis, constraints=constraints),
    }
    return problems, of_eels, of_edx


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_two_sites_of_manganese_are_separated_where_either_technique_alone_cannot(seed):
    """Acceptance: spectra within 3 degrees where either alone exceeds 10, site weights within 5 %."""
    problems, eels, _ = sites(seed)
    alone = jxu.fit(problems["eels"], 2, key=KEY, restarts=5, max_steps=1000)
    assert jxu.metrics.match(alone.spectra, eels.spectra).angles.max() > 10
    edx = jxu.fit(problems["edx"], 2, key=KEY, restarts=5, max_steps=1000)
    from_edx = np.linalg.lstsq(np.asarray(edx.maps), problems["eels"].matrix.to_dense(), rcond=None)[0]
    angle = jxu.metrics.spectral_angle
    assert max(angle(from_edx[k], eels.spectra[k]) for k in range(2)) > 10
    both = jxu.fit_coupled(problems, 2, key=KEY)
    weights = eels.maps / eels.maps.mean(axis=0)
    found = [angle(np.asarray(both["eels"].spectra)[k], eels.spectra[k]) for k in range(2)]
    error = np.sqrt(np.mean((np.asarray(both.maps) - weights) ** 2, axis=0))
    print(seed, np.round(found, 2), np.round(error, 3))
    assert max(found) < 3
    assert max(error) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_phase_without_an_edge_is_found_by_its_background(seed):
    """Acceptance: three components where subtracting the background first leaves two."""
    img, truth = jxu.simulate.oxides_and_carbon(jax.random.key(seed))
    edge = power_law_background(img, (490.0, 525.0))
    ard = jxu.Problem(
        clip_negative(edge).matrix(),
        penalties=(P.ARD("maps"),),
        constraints=(*SIGNS, C.Orthogonal("maps", 0.1, strict=False)),
    )
    first = jxu.fit(jxu.Problem(edge.matrix()), 3, key=KEY, restarts=5, max_steps=1000)
    relevant = jxu.fit(ard, 8, key=KEY, max_steps=2000)
    found = jxu.metrics.match(np.asarray(first.maps).T, truth.maps.T).angles
    background = jxu.Deviation("spectra", 0.0, (C.NonNegative("spectra"), C.Monotone("spectra", decreasing=True)))
    problems = {"raw": jxu.Problem(img.matrix()), "edge": jxu.Problem(edge.matrix())}
    both = jxu.fit_coupled(problems, 3, "both", {"raw": background}, key=KEY, restarts=4)
    maps = jxu.metrics.match(np.asarray(both.maps).T, truth.maps.T).angles
    edges = (truth.spectra - truth.backgrounds)[:2]
    matched = jxu.metrics.match(both["raw"].spectra, truth.spectra)
    shared = matched.reorder(np.asarray(both.spectra))
    angles = [jxu.metrics.spectral_angle(shared[k], edges[k]) for k in range(2)]
    print(seed, relevant.rank, np.round(found), np.round(maps), np.round(angles, 1), matched.angles.round(1))
    assert relevant.rank == 2
    assert found.max() > 60
    assert maps.max() < 20
    assert max(angles) < 3


def test_a_deviation_of_the_maps_is_found_where_it_is():
    """One block's map of one component is raised in some pixels: N is there, and the spectra stay right."""
    maps, first, second, rng = scene(pixels=400)
    raised = maps.copy()
    raised[:40, 0] += 0.5
    x = maps @ first + 0.005 * rng.normal(size=(400, 20))
    y = raised @ second + 0.005 * rng.normal(size=(400, 15))
    problems = {"eels": jxu.Problem(x), "edx": jxu.Problem(y)}
    moved = jxu.Deviation("maps", 1e-4, (C.NonNegative("maps"),))
    both = jxu.fit_coupled(problems, 3, deviations={"edx": moved}, key=KEY, restarts=4, max_steps=1000)
    match = jxu.metrics.match(both["edx"].spectra, second)
    assert match.angles.max() < 5
    deviation = np.asarray(both.deviations["edx"]["maps"])
    shares = match.reorder(deviation.T)[0]
    assert shares[:40].mean() > 10 * shares[40:].mean()
    np.testing.assert_allclose(both["edx"].maps, both.maps + deviation, rtol=1e-5, atol=1e-6)


def test_the_result_has_a_node_for_each_block_and_no_recompilation_of_names():
    problems = blocks()
    both = jxu.fit_coupled(problems, 3, key=KEY, max_steps=20)
    assert set(both) == {"eels", "edx"}
    assert both["edx"].info["coupled_with"] == ["eels"]
    np.testing.assert_allclose(np.asarray(both.maps).mean(axis=0), 1, rtol=1e-5)
    np.testing.assert_allclose(both["eels"].maps, both.maps)
    tree = both.to_xarray()
    assert tree["eels"]["spectra"].shape == (3, 20)
    assert tree["edx"].attrs["noise"] == 1
    assert (np.diff(both.trace) <= 1e-5 * np.abs(both.trace[:-1])).all()
    with pytest.raises(KeyError, match="blocks are eels, edx"):
        both["raman"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"problems": {"a": jxu.Problem(np.eye(5))}}, "two or more"),
        ({"problems": {"a": jxu.Problem(np.eye(5)), "b": jxu.Problem(np.eye(6))}}, "same pixels: 'a' has 5, 'b' 6"),
        ({"deviations": {"raman": jxu.Deviation("maps", 1.0)}}, "no block"),
        ({"deviations": {"eels": jxu.Deviation("spectra", 1.0)}}, "not shared"),
        ({"deviations": {"edx": jxu.Deviation("maps", 1.0)}}, "non-negative"),
        ({"deviations": dict.fromkeys(("eels", "edx"), jxu.Deviation("maps", 1.0))}, "every block deviates"),
        ({"noise": {"edx": 1.0}}, "their own noise"),
        ({"rank": 40}, "above the smaller side"),
        ({"share": "pixels"}, "share"),
    ],
)
def test_what_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        jxu.fit_coupled(**({"problems": blocks(), "rank": 3, "key": KEY} | change))


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (jxu.Problem(np.ones((60, 4)), jxu.losses.ItakuraSaito()), "not served"),
        (jxu.Problem(np.ones((60, 4)), jxu.losses.Frobenius(link=jxu.links.Log())), "not served"),
        (jxu.Problem(np.ones((60, 4)), penalties=(P.ARD("maps"),)), "ARD"),
        (jxu.Problem(np.ones((60, 4)), penalties=(P.L1("maps", "auto"),)), "auto"),
        (jxu.Problem(np.ones((60, 4)), penalties=(lambda f: jnp.sum(f.maps),)), "separable bound"),
        (jxu.Problem(np.ones((60, 4)), constraints=(*SIGNS, C.UnitNorm("spectra"))), "UnitNorm"),
    ],
)
def test_a_block_that_is_refused(problem, message):
    with pytest.raises(ValueError, match=message):
        jxu.fit_coupled({"eels": blocks()["eels"], "other": problem}, 3, key=KEY)


def test_a_block_whose_noise_cannot_be_found():
    adf = {"adf": jxu.Problem(np.ones((60, 1))), "other": jxu.Problem(np.ones((60, 1)))}
    with pytest.raises(ValueError, match="give noise"):
        jxu.fit_coupled(adf, 1, key=KEY)


@pytest.mark.parametrize("share", ["maps", "spectra"])
def test_each_component_may_have_a_basis_of_its_own(share):
    """As where each phase absorbs its own lines: coefficients are shared, or the maps are."""
    rng = np.random.default_rng(3)
    basis, coefficients = rng.random((2, 3, 25)) ** 3, rng.random((2, 3))
    spectra = np.einsum("kf,kfc->kc", coefficients, basis)
    maps = [rng.dirichlet(np.ones(2), pixels) for pixels in ((50, 50) if share == "maps" else (50, 40))]
    if share == "maps":
        maps[1] = maps[0]
    x = {name: rng.poisson(500.0 * one @ spectra).astype(float) for name, one in zip("ab", maps, strict=True)}
    problems = {name: jxu.Problem(counts, jxu.losses.Poisson(), basis) for name, counts in x.items()}
    both = jxu.fit_coupled(problems, 2, share, key=KEY, max_steps=300)
    for k in range(2):
        assert jxu.metrics.spectral_angle(np.asarray(both["a"].spectra)[k], spectra[k]) < 5
    if share == "spectra":
        np.testing.assert_allclose(both["a"].coefficients, both["b"].coefficients)
