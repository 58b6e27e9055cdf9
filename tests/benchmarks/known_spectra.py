"""Maps of known spectra beside loops over scipy: seconds side by side in one run, and how far the answers are apart.

    python tests/benchmarks/known_spectra.py [--pixels 65536] [--channels 100]

Each of our seconds is the least of five calls after the first, whose compilation is printed beside it; scipy's loops
are timed over some hundred pixels and scaled up.
"""

import argparse
import time

import jax
import numpy as np
from scipy.optimize import lsq_linear, nnls

import jaxunmix as jxu

C = jxu.constraints
CASES = {
    "nnls": ((C.NonNegative("maps"),), 2000, lambda s, x: nnls(s, x)[0]),
    "box": ((C.Box("maps", 0.0, 0.3),), 200, lambda s, x: lsq_linear(s, x, (0.0, 0.3)).x),
    "fcls": ((C.NonNegative("maps"), C.Simplex("maps")), 0, None),
}


def timed(function, repeat=1):
    """The least seconds of some calls, and what the last one returned."""
    seconds = []
    for _ in range(repeat):
        begin = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - begin)
    return min(seconds), result


def simulate(rank, pixels, channels):
    """Data of single precision, and their spectra."""
    rng = np.random.default_rng(0)
    centres = rng.uniform(0, channels, (rank, 1))
    spectra = np.abs(rng.normal(size=(rank, channels))) + 5 * np.exp(-(((np.arange(channels) - centres) / 8) ** 2))
    x = rng.dirichlet(np.full(rank, 0.5), pixels) @ spectra
    return (x + 0.3 * rng.normal(size=x.shape)).astype(np.float32), spectra.astype(np.float32)


def compare(name, x, spectra):
    """One line of the table."""
    constraints, few, peer = CASES[name]

    def ours():
        return np.asarray(jax.block_until_ready(jxu.project(x, spectra, constraints=constraints).maps))

    first, _ = timed(ours)
    seconds, maps = timed(ours, 5)
    line = f"K {len(spectra):3d} {name:5s} ours {seconds:8.3f} s (first {first:6.2f})"
    if peer is None:
        return line
    wide = spectra.T.astype(float)
    loop, expected = timed(lambda: np.array([peer(wide, row) for row in x[:few].astype(float)]))
    loop *= len(x) / few
    apart = np.abs(maps[:few] - expected).max()
    return f"{line}  scipy {loop:8.2f} s  {loop / seconds:7.1f} times  apart {apart:.1e}"


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pixels", type=int, default=65536)
    parser.add_argument("--channels", type=int, default=100)
    arguments = parser.parse_args()
    for rank in (3, 4, 8, 12):
        x, spectra = simulate(rank, arguments.pixels, arguments.channels)
        for name in CASES:
            print(compare(name, x, spectra), flush=True)


if __name__ == "__main__":
    main()
