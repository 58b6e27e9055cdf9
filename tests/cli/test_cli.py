import json
import re
import subprocess
import sys
from itertools import count

import jax
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from PIL import Image

import jaxunmix as jxu
from jaxunmix import cli
from jaxunmix.bayes.spectrum import decompose as spectroscopy
from jaxunmix.bayes.spectrum.result import Exchange
from jaxunmix.cli import rank as cli_rank
from jaxunmix.cli import unmix as cli_unmix
from jaxunmix.cli.options import Kind
from jaxunmix.data import io
from jaxunmix.factor.solve.checkpoint import Ledger

SMALL = ["--restarts", "2", "--max-steps", "20", "--quiet"]


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


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["unmix", "nothing.npz"], "no such file"),
        (["unmix", "DATA", "--components", "100"], "--components"),
        (["unmix", "DATA", "--components", "0"], "--components"),
        (["unmix", "DATA", "--loss", "gauss"], "poisson"),
        (["unmix", "DATA", "--crop", "mz=1:2"], "'mz' is none of the dims"),
        (["unmix", "DATA", "--crop", "energy"], "AXIS=LOW:HIGH"),
        (["unmix", "DATA", "--crop", "energy=a:b"], "must be numbers"),
        (["unmix", "DATA", "--crop", "y=0.5:2"], "must be indices"),
        (["unmix", "DATA", "--crop", "energy=90:"], "leaves nothing"),
        (["unmix", "DATA", "--bin", "x=two"], "AXIS=N"),
        (["unmix", "DATA", "--bin", "x=11"], "give 1 to 10"),
        (["unmix", "DATA", "--mask", "keep"], "no array of this file"),
        (["unmix", "DATA", "--energy", "keep"], "no array of this file"),
        (["unmix", "DATA", "--array", "keep"], "0 arrays called 'keep'"),
        (["unmix", "DATA", "--update", "hals", "--loss", "poisson"], "Frobenius"),
        (["unmix", "DATA", "--init", "nndsvd", "--restarts", "3"], "restarts=1"),
        (["unmix", "DATA", "--compress", "5", "--loss", "poisson"], "leave out --compress"),
        (["unmix", "DATA", "--loss", "itakura-saito"], "positive data"),
        (["unmix", "DATA", "--normalise", "edge"], "no step"),
        (["unmix", "DATA", "--out", "DATA"], "is a file"),
        (["unmix", "DATA", "--orthogonal", "--loss", "poisson"], "leave out --loss poisson"),
        (["unmix", "DATA", "--orthogonal", "--update", "als"], "--update hals"),
        (["unmix", "DATA", "--update", "mals", "--compress", "6"], "leave out --compress"),
        (["rank", "nothing.npz"], "no such file"),
        (["rank", "DATA", "--ranks", "8:2"], "the lower number comes first, 2:8"),
        (["rank", "DATA", "--ranks", "2.5:4"], "whole numbers, such as 2:10"),
        (["rank", "DATA", "--ranks", "3"], "write LOW:HIGH"),
        (["rank", "DATA", "--ranks", ":"], "write LOW:HIGH"),
        (["rank", "DATA", "--ranks", "0:4"], "begin with 1 or more"),
        (["rank", "DATA", "--ranks", "2:50"], "1..40 for data of 80 pixels and 40 channels"),
        (["rank", "DATA", "--ranks", "2:50"], "on the command line: --ranks LOW:HIGH"),
        (["rank", "DATA", "--folds", "60"], "since there are 40 channels"),
        (["rank", "DATA", "--folds", "60"], "on the command line: --folds N"),
        (["rank", "DATA", "--folds", "1"], "--folds N"),
        (["rank", "DATA", "--folds", "2", "--ranks", "2:30"], "--ranks LOW:HIGH; --folds N"),
        (["rank", "DATA", "--folds", "5", "--criteria", "elbow"], "leave out --folds or add bcv"),
        (["rank", "DATA", "--criteria", "bcv,kaiser"], "'kaiser' is none of bcv, plateau, elbow, crossing, scree"),
        (["rank", "DATA", "--criteria", "aic,AIC"], "aic is there twice"),
        (["rank", "DATA", "--criteria", "elbow", "--ranks", "2:3"], "3 ranks or more"),
        (["rank", "DATA", "--criteria", "malinowski", "--ranks", "2:40"], "--criteria without malinowski"),
        (["rank", "DATA", "--criteria", "dispersion", "--restarts", "2"], "--restarts 10"),
        (["rank", "DATA", "--criteria", "crossing", "--loss", "poisson"], "--normalise poisson; --loss frobenius"),
        (["rank", "DATA", "--orthogonal", "--loss", "poisson"], "--orthogonal is fitted by least squares"),
        (["rank", "DATA", "--crop", "mz=1:2"], "'mz' is none of the dims"),
        (["rank", "MASKED", "--array", "cube", "--mask", "none"], "--mask NAME of an array that is True where to keep"),
        (["rank", "DATA", "--out", "DATA"], "is a file"),
        (["simulate", "edx-phases", "--out", "image.png"], "cannot write"),
        (["simulate", "xas-domains", "--out", "image.npz", "--counts", "5"], "--counts"),
        (["simulate", "grains", "--out", "image.npz"], "grains"),
        (["simulate", "edx-phases"], "--out"),
        (["analyse"], "analyse"),
    ],
)
def test_bad_input_says_what_and_exits_2(run, counts, masked, words, said):
    files = {"DATA": counts, "MASKED": masked}
    code, out, err = run(*(files.get(word, word) for word in words), *(["-q"] if files.keys() & set(words) else []))
    assert (code, out) == (2, "")
    # The frame around usage errors breaks their lines.
    assert said in re.sub(r"[\s│]+", " ", err)


def test_broken_file_exits_2(run, tmp_path):
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 nothing")
    code, _, err = run("unmix", tmp_path / "bad.npz")
    assert code == 2
    assert "cannot read bad.npz" in err


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


def test_interrupt_before_the_fit_exits_130_and_leaves_nothing(run, counts, tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_unmix, "fit", interrupted)
    assert run("unmix", counts, "--quiet")[0] == 130
    assert not any(tmp_path.iterdir())


def test_the_unexpected_exits_1_with_its_traceback(counts, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli_unmix, "fit", lambda *a, **k: 1 / 0)
    assert cli.main(["unmix", str(counts), "--quiet"]) == 1
    err = capsys.readouterr().err
    assert "ZeroDivisionError" in err
    assert "please report" in err


# One group of ranks and one criterion of each kind: the scans of these tests share their compiled programs.
SCAN = ["--ranks", "2:4", "--restarts", "3", "--max-steps", "20", "--quiet"]


@pytest.mark.usefixtures("drawn")
def test_rank_writes_table_figures_and_page(run, counts, tmp_path):
    every = "bcv,elbow,crossing,scree,malinowski,aic,bic,dispersion"
    code, out, err = run("rank", counts, "--criteria", every, "--folds", 4, "--crop", "energy=0:", *SCAN)
    assert (code, err) == (0, "")
    folder = tmp_path / "map-rank"
    assert {p.name for p in folder.iterdir()} == {"rank.nc", "rank.png", "mse.png", "report.html"}
    table = io.load_dataset(folder / "rank.nc")
    assert table["rank"].values.tolist() == [2, 3, 4]
    assert table["mse"].shape == (3, 3)
    decision = json.loads(table.attrs["decision"])
    assert [v["name"].lower() for v in decision] == ["bicrossvalidation", *every.split(",")[1:]]
    assert table.attrs["best"] == decision[0]["best"]
    assert '"crop"' in table.attrs["provenance"]
    lines = out.splitlines()
    assert lines[0].split()[:3] == ["K", "best", "mse"]
    assert [line.split()[0] for line in lines[1:4]] == ["2", "3", "4"]
    for verdict in decision:
        assert any(line.startswith(verdict["name"]) and verdict["reason"] in line for line in lines)
    assert f"K = {table.attrs['best']} by BiCrossValidation" in out
    # The same file, preparation and model; nothing that only a scan has.
    assert lines[-1] == f"next     jaxunmix unmix {counts} --crop energy=0: -k {table.attrs['best']}"
    page = (folder / "report.html").read_text()
    for words in ("jaxunmix rank", f"-k {table.attrs['best']}", decision[0]["reason"], "held-out"):
        assert words in page


def test_rank_is_the_library_s(run, counts):
    run("rank", counts, "--seed", 7, "--criteria", "aic", "--out", "here", *SCAN)
    problem = jxu.Problem(jxu.load(counts).matrix())
    criteria = (jxu.rank.AIC(),)
    expected = jxu.rank.scan(problem, range(2, 5), criteria, restarts=3, max_steps=20, key=jax.random.key(7))
    np.testing.assert_allclose(io.load_dataset("here/rank.nc")["mse"], expected.table["mse"], rtol=1e-5)


@pytest.mark.parametrize(
    "options", [["--loss", "poisson"], pytest.param(["--orthogonal"], marks=pytest.mark.slow), ["--normalise", "sum"]]
)
def test_rank_takes_the_options_of_unmix(run, counts, options):
    code, out, err = run("rank", counts, "--criteria", "aic,scree", *options, *SCAN)
    assert (code, err) == (0, "")
    assert " ".join(options) in out.splitlines()[-1]


class Undecided(jxu.rank.AbstractCriterion):
    """A criterion that does not decide."""

    def __call__(self, evidence):
        return jxu.rank.Verdict(None, np.ones(len(evidence.ranks)), None, 0.0, "all are alike")


def test_a_criterion_that_does_not_decide_proposes_nothing(run, counts, monkeypatch):
    monkeypatch.setitem(cli_rank._OTHERS, cli_rank.Criterion.elbow, Undecided)
    code, out, _ = run("rank", counts, "--criteria", "elbow,aic", *SCAN)
    assert code == 0
    assert "Undecided does not decide" in out
    assert "undecided: all are alike" in out
    assert "next" not in out


def test_counts_are_scaled_for_the_scan_and_unmixed_as_counts(run, counts):
    _, _, err = run("rank", counts, "--criteria", "aic", *SCAN[:-1])
    assert "hint" in err
    assert "--normalise poisson" in err
    code, out, err = run("rank", counts, "--criteria", "aic", "--normalise", "poisson", *SCAN[:-1])
    assert (code, "hint" in err) == (0, False)
    assert f"{counts} --loss poisson -k" in out.splitlines()[-1]


def test_small_data_get_fewer_ranks_and_folds_and_nothing_silent(run, masked, tmp_path):
    words = ["--array", "cube", "--mask", "some", "--crop", "energy=:4", "--restarts", 2, "--max-steps", 5]
    code, out, err = run("rank", masked, *words)
    assert code == 0
    assert io.load_dataset(tmp_path / "masked-rank" / "rank.nc")["rank"].values.tolist() == [2, 3]
    assert "note: left out: Crossing" in err
    assert "note: left out: Elbow" in err
    assert "BiCrossValidation" in out


@pytest.mark.parametrize("kind", list(Kind))
def test_simulate_writes_image_and_truth(run, tmp_path, kind):
    # A coarser detector does not resolve the spots of the sheets.
    channels = 52 if kind is Kind.nanosheets else 16
    code, out, err = run("simulate", kind, "--out", "image.npz", "--size", 12, "--channels", channels, "--seed", 3)
    assert (code, err) == (0, "")
    assert "image-truth.nc" in out
    img, truth = jxu.load(tmp_path / "image.npz"), io.load_dataset(tmp_path / "image-truth.nc")
    assert truth["maps"].shape[1:] + truth["spectra"].shape[1:] == img.data.shape
    assert all(isinstance(name, str) for name in truth["component"].values.tolist())
    assert ("reference" in truth) == (kind is Kind.battery_xas)


def test_simulate_repeats_by_its_seed(run):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run("simulate", "line-scan", "--out", f"{name}.npz", "--size", 9, "--counts", 50, "--seed", seed)
    a, b, c = (jxu.load(f"{name}.npz").data.values for name in "abc")
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


@pytest.mark.usefixtures("drawn")
def test_demo_finds_the_truth(run, tmp_path):
    code, out, err = run("demo", "--out", "shown", "--quiet")
    assert (code, err) == (0, "")
    angles = [float(a) for a in re.findall(r"(\d+\.\d)°", out)]
    assert len(angles) == 3
    assert max(angles) < 5
    assert (tmp_path / "shown" / "comparison.png").stat().st_size > 10_000
    assert (tmp_path / "shown" / "report.html").exists()


@pytest.mark.parametrize("command", [(), ("unmix",), ("rank",), ("simulate",), ("demo",)])
def test_help(run, command):
    code, out, _ = run(*command, "--help")
    assert code == 0
    assert "Usage" in out


def test_version_from_the_installed_command():
    line = "import sys; from jaxunmix.cli import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", line, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"jaxunmix {jxu.__version__}\n"


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

    monkeypatch.setattr(spectroscopy, "_exchanged", exchanged)
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
