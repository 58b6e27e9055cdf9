"""Tensors of three and more modes: CP and Tucker, and how many components CP can have."""

from .consistency import core_consistency as core_consistency
from .fitting import fit_tensor as fit_tensor
from .outcome import TensorSolution as TensorSolution
from .scanning import scan_ranks as scan_ranks
