"""NumPyro models as densities, replica exchange as a kernel of NumPyro, results as ArviZ has them."""

from .arviz import results as results
from .kernel import ReplicaExchange as ReplicaExchange
from .path import NumpyroDensity as NumpyroDensity
