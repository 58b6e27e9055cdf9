"""SpectrumImage: a spectrum at each pixel, with labelled axes, units, masks and provenance."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr

from .._util.validation import check_instance, check_instances, check_unmasked, real_array
from ..matrix.base import AbstractMatrix
from ..matrix.convert import as_matrix
from .axes import (
    UnsortedAxisError,
    as_mask,
    check_axes,
    check_mask,
    check_numeric,
    coords_over,
    excluded,
    find_dim,
    from_hyperspy_axes,
    labelled,
    nth_live,
    quantity_units,
    signal_names,
    text_or_none,
    uniform_step,
    with_coords,
)
from .grid import Grid


def _as_array(values: Any) -> Any:
    """Lists as NumPy's array."""
    if not isinstance(values, list | tuple):
        return values
    check_unmasked(values, "the array")
    try:
        return np.asarray(values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the array must be (*navigation, *signal) real numbers, but is not: {error}") from error


@dataclass(frozen=True, eq=False, repr=False)
class SpectrumImage:
    """A spectrum (or a diffraction pattern) at each pixel of a map.

    Attributes:
        data: intensities; navigation dims first, signal dims last; `attrs["units"]` of the intensity, and
            `coords[dim].attrs["units"]` of each axis. Any number of navigation dims (none: one spectrum).
        signal_dims: the last dims of `data`, those of one spectrum.
        keep_pixels: bool over the navigation dims, False = left out; None keeps all.
        keep_channels: bool over the signal dims, False = left out; None keeps all.
        provenance: one record per step: `step`, `parameters`, and `undo` where the step is reversible.

    Raises:
        ValueError: if the intensities are not real numbers, the signal dims not the last ones, an axis is
            empty, its coordinates not finite and strictly monotonic, or a mask does not fit.
    """

    data: xr.DataArray
    signal_dims: tuple[str, ...]
    keep_pixels: xr.DataArray | None = None
    keep_channels: xr.DataArray | None = None
    provenance: tuple[dict[str, Any], ...] = ()

    def __post_init__(self) -> None:
        check_instance(self.data, xr.DataArray, "data", "an xarray.DataArray; see SpectrumImage.from_array")
        check_instances(self.provenance, Mapping, "provenance", '{"step": "load", "parameters": {}}')
        for name in ("keep_pixels", "keep_channels"):
            check_instance(getattr(self, name), (xr.DataArray, type(None)), name, "a boolean xarray.DataArray")
        check_numeric(self.data.dtype)
        dims, n = tuple(self.data.dims), len(self.signal_dims)
        if n == 0 or dims[-n:] != self.signal_dims:
            raise ValueError(
                f"signal_dims={self.signal_dims} are not the last dims of {dims}; "
                "name one or more of them, or use SpectrumImage.from_array, which moves them to the end"
            )
        try:
            check_axes(self.data)
        except UnsortedAxisError as error:
            error.image = self  # which `data.repeats` can put in order
            raise
        check_mask(self.keep_pixels, self.data, self.navigation_dims, "keep_pixels")
        check_mask(self.keep_channels, self.data, self.signal_dims, "keep_channels")

    @classmethod
    def from_array(
        cls,
        array: Any,
        signal_dims: int | str | Sequence[str] = 1,
        dims: Sequence[str] | None = None,
        coords: Mapping[str, Any] | None = None,
        units: Mapping[str, str] | None = None,
        keep_pixels: Any = None,
        keep_channels: Any = None,
        name: str | None = None,
    ) -> "SpectrumImage":
        """Label an array.

        Args:
            array: (*navigation, *signal) real numbers, or an xarray DataArray, whose dims, coords and attrs
                are kept. The values are not copied where numpy can avoid it.
            signal_dims: how many of the last axes are a spectrum, or their names (moved to the end).
            dims: names of the axes; by default ("z", "y", "x")[-n:] and ("energy",) or ("ky", "kx").
            coords: dim -> 1-D values, finite and strictly monotonic, not necessarily uniform.
            units: dim -> units of its coordinate; "intensity" -> units of the values.
            keep_pixels: bool over the navigation axes, True = keep.
            keep_channels: bool over the signal axes, True = keep.
            name: what the intensity is called.

        Raises:
            ValueError: see the class; also for text, object, boolean, complex and numpy masked arrays.

        >>> img = SpectrumImage.from_array(
        ...     np.ones((2, 3, 4), np.float32), coords={"energy": [1.0, 2, 3, 4]}, units={"energy": "eV"}
        ... )
        >>> img
        SpectrumImage (y: 2, x: 3 | energy: 4) float32
          energy: 1 to 4 eV
        """
        data = labelled(_as_array(array), signal_dims, dims)
        names = signal_names(data, signal_dims)
        navigation = tuple(str(d) for d in data.dims if d not in names)
        data = with_coords(data.transpose(*navigation, *names), coords or {}, units or {})
        if name is not None:
            data = data.rename(name)
        pixels = as_mask(keep_pixels, data, navigation, "keep_pixels")
        channels = as_mask(keep_channels, data, names, "keep_channels")
        return cls(data, names, pixels, channels)

    @classmethod
    def from_hyperspy(cls, signal: Any, navigation_mask: Any = None, signal_mask: Any = None) -> "SpectrumImage":
        """Take over a HyperSpy signal (or anything with `data` and a like `axes_manager`).

        HyperSpy lists axes as x, y, z, the reverse of the array's order, which is the one kept here.

        Args:
            signal: the signal; a lazy one is read into memory.
            navigation_mask: as in HyperSpy, True = EXCLUDE; a signal, or an array in the order (x, y) of
                `signal.axes_manager.navigation_shape`. Becomes `keep_pixels`, in the order of the data.
            signal_mask: as in HyperSpy, True = EXCLUDE; likewise, becomes `keep_channels`.

        Raises:
            ValueError: if the signal has no signal axis (transpose it first), or see the class.
        """
        manager = signal.axes_manager
        axes = [*list(manager.navigation_axes)[::-1], *list(manager.signal_axes)[::-1]]
        navigation = len(manager.navigation_axes)
        given = from_hyperspy_axes(
            [
                {k: getattr(a, k) for k in ("name", "size", "units", "scale", "offset", "axis") if hasattr(a, k)}
                | {"navigate": i < navigation}
                for i, a in enumerate(axes)
            ]
        )
        order = [getattr(a, "index_in_array", i) for i, a in enumerate(axes)]
        metadata = getattr(signal, "metadata", None)
        given["units"] |= quantity_units(getattr(getattr(metadata, "Signal", None), "quantity", None))
        title = getattr(getattr(metadata, "General", None), "title", None)
        values = np.asarray(signal.data).transpose(order)
        masks = (
            (navigation_mask, values.shape[:navigation], "navigation_mask"),
            (
                signal_mask,
                values.shape[navigation:],
                "signal_mask",
            ),
        )
        pixels, channels = (None if mask is None else ~excluded(mask, shape, what) for mask, shape, what in masks)
        img = cls.from_array(values, **given, keep_pixels=pixels, keep_channels=channels, name=text_or_none(title))
        if kind := text_or_none(getattr(getattr(metadata, "Signal", None), "signal_type", None)):
            img.data.attrs["signal_type"] = kind
        return img

    def to_hyperspy(self) -> Any:
        """Make a HyperSpy signal: Signal1D, Signal2D or BaseSignal by the number of signal dims.

        HyperSpy keeps no mask in a signal. Its masks are True = EXCLUDE, and as arrays in the order (x, y), the
        reverse of the data's: after `img.to_hyperspy()` pass `navigation_mask=~img.keep_pixels.values.T` to its
        methods, and `signal_mask=~img.keep_channels.values` for spectra. For patterns of two axes, where HyperSpy
        mistakes the order of an array, pass `signal_mask=hyperspy.api.signals.BaseSignal(~img.keep_channels.values)`.

        Raises:
            ImportError: if HyperSpy is not installed.
        """
        try:
            import hyperspy.api as hs
        except ImportError as error:
            raise ImportError("to_hyperspy needs HyperSpy: pip install 'jaxunmix[hyperspy]'") from error
        kinds = {1: hs.signals.Signal1D, 2: hs.signals.Signal2D}
        axes = [self.hyperspy_axis(str(d)) for d in self.data.dims]
        signal = kinds.get(len(self.signal_dims), hs.signals.BaseSignal)(self.data.values, axes=axes)
        if self.data.name is not None:
            signal.metadata.General.title = str(self.data.name)
        if self.data.attrs.get("units"):
            signal.metadata.Signal.quantity = f"Intensity ({self.data.attrs['units']})"
        if self.data.attrs.get("signal_type"):
            signal.set_signal_type(str(self.data.attrs["signal_type"]))
        return signal

    def hyperspy_axis(self, dim: str) -> dict[str, Any]:
        """One axis in HyperSpy's terms: name, navigate, size, units, and offset and scale or the values."""
        axis: dict[str, Any] = {
            "name": dim,
            "navigate": dim not in self.signal_dims,
            "size": self.data.sizes[dim],
        }
        if dim in self.data.coords:
            coord = self.data.coords[dim]
            axis["units"] = coord.attrs.get("units")
            step = uniform_step(coord.values)
            if step is None:
                axis["axis"] = coord.values
            else:
                axis |= {"offset": float(coord.values[0]), "scale": step}
        return axis

    def resolve_dim(self, name: str, what: str) -> str:
        """The dim that a user's name means: exactly, else without case; "energy" is the only signal dim.

        Raises:
            ValueError: none, or several; `what` asked for it.
        """
        found = find_dim(name, self.data.dims, self.signal_dims)
        if found is None:
            raise ValueError(f"{what}: '{name}' is none of the dims {self.data.dims}")
        return found

    @property
    def navigation_dims(self) -> tuple[str, ...]:
        """The dims of the map."""
        return tuple(str(d) for d in self.data.dims if d not in self.signal_dims)

    @property
    def navigation_shape(self) -> tuple[int, ...]:
        """Cells along each navigation dim, masked ones included."""
        return tuple(self.data.sizes[d] for d in self.navigation_dims)

    @property
    def signal_shape(self) -> tuple[int, ...]:
        """Channels along each signal dim, masked ones included."""
        return tuple(self.data.sizes[d] for d in self.signal_dims)

    @property
    def grid(self) -> Grid:
        """Which cells of the map are live pixels; for the penalties that act between neighbours."""
        return Grid.of(self.navigation_shape, None if self.keep_pixels is None else self.keep_pixels.values)

    def live(self) -> np.ndarray:
        """The (pixels, channels) array without masked pixels and channels; a view where there is no mask."""
        flat = self.data.values.reshape(math.prod(self.navigation_shape), math.prod(self.signal_shape))
        if self.keep_pixels is not None:
            flat = flat[self.keep_pixels.values.ravel()]
        if self.keep_channels is not None:
            flat = flat[:, self.keep_channels.values.ravel()]
        return flat

    def matrix(self, kind: Literal["auto", "dense", "counts"] = "auto") -> AbstractMatrix:
        """What a solver sees: the live pixels and channels.

        Args:
            kind: "auto" (by density), "dense" or "counts".

        Returns:
            `Dense` or `Counts`, (pixels, channels), both flattened in C order.

        Raises:
            ValueError: if a live value is NaN or infinite; the message names the first one.
        """
        return as_matrix(self.finite_live(), kind)

    def finite_live(self) -> np.ndarray:
        """As `live`; NaN and infinite values are refused, as in `matrix`."""
        live = self.live()
        if live.dtype.kind != "f":
            return live
        with np.errstate(all="ignore"):  # a finite sum proves all finite, without a mask as big as the data
            if np.isfinite(live.sum()):
                return live
        bad = ~np.isfinite(live)
        count = int(bad.sum())
        if count == 0:
            return live
        row, column = (int(i) for i in np.argwhere(bad)[0])
        pixel = nth_live(self.keep_pixels, row)
        channel = nth_live(self.keep_channels, column)
        place = self.place(pixel, channel)
        raise ValueError(
            f"{count} of {live.size} values are NaN or infinite, the first ({live[row, column]}) at {place}; "
            "leave such pixels or channels out with preprocess.mask_non_finite or preprocess.mask, or fill them"
        )

    def place(self, pixel: int | None = None, channel: int | None = None) -> str:
        """Name a place by its labels, such as `y=3, x=5, energy=531 eV`.

        Args:
            pixel: flat index over the whole navigation grid, masked pixels included.
            channel: flat index over all channels, masked ones included.
        """
        index: dict[str, Any] = {}
        if pixel is not None:
            index |= dict(zip(self.navigation_dims, np.unravel_index(pixel, self.navigation_shape), strict=True))
        if channel is not None:
            index |= dict(zip(self.signal_dims, np.unravel_index(channel, self.signal_shape), strict=True))
        return ", ".join(self._label(d, int(i)) for d, i in index.items()) or "the only pixel"

    def _label(self, dim: str, i: int) -> str:
        if dim not in self.data.coords:
            return f"{dim}={i}"
        coord = self.data.coords[dim]
        return f"{dim}={coord.values[i]:.7g} {coord.attrs.get('units', '')}".rstrip() + f" (index {i})"

    def to_maps(self, values: Any) -> xr.DataArray:
        """Put one number per live pixel and component back on the map.

        Args:
            values: (pixels, K).

        Returns:
            ("component", *navigation); NaN at masked pixels.
        """
        values = real_array(values, "maps")
        if values.ndim != 2 or values.shape[0] != self.grid.size:
            raise ValueError(f"maps of shape {values.shape}; expected (pixels, K) with {self.grid.size} pixels")
        return self._unflatten(values.T, self.navigation_dims, self.keep_pixels)

    def to_spectra(self, values: Any) -> xr.DataArray:
        """Put one number per component and live channel back on the signal axes.

        Args:
            values: (K, channels).

        Returns:
            ("component", *signal); NaN at masked channels.
        """
        values = real_array(values, "spectra")
        live = math.prod(self.signal_shape) if self.keep_channels is None else int(self.keep_channels.sum())
        if values.ndim != 2 or values.shape[1] != live:
            raise ValueError(f"spectra of shape {values.shape}; expected (K, channels) with {live} channels")
        return self._unflatten(values, self.signal_dims, self.keep_channels)

    def _unflatten(self, rows: np.ndarray, dims: tuple[str, ...], keep: xr.DataArray | None) -> xr.DataArray:
        shape = tuple(self.data.sizes[d] for d in dims)
        if keep is not None:
            dtype = rows.dtype if rows.dtype.kind in "fc" else np.float64  # NaN needs a float
            full = np.full((len(rows), math.prod(shape)), np.nan, dtype)
            full[:, keep.values.ravel()] = rows
            rows = full
        out = xr.DataArray(
            rows.reshape(len(rows), *shape),
            dims=("component", *dims),
            coords={"component": np.arange(len(rows))},
        )
        return out.assign_coords(coords_over(self.data, dims))

    def mean_spectrum(self) -> xr.DataArray:
        """Mean over the live pixels, in float64; NaN at masked channels."""
        mean = self.live().mean(axis=0, dtype=np.float64)
        return self._plain(self.to_spectra(mean[None]))

    def total_map(self) -> xr.DataArray:
        """Sum over the live channels, in float64; NaN at masked pixels."""
        total = self.live().sum(axis=1, dtype=np.float64)
        return self._plain(self.to_maps(total[:, None]))

    def _plain(self, one: xr.DataArray) -> xr.DataArray:
        out = one.isel(component=0, drop=True)
        return out.assign_attrs({k: v for k, v in self.data.attrs.items() if k == "units"})

    def __repr__(self) -> str:
        sizes = [
            ", ".join(f"{d}: {self.data.sizes[d]}" for d in dims) for dims in (self.navigation_dims, self.signal_dims)
        ]
        name = f" '{self.data.name}'" if self.data.name is not None else ""
        units = f" [{self.data.attrs['units']}]" if self.data.attrs.get("units") else ""
        lines = [f"SpectrumImage{name} ({' | '.join(s for s in sizes if s)}) {self.data.dtype}{units}"]
        ranges = [self._range(str(d)) for d in self.data.dims if d in self.data.coords]
        lines += [", ".join(ranges)] if ranges else []
        for keep, what in ((self.keep_pixels, "pixels"), (self.keep_channels, "channels")):
            if keep is not None:
                lines.append(f"left out: {keep.size - int(keep.sum())} of {keep.size} {what}")
        if self.provenance:
            lines.append("steps: " + ", ".join(str(p.get("step")) for p in self.provenance))
        return "\n  ".join(lines)

    def _range(self, dim: str) -> str:
        coord = self.data.coords[dim]
        return f"{dim}: {coord.values[0]:g} to {coord.values[-1]:g} {coord.attrs.get('units', '')}".rstrip()
