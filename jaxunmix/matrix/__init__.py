"""What a solver sees of the data: dense, sparse counts or compressed, on one device or several."""

from .base import TINY as TINY
from .base import AbstractMatrix as AbstractMatrix
from .base import accurate_sum as accurate_sum
from .base import matmul as matmul
from .compressed import Compressed as Compressed
from .compressed import leading_svd as leading_svd
from .convert import as_matrix as as_matrix
from .counts import Counts as Counts
from .dense import Dense as Dense
