"""How often each criterion finds a number of components that is known, on many kinds of simulated data.

    python tests/benchmarks/criteria.py [--keys 4] [--only WORDS]

Entries are how many of the keys gave the right number; in brackets the commonest wrong answer, "-" where the
criterion did not decide. `s/n` is the mean of `Truth.signal_to_noise`. The tables in the documentation of
`jaxunmix.rank` come from here.
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np

import jaxunmix as jxu
from jaxunmix import rank
from jaxunmix.simulate.truth import Truth

K, PIXELS, CHANNELS, RESTARTS = 4, 2000, 100, 8
RANKS = range(K - 3, K + 7)
CRITERIA = (
    rank.BiCrossValidation(folds=10),
    rank.Plateau(),
    rank.Elbow(),
    rank.Crossing(),
    rank.Scree(),
    rank.Malinowski(),
    rank.AIC(),
    rank.BIC(),
    rank.Dispersion(),
    rank.Likeness(),
)


@dataclass(frozen=True)
class Kind:
    """One row of the table: how to make its problem from a key, and the number of components in it."""

    name: str
    make: Callable
    components: int = K


def mixture(key, snr_db, **options):
    img, truth = jxu.simulate.mixture(key, PIXELS, CHANNELS, K, "gaussian", snr_db=snr_db, **options)
    return jxu.Problem(img.matrix()), truth


def thick(key, snr_db):
    """Fractions times an intensity of its own in each pixel, as where the thickness varies."""
    _, truth = jxu.simulate.mixture(key, PIXELS, CHANNELS, K)
    rng = np.random.default_rng(int(jax.random.randint(key, (), 0, 2**31 - 1)))
    return noisy(truth.maps * rng.lognormal(0, 0.5, (PIXELS, 1)), truth.spectra, snr_db, rng)


def dependent(key, snr_db):
    """Five components whose spectra span four dimensions: the last is the mean of the first two."""
    _, truth = jxu.simulate.mixture(key, PIXELS, CHANNELS, K + 1)
    spectra = np.vstack([truth.spectra[:-1], truth.spectra[:2].mean(axis=0)])
    return noisy(truth.maps, spectra, snr_db, np.random.default_rng(0))


def noisy(maps, spectra, snr_db, rng):
    values = maps @ spectra
    sd = float(np.sqrt(np.mean(values**2)) * 10 ** (-snr_db / 20))
    data = (values + sd * rng.standard_normal(values.shape)).astype(np.float32)
    return jxu.Problem(jxu.Dense(data)), Truth(maps, spectra, tuple("abcdefgh"[: len(spectra)]), noise_sd=sd)


def counted(key, counts, loss=None, scaled=False):
    img, truth = jxu.simulate.mixture(key, PIXELS, CHANNELS, K, "poisson", counts=counts)
    if scaled:
        img = jxu.preprocess.poisson_scale(img)
    return jxu.Problem(img.matrix(), loss or jxu.losses.Frobenius()), truth


def domains(key, snr_db):
    img, truth = jxu.simulate.battery_xas(key, (60, 60), domains=K, snr_db=snr_db)
    matrix = jxu.preprocess.subtract_reference(img, truth.reference).matrix()
    orthogonal = (jxu.constraints.NonNegative("maps"), jxu.constraints.Orthogonal("maps"))
    return jxu.Problem(matrix, constraints=orthogonal), truth


KINDS = (
    *(Kind(f"mixture {db} dB", partial(mixture, snr_db=db)) for db in (30, 20, 10, 5, 0, -5, -10)),
    *(Kind(f"evenly mixed {db} dB", partial(mixture, snr_db=db, concentration=1.0)) for db in (30, 20, 10, 5)),
    *(Kind(f"thickness varies {db} dB", partial(thick, snr_db=db)) for db in (20, 10, 0)),
    *(Kind(f"spectra alike {db} dB", partial(mixture, snr_db=db, correlated=True)) for db in (30, 20, 10)),
    *(Kind(f"{c} counts, Frobenius", partial(counted, counts=c)) for c in (2000, 200, 50)),
    *(Kind(f"{c} counts, scaled", partial(counted, counts=c, scaled=True)) for c in (2000, 200, 50)),
    *(Kind(f"{c} counts, Poisson", partial(counted, counts=c, loss=jxu.losses.Poisson())) for c in (2000, 200, 50)),
    *(Kind(f"domains {db} dB", partial(domains, snr_db=db)) for db in (5.62, 0, -5, -10)),
    Kind("5 spectra in 4 dimensions", partial(dependent, snr_db=20), K + 1),
)


def scan(problem, key):
    """One scan with all criteria that can serve the problem."""
    criteria = CRITERIA
    if not isinstance(problem.loss, jxu.losses.Frobenius):
        criteria = tuple(c for c in CRITERIA if not isinstance(c, rank.Crossing))
    return rank.scan(problem, RANKS, criteria, restarts=RESTARTS, key=key)


def entry(found, right):
    """3/4 (5): how often right, and the commonest wrong answer."""
    if "" in found:
        return ""
    wrong = Counter("-" if k is None else str(int(k)) for k in found if k != right)
    commonest = f" ({wrong.most_common(1)[0][0]})" if wrong else ""
    return f"{sum(k == right for k in found)}/{len(found)}{commonest}"


def main() -> None:
    """Print the table, row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=4, help="number of random data sets of each kind")
    parser.add_argument("--only", default="", help="kinds whose name holds these words")
    args = parser.parse_args()
    names = [type(c).__name__ for c in CRITERIA]
    print(f"{'':27}{'s/n':>6}  " + "".join(f"{name[:10]:11}" for name in names) + "seconds")
    for kind in KINDS:
        if args.only not in kind.name:
            continue
        began, found, signal = time.perf_counter(), [], []
        for seed in range(args.keys):
            problem, truth = kind.make(jax.random.key(seed))
            result = scan(problem, jax.random.key(100 + seed))
            found.append([result.decision[name].best if name in result.decision else "" for name in names])
            signal.append(truth.signal_to_noise() if truth.noise_sd else np.nan)
        seconds = time.perf_counter() - began
        cells = "".join(f"{entry(column, kind.components):11}" for column in zip(*found, strict=True))
        print(f"{kind.name:27}{np.mean(signal):6.1f}  {cells}{seconds:.0f}", flush=True)


if __name__ == "__main__":
    main()
