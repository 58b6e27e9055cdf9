"""Where a fit starts."""

from .base import SUBSPACE_SEED as SUBSPACE_SEED
from .base import AbstractInitial as AbstractInitial
from .base import AbstractPadded as AbstractPadded
from .clusters import Clusters as Clusters
from .coarse import Coarse as Coarse
from .given import Given as Given
from .nndsvd import NNDSVD as NNDSVD
from .random import Random as Random
from .vertices import NFINDR as NFINDR
from .vertices import VCA as VCA
from .vertices import SubspaceSampling as SubspaceSampling
from .vertices import SuccessiveProjection as SuccessiveProjection
from .vertices import vca as vca
