"""What is asked of every public function when it meets input of every kind: a right answer, or a refusal by us.

The table stands in `bad_input.py` and `bad_arguments.py`. The tests check annotations while the package runs, so that
wrong objects would be refused by the checker before our own checks see them; users have no such checker. Therefore one
subprocess of plain Python runs all cases, and each test here reads what became of one.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import bad_arguments
import pytest

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 600


@pytest.fixture(scope="session")
def outcomes(tmp_path_factory):
    """Name -> what is wrong; of several workers the first runs the table, and the others wait for it."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    done, begun = shared / "bad_input.json", shared / "bad_input.begun"
    try:
        begun.touch(exist_ok=False)
    except FileExistsError:
        for _ in range(SECONDS):
            if done.exists():
                break
            time.sleep(1)
    else:
        ran = subprocess.run([sys.executable, bad_arguments.__file__], cwd=ROOT, capture_output=True, text=True)
        done.with_suffix(".part").write_text(ran.stdout if ran.returncode == 0 else json.dumps({"": ran.stderr}))
        done.with_suffix(".part").rename(done)
    return json.loads(done.read_text())


@pytest.mark.parametrize("name", bad_arguments.CASES)
def test_it_is_right_or_refused(outcomes, name):
    assert outcomes.get(name, outcomes.get("")) == ""


def test_there_are_many_cases(outcomes):
    assert len(outcomes) >= 7000


def test_every_argument_of_every_public_callable_is_met():
    """Or is among the exceptions, each with its reason."""
    assert bad_arguments.unmet() == []


def test_exceptions_are_public_and_few():
    public = bad_arguments.public_callables()
    assert [name for name in bad_arguments.EXCEPTIONS if name.partition("(")[0] not in public] == []
    assert len(bad_arguments.EXCEPTIONS) <= 33
