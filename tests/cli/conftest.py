import jax
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import jaxunmix as jxu
from jaxunmix import cli


@pytest.fixture
def drawn():
    """Asked for by tests that look at figures; for the others they are a dot, as most of a command's time is theirs."""


@pytest.fixture
def run(request, tmp_path, monkeypatch, capsys):
    """Runs the command line in an empty folder; gives (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    if "drawn" not in request.fixturenames:
        dot = Image.new("RGB", (1, 1))
        monkeypatch.setattr(Figure, "savefig", lambda self, file, **_: dot.save(file, format="png"))

    def run(*words):
        code = cli.main([str(word) for word in words])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    """A small image of counts, in a file with its axis."""
    img, _ = jxu.simulate.edx_phases(jax.random.key(0), shape=(8, 10), channels=40)
    path = tmp_path_factory.mktemp("counts") / "map.npz"
    np.savez(path, cube=img.data.values.astype(np.uint8), energy_keV=img.data.energy.values)
    return path


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    rng = np.random.default_rng(0)
    cube = rng.random((6, 5, 12)) + 0.1
    cube[2, 3, 7] = -0.5
    path = tmp_path_factory.mktemp("signed") / "signed.npy"
    np.save(path, cube)
    return path


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    """An image with masks: some pixels, and none."""
    path = tmp_path_factory.mktemp("masked") / "masked.npz"
    rng = np.random.default_rng(0)
    keep = np.arange(30).reshape(5, 6) > 3
    np.savez(path, cube=rng.random((5, 6, 8)), some=keep, none=np.zeros((5, 6), bool))
    return path
