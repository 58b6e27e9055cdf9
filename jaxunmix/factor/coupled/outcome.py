"""What a coupled fit gives back."""

from collections.abc import Iterator
from typing import Any

import equinox as eqx
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int

from ..._util.validation import check_mapping
from ...data.image import SpectrumImage
from ..solution import Restarts, Solution, Status


class CoupledSolution(eqx.Module):
    """The best restart: a `Solution` for each block, by its name.

    Attributes:
        blocks: of each block its solution; its maps and spectra hold its deviations, its objective is its own, in the
            units of its data.
        maps: (pixels, K) that are shared; None where each block has its own.
        spectra: (K, channels) that are shared, or coefficients; None where each block has its own.
        deviations: of each block that has one: by side, (pixels, K) or (K, channels).
        noise: the standard deviation of an entry of each block by which it was weighed, 1 for counts.
        objective: of all blocks together.
        trace: (checks,) the same at the steps `trace_steps`.
        trace_steps: (checks,).
        steps: steps taken.
        code: the number of `status`.
        restarts: the outcome of all of them.
    """

    blocks: dict[str, Solution]
    maps: Float[Array, "pixels components"] | None
    spectra: Float[Array, "components columns"] | None
    deviations: dict[str, dict[str, Array]]
    noise: dict[str, float] = eqx.field(static=True)
    objective: Float[Array, ""]
    trace: Float[Array, " checks"]
    trace_steps: Int[Array, " checks"]
    steps: Int[Array, ""]
    code: Int[Array, ""]
    restarts: Restarts

    @property
    def status(self) -> Status:
        """Why the kept restart stopped."""
        return Status.of(self.code)

    @property
    def rank(self) -> int:
        """The number of components."""
        return next(iter(self.blocks.values())).rank

    def __getitem__(self, name: str) -> Solution:
        if name not in self.blocks:
            raise KeyError(f"{name!r} is no block; the blocks are {', '.join(self.blocks)}.")
        return self.blocks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.blocks)

    def __len__(self) -> int:
        return len(self.blocks)

    def __repr__(self) -> str:
        return (
            f"CoupledSolution(K={self.rank}, blocks: {', '.join(self.blocks)}, objective={float(self.objective):.6g}, "
            f"steps={int(self.steps)}, {self.status.name}; {len(self.restarts.objective)} restarts)"
        )

    def to_xarray(self, images: Any = None) -> xr.DataTree:
        """A node for each block, as `Solution.to_xarray` gives it, with "deviation_maps" or "deviation_spectra".

        Args:
            images: name -> the image that made the block's matrix, for its axes; those left out have plain dims.

        Raises:
            ValueError: a name that is no block, or an image of another number of pixels or channels.
        """
        images = {} if images is None else check_mapping(images, "images", '{"eels": img}')
        for name in images:
            if name not in self.blocks:
                raise ValueError(f"images names {name!r}, which is no block; the blocks are {', '.join(self.blocks)}.")
        nodes = {}
        for name, solution in self.blocks.items():
            img: SpectrumImage | None = images.get(name)
            dataset = solution.to_xarray(img)
            for side, rows in self.deviations.get(name, {}).items():
                values = np.asarray(rows)
                if img is None:
                    array = xr.DataArray(values.T if side == "maps" else values, dims=dataset[side].dims)
                else:
                    array = img.to_maps(values) if side == "maps" else img.to_spectra(values)
                dataset[f"deviation_{side}"] = array
            nodes[name] = dataset.assign_attrs(noise=self.noise[name])
        return xr.DataTree.from_dict({f"/{name}": dataset for name, dataset in nodes.items()})
