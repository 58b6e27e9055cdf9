"""The kinds of files, one in each file; `data.io` is the door.

A format that is imported here is one that `load` (and `save`, if it writes) knows.
"""

# The order is that in which messages list the suffixes, so the lines are not sorted.
# isort: skip_file

from .base import Format as Format
from .containers.npz import NPZ as NPZ
from .containers.npy import NPY as NPY
from .containers.hdf5 import HDF5 as HDF5
from .containers.hdf5 import NEXUS as NEXUS
from .containers.hspy import HSPY as HSPY
from .containers.zarr import ZARR as ZARR
from .containers.zarr import ZIPPED_ZARR as ZIPPED_ZARR
from .containers.zspy import ZSPY as ZSPY
from .containers.netcdf import NETCDF as NETCDF
from .containers.matlab import MATLAB as MATLAB
from .text.columns import COLUMNS as COLUMNS
from .text.xdi import XDI as XDI
from .text.athena import ATHENA as ATHENA

BY_SUFFIX = {suffix: kind for kind in list(globals().values()) if isinstance(kind, Format) for suffix in kind.suffixes}
