"""Parts of the HTML pages: sections, tables, figures inside, and the file around them."""

import base64
import io
import json
import os
import platform
from collections.abc import Iterable, Sequence
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from PIL import Image

from ..._util.files import replacing
from ..._util.validation import check_instance, check_path
from ...data.image import SpectrumImage
from ..plots.factors import check_image

_STYLE = """
:root{color-scheme:light dark;--ink:#1a1a1a;--paper:#fff;--dim:#5c5c5c;--rule:#d8d8d8;--panel:#f5f5f5}
@media(prefers-color-scheme:dark){:root{--ink:#e8e8e8;--paper:#181818;--dim:#a6a6a6;--rule:#3c3c3c;--panel:#242424}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:58rem;padding:1rem;font:1rem/1.5 system-ui,sans-serif;color:var(--ink);
background:var(--paper);overflow-wrap:anywhere}
h1{font-size:1.5rem;line-height:1.25;margin:.5rem 0}h2{font-size:1.15rem;margin:2rem 0 .5rem}
p{margin:.5rem 0}.dim,figcaption{color:var(--dim);font-size:.9rem}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.95rem}
th,td{text-align:left;vertical-align:top;padding:.3rem .9rem .3rem 0;border-bottom:1px solid var(--rule)}
th{overflow-wrap:normal}th[scope=row]{min-width:7.5rem}
td.number{text-align:right;font-variant-numeric:tabular-nums}thead th{font-size:.85rem;color:var(--dim)}
figure{margin:1rem 0}img{display:block;max-width:100%;height:auto;background:#fff;border-radius:4px}
pre{background:var(--panel);padding:.6rem .8rem;border-radius:4px;white-space:pre-wrap;font-size:.85rem}
.swatch{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.4em;border:1px solid var(--rule)}
"""

_SHARPNESS = 1.5  # pixels of a figure for each pixel of the page, for dense screens


def check_page(path: Any, img: Any, **texts: Any) -> None:
    """Refuse what a page cannot be made of, before its figures are drawn."""
    check_path(path, "path")
    check_image(img)
    for name, text in texts.items():
        check_instance(text, (str, type(None)), name, '"a text"')


def write(path: str | os.PathLike[str], heading: str, sections: Sequence[str]) -> Path:
    """Writes a page that needs no other file: under another name first, then moved into place."""
    html = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(heading)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join([f"<h1>{escape(heading)}</h1>", *filter(None, sections)])
        + "\n</body>\n</html>\n"
    )
    target = Path(path)
    with replacing(target) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return target


def section(heading: str, content: str) -> str:
    """A heading and what stands below it; nothing where there is nothing."""
    return f"<section>\n<h2>{escape(heading)}</h2>\n{content}\n</section>" if content else ""


def table(rows: Iterable[tuple[str, str]]) -> str:
    """Two columns of plain text, escaped here."""
    lines = [f'<tr><th scope="row">{escape(a)}</th><td>{escape(b)}</td></tr>' for a, b in rows if b]
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def cell(text: str, number: bool = False) -> str:
    """A cell of plain text; numbers stand to the right."""
    return f'<td class="number">{escape(text)}</td>' if number else f"<td>{escape(text)}</td>"


def grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with a head of plain text, and rows of cells."""
    top = "".join(f'<th scope="col">{escape(text)}</th>' for text in head)
    body = "".join(f"<tr>{''.join(cells)}</tr>" for cells in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def figure(drawn: Figure, caption: str) -> str:
    """A figure as a picture inside the page; the caption is its alternative text too."""
    buffer, small = io.BytesIO(), io.BytesIO()
    drawn.savefig(buffer, format="png", dpi=_SHARPNESS * drawn.dpi)
    # 256 colours are enough for these figures and make the page several times smaller.
    with Image.open(buffer) as picture:
        width, height = (round(side / _SHARPNESS) for side in picture.size)
        palette = picture.convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        palette.save(small, format="png", optimize=True)
    data = base64.b64encode(small.getvalue()).decode("ascii")
    text = escape(caption)
    return (
        f'<figure><img src="data:image/png;base64,{data}" width="{width}" height="{height}" alt="{text}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def listed(text: str) -> str:
    """A JSON list in words, other text as it is."""
    try:
        values = json.loads(text)
    except ValueError:
        return text
    return ", ".join(str(value) for value in values) if isinstance(values, list) else text


def data_rows(result: xr.Dataset, img: SpectrumImage | None) -> list[tuple[str, str]]:
    """What was measured: the file, the axes, the pixels and channels in use."""
    maps, spectra = result["maps"], result["spectra"]
    rows = [("File", _source(result, img))]
    rows += [("Map", _axes(maps)), ("Spectrum", _axes(spectra))]
    for what, values in (("Pixels", maps), ("Channels", spectra)):
        live = np.isfinite(values.values).all(axis=0)
        left_out = f" ({live.size - live.sum()} masked, of {live.size})" if not live.all() else ""
        rows.append((what, f"{live.sum()}{left_out}"))
    if img is not None:
        rows.append(("Intensity", f"{img.data.attrs.get('units', 'no unit')}, {img.data.dtype}"))
        rows.append(("Mean total of a spectrum", f"{float(img.total_map().mean()):.5g}"))
    return rows


def _source(result: xr.Dataset, img: SpectrumImage | None) -> str:
    files = [
        str(parameters["file"])
        for step in _steps(result, img)
        if isinstance(parameters := step.get("parameters"), dict) and "file" in parameters
    ]
    return ", ".join(files)


def _axes(values: xr.DataArray) -> str:
    """Such as "y: 64, 0 to 31.5 nm"."""
    parts = []
    for dim in values.dims[1:]:
        text = f"{dim}: {values.sizes[dim]}"
        if dim in values.coords and values[dim].dtype.kind in "iuf":
            ends = values[dim].values[[0, -1]]
            text += f", {ends[0]:.6g} to {ends[1]:.6g} {values[dim].attrs.get('units', '')}".rstrip()
        parts.append(text)
    return "; ".join(parts) or "a single spectrum"


def provenance(result: xr.Dataset, img: SpectrumImage | None) -> str:
    """A table of the processing steps."""
    rows = []
    for number, step in enumerate(_steps(result, img), start=1):
        parameters = step.get("parameters", {})
        if isinstance(parameters, dict):
            text = ", ".join(f"{key} = {_short(value)}" for key, value in parameters.items())
        else:
            text = _short(parameters)
        rows.append((f"{number}. {step.get('step', 'step')}", text or "no parameters"))
    return table(rows) if rows else ""


def _steps(result: xr.Dataset, img: SpectrumImage | None) -> list[dict[str, Any]]:
    """The provenance, from the image or as the result carries it."""
    if img is not None:
        return [dict(step) for step in img.provenance]
    try:
        steps = json.loads(result.attrs.get("provenance", "[]"))
    except (TypeError, ValueError):
        return [{"step": "provenance", "parameters": str(result.attrs["provenance"])}]
    return [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else text[:197] + "..."


def reproduction(result: xr.Dataset, command: str | None) -> str:
    """What was typed, and the versions."""
    versions = [f"jaxunmix {result.attrs.get('jaxunmix_version', 'of unknown version')}"]
    for package in ("jax", "numpy", "xarray"):
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    versions.append(f"Python {platform.python_version()}")
    printed = f"<pre>{escape(command)}</pre>" if command else ""
    return f'{printed}<p class="dim">{escape(", ".join(versions))}</p>'
