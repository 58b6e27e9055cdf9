import json

import jax
import numpy as np
import pytest

import jaxunmix as jxu
from jaxunmix.cli import rank
from jaxunmix.data import io

# One group of ranks and one criterion of each kind: the scans of these tests share their compiled programs.
SCAN = ["--ranks", "2:4", "--restarts", "3", "--max-steps", "20", "--quiet"]


@pytest.mark.usefixtures("drawn")
def test_rank_writes_table_figures_and_page(run, counts, tmp_path):
    every = "bcv,elbow,crossing,scree,malinowski,aic,bic,dispersion,likeness"
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
    monkeypatch.setitem(rank.CRITERIA, "elbow", Undecided)
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
