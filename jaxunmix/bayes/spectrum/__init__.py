"""One absorption spectrum: edge, white line and an unknown number of peaks."""

from .decompose import decompose_spectrum as decompose_spectrum
from .numpyro_model import spectrum_model as spectrum_model
from .priors import Priors as Priors
from .result import Decomposition as Decomposition
from .result import Decompositions as Decompositions
