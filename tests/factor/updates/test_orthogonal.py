"""Orthogonal maps: the exact step, the published multiplier, the penalty, the start, and what they are good for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.cluster import KMeans

import jaxunmix as jxu
from jaxunmix.factor.model import Bilinear
from jaxunmix.factor.solve import loop

KEY = jax.random.key(0)
STRICT = (jxu.constraints.NonNegative("maps"), jxu.constraints.Orthogonal("maps"))


def _multiplier(weight=1.0):
    return (jxu.constraints.NonNegative("maps"), jxu.constraints.Orthogonal("maps", weight=weight, strict=False))


def _signed(pixels=60, channels=15, rank=3, noise=0.3, seed=0):
    """Each pixel belongs to one of a few signed spectra, with a size of its own."""
    rng = np.random.default_rng(seed)
    labels = np.arange(pixels) % rank
    x = rng.uniform(0.5, 2, (pixels, 1)) * rng.normal(size=(rank, channels))[labels]
    return x + noise * rng.normal(size=x.shape), labels


def _step(problem, factors, update=None):
    return (update or jxu.updates.HALS()).step(problem, factors, None)[0]


def _cosines(maps):
    unit = maps / np.linalg.norm(maps, axis=0)
    return (unit.T @ unit)[~np.eye(maps.shape[1], dtype=bool)]


def test_strict_step_is_the_exact_minimum_over_orthogonal_maps():
    """Against all choices of one component per pixel, each with its non-negative least-squares map."""
    with jax.enable_x64():
        x, _ = _signed()
        s = np.random.default_rng(1).normal(size=(3, 15))
        s[2] = 0  # a component that vanished is never chosen
        problem = jxu.Problem(x, constraints=STRICT)
        moved = _step(problem, Bilinear(jnp.ones((3, 60)), jnp.asarray(s)))
        along = np.maximum(x @ s[:2].T, 0) / (s[:2] ** 2).sum(axis=1)
        left = ((x[:, None] - along[..., None] * s[:2]) ** 2).sum(axis=2)
        best = left.argmin(axis=1)
        expected = np.zeros((60, 3))
        expected[np.arange(60), best] = along[np.arange(60), best]
        np.testing.assert_allclose(moved.maps, expected, atol=1e-10)


@pytest.mark.parametrize("basis", [False, True])
@pytest.mark.parametrize(
    "penalties",
    [(), (jxu.penalties.L1("maps", 0.1),), (jxu.penalties.Laplacian("maps", 0.3, (6, 10)),)],
    ids=["none", "L1", "Laplacian"],
)
def test_strict_steps_descend_and_stay_orthogonal(penalties, basis):
    with jax.enable_x64():
        x, _ = _signed()
        b = np.random.default_rng(2).normal(size=(15, 15)) if basis else None
        problem = jxu.Problem(x, basis=b, penalties=penalties, constraints=STRICT)
        fit = jxu.fit(problem, 3, restarts=3, key=KEY, max_steps=25, rtol=0, check_every=1)
        trace = fit.restarts.trace
        assert np.all(np.diff(trace, axis=1) <= 1e-12 * np.abs(trace[:, :-1]))
        assert np.abs(_cosines(fit.maps)).max() == 0
        assert np.all(np.count_nonzero(fit.maps, axis=1) <= 1)


def test_multiplier_of_kimura():
    """One sweep of the maps against the equation of the constraint's docstring, in numpy."""
    with jax.enable_x64():
        rng = np.random.default_rng(3)
        x, _ = _signed()
        w, s = rng.random((60, 3)), rng.normal(size=(3, 15))
        problem = jxu.Problem(x, constraints=(*_multiplier(0.7), jxu.constraints.Fixed("spectra")))
        moved = _step(problem, Bilinear(jnp.asarray(w.T), jnp.asarray(s)))
        size = np.linalg.norm(s, axis=1)
        for k in range(3):
            others = [j for j in range(3) if j != k]
            r = (x - w[:, others] @ s[others]) @ s[k]
            u = w[:, others] @ size[others]
            w[:, k] = np.maximum(r - 0.7 * (r @ u) / (u @ u) * u, 0) / size[k] ** 2
        np.testing.assert_allclose(moved.maps, w, atol=1e-10)


def test_multiplier_of_weight_one_makes_a_row_orthogonal_before_it_is_clipped():
    with jax.enable_x64():
        rng = np.random.default_rng(3)
        x, _ = _signed(rank=2)
        s = rng.normal(size=(2, 15))
        maps = jnp.asarray(rng.random((2, 60)))
        constraints = (*_multiplier(), jxu.constraints.Fixed("spectra"))
        signed = jxu.Problem(x, constraints=constraints)
        moved = _step(signed, Bilinear(maps, jnp.asarray(s))).maps
        kept = np.asarray(moved[:, 0]) > 0
        r = (x - np.outer(maps[1], s[1])) @ s[0]
        u = np.asarray(maps[1]) * np.linalg.norm(s[1])
        row = r - (r @ u) / (u @ u) * u
        assert abs(row @ u) < 1e-8 * np.linalg.norm(row) * np.linalg.norm(u)
        np.testing.assert_allclose(moved[kept, 0], row[kept] / (s[0] @ s[0]), rtol=1e-9)


def test_multiplier_of_weight_zero_is_plain_hals():
    x, _ = _signed()
    given = jxu.initial.Given(np.random.default_rng(0).random((60, 3)), np.random.default_rng(1).normal(size=(3, 15)))
    fits = [
        jxu.fit(jxu.Problem(x, constraints=c), 3, init=given, max_steps=20, rtol=0)
        for c in (_multiplier(0.0), STRICT[:1])
    ]
    np.testing.assert_allclose(fits[0].maps, fits[1].maps, atol=1e-4)


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_the_partition_does_not_depend_on_the_scale(scale):
    x, _ = _signed()
    one, other = (
        jxu.fit(jxu.Problem(f * x, constraints=STRICT), 3, restarts=2, key=KEY).maps.argmax(axis=1) for f in (1, scale)
    )
    np.testing.assert_array_equal(one, other)


def test_overlap_penalty_is_the_sum_over_pairs():
    """weight * sum_{j<k} |s_j| |s_k| <w_j, w_k> under Frobenius, as the docstring converts it."""
    with jax.enable_x64():
        rng = np.random.default_rng(0)
        x, w, s = rng.random((60, 15)), rng.random((60, 3)), rng.random((3, 15))
        problem = jxu.Problem(x, penalties=(jxu.penalties.SoftOrthogonality("maps", 0.4),))
        size = np.linalg.norm(s, axis=1)
        expected = 0.4 * sum(size[j] * size[k] * (w[:, j] @ w[:, k]) for j in range(3) for k in range(j))
        np.testing.assert_allclose(problem.penalty(Bilinear(jnp.asarray(w.T), jnp.asarray(s))), expected, rtol=1e-12)


def test_overlap_penalty_of_weight_one_parts_the_maps():
    rng = np.random.default_rng(0)
    x = rng.dirichlet(np.full(3, 0.5), 500) @ (rng.random((3, 40)) + 0.1)
    found = {}
    for weight in (0.0, 0.02, 1.0):
        problem = jxu.Problem(x, penalties=(jxu.penalties.SoftOrthogonality("maps", weight),))
        fit = jxu.fit(problem, 3, restarts=3, key=KEY, max_steps=300)
        found[weight] = _cosines(fit.maps).max()
    assert found[1.0] < 0.05 < found[0.02] < found[0.0]


def test_size_does_not_split_a_domain_where_k_means_does():
    """The first advantage over k-means: a domain whose signal varies in size stays one domain."""
    rng = np.random.default_rng(0)
    spectra, labels = rng.normal(size=(3, 40)), np.repeat([0, 1, 2], [300, 200, 200])
    size = np.where(labels == 0, np.linspace(0.3, 9, 700), 1.0)
    x = size[:, None] * spectra[labels] + 0.1 * rng.normal(size=(700, 40))
    maps = np.asarray(jxu.fit(jxu.Problem(x, constraints=STRICT), 3, restarts=3, key=KEY).maps)
    clusters = KMeans(3, n_init=10, random_state=0).fit_predict(x)

    def purest(partition):
        """The share of each domain's pixels in its largest part."""
        return min(np.bincount(partition[labels == k]).max() / (labels == k).sum() for k in range(3))

    def mixed(partition):
        return any(len(set(labels[partition == part])) > 1 for part in set(partition))

    assert purest(maps.argmax(axis=1)) > 0.99
    assert not mixed(maps.argmax(axis=1))
    assert purest(clusters) < 0.9 or mixed(clusters)


def test_overlapping_domains_show_in_both_maps_where_k_means_makes_a_domain_of_their_own():
    """The second advantage: pixels of two domains are recognised as such by softly orthogonal maps."""
    rng = np.random.default_rng(1)
    spectra = rng.random((2, 40))
    truth = np.repeat([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]], 200, axis=0)
    x = truth @ spectra + 0.02 * rng.normal(size=(600, 40))
    penalty = jxu.penalties.SoftOrthogonality("maps", 0.02)
    problem = jxu.Problem(x, penalties=(penalty,), constraints=STRICT[:1])
    fit = jxu.fit(problem, 2, init=jxu.initial.VCA(), restarts=5, key=KEY, max_steps=500)
    order = jxu.metrics.match(fit.spectra, spectra)
    maps = order.reorder(fit.maps, axis=1)
    maps = maps / maps[:400].max(axis=0)
    overlap, apart = maps[400:], maps[:400]
    assert np.all(np.median(overlap, axis=0) > 0.3)
    assert np.median(apart.min(axis=1)) < 0.05
    clusters = KMeans(3, n_init=10, random_state=0).fit_predict(x)
    assert len(set(clusters[400:])) == 1
    assert not set(clusters[400:]) & set(clusters[:400])


@pytest.mark.parametrize(
    "update",
    [jxu.updates.Multiplicative(), jxu.updates.ALS(), jxu.updates.ProjectedGradient()],
    ids=lambda u: str(u)[:8],
)
def test_other_updates_refuse(update):
    constraints = (*STRICT, jxu.constraints.NonNegative("spectra"))
    with pytest.raises(ValueError, match=r"use HALS|use updates.HALS"):
        update.check(jxu.Problem(np.abs(_signed()[0]), constraints=constraints))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jxu.constraints.Orthogonal("spectra"), 'only the "maps"'),
        (lambda: jxu.constraints.Orthogonal("maps", weight=1.5, strict=False), "0..1"),
        (lambda: jxu.constraints.Orthogonal("maps", weight=0.5), "strict=False"),
        (lambda: jxu.Problem(_signed()[0], constraints=STRICT[1:]), 'needs NonNegative\\("maps"\\)'),
        (lambda: jxu.Problem(_signed()[0], constraints=(*STRICT, jxu.constraints.Fixed("maps"))), "leave one"),
        (lambda: jxu.initial.Clusters(oversample=0), "1 or more"),
    ],
)
def test_bad_constraints_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("rank", [1, *(pytest.param(rank, marks=pytest.mark.slow) for rank in (2, 5)), 9])
def test_joined_clusters_find_every_domain_from_a_single_start(rank):
    """Well apart, and of very different sizes; single seeds, without the joining, miss some in most draws."""
    rng = np.random.default_rng(rank)
    labels = rng.choice(rank, 3000, p=np.arange(1, rank + 1) / np.arange(1, rank + 1).sum())
    x = (rng.normal(size=(rank, 50))[labels] + 0.3 * rng.normal(size=(3000, 50))).astype(np.float32)
    problem = jxu.Problem(x, constraints=STRICT)
    run = loop.start(problem, jxu.updates.HALS(), jxu.initial.Clusters(), rank, jax.random.split(KEY, 8))
    for maps in np.asarray(run.factors.maps_t):
        part = maps.argmax(axis=0)
        assert len(set(part)) == rank
        assert all(np.bincount(part[labels == k]).max() > 0.98 * (labels == k).sum() for k in range(rank))


def test_clusters_of_fewer_pixels_than_seeds():
    x, _ = _signed(pixels=6)
    assert jxu.fit(jxu.Problem(x, constraints=STRICT), 3, key=KEY).maps.shape == (6, 3)


def test_orthogonal_is_the_oracle_on_battery_domains():
    """At 5.62 dB every domain is found as well as with the true spectra known."""
    img, truth = jxu.simulate.battery_xas(jax.random.key(2), shape=(60, 60), domains=5)
    x = jxu.preprocess.subtract_reference(img, truth.reference).matrix()
    fit = jxu.fit(jxu.Problem(x, constraints=STRICT), 5, restarts=3, key=KEY)
    table = jxu.metrics.cross_correlation(fit.maps, truth.maps)
    oracle = jxu.metrics.correlation(truth.oracle(img.data.values.reshape(-1, 100)), truth.maps)
    assert np.all(table.max(axis=0) > np.minimum(0.95, oracle - 0.02))
    assert sorted(table.argmax(axis=0)) == list(range(5))
