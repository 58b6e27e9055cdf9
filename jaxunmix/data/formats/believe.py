"""Which axes are the spectrum's, by their names and units; and the question where a map's axis looks like one."""

import re
import shlex

import xarray as xr

from ..image import SpectrumImage
from .names import axis_name

# Units that only a spectrum's axis has, in the spellings that files use; and nm, which a map's axis may have too.
_SPECTRAL = re.compile(
    r"[kmM]?eV|electron ?volts?|(1/cm|/cm|cm\^?-1|cm\^\{-1\}|cm⁻¹)|m/z|(amu|Da|Th)|m?rad|(1/|/)(nm|Å|A|angstrom)"
    r"|(nm|Å|A)\^?-1|(nm|Å)⁻¹"
)
_LENGTH = re.compile(r"nm|nanomet(er|re)s?", re.IGNORECASE)
_PLACE = re.compile(
    r"(pos(ition)?[_ ]?)?[xyz]([_ ]?(pos(ition)?|axis|scale))?|rows?|col(umn)?s?|line|t|time", re.IGNORECASE
)
_PATTERN = re.compile(r"[kq][_ ]?[xy]", re.IGNORECASE)  # of a diffraction pattern


def is_spectral(units: object) -> bool:
    """Whether units can only be a spectrum's or a diffraction pattern's.

    >>> is_spectral("eV"), is_spectral("1/cm"), is_spectral("mrad"), is_spectral("nm"), is_spectral(None)
    (True, True, True, False, False)
    """
    return isinstance(units, str) and _SPECTRAL.fullmatch(units.strip()) is not None


def may_be_spectral(name: str, units: object) -> bool:
    """Whether an axis is a spectrum's by its name or units, or may be one in nm.

    >>> may_be_spectral("energy", None), may_be_spectral("a", "nm"), may_be_spectral("y", "nm")
    (True, True, False)
    """
    return axis_name(name) is not None or is_spectral(units) or _may_be_long(name, units)


def _may_be_long(name: str, units: object) -> bool:
    """Whether an axis in nm may be one of wavelengths: where it is not called as a place is."""
    return isinstance(units, str) and bool(_LENGTH.fullmatch(units)) and not _PLACE.fullmatch(name)


def by_names(img: SpectrumImage) -> SpectrumImage:
    """The same data with that axis as the spectrum's which is called so, or else whose units are a spectrum's.

    Where several or none are, the axes stay as they are.
    """
    found = _meant(img.data)
    if not found or set(found) == set(img.signal_dims):
        return img
    if img.keep_pixels is not None or img.keep_channels is not None:
        return img  # masks come with formats that say themselves what their axes are
    moved = SpectrumImage.from_array(img.data, list(found))
    return SpectrumImage(moved.data, moved.signal_dims, provenance=img.provenance)


def _meant(data: xr.DataArray) -> tuple[str, ...]:
    dims = tuple(map(str, data.dims))
    named = tuple(d for d in dims if axis_name(d) is not None)
    if len(named) == 1:
        return named
    pattern = tuple(d for d in dims if _PATTERN.fullmatch(d))
    if not named and len(pattern) == 2:
        return pattern
    united = tuple(d for d in dims if is_spectral(_units(data, d)))
    return united if not named and (len(united) == 1 or (len(united) == 2 and united == dims[-2:])) else ()


def _units(data: xr.DataArray, dim: str) -> object:
    return data.coords[dim].attrs.get("units") if dim in data.coords else None


def check_map(img: SpectrumImage, trust: str) -> None:
    """Ask where an axis of the map has the units of a spectrum.

    Args:
        img: the image as it would be loaded.
        trust: what its axes rest on, see `Item`.

    Raises:
        ValueError: such an axis; the message names it and says what to write.
    """
    if trust == "file" or any(is_spectral(_units(img.data, d)) for d in img.signal_dims):
        return
    sure = any(axis_name(d) or _PATTERN.fullmatch(d) for d in img.signal_dims)
    if trust == "unmarked" and not sure:
        raise ValueError(
            f"the file marks all its axes {tuple(img.data.dims)} as those of a map; say which are the spectrum's, as "
            f"{_option(str(img.data.dims[-1]))}"
        )
    for dim in img.navigation_dims:
        units = _units(img.data, dim)
        doubtful = trust == "position" and not sure
        if is_spectral(units) or (doubtful and may_be_spectral(dim, units)):
            raise ValueError(
                f"axis '{dim}' ({img.data.sizes[dim]} entries{f' in {units}' if units else ''}) would be one of the "
                f"map's axes, and {img.signal_dims} the spectrum's; say which are the spectrum's: {_option(dim)}; or, "
                f"if they are read rightly, {_option(*img.signal_dims)}"
            )


def _option(*dims: str) -> str:
    """How to say which axes are the spectrum's."""
    python = f'"{dims[0]}"' if len(dims) == 1 else list(dims)
    return f"signal_dims={python} (command line: --signal-dims {shlex.quote(','.join(dims))})"
