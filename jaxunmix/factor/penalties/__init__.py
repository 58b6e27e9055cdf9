"""What the factors should look like: terms added to the objective.

Weights are free of scale. A block's rows are first brought to data units: the share of component k in pixel p is

    u_pk = maps_pk |spectra_k| / m,        m^2 = |X|^2 / pixels,

and, for the spectra, u_kc = spectra_kc |maps_k| / m' with m'^2 = |X|^2 / channels. Under Poisson, where squares hold
the noise too, |.| is the sum of entries and m (m') the mean counts of a pixel (a channel). A penalty is

    weight * S / n * sum over the n pixels (or channels) of a function of u,

where S = sum x^beta is the loss's own scale (|X|^2 for Frobenius, all counts for Poisson). So the same weight
means the same for a crop and the full map, at any dose and any scaling of X, and a component cannot escape by
shrinking its map and growing its spectrum. To convert a published weight w of `sum(maps)` with spectra of norm 1:
weight = w n m / S for L1, w n m^2 / S for the Laplacian.

A plain function of the factors (f.maps, f.spectra) -> scalar is a penalty too; it is added as it is.
"""

from ..constraints.base import BLOCKS as BLOCKS
from .base import NOTHING as NOTHING
from .base import AbstractPenalty as AbstractPenalty
from .base import AbstractRowPenalty as AbstractRowPenalty
from .base import Bound as Bound
from .base import Reference as Reference
from .base import as_weight as as_weight
from .function import FunctionPenalty as FunctionPenalty
from .function import Penalty as Penalty
from .function import as_penalty as as_penalty
from .l1 import L1 as L1
from .log_sparsity import LogSparsity as LogSparsity
from .neighbours import GraphSimilarity as GraphSimilarity
from .neighbours import Laplacian as Laplacian
from .neighbours import TotalVariation as TotalVariation
from .neighbours import similarity_graph as similarity_graph
from .relevance import ARD as ARD
from .ridge import Ridge as Ridge
from .smoothness import Smoothness as Smoothness
from .soft_orthogonality import SoftOrthogonality as SoftOrthogonality
