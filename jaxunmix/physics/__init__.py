"""What spectra and patterns are made of: physics that imports nothing from the rest of the package.

For users:

- `lineshapes`: edge steps, peaks and backgrounds of absorption and energy-loss spectra;
- `xray`: EDX spectra of a foil, as a basis of elements and bremsstrahlung; `calibration` fits its energy axis;
- `diffraction`: kinematical patterns of thin crystals;
- `camera`: the variance that a camera's read-out, electrons and gain give each entry.

`xray` exports what its users take of the modules that it is made of: `atoms` (edges, lines, yields), `cross_sections`,
`emission`, `detector` and `basis`; `checks` refuses wrong arguments.
"""

from . import calibration, camera, diffraction, lineshapes, xray

__all__ = ["calibration", "camera", "diffraction", "lineshapes", "xray"]
