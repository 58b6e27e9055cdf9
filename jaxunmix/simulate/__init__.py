"""Spectrum images whose truth is known, for tests, benchmarks and demonstrations.

Every generator takes an explicit random key and returns `(SpectrumImage, Truth)`. The expected image is
`truth.maps @ truth.spectra` in the unit of the data. Where the data are counts, each true spectrum sums to
one and the maps are expected counts; otherwise the maps are fractions and the spectra carry the unit. (The
truth of `battery_xas(raw=True)` is that of the normalised image, that of `oxide_lattice` of the image averaged over
unit cells.) An argument out of its range is a ValueError
that names it. `edge_spectrum` gives one spectrum in place of an image, `zero_loss` an image alone.
"""

from .atomic_scale import oxide_lattice as oxide_lattice
from .atomic_scale import tunnelling_spectroscopy as tunnelling_spectroscopy
from .cathodes import battery_xas as battery_xas
from .diffraction import patterns as patterns
from .diffraction import rod_scans as rod_scans
from .edx import core_shell as core_shell
from .edx import edx_phases as edx_phases
from .edx import mantle_minerals as mantle_minerals
from .energy_loss import cathode_oxygen as cathode_oxygen
from .energy_loss import channelling_edx as channelling_edx
from .energy_loss import channelling_eels as channelling_eels
from .energy_loss import eels_oxides as eels_oxides
from .energy_loss import line_scan as line_scan
from .energy_loss import oxide_interface as oxide_interface
from .energy_loss import oxides_and_carbon as oxides_and_carbon
from .energy_loss import silicon_diode as silicon_diode
from .energy_loss import zero_loss as zero_loss
from .folded_sheets import nanosheets as nanosheets
from .mass_spectra import tof_sims as tof_sims
from .mixtures import mixture as mixture
from .truth import Truth as Truth
from .xas import edge_spectrum as edge_spectrum
from .xas import xas_domains as xas_domains
