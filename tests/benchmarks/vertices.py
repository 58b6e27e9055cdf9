"""How long the starts from vertices take on a large image, first with compilation, then without.

    python tests/benchmarks/vertices.py [pixels] [channels]

Each on Dense float32 data of five overlapping components, as a compiled call by itself.
"""

import os
import sys
import time

# Compilation is part of what is measured.
os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)

import equinox as eqx
import jax
import numpy as np

import jaxunmix as jxu
from jaxunmix import initial

COMPONENTS = 5
STARTS = {
    "VCA()": initial.VCA(),
    "VCA(tries=10)": initial.VCA(tries=10),
    "NFINDR()": initial.NFINDR(),
    "SuccessiveProjection()": initial.SuccessiveProjection(),
    "SuccessiveProjection(nonnegative=True)": initial.SuccessiveProjection(nonnegative=True),
    "SubspaceSampling()": initial.SubspaceSampling(),
    "SubspaceSampling(tries=10)": initial.SubspaceSampling(tries=10),
    'SubspaceSampling(block="maps")': initial.SubspaceSampling(block="maps"),
}


def scene(pixels: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Peaks of five components, each with lines of its own, over one another in all pixels; about 2,000 counts each."""
    rng = np.random.default_rng(0)
    energy = np.arange(channels)
    centres = rng.uniform(0, channels, (COMPONENTS, 4, 1))
    spectra = np.exp(-0.5 * ((energy - centres) / (0.004 * channels)) ** 2).sum(axis=1) + 0.01
    spectra /= spectra.sum(axis=1, keepdims=True)
    maps = 0.1 + 0.5 * rng.dirichlet(np.ones(COMPONENTS), pixels)
    x = np.empty((pixels, channels), np.float32)
    for part in np.array_split(np.arange(pixels), 16):
        x[part] = rng.poisson(2000 * maps[part] @ spectra)
    return x, spectra


def main() -> None:
    pixels, channels = (int(word) for word in sys.argv[1:3]) if len(sys.argv) > 2 else (65536, 2048)
    x, spectra = scene(pixels, channels)
    problem = jxu.Problem(x)
    print(f"{pixels} x {channels}, K = {COMPONENTS}, {jax.devices()[0].platform}, load {os.getloadavg()[0]:.1f}")
    for name, start in STARTS.items():
        run = eqx.filter_jit(lambda problem, key, start=start: start(problem, COMPONENTS, key))
        seconds = []
        for seed in range(2):
            began = time.perf_counter()
            factors = jax.block_until_ready(run(problem, jax.random.key(seed)))
            seconds.append(time.perf_counter() - began)
        angle = jxu.metrics.match(np.asarray(factors.profiles), spectra).mean_angle
        print(f"{name:40s} first {seconds[0]:6.2f} s  second {seconds[1]:6.2f} s  angle {angle:5.2f}", flush=True)


if __name__ == "__main__":
    main()
