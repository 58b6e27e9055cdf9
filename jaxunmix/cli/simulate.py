"""`jaxunmix simulate`: spectrum images with known truth."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import jax
import typer
import xarray as xr

from .. import simulate
from ..data import io
from ..data.image import SpectrumImage
from . import options as opt
from .app import app
from .options import Kind

# Each simulation, and the argument that says how many pixels it has.
_KINDS: Mapping[Kind, tuple[Callable[..., tuple[SpectrumImage, simulate.Truth]], str]] = {
    Kind.edx_phases: (simulate.edx_phases, "shape"),
    Kind.eels_oxides: (simulate.eels_oxides, "shape"),
    Kind.line_scan: (simulate.line_scan, "length"),
    Kind.xas_domains: (simulate.xas_domains, "shape"),
    Kind.battery_xas: (simulate.battery_xas, "shape"),
    Kind.patterns: (simulate.patterns, "shape"),
    Kind.nanosheets: (simulate.nanosheets, "shape"),
    Kind.mixture: (simulate.mixture, "pixels"),
}


@app.command(name="simulate")
def simulate_(
    kind: Annotated[Kind, typer.Argument(help="What to simulate.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="File to write: .npz, .h5, .hspy, .zarr or .nc.", show_default=False)
    ],
    seed: opt.SeedOption = 0,
    size: Annotated[
        int | None,
        typer.Option(min=1, help="Pixels along a side (in all, for a line or a mixture); 32 for nanosheets."),
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(min=1, help="Channels (along a side, for patterns and nanosheets, where 64 are the default)."),
    ] = None,
    counts: Annotated[float | None, typer.Option(help="Expected counts per spectrum.", show_default=False)] = None,
) -> None:
    """Write a simulated spectrum image, and beside it the truth: true maps and spectra, in OUT-truth.nc.

    jaxunmix simulate eels-oxides --out oxides.npz --counts 500
    """
    generator, pixels = _KINDS[kind]
    wanted: dict[str, Any] = {}
    if kind is Kind.nanosheets:
        # Those of the publication, 100 and 128, take 650 MB.
        size, channels = size or 32, channels or 64
    if size is not None:
        wanted[pixels] = (size, size) if pixels == "shape" else size
    if channels is not None:
        patterned = "detector" in inspect.signature(generator).parameters
        wanted |= {"detector": (channels, channels)} if patterned else {"channels": channels}
    if counts is not None:
        if "counts" not in inspect.signature(generator).parameters:
            raise ValueError(f"--counts: {kind.value} is absorbance with Gaussian noise; leave it out")
        wanted["counts"] = counts
    if kind is Kind.mixture:
        wanted["noise"] = "poisson"
    img, truth = generator(jax.random.key(seed), **wanted)
    io.save(img, out)
    beside = out.with_name(f"{out.stem}-truth.nc")
    names = {"component": list(truth.names)}
    maps, spectra = img.to_maps(truth.maps), img.to_spectra(truth.spectra)
    parts = {"maps": maps, "spectra": spectra}
    if truth.reference is not None:
        parts["reference"] = img.to_spectra(truth.reference[None])[0].drop_vars("component", errors="ignore")
    io.save_dataset(xr.Dataset(parts).assign_coords(names), beside)
    print(f"image  {out}\ntruth  {beside}")
