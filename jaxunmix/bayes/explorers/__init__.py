"""Markov kernels that explore a density at one temperature."""

from .base import Explorer as Explorer
from .hmc import HMC as HMC
from .jumps import Jumps as Jumps
from .random_walk import RandomWalk as RandomWalk
from .slice import Slice as Slice
