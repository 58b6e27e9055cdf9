"""`jaxunmix simulate`: spectrum images with known truth."""

import inspect
from pathlib import Path
from typing import Annotated, Any

import jax
import typer
import xarray as xr

from .. import simulate
from ..data import io
from ..data.image import SpectrumImage
from . import options as opt

SIMULATIONS = {
    function.__name__.replace("_", "-"): function
    for function in (
        simulate.edx_phases,
        simulate.eels_oxides,
        simulate.line_scan,
        simulate.silicon_diode,
        simulate.cathode_oxygen,
        simulate.xas_domains,
        simulate.battery_xas,
        simulate.patterns,
        simulate.nanosheets,
        simulate.rod_scans,
        simulate.tof_sims,
        simulate.tunnelling_spectroscopy,
        simulate.mixture,
    )
}
Kind = opt.make_choice("Kind", SIMULATIONS)


def write_simulated(
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
    # Before the simulation, which may take a while.
    io.find_writer(out)
    generator = SIMULATIONS[kind]
    known = inspect.signature(generator).parameters
    wanted: dict[str, Any] = {}
    if kind == "nanosheets":
        # Those of the publication, 100 and 128, take 650 MB.
        size, channels = size or 32, channels or 64
    if size is not None:
        pixels = next(name for name in ("shape", "length", "pixels") if name in known)
        wanted[pixels] = (size, size) if pixels == "shape" else size
    if channels is not None:
        wanted |= {"detector": (channels, channels)} if "detector" in known else {"channels": channels}
    if counts is not None:
        if "counts" not in known:
            raise ValueError(f"--counts: {kind} has Gaussian noise, not counts; leave it out")
        wanted["counts"] = counts
    if kind == "mixture":
        wanted["noise"] = "poisson"
    img, truth = generator(jax.random.key(seed), **wanted)
    io.save(img, out)
    beside = out.with_name(f"{out.stem}-truth.nc")
    io.save_dataset(_label_truth(img, truth), beside)
    print(f"image  {out}\ntruth  {beside}")


def _label_truth(img: SpectrumImage, truth: simulate.Truth) -> xr.Dataset:
    parts = {"maps": img.to_maps(truth.maps), "spectra": img.to_spectra(truth.spectra)}
    if truth.reference is not None:
        parts["reference"] = img.to_spectra(truth.reference[None])[0].drop_vars("component", errors="ignore")
    return xr.Dataset(parts).assign_coords({"component": list(truth.names)})
