"""Electron energy loss: oxides, a diode, a cathode, and an energy axis that drifts."""

from .channelling import channelling_edx as channelling_edx
from .channelling import channelling_eels as channelling_eels
from .channelling import emission_rows as emission_rows
from .drift import oxide_interface as oxide_interface
from .drift import zero_loss as zero_loss
from .eels import cathode_oxygen as cathode_oxygen
from .eels import eels_oxides as eels_oxides
from .eels import line_scan as line_scan
from .eels import silicon_diode as silicon_diode
from .hidden_phase import oxides_and_carbon as oxides_and_carbon
