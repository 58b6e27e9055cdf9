"""Vendors' formats in HDF5, told by what is in the file; RosettaSciIO's names of them."""

import json
import re
from typing import Any

import h5py


def reader_of(file: h5py.File) -> str | None:
    """RosettaSciIO's name of the format, or None where the file bears no vendor's signature."""
    for name, bears in _SIGNATURES.items():
        if bears(file):
            return name
    return None


def _delmic(file: h5py.File) -> bool:
    groups = [g for k, g in file.items() if re.fullmatch(r"Acquisition\d+", k) and isinstance(g, h5py.Group)]
    return any("ImageData" in g and "PhysicalData" in g and "SVIData" in g for g in groups)


def _tofwerk(file: h5py.File) -> bool:
    return "TofDAQ Version" in file.attrs


def _velox_or_ncem(file: h5py.File) -> bool:
    return _velox(file) or any(
        "version_major" in g.attrs for g in (file, *(g for g in file.values() if isinstance(g, h5py.Group)))
    )


def _velox(file: h5py.File) -> bool:
    version = file.get("Version")
    if not isinstance(version, h5py.Dataset) or version.shape != (1,):
        return False
    try:
        return json.loads(version[0])["format"] in ("Velox", "DevelopersKit")
    except (ValueError, KeyError, TypeError):
        return False


def _usid(file: h5py.File) -> bool:
    wanted = {"Position_Indices", "Position_Values", "Spectroscopic_Indices", "Spectroscopic_Values"}

    def is_main(name: str, node: Any) -> bool | None:
        return True if isinstance(node, h5py.Dataset) and wanted <= set(node.attrs) else None

    return file.visititems(is_main) is True


def _arina(file: h5py.File) -> bool:
    node = file.get("entry/instrument/detector/description")
    return isinstance(node, h5py.Dataset) and "ARINA" in str(node[()]).upper() and "entry/data" in file


_SIGNATURES = {"Delmic": _delmic, "Tofwerk": _tofwerk, "EMD": _velox_or_ncem, "USID": _usid, "Arina": _arina}
