"""What the factors must be, whatever the data say."""

from .base import BLOCKS as BLOCKS
from .base import AbstractConstraint as AbstractConstraint
from .box import Box as Box
from .closure import Closure as Closure
from .closure import SumAtMost as SumAtMost
from .fixed import Fixed as Fixed
from .non_negative import NonNegative as NonNegative
from .orthogonal import Orthogonal as Orthogonal
from .presence import LocalRank as LocalRank
from .presence import MaxComponents as MaxComponents
from .presence import Selectivity as Selectivity
from .proportional import Proportional as Proportional
from .shapes import Monotone as Monotone
from .shapes import Unimodal as Unimodal
from .simplex import Simplex as Simplex
from .unit_norm import UnitNorm as UnitNorm
