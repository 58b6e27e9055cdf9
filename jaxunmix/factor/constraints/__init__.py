"""What the factors must be, whatever the data say."""

from .base import BLOCKS as BLOCKS
from .base import AbstractConstraint as AbstractConstraint
from .fixed import Fixed as Fixed
from .non_negative import NonNegative as NonNegative
from .orthogonal import Orthogonal as Orthogonal
from .proportional import Proportional as Proportional
from .simplex import Simplex as Simplex
from .unit_norm import UnitNorm as UnitNorm
