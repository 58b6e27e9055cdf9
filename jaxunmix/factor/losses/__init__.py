"""How far the data are from the model: the beta-divergences.

For data x and model m (Fevotte and Idier, Neural Comput. 23 (2011) 2421, equation 2.2),

    d_beta(x | m) = [x^beta + (beta - 1) m^beta - beta x m^(beta - 1)] / [beta (beta - 1)],

with the limits beta = 1, the Poisson deviance's half x log(x/m) - x + m, and beta = 0, Itakura-Saito
x/m - log(x/m) - 1; beta = 2 is (x - m)^2 / 2. Sums over all entries make the objective, as in scikit-learn.
"""

from .angle import Angle as Angle
from .base import FLOOR as FLOOR
from .base import AbstractLoss as AbstractLoss
from .beta import Beta as Beta
from .frobenius import Frobenius as Frobenius
from .itakura_saito import ItakuraSaito as ItakuraSaito
from .poisson import Poisson as Poisson
