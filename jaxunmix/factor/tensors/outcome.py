"""What a fit of a tensor gives back."""

from importlib.metadata import version
from typing import Any

import equinox as eqx
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int

from ..._util.validation import check_instance
from ..solution import Restarts, Status
from .consistency import core_consistency
from .multilinear import Multilinear, reconstruct


class TensorSolution(eqx.Module):
    """The best restart of a fit of a tensor.

    Attributes:
        factors: for each mode (size, components), in the order of the array's modes.
        core: of CP the sizes of the components, (K,); of Tucker the core, (components of the first mode, of the second,
            ...). In modes whose constraints leave the scale open columns of the factors have norm 1 (that of `UnitNorm`
            where it is asked for), and the core their size; in the unit of the data.
        objective: half the weighted sum of squared residuals, plus penalties.
        trace: (checks,) the objective at the steps `trace_steps`.
        trace_steps: (checks,).
        steps: steps taken.
        code: the number of `status`.
        restarts: the outcome of all of them.
        dims: the names of the modes.
        description: what was fitted, as pairs of a name and a value; see `info`.
    """

    factors: tuple[Float[Array, "_ _"], ...]
    core: Float[Array, "..."]
    objective: Float[Array, ""]
    trace: Float[Array, " checks"]
    trace_steps: Int[Array, " checks"]
    steps: Int[Array, ""]
    code: Int[Array, ""]
    restarts: Restarts
    dims: tuple[str, ...] = eqx.field(static=True)
    description: tuple[tuple[str, Any], ...] = eqx.field(static=True, default=())

    @property
    def status(self) -> Status:
        """Why the kept restart stopped."""
        return Status.of(self.code)

    @property
    def is_cp(self) -> bool:
        """Whether it is a sum of outer products, with one number of components for all modes."""
        return self.core.ndim == 1

    @property
    def rank(self) -> int | tuple[int, ...]:
        """The components of CP, or of each mode of Tucker."""
        return len(self.core) if self.is_cp else self.core.shape

    @property
    def info(self) -> dict[str, Any]:
        """What was fitted, in words."""
        return {name: list(value) if type(value) is tuple else value for name, value in self.description}

    def reconstruct(self) -> Float[Array, "..."]:
        """The model of every entry, of the array's shape and unit."""
        return reconstruct(multilinear_of(self.factors, self.core))

    def to_xarray(self, array: xr.DataArray | None = None) -> xr.Dataset:
        """The labelled result.

        Args:
            array: what was fitted, for the coordinates of its modes.

        Returns:
            A Dataset with "<mode>_factor" (mode, component) for each mode and "core"; of Tucker each mode has its own
            components, "<mode>_component". With "trace" over "check", and "restart_objective", "restart_steps" and
            "restart_status".

        Raises:
            ValueError: no DataArray, or one with other modes or sizes.
        """
        check_instance(array, (xr.DataArray, type(None)), "array", "the DataArray that was fitted")
        shape = tuple(len(factor) for factor in self.factors)
        if array is not None and (tuple(map(str, array.dims)) != self.dims or array.shape != shape):
            raise ValueError(f"array has {dict(array.sizes)}, the result {dict(zip(self.dims, shape, strict=True))}.")
        components = ["component" if self.is_cp else f"{dim}_component" for dim in self.dims]
        variables: dict[str, Any] = {
            f"{dim}_factor": ((dim, component), np.asarray(factor))
            for dim, component, factor in zip(self.dims, components, self.factors, strict=True)
        }
        variables["core"] = (components[:1] if self.is_cp else components, np.asarray(self.core))
        variables["trace"] = ("check", np.asarray(self.trace))
        variables["restart_objective"] = ("restart", np.asarray(self.restarts.objective))
        variables["restart_steps"] = ("restart", np.asarray(self.restarts.steps))
        variables["restart_status"] = ("restart", [status.name for status in self.restarts.status])
        coords: dict[Any, Any] = {"step": ("check", np.asarray(self.trace_steps))}
        if array is not None:
            coords |= {dim: array.coords[dim] for dim in array.dims if dim in array.coords}
        attrs = {name: str(value) for name, value in self.description} | {
            "objective": float(self.objective),
            "steps": int(self.steps),
            "status": self.status.name,
            "status_meaning": self.status.value,
            "best_restart": int(self.restarts.best),
            "jaxunmix_version": version("jaxunmix"),
        }
        return xr.Dataset(variables, coords, attrs)

    def core_consistency(self, array: Any, weights: Any = None) -> float:
        """How nearly the data are trilinear in these factors, in percent; see `tensors.core_consistency`.

        Args:
            array: what was fitted.
            weights: as they were given to the fit.
        """
        if not self.is_cp:
            raise ValueError("core consistency judges CP; this is a Tucker model, whose core is free.")
        return core_consistency(array, (self.factors[0] * self.core, *self.factors[1:]), weights)

    def __repr__(self) -> str:
        kind = f"K={self.rank}" if self.is_cp else f"ranks={self.rank}"
        sizes = ", ".join(f"{dim}={len(factor)}" for dim, factor in zip(self.dims, self.factors, strict=True))
        return (
            f"TensorSolution({'CP' if self.is_cp else 'Tucker'}, {kind}, {sizes}, "
            f"objective={float(self.objective):.6g}, steps={int(self.steps)}, {self.status.name}; best of "
            f"{len(self.restarts.objective)} restarts)"
        )


def multilinear_of(factors: tuple[Array, ...], core: Array) -> Multilinear:
    """Factors and core of a result as contractions take them."""
    rows = tuple(factor.T for factor in factors)
    if core.ndim > 1:
        return Multilinear(rows, core)
    return Multilinear((rows[0] * core[:, None], *rows[1:]))
