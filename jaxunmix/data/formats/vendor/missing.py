"""Packages that are not there, by the name under which pip brings them."""

from pathlib import Path

# What pip calls a package that is imported under another name.
_PIP_NAMES = {
    "skimage": "scikit-image",
    "PIL": "pillow",
    "box": "python-box",
    "dateutil": "python-dateutil",
    "yaml": "pyyaml",
    "skbeam": "scikit-beam",
}


class MissingPackageError(ImportError, ValueError):
    """A file cannot be read (a ValueError) because a package is not installed (an ImportError)."""


def needs(path: Path, what: str, package: str) -> MissingPackageError:
    """The error for a package that is needed for a file.

    Args:
        path: the file.
        what: needs the package, in words.
        package: as it is imported. The `vendor` extra brings it, except pyUSID, which asks for a hundred more.
    """
    name = _PIP_NAMES.get(package.partition(".")[0], package.partition(".")[0])
    remedy = f"pip install {name}"
    if name != "pyUSID":
        remedy += " (or pip install 'jaxunmix[vendor]', which brings what other vendors' formats need, too)"
    return MissingPackageError(f"cannot read {path.name}: {what} needs {name}, which is not installed: {remedy}")
