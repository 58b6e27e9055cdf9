import re
import subprocess
import sys

import pytest

import jaxunmix as jxu
from jaxunmix import cli
from jaxunmix.cli import unmix


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


def test_interrupt_before_the_fit_exits_130_and_leaves_nothing(run, counts, tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(unmix, "fit", interrupted)
    assert run("unmix", counts, "--quiet")[0] == 130
    assert not any(tmp_path.iterdir())


def test_the_unexpected_exits_1_with_its_traceback(counts, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(unmix, "fit", lambda *a, **k: 1 / 0)
    assert cli.main(["unmix", str(counts), "--quiet"]) == 1
    err = capsys.readouterr().err
    assert "ZeroDivisionError" in err
    assert "please report" in err


@pytest.mark.parametrize("command", [(), ("unmix",), ("rank",), ("simulate",), ("demo",)])
def test_help(run, command):
    code, out, _ = run(*command, "--help")
    assert code == 0
    assert "Usage" in out


def test_version_from_the_installed_command():
    line = "import sys; from jaxunmix.cli import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", line, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"jaxunmix {jxu.__version__}\n"
