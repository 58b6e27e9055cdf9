"""Every storage gives the same products as plain numpy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import jaxunmix as jxu
from jaxunmix.matrix import dense
from jaxunmix.matrix.base import accurate_sum
from jaxunmix.matrix.compressed import leading_svd
from jaxunmix.matrix.convert import as_matrix

POISSON = jxu.losses.Poisson()


def _counts(pixels: int = 301, channels: int = 47, mean: float = 0.3) -> np.ndarray:
    x = np.random.default_rng(0).poisson(mean, (pixels, channels)).astype(np.uint8)
    x[5] = 0  # an empty pixel
    x[:, 7] = 0  # a dead channel
    return x


def _factors(pixels: int, channels: int, rank: int = 3) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(1)
    return jnp.asarray(rng.random((rank, pixels), np.float32) + 0.1), jnp.asarray(
        rng.random((rank, channels), np.float32) + 0.1
    )


STORAGES = {
    "dense": jxu.Dense,
    "counts": jxu.Counts,
    "compressed": lambda x: jxu.Compressed(x, min(x.shape), key=jax.random.key(0), power=2),
}


@pytest.mark.parametrize("storage", STORAGES)
def test_products_equal_numpy(storage):
    x = _counts()
    m = STORAGES[storage](x)
    w, h = _factors(*x.shape)
    np.testing.assert_allclose(m.onto_spectra(h), h @ x.T.astype(float), rtol=2e-4, atol=1e-3)
    np.testing.assert_allclose(m.onto_maps(w), w @ x.astype(float), rtol=2e-4, atol=1e-3)
    assert m.shape == x.shape
    np.testing.assert_allclose(m.pixel_sums, x.sum(1))
    np.testing.assert_allclose(m.channel_sums, x.sum(0))
    np.testing.assert_allclose(m.squares, (x.astype(float) ** 2).sum(1))


@pytest.mark.parametrize("storage", ["dense", "counts"])
@pytest.mark.parametrize("block", [64, 2**20])
def test_poisson_scores_and_divergence_equal_numpy(storage, block, monkeypatch):
    """Also with blocks that do not divide the pixels: the overlapping rows must count once."""
    monkeypatch.setattr(dense, "BLOCK_ELEMENTS", block)
    x = _counts()
    w, h = _factors(*x.shape)
    m = STORAGES[storage](x)
    model = np.asarray(w, float).T @ np.asarray(h, float)
    positive, negative = m.score_maps(POISSON.split, w, h, None)
    assert negative is None
    np.testing.assert_allclose(positive, h @ (x / model).T, rtol=2e-5)
    positive, _ = m.score_spectra(POISSON.split, w, h, None)
    np.testing.assert_allclose(positive, w @ (x / model), rtol=2e-5)
    safe = np.where(x > 0, x, 1)
    expected = (np.where(x > 0, x * np.log(safe / model), 0) - x + model).sum()
    got = m.divergence(POISSON.divergence, w, h, None)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_weights_multiply_the_scores():
    x = _counts().astype(np.float32)
    v = np.random.default_rng(2).random(x.shape).astype(np.float32)
    w, h = _factors(*x.shape)
    loss = jxu.losses.Beta(1.5)
    model = w.T @ h
    args = (w, h, jnp.asarray(v))
    positive, negative = jxu.Dense(x).score_maps(loss.split, *args)
    np.testing.assert_allclose(positive, h @ (v * x * model**-0.5).T, rtol=1e-4)
    np.testing.assert_allclose(negative, h @ (v * model**0.5).T, rtol=1e-4)
    total = jxu.Dense(x).divergence(loss.measure, *args)
    np.testing.assert_allclose(total, (v * np.asarray(loss.divergence(jnp.asarray(x), model))).sum(), rtol=1e-5)


@settings(deadline=None, max_examples=25)
@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.integers(0, 3)))
def test_counts_keep_every_entry(x):
    np.testing.assert_array_equal(jxu.Counts(x).to_scipy().toarray(), x)


def test_uint8_sums_do_not_overflow():
    x = np.full((300, 200), 255, np.uint8)
    for m in (jxu.Dense(x), jxu.Counts(x)):
        np.testing.assert_allclose(m.pixel_sums, 255 * 200)
        np.testing.assert_allclose(m.squares, 255.0**2 * 200, rtol=1e-6)


def test_auto_goes_by_density_and_kind():
    sparse = _counts(mean=0.02)
    assert isinstance(as_matrix(sparse), jxu.Counts)
    assert isinstance(as_matrix(sparse, "dense"), jxu.Dense)
    assert isinstance(as_matrix(_counts(mean=1.0)), jxu.Dense)
    assert isinstance(as_matrix(_counts(mean=1.0), "counts"), jxu.Counts)
    assert isinstance(as_matrix(sparse * 0.5), jxu.Dense)  # not whole numbers
    assert isinstance(as_matrix(-sparse.astype(int)), jxu.Dense)
    assert isinstance(as_matrix(scipy.sparse.csr_array(sparse)), jxu.Counts)
    matrix = jxu.Dense(sparse)
    assert as_matrix(matrix) is matrix


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3, 4)), "must be .pixels, channels., got 3 dimensions"),
        (np.zeros((0, 4)), "no pixels"),
        (np.zeros((4, 0)), "no channels"),
        (np.array([["a", "b"]]), "real numbers"),
        (np.array([[1, None]], object), "real numbers"),
        (np.ones((2, 2), complex), "real numbers"),
        (np.array([[1.0, np.nan], [0, 1]]), "pixel 0, channel 1"),
        (np.array([[1.0, 2], [-np.inf, 1]]), "pixel 1, channel 0"),
    ],
)
def test_bad_arrays_are_refused_with_their_place(array, message):
    for make in (jxu.Dense, jxu.Counts, as_matrix):
        with pytest.raises(ValueError, match=message):
            make(array)


def test_other_bad_input_is_refused():
    with pytest.raises(ValueError, match="non-negative"):
        jxu.Counts(np.array([[1.0, -2.0]]))
    with pytest.raises(ValueError, match="kind"):
        as_matrix(np.ones((2, 2)), "sparse")
    for rank in (0, 48):
        with pytest.raises(ValueError, match="rank"):
            jxu.Compressed(_counts(), rank, key=jax.random.key(0))
    with pytest.raises(ValueError, match="too large"):
        jxu.Dense(np.full((3, 2), 1e200))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, bool])
def test_large_arrays_are_taken_over_whole_and_unshared(dtype, monkeypatch):
    """The threaded path gives the values of the plain one, and no later change of the user's array reaches them."""
    monkeypatch.setattr("jaxunmix.matrix.sharding.LARGE_BYTES", 0)
    x = np.random.default_rng(0).integers(0, 2, (333, 41)).astype(dtype)
    matrix = jxu.Dense(x)
    expected = x.astype(np.float32)
    x[:] = 1
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix.values, expected)


def test_accurate_sum_beats_float32_order():
    x = np.random.default_rng(0).random(10**6).astype(np.float32)
    exact = x.astype(float).sum()
    assert abs(float(accurate_sum(jnp.asarray(x))) - exact) / exact < 3e-7


@pytest.mark.parametrize("channels", [60, 400])  # by the Gram matrix, and by the range finder
def test_compressed_error_is_the_truncation_error(channels):
    rng = np.random.default_rng(0)
    x = (rng.random((500, 8)) @ rng.random((8, channels)) + 0.05 * rng.random((500, channels))).astype(np.float32)
    c = jxu.Compressed(x, 10, key=jax.random.key(0), power=3)
    s = np.linalg.svd(x.astype(float), compute_uv=False)
    best = np.sqrt((s[10:] ** 2).sum() / (s**2).sum())
    exact = np.asarray(c.coordinates, float).T @ np.asarray(c.directions, float)
    reached = np.linalg.norm(x - exact) / np.linalg.norm(x)
    assert best <= reached < 1.02 * best
    # |X|^2 - |coordinates|^2 is known to the rounding of |X|^2.
    assert abs(float(c.error) ** 2 - reached**2) < 2e-6
    np.testing.assert_allclose(c.directions @ c.directions.T, np.eye(10), atol=1e-5)


@pytest.mark.parametrize("storage", ["dense", "counts"])
def test_leading_svd_equals_lapack(storage):
    rng = np.random.default_rng(0)
    x = rng.poisson(30 * rng.dirichlet(np.ones(4), 400) @ rng.dirichlet(0.1 * np.ones(300), 4))
    u, s, v = leading_svd(STORAGES[storage](x), 4, jax.random.key(0))
    np.testing.assert_allclose(s, np.linalg.svd(x.astype(float), compute_uv=False)[:4], rtol=1e-4)
    np.testing.assert_allclose(u @ u.T, np.eye(4), atol=1e-4)
    np.testing.assert_allclose(v @ v.T, np.eye(4), atol=1e-5)
    assert (np.asarray(v).sum(axis=1) >= 0).all()


def test_compressed_serves_frobenius_only():
    c = jxu.Compressed(_counts(), 5, key=jax.random.key(0))
    with pytest.raises(ValueError, match="Compressed"):
        jxu.Problem(c, POISSON)
    assert eqx.tree_equal(c.full, jxu.Dense(_counts()))
