r"""Overlapping and folded nanosheets of two phases in 4D-STEM, by NMF.

Source: F. Uesugi et al., "Non-negative matrix factorization for mining big data obtained using four-dimensional
scanning transmission electron microscopy", Ultramicroscopy 221 (2021) 113168. At each probe position there is a
diffraction pattern; sheets and folds lie over each other. Their number, patterns, maps and phases are to be found:

1. The data (y, x, ky, kx) become a matrix X (positions, detector pixels), without the direct beam, |k| < 1.5 1/nm.
2. $X \approx MS$ with $M, S \ge 0$, from 20 random starts at each number of components K = 2..15; by HALS, or as
   ALS-MCR in nine steps (`jaxunmix.updates.ALS`).
3. The mean squared error of every restart shows local minima; that of the best one bends at K, and rises above that
   of PCA with as many spectra beyond K: the clue to the number.
4. The patterns (rows of S) are compared with kinematical ones of TiO2 and Ti2O3 at every rotation, and the two
   phases told apart by the reflections with h + k odd, which TiO2 forbids.
5. The maps (columns of M) are compared with virtual dark fields, X summed over disks about chosen spots.

The data are simulated (`jaxunmix.simulate.nanosheets`, which says what is a model there), so that the truth is known.

    python -m models.nanosheet_4dstem [--tiny] [--out DIR] [--seed N] [--restarts N] [--ranks LOW:HIGH]
                                      [--update hals|als]
"""

import argparse
import resource
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from jax import Array

import jaxunmix as jxu
from jaxunmix.physics import diffraction

# All in 1/nm: the direct beam ends here; width of the spots; radius of the disks, which hold 86 % of a spot.
BEAM, WIDTH, RADIUS = 1.5, 0.2, 0.4
# Degrees; the patterns have twofold symmetry. At 10 1/nm the step moves a spot by less than half its width.
ROTATIONS = np.arange(0.0, 180.0, 0.5)
# A pattern that resembles no kinematical one by more than this is no crystal.
CRYSTALLINE = 0.5
PHASES = {crystal.name: crystal for crystal in (diffraction.TIO2_NANOSHEET, diffraction.TI2O3_NANOSHEET)}
UPDATES = {"hals": jxu.updates.HALS(), "als": jxu.updates.ALS("spectra")}
# The first one chooses.
CRITERIA = (
    jxu.rank.Plateau(),
    jxu.rank.Crossing(),
    jxu.rank.Elbow(),
    jxu.rank.BIC(),
    jxu.rank.Scree(),
    jxu.rank.Malinowski(),
    jxu.rank.AIC(),
    jxu.rank.Dispersion(),
)


@dataclass(frozen=True)
class Report:
    """What was found, and how far it is from the truth.

    Attributes:
        rank: the number of components chosen.
        scan: the fits at all numbers, and what each criterion says.
        curve: for each K the mean squared error of the best and the worst restart and of PCA, and how many restarts
            come within 0.1 % of the best.
        maps: (pixels, K).
        spectra: (K, channels).
        components: for each component the `truth` it matches and the correlations of pattern and map with it; then
            what is found without the truth: the correlation with the best kinematical pattern of each phase, `phase`
            and `rotation` in degrees of the better one, and `forbidden`, the intensity of the reflections that TiO2
            forbids over that of the others, which is `kinematical` in the kinematical pattern. NaN where the pattern
            is not that of a crystal. The map of the direct beam is found less well than the others: each pattern may
            take some of the smooth scattering of the support, and the mean squared error hardly changes.
        dark_fields: for each component that is a crystal and has a true map, correlations with that map: of the map
            by NMF, and of the virtual dark fields of `brightest pair`, `all spots` and `most overlapped pair`, the
            one with the largest share from other components.
        pictures: ("component", y, x), for each row of `dark_fields` the truth, NMF and two virtual dark fields.
        patterns: ("component", ky, kx), for each component that is a crystal its pattern and the kinematical one.
    """

    rank: int
    scan: jxu.rank.Scan
    curve: pd.DataFrame
    maps: np.ndarray
    spectra: np.ndarray
    components: pd.DataFrame
    dark_fields: pd.DataFrame
    pictures: xr.DataArray
    patterns: xr.DataArray


def simulate(
    key: Array, shape: tuple[int, int] = (100, 100), detector: tuple[int, int] = (128, 128), **kind: Any
) -> tuple[jxu.SpectrumImage, jxu.simulate.Truth]:
    """The image (y, x, ky, kx) and its truth; `kind` as for `jaxunmix.simulate.nanosheets`."""
    return jxu.simulate.nanosheets(key, shape, detector, width=WIDTH, **kind)


def build(img: jxu.SpectrumImage) -> tuple[jxu.SpectrumImage, jxu.Problem]:
    """Step 1: the image without the direct beam, and the problem.

    The image that comes back has the axes and masks, and zeros that take no memory: the intensities are in the
    problem, and need not be held twice.
    """
    img = jxu.preprocess.mask(img, channels=np.hypot(img.data.ky, img.data.kx) >= BEAM)
    problem = jxu.Problem(img.matrix("dense"))
    zeros = np.broadcast_to(np.zeros((), img.data.dtype), img.data.shape)
    return replace(img, data=img.data.copy(data=zeros)), problem


def survey(
    problem: jxu.Problem, ranks: Sequence[int], restarts: int, key: Array, update: str = "hals"
) -> jxu.rank.Scan:
    """Steps 2 and 3."""
    return jxu.rank.scan(problem, ranks, CRITERIA, restarts, UPDATES[update], key=key, max_steps=60)


def local_minima(scan: jxu.rank.Scan) -> pd.DataFrame:
    """`Report.curve`."""
    mse = scan.table["mse"]
    best = mse.min("restart")
    columns = {
        "best": best,
        "worst": mse.max("restart"),
        "PCA": scan.table["pca_mse"],
        "within 0.1 %": (mse <= 1.001 * best).sum("restart"),
    }
    return pd.DataFrame({name: values.values for name, values in columns.items()}, scan.table["rank"].to_index())


def kinematical(img: jxu.SpectrumImage, phase: str) -> np.ndarray:
    """Patterns of a phase at all `ROTATIONS` on the live channels, (rotations, channels)."""
    ky, kx = img.data.ky.values, img.data.kx.values
    indices = diffraction.reflections(PHASES[phase], float(np.hypot(ky.max(), kx.max())))

    def pattern(rotation: Array) -> Array:
        return diffraction.paint(diffraction.spots(PHASES[phase], indices, rotation), ky, kx, WIDTH)

    return on_channels(img, jax.vmap(pattern)(jnp.asarray(ROTATIONS)))


def on_channels(img: jxu.SpectrumImage, patterns: Array) -> np.ndarray:
    """(n, ky, kx) -> (n, channels), the live ones."""
    return np.asarray(patterns).reshape(len(patterns), -1)[:, img.keep_channels.values.ravel()]


def disks(img: jxu.SpectrumImage, phase: str, rotation: float, groups: np.ndarray) -> np.ndarray:
    """Apertures about the spots of each group of reflections.

    Args:
        img: for its axes.
        phase: a name in `PHASES`.
        rotation: degrees.
        groups: (groups, spots, 2) Miller indices.

    Returns:
        (groups, channels), 1 inside the disks.
    """
    ky, kx = img.data.ky.values, img.data.kx.values

    def one(indices: Array) -> Array:
        found = diffraction.spots(PHASES[phase], indices, rotation)
        even = diffraction.Spots(found.ky, found.kx, jnp.ones_like(found.intensities))
        return jnp.pi * RADIUS**2 * diffraction.paint(even, ky, kx, RADIUS, "disk")

    return on_channels(img, jax.vmap(one)(jnp.asarray(groups)))


def whole_disks(img: jxu.SpectrumImage, phase: str) -> np.ndarray:
    """Miller indices of the reflections whose disks lie on the detector at any rotation, (spots, 2)."""
    edge = float(min(img.data.ky.max(), img.data.kx.max()))
    return diffraction.reflections(PHASES[phase], edge - RADIUS)


def forbidden(img: jxu.SpectrumImage, patterns: np.ndarray, phase: str, rotation: float) -> np.ndarray:
    """Mean intensity in disks about the reflections with h + k odd, over that with h + k even, (patterns,)."""
    indices = whole_disks(img, phase)
    odd = indices.sum(axis=1) % 2 == 1
    means = []
    for group in (indices[odd], indices[~odd]):
        aperture = disks(img, phase, rotation, group[None])[0]
        means.append(patterns @ aperture / aperture.sum())
    return means[0] / means[1]


def identified(img: jxu.SpectrumImage, spectra: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """Step 4: what is said of each pattern without the truth.

    Returns:
        Correlation with each phase, `phase`, `rotation`, `forbidden` and `kinematical` as in `Report.components`,
        and the kinematical pattern most like each component, (K, channels).
    """
    patterns = np.concatenate([kinematical(img, phase) for phase in PHASES])
    table = jxu.metrics.cross_correlation(patterns.T, spectra.T)
    found = pd.DataFrame(table.reshape(len(PHASES), len(ROTATIONS), -1).max(axis=1).T, columns=list(PHASES))
    best = table.argmax(axis=0)
    crystal = table.max(axis=0) > CRYSTALLINE
    found["phase"] = np.where(crystal, np.array(list(PHASES))[best // len(ROTATIONS)], "none")
    found["rotation"] = np.where(crystal, ROTATIONS[best % len(ROTATIONS)], np.nan)
    found[["forbidden", "kinematical"]] = np.nan
    for j, row in found[crystal].iterrows():
        both = np.stack([spectra[j], patterns[best[j]]])
        found.loc[j, ["forbidden", "kinematical"]] = forbidden(img, both, row["phase"], row["rotation"])
    return found, patterns[best]


def compared(
    found: pd.DataFrame, maps: np.ndarray, spectra: np.ndarray, truth: jxu.simulate.Truth, channels: np.ndarray
) -> pd.DataFrame:
    """`Report.components`: what was `found`, and before it how it agrees with the truth on these channels."""
    expected = truth.spectra[:, channels]
    order = jxu.metrics.match(spectra, expected).order
    agreed = pd.DataFrame({"truth": "none", "pattern": np.nan, "map": np.nan}, found.index)
    for k, j in enumerate(order):
        if j >= 0:
            both = (
                jxu.metrics.correlation(spectra[j], expected[k]),
                jxu.metrics.correlation(maps[:, j], truth.maps[:, k]),
            )
            agreed.loc[j] = [truth.names[k], *map(float, both)]
    return agreed.join(found)


def apertures(
    img: jxu.SpectrumImage, maps: np.ndarray, spectra: np.ndarray, component: int, phase: str, rotation: float
) -> np.ndarray:
    """Apertures for the virtual dark fields of a component, (3, channels), see `Report.dark_fields`.

    Pairs g and -g of the reflections that are brighter than a tenth of the brightest; then all of them; then the pair
    to which the component gives the smallest share of the intensity.
    """
    indices = whole_disks(img, phase)
    half = indices[(indices[:, 0] > 0) | ((indices[:, 0] == 0) & (indices[:, 1] > 0))]
    bright = np.asarray(diffraction.spots(PHASES[phase], half, rotation).intensities)
    half = half[bright > 0.1 * bright.max()]
    pairs = disks(img, phase, rotation, np.stack([half, -half], axis=1))
    shares = pairs @ (spectra * maps.sum(axis=0)[:, None]).T
    own = shares[:, component]
    return np.stack([pairs[own.argmax()], pairs.sum(axis=0), pairs[(own / shares.sum(axis=1)).argmin()]])


def dark_fields(
    img: jxu.SpectrumImage,
    problem: jxu.Problem,
    maps: np.ndarray,
    spectra: np.ndarray,
    components: pd.DataFrame,
    truth: jxu.simulate.Truth,
) -> tuple[pd.DataFrame, xr.DataArray]:
    """Step 5: `Report.dark_fields` and `Report.pictures`."""
    rows, pictures, names = {}, [], []
    for j, row in components[(components["phase"] != "none") & (components["truth"] != "none")].iterrows():
        chosen = apertures(img, maps, spectra, j, row["phase"], row["rotation"])
        fields = np.asarray(problem.matrix.onto_spectra(jnp.asarray(chosen, problem.matrix.dtype)))
        true = truth.maps[:, truth.names.index(row["truth"])]
        every = np.column_stack([maps[:, j], *fields])
        rows[row["truth"]] = jxu.metrics.cross_correlation(every, true[:, None])[:, 0]
        pictures += [true, every[:, 0], every[:, 1], every[:, 3]]
        names += [row["truth"], f"component {j}", "brightest pair", "most overlapped pair"]
    columns = ["NMF", "brightest pair", "all spots", "most overlapped pair"]
    table = pd.DataFrame.from_dict(rows, "index", columns=columns)
    return table, img.to_maps(np.column_stack(pictures)).assign_coords(component=names)


def analyse(img: jxu.SpectrumImage, problem: jxu.Problem, truth: jxu.simulate.Truth, scan: jxu.rank.Scan) -> Report:
    """Steps 3 to 5, at the number of components of the first criterion that decides."""
    rank = next(verdict.best for verdict in scan.decision.values() if verdict.best is not None)
    maps, spectra = np.asarray(scan.solutions[rank].maps), np.asarray(scan.solutions[rank].spectra)
    found, nearest = identified(img, spectra)
    components = compared(found, maps, spectra, truth, img.keep_channels.values.ravel())
    fields, pictures = dark_fields(img, problem, maps, spectra, components, truth)
    crystals = components.index[components["phase"] != "none"]
    both = np.stack([spectra[crystals], nearest[crystals]], axis=1).reshape(-1, spectra.shape[1])
    names = [
        name
        for j, row in components.loc[crystals].iterrows()
        for name in (f"component {j}", f"{row['phase']} {row['rotation']:g}°")
    ]
    return Report(
        rank=rank,
        scan=scan,
        curve=local_minima(scan),
        maps=maps,
        spectra=spectra,
        components=components,
        dark_fields=fields,
        pictures=pictures,
        patterns=img.to_spectra(both).assign_coords(component=names),
    )


def text(report: Report) -> str:
    """The report in words and numbers."""
    decision = report.scan.decision.items()
    restarts = report.scan.table.sizes["restart"]
    forbidden_ = "; ".join(
        f"{phase} {group['forbidden'].min():.3f} to {group['forbidden'].max():.3f}"
        for phase, group in report.components.groupby("phase")
        if phase != "none"
    )
    parts = {
        f"Number of components: {report.rank}": "\n".join(f"{name}: {v.best} ({v.reason})" for name, v in decision),
        f"Mean squared error of {restarts} restarts and of PCA": in_columns(report.curve),
        "Components: correlation with the truth and with kinematical patterns": in_columns(report.components),
        "Forbidden over allowed reflections": forbidden_,
        "Correlation with the true map, of NMF and of virtual dark fields": in_columns(report.dark_fields),
    }
    return "\n\n".join(f"{title}\n{body}" for title, body in parts.items())


def in_columns(frame: pd.DataFrame) -> str:
    """A table as text."""
    return frame.to_string(float_format="{:.4f}".format)


def figures(img: jxu.SpectrumImage, truth: jxu.simulate.Truth, report: Report) -> dict[str, Any]:
    """Every figure by its file name."""
    found = xr.Dataset({"maps": img.to_maps(report.maps), "spectra": img.to_spectra(report.spectra)})
    live = truth.spectra[:, img.keep_channels.values.ravel()]
    return {
        "mse": jxu.plots.mse(report.scan),
        "rank": jxu.plots.rank(report.scan),
        "components": jxu.plots.comparison(found, truth.maps, live, truth.names),
        "kinematical": jxu.plots.spectra(report.patterns.to_dataset(name="spectra")),
        "dark_fields": jxu.plots.maps(report.pictures.to_dataset(name="maps")),
    }


def write(folder: Path, img: jxu.SpectrumImage, truth: jxu.simulate.Truth, report: Report) -> None:
    """The text, the tables and the figures as files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.txt").write_text(text(report) + "\n", encoding="utf-8")
    for name in ("curve", "components", "dark_fields"):
        getattr(report, name).to_csv(folder / f"{name}.csv", float_format="%.6g")
    for name, figure in figures(img, truth, report).items():
        figure.savefig(folder / f"{name}.png")


def main(argv: Sequence[str] | None = None) -> Report:
    """Simulate, survey, analyse, print and write; see the module."""
    options = arguments(argv)
    simulated, surveyed = jax.random.split(jax.random.key(options.seed))
    img, truth = simulate(simulated, options.shape, options.detector)
    img, problem = build(img)
    scan = survey(problem, options.ranks, options.restarts, surveyed, options.update)
    report = analyse(img, problem, truth, scan)
    print(text(report))
    if options.out is not None:
        write(options.out, img, truth, report)
    # Linux counts in kB.
    print(f"\nPeak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB")
    return report


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options, with what `--tiny` leaves open filled in."""
    parser = argparse.ArgumentParser(prog="python -m models.nanosheet_4dstem", description=str(__doc__).split("\n")[0])
    parser.add_argument("--tiny", action="store_true", help="40 x 40 positions, 64 x 64 detector pixels, K = 2..12")
    parser.add_argument("--out", type=Path, help="folder for the text, the tables and the figures")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--restarts", type=int, help="starts at each number of components, 20")
    parser.add_argument("--ranks", type=_span, help="numbers of components to try, both ends too, 2:15")
    parser.add_argument("--update", choices=list(UPDATES), default="hals", help="of the survey")
    options = parser.parse_args(argv)
    options.shape, options.detector = ((40, 40), (64, 64)) if options.tiny else ((100, 100), (128, 128))
    options.restarts = options.restarts or (6 if options.tiny else 20)
    options.ranks = options.ranks or range(2, 13 if options.tiny else 16)
    return options


def _span(text: str) -> range:
    low, _, high = text.partition(":")
    return range(int(low), int(high or low) + 1)


if __name__ == "__main__":
    main()
