"""Files <-> SpectrumImage, by suffix; and results (xarray.Dataset) <-> netCDF.

Nothing is read with pickle. Files are written under a temporary name in the same folder and then renamed, so
that an interrupted save leaves the old file whole.
"""

import difflib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from .._util.files import replacing
from .._util.validation import check_instance, check_number, check_path
from .axes import with_coords
from .formats import BY_SUFFIX
from .formats.containers.netcdf import engine_of
from .formats.items import Item, from_json, to_json
from .formats.select import build_image, choose_item, with_mask
from .formats.vendor.files import read_vendor
from .image import SpectrumImage
from .repeats import Merging

_ATTRS = "jaxunmix_attrs"  # holds, as JSON, the attributes that netCDF has no type for


def load(
    path: str | os.PathLike[str],
    array: str | None = None,
    signal_dims: int | str | Sequence[str] | None = None,
    *,
    dims: Sequence[str] | None = None,
    energy: Any = None,
    coords: Mapping[str, Any] | None = None,
    units: Mapping[str, str] | None = None,
    mask: Any = None,
    scale: float | int | None = None,
    columns: str | int | Sequence[str | int] | None = None,
    axis: str | int | None = None,
    merge_repeated: bool | float | int = False,
) -> SpectrumImage:
    """Read a spectrum image; the format is chosen by the suffix.

    npz, npy, HDF5 (h5, hdf5, hdf, nxs), HyperSpy (hspy, zspy), zarr (also zipped: zip), netCDF (nc), MATLAB (mat),
    columns (csv, txt, dat), XDI and Athena projects (prj) are read here, all others by RosettaSciIO
    (`pip install 'jaxunmix[vendor]'`), and so is HDF5 that a vendor's program wrote.

    Names and units of axes that the file holds are believed: an axis called energy is the spectrum's wherever it
    stands. float16 becomes float32, and the other byte order that of the machine.

    Args:
        path: the file; a directory for zarr.
        array: which array, by name. Not needed where only one can be meant: the only numeric array of two or
            more dims, or the only one with the most dims if these are three or more.
        signal_dims: how many of the last axes are a spectrum, or names among `dims`; by default as the file
            says, else 1.
        dims: names of the axes, such as ("energy", "y", "x") where the energy comes first.
        energy: values of the signal axis, or the name of an array of the same file. By default the one 1-D
            array of that length whose name is like energy, ev, keV, wavenumber, mz or bias; its units are
            read from its name (`energy_keV`, `wavenumber_cm1`).
        coords: dim -> values, for other axes.
        units: dim -> units; "intensity" -> units of the values.
        mask: boolean array, its name in the same file, or an .npy file; True = keep. Over pixels or channels,
            by its shape.
        scale: factor on the values, which become floating-point: float32 from up to 16 bits, else float64.
        columns: of a text table, those with the intensities: names, numbers from 1, or ranges such as "3:8". Several
            become pixels where the axis is a column too.
        axis: of a text table, where the axis of the spectra is: a column, by name or number; "row" for the first row;
            "none" if each row is a spectrum and the file has no axis.
        merge_repeated: sort a signal axis that repeats or jitters, and take the mean of channels with equal values, or
            with such as lie no further apart than this number, in the unit of the axis.

    Raises:
        FileNotFoundError: no such file; the message names those with a similar name.
        ArrayChoiceError: (a ValueError) several arrays could be meant; the message lists them.
        ValueError: a text table whose columns could be several things; the message says which, and how to tell.
        ValueError: unknown suffix; a truncated or foreign file; Python objects in place of numbers; an axis
            or a mask that does not fit; an axis of the map that has a spectrum's units, where neither `dims` nor
            `signal_dims` says that it is meant so.
        ImportError: a package for that format is missing; the message gives the pip command.
    """
    path = check_path(path, "path")
    if scale is not None:
        check_number(scale, "scale")
    tolerance = None if merge_repeated is False else 0.0 if merge_repeated is True else float(merge_repeated)
    made = Merging(tolerance, path.name)
    table = {k: v for k, v in {"columns": columns, "axis": axis}.items() if v is not None}
    if "axis" in _options(path) and isinstance(energy, str):
        table, energy = {"axis": energy} | table, None
    with _open(path, table) as items:
        also = ", or several as pixels by columns= (--columns)" if "columns" in _options(path) else ""
        item = choose_item(items, array, path, also)
        with _readable(path):
            values = item.read()
        with _readable(path, labels_too=False):
            img = build_image(replace(item, read=lambda: values), items, signal_dims, dims, energy, made)
            img = img if mask is None else with_mask(img, mask, items)
    img = made(lambda: replace(img, data=with_coords(img.data, coords or {}, units or {})))
    if scale is not None:
        factor = np.asarray(scale, np.result_type(img.data.dtype, np.float32))
        img = replace(img, data=(img.data * factor).assign_attrs(img.data.attrs))
    changed = {
        "signal_dims": signal_dims,
        "dims": dims,
        "energy": energy,
        "coords": None if coords is None else sorted(coords),
        "units": units,
        "mask": mask,
        "scale": scale,
    } | table
    given = {k: _brief(v) for k, v in changed.items() if v is not None}
    given |= item.record
    if img.provenance and not given and not made.records:
        return img
    record = {"step": "load", "parameters": {"file": path.name, "array": item.name} | given}
    return replace(img, provenance=(*img.provenance, record, *made.records))


def _brief(value: Any) -> Any:
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return [str(v) for v in value]
    return str(value) if isinstance(value, Path) else f"array of shape {np.shape(value)}"


def list_arrays(path: str | os.PathLike[str]) -> list[tuple[str, tuple[int, ...], str]]:
    """Name, shape and dtype of each array of a file.

    Raises:
        FileNotFoundError, ValueError, ImportError: as `load`.
    """
    with _open(Path(path)) as items:
        return [(i.name, i.shape, str(i.dtype)) for i in items]


def _options(path: Path) -> tuple[str, ...]:
    known = BY_SUFFIX.get(path.suffix.lower())
    return () if known is None else known.options


@contextmanager
def _open(path: Path, options: Mapping[str, Any] | None = None) -> Iterator[list[Item]]:
    if not path.exists():
        raise FileNotFoundError(_missing(path))
    for option in options or {}:
        if option not in _options(path):
            raise ValueError(
                f"{path.name}: {option}= (--{option}) is for tables of text, such as .csv, and this is none"
            )
    if path.suffix.lower() not in BY_SUFFIX:
        with read_vendor(path, ", ".join(BY_SUFFIX)) as items:
            yield items
        return
    with _readable(path):
        opened = BY_SUFFIX[path.suffix.lower()].read(path, **(options or {}))
        items = opened.__enter__()
    try:
        yield items
    finally:
        opened.__exit__(None, None, None)


@contextmanager
def _readable(path: Path, labels_too: bool = True) -> Iterator[None]:
    """Turn what the libraries raise on a damaged file into one kind of message.

    Where labels that do not fit may raise a ValueError of their own, `labels_too` is False and that one passes.
    """
    known = BY_SUFFIX.get(path.suffix.lower())
    kind = "file RosettaSciIO knows" if known is None else known.name
    try:
        yield
    except (ImportError, Warning):
        raise
    except Exception as error:  # of whatever kind: a damaged file may confuse a library anywhere
        if isinstance(error, FileNotFoundError) and not labels_too:
            raise  # another file, such as a mask
        if isinstance(error, ValueError) and not labels_too:
            raise
        if type(error) is ValueError and path.name in str(error):
            raise
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"cannot read {path.name}: truncated or not {kind} ({said})") from error


def _missing(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"no such folder: {folder}"
    near = difflib.get_close_matches(path.name, [p.name for p in folder.iterdir()], n=3)
    hint = f"; similar there: {', '.join(near)}" if near else ""
    return f"no such file: {path}{hint}"


def save(img: SpectrumImage, path: str | os.PathLike[str]) -> None:
    """Write a spectrum image; the format is chosen by the suffix: npz, h5, hspy, zarr, zspy or nc.

    Dims, coordinates, units, masks and provenance come back by `load`. HyperSpy's formats keep coordinates of
    the dims only.

    Raises:
        ValueError: unknown suffix, or a format that keeps no labels.
        FileNotFoundError: no such folder.
    """
    check_instance(img, SpectrumImage, "img", "SpectrumImage.from_array(values)")
    path = check_path(path, "path")
    write = find_writer(path)
    with replacing(path) as temporary:
        write(img, temporary)


def find_writer(path: Path) -> Callable[[SpectrumImage, Path], None]:
    """What writes a file of this suffix, also to be asked before anything is computed for it.

    Raises:
        ValueError: unknown suffix, or a format that keeps no labels.
    """
    known = BY_SUFFIX.get(path.suffix.lower())
    if known is not None and known.write is not None:
        return known.write
    if known is not None and known.refusal is not None:
        raise ValueError(known.refusal.format(stem=path.stem))
    written = ", ".join(suffix for suffix, kind in BY_SUFFIX.items() if kind.write is not None)
    raise ValueError(f"cannot write '{path.suffix}'; use one of {written}")


def save_dataset(ds: xr.Dataset, path: str | os.PathLike[str]) -> None:
    """Write a dataset as netCDF-4, all or nothing.

    Attributes that netCDF has no type for (True, False, None, dicts, mixed lists) are kept as JSON in a
    variable of their own and restored by `load_dataset`.

    Raises:
        ValueError: an attribute that JSON cannot hold either; the message names it.
        FileNotFoundError: no such folder.
    """
    ds = ds.copy()
    kept: dict[str, dict[str, Any]] = {}
    for owner, attrs in [("", ds.attrs)] + [(str(k), ds[k].attrs) for k in ds.variables]:
        odd = {str(k): v for k, v in attrs.items() if not _netcdf_type(v)}
        for key, value in odd.items():
            try:
                to_json(value)
            except ValueError as error:
                raise ValueError(f"attribute '{key}' of {owner or 'the dataset'}: {error}") from error
        if odd:
            kept[owner] = odd
    for owner, odd in kept.items():
        target = ds.attrs if owner == "" else ds.variables[owner].attrs
        for key in odd:
            del target[key]
    if kept:
        ds[_ATTRS] = xr.DataArray(to_json(kept))
    with replacing(Path(path)) as temporary:
        ds.to_netcdf(temporary, engine="h5netcdf")


def _netcdf_type(value: Any) -> bool:
    if isinstance(value, bool | np.bool_) or value is None:
        return False
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "iuf" and value.ndim == 1 and 1 < value.size < 1000
    return isinstance(value, int | float | np.number) or (isinstance(value, str) and 0 < len(value) < 10_000)


def load_dataset(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read a dataset that `save_dataset` (or another program) wrote as netCDF-4.

    Raises:
        FileNotFoundError: no such file.
        ValueError: truncated or not netCDF-4.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(_missing(path))
    options: dict[str, Any] = {"decode_times": False, "decode_timedelta": False}  # units of "s" are no date
    with _readable(path), xr.open_dataset(path, **options, **engine_of(path)) as opened:
        ds = opened.load()
    kept = from_json(str(ds[_ATTRS].values)) if _ATTRS in ds else {}
    ds = ds.drop_vars(_ATTRS, errors="ignore")
    for owner, odd in kept.items():
        (ds.attrs if owner == "" else ds.variables[owner].attrs).update(odd)
    return ds
