import warnings

import jax
import numpy as np
import pytest
import scipy.sparse
import sklearn.decomposition
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import jaxunmix as jxu
from jaxunmix.sklearn import NMF

SAMPLES, FEATURES, RANK = 60, 30, 3
LOSSES = ("frobenius", "kullback-leibler")


def mixture(seed=0, noise=0.02):
    rng = np.random.default_rng(seed)
    maps = rng.dirichlet(np.full(RANK, 0.3), SAMPLES)
    spectra = rng.gamma(0.5, 1.0, (RANK, FEATURES))
    return maps @ spectra + noise * rng.random((SAMPLES, FEATURES)), maps, spectra


X, MAPS, SPECTRA = mixture()
COUNTS = np.random.default_rng(1).poisson(20 * MAPS @ SPECTRA).astype(float)


@pytest.mark.slow
@parametrize_with_checks([NMF()])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:SCIPY_ARRAY_API is not set")
def test_estimator_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    ("init", "loss"),
    [("random", "frobenius"), ("nndsvd", "frobenius"), ("vca", "frobenius"), ("nndsvd", "kullback-leibler")],
)
def test_recovers_the_components(init, loss):
    model = NMF(RANK, init=init, beta_loss=loss, random_state=0, max_iter=3000)
    maps = model.fit_transform(X)
    assert maps.shape == (SAMPLES, RANK)
    assert model.components_.shape == (RANK, FEATURES)
    matched = jxu.metrics.match(model.components_, SPECTRA)
    assert np.max(jxu.metrics.spectral_angle(model.components_[matched.order], SPECTRA)) < 5
    np.testing.assert_allclose(model.inverse_transform(maps), X, atol=0.05)


@pytest.mark.parametrize(("loss", "solver"), [("frobenius", "cd"), ("frobenius", "mu"), ("kullback-leibler", "mu")])
def test_same_objective_as_scikit_learn(loss, solver):
    rng = np.random.default_rng(1)
    W, H = rng.uniform(0.1, 1, (SAMPLES, RANK)), rng.uniform(0.1, 1, (RANK, FEATURES))
    settings = {"init": "custom", "beta_loss": loss, "solver": solver, "max_iter": 5000, "tol": 1e-8}
    theirs = sklearn.decomposition.NMF(RANK, **settings)
    ours = NMF(RANK, **settings)
    theirs.fit_transform(COUNTS, W=W.copy(), H=H.copy())
    ours.fit_transform(COUNTS, W=W, H=H)
    rtol = 1e-5 if jax.config.jax_enable_x64 else 1e-3
    np.testing.assert_allclose(ours.reconstruction_err_**2, theirs.reconstruction_err_**2, rtol=rtol)


@pytest.mark.parametrize("beta", [0.0, 1.5, 2.0])
def test_reconstruction_error_is_scikit_learns(beta):
    model = NMF(RANK, beta_loss=beta, random_state=0, max_iter=20, tol=0)
    maps = model.fit_transform(COUNTS + 1)
    expected = sklearn.decomposition._nmf._beta_divergence(COUNTS + 1, maps, model.components_, beta, square_root=True)
    assert model.reconstruction_err_ == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", LOSSES)
def test_fit_transform_is_transform(loss, dtype):
    model = NMF(RANK, beta_loss=loss, tol=1e-5, random_state=0)
    data = COUNTS.astype(dtype)
    maps = model.fit_transform(data)
    np.testing.assert_array_equal(maps, model.transform(data))
    assert maps.dtype == model.components_.dtype == model.inverse_transform(maps).dtype == dtype
    halves = np.concatenate([model.transform(data[:30]), model.transform(data[30:])])
    np.testing.assert_allclose(halves, maps, atol=1e-2 * maps.max())


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("container", [scipy.sparse.csr_array, scipy.sparse.csc_matrix])
def test_sparse_counts_are_as_dense_ones(container, loss):
    counts = np.random.default_rng(0).poisson(0.5 * MAPS @ SPECTRA).astype(float)
    model = NMF(RANK, beta_loss=loss, random_state=0, tol=1e-5, init="random")
    dense = clone(model).fit_transform(counts)
    sparse = model.fit_transform(container(counts))
    assert "Counts" in model.solution_.info["matrix"]
    np.testing.assert_allclose(sparse, dense, atol=2e-2 * dense.max())


def test_sparse_data_serve_every_beta():
    model = NMF(RANK, beta_loss=1.5, random_state=0, max_iter=20, tol=0)
    expected = clone(model).fit_transform(COUNTS)
    np.testing.assert_array_equal(model.fit_transform(scipy.sparse.csr_array(COUNTS)), expected)


def test_empty_samples_have_empty_maps():
    data = X.copy()
    data[7] = 0
    model = NMF(RANK, tol=1e-3)
    assert not model.fit_transform(data)[7].any()
    np.testing.assert_array_equal(model.transform(np.zeros((2, FEATURES))), np.zeros((2, RANK)))


def test_restarts_keep_the_best():
    model = NMF(RANK, n_init=4, random_state=3, tol=1e-5).fit(X)
    assert model.solution_.restarts.objective.shape == (4,)
    least = float(model.solution_.restarts.objective.min())
    assert float(model.solution_.objective) == pytest.approx(least, rel=1e-5)
    np.testing.assert_array_equal(clone(model).fit(X).components_, model.components_)


def test_auto_rank():
    assert NMF(tol=1e-2).fit(X[:4]).n_components_ == 4
    assert NMF(None, tol=1e-2).fit(X[:4]).n_components_ == 4
    custom = NMF(init="custom", tol=1e-2, random_state=0)
    assert custom.fit(X, H=SPECTRA).n_components_ == RANK
    assert custom.fit(X, W=MAPS.tolist()).n_components_ == RANK


def test_updates_and_starts_of_the_package():
    update = jxu.updates.HALS(sweeps=3)
    model = NMF(RANK, solver=update, init=jxu.initial.VCA(), random_state=0)
    assert clone(model).fit(X).solution_.info["initial"] == "VCA"


def test_names_and_frames():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=[f"E{i}" for i in range(FEATURES)])
    model = NMF(RANK, tol=1e-3).set_output(transform="pandas")
    out = model.fit_transform(frame)
    assert list(out.columns) == ["nmf0", "nmf1", "nmf2"]
    assert list(model.feature_names_in_) == list(frame.columns)
    assert model.n_features_in_ == FEATURES


def test_in_a_pipeline():
    pipe = make_pipeline(MaxAbsScaler(), NMF(RANK, tol=1e-3))
    np.testing.assert_allclose(pipe.fit_transform(X), pipe.transform(X), atol=1e-6)


def test_warns_when_it_has_not_converged():
    with pytest.warns(ConvergenceWarning, match="Maximum number of iterations 2 reached"):
        NMF(RANK, max_iter=2).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        NMF(RANK, max_iter=2, tol=0).fit(X)


@pytest.mark.parametrize(
    ("settings", "given", "message"),
    [
        ({"n_components": 0}, {}, "n_components must be"),
        ({"n_components": 31}, {}, "rank must lie in 1..30"),
        ({"n_components": 2.5}, {}, "n_components must be"),
        ({"init": "svd"}, {}, "init must be one of"),
        ({"init": "custom"}, {}, "give maps, spectra"),
        ({"init": "custom", "n_components": 2}, {"H": SPECTRA}, "Given: spectra must be"),
        ({"init": "custom"}, {"H": -SPECTRA}, "negative values"),
        ({"init": "random"}, {"H": SPECTRA}, 'init="custom"'),
        ({"solver": "newton"}, {}, "solver must be one of"),
        ({"solver": "cd", "beta_loss": 1}, {}, "HALS solves Frobenius"),
        ({"beta_loss": "huber"}, {}, "beta_loss must be"),
        ({"beta_loss": True}, {}, "beta_loss must be"),
        ({"max_iter": 0}, {}, "max_iter must be"),
        ({"n_init": 1.5}, {}, "n_init must be"),
        ({"n_init": 2, "init": "nndsvd"}, {}, "no randomness"),
        ({"tol": -1}, {}, "tol must be"),
        ({"tol": "tight"}, {}, "tol must be"),
    ],
)
def test_wrong_parameters(settings, given, message):
    with pytest.raises(ValueError, match=message):
        NMF(**settings).fit(X, **given)


def test_wrong_data():
    with pytest.raises(ValueError, match="Negative values"):
        NMF(RANK).fit(-X)
    with pytest.raises(ValueError, match="zero everywhere"):
        NMF(RANK).fit(np.zeros_like(X))
    with pytest.raises(ValueError, match="some entries are 0"):
        NMF(RANK, beta_loss="itakura-saito").fit(np.eye(5))


class TestHyperSpy:
    """`decomposition(algorithm=...)` hands over (pixels, channels) and reads `components_`."""

    @pytest.fixture
    def signal(self, hs):
        return hs.signals.Signal1D(X.copy().reshape(6, 10, FEATURES))

    @pytest.mark.filterwarnings("ignore")
    def test_factors_and_loadings(self, signal):
        model = NMF(RANK, max_iter=2000)
        signal.decomposition(algorithm=model, print_info=False)
        results = signal.learning_results
        assert results.factors.shape == (FEATURES, RANK)
        assert results.loadings.shape == (SAMPLES, RANK)
        np.testing.assert_allclose(results.loadings @ results.factors.T, X, atol=0.05)
        matched = jxu.metrics.match(results.factors.T, SPECTRA)
        assert np.max(jxu.metrics.spectral_angle(results.factors.T[matched.order], SPECTRA)) < 5
        np.testing.assert_allclose(signal.get_decomposition_model(RANK).data, signal.data, atol=0.05)

    @pytest.mark.filterwarnings("ignore")
    def test_masks(self, signal):
        signal.data[2, 3] = 1e6
        signal.data[..., 4] = -1
        # HyperSpy masks exclude what is True, and navigation masks are in its order of axes, (x, y).
        pixels, channels = np.zeros((10, 6), bool), np.zeros(FEATURES, bool)
        pixels[3, 2] = channels[4] = True
        model = NMF(RANK, max_iter=2000)
        signal.decomposition(algorithm=model, print_info=False, navigation_mask=pixels, signal_mask=channels)
        results = signal.learning_results
        assert model.n_features_in_ == FEATURES - 1
        assert np.isnan(results.loadings[23]).all()
        assert np.isnan(results.factors[4]).all()
        seen, used = np.arange(SAMPLES) != 23, ~channels
        model_data = results.loadings[seen] @ results.factors[used].T
        np.testing.assert_allclose(model_data, X[seen][:, used], atol=0.05)

    @pytest.mark.filterwarnings("ignore")
    def test_poisson_noise_is_normalised_and_loadings_reprojected(self, hs):
        signal = hs.signals.Signal1D(COUNTS.copy().reshape(6, 10, FEATURES))
        signal.decomposition(
            algorithm=NMF(RANK), print_info=False, normalize_poissonian_noise=True, reproject="navigation"
        )
        results = signal.learning_results
        matched = jxu.metrics.match(results.factors.T, SPECTRA)
        assert np.max(jxu.metrics.spectral_angle(results.factors.T[matched.order], SPECTRA)) < 10


def test_double_precision_where_jax_allows():
    model = NMF(RANK, random_state=0, tol=1e-9, max_iter=5000)
    if jax.config.jax_enable_x64:
        maps = model.fit_transform(X)
        np.testing.assert_allclose(model.transform(X[::-1])[::-1], maps, rtol=1e-7, atol=1e-9)
    else:
        assert model.fit(X).solution_.maps.dtype == np.float32
