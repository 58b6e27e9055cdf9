"""The house of the package, by its syntax trees: who imports whom, what is imported where, and how large rooms are."""

import ast
import graphlib
import importlib
import pkgutil
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

import jaxunmix

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "jaxunmix"
FILES = sorted(PACKAGE.rglob("*.py"))
FOLDERS = sorted({path.parent for path in FILES})
# Each folder and the height it stands at: imports point downwards, or stay within a folder.
HEIGHTS = {
    "_util": 0,
    "physics": 1,
    "matrix": 1,
    "metrics": 2,
    "data": 2,
    "preprocess": 3,
    "simulate": 3,
    "factor": 3,
    "rank": 4,
    "bayes": 4,
    "edx": 5,
    "eels": 5,
    "report": 6,
    "sklearn": 7,
    "cli": 7,
    "top": 8,  # jaxunmix/__init__.py, models and notebooks
}
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
    "hdf5plugin": {"data"},
    "sklearn": {"sklearn"},
    "typer": {"cli"},
}
# Optional packages, imported where they are used: the only imports inside functions.
OPTIONAL = {"zarr", "rsciio", "hyperspy", "sklearn", "hdf5plugin", "optuna"}
# Engines serve any density, and know no model.
ENGINES = ("explorers", "tempering", "numpyro_support")
MODELS = ("spectrum", "factorisation")


def name_of(path):
    return str(path.relative_to(PACKAGE))


def layer(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "top" if parts == ("__init__",) else parts[0]


@cache
def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path):
    """(module as written from the root, is it inside a function, line) of every import."""
    tree = tree_of(path)
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


def file_of(name):
    """The file that an imported name of the package stands in, or is."""
    parts = name.split(".")[1:]
    for length in range(len(parts), -1, -1):
        stem = PACKAGE.joinpath(*parts[:length])
        for path in (stem.with_suffix(".py"), stem / "__init__.py"):
            if (length and path.is_file()) or (not length and path.name == "__init__.py"):
                return path
    raise AssertionError(name)


def lines(path, wrong):
    return [f"{path.relative_to(ROOT)}:{line}: {name}" for name, line in wrong]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_run_one_way(path):
    here = layer(path)
    own = [(name.split("."), line) for name, _, line in imports(path) if name.startswith("jaxunmix.")]
    # `from .. import __version__` takes a name of the package, not of a folder.
    wrong = [
        (".".join(name), line)
        for name, line in own
        if name[1] not in ("__version__", here) and HEIGHTS[name[1]] >= HEIGHTS[here]
    ]
    assert lines(path, wrong) == []


def test_every_folder_has_a_height():
    assert {layer(path) for path in FILES} == set(HEIGHTS)


def test_no_circle_of_files():
    """Imports that only type checkers follow count too."""
    graph = {
        path: {file_of(name) for name, _, _ in imports(path) if name.split(".")[0] == "jaxunmix"} - {path}
        for path in FILES
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" <- ".join(name_of(path) for path in error.args[1]))


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_know_no_model(engine):
    models = tuple(f"jaxunmix.bayes.{model}" for model in MODELS)
    wrong = [
        (path, name)
        for path in (PACKAGE / "bayes" / engine).rglob("*.py")
        for name, _, _ in imports(path)
        if name.startswith(models)
    ]
    assert wrong == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_packages_stay_in_their_layer(path):
    wrong = [
        (name, line)
        for name, _, line in imports(path)
        if layer(path) not in HOMES.get(name.split(".")[0], {layer(path)})
    ]
    assert lines(path, wrong) == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_only_optional_packages_are_imported_inside_functions(path):
    wrong = [(name, line) for name, inside, line in imports(path) if inside and name.split(".")[0] not in OPTIONAL]
    assert lines(path, wrong) == []


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_a_folder_holds_a_dozen_files(folder):
    assert len(list(folder.glob("*.py"))) <= 12


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_and_functions_are_small(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    wrong = []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            if body and node.end_lineno - body[0].lineno + 1 > 40:
                wrong.append((f"{node.name} has {node.end_lineno - body[0].lineno + 1} lines", node.lineno))
    assert lines(path, wrong) == []


def test_no_module_bears_the_name_of_something_that_its_parent_exports():
    """After `from .scan import scan` the module could not be reached any more."""
    packages = [jaxunmix.__name__, *(m.name for m in pkgutil.walk_packages(jaxunmix.__path__, "jaxunmix.") if m.ispkg)]
    wrong = []
    for package in map(importlib.import_module, packages):
        for _, name, _ in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{name}")
            if not isinstance(getattr(package, name), ModuleType):
                wrong.append(f"{package.__name__}.{name}")
    assert wrong == []


def test_matplotlib_has_no_global_state():
    wrong = [(p, name) for p in FILES for name, _, _ in imports(p) if "pyplot" in name]
    assert wrong == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_is_pickled(path):
    tree = tree_of(path)
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
