r"""Electron-microscopy spectrum images: how many components, which, and with what known beforehand.

Source: S. Muto, M. Shiga, "Application of machine learning techniques to electron microscopic/spectroscopic image data
analysis", Microscopy 69 (2020) 110, and M. Shiga, K. Tatsumi, S. Muto, K. Tsuda, Y. Yamamoto, T. Mori, T. Tanji,
Ultramicroscopy 170 (2016) 43. What the review has, on simulations whose truth is known:

1. A silicon diode, three phases that share the Si L2,3 edge: relevance determination from ten components
   (`penalties.ARD`) under soft orthogonality of weight w from 0 to 1 (`constraints.Orthogonal(strict=False)`). At w = 0
   the number is right and the spectra are not: each dips where another has its peak, and the maps overlap.
2. The O K edge of a cathode over a background that differs by pixel: subtracted by a power law in each pixel, or by few
   spectra learned from all pixels, then unmixed.
3. How many components: relevance, Malinowski's indicator and bi-cross-validation beside one another.
4. Vertex methods: VCA, N-FINDR, successive projections, and signal subspace sampling with VCA.
5. Known references: multiple linear least squares, with errors.

6. Two sites of manganese that EELS alone cannot tell apart, nor EDX alone: both factorised together over a tilt series
   (`fit_coupled`), the weights of the sites against tilt.
7. A phase without an edge, which subtracting the background hides: raw and subtracted data factorised together, with
   the background as the deviation of the spectra.
8. An interface whose energy axis drifts: the shift of each pixel as part of the model (`fit_drift`).

The review's multi-start rule, R starts of which the best goes on, is `fit(..., restarts=R)`.

    python -m models.eels_ard [--tiny] [--out DIR] [--seed N] [--restarts N] [--data DIR]

`--data DIR` adds the measured line scans of `eels_lsmo_lines` to the third table.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
from jax import Array

import jaxunmix as jxu
from jaxunmix import constraints, initial, penalties, preprocess
from jaxunmix.simulate.energy_loss import emission_rows

START = 10  # components, of which those that are not needed switch off
WEIGHTS = (0.0, 0.03, 0.1, 0.3, 1.0)
# eV, in front of the O K edge.
PRE_EDGE = (492.0, 525.0)


@dataclass
class Report:
    """What was found.

    Attributes:
        orthogonality: for each weight w the number of components, the angles and how much the maps overlap.
        background: for each way to subtract it the error of the extrapolation and the angles.
        numbers: for each image what each criterion says.
        vertices: of each vertex method the angles to the true spectra.
        references: of each known phase the error of its maps and the rms of the z-scores.
        sites: of each way to separate the two sites the angles of their spectra and the error of their weights.
        hidden: of each way the angles of the three maps to the true ones, the carbon's last.
        drift: of each way to deal with the drift the mean angle, and the error of the shifts in channels.
        solutions: of the diode by w.
        scenes: (image, truth) by name.
    """

    orthogonality: pd.DataFrame
    background: pd.DataFrame
    numbers: pd.DataFrame
    vertices: pd.DataFrame
    references: pd.DataFrame
    sites: pd.DataFrame
    hidden: pd.DataFrame
    drift: pd.DataFrame
    solutions: dict[float, jxu.Solution] = field(repr=False)
    scenes: dict[str, tuple[jxu.SpectrumImage, jxu.simulate.Truth]] = field(repr=False)


def simulate(key: Array, tiny: bool) -> dict[str, tuple[jxu.SpectrumImage, jxu.simulate.Truth]]:
    """The diode and the cathode, with known truth."""
    keys = jax.random.split(key, 2)
    shape = (24, 36) if tiny else (64, 64)
    return {
        "diode": jxu.simulate.silicon_diode(keys[0], shape),
        "cathode": jxu.simulate.cathode_oxygen(keys[1], shape),
    }


def build(img: jxu.SpectrumImage, weight: float) -> jxu.Problem:
    """Relevance determination of the maps, with soft orthogonality of this weight beside it."""
    signs = (constraints.NonNegative("maps"), constraints.NonNegative("spectra"))
    soft = (constraints.Orthogonal("maps", weight, strict=False),) if weight else ()
    return jxu.Problem(img.matrix(), penalties=(penalties.ARD("maps"),), constraints=(*signs, *soft))


def solve(img: jxu.SpectrumImage, weight: float, key: Array, restarts: int) -> jxu.Solution:
    """From ten components, those that are not needed switched off."""
    return jxu.fit(build(img, weight), START, restarts=restarts, key=key, max_steps=2000)


def angles(found: jxu.Solution, truth: jxu.simulate.Truth) -> np.ndarray:
    """Degrees to the true spectra; NaN where there are fewer components."""
    if found.rank < len(truth.spectra):
        return np.full(len(truth.spectra), np.nan)
    return jxu.metrics.match(found.spectra, truth.spectra).angles


def overlap(maps: Any) -> float:
    """The largest cosine between two maps."""
    unit = np.asarray(maps, float) / np.maximum(np.linalg.norm(maps, axis=0), 1e-30)
    return float(np.max(unit.T @ unit - 2 * np.eye(unit.shape[1])))


def dip(found: jxu.Solution, truth: jxu.simulate.Truth) -> float:
    """How far a spectrum falls below the true one anywhere, over its maximum, each of the size that fits best."""
    if found.rank < len(truth.spectra):
        return np.nan
    matched = jxu.metrics.match(found.spectra, truth.spectra)
    spectra = matched.reorder(np.asarray(found.spectra))
    fitted = spectra * (np.sum(spectra * truth.spectra, axis=1) / np.sum(spectra**2, axis=1))[:, None]
    return float(np.max((truth.spectra - fitted) / truth.spectra.max(axis=1, keepdims=True)))


def compare_weights(
    img: jxu.SpectrumImage, truth: jxu.simulate.Truth, key: Array, restarts: int
) -> tuple[pd.DataFrame, dict[float, jxu.Solution]]:
    """The number of components, their angles, and what soft orthogonality is for, at each weight."""
    found = {w: solve(img, w, key, restarts) for w in WEIGHTS}
    rows = {
        w: {
            "components": one.rank,
            "largest angle": angles(one, truth).max(),
            "mean angle": angles(one, truth).mean(),
            "dip": dip(one, truth),
            "overlap": overlap(one.maps),
            "true overlap": overlap(truth.maps),
        }
        for w, one in found.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("w"), found


def compare_backgrounds(
    img: jxu.SpectrumImage, truth: jxu.simulate.Truth, key: Array, restarts: int
) -> tuple[pd.DataFrame, jxu.SpectrumImage]:
    """Two ways to subtract the background: what they leave in front of the edge and beyond, and the spectra then."""
    ways = {
        "power law in each pixel": preprocess.power_law_background(img, PRE_EDGE),
        "few spectra for all pixels": preprocess.low_rank_background(img, PRE_EDGE),
    }
    rows = {}
    for name, edge in ways.items():
        error = edge.matrix().to_dense() - truth.expected
        # The noise of the counts is in both: of a sum over the edge little of it is left.
        total = np.asarray(error).sum(axis=1) / truth.expected.sum(axis=1)
        clipped = preprocess.clip_negative(edge)
        found = solve(clipped, 0.1, key, restarts)
        rows[name] = {
            "error of the edge": float(np.sqrt(np.mean(total**2))),
            "components": found.rank,
            "mean angle": angles(found, truth).mean(),
        }
    return pd.DataFrame.from_dict(rows, orient="index"), ways["few spectra for all pixels"]


def compare_numbers(images: dict[str, jxu.SpectrumImage], key: Array, restarts: int) -> pd.DataFrame:
    """What relevance determination, Malinowski's indicator and bi-cross-validation say of each image."""
    rows = {}
    for name, img in images.items():
        criteria = (jxu.rank.BiCrossValidation(5), jxu.rank.Malinowski(), jxu.rank.Scree())
        # Four fifths of the pixels have to hold as many components.
        ranks = range(1, min(START, *(4 * size // 5 for size in img.matrix().shape)) + 1)
        scan = jxu.rank.scan(jxu.Problem(img.matrix()), ranks, criteria, 2, key=key, max_steps=100)
        rows[name] = {"relevance": solve(img, 0.1, key, restarts).rank}
        rows[name] |= {criterion: verdict.best for criterion, verdict in scan.decision.items()}
    return pd.DataFrame.from_dict(rows, orient="index")


def compare_vertices(img: jxu.SpectrumImage, truth: jxu.simulate.Truth, key: Array) -> pd.DataFrame:
    """The vertex methods as they are: their spectra before any fit.

    Sampling the subspace of spectra cannot serve here: all phases share the edge, so that no channel tells one from
    the others, and the corners of the non-negative spectra lack what is common. Sampled maps do: each phase is absent
    somewhere.
    """
    problem, rank = jxu.Problem(img.matrix()), len(truth.spectra)
    starts = {
        "VCA": initial.VCA(),
        "N-FINDR": initial.NFINDR(),
        "successive projection": initial.SuccessiveProjection(),
        "the same, non-negative": initial.SuccessiveProjection(nonnegative=True),
        "subspace sampling + VCA": initial.SubspaceSampling(),
        "the same on maps": initial.SubspaceSampling(block="maps"),
    }
    rows = {}
    for name, start in starts.items():
        found = jxu.metrics.match(start(problem, rank, key).spectra, truth.spectra).angles
        rows[name] = {"mean angle": found.mean(), "largest angle": found.max()}
    return pd.DataFrame.from_dict(rows, orient="index")


def fit_references(edge: jxu.SpectrumImage, truth: jxu.simulate.Truth) -> pd.DataFrame:
    """The known phases fitted to each pixel: their errors, and whether these are as large as they say."""
    fitted = jxu.eels.mlls(edge, truth.spectra)
    error = np.asarray(fitted.maps) - truth.maps
    scores = error / np.asarray(fitted.maps_sd)
    return pd.DataFrame(
        {
            "error": np.sqrt(np.mean(error**2, axis=0)) / truth.maps.sum(axis=1).mean(),
            "rms z": np.sqrt(np.mean(scores**2, axis=0)),
        },
        index=list(truth.names),
    )


def separate_sites(key: Array, tiny: bool) -> pd.DataFrame:
    """The spectra of manganese on two sites by EELS alone, by the maps of EDX alone, and by both together."""
    keys, shape = jax.random.split(key, 3), (24, 24) if tiny else (40, 40)
    eels, truth = jxu.simulate.channelling_eels(keys[0], shape)
    edx, of_edx = jxu.simulate.channelling_edx(keys[1], shape, counts=160.0 if tiny else 60.0)
    # Zinc is on the one site alone and aluminium on the other.
    known = constraints.Fixed("coefficients", values=np.where(of_edx.coefficients == 0, 0, np.nan))
    signs = (constraints.NonNegative("maps"), constraints.NonNegative("coefficients"))
    basis = emission_rows(edx.data.energy.values)
    counted = jxu.Problem(edx.matrix(), jxu.losses.Poisson(), basis, constraints=(*signs, known))
    squares = jxu.Problem(eels.matrix())
    alone = jxu.fit(squares, 2, restarts=5, key=keys[2], max_steps=1000)
    by_edx = jxu.fit(counted, 2, restarts=5, key=keys[2], max_steps=1000)
    onto_maps = np.linalg.lstsq(np.asarray(by_edx.maps), np.asarray(squares.matrix.to_dense()), rcond=None)[0]
    both = jxu.fit_coupled({"eels": squares, "edx": counted}, 2, key=keys[2])
    match = jxu.metrics.match(alone.spectra, truth.spectra)
    ways = {
        "EELS alone": (match.reorder(np.asarray(alone.spectra)), match.reorder(np.asarray(alone.maps).T).T),
        "maps of EDX alone": (onto_maps, np.asarray(by_edx.maps)),
        "both together": (np.asarray(both["eels"].spectra), np.asarray(both.maps)),
    }
    weights = truth.maps / truth.maps.mean(axis=0)
    rows = {}
    for way, (spectra, maps) in ways.items():
        error = np.sqrt(np.mean((maps / maps.mean(axis=0) - weights) ** 2, axis=0))
        angle = [jxu.metrics.spectral_angle(spectra[k], truth.spectra[k]) for k in range(2)]
        rows[way] = {**dict(zip(truth.names, angle, strict=True)), "error of the weights": error.max()}
    return pd.DataFrame.from_dict(rows, orient="index")


def find_hidden_phase(key: Array, tiny: bool) -> pd.DataFrame:
    """Angles of the maps of two oxides and of carbon, which has no edge, to the true ones."""
    keys = jax.random.split(key)
    img, truth = jxu.simulate.oxides_and_carbon(keys[0], (24, 24) if tiny else (40, 40))
    edge = preprocess.power_law_background(img, (490.0, 525.0))
    falling = (constraints.NonNegative("spectra"), constraints.Monotone("spectra", decreasing=True))
    problems = {"raw": jxu.Problem(img.matrix()), "edge": jxu.Problem(edge.matrix())}
    found = {
        "subtracted first": jxu.fit(problems["edge"], 3, restarts=5, key=keys[1], max_steps=1000).maps,
        "not subtracted": jxu.fit(problems["raw"], 3, restarts=5, key=keys[1], max_steps=1000).maps,
        "both together": jxu.fit_coupled(
            problems, 3, "both", {"raw": jxu.Deviation("spectra", 0.0, falling)}, restarts=4, key=keys[1]
        ).maps,
    }
    rows = {way: jxu.metrics.match(np.asarray(maps).T, truth.maps.T).angles for way, maps in found.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(truth.names))


def follow_drift(key: Array, tiny: bool) -> pd.DataFrame:
    """Angles and errors of the shifts where the drift is ignored, fitted with the factors, and known."""
    keys = jax.random.split(key)
    img, truth = jxu.simulate.oxide_interface(keys[0], (20, 20) if tiny else (48, 48), counts=3000.0)
    shifts = np.asarray(truth.shifts)
    rounds = {"max_rounds": 30 if tiny else 100, "most": 4.0}
    ways = {
        "ignored": jxu.fit_drift(img, 3, key=keys[1], shifts=np.zeros(len(shifts)), **rounds),
        "fitted": jxu.fit_drift(img, 3, key=keys[1], **rounds),
        "known": jxu.fit_drift(img, 3, key=keys[1], shifts=shifts - shifts.mean(), **rounds),
    }
    rows = {}
    for way, found in ways.items():
        # The zero of the shifts is a convention: that of the truth for all.
        spectra = found.spectra_at(-shifts.mean())
        error = np.std(np.asarray(found.shifts) - shifts) / found.step
        rows[way] = {"mean angle": jxu.metrics.match(spectra, truth.spectra).mean_angle, "shifts": float(error)}
    return pd.DataFrame.from_dict(rows, orient="index")


FURTHER = (separate_sites, find_hidden_phase, follow_drift)


def load_measured(folder: Path) -> dict[str, jxu.SpectrumImage]:
    """The two measured line scans, without their darkest channel offsets."""
    with np.load(folder / "eels_lsmo_lines" / "lsmo_linescans.npz") as stored:
        found = {}
        for name in ("LSMO_linescan", "LSMO_STO_linescan"):
            energy = stored[f"{name}_core_energy_eV"]
            img = jxu.SpectrumImage.from_array(
                stored[f"{name}_core"].astype(np.float32), coords={"energy": energy}, units={"energy": "eV"}
            )
            found[name] = preprocess.shift_to_positive(img)
    return found


def text(report: Report) -> str:
    """The tables as they are printed."""
    parts = {
        "Diode: relevance determination from ten components, soft orthogonality w": report.orthogonality,
        "Cathode: the background in front of the O K edge": report.background,
        "How many components": report.numbers,
        "Vertex methods on the diode": report.vertices,
        "Known references on the cathode, without background": report.references,
        "Two sites of manganese over a tilt series: degrees": report.sites,
        "Two oxides and carbon, which has no edge: degrees between the maps": report.hidden,
        "A drifting interface: degrees, and the error of the shifts in channels": report.drift,
    }
    return "\n\n".join(f"{title}\n{table.to_string(float_format='{:.3g}'.format)}" for title, table in parts.items())


def figures(report: Report) -> dict[str, Any]:
    """The diode without and with soft orthogonality beside the truth, and the relevances of its components."""
    img, truth = report.scenes["diode"]
    drawn = {}
    for weight in (0.0, 0.1):
        result = report.solutions[weight].to_xarray(img)
        if result.sizes["component"] >= len(truth.spectra):
            drawn[f"diode_w{weight:g}"] = jxu.plots.comparison(result, truth.maps, truth.spectra, truth.names)
        drawn[f"relevance_w{weight:g}"] = jxu.plots.relevance(result)
    return drawn


def main(argv: Sequence[str] | None = None) -> Report:
    """Simulate, fit, print and write; see the module."""
    options = arguments(argv)
    keys = jax.random.split(jax.random.key(options.seed), 8)
    scenes = simulate(keys[0], options.tiny)
    orthogonality, solutions = compare_weights(*scenes["diode"], keys[1], options.restarts)
    background, edge = compare_backgrounds(*scenes["cathode"], keys[2], options.restarts)
    images = {"diode": scenes["diode"][0], "cathode": preprocess.clip_negative(edge)}
    images |= {} if options.data is None else load_measured(options.data)
    numbers = compare_numbers(images, keys[3], options.restarts)
    vertices = compare_vertices(*scenes["diode"], keys[4])
    references = fit_references(edge, scenes["cathode"][1])
    further = [make(key, options.tiny) for make, key in zip(FURTHER, keys[5:], strict=True)]
    report = Report(orthogonality, background, numbers, vertices, references, *further, solutions, scenes)
    print(text(report))
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "report.txt").write_text(text(report) + "\n", encoding="utf-8")
        for name, figure in figures(report).items():
            figure.savefig(options.out / f"{name}.png")
    return report


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options, with what `--tiny` leaves open filled in."""
    description = str(__doc__).split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m models.eels_ard", description=description)
    parser.add_argument("--tiny", action="store_true", help="maps of 24 x 36 pixels")
    parser.add_argument("--out", type=Path, help="folder for the text and the figures")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--restarts", type=int, help="starts of each fit, 3")
    parser.add_argument("--data", type=Path, help="folder with eels_lsmo_lines")
    options = parser.parse_args(argv)
    options.restarts = options.restarts or (1 if options.tiny else 3)
    return options


if __name__ == "__main__":
    main()
