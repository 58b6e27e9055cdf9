import re
import shlex
from pathlib import Path

import pytest

from jaxunmix import cli

README = Path(__file__).resolve().parents[1] / "README.md"
TEXT = README.read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.slow
def test_python_blocks_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    assert (tmp_path / "result.nc").exists()


def test_linked_files_exist():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT)
    assert links
    assert [link for link in links if not (README.parent / link).exists()] == []


def test_figure_is_light():
    assert all(path.stat().st_size < 150_000 for path in (README.parent / "docs").glob("*.png"))


@pytest.mark.parametrize("option", sorted(set(re.findall(r"`[^`\n]*?(--[a-z-]+)[^`\n]*`", TEXT))))
def test_options_exist(option, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    for command in ("unmix", "rank", "spectrum", "simulate", "demo"):
        cli.main(shlex.split(f"{command} --help"))
    assert option in capsys.readouterr().out + "--help"
