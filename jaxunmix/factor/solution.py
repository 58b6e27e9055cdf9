"""What a fit gives back."""

import enum
import json
import os
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr

from ..data import io
from ..data.image import SpectrumImage


class Status(enum.Enum):
    """Why a fit stopped; the value says it in words."""

    CONVERGED = "the objective's relative decrease per step fell below rtol"
    MAX_STEPS = "max_steps was reached before the objective settled; raise max_steps for a closer fit"
    INTERRUPTED = "interrupted; the factors are the best seen until then"
    NON_FINITE = "the objective became NaN or infinite; the factors are the last finite ones"


@dataclass(frozen=True)
class Restarts:
    """Every restart, in the order they were drawn.

    Attributes:
        objective: (restarts,) the best objective of each, on the data that were fitted (the compressed ones of
            `Compressed`).
        steps: (restarts,) steps taken.
        status: one `Status` each.
        trace: (restarts, checks) the objective at each check, NaN after the restart stopped.
        best: which of them was kept.
    """

    objective: np.ndarray
    steps: np.ndarray
    status: tuple[Status, ...]
    trace: np.ndarray
    best: int


@dataclass(frozen=True)
class Solution:
    """The best restart of a fit.

    Attributes:
        maps: (pixels, K).
        spectra: (K, channels), in channel space whatever the basis.
        coefficients: (K, features) where the spectra are coefficients @ basis, else None.
        objective: loss plus penalties at these factors, on the full data.
        trace: (checks,) the objective at the steps `trace_steps`.
        steps: steps taken.
        status: why the kept restart stopped.
        restarts: the outcome of all of them.
        info: what was fitted, in words: loss, update, initial, rank, penalties, constraints.
    """

    maps: np.ndarray
    spectra: np.ndarray
    coefficients: np.ndarray | None
    objective: float
    trace: np.ndarray
    trace_steps: np.ndarray
    steps: int
    status: Status
    restarts: Restarts
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def rank(self) -> int:
        """The number of components."""
        return self.maps.shape[1]

    def __repr__(self) -> str:
        near = int(np.sum(self.restarts.objective <= self.restarts.objective.min() * 1.001))
        return (
            f"Solution(K={self.rank}, pixels={self.maps.shape[0]}, channels={self.spectra.shape[1]}, "
            f"objective={self.objective:.6g}, steps={self.steps}, {self.status.name}; "
            f"{near} of {len(self.restarts.objective)} restarts within 0.1 % of the best)"
        )

    def to_xarray(self, img: SpectrumImage | None = None) -> xr.Dataset:
        """The labelled result, as files and figures take it.

        Args:
            img: the image that made the matrix, for its axes; without it the dims are "pixel" and "channel".

        Returns:
            A Dataset with "maps" (component, *navigation), "spectra" (component, *signal), "coefficients" where
            there are any, "trace" over "check", and "restart_objective", "restart_steps", "restart_status".

        Raises:
            ValueError: the image has another number of pixels or channels in use.
        """
        if img is None:
            maps = xr.DataArray(self.maps.T, dims=("component", "pixel"))
            spectra = xr.DataArray(self.spectra, dims=("component", "channel"))
            signal_dims: tuple[str, ...] = ("channel",)
        else:
            maps, spectra = img.to_maps(self.maps), img.to_spectra(self.spectra)
            signal_dims = img.signal_dims
        variables = {
            "maps": maps,
            "spectra": spectra,
            "trace": ("check", self.trace),
            "restart_objective": ("restart", self.restarts.objective),
            "restart_steps": ("restart", self.restarts.steps),
            "restart_status": ("restart", [s.name for s in self.restarts.status]),
            "restart_trace": (("restart", "restart_check"), self.restarts.trace),
        }
        if self.coefficients is not None:
            variables["coefficients"] = (("component", "feature"), self.coefficients)
        coords = {"component": np.arange(self.rank), "step": ("check", self.trace_steps)}
        attrs = {
            **{
                key: value if isinstance(value, int | float | str) else json.dumps(value)
                for key, value in self.info.items()
            },
            "objective": self.objective,
            "steps": self.steps,
            "status": self.status.name,
            "status_meaning": self.status.value,
            "best_restart": self.restarts.best,
            "signal_dims": list(signal_dims),
            "jaxunmix_version": version("jaxunmix"),
            "provenance": json.dumps([] if img is None else list(img.provenance), default=str),
        }
        return xr.Dataset(variables, coords, attrs)

    def save(self, path: str | os.PathLike, img: SpectrumImage | None = None) -> None:
        """Write `to_xarray(img)` as netCDF, apart from the data, in one atomic step."""
        io.save_dataset(self.to_xarray(img), path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Solution":
        """Read what `save` wrote; maps and spectra come back as (pixels, K) and (K, channels).

        Raises:
            ValueError: not a result of this package.
        """
        ds = io.load_dataset(path)
        missing = {"maps", "spectra", "trace", "restart_objective"} - set(ds)
        if missing:
            raise ValueError(f"{path} holds no Solution: {sorted(missing)} are missing.")
        rank = ds.sizes["component"]
        own = {"objective", "steps", "status", "status_meaning", "best_restart", "signal_dims", "jaxunmix_version"}
        restarts = Restarts(
            objective=ds["restart_objective"].values,
            steps=ds["restart_steps"].values,
            status=tuple(Status[str(name)] for name in ds["restart_status"].values),
            trace=ds["restart_trace"].values,
            best=int(ds.attrs["best_restart"]),
        )
        return cls(
            maps=ds["maps"].transpose("component", ...).values.reshape(rank, -1).T,
            spectra=ds["spectra"].transpose("component", ...).values.reshape(rank, -1),
            coefficients=ds["coefficients"].values if "coefficients" in ds else None,
            objective=float(ds.attrs["objective"]),
            trace=ds["trace"].values,
            trace_steps=ds["step"].values,
            steps=int(ds.attrs["steps"]),
            status=Status[ds.attrs["status"]],
            restarts=restarts,
            info={key: np.asarray(value).item() for key, value in ds.attrs.items() if key not in own | {"provenance"}},
        )
