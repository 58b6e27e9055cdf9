import contextlib
import io
from dataclasses import replace

import jax
import numpy as np
import pandas as pd
import pytest

pytest.importorskip("sklearn")
from models import edx_phases

# Whole models take minutes.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The report of the tiny run, its folder and what it printed."""
    folder = tmp_path_factory.mktemp("edx_phases")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        report = edx_phases.main(["--tiny", "--out", str(folder)])
    return report, folder, printed.getvalue()


def test_penalties_chosen_from_the_data_beat_every_method_without_them(run):
    table = run[0].table
    others = ["NMF, Frobenius", "NMF, Kullback-Leibler", "ICA", "VCA + NNLS", "physics-guided", "known zeros"]
    ours = table.loc["chosen penalties, absorbing"]
    # 1.1 to 1.5 degrees and 0.0013 to 0.0018 in ten runs; physics-guided 16 and 0.11, NMF 16 to 28
    assert ours["angle max"] < 3
    assert ours["mse max"] < 0.005
    assert (table.loc[others, "angle min"] > 4).all()
    assert (table.loc[others, "mse min"] > 0.02).all()


def test_absorption_and_the_true_maps_bound_the_rest(run):
    table = run[0].table
    assert table.loc["oracle, absorbing", "angle"] < 1.3
    assert table.loc["oracle", "angle"] < 2.2
    assert table.loc["chosen penalties", "angle"] > table.loc["chosen penalties, absorbing", "angle"] - 0.3
    assert table["mse"].isna().sum() == 2
    assert run[0].pooled.changes[-1] < 0.01


def test_compositions_are_right(run):
    phases = run[0].phases
    found, true, sd = (phases.xs(name, level=1) for name in ("at.%", "true", "sd with yields"))
    assert (found - true).abs().to_numpy().max() < 2.5
    np.testing.assert_allclose(found.sum(axis=1), 100, atol=1e-3)
    assert (sd["O"] > 1).all()


def test_weights_are_those_that_predict(run):
    curves = run[0].problem.tuning.curves
    assert [curve.penalty for curve in curves] == ['LogSparsity("maps")', 'Laplacian("maps")']
    for curve in curves:
        assert curve.chosen == pytest.approx(curve.best / 2)
        assert 0 < np.argmin(curve.deviance) < len(curve.deviance) - 1


def test_writes_what_it_says(run):
    report, folder, printed = run
    figures = {f"{name}.png" for name in ("methods", "maps", "comparison", "lines", "tuning")}
    tables = {f"{name}.csv" for name in ("scores", "table", "phases")}
    assert {path.name for path in folder.iterdir()} == {"report.txt"} | figures | tables
    assert (folder / "report.txt").read_text(encoding="utf-8") == printed
    again = pd.read_csv(folder / "scores.csv", index_col=0)
    pd.testing.assert_frame_equal(again, report.scores, rtol=1e-5)
    assert all((folder / name).stat().st_size > 5000 for name in figures)


def test_oxygen_follows_from_the_oxides():
    # MgSiO3 and (Mg, Fe)O
    cations = np.zeros((2, len(edx_phases.OXIDES)))
    cations[0, [0, 2]], cations[1, [0, 4]] = [0.5, 0.5], [0.8, 0.2]
    every = edx_phases.with_oxygen(cations)
    np.testing.assert_allclose(every.sum(axis=1), 1)
    np.testing.assert_allclose(every[0, :4], [0.6, 0.2, 0, 0.2])
    np.testing.assert_allclose(every[1, [0, 1, 5]], [0.5, 0.4, 0.1])


def test_a_measured_map_without_the_line_of_oxygen():
    img, _ = edx_phases.simulate(jax.random.key(5), 293, (24, 24), 1000)
    img = replace(img, data=img.data.isel(energy=slice(63, None)))
    img, basis, problem = edx_phases.build_measured(img)
    assert "O" not in basis().names
    assert "Cu K (free)" in basis().names
    assert float(img.data.energy[0]) == pytest.approx(0.915, abs=0.006)
    cations = np.array([[0.45, 0.05, 0.5, *[0.0] * 7]])
    absorbing, plain = np.asarray(basis(cations))[0], np.asarray(basis())
    lost = 1 - absorbing.sum(axis=1) / plain.sum(axis=1)
    # A tenth of Mg's line in 100 nm, hardly anything of Fe's; copper is not of the sample.
    assert 0.05 < lost[0] < 0.2
    assert lost[4] < 0.01
    np.testing.assert_allclose(lost[basis().names.index("Cu K (free)")], 0, atol=1e-6)
    known = edx_phases.jxu.fit(problem_without(problem), 3, key=jax.random.key(0), max_steps=20)
    assert known.coefficients.shape == (3, len(basis().names))


def problem_without(problem):
    """The problem without its open penalties."""
    return edx_phases.jxu.Problem(problem.matrix, problem.loss, problem.basis, constraints=problem.constraints)


def test_options():
    full = edx_phases.arguments([])
    assert (full.counts, full.shape, full.channels, full.starts) == (18, (128, 128), 1980, 4)
    assert list(edx_phases.arguments(["--phases", "3:4"]).phases) == [3, 4]
    assert edx_phases.arguments(["--counts", "293"]).counts == 293
