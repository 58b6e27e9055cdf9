"""What spectra and patterns are made of: physics that imports nothing from the rest of the package."""

from . import calibration, diffraction, lineshapes, xray

__all__ = ["calibration", "diffraction", "lineshapes", "xray"]
