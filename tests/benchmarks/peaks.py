"""Peak tops of 90,000 spectra beside scipy's curve_fit, one spectrum at a time: prints one table.

    python tests/benchmarks/peaks.py [--sample 200]

White lines (pseudo-Voigt) over arctangent steps, 100 channels of 0.3 eV; the Gaussian with a linear baseline is
fitted to all of them. scipy begins at the true centre, which it would not know.
"""

import argparse
import time
import warnings

import jax
import numpy as np
from scipy.optimize import curve_fit

import jaxunmix as jxu

PIXELS = (300, 300)
ENERGY = np.linspace(7715, 7745, 100)


def white_lines(rng: np.random.Generator, db: float) -> tuple[np.ndarray, np.ndarray]:
    """Noisy spectra, (pixels, channels), and the centres of their lines."""
    limits = ((7726, 7734), (0.6, 1.4), (4, 6))
    centre, height, width = (rng.uniform(*limit, (PIXELS[0] * PIXELS[1], 1)) for limit in limits)
    u = (ENERGY - centre) / width
    clean = 0.5 + np.arctan((ENERGY - centre + 4) / 1.5) / np.pi
    clean += height * (0.5 / (1 + 4 * u**2) + 0.5 * np.exp(-4 * np.log(2) * u**2))
    return clean + rng.normal(0, np.sqrt(np.mean(clean**2) / 10 ** (db / 10)), clean.shape), centre[:, 0]


def gaussian(e, height, centre, width, a, b):
    """What is fitted."""
    return height * np.exp(-0.5 * ((e - centre) / width) ** 2) + a + b * (e - 7730)


def timed(run):
    """(result, seconds)."""
    start = time.perf_counter()
    result = run()
    return result, time.perf_counter() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=200)
    sample = parser.parse_args().sample
    warnings.filterwarnings("ignore")
    print("| SNR | first call | second call | curve_fit, extrapolated | rms apart | median apart | argmax, rms off |")
    print("|---|---|---|---|---|---|---|")
    for db in (40.0, 20.0, 5.62):
        y, centre = white_lines(np.random.default_rng(0), db)
        img = jxu.SpectrumImage.from_array(y.reshape(*PIXELS, -1).astype(np.float32), coords={"energy": ENERGY})
        jax.clear_caches()
        _, first = timed(lambda img=img: jxu.preprocess.peak_top_energy(img, (7715, 7745)))
        top, second = timed(lambda img=img: jxu.preprocess.peak_top_energy(img, (7715, 7745)))

        def peer(y=y, centre=centre):
            starts = ([1, c, 2, 0.5, 0] for c in centre[:sample])
            return [curve_fit(gaussian, ENERGY, v, s, maxfev=10_000)[0][1] for v, s in zip(y, starts, strict=False)]

        reference, scipy_seconds = timed(peer)
        apart = np.abs(top.values.ravel()[:sample] - reference)
        off = np.sqrt(np.mean((ENERGY[y.argmax(axis=1)] - centre) ** 2))
        print(
            f"| {db:g} dB | {first:.1f} s | {second:.1f} s | {scipy_seconds * len(y) / sample:.0f} s "
            f"| {np.sqrt(np.nanmean(apart**2)):.2g} eV | {np.nanmedian(apart):.2g} eV | {off:.2f} eV |",
            flush=True,
        )


if __name__ == "__main__":
    main()
