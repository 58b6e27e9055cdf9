"""Electron energy loss: oxides, a diode, a cathode, and an energy axis that drifts."""

from .drift import oxide_interface as oxide_interface
from .drift import zero_loss as zero_loss
from .eels import cathode_oxygen as cathode_oxygen
from .eels import eels_oxides as eels_oxides
from .eels import line_scan as line_scan
from .eels import silicon_diode as silicon_diode
