"""Athena projects, as Demeter writes them: gzipped Perl assignments, which are parsed here and never run."""

import gzip
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..base import Format
from ..items import Item
from .parsing import spectrum_item


@contextmanager
def read_athena(path: Path) -> Iterator[list[Item]]:
    """An Athena project: mu(E) of each group by its label (a repeated label gets the group's name appended)."""
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8", errors="replace")
    if "@x" not in text or "@y" not in text:
        raise ValueError(f"cannot read {path.name}: not an Athena project (no @x and @y in it)")
    items: dict[str, Item] = {}
    for block in re.split(r"(?m)^\$old_group\s*=\s*", text)[1:]:
        group = block.split(";", 1)[0].strip().strip("'\"")
        lists = {k: _parse_perl_list(v) for k, v in re.findall(r"(?ms)^@(\w+)\s*=\s*\((.*?)\);\s*$", block)}
        if not {"x", "y"} <= lists.keys():
            continue
        options = lists.get("args", [])
        label = dict(zip(options[::2], options[1::2], strict=False)).get("label") or group
        label = f"{label} ({group})" if label in items else label
        x, y = (np.array(lists[k], float) for k in ("x", "y"))
        if x.shape != y.shape:
            raise ValueError(f"{path.name}, group '{label}': {x.size} energies but {y.size} values")
        items[label] = spectrum_item(label, x, y, "energy", "eV")
    yield list(items.values())


def _parse_perl_list(text: str) -> list[str]:
    quoted = re.findall(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"|([^\s,'\"]+)", text)
    return [re.sub(r"\\(.)", r"\1", a or b or c) for a, b, c in quoted]


ATHENA = Format("Athena project", (".prj",), read_athena)
