"""The runnable files at their smallest: they run, and what they say of their data is right."""

import contextlib
import io

import jax
import numpy as np
import pandas as pd
import pytest

pytest.importorskip("sklearn")
from models import battery_xas

# Whole models take minutes.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def battery(tmp_path_factory):
    """The report of the tiny run, its folder and what it printed."""
    folder = tmp_path_factory.mktemp("battery_xas")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        report = battery_xas.main(["--tiny", "--out", str(folder)])
    return report, folder, printed.getvalue()


def test_battery_finds_the_domains(battery):
    report, _, _ = battery
    assert report.rank == 4
    assert report.signal_to_noise > 1
    assert (report.scores["correlation"] > report.scores["oracle"] - 0.02).all()
    assert report.off_match < 0.2
    assert report.cosine == 0
    # 3,600 pixels with the noise of a tenth of the edge step and more in each channel
    assert report.scores["rms"].max() < 0.03


def test_battery_tables_are_in_the_order_of_the_truth(battery):
    report, _, _ = battery
    for table in report.tables.values():
        np.testing.assert_array_equal(table.to_numpy().argmax(axis=1), np.arange(4))
    np.testing.assert_allclose(np.diag(report.tables["nmf_truth"]), report.scores["correlation"])
    np.testing.assert_array_equal(report.clusters.sum(axis=1), 1)


def test_battery_peak_tops_agree_with_the_maps(battery):
    report, _, _ = battery
    assert report.peak_top.shape == (60, 60)
    assert (report.thresholds["low"] < report.thresholds["high"]).all()
    assert (report.thresholds["correlation"] > 0.7).all()


def test_battery_shows_what_k_means_cannot(battery):
    report, _, _ = battery
    assert report.magnitude.nmf.min() > 0.98
    assert report.magnitude.k_means.min() < 0.9
    assert report.overlap.compared.nmf.min() > 0.98
    assert report.overlap.compared.k_means.max() < 0.98
    assert report.overlap.second_share == pytest.approx(0.5, abs=0.05)
    assert report.overlap.own_clusters > 0.3


def test_battery_finds_the_white_lines_of_the_domains(battery):
    lines = battery[0].spectroscopy
    table = lines.table
    assert len(lines.decompositions) == 4
    assert lines.decompositions.table.sizes == {"spectrum": 4, "peaks": 2}
    assert ((table["low"] < table["E_WL"]) & (table["E_WL"] < table["high"])).all()
    ratio = table["noise"] / table["expected"]
    assert ((ratio > 0.75) & (ratio < 1.35)).all()
    # Four sds of the posterior, and a quarter of a channel for so small a sampler.
    sd = (table["high"] - table["low"]) / 3.29
    assert (np.abs(table["E_WL"] - table["truth"]) < 4 * sd + 0.1).all()


def test_battery_white_lines_are_in_the_order_of_the_true_ones(battery):
    lines = battery[0].spectroscopy
    above = lines.above.to_numpy()
    np.testing.assert_allclose(above + above.T, 1)
    np.testing.assert_allclose(np.diag(above), 0.5)
    order = np.argsort(lines.table["truth"].to_numpy())
    assert (above[order[1:], order[:-1]] > 0.9).all()


def test_battery_spectroscopy_leaves_out_the_channels_of_the_normalisation(battery):
    for each in battery[0].spectroscopy.decompositions.spectra:
        assert each.energy.size == 98
        assert 7700 < each.energy[0] < each.energy[-1] < 7740


def test_battery_writes_what_it_says(battery):
    report, folder, printed = battery
    names = {path.name for path in folder.iterdir()}
    drawn = ("rank", "comparison", "k_means", "peak_top", "decompositions", "white_lines")
    figures = {f"{name}.png" for name in (*drawn, *(f"free_energy_{k}" for k in range(4)))}
    lines = ("spectroscopy", "above", "free_energy")
    tables = {f"{name}.csv" for name in (*report.tables, "scores", "thresholds", *lines)}
    assert names == {"report.txt"} | figures | tables
    assert (folder / "report.txt").read_text(encoding="utf-8") == printed
    assert printed.startswith("Number of domains: 4\n")
    again = pd.read_csv(folder / "nmf_truth.csv", index_col=0)
    pd.testing.assert_frame_equal(again, report.tables["nmf_truth"], rtol=1e-5)
    assert all((folder / name).stat().st_size > 5000 for name in figures)


def test_battery_normalises_raw_absorbance():
    img, truth = battery_xas.simulate(jax.random.key(3), 40, domains=3, snr_db=25.0, raw=True)
    normalised, problem = battery_xas.build(img, truth.reference, raw=True)
    ends = normalised.data.values[..., [0, -1]]
    np.testing.assert_allclose(ends, np.broadcast_to([0, 1], ends.shape), atol=1e-6)
    solution = battery_xas.jxu.fit(problem, rank=3, restarts=4, key=jax.random.key(0))
    assert battery_xas.own_correlation(solution.maps, truth.maps).min() > 0.98
    spectra = battery_xas.original_spectra(normalised, battery_xas.in_order(solution.maps, truth.maps))
    np.testing.assert_allclose(spectra, truth.spectra, atol=0.03)


def test_battery_says_what_it_did_not_find():
    img, truth = battery_xas.simulate(jax.random.key(4), 30, domains=3)
    img, problem = battery_xas.build(img, truth.reference)
    report = battery_xas.analyse(img, problem, truth, [2], folds=5, restarts=2, key=jax.random.key(0))
    assert report.rank == 2
    assert report.spectroscopy is None
    lost = report.scores["rms"].isna()
    assert lost.sum() == 1
    assert (report.scores["correlation"][lost] == 0).all()
    assert "nan" in battery_xas.text(report).lower()
    assert set(battery_xas.figures(img, truth, report)) == {"rank", "comparison", "k_means", "peak_top"}


def test_battery_options():
    full = battery_xas.arguments([])
    assert (full.size, full.domains, full.folds) == (400, 8, 20)
    assert list(full.ranks) == list(range(4, 10))
    assert list(full.peaks) == [0, 1, 2, 3]
    assert list(battery_xas.arguments(["--peaks", "1:2"]).peaks) == [1, 2]
    assert list(battery_xas.arguments(["--tiny", "--ranks", "3:6"]).ranks) == [3, 4, 5, 6]
