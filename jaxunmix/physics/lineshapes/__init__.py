r"""Shapes that X-ray absorption and electron energy-loss spectra are made of: edge steps, lines, a smooth background.

Lines have unit area, and `fwhm` is the full width at half maximum, so that an amplitude is an integrated intensity
whatever the width; `gaussian_peak` and `lorentzian_peak` are the values at the centre, to convert to heights. Steps go
from 0 to 1. Energies, centres and widths share one unit, eV for XAS and EELS. All arguments broadcast, everything can
be differentiated and mapped, and the precision is that of the arguments.

Sources: N. K. Richtmyer, S. W. Barnes and E. Ramberg, Physical Review 46 (1934) 843, for arctangent edges; G. K.
Wertheim et al., Review of Scientific Instruments 45 (1974) 1369, for the pseudo-Voigt; P. Thompson, D. E. Cox and J. B.
Hastings, Journal of Applied Crystallography 20 (1987) 79, for its mixing from the widths of a Voigt.
"""

from collections.abc import Callable, Mapping

from .background import power_law as power_law
from .peaks import gaussian as gaussian
from .peaks import gaussian_peak as gaussian_peak
from .peaks import lorentzian as lorentzian
from .peaks import lorentzian_peak as lorentzian_peak
from .peaks import pseudo_voigt as pseudo_voigt
from .peaks import voigt_as_pseudo as voigt_as_pseudo
from .steps import arctangent_step as arctangent_step
from .steps import erf_step as erf_step

# The shapes of an edge by name: every `..._step` above. The lifetime of the core hole makes the arctangent, the
# resolution the error function.
EDGES: Mapping[str, Callable] = {
    name.removesuffix("_step"): shape for name, shape in list(globals().items()) if name.endswith("_step")
}
