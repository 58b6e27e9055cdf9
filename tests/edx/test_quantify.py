"""At.% with errors: closed forms, coverage, what they must not depend on, and what is refused."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxunmix as jxu
from jaxunmix.physics.xray import Basis, EmissionModel, atomic_to_weight, yield_sd

CHANNELS = 60
LINES = {"O": (0.8, 10.0), "Mg": (1.2, 20.0), "Si": (1.0, 32.0), "Fe": (0.9, 45.0)}
MASSES = {"O": 16.0, "Mg": 24.3, "Si": 28.1, "Fe": 55.8}
AREAS = np.array([area for area, _ in LINES.values()])
# Two phases: one has no Fe, the other no Si. The last two columns are bremsstrahlung.
PHASES = np.array([[0.6, 0.3, 0.1, 0.0, 0.2, 0.1], [0.5, 0.2, 0.0, 0.3, 0.1, 0.3]])
EXACT = {"max_steps": 4000, "rtol": 1e-11}


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64():
        yield


def _basis(elements=("O", "Mg", "Si", "Fe"), families=None, bremsstrahlung=True):
    c, rows = np.arange(CHANNELS), []
    for element in elements:
        area, place = LINES[element]
        line = np.exp(-0.5 * ((c - place) / 2) ** 2)
        rows.append(area * line / line.sum())
    if bremsstrahlung:
        rows += [np.exp(-c / 20) / 20, np.ones(CHANNELS) / CHANNELS]
    more = 2 * bremsstrahlung
    unique = tuple(dict.fromkeys(elements))
    return Basis(
        jnp.asarray(np.array(rows)),
        ("element",) * len(elements) + ("bremsstrahlung",) * more,
        tuple(elements) + ("",) * more,
        (families or ("",) * len(elements)) + ("",) * more,
        unique,
        tuple(MASSES[element] for element in unique),
    )


def _disjoint(areas, owners=("O", "Mg"), families=("", "")):
    """Rows that share no channel: everything is known in closed form."""
    values = np.kron(np.diag(areas), np.ones((1, 10)) / 10)
    elements = tuple(dict.fromkeys(owners))
    kinds = ("element",) * len(owners)
    return Basis(jnp.asarray(values), kinds, owners, families, elements, tuple(MASSES[e] for e in elements))


def _maps(level, pixels=40):
    """Two phases: pure in a quarter of the pixels each, mixed in the rest."""
    share = np.clip(np.linspace(-0.5, 1.5, pixels), 0, 1)
    return level * np.stack([share, 1 - share], axis=1)


def _fit(x, basis, maps, coefficients, constraints=None, penalties=(), weights=None, **limits):
    problem = jxu.Problem(x, jxu.losses.Poisson(), basis, penalties, weights, constraints)
    start = jxu.initial.Given(maps, coefficients=coefficients)
    return problem, jxu.fit(problem, len(coefficients), init=start, **(EXACT | limits))


def _expected(level=200.0, constraints=None, penalties=(), weights=None, basis=None):
    """A fit to the expected counts themselves, which ends at the truth."""
    basis = _basis() if basis is None else basis
    maps = _maps(level)
    problem, solution = _fit(
        maps @ PHASES @ np.asarray(basis), basis, maps, PHASES, constraints, penalties, weights, max_steps=0
    )
    return problem, solution, basis


def test_one_phase_of_two_lines_is_a_binomial():
    """Counts n_e of lines of area b_e: x_e = (n_e / b_e) / sum, and n_1 is binomial in the total."""
    areas, counts = np.array([1.0, 2.5]), np.array([300.0, 500.0])
    basis = _disjoint(areas)
    x = np.outer(np.full(8, 1 / 8), np.repeat(counts, 10) / 10)
    problem, solution = _fit(x, basis, np.ones((8, 1)), np.array([[0.5, 0.5]]))
    result = jxu.quantify(problem, solution, basis, yields=False)
    amounts = counts / areas
    fraction = amounts[0] / amounts.sum()
    np.testing.assert_allclose(result.at_percent[0], 100 * amounts / amounts.sum(), rtol=1e-6)
    p, n = counts[0] / counts.sum(), counts.sum()
    relative = np.sqrt(p * (1 - p) / n) / (p * (1 - p))  # of the odds n_1 / n_2
    np.testing.assert_allclose(result.at_percent_sd[0], 100 * fraction * (1 - fraction) * relative, rtol=1e-6)
    np.testing.assert_allclose(result.at_percent_sd_total, result.at_percent_sd)
    cov = result.at_percent_cov[0].values
    np.testing.assert_allclose(cov, np.array([[1, -1], [-1, 1]]) * result.at_percent_sd.values[0, 0] ** 2, rtol=1e-6)


def test_profiled_information_is_that_of_all_parameters():
    """The Schur complement over pixels, against the pseudo-inverse of the whole information matrix."""
    rng = np.random.default_rng(0)
    basis = _basis()
    maps, coefficients = rng.random((7, 2)) * 50 + 1, rng.random((2, 6)) + 0.1
    maps[:2, 0], maps[2:4, 1], coefficients[0, 3], coefficients[1, 2] = 0, 0, 0, 0
    problem, solution = _fit(maps @ coefficients @ np.asarray(basis), basis, maps, coefficients, max_steps=0)
    b = np.asarray(basis)
    slopes = np.concatenate(
        [
            np.einsum("pk,fc->kfpc", maps, b).reshape(12, -1),
            np.einsum("pq,kc->pkqc", np.eye(7), coefficients @ b).reshape(14, -1),
        ]
    )
    moves = np.concatenate([coefficients.ravel(), maps.ravel()]) > 0
    information = (slopes / (maps @ coefficients @ b).ravel()) @ slopes.T
    whole = np.zeros((26, 26))
    whole[np.ix_(moves, moves)] = np.linalg.pinv(information[np.ix_(moves, moves)], rcond=1e-11)
    result = jxu.quantify(problem, solution, basis, yields=False)
    for k in range(2):
        c = coefficients[k, :4]
        slope = (np.eye(4) - np.outer(c / c.sum(), np.ones(4))) / c.sum()
        covariance = slope @ whole[6 * k : 6 * k + 4, 6 * k : 6 * k + 4] @ slope.T
        np.testing.assert_allclose(result.at_percent_cov[k], 1e4 * covariance, rtol=1e-6, atol=1e-8)


def test_errors_and_bias_cover_what_draws_scatter():
    """z = (estimate - bias - truth) / sd over Poisson draws: spread about 1, mean near 0; not so without the bias."""
    basis, maps, rng = _basis(), _maps(500.0, 80), np.random.default_rng(1)
    expected = maps @ PHASES @ np.asarray(basis)
    truth = 100 * PHASES[:, :4] / PHASES[:, :4].sum(axis=1, keepdims=True)
    scores = []
    for _ in range(40):
        x = rng.poisson(expected).astype(float)
        problem, solution = _fit(x, basis, np.maximum(maps, 5.0), PHASES, max_steps=1000, check_every=250)
        found = jxu.quantify(problem, solution, basis, yields=False)
        off = (found.at_percent - truth) / found.at_percent_sd
        scores.append([off, off - found.at_percent_bias / found.at_percent_sd])
    raw, corrected = np.array(scores)[:, :, PHASES[:, :4] > 0].transpose(1, 0, 2)
    assert 0.85 < np.sqrt(np.square(corrected.std(axis=0)).mean()) < 1.15
    # Of 40 draws the mean has an error of 0.16.
    assert np.abs(corrected.mean(axis=0)).max() < 0.8
    assert 1.2 < np.abs(raw.mean(axis=0)).max() < 2.0


def test_scale_between_the_blocks_does_not_matter():
    basis, maps = _basis(), _maps(200.0)
    x = np.random.default_rng(0).poisson(maps @ PHASES @ np.asarray(basis)).astype(float)
    problem, solution = _fit(x, basis, maps, PHASES, max_steps=20)
    scale = np.array([0.01, 30.0])
    scaled = replace(
        solution,
        maps=solution.maps * scale,
        coefficients=solution.coefficients / scale[:, None],
        spectra=solution.spectra / scale[:, None],
    )
    xs = [jxu.quantify(problem, s, basis) for s in (solution, scaled)]
    for name in xs[0]:
        np.testing.assert_allclose(xs[1][name], xs[0][name], rtol=1e-6, atol=1e-7, err_msg=name)


def test_simplex_only_fixes_the_scale():
    signs = (jxu.constraints.NonNegative("maps"), jxu.constraints.NonNegative("coefficients"))
    simplex = jxu.constraints.Simplex("coefficients", (0, 1, 2, 3))
    results = [jxu.quantify(p, s, b) for p, s, b in (_expected(), _expected(constraints=(*signs, simplex)))]
    np.testing.assert_allclose(results[1].at_percent_sd, results[0].at_percent_sd, rtol=1e-6)


def test_percent_of_atoms_and_of_weight_agree():
    problem, solution, basis = _expected()
    result = jxu.quantify(problem, solution, basis)
    atoms, masses = result.at_percent.values / 100, np.asarray(basis.masses)
    np.testing.assert_allclose(result.at_percent.sum("element"), 100)
    np.testing.assert_allclose(result.wt_percent, 100 * atomic_to_weight(atoms, masses), rtol=1e-6)
    for k in range(2):
        slope = np.asarray(jax.jacobian(lambda x: atomic_to_weight(x, masses))(jnp.asarray(atoms[k])))
        expected = slope @ result.at_percent_cov[k].values @ slope.T
        np.testing.assert_allclose(result.wt_percent_cov[k], expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(
        np.sqrt(np.einsum("kee->ke", result.at_percent_cov))[PHASES[:, :4] > 0],
        result.at_percent_sd.values[PHASES[:, :4] > 0],
    )
    assert np.isnan(result.at_percent_sd.values[PHASES[:, :4] == 0]).all()
    assert result.element.values.tolist() == ["O", "Mg", "Si", "Fe"]
    assert result.at_percent_sd.attrs["units"] == "%"


def test_errors_fall_with_the_root_of_the_counts():
    low, high = (jxu.quantify(*_expected(level), yields=False) for level in (1e4, 1e6))
    for name in ("at_percent_sd", "wt_percent_sd", "at_percent_map_sd"):
        np.testing.assert_allclose(low[name], 10 * high[name], rtol=1e-2, err_msg=name)


def test_error_of_the_yields_of_two_elements():
    """x = c_1 / (c_1 + c_2): the relative errors r_e of independent yields give x (1 - x) sqrt(r_1^2 + r_2^2)."""
    basis = _disjoint(np.ones(2))
    x = np.outer(np.ones(8), np.repeat([30.0, 10.0], 10))
    problem, solution = _fit(x, basis, np.ones((8, 1)), np.array([[0.75, 0.25]]))
    for yields, sds in ((np.array([0.1, 0.05]), (0.1, 0.05)), (True, (yield_sd("O", "K"), yield_sd("Mg", "K")))):
        result = jxu.quantify(problem, solution, basis, yields=yields)
        systematic = np.sqrt(result.at_percent_sd_total**2 - result.at_percent_sd**2)
        np.testing.assert_allclose(systematic[0], 100 * 0.75 * 0.25 * np.hypot(*sds), rtol=1e-5)


def test_families_of_an_element_are_combined_by_their_counts():
    """Iron in two rows that overlap with nothing counts as one row of both areas, in value and in error."""
    split = _disjoint(np.array([1.0, 2.0, 0.5]), ("O", "Fe", "Fe"), ("K", "K", "L"))
    counts = np.array([40.0, 70.0, 30.0])
    x = np.outer(np.ones(8), np.repeat(counts, 10) / 10)
    found = jxu.quantify(*_fit(x, split, np.ones((8, 1)), np.ones((1, 3))), split, yields=np.array([0, 0.2, 0.1]))
    iron = 100 / 2.5
    np.testing.assert_allclose(found.at_percent[0], 100 * np.array([40, iron]) / (40 + iron), rtol=1e-6)
    share, n = 40 / (40 + iron), 8 * counts.sum()
    p = 40 / counts.sum()
    relative = 1 / np.sqrt(n * p * (1 - p))
    np.testing.assert_allclose(found.at_percent_sd[0], 100 * share * (1 - share) * relative, rtol=1e-6)
    systematic = np.sqrt(found.at_percent_sd_total**2 - found.at_percent_sd**2)
    relative = np.hypot(0.7 * 0.2, 0.3 * 0.1)
    np.testing.assert_allclose(systematic[0], 100 * share * (1 - share) * relative, rtol=1e-6)


def test_map_of_one_phase_that_is_known():
    """Maps alone move: of two disjoint phases the map's share is binomial with one count more of each."""
    basis = _disjoint(np.ones(2))
    maps = np.array([[30.0, 10.0], [0.0, 40.0], [4.0, 4.0]])
    signs = (jxu.constraints.NonNegative("maps"), jxu.constraints.NonNegative("coefficients"))
    constraints = (*signs, jxu.constraints.Fixed("coefficients"))
    problem, solution = _fit(maps @ np.asarray(basis), basis, maps, np.eye(2), constraints)
    found = jxu.quantify(problem, solution, basis)
    np.testing.assert_allclose(found.at_percent_map.T, 100 * maps / maps.sum(axis=1, keepdims=True), atol=1e-6)
    slope = maps[:, ::-1] / maps.sum(axis=1, keepdims=True) ** 2
    sd = np.sqrt((slope**2 * (maps + 1)).sum(axis=1))
    np.testing.assert_allclose(found.at_percent_map_sd.T, 100 * np.stack([sd, sd], axis=1), rtol=1e-6)
    # Coefficients that are kept from the start may have errors, which this fit does not know.
    assert np.isnan(found.at_percent_sd).all()


def test_known_entries_have_no_error():
    known = np.full(PHASES.shape, np.nan)
    known[0, :4], known[1, 2] = PHASES[0, :4], 0
    signs = (jxu.constraints.NonNegative("maps"), jxu.constraints.NonNegative("coefficients"))
    problem, solution, basis = _expected(constraints=(*signs, jxu.constraints.Fixed("coefficients", values=known)))
    found, free = jxu.quantify(problem, solution, basis), jxu.quantify(*_expected())
    np.testing.assert_allclose(found.at_percent_sd[0], 0, atol=1e-12)
    np.testing.assert_allclose(found.at_percent_sd_total[0], 0, atol=1e-12)
    assert float(found.at_percent_sd[1, 2]) == 0
    assert (found.at_percent_sd[1, [0, 1, 3]] < free.at_percent_sd[1, [0, 1, 3]]).all()


def test_tied_columns_move_as_one():
    """O and Mg in the ratio of the first phase: their errors keep the ratio, and are smaller."""
    signs = (jxu.constraints.NonNegative("maps"), jxu.constraints.NonNegative("coefficients"))
    phases = PHASES.copy()
    phases[:, 0] = 2 * phases[:, 1]
    basis, maps = _basis(), _maps(200.0)
    x = maps @ phases @ np.asarray(basis)
    tie = jxu.constraints.Proportional("coefficients", (0, 1), (2.0, 1.0))
    tied, free = (
        jxu.quantify(*_fit(x, basis, maps, phases, (*signs, *more), max_steps=0), basis, yields=False)
        for more in ((tie,), ())
    )
    np.testing.assert_allclose(tied.at_percent_sd[:, 0], 2 * tied.at_percent_sd[:, 1], rtol=1e-6)
    assert (tied.at_percent_sd[:, :2] < free.at_percent_sd[:, :2]).all()


def test_phases_that_always_overlap_are_not_determined():
    """No zero in maps or coefficients: any shear of the two phases fits as well."""
    basis, rng = _basis(), np.random.default_rng(0)
    maps, phases = rng.random((40, 2)) * 100 + 50, PHASES + 0.1
    problem, solution = _fit(maps @ phases @ np.asarray(basis), basis, maps, phases, max_steps=0)
    assert (jxu.quantify(problem, solution, basis).at_percent_sd > 1e3).all()


def test_storage_bases_and_weights_do_not_matter():
    """Dense or counts, one basis or equal ones, channels of weight 0 or not there: the same errors."""
    problem, solution, basis = _expected()
    plain = jxu.quantify(problem, solution, basis)
    x = np.asarray(problem.matrix.values)
    several = eqx.tree_at(lambda b: b.values, basis, jnp.stack([basis.values] * 2))
    poisson = jxu.losses.Poisson()
    weights = np.ones(CHANNELS)
    weights[50:] = 0
    cases = [
        (jxu.Problem(jxu.Counts(x), poisson, basis), solution, basis),
        (jxu.Problem(x, poisson, several), solution, several),
    ]
    for case in cases:
        np.testing.assert_allclose(jxu.quantify(*case).at_percent_sd, plain.at_percent_sd, rtol=1e-6)
    img = jxu.SpectrumImage.from_array(x.reshape(5, 8, -1))
    img = jxu.preprocess.mask(img, channels=weights > 0)
    cut = jxu.Problem(img.matrix("dense"), poisson, np.asarray(basis)[:, :50])
    short = jxu.quantify(cut, replace(solution, spectra=solution.spectra[:, :50]), basis, img=img)
    ignored = jxu.quantify(jxu.Problem(x, poisson, basis, weights=weights), solution, basis, img=img)
    np.testing.assert_allclose(ignored.at_percent_sd, short.at_percent_sd, rtol=1e-6)
    np.testing.assert_allclose(ignored.at_percent_map, short.at_percent_map, rtol=1e-6)
    assert short.at_percent_map.dims == ("element", "y", "x")
    assert short.at_percent_map_sd.shape == (4, 5, 8)


def test_empty_maps_and_pixels_have_no_composition():
    basis, maps = _basis(), _maps(200.0)
    maps[:, 1], maps[:3] = 0, 0
    problem, solution = _fit(maps @ PHASES @ np.asarray(basis), basis, maps, PHASES, max_steps=0)
    found = jxu.quantify(problem, solution, basis)
    assert np.isnan(found.at_percent[1]).all()
    assert np.isnan(found.at_percent_sd[1]).all()
    assert np.isfinite(found.at_percent_sd[0, :3]).all()
    assert np.isnan(found.at_percent_map[:, :3]).all()
    assert np.isnan(found.at_percent_map_sd[:, :3]).all()
    assert np.isfinite(found.at_percent_map_sd[:, -3:]).all()


def test_default_yields_are_near_those_of_a_model():
    """A basis does not know which family carries a row; the guess is within a factor of two of the detected shares."""
    model = EmissionModel(["O", "Si", "Fe", "Nd", "U"], 0.2 + 0.01 * np.arange(1800))
    basis = model.basis()
    x = np.asarray(basis)[:5].sum(axis=0)[None] * 100 + 1e-3
    problem, solution = _fit(x, basis, np.ones((1, 1)), np.ones((1, 7)), max_steps=0)
    guess, own = (jxu.quantify(problem, solution, basis, yields=y) for y in (True, model.yield_sd()))
    ratio = guess.at_percent_sd_total / own.at_percent_sd_total
    assert ((ratio > 0.5) & (ratio < 2)).all()


def _refused(change):
    problem, solution, basis = _expected(20.0)
    x = problem.matrix
    made = {"problem": problem, "solution": solution, "basis": basis}
    return jxu.quantify(**(made | change(problem, solution, basis, x)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, s, b, x: {"problem": jxu.Problem(x, None, b)}, r"fit with losses\.Poisson\(\), not Frobenius"),
        (lambda p, s, b, x: {"problem": jxu.Problem(x, p.loss)}, "give the problem a basis"),
        (lambda p, s, b, x: {"basis": _basis(("O", "Mg", "Si"))}, r"basis is \(5, 60\), the problem's \(6, 60\)"),
        (lambda p, s, b, x: {"basis": eqx.tree_at(lambda b: b.values, b, 2 * b.values)}, "other values"),
        (lambda p, s, b, x: {"basis": replace(b, kinds=("free",) * 6)}, "none of the rows of the basis is an element"),
        (lambda p, s, b, x: {"solution": replace(s, maps=s.maps[:-1])}, r"its maps are \(39, 2\), expected \(40, 2\)"),
        (lambda p, s, b, x: {"solution": replace(s, coefficients=2 * s.coefficients)}, "spectra are not its"),
        (lambda p, s, b, x: {"solution": replace(s, maps=s.maps * np.nan)}, "maps are not finite"),
        (lambda p, s, b, x: {"yields": [0.1, 0.1]}, "each of O, Mg, Si, Fe; got an array of shape"),
        (lambda p, s, b, x: {"yields": [0.1, 0.1, -0.1, 0.1]}, "0 or more"),
        (
            lambda p, s, b, x: {
                "problem": jxu.Problem(x, p.loss, b, [jxu.penalties.Laplacian("maps", "auto", (5, 8))])
            },
            "the problem that tune returned",
        ),
        (lambda p, s, b, x: {"img": jxu.SpectrumImage.from_array(np.ones((5, 7, 60)))}, "img has 35 pixels in use"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        _refused(change)


def test_zeros_that_were_given_bring_no_bias():
    """Maps that started at zero stay there, known: noise would leave them as often upwards as downwards."""
    basis, maps, rng = _basis(), _maps(500.0, 80), np.random.default_rng(0)
    x = rng.poisson(maps @ PHASES @ np.asarray(basis)).astype(float)
    given, found = (
        jxu.quantify(*_fit(x, basis, m, PHASES, max_steps=1000, check_every=250), basis)
        for m in (maps, np.maximum(maps, 5.0))
    )
    sizes = [float(np.abs(q.at_percent_bias / q.at_percent_sd).max()) for q in (given, found)]
    assert sizes[0] < 0.5 * sizes[1], sizes
