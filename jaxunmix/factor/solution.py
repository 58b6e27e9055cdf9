"""What a fit gives back."""

import enum
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int

from .._util.validation import check_choice, check_instance, check_path
from ..data import io
from ..data.image import SpectrumImage
from .alternatives import Alternatives, Spread, largest_angles, limit_of, spread_of


class Status(enum.Enum):
    """Why a fit stopped; the value says it in words."""

    MAX_STEPS = "max_steps was reached before the objective settled; raise max_steps for a closer fit"
    CONVERGED = "the objective's relative decrease per step fell below rtol"
    NON_FINITE = "the objective became NaN or infinite; the factors are the last finite ones"
    INTERRUPTED = "interrupted; the factors are the best seen until then"

    @property
    def code(self) -> int:
        """Its number in arrays."""
        return list(Status).index(self)

    @classmethod
    def of(cls, code: Any) -> "Status":
        """The status with this number."""
        return list(cls)[int(code)]


class Restarts(eqx.Module):
    """Every restart, in the order they were drawn.

    Attributes:
        objective: (restarts,) the best objective of each, on the data that were fitted (the compressed ones of
            `Compressed`).
        steps: (restarts,) steps taken.
        code: (restarts,) the number of each one's `Status`.
        trace: (restarts, checks) the objective at each check, NaN after the restart stopped.
        best: which of them was kept.
    """

    objective: Float[Array, " restarts"]
    steps: Int[Array, " restarts"]
    code: Int[Array, " restarts"]
    trace: Float[Array, "restarts checks"]
    best: Int[Array, ""]

    @classmethod
    def of(
        cls,
        objective: np.ndarray,
        steps: np.ndarray,
        status: Sequence[Status],
        trace: np.ndarray,
        best: int,
        dtype: Any,
    ) -> "Restarts":
        """From what the host knows of them."""
        return cls(
            jnp.asarray(objective, dtype),
            jnp.asarray(steps, int),
            jnp.asarray([one.code for one in status], int),
            jnp.asarray(trace, dtype),
            jnp.asarray(best, int),
        )

    @property
    def status(self) -> tuple[Status, ...]:
        """Why each of them stopped."""
        return tuple(Status.of(code) for code in np.asarray(self.code))


# Attributes of a file that say what became of the fit, not what was fitted.
_OWN_ATTRS = {"objective", "steps", "status", "status_meaning", "best_restart", "alternatives_tolerance"}
_OWN_ATTRS |= {"signal_dims", "jaxunmix_version", "provenance", "other_ranks"}


class Solution(eqx.Module):
    """The best restart of a fit: arrays of JAX, so that it goes through `jit` and `vmap` as any pytree.

    Attributes:
        maps: (pixels, K).
        spectra: (K, channels), in channel space whatever the basis.
        coefficients: (K, features) where the spectra are coefficients @ basis, else None.
        objective: loss plus penalties at these factors, on the full data.
        trace: (checks,) the objective at the steps `trace_steps`.
        trace_steps: (checks,).
        steps: steps taken.
        code: the number of `status`.
        restarts: the outcome of all of them.
        alternatives: those that fit as well as the best one, without it; see `fit` for which.
        description: what was fitted, as pairs of a name and a value; see `info`.
        relevance: (K,) of each component, where `penalties.ARD` decided which are needed; those that it switched off
            are not in the solution.
        relevance_trace: (checks, K at the start) the relevance of each component, in the order of the start.
    """

    maps: Float[Array, "pixels components"]
    spectra: Float[Array, "components channels"]
    coefficients: Float[Array, "components features"] | None
    objective: Float[Array, ""]
    trace: Float[Array, " checks"]
    trace_steps: Int[Array, " checks"]
    steps: Int[Array, ""]
    code: Int[Array, ""]
    restarts: Restarts
    alternatives: Alternatives
    description: tuple[tuple[str, Any], ...] = eqx.field(static=True, default=())
    relevance: Float[Array, " components"] | None = None
    relevance_trace: Float[Array, "..."] | None = None

    @property
    def status(self) -> Status:
        """Why the kept restart stopped."""
        return Status.of(self.code)

    @property
    def info(self) -> dict[str, Any]:
        """What was fitted, in words: loss, update, initial, rank, penalties, constraints."""
        return {name: list(value) if type(value) is tuple else value for name, value in self.description}

    @property
    def rank(self) -> int:
        """The number of components."""
        return self.maps.shape[1]

    @property
    def labels(self) -> Int[Array, " pixels"]:
        """The component that contributes most to each pixel, by |map| x |spectrum| with the norm of the spectrum.

        From 0 to K - 1, the first of equals; -1 where no component contributes anything.
        """
        share = jnp.abs(self.maps) * jnp.linalg.norm(self.spectra, axis=1)
        return jnp.where(jnp.any(share > 0, axis=1), jnp.argmax(share, axis=1), -1)

    def spread(self, block: str = "spectra") -> Spread:
        """How far the best restart and its alternatives are apart in each entry: `sd`, `low` and `high`.

        It tells how well the data determine an entry only as far as restarts found what fits as well; see also
        `spread_angle`.

        Args:
            block: "spectra", "maps" or, where there is a basis, "coefficients".

        Returns:
            A `Spread` of arrays of the block's shape and unit.

        Raises:
            ValueError: another block, or coefficients where there is no basis.
        """
        blocks = ("spectra", "maps") if self.coefficients is None else ("spectra", "maps", "coefficients")
        check_choice(block, blocks, "block")
        return spread_of(getattr(self, block), getattr(self.alternatives, block))

    @property
    def spread_angle(self) -> Float[np.ndarray, " components"]:
        """(K,) the largest spectral angle in degrees between each component of the best and its alternatives'.

        0 where there are no alternatives.
        """
        return largest_angles(np.asarray(self.spectra), np.asarray(self.alternatives.spectra))

    def __repr__(self) -> str:
        objective = np.asarray(self.restarts.objective)
        near = int(np.sum(objective <= limit_of(float(objective.min()), 0.001)))
        return (
            f"Solution(K={self.rank}, pixels={self.maps.shape[0]}, channels={self.spectra.shape[1]}, "
            f"objective={float(self.objective):.6g}, steps={int(self.steps)}, {self.status.name}; "
            f"{near} of {len(objective)} restarts within 0.1 % of the best)"
        )

    def orthogonalise(self) -> "Solution":
        """The same model by singular vectors: maps orthogonal to one another, spectra orthonormal, by decreasing size.

        What `named.svd` and `named.pca` determine is the space that the spectra span; its singular vectors are the
        principal spectra, and the maps are their scores.

        Returns:
            A solution whose maps @ spectra is the same; it has no coefficients and no alternatives.
        """
        left, inner = np.linalg.qr(np.asarray(self.maps, float))
        right, outer = np.linalg.qr(np.asarray(self.spectra, float).T)
        u, sizes, v = np.linalg.svd(inner @ outer.T)
        maps, spectra = left @ (u * sizes), (right @ v.T).T
        dtype = self.maps.dtype
        scores, vectors = jnp.asarray(maps, dtype), jnp.asarray(spectra, dtype)
        none = Alternatives.none(scores, vectors, None)
        return replace(self, maps=scores, spectra=vectors, coefficients=None, alternatives=none)

    def to_xarray(self, img: SpectrumImage | None = None) -> xr.Dataset:
        """The labelled result, as files and figures take it.

        Args:
            img: the image that made the matrix, for its axes; without it the dims are "pixel" and "channel".

        Returns:
            A Dataset with "maps" (component, *navigation), "spectra" (component, *signal), "coefficients" where
            there are any, "trace" over "check", and "restart_objective", "restart_steps", "restart_status". Where there
            are alternatives, "alternative_maps", "alternative_spectra" and so on over "alternative", and
            "spread_angle" (component,) in degrees.

        Raises:
            ValueError: the image has another number of pixels or channels in use.
        """
        check_instance(img, (SpectrumImage, type(None)), "img", "the image that made the matrix")
        host = jax.tree.map(np.asarray, self)
        if img is None:
            maps = xr.DataArray(host.maps.T, dims=("component", "pixel"))
            spectra = xr.DataArray(host.spectra, dims=("component", "channel"))
            signal_dims: tuple[str, ...] = ("channel",)
        else:
            maps, spectra = img.to_maps(host.maps), img.to_spectra(host.spectra)
            signal_dims = img.signal_dims
        variables = {"maps": maps, "spectra": spectra, **host._variables(img)}
        coords = {"component": np.arange(self.rank), "step": ("check", host.trace_steps)}
        attrs = {
            **{
                key: value if isinstance(value, int | float | str) else json.dumps(value)
                for key, value in self.info.items()
            },
            "objective": float(self.objective),
            "steps": int(self.steps),
            "status": self.status.name,
            "status_meaning": self.status.value,
            "best_restart": int(self.restarts.best),
            "alternatives_tolerance": float(self.alternatives.tolerance),
            "signal_dims": list(signal_dims),
            "jaxunmix_version": version("jaxunmix"),
            "provenance": json.dumps([] if img is None else list(img.provenance), default=str),
        }
        return xr.Dataset(variables, coords, attrs)

    def _variables(self, img: SpectrumImage | None) -> dict[str, Any]:
        """What `to_xarray` holds beside maps and spectra, of a solution on the host."""
        variables: dict[str, Any] = {
            "trace": ("check", self.trace),
            "restart_objective": ("restart", self.restarts.objective),
            "restart_steps": ("restart", self.restarts.steps),
            "restart_status": ("restart", [s.name for s in self.restarts.status]),
            "restart_trace": (("restart", "restart_check"), self.restarts.trace),
        }
        if self.coefficients is not None:
            variables["coefficients"] = (("component", "feature"), self.coefficients)
        if self.relevance is not None:
            variables["relevance"] = ("component", self.relevance)
            if self.relevance_trace is not None and self.relevance_trace.ndim == 2:
                variables["relevance_trace"] = (("relevance_check", "start_component"), self.relevance_trace)
        if len(self.alternatives):
            variables |= self.alternatives.to_variables(img)
            variables["spread_angle"] = ("component", self.spread_angle, {"units": "degree"})
        return variables

    def save(self, path: str | os.PathLike, img: SpectrumImage | None = None) -> None:
        """Write `to_xarray(img)` as netCDF, apart from the data, in one atomic step."""
        io.save_dataset(self.to_xarray(img), check_path(path, "path"))

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Solution":
        """Read what `save` wrote; maps and spectra come back as (pixels, K) and (K, channels).

        Raises:
            ValueError: not a result of this package.
        """
        ds = io.load_dataset(check_path(path, "path"))
        missing = {"maps", "spectra", "trace", "restart_objective"} - set(ds)
        if missing:
            raise ValueError(f"{path} holds no Solution: {sorted(missing)} are missing.")
        rank = ds.sizes["component"]
        dtype = jax.dtypes.canonicalize_dtype(ds["maps"].dtype)
        restarts = Restarts.of(
            ds["restart_objective"].values,
            ds["restart_steps"].values,
            [Status[str(name)] for name in ds["restart_status"].values],
            ds["restart_trace"].values,
            int(ds.attrs["best_restart"]),
            dtype,
        )
        words = {key: np.asarray(value).item() for key, value in ds.attrs.items() if key not in _OWN_ATTRS}
        maps = jnp.asarray(ds["maps"].transpose("component", ...).values.reshape(rank, -1).T)
        spectra = jnp.asarray(ds["spectra"].transpose("component", ...).values.reshape(rank, -1))
        coefficients = jnp.asarray(ds["coefficients"].values) if "coefficients" in ds else None
        return cls(
            maps=maps,
            spectra=spectra,
            coefficients=coefficients,
            objective=jnp.asarray(ds.attrs["objective"], dtype),
            trace=jnp.asarray(ds["trace"].values, dtype),
            trace_steps=jnp.asarray(ds["step"].values, int),
            steps=jnp.asarray(ds.attrs["steps"], int),
            code=jnp.asarray(Status[ds.attrs["status"]].code, int),
            restarts=restarts,
            alternatives=Alternatives.of_dataset(ds, Alternatives.none(maps, spectra, coefficients)),
            description=tuple(words.items()),
            relevance=jnp.asarray(ds["relevance"].values, dtype) if "relevance" in ds else None,
            relevance_trace=jnp.asarray(ds["relevance_trace"].values, dtype) if "relevance_trace" in ds else None,
        )
