import re

import pytest

from models import nanosheet_4dstem

# Whole models take minutes.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nanosheet")
    return nanosheet_4dstem.main(["--tiny", "--out", str(folder)]), folder


def test_finds_every_sheet_and_fold(run):
    report, _ = run
    assert report.rank == 7
    assert sorted(report.components["truth"].str.contains("fold")).count(True) == 2
    assert report.components["truth"].is_unique
    assert (report.components["pattern"] >= 0.9).all()
    sheets = report.components["truth"] != "direct beam"
    assert (report.components.loc[sheets, "map"] >= 0.99).all()


def test_names_phases_and_rotations(run):
    report, _ = run
    for row in report.components.itertuples():
        name, degrees = re.fullmatch(r"(\w+) (\d+) deg( \(fold\))?|direct beam", row.truth).group(1, 2)
        assert row.phase == (name or "none")
        if name:
            assert abs((row.rotation - float(degrees) + 90) % 180 - 90) <= 1


def test_forbidden_reflections_tell_the_phases_apart(run):
    report, _ = run
    by_phase = report.components.groupby("phase")["forbidden"]
    assert by_phase.max()["TiO2"] < 0.05
    assert by_phase.min()["Ti2O3"] > 0.15
    assert report.components["forbidden"].isna().sum() == 1


def test_beats_virtual_dark_fields_of_shared_spots(run):
    fields = run[0].dark_fields
    assert len(fields) == 6
    assert (fields["NMF"] > 0.99).all()
    assert (fields["NMF"] > fields["most overlapped pair"]).all()
    assert fields["most overlapped pair"].min() < 0.9


def test_residual_crosses_that_of_pca(run):
    curve = run[0].curve
    assert (curve["best"] < curve["PCA"])[curve.index <= 7].all()
    assert (curve["best"] > curve["PCA"])[curve.index > 8].all()
    assert curve["within 0.1 %"].between(1, 6).all()


def test_writes_its_results(run):
    report, folder = run
    text = (folder / "report.txt").read_text()
    assert "Number of components: 7" in text
    for name in ("curve.csv", "components.csv", "dark_fields.csv"):
        assert len((folder / name).read_text().splitlines()) > 6
    for name in ("mse", "rank", "components", "kinematical", "dark_fields"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert report.pictures.sizes["component"] == 24


def test_refuses_an_unknown_update(capsys):
    with pytest.raises(SystemExit):
        nanosheet_4dstem.main(["--update", "none"])
    assert "invalid choice" in capsys.readouterr().err
