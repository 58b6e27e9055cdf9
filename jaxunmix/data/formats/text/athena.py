"""Athena projects: gzipped Perl assignments, which are parsed here and never run, or JSON (Demeter from 0.9.25 on)."""

import gzip
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..base import Format
from ..items import Item
from .parsing import spectrum_item


@contextmanager
def read_athena(path: Path) -> Iterator[list[Item]]:
    """An Athena project: mu(E) of each group by its label (a repeated label gets the group's name appended).

    The energies are those that Athena shows: with the group's energy shift (`bkg_eshift`), which goes on record.
    """
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8", errors="replace")
    groups = _parse_json(text, path) if text.lstrip().startswith("{") else _parse_perl(text, path)
    items: dict[str, Item] = {}
    for group, args, x, y in groups:
        label = str(args.get("label") or group)
        label = f"{label} ({group})" if label in items else label
        items[label] = _group_item(path, label, args, x, y)
    yield list(items.values())


def _group_item(path: Path, label: str, args: Mapping[str, Any], x: np.ndarray, y: np.ndarray) -> Item:
    if x.shape != y.shape:
        raise ValueError(f"{path.name}, group '{label}': {x.size} energies but {y.size} values")
    if _number(args.get("is_chi")):
        return spectrum_item(label, x, y, "k", "1/angstrom")
    shift = _number(args.get("bkg_eshift"))
    if shift == 0:
        return spectrum_item(label, x, y, "energy", "eV")
    return replace(spectrum_item(label, x + shift, y, "energy", "eV"), record={"energy_shift_eV": shift})


def _number(value: Any) -> float:
    """A number of Athena's, 0 where it is not set."""
    try:
        return float(value or 0)
    except (TypeError, ValueError):
        return 0.0


_Group = tuple[str, Mapping[str, Any], np.ndarray, np.ndarray]


def _parse_json(text: str, path: Path) -> list[_Group]:
    try:
        project = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"cannot read {path.name}: truncated, or not an Athena project ({error})") from error
    named = {name: g for name, g in project.items() if isinstance(g, dict) and {"x", "y"} <= g.keys()}
    if not named:
        raise ValueError(f"cannot read {path.name}: not an Athena project (no group with x and y in it)")
    listed = project.get("_____order")
    order = [n for n in listed if n in named] if isinstance(listed, list) else []
    order += [n for n in named if n not in order]
    return [
        (n, named[n].get("args") or {}, np.array(named[n]["x"], float), np.array(named[n]["y"], float)) for n in order
    ]


def _parse_perl(text: str, path: Path) -> list[_Group]:
    if "@x" not in text or "@y" not in text:
        raise ValueError(f"cannot read {path.name}: not an Athena project (no @x and @y in it)")
    found: list[_Group] = []
    for block in re.split(r"(?m)^\$old_group\s*=\s*", text)[1:]:
        group = block.split(";", 1)[0].strip().strip("'\"")
        lists = {k: _parse_perl_list(v) for k, v in re.findall(r"(?ms)^@(\w+)\s*=\s*\((.*?)\);\s*$", block)}
        if not {"x", "y"} <= lists.keys():
            continue
        options = lists.get("args", [])
        args = {k: "" if v == "undef" else v for k, v in zip(options[::2], options[1::2], strict=False)}
        x, y = (np.array(lists[k], float) for k in ("x", "y"))
        found.append((group, args, x, y))
    return found


_QUOTED = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""


def _parse_perl_list(text: str) -> list[str]:
    # A list within the list, such as that of titles, is one value: counted word by word it would shift all after it.
    tokens = re.findall(rf"({_QUOTED})|(\[(?:{_QUOTED}|[^\]'\"])*\])|([^\s,'\"]+)", text)
    return [re.sub(r"\\(.)", r"\1", quoted[1:-1]) if quoted else nested or bare for quoted, nested, bare in tokens]


ATHENA = Format("Athena project", (".prj",), read_athena)
