"""Preprocessing: pure functions SpectrumImage -> SpectrumImage, each recorded in the provenance.

A record is {"step", "parameters"} and, where the mathematics is reversible, "undo": the operations that `undo`
applies (see `preprocess.provenance`). Statistics (means, norms, extremes) are those of the live pixels and channels;
masked cells are left as they are unless said otherwise. Integers become floating-point where the result is not whole:
float32 from up to 16 bits, else float64; float32 stays float32.
"""

from .absorption_edge import edge_energy as edge_energy
from .absorption_edge import normalise_edge as normalise_edge
from .absorption_edge import optical_density as optical_density
from .axis_order import merge_repeated as merge_repeated
from .detector import align as align
from .detector import find_spikes as find_spikes
from .detector import measure_shifts as measure_shifts
from .detector import remove_fixed_pattern as remove_fixed_pattern
from .detector import remove_persistence as remove_persistence
from .detector import remove_spikes as remove_spikes
from .intensity import clip_negative as clip_negative
from .intensity import log as log
from .intensity import mean_centre as mean_centre
from .intensity import normalise as normalise
from .intensity import normalise_range as normalise_range
from .intensity import poisson_scale as poisson_scale
from .intensity import shift_to_positive as shift_to_positive
from .intensity import subtract_reference as subtract_reference
from .intensity import undo as undo
from .intensity import weight_channels as weight_channels
from .low_rank import low_rank_background as low_rank_background
from .peak_position import fit_peak as fit_peak
from .peak_position import peak_top_energy as peak_top_energy
from .power_law import power_law_background as power_law_background
from .region import bin as bin
from .region import crop as crop
from .region import interpolate as interpolate
from .region import mask as mask
from .region import mask_empty as mask_empty
from .region import mask_non_finite as mask_non_finite
from .sliding_window import sliding_fft as sliding_fft
