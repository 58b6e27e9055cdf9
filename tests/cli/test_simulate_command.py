import numpy as np
import pytest

import jaxunmix as jxu
from jaxunmix.cli.simulate import SIMULATIONS
from jaxunmix.data import io


@pytest.mark.parametrize("kind", SIMULATIONS)
def test_simulate_writes_image_and_truth(run, tmp_path, kind):
    # A coarser detector does not resolve the spots of the sheets.
    channels = 52 if kind == "nanosheets" else 16
    code, out, err = run("simulate", kind, "--out", "image.npz", "--size", 12, "--channels", channels, "--seed", 3)
    assert (code, err) == (0, "")
    assert "image-truth.nc" in out
    img, truth = jxu.load(tmp_path / "image.npz"), io.load_dataset(tmp_path / "image-truth.nc")
    assert truth["maps"].shape[1:] + truth["spectra"].shape[1:] == img.data.shape
    assert all(isinstance(name, str) for name in truth["component"].values.tolist())
    assert ("reference" in truth) == (kind == "battery-xas")


def test_simulate_repeats_by_its_seed(run):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run("simulate", "line-scan", "--out", f"{name}.npz", "--size", 9, "--counts", 50, "--seed", seed)
    a, b, c = (jxu.load(f"{name}.npz").data.values for name in "abc")
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
