"""Factorisations that have names, each as a composition of parts: the rows of one table.

| name | similarity | constraints | penalties |
|---|---|---|---|
| singular value decomposition | Frobenius | none | |
| principal component analysis | Frobenius of centred data | none | |
| non-negative matrix factorisation | Frobenius | maps, spectra >= 0 | |
| probabilistic latent semantic indexing | Poisson | maps, spectra >= 0, spectra sum to one | |
| sparse NMF | Frobenius | maps, spectra >= 0 | L1 of the maps |
| bounded factorisation | Frobenius | low <= maps @ spectra <= high | |

After table 3 of Kannan et al., Adv. Struct. Chem. Imaging 4 (2018) 6. Each function returns a `Problem` for `fit`,
which takes the update that suits it; `Problem.replace` adds further parts. `Solution.orthogonalise` turns the solutions
of the first two into singular vectors.
"""

from typing import Any

import numpy as np

from .._util.validation import check_number, real_array
from .constraints.box import Box
from .constraints.non_negative import NonNegative
from .constraints.simplex import Simplex
from .losses.poisson import Poisson
from .penalties.l1 import L1
from .problem import Problem

SIGNS = (NonNegative("maps"), NonNegative("spectra"))


def svd(matrix: Any) -> Problem:
    """Singular value decomposition: the best approximation of its rank (Eckart and Young, Psychometrika 1 (1936) 211).

    Args:
        matrix: a matrix or an array, (pixels, channels).
    """
    return Problem(matrix, constraints=())


def pca(matrix: Any) -> Problem:
    """Principal component analysis: the singular value decomposition of data less their mean spectrum.

    Args:
        matrix: an array, (pixels, channels). Of an image `preprocess.mean_centre(img).matrix()` is on record; then
            `svd` is all that is left to ask for.
    """
    values = np.asarray(real_array(getattr(matrix, "to_host", lambda: matrix)(), "matrix"), float)
    return Problem(values - values.mean(axis=0), constraints=())


def nmf(matrix: Any) -> Problem:
    """Non-negative matrix factorisation (Paatero and Tapper, Environmetrics 5 (1994) 111).

    Args:
        matrix: a matrix or an array, (pixels, channels).
    """
    return Problem(matrix, constraints=SIGNS)


def plsi(matrix: Any) -> Problem:
    """Probabilistic latent semantic indexing: counts from distributions over channels (Hofmann, SIGIR 1999).

    The spectra are p(channel | component); a pixel's map is the expected counts of each component. Up to the sizes that
    it fixes it is NMF by the Kullback-Leibler divergence (Ding, Li and Peng, Comput. Stat. Data Anal. 52 (2008) 3913).

    Args:
        matrix: counts, a matrix or an array, (pixels, channels).
    """
    return Problem(matrix, Poisson(), constraints=(*SIGNS, Simplex("spectra")))


def sparse_nmf(matrix: Any, weight: Any) -> Problem:
    """NMF with few components in a pixel (Hoyer, IEEE NNSP 2002).

    Args:
        matrix: a matrix or an array, (pixels, channels).
        weight: of `penalties.L1`, free of scale, or "auto" for `tune`.
    """
    return Problem(matrix, penalties=(L1("maps", weight),), constraints=SIGNS)


def bounded(matrix: Any, low: float, high: float, weights: Any = None) -> Problem:
    """Bounded low-rank approximation (Kannan, Ishteva and Park, Knowl. Inf. Syst. 39 (2014) 491).

    Args:
        matrix: a matrix or an array, (pixels, channels).
        low: the least value of maps @ spectra.
        high: its greatest value.
        weights: of the entries, 0 where one is missing.
    """
    check_number(low, "low")
    check_number(high, "high")
    return Problem(matrix, weights=weights, constraints=(Box("product", low, high),))
