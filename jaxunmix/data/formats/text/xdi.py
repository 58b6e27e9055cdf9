"""XDI 1.0, X-ray absorption spectra (Ravel and Newville, J. Phys.: Conf. Ser. 712 (2016) 012148)."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..base import Format
from ..items import Item
from .parsing import parse_columns, spectrum_item


@contextmanager
def read_xdi(path: Path) -> Iterator[list[Item]]:
    """An XDI file: each column by its name; and the absorption, where the file only has what it is made of.

    mutrans = ln(i0 / itrans), mufluor = ifluor / i0 and murefer = ln(itrans / irefer) are computed unless the
    file has them. Where there is exactly one of mutrans and mufluor, it alone is offered without being named.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    if not re.match(r"\s*#\s*XDI", text):
        raise ValueError(f"cannot read {path.name}: not an XDI file (its first line must begin with '# XDI/')")
    header = dict(re.findall(r"(?m)^#[ \t]*Column\.(\d+):[ \t]*(\S.*?)[ \t]*$", text))
    _, table = parse_columns("\n".join(line for line in text.splitlines() if not line.startswith("#")), path)
    columns: dict[str, np.ndarray] = {}
    units = ""
    for i in range(table.shape[1]):
        name, *rest = header.get(str(i + 1), f"column{i + 1}").split("||")[0].split()
        columns[name] = table[:, i]
        units = rest[0] if name == "energy" and rest else units
    if "energy" not in columns:
        raise ValueError(f"{path.name} has no energy column, only {list(columns)}; convert angle to energy first")
    energy = columns.pop("energy")
    made = _compute_absorption(columns)
    items = [spectrum_item(n, energy, v, "energy", units or "eV") for n, v in (made | columns).items()]
    yield [replace(i, preferred=i.name in ("mutrans", "mufluor")) for i in items]


def _compute_absorption(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    made = {}
    with np.errstate(divide="ignore", invalid="ignore"):  # a dead detector gives inf or nan, refused by matrix()
        for name, top, bottom, log in (
            ("mutrans", "i0", "itrans", True),
            ("mufluor", "ifluor", "i0", False),
            ("murefer", "itrans", "irefer", True),
        ):
            if name not in columns and {top, bottom} <= columns.keys():
                ratio = columns[top] / columns[bottom]
                made[name] = np.log(ratio) if log else ratio
    return made


XDI = Format("XDI", (".xdi",), read_xdi)
