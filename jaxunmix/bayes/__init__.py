"""What is uncertain: sampling of posteriors, and evidences one can trust."""

from .decomposition import Decomposition as Decomposition
from .decomposition import Decompositions as Decompositions
from .density import Density as Density
from .density import FunctionDensity as FunctionDensity
from .evidence import FreeEnergy as FreeEnergy
from .evidence import free_energy as free_energy
from .exchange import replica_exchange as replica_exchange
from .explorers import HMC as HMC
from .explorers import Explorer as Explorer
from .explorers import RandomWalk as RandomWalk
from .explorers import Slice as Slice
from .jumps import Jumps as Jumps
from .numpyro_density import NumpyroDensity as NumpyroDensity
from .paths import Priors as Priors
from .results import results as results
from .smc import smc as smc
from .spectroscopy import decompose_spectrum as decompose_spectrum
from .spectroscopy import spectrum_model as spectrum_model
from .tempering import ReplicaExchange as ReplicaExchange
