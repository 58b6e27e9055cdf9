"""What is uncertain: sampling of posteriors, and evidences one can trust."""

from .explorers import HMC as HMC
from .explorers import Explorer as Explorer
from .explorers import Jumps as Jumps
from .explorers import RandomWalk as RandomWalk
from .explorers import Slice as Slice
from .numpyro_support import NumpyroDensity as NumpyroDensity
from .numpyro_support import ReplicaExchange as ReplicaExchange
from .numpyro_support import results as results
from .path import Density as Density
from .path import FunctionDensity as FunctionDensity
from .spectrum import Decomposition as Decomposition
from .spectrum import Decompositions as Decompositions
from .spectrum import Priors as Priors
from .spectrum import decompose_spectrum as decompose_spectrum
from .spectrum import spectrum_model as spectrum_model
from .tempering import FreeEnergy as FreeEnergy
from .tempering import free_energy as free_energy
from .tempering import replica_exchange as replica_exchange
from .tempering import smc as smc
