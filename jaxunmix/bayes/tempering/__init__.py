"""From the prior to the posterior by temperatures: sequential Monte Carlo, replica exchange, evidence."""

from .evidence import FreeEnergy as FreeEnergy
from .evidence import free_energy as free_energy
from .exchange import replica_exchange as replica_exchange
from .sequential import smc as smc
