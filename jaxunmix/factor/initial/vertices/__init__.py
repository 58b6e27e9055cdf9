"""Starts from the corners of the simplex in which the pixels lie."""

from .component_analysis import VCA as VCA
from .component_analysis import vca as vca
from .nfindr import NFINDR as NFINDR
from .subspace_sampling import SubspaceSampling as SubspaceSampling
from .successive_projection import SuccessiveProjection as SuccessiveProjection
