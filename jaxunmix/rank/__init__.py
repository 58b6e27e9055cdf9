"""How many components: fits at every rank from every start, and what each criterion makes of them.

No criterion is right everywhere. Of four simulated images of each kind with four components (2,000 pixels x 100
channels; domains 3,600; ranks 1 to 10 of 8 restarts, default limits), each found the number in as many as the table
says, in brackets the commonest wrong answer, "-" where it did not decide. s/n is `Truth.signal_to_noise`.
`python tests/benchmarks/criteria.py` makes it, and has more rows.

                          s/n   Bi-CV    Plateau  Elbow    Crossing Scree    Malinow. AIC      BIC      Dispersion
    mixture, 10 dB        5.6   4        4        4        4        4        4        4        4        4
    mixture, 0 dB         1.8   4        3 (5)    4        4        4        3 (3)    4        0 (2)    4
    mixture, -5 dB        1.0   4        1 (5)    4        4        4        0 (2)    3 (3)    0 (1)    4
    mixture, -10 dB       0.6   1 (3)    0 (7)    3 (3)    0 (2)    4        0 (1)    0 (2)    0 (1)    3 (3)
    evenly mixed, 10 dB   4.0   4        4        4        4        4        4        4        4        3 (5)
    evenly mixed, 5 dB    2.3   4        4        4        4        4        4        4        0 (3)    3 (3)
    thickness varies, 10  5.5   4        4        4        4        4        4        4        4        4
    thickness varies, 0   1.8   4        4        4        4        4        3 (3)    4        0 (2)    4
    spectra alike, 30 dB  4.0   0 (6)    4        3 (3)    4        4        4        4        3 (3)    0 (-)
    spectra alike, 20 dB  1.3   2 (3)    2 (5)    2 (3)    4        4        0 (3)    4        0 (2)    0 (-)
    spectra alike, 10 dB  0.4   0 (2)    0 (2)    0 (2)    1 (3)    1 (3)    0 (1)    0 (2)    0 (1)    0 (-)
    2,000 counts          -     4        4        4        2 (6)    0 (-)    4        0 (10)   4        3 (5)
      scaled              -     4        4        4        4        4        4        4        4        4
      Poisson loss        -     3 (5)    4        4        refused  0 (-)    4        4        4        2 (5)
    50 counts             -     4        4        2 (3)    1 (10)   0 (-)    2 (3)    0 (10)   0 (2)    4
      scaled              -     4        4        3 (3)    4        4        3 (3)    4        0 (1)    4
      Poisson loss        -     4        4        3 (3)    refused  0 (-)    2 (3)    4        0 (3)    3 (3)
    domains, 5.62 dB      2.1   4        4        4        4        4        3 (3)    4        1 (3)    4
    domains, 0 dB         1.1   3 (3)    1 (5)    3 (3)    3 (2)    4        0 (2)    2 (3)    0 (1)    4
    domains, -5 dB        0.6   0 (3)    0 (6)    2 (3)    0 (1)    4        0 (1)    0 (2)    0 (1)    4
    domains, -10 dB       0.3   0 (2)    0 (7)    3 (3)    0 (1)    0 (3)    0 (1)    0 (1)    0 (1)    1 (3)

Advice from it:

- `BiCrossValidation` asks what predicts data that no fit has seen, and assumes least about the noise: the default.
  It needs fits that have settled: with `max_steps=200` it is right in the first three images of spectra alike at 30
  dB, where with its 50 steps it asked for too many in all.
- `Scree` goes deepest where the noise is even and independent, down to an s/n of about 0.5, and is the cheapest. It
  sees the data alone, not the fits. Correlated noise, drift and uneven noise all stand out of the law it assumes.
- Counts fitted by least squares have uneven noise: apply `preprocess.poisson_scale` first, for `Scree`, `Crossing`
  and `AIC` above all; or take the Poisson loss with `AIC` and `BiCrossValidation`.
- `Plateau` and `Elbow` read the curve as the eye does, and depend on which ranks are scanned. `Malinowski` and `BIC`
  ask for too few from an s/n of 2 downwards. `Dispersion` is for components with pixels of their own.
- `Likeness`, not in the table, asks whether a component is divided between two; it needs a good signal, see there.
- Measured data have structure that is no component: drift, misregistration, correlated noise. Criteria then count it
  and disagree; look at what the further components describe.

Where the number cannot be found by anyone: components whose spectra (or, where a reference was subtracted, difference
spectra) span fewer dimensions than their number (of five in four dimensions every criterion found four), or that stand
out of the noise too little. Below an s/n of about 1 fits do not predict; below about (n m)^(1/4) / (n^(1/2) + m^(1/2)),
0.4 here, the singular values of n pixels x m channels do not show the weakest direction either.
"""

from .agreement import Dispersion as Dispersion
from .criterion import AbstractCriterion as AbstractCriterion
from .criterion import Evidence as Evidence
from .criterion import Verdict as Verdict
from .cross_validation import BiCrossValidation as BiCrossValidation
from .curves import Crossing as Crossing
from .curves import Elbow as Elbow
from .curves import Plateau as Plateau
from .information import AIC as AIC
from .information import BIC as BIC
from .likeness import Likeness as Likeness
from .scanning import COMPRESS_ABOVE as COMPRESS_ABOVE
from .scanning import DEFAULT as DEFAULT
from .scanning import WHOLE_SPECTRUM as WHOLE_SPECTRUM
from .scanning import Scan as Scan
from .scanning import scan as scan
from .singular_values import RESOLVED as RESOLVED
from .singular_values import Malinowski as Malinowski
from .singular_values import Scree as Scree
from .singular_values import heights_above_noise as heights_above_noise
from .singular_values import marchenko_pastur as marchenko_pastur
