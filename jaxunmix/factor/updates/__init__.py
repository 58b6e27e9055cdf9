"""How the factors move: one step each, pure and jittable. `fit` has the only loop.

Each update treats the maps first, then the spectra (or coefficients); `ALS` and `MALS` take either first. Penalties
enter through the separable quadratic that bounds them at the current factors, so every step that has a bound lowers
the whole objective. `ALS` and `MALS` have none: they take no penalties, and their clipping may raise the objective.
"""

from .als import ALS as ALS
from .als import MALS as MALS
from .base import AbstractUpdate as AbstractUpdate
from .bounded import BoundedHALS as BoundedHALS
from .fista import FISTA as FISTA
from .fista import FISTAState as FISTAState
from .hals import HALS as HALS
from .multiplicative import Multiplicative as Multiplicative
from .projected_gradient import ProjectedGradient as ProjectedGradient
from .projected_gradient import ProjectedState as ProjectedState
from .shear import Sheared as Sheared
