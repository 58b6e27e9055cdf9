"""One self-contained HTML page of a result: what was fitted, the figures, and how to make it again."""

import base64
import io
import json
import os
import platform
import tempfile
from collections.abc import Iterable
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from PIL import Image

from jaxunmix.data.image import SpectrumImage
from jaxunmix.data.simulate import Truth

from . import plots
from .draw import colour
from .metrics import match, relative_residual

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

# What each outcome means and what to do about it.
_STATUS = {
    "CONVERGED": ("converged", "The objective no longer falls: nothing to do."),
    "MAX_STEPS": (
        "stopped at the step limit",
        "The objective was still falling. Raise max_steps, or rtol if this is close enough, and fit again.",
    ),
    "INTERRUPTED": (
        "interrupted",
        "The best factors until then are shown. Run it again, from the checkpoint if there is one.",
    ),
    "NON_FINITE": (
        "became NaN or infinite",
        "The last finite factors are shown and should not be used. Look for extreme values in the data, lower "
        "the weights of the penalties, or take another update.",
    ),
}


def write(
    path: str | os.PathLike[str],
    result: xr.Dataset,
    img: SpectrumImage | None = None,
    truth: Truth | None = None,
    title: str | None = None,
    command: str | None = None,
) -> Path:
    """Writes one HTML file that needs no other: no scripts, no links, figures inside.

    The file appears whole or not at all: it is written under another name and then moved into place.

    Args:
        path: where to; an existing file is replaced.
        result: Dataset of `Solution.to_xarray`.
        img: the image that was fitted; adds its description, the total map and the residuals.
        truth: for simulated data, of the live pixels and channels; adds the comparison.
        title: heading, by default the name of the image.
        command: what was run, to be printed on the page.

    Returns:
        The path.

    Raises:
        ValueError: where `result` lacks maps or spectra, or does not fit `img` or `truth`.
        OSError: where the file cannot be written.
    """
    name = str(img.data.name) if img is not None and img.data.name is not None else None
    heading = title or name or "Unmixing result"
    body = [
        f"<h1>{escape(heading)}</h1>",
        _section("Data", _table(_data_rows(result, img))),
        _section("Fit", _table(_fit_rows(result, img)) + _caution(result)),
        _section("Components", _figures(result, img, truth) + _component_table(result, truth)),
        _section("Processing steps", _provenance(result, img)),
        _section("To make it again", _reproduction(result, command)),
    ]
    html = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(heading)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + "\n</body>\n</html>\n"
    )
    target = Path(path)
    _write_atomically(target, html)
    return target


def _section(heading: str, content: str) -> str:
    return f"<section>\n<h2>{escape(heading)}</h2>\n{content}\n</section>" if content else ""


def _table(rows: Iterable[tuple[str, str]]) -> str:
    """Two columns of plain text, escaped here."""
    lines = [f'<tr><th scope="row">{escape(a)}</th><td>{escape(b)}</td></tr>' for a, b in rows if b]
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def _data_rows(result: xr.Dataset, img: SpectrumImage | None) -> list[tuple[str, str]]:
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


def _fit_rows(result: xr.Dataset, img: SpectrumImage | None) -> list[tuple[str, str]]:
    attrs = result.attrs
    rows = [("Components K", str(result.sizes["component"]))]
    for key, words in (
        ("loss", "Loss"),
        ("update", "Update"),
        ("initial", "Start"),
        ("penalties", "Penalties"),
        ("constraints", "Constraints"),
    ):
        rows.append((words, _listed(str(attrs.get(key, "")))))
    if "objective" in attrs:
        rows.append(("Objective", f"{float(attrs['objective']):.7g}"))
    rows += [("Status", _status(attrs)), ("Steps", str(attrs.get("steps", "")))]
    if "restart_objective" in result:
        rows.append(("Restarts", _spread(result["restart_objective"].values)))
    if img is not None and np.any(img.live()):
        rows.append(("Relative residual", f"{_residual(result, img):.4g}"))
    return rows


def _listed(text: str) -> str:
    """A JSON list in words, other text as it is."""
    try:
        values = json.loads(text)
    except ValueError:
        return text
    return ", ".join(str(value) for value in values) if isinstance(values, list) else text


def _status(attrs: dict[Any, Any]) -> str:
    status = str(attrs.get("status", ""))
    words, advice = _STATUS.get(status.upper(), (status, str(attrs.get("status_meaning", ""))))
    return ". ".join(filter(None, (words[:1].upper() + words[1:], advice)))


def _spread(objectives: np.ndarray) -> str:
    finite = objectives[np.isfinite(objectives)].astype(float)
    if finite.size == 0:
        return f"none of {objectives.size} ended with a finite objective"
    best = finite.min()
    near = int(np.sum(finite <= best + 1e-3 * abs(best)))
    worst = 100 * (finite.max() - best) / (abs(best) or 1.0)
    text = f"{near} of {objectives.size} within 0.1 % of the best; the farthest {worst:.2g} % above it"
    bad = objectives.size - finite.size
    return text + (f"; {bad} not finite" if bad else "")


def _residual(result: xr.Dataset, img: SpectrumImage) -> float:
    maps, spectra = (result[name].values.reshape(result.sizes["component"], -1) for name in ("maps", "spectra"))
    live = np.isfinite(maps).all(axis=0), np.isfinite(spectra).all(axis=0)
    return relative_residual(img.live(), maps[:, live[0]].T, spectra[:, live[1]])


def _caution(result: xr.Dataset) -> str:
    if "restart_objective" not in result:
        return ""
    return (
        '<p class="dim">Restarts that agree make a chance result less likely. A lower objective is not by itself '
        "a better answer: different maps and spectra can describe the data equally well, and more components "
        "always describe them more closely. Judge the spectra by what is known of the material.</p>"
    )


def _figures(result: xr.Dataset, img: SpectrumImage | None, truth: Truth | None) -> str:
    count = result.sizes["component"]
    parts = [_figure(plots.overview(result, img), f"Maps and spectra of the {count} components")]
    if truth is not None:
        figure = plots.comparison(result, truth.maps, truth.spectra, truth.names)
        parts.append(_figure(figure, "The truth of the simulation, and the estimate matched to it"))
    if img is not None:
        figure = plots.residuals(result, img)
        parts.append(_figure(figure, "What the model leaves of the data, per pixel and per channel"))
    if "trace" in result:
        parts.append(_figure(plots.convergence(result), "The objective during the fit, and of each restart"))
    return "\n".join(parts)


def _figure(figure: Figure, caption: str) -> str:
    buffer, small = io.BytesIO(), io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_SHARPNESS * figure.dpi)
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


def _component_table(result: xr.Dataset, truth: Truth | None) -> str:
    """Share of the total intensity and place of the highest point of each component."""
    maps, spectra = result["maps"], result["spectra"]
    count = result.sizes["component"]
    flat = np.nan_to_num(spectra.values.reshape(count, -1).astype(float))
    weight = np.nansum(np.abs(maps.values.reshape(count, -1).astype(float)), axis=1) * np.abs(flat).sum(axis=1)
    share = weight / (weight.sum() or 1.0)
    angles = _angles(result, truth)
    head = ["Component", "Share of the intensity", "Highest at", *(["Truth"] if truth is not None else [])]
    lines = []
    for k in range(count):
        name = str(result["component"].values[k]) if "component" in result.coords else str(k)
        swatch = f'<span class="swatch" style="background:{colour(k)}"></span>'
        cells = [f"<td>{swatch}{escape(name)}</td>", f'<td class="number">{100 * share[k]:.1f} %</td>']
        cells.append(f"<td>{escape(_peak(spectra, flat[k]))}</td>")
        if truth is not None:
            cells.append(f"<td>{escape(angles[k])}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    top = "".join(f'<th scope="col">{escape(text)}</th>' for text in head)
    body = "".join(lines)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _peak(spectra: xr.DataArray, row: np.ndarray) -> str:
    """Where a spectrum, without sign, is highest."""
    if not row.any():
        return "nowhere: the spectrum is zero"
    parts = []
    for dim, i in zip(spectra.dims[1:], np.unravel_index(np.argmax(np.abs(row)), spectra.shape[1:]), strict=True):
        if dim in spectra.coords:
            value = f"{spectra[dim].values[i]:.6g} {spectra[dim].attrs.get('units', '')}".rstrip()
        else:
            value = f"channel {i}"
        parts.append(f"{dim} {value}")
    return ", ".join(parts)


def _angles(result: xr.Dataset, truth: Truth | None) -> list[str]:
    """For each component the true one it stands for and their angle."""
    count = result.sizes["component"]
    texts = ["none"] * count
    if truth is not None:
        flat = result["spectra"].values.reshape(count, -1)
        found = match(flat[:, np.isfinite(flat).all(axis=0)], truth.spectra)
        for k, j in enumerate(found.order.tolist()):
            if j >= 0:
                texts[j] = f"{truth.names[k]}, {found.angles[k]:.1f}°"
    return texts


def _steps(result: xr.Dataset, img: SpectrumImage | None) -> list[dict[str, Any]]:
    """The provenance, from the image or as the result carries it."""
    if img is not None:
        return [dict(step) for step in img.provenance]
    try:
        steps = json.loads(result.attrs.get("provenance", "[]"))
    except (TypeError, ValueError):
        return [{"step": "provenance", "parameters": str(result.attrs["provenance"])}]
    return [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []


def _provenance(result: xr.Dataset, img: SpectrumImage | None) -> str:
    rows = []
    for number, step in enumerate(_steps(result, img), start=1):
        parameters = step.get("parameters", {})
        if isinstance(parameters, dict):
            text = ", ".join(f"{key} = {_short(value)}" for key, value in parameters.items())
        else:
            text = _short(parameters)
        rows.append((f"{number}. {step.get('step', 'step')}", text or "no parameters"))
    return _table(rows) if rows else ""


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else text[:197] + "..."


def _reproduction(result: xr.Dataset, command: str | None) -> str:
    versions = [f"jaxunmix {result.attrs.get('jaxunmix_version', 'of unknown version')}"]
    for package in ("jax", "numpy", "xarray"):
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    versions.append(f"Python {platform.python_version()}")
    printed = f"<pre>{escape(command)}</pre>" if command else ""
    return f'{printed}<p class="dim">{escape(", ".join(versions))}</p>'


def _write_atomically(target: Path, text: str) -> None:
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        # mkstemp makes files for the owner only; a page is made like any other file.
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
