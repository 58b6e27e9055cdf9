import re
from itertools import count

import jax
import numpy as np
import pytest

import jaxunmix as jxu
from jaxunmix.data import io
from jaxunmix.factor.solve.checkpoint import Ledger
from jaxunmix.simulate import components as parts

SMALL = ["--restarts", "2", "--max-steps", "20", "--quiet"]


@pytest.mark.usefixtures("drawn")
def test_unmix_writes_result_figures_and_page(run, counts, tmp_path):
    code, out, err = run("unmix", counts, "-k", 2, "--loss", "poisson", *SMALL)
    assert (code, err) == (0, "")
    folder = tmp_path / "map-unmixed"
    written = {"result.nc", "maps.png", "spectra.png", "residuals.png", "convergence.png", "report.html"}
    assert {p.name for p in folder.iterdir()} == written
    result = io.load_dataset(folder / "result.nc")
    assert result["maps"].shape == (2, 8, 10)
    assert result["spectra"].energy.attrs["units"] == "keV"
    assert result.attrs["loss"] == "Poisson"
    lines = out.splitlines()
    assert lines[0].startswith("2 components of 80 pixels x 40 channels, Poisson by Multiplicative: ")
    assert lines[-1].endswith("report.html")
    page = (folder / "report.html").read_text()
    assert "jaxunmix unmix" in page
    assert "--loss poisson" in page


def test_result_is_the_library_s(run, counts):
    run("unmix", counts, "-k", 2, "--seed", 7, "--out", "here", *SMALL)
    problem = jxu.Problem(jxu.load(counts).matrix())
    expected = jxu.fit(problem, rank=2, restarts=2, max_steps=20, key=jax.random.key(7))
    np.testing.assert_allclose(jxu.Solution.load("here/result.nc").spectra, expected.spectra, rtol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        ["--update", "hals", "--init", "nndsvd"],
        ["--update", "multiplicative", "--init", "vca", "--restarts", "2"],
        ["--update", "als", "--normalise", "sum"],
        ["--update", "gradient", "--normalise", "max"],
        ["--update", "mals", "--init", "clusters"],
        ["--orthogonal"],
        ["--normalise", "poisson"],
        ["--compress", "6"],
        ["--crop", "energy=0.4:8", "--crop", "y=0:6", "--bin", "x=2", "--scale", "0.5"],
        ["--loss", "itakura-saito", "--bin", "energy=40", "--bin", "x=2", "-k", "1"],
    ],
)
def test_options_are_taken(run, counts, options):
    code, out, err = run("unmix", counts, "-k", 2, "--max-steps", 10, "--quiet", *options)
    assert (code, err) == (0, "")
    assert "components of" in out


def test_counts_without_a_loss_get_a_hint_and_nothing_silent(run, counts):
    code, out, err = run("unmix", counts, "-k", 2, "--restarts", 1, "--max-steps", 10)
    assert code == 0
    assert "hint" in err
    assert "--loss poisson" in err
    assert "Frobenius by HALS" in out


def test_several_arrays_are_listed(run, tmp_path):
    np.savez(tmp_path / "two.npz", a=np.ones((2, 3, 4), np.float32), b=np.ones((2, 3, 5)))
    code, out, err = run("unmix", tmp_path / "two.npz")
    assert (code, out) == (2, "")
    assert re.search(r"a +\(2, 3, 4\) +float32", err)
    assert re.search(r"b +\(2, 3, 5\) +float64", err)
    assert "--array" in err
    assert run("unmix", tmp_path / "two.npz", "--array", "b", "-k", 1, *SMALL)[0] == 0


def test_negative_values_under_poisson_name_place_and_remedy(run, signed, tmp_path):
    code, _, err = run("unmix", signed, "--loss", "poisson", *SMALL)
    assert code == 2
    assert "--clip-negative" in err
    assert "y=2, x=3, energy=7" in err
    assert not (tmp_path / "signed-unmixed").exists()
    code, _, err = run("unmix", signed, "-k", 2, "--loss", "poisson", "--clip-negative", "--max-steps", 5)
    assert code == 0
    assert "1 negative values set to 0" in err


def test_steps_are_on_record(run, signed):
    run("unmix", signed, "-k", 2, "--clip-negative", "--crop", "y=0:4", *SMALL)
    provenance = io.load_dataset("signed-unmixed/result.nc").attrs["provenance"]
    assert [name for name in ("load", "crop", "clip_negative") if f'"{name}"' in provenance] == [
        "load",
        "crop",
        "clip_negative",
    ]


def test_interrupt_writes_the_best_iterate_and_exits_130(run, counts, monkeypatch):
    record, calls = Ledger.record, count()

    def interrupted(self, run):
        record(self, run)
        if next(calls) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Ledger, "record", interrupted)
    code, out, _ = run("unmix", counts, "-k", 2, "--restarts", 1, "--rtol", 0, "--quiet")
    assert code == 130
    assert "interrupted after 20 steps" in out
    assert jxu.Solution.load("map-unmixed/result.nc").status is jxu.Status.INTERRUPTED


@pytest.mark.slow
def test_auto_says_how_many_and_what_the_counts_do_not_resolve(run, tmp_path):
    """Acceptance: four phases at 20 counts a pixel: fewer are resolved, and the page says so."""
    fields = parts.smooth_fields(jax.random.key(0), (24, 24), 4, 3.0)
    spectra = parts.phase_spectra(np.linspace(0.15, 8, 120), {**parts.PHASES, "lime": {"O": 3.0, "Ca": 1.0}})
    x = np.random.default_rng(0).poisson(20 * parts.domain_fractions(fields, 4.0) @ spectra)
    np.save(tmp_path / "few.npy", x.astype(np.float32))
    code, out, err = run("unmix", tmp_path / "few.npy", "-k", "auto", "--loss", "poisson", "--restarts", 1, "--quiet")
    assert (code, err) == (0, "")
    rank = int(out.split()[0])
    assert 1 <= rank < 4
    page = (tmp_path / "few-unmixed" / "report.html").read_text()
    assert f"relevance determination resolves {rank} with so much noise" in page


@pytest.mark.usefixtures("drawn")
def test_auto_starts_from_many_and_keeps_few(run, tmp_path):
    img, _ = jxu.simulate.silicon_diode(jax.random.key(0), (24, 24))
    np.save(tmp_path / "diode.npy", img.data.values)
    code, out, err = run("unmix", tmp_path / "diode.npy", "-k", "auto", "--restarts", 1, "--quiet")
    assert (code, err) == (0, "")
    assert out.startswith("3 components of 576 pixels")
    assert "3 by relevance" in out
    assert "by BiCrossValidation: held-out residual" in out
    result = io.load_dataset(tmp_path / "diode-unmixed" / "result.nc")
    assert result["relevance"].shape == (3,)
    assert result["relevance_trace"].sizes["start_component"] == 10


@pytest.mark.parametrize("number", ["three", "0", "-1", "2.5", ""])
def test_a_number_of_components_that_is_none(run, counts, number):
    code, _, err = run("unmix", counts, f"--components={number}")
    assert code == 2
    assert "whole number of 1 or more, or auto" in err
