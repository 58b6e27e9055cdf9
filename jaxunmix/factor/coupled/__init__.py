"""Several images of one scan factorised together: shared maps or spectra, exactly or up to a deviation."""

from .deviation import Deviation as Deviation
from .fitting import fit_coupled as fit_coupled
from .outcome import CoupledSolution as CoupledSolution
