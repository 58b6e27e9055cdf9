"""Figures of a result: maps, spectra, residuals, convergence; of a scan over the number of components; of weights.

Every function takes the Dataset that `Solution.to_xarray` gives (`rank` and `mse`: a `Scan`; `tuning`: what `tune`
tried; `methods`: a table of scores) and returns a `matplotlib.figure.Figure`, made without pyplot: nothing global
changes and no figure stays open (`figure.savefig(path)` writes it). A component has the same colour in every figure.
"""

from .factors import comparison as comparison
from .factors import convergence as convergence
from .factors import maps as maps
from .factors import overview as overview
from .factors import residuals as residuals
from .factors import restarts as restarts
from .factors import spectra as spectra
from .needed_components import relevance as relevance
from .ranks import mse as mse
from .ranks import rank as rank
from .side_by_side import lines as lines
from .side_by_side import methods as methods
from .side_by_side import tuning as tuning
from .spectrum import decomposition as decomposition
from .spectrum import decompositions as decompositions
from .spectrum import free_energy as free_energy
from .spectrum import white_lines as white_lines
