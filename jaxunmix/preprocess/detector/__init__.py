"""What the detector itself adds to the spectra: spikes, fixed patterns, afterglow, and an energy axis that drifts."""

from .afterglow import remove_persistence as remove_persistence
from .patterns import remove_fixed_pattern as remove_fixed_pattern
from .shifting import align as align
from .shifting import measure_shifts as measure_shifts
from .spikes import find_spikes as find_spikes
from .spikes import remove_spikes as remove_spikes
