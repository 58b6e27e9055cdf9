"""Beside espm, on the same arrays: the same updates in the same order give the same objective."""

import importlib.util
import warnings

import jax
import numpy as np
import pytest
from scipy.special import kl_div

import jaxunmix as jxu
from jaxunmix.physics.xray import EmissionModel
from jaxunmix.simulate.edx import MANTLE_ELEMENTS

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("espm") is None, reason="espm is not installed: pip install -e '.[peers]'"
)
NON_NEGATIVE = (jxu.constraints.NonNegative("maps"), jxu.constraints.NonNegative("coefficients"))


def _scene():
    """Counts, basis and a start: 16 x 16 pixels of the mantle minerals, 400 channels."""
    img, _ = jxu.simulate.mantle_minerals(jax.random.key(0), 60, (16, 16), 400)
    basis = np.asarray(EmissionModel(MANTLE_ELEMENTS[:8], np.asarray(img.data.energy)).basis(None), float)
    rng = np.random.default_rng(0)
    return (
        np.asarray(img.data, float).reshape(256, 400),
        basis,
        rng.dirichlet(np.ones(3), 256),
        rng.random((3, len(basis))),
    )


def _peer(x, basis, maps, coefficients, steps, **options):
    """Maps and coefficients of espm, which has all matrices transposed and calls them H and W."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from espm.estimators import SmoothNMF

        model = SmoothNMF(
            n_components=3,
            init="custom",
            max_iter=steps,
            tol=0,
            no_stop_criterion=True,
            verbose=0,
            G=basis.T,
            **{"simplex_W": False, "simplex_H": False, **options},
        )
        model.fit_transform(x.T.astype(float), W=coefficients.T.copy(), H=maps.T.copy())
    return model.H_.T, model.W_.T


@pytest.mark.parametrize("steps", [1, 50])
@pytest.mark.parametrize(
    ("simplex", "options", "rtol"),
    [
        ((), {}, 1e-12),
        ((jxu.constraints.Simplex("maps"),), {"simplex_H": True}, 1e-6),
        # Its sums of coefficients are only within 1e-5 of one.
        ((jxu.constraints.Simplex("coefficients"),), {"simplex_W": True}, 1e-5),
    ],
)
def test_objective_equals_that_of_espm(simplex, options, rtol, steps):
    """Acceptance: 1e-4 relative after the same number of iterations."""
    x, basis, maps, coefficients = _scene()
    if options.get("simplex_H"):
        coefficients = 50 * coefficients
    else:
        maps, coefficients = 60 * maps, coefficients / coefficients.sum(axis=1, keepdims=True)
    with jax.enable_x64():
        problem = jxu.Problem(x, jxu.losses.Poisson(), basis, constraints=(*NON_NEGATIVE, *simplex))
        start = jxu.initial.Given(maps, coefficients=coefficients)
        fit = jxu.fit(problem, 3, init=start, max_steps=steps, rtol=0, check_every=steps)
    peer_maps, peer_coefficients = _peer(x, basis, maps, coefficients, steps, **options)
    theirs = kl_div(x, peer_maps @ peer_coefficients @ basis).sum()
    model = np.asarray(fit.maps) @ np.asarray(fit.spectra)
    np.testing.assert_allclose(kl_div(x, model).sum(), theirs, rtol=rtol)
    np.testing.assert_allclose(fit.objective, theirs, rtol=rtol)
