"""The layers of the package, by its syntax trees: who imports whom, and what is imported where."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "jaxunmix"
FILES = sorted(PACKAGE.rglob("*.py"))
# Each layer and the height it stands at: imports point downwards, or stay within a layer.
HEIGHTS = {
    "physics": 0,
    "data": 1,
    "factor": 2,
    "bayes": 3,
    "report": 4,
    "sklearn": 5,
    "cli_options": 5,
    "cli_run": 6,
    "cli_rank": 7,
    "cli_spectrum": 7,
    "cli": 8,
}
TOP = 9  # jaxunmix/__init__.py, models and notebooks
# Where a package may be imported; any other package, anywhere.
HOMES = {
    "matplotlib": {"report"},
    "PIL": {"report"},
    "numpyro": {"bayes"},
    "h5py": {"data"},
    "h5netcdf": {"data"},
    "zarr": {"data"},
    "rsciio": {"data"},
    "hyperspy": {"data"},
    "sklearn": {"sklearn"},
    "typer": {"cli", "cli_options"},
}
# Optional packages, imported where they are used: the only imports inside functions.
OPTIONAL = {"zarr", "rsciio", "hyperspy", "sklearn"}


def layer(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "top" if parts == ("__init__",) else parts[0]


def height(name):
    return TOP if name == "top" else HEIGHTS[name]


def imports(path):
    """(module as written from the root, is it inside a function, line) of every import."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = ["jaxunmix", *path.relative_to(PACKAGE).parts[:-1]]
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            found = [f"{stem}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in found:
            yield name, id(node) in inside, node.lineno


def lines(path, wrong):
    return [f"{path.relative_to(ROOT)}:{line}: {name}" for name, line in wrong]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    here = height(layer(path))
    own = [(name.split("."), line) for name, _, line in imports(path) if name.startswith("jaxunmix.")]
    # `from . import __version__` takes a name of the package, not of a layer.
    wrong = [(".".join(n), line) for n, line in own if n[1] != "__version__" and height(n[1]) > here]
    assert lines(path, wrong) == []


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_packages_stay_in_their_layer(path):
    wrong = [
        (name, line)
        for name, _, line in imports(path)
        if layer(path) not in HOMES.get(name.split(".")[0], {layer(path)})
    ]
    assert lines(path, wrong) == []


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_optional_packages_are_imported_inside_functions(path):
    wrong = [(name, line) for name, inside, line in imports(path) if inside and name.split(".")[0] not in OPTIONAL]
    assert lines(path, wrong) == []


def test_matplotlib_has_no_global_state():
    wrong = [(p, name) for p in FILES for name, _, _ in imports(p) if "pyplot" in name]
    assert wrong == []


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nothing_is_pickled(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules = [(name, line) for name, _, line in imports(path) if name.split(".")[0] in {"pickle", "dill", "joblib"}]
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    allowed = [
        ("allow_pickle", call.lineno)
        for call in calls
        for word in call.keywords
        if word.arg == "allow_pickle" and not (isinstance(word.value, ast.Constant) and word.value.value is False)
    ]
    assert lines(path, modules + allowed) == []


@pytest.mark.parametrize("path", sorted((ROOT / "models").glob("*.py")), ids=lambda p: p.name)
def test_the_package_does_not_import_models(path):
    assert not any(name.split(".")[0] == "models" for p in FILES for name, _, _ in imports(p))


def test_no_postponed_annotations():
    """The run-time type checks read annotations as they are."""
    wrong = [p for p in FILES for name, _, _ in imports(p) if name == "__future__.annotations"]
    assert wrong == []
