"""CONTRIBUTING says how to add a part of each kind, by one file and one line: its examples are added, and used."""

import json
import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# A path, and the next block of code: a new file, or a line for the folder's __init__.
EXAMPLE = re.compile(r"`(jaxunmix/\S+?\.py)`:\n\n```python\n(.*?)```", re.DOTALL)
KINDS = 8

USE = """
import contextlib, io, json, sys
import jax, numpy as np
import jaxunmix as jxu
from jaxunmix.cli import main

assert jxu.__file__.startswith(sys.argv[1]), jxu.__file__
np.savetxt("map.ssv", jxu.simulate.mixture(jax.random.key(0), 80, 12, 2, "gaussian")[0].data.values, delimiter=";")
image = jxu.load("map.ssv")
X = image.matrix()
both = (jxu.constraints.NonNegative("maps"), jxu.constraints.NonNegative("spectra"))
key = jax.random.key(1)
found = {}

group = jxu.Problem(X, penalties=(jxu.penalties.GroupSparsity("maps", 0.1),))
for name, update in (("hals", jxu.updates.HALS()), ("fista", jxu.updates.FISTA())):
    fit = jxu.fit(group, 2, update, key=key, max_steps=40)
    found[f"penalty {name}"] = [np.asarray(fit.trace).tolist(), fit.info["penalties"]]

limit = float(np.quantile(jxu.fit(jxu.Problem(X), 2, key=key).maps, 0.8))
capped = jxu.Problem(X, constraints=(*both, jxu.constraints.AtMost("maps", limit)))
for update in (jxu.updates.HALS(), jxu.updates.ProjectedGradient()):
    fit = jxu.fit(capped, 2, update, key=key, max_steps=40)
    found[f"constraint {type(update).__name__}"] = [float(np.max(fit.maps)), limit, np.asarray(fit.trace).tolist()]
try:
    jxu.fit(capped, 2, jxu.updates.Multiplicative(), key=key)
except ValueError as error:
    found["refused"] = str(error)

fit = jxu.fit(jxu.Problem(X), 2, jxu.updates.Landweber(), jxu.initial.Pixels(), key=key, max_steps=300)
found["update and start"] = [np.asarray(fit.trace).tolist(), float(jxu.fit(jxu.Problem(X), 2, key=key).objective)]

positive = jxu.Problem(np.maximum(np.asarray(X.values), 0.01), jxu.losses.Tweedie())
fit = jxu.fit(positive, 2, key=key, max_steps=40)
beta = jxu.fit(jxu.Problem(positive.matrix, jxu.losses.Beta(0.5)), 2, key=key, max_steps=40)
found["loss"] = [np.asarray(fit.trace).tolist(), float(beta.objective)]

scan = jxu.rank.scan(jxu.Problem(X), range(1, 4), (jxu.rank.DescribedShare(),), restarts=2, key=key)
found["criterion"] = [scan.best, scan.decision["DescribedShare"].reason]

shape = jxu.physics.lineshapes.EDGES["logistic"]
energy = np.linspace(-40, 40, 4001)
slope = np.gradient(np.asarray(shape(energy, 0.0, 3.0)), energy)
found["line shape"] = [float(shape(0.0, 0.0, 3.0)), float(np.ptp(energy[slope >= slope.max() / 2]))]


def run(*words):
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        return [main(words), text.getvalue()]


found["help"] = {command: run(command, "--help")[1] for command in ("unmix", "rank", "spectrum")}
words = "unmix map.ssv -k 2 --update landweber --init pixels --restarts 2 --max-steps 20 --out a --quiet".split()
found["unmix"] = run(*words)
words = "rank map.ssv --ranks 1:3 --criteria share --restarts 1 --out b --quiet".split()
found["rank"] = run(*words)
found["page"] = open("a/report.html", encoding="utf-8").read()
print(json.dumps(found))
"""


def add(package, path, code):
    """A new file, or the lines behind the last import of a folder's `__init__`."""
    file = package / Path(path).relative_to("jaxunmix")
    if not file.exists():
        file.write_text(code, encoding="utf-8")
        return
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    last = max(i for i, line in enumerate(lines) if line.startswith("from ."))
    file.write_text("".join([*lines[: last + 1], code, *lines[last + 1 :]]), encoding="utf-8")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What the examples did, in a copy of the package to which they were added."""
    folder = tmp_path_factory.mktemp("contributing")
    shutil.copytree(ROOT / "jaxunmix", folder / "jaxunmix", ignore=shutil.ignore_patterns("__pycache__"))
    examples = EXAMPLE.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert len(examples) == 2 * KINDS
    for path, code in examples:
        if path.endswith("__init__.py"):
            assert code.count("\n") == 1
        add(folder / "jaxunmix", path, code)
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", USE, str(folder)], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def falls(trace):
    """Never rises by more than single precision rounds a residual to, which is a small part of the start's."""
    return all(b <= a + 1e-4 * trace[0] for a, b in pairwise(trace)) and trace[-1] < trace[0]


def test_a_penalty(found):
    for name in ("hals", "fista"):
        trace, penalties = found[f"penalty {name}"]
        assert falls(trace)
        assert penalties == ["GroupSparsity(maps, 0.1)"]


def test_a_constraint(found):
    for update in ("HALS", "ProjectedGradient"):
        highest, limit, trace = found[f"constraint {update}"]
        assert highest <= limit * (1 + 1e-6)
        assert trace[-1] < trace[0]
    assert 'Multiplicative does not keep AtMost("maps"); use HALS(), ALS()' in found["refused"]


def test_an_update_and_a_start(found):
    trace, reference = found["update and start"]
    assert falls(trace)
    assert trace[-1] < 1.1 * reference
    code, printed = found["unmix"]
    assert code == 0
    assert "by Landweber" in printed
    for word in ("landweber", "pixels"):
        assert word in found["help"]["unmix"]
    assert "Landweber" in found["page"]
    assert "Pixels" in found["page"]


def test_a_loss(found):
    trace, reference = found["loss"]
    assert falls(trace)
    assert trace[-1] == pytest.approx(reference, rel=1e-3)
    assert "tweedie" in found["help"]["unmix"]


def test_a_criterion(found):
    best, reason = found["criterion"]
    assert best == 2
    assert reason.startswith("2 describe")
    code, printed = found["rank"]
    assert code == 0
    assert "DescribedShare" in printed
    assert "share" in found["help"]["rank"]


def test_a_line_shape(found):
    centre, width = found["line shape"]
    assert centre == pytest.approx(0.5)
    assert width == pytest.approx(3.0, abs=0.03)
    assert "logistic" in found["help"]["spectrum"]


def test_a_file_format_is_read(found):
    """Everything above was fitted to a file of the new format."""
    assert found["unmix"][0] == found["rank"][0] == 0
