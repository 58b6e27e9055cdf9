import contextlib
import io
from dataclasses import replace

import jax
import numpy as np
import pandas as pd
import pytest

from models import constrained_unmixing as model

# Whole models take minutes.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The report of the tiny run, its folder and what it printed."""
    folder = tmp_path_factory.mktemp("constrained_unmixing")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        report = model.main(["--tiny", "--out", str(folder)])
    return report, folder, printed.getvalue()


def test_what_is_known_brings_the_truth_nearer(run):
    """Of each technique one part that its table 4 names, where it is right of the simulation."""
    scores = run[0].scores
    angle, shares, labels = (scores[name] for name in ("angle", "shares", "labels"))
    # Seen: 4.7 -> 2.2 degrees, and shares 0.071 -> 0.060 and 0.058.
    assert angle["ToF-SIMS", "counts"] < 0.7 * angle["ToF-SIMS", "signs"]
    for asked in ("counts, smooth", "counts, flat regions"):
        assert shares["ToF-SIMS", asked] < 0.95 * shares["ToF-SIMS", "counts"]
        assert labels["ToF-SIMS", asked] > labels["ToF-SIMS", "counts"]
        assert shares["ToF-SIMS in depth", asked] < shares["ToF-SIMS in depth", "counts"]
    # 18 -> 6.7 -> 3.3 degrees.
    assert angle["tunnelling spectra", "shares"] < 0.6 * angle["tunnelling spectra", "signs"]
    assert angle["tunnelling spectra", "shares, at most two"] < 0.8 * angle["tunnelling spectra", "shares"]
    # 9.2 -> 2.0 degrees.
    assert angle["rod scans", "counts, smooth"] < 0.5 * angle["rod scans", "counts"]
    assert (labels["oxide by sliding FFT"] > 0.9).all()


def test_the_planes_of_the_rod_scans_have_their_spacings(run):
    spacings = run[0].spacings
    assert spacings["error"].abs().max() < 0.02
    # The two orders are two measurements of one spacing.
    assert (spacings["001"] - spacings["002"]).abs().max() < 0.05


def test_the_named_rows_are_ordered_as_what_they_allow(run):
    named = run[0].named
    assert named.loc["SVD", "objective"] <= named.loc["NMF", "objective"]
    assert named.loc["PCA", "objective"] <= named.loc["SVD", "objective"]
    assert named.loc["NMF", "objective"] < named.loc["sparse NMF", "objective"]
    assert named.loc["bounded", "least of the model"] >= 0


def test_writes_what_it_says(run):
    report, folder, printed = run
    figures = {f"{name}.png" for name in ("tof-sims", "oxide_by_sliding_fft", "tunnelling_spectra", "rod_scans")}
    assert {path.name for path in folder.iterdir()} == {"report.txt", "scores.csv"} | figures
    assert (folder / "report.txt").read_text(encoding="utf-8") == printed
    again = pd.read_csv(folder / "scores.csv", index_col=[0, 1])
    np.testing.assert_allclose(again["shares"], report.scores["shares"], rtol=1e-5)
    assert all((folder / name).stat().st_size > 5000 for name in figures)


def test_measured_sets_are_judged_by_entries_held_out(shared_data):
    """Raman spectra are smooth: with weights chosen from them, entries that were left out are predicted better."""
    scene = model.measured(shared_data)["a cell, Raman"]
    problems = {name: scene.problems[name] for name in ("signs", "smooth spectra")}
    scores, _ = model.run({"cell": replace(scene, problems=problems)}, jax.random.key(0), 3)
    lost = scores["held out"]["cell"]
    # Seen: 0.132 -> 0.109, and with smooth maps 0.116.
    assert lost["smooth spectra"] < 0.9 * lost["signs"]
