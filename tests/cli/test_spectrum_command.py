import jax
import numpy as np
import pytest
import xarray as xr

import jaxunmix as jxu
from jaxunmix.bayes.spectrum import decompose
from jaxunmix.bayes.spectrum.result import Exchange


@pytest.mark.slow
@pytest.mark.usefixtures("drawn")
def test_spectrum_writes_table_posterior_and_figures(run, tmp_path, monkeypatch):
    energy, intensity, truth = jxu.simulate.edge_spectrum(jax.random.key(3), peaks=0, noise=0.02, channels=60)
    np.savetxt(tmp_path / "edge.csv", np.stack([energy, intensity], 1), delimiter=",", header="energy,mu", comments="")

    # The exchange itself takes minutes, see tests/bayes/spectrum/test_decompose.py.
    def exchanged(fits, densities, explorers, results, key, sweeps):
        assert all(results.values())
        of_rungs = np.zeros(3), np.zeros(3), sweeps // 10, np.zeros(2)
        return Exchange(*of_rungs, -12.3, 0.21, -12.1, warnings=())

    monkeypatch.setattr(decompose, "_exchanged", exchanged)
    options = "--peaks", "0:1", "--edge", "arctangent", "--exchange", "300"
    code, out, _ = run("spectrum", "edge.csv", *options, "--out", "found")
    assert code == 0
    assert "white line" in out
    assert "replica exchange: free energy -12.30 +- 0.21, by the particles -12.10; 30 round trips" in out
    table = xr.load_dataset(tmp_path / "found" / "spectrum.nc")
    posterior = xr.load_dataset(tmp_path / "found" / "posterior.nc")
    assert list(table["peaks"].values) == [0, 1]
    low, high = posterior["E_WL"].quantile([0.005, 0.995])
    assert low < float(truth["E_WL"]) < high
    assert (tmp_path / "found" / "spectrum.png").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [(("--peaks", "3:1"), "1:3"), (("--peaks", "all"), "whole numbers"), (("--noise", "0.1", "--poisson"), "leave it")],
)
def test_spectrum_refuses_options_that_make_no_sense(run, tmp_path, options, message):
    energy, intensity, _ = jxu.simulate.edge_spectrum(jax.random.key(3), peaks=0, noise=0.02, channels=40)
    np.savetxt(tmp_path / "edge.csv", np.stack([energy, intensity], 1), delimiter=",", header="energy,mu", comments="")
    code, _, err = run("spectrum", "edge.csv", *options)
    assert code == 2
    assert message in err
