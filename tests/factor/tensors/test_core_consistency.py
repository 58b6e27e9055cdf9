"""CORCONDIA against known answers and the formula as it is written."""

import numpy as np
import pytest
from tensor_cases import KEY, outer_sum, trilinear

import jaxunmix as jxu
from jaxunmix.factor.tensors import core_consistency, scan_ranks


def reference(x, factors):
    """Bro and Kiers, equation 8, by the pseudo-inverse of a Kronecker product."""
    rank = factors[0].shape[1]
    size = np.prod([np.linalg.norm(f, axis=0) for f in factors], axis=0) ** (1 / len(factors))
    columns = [f / np.linalg.norm(f, axis=0) * size for f in factors]
    kron = columns[0]
    for f in columns[1:]:
        kron = np.kron(kron, f)
    core = np.linalg.pinv(kron) @ np.asarray(x, float).ravel()
    ideal = np.zeros((rank,) * len(factors))
    ideal[(np.arange(rank),) * len(factors)] = 1
    return 100 * (1 - np.sum((core.reshape(ideal.shape) - ideal) ** 2) / rank)


@pytest.mark.parametrize("shape", [(6, 7, 8), (4, 3, 5, 3)], ids=str)
def test_it_is_the_formula(shape):
    factors, _ = trilinear(shape)
    x = outer_sum(factors) + 0.05 * np.random.default_rng(0).normal(size=shape)
    np.testing.assert_allclose(core_consistency(x, factors), reference(x, factors), rtol=1e-5)


def test_it_is_100_for_the_factors_of_the_data():
    factors, _ = trilinear(rank=3)
    assert core_consistency(outer_sum(factors), factors) == pytest.approx(100, abs=1e-3)


def test_the_place_of_a_size_does_not_matter():
    factors, x = trilinear(noise=0.05)
    scaled = [factors[0] * [10, 1], factors[1] / [10, 1], factors[2]]
    assert core_consistency(x, scaled) == pytest.approx(core_consistency(x, factors), rel=1e-9)


def test_missing_entries_are_those_of_the_model():
    factors, _ = trilinear(rank=3)
    x, seen = outer_sum(factors), np.random.default_rng(1).uniform(size=(6, 7, 8)) > 0.3
    assert core_consistency(np.where(seen, x, np.nan), factors, seen) == pytest.approx(100, abs=1e-3)


def test_it_collapses_with_one_component_too_many():
    _, x = trilinear((12, 13, 14), 2, 0.02)
    table = scan_ranks(x, (2, 3), key=KEY, restarts=4, max_steps=500, rtol=1e-7)
    consistency = table["core_consistency"].values
    assert consistency[0] > 98
    assert consistency[1] < 60
    assert (np.diff(table["relative_error"]) < 0).all()


def test_a_result_judges_itself():
    _, x = trilinear(noise=0.05)
    found = jxu.fit_tensor(x, 2, key=KEY, max_steps=50)
    wanted = core_consistency(x, [found.factors[0], found.factors[1] * found.core, found.factors[2]])
    assert found.core_consistency(x) == pytest.approx(wanted, rel=1e-6)
    with pytest.raises(ValueError, match="Tucker"):
        jxu.fit_tensor(x, (2, 2, 2), key=KEY, max_steps=5).core_consistency(x)


def test_it_refuses_what_does_not_fit():
    factors, x = trilinear()
    with pytest.raises(ValueError, match=r"factors\[1\] of mode_1 has shape"):
        core_consistency(x, [factors[0], factors[0], factors[2]])
    with pytest.raises(ValueError, match="component 1 is zero"):
        core_consistency(x, [factors[0], factors[1] * [1, 0], factors[2]])
    with pytest.raises(ValueError, match="must be 3"):
        core_consistency(x, factors[:2])
    with pytest.raises(ValueError, match="ranks is empty"):
        scan_ranks(x, (), key=KEY)
