"""The factorisation engine: problems, how they are solved, and what is made of the solution."""

from .alternatives import Alternatives as Alternatives
from .alternatives import Spread as Spread
from .coupled import Deviation as Deviation
from .coupled import fit_coupled as fit_coupled
from .drift import DriftFit as DriftFit
from .drift import fit_drift as fit_drift
from .model import Bilinear as Bilinear
from .pooling import Pooled as Pooled
from .pooling import fit_pooled as fit_pooled
from .problem import Problem as Problem
from .resolution import Resolution as Resolution
from .solution import Restarts as Restarts
from .solution import Solution as Solution
from .solution import Status as Status
from .solve import fit as fit
from .solve import minimise as minimise
from .solve import project as project
from .tensors import fit_tensor as fit_tensor
from .tuning import tune as tune
