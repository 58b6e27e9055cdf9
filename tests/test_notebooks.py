from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
MISSING = "is not installed: pip install -e '.[notebooks]'"


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
# The kernel's own packages warn of what they will change.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning", "ignore::FutureWarning")
def test_runs_from_top_to_bottom(path, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXUNMIX_NOTEBOOKS", "small")
    notebook = executed(path.stem, tmp_path)
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.source.rsplit("\n", 1)[-1].startswith("plots."):
            assert any("image/png" in output.get("data", {}) for output in cell.outputs), cell.source


@pytest.mark.slow
@pytest.mark.parametrize(("name", "cells"), [("how_many", 6), ("absorption_peaks", 9)])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning", "ignore::FutureWarning")
def test_without_the_measurements_says_so(name, cells, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXUNMIX_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setenv("JAXUNMIX_NOTEBOOKS", "small")
    notebook = executed(name, tmp_path)
    skipped = [cell for cell in notebook.cells if "if here(" in cell.source]
    assert len(skipped) >= cells
    for cell in skipped:
        assert "is not here" in printed(cell), cell.source


def executed(name, folder):
    nbformat = pytest.importorskip("nbformat", reason=f"nbformat {MISSING}")
    nbclient = pytest.importorskip("nbclient", reason=f"nbclient {MISSING}")
    pytest.importorskip("ipykernel", reason=f"ipykernel {MISSING}")
    notebook = nbformat.read(next(path for path in NOTEBOOKS if path.stem == name), as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "strip the outputs before the commit"
    where = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where).execute()
    return notebook


def printed(cell):
    return "".join(output.get("text", "") for output in cell.get("outputs", ()))
