import re

import pytest

pytestmark = pytest.mark.optimised


@pytest.mark.usefixtures("drawn")
def test_demo_finds_the_truth(run, tmp_path):
    code, out, err = run("demo", "--out", "shown", "--quiet")
    assert (code, err) == (0, "")
    angles = [float(a) for a in re.findall(r"(\d+\.\d)°", out)]
    assert len(angles) == 3
    assert max(angles) < 5
    assert (tmp_path / "shown" / "comparison.png").stat().st_size > 10_000
    assert (tmp_path / "shown" / "report.html").exists()
