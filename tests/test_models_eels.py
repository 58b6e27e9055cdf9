import contextlib
import io

import pytest

from models import eels_ard

# Whole models take minutes.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The report of the tiny run, its folder and what it printed."""
    folder = tmp_path_factory.mktemp("eels_ard")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        report = eels_ard.main(["--tiny", "--out", str(folder)])
    return report, folder, printed.getvalue()


def test_soft_orthogonality_mends_the_dip_and_the_overlap(run):
    table = run[0].orthogonality
    assert table.loc[0.1, "components"] == 3
    assert table.loc[0.1, "largest angle"] < 3
    assert table.loc[0.0, "largest angle"] > 3 * table.loc[0.1, "largest angle"]
    assert table.loc[0.0, "dip"] > 2 * table.loc[0.1, "dip"]
    excess = (table["overlap"] - table["true overlap"]).abs()
    assert excess[0.1] < excess[0.0] / 2


def test_known_phases_have_errors_as_they_say(run):
    references = run[0].references
    assert (references["error"] < 0.1).all()
    # The background that was subtracted has errors of its own, which the fit's do not hold.
    assert references["rms z"].between(0.8, 1.5).all()


def test_three_answers_stand_beside_one_another(run):
    numbers = run[0].numbers
    assert list(numbers.loc["diode"])[:3] == [3, 3, 3]
    assert numbers.shape == (2, 4)


def test_both_techniques_separate_what_neither_can_alone(run):
    sites = run[0].sites
    angles = sites[["tetrahedral", "octahedral"]].max(axis=1)
    assert angles["both together"] < 3
    assert (angles[["EELS alone", "maps of EDX alone"]] > 10).all()
    assert sites.loc["both together", "error of the weights"] < 0.05


def test_the_phase_without_an_edge_is_found_with_its_background(run):
    hidden = run[0].hidden.max(axis=1)
    assert hidden["both together"] < 15
    assert hidden["subtracted first"] > 60


def test_the_fitted_drift_serves_as_the_true_one(run):
    drift = run[0].drift
    assert drift.loc["fitted", "shifts"] < 0.2
    assert drift.loc["fitted", "mean angle"] < 1.25 * drift.loc["known", "mean angle"]


def test_writes_what_it_says(run):
    _, folder, printed = run
    assert (folder / "report.txt").read_text(encoding="utf-8") == printed
    assert {path.suffix for path in folder.iterdir()} == {".txt", ".png"}
    assert all(path.stat().st_size > 5000 for path in folder.glob("*.png"))


def test_measured_line_scans_load(shared_data):
    images = eels_ard.load_measured(shared_data)
    assert {name: img.data.sizes["energy"] for name, img in images.items()} == {
        "LSMO_linescan": 586,
        "LSMO_STO_linescan": 512,
    }
