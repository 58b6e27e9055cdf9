r"""Domains in a battery cathode from 2D-XAS, by one-sided orthogonal NMF.

Source: H. Tanimoto et al., "Non-negative matrix factorization for 2D-XAS images of lithium ion batteries", J. Phys.
Commun. 5 (2021) 115005. Each pixel of a cathode has an X-ray absorption spectrum. The number of chemical states,
their places and their spectra are to be found:

1. Spectra $X_0$ (pixels, channels) are 0 at the first and 1 at the last energy.
2. A reference is subtracted, $X = X_0 - \mathbf 1 r^T$: differences of either sign.
3. $X \approx MS$ with $M \ge 0$, $\langle m_j, m_k \rangle = 0$ for $j \ne k$, and S of either sign.
4. The number of domains K is the fewest that bi-cross-validation over 20 folds finds as good as any, to a standard
   error; the paper takes the least of the curve.
5. The original spectra are the means of $X_0$ under the maps, $(M^T X_0)_k / \sum_i M_{ik}$.
6. The maps are compared with the truth, with k-means, and with the energy of the peak top.
7. The original spectrum of each domain is an edge, a white line (pseudo-Voigt) and an unknown number of Gaussians in
   unknown noise, $f(E) = y_0 + H s(E; E_0, \Gamma) + A_L L(E; E_{WL}, \omega) + A_G G(E; E_{WL}, \omega) +
   \sum_{k=1}^K a_k G(E; c_k, w_k)$ (K. Nagata et al., Neural Networks 28 (2012) 82; S. Tokuda et al., J. Phys. Soc.
   Jpn. 86 (2017) 024001). The edge s of measured spectra is an arctangent; those of the simulated ones are error
   functions, and so is that of the fit (`EDGE`).
8. Number and noise are those of the least free energy $F(K, b) = -\ln p(D \mid K, b)$, $b = 1/\sigma^2$, from samples
   tempered between prior and posterior; the best parameters give the figure of each domain's parts (figure 8).
9. The posteriors of the energy of the white line, $E_{WL}$, are compared domain by domain (figure 9).

The image is simulated, so that the truth is known, and with it how well maps of one domain in each pixel can do at
this noise (`Truth.oracle`), and where the white lines are.

The number cannot be found, by this or by any criterion that goes by the rank of the data, where the differences
$S_k - r$ span fewer dimensions than there are domains (a domain whose spectrum is a mixture of two others adds none),
or where one of these dimensions does not stand out of the noise (`Truth.signal_to_noise` well below 1).

    python -m models.battery_xas [--tiny] [--out DIR] [--seed N] [--domains K] [--size N] [--ranks LOW:HIGH]
                                 [--snr DB] [--raw] [--peaks LOW:HIGH]
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
import xarray as xr
from jax import Array
from sklearn.cluster import KMeans

import jaxunmix as jxu

# Channels fitted about the highest one for the energy of the peak top: 6 eV, about the width of a white line.
PEAK_CHANNELS = 15
# For step 7, the top of a domain's spectrum is looked for where the white line of Co K may be (eV; peaks beyond may be
# higher), and fitted in so many channels, since it has little noise. E_WL is near it: the sd in eV.
WHITE_LINE, TOP_CHANNELS, NEAR_TOP = (7714.0, 7730.0), 7, 1.0
# Sds of the priors of step, white line (twice) and Gaussians, in edge steps. Gaussians as strong as the white line
# could take its place at no loss, and E_WL would be the energy of some other line.
HEIGHTS = (1.0, 1.0, 1.0, 0.3)
# The shape of the simulated edges. Gaussians make up for an arctangent in its place, and what they leave counts as
# noise: of eight domains none was then resolved with up to three of them, and intervals of E_WL missed the truth.
EDGE = "erf"


@dataclass(frozen=True)
class Comparison:
    """Correlation of the maps of both methods with the true ones, domain by domain.

    Attributes:
        nmf: (K,) of the factorisation; 0 for a domain that it did not find.
        k_means: (K,) of the clusters, likewise.
    """

    nmf: np.ndarray
    k_means: np.ndarray


@dataclass(frozen=True)
class Overlap:
    """What becomes of pixels that belong to two domains by halves.

    Attributes:
        compared: with the true shares.
        second_share: what NMF gives such a pixel of its second domain, on average; the truth is a half.
        own_clusters: share of these pixels that k-means, given one cluster more than there are domains, puts into
            clusters made up mostly of such pixels.
    """

    compared: Comparison
    second_share: float
    own_clusters: float


@dataclass(frozen=True)
class Spectroscopy:
    """Edge, white line and peaks of the domains' original spectra.

    Attributes:
        decompositions: one for each map, in the order of `Report.maps`.
        table: for each the most probable number of `peaks`, its `probability`, whether the data decide it (`resolved`),
            the sd of the `noise` found, and of what single pixels leave in the mean (`expected`); mean and interval of
            90 % of the white line's energy (`E_WL`, `low`, `high`) and the `truth`, all in eV. NaN where there is no
            true domain.
        above: (K, K), the probability that E_WL of the row's domain lies above that of the column's.
    """

    decompositions: jxu.bayes.Decompositions
    table: pd.DataFrame
    above: pd.DataFrame


@dataclass(frozen=True)
class Report:
    """What was found, and how far it is from the truth.

    Attributes:
        rank: the number of domains chosen.
        scan: the fits at all ranks, and the bi-cross-validation.
        signal_to_noise: of the weakest direction of the true differences.
        maps: (pixels, K), in the order of the true domains, those that match none last.
        clusters: (pixels, K) of k-means, 0 or 1, in the same order.
        spectra: (K, channels), the original spectra of the maps.
        scores: for each true domain the `correlation` of its map, that of the `oracle`, and the root mean square
            error `rms` of its original spectrum in units of the edge step; 0 and NaN for one that was not found.
        off_match: the largest correlation of a map with a domain that is not its own.
        cosine: the largest between two maps.
        tables: cross-correlations by file name: NMF and truth, k-means and truth, NMF and k-means.
        peak_top: energy of the peak top (y, x) in eV.
        thresholds: for each map the interval of that energy that goes best with it, and their correlation.
        magnitude: see `magnitude_invariance`.
        overlap: see `overlapping_domains`.
        spectroscopy: steps 7 to 9; None where they were left out.
    """

    rank: int
    scan: jxu.rank.Scan
    signal_to_noise: float
    maps: np.ndarray
    clusters: np.ndarray
    spectra: np.ndarray
    scores: pd.DataFrame
    off_match: float
    cosine: float
    tables: dict[str, pd.DataFrame]
    peak_top: xr.DataArray
    thresholds: pd.DataFrame
    magnitude: Comparison
    overlap: Overlap
    spectroscopy: Spectroscopy | None = None


def simulate(
    key: Array, size: int = 400, domains: int = 8, snr_db: float = 5.62, raw: bool = False
) -> tuple[jxu.SpectrumImage, jxu.simulate.Truth]:
    """The image (size, size, 100 energies), before its edge normalisation if `raw`, and its truth."""
    return jxu.simulate.battery_xas(key, (size, size), 100, domains, snr_db, raw=raw)


def build(
    img: jxu.SpectrumImage, reference: np.ndarray, raw: bool = False, overlap: float | None = None
) -> tuple[jxu.SpectrumImage, jxu.Problem]:
    """The normalised image of step 1 and the problem of step 3.

    Args:
        img: the image.
        reference: (channels,), what step 2 subtracts.
        raw: whether the edge has yet to be normalised. An image that has been is left as it is: doing so again
            would take the noise at its first and last energy for signal.
        overlap: None for maps that share no pixel, else the weight of soft orthogonality.
    """
    if raw:
        img = jxu.preprocess.normalise_edge(img)
    matrix = jxu.preprocess.subtract_reference(img, reference).matrix()
    positive = jxu.constraints.NonNegative("maps")
    if overlap is None:
        return img, jxu.Problem(matrix, constraints=(positive, jxu.constraints.Orthogonal("maps")))
    soft = jxu.penalties.SoftOrthogonality("maps", overlap)
    return img, jxu.Problem(matrix, penalties=(soft,), constraints=(positive,))


def k_means(problem: jxu.Problem, clusters: int) -> np.ndarray:
    """Indicators (pixels, clusters) of scikit-learn's k-means on the differences that NMF sees."""
    labels = KMeans(clusters, n_init=4, random_state=0).fit_predict(np.asarray(problem.matrix.values))
    return np.eye(clusters, dtype=np.float32)[labels]


def original_spectra(img: jxu.SpectrumImage, maps: np.ndarray) -> np.ndarray:
    """Step 5: the mean of the normalised image under each map, (K, channels)."""
    return maps.T @ np.asarray(img.matrix().values) / maps.sum(axis=0)[:, None]


def in_order(maps: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The maps in the order of the true ones that they match, those that match none last."""
    maps = np.asarray(maps)
    found = jxu.metrics.match(maps.T, truth.T)
    return maps[:, [*found.order[found.order >= 0], *found.unmatched]]


def own_correlation(maps: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Correlation of each true map with the one that matches it, 0 where none does."""
    found = jxu.metrics.match(maps.T, truth.T)
    return jxu.metrics.correlation(np.nan_to_num(found.reorder(maps, axis=1)), truth)


def varied(img: jxu.SpectrumImage, truth: jxu.simulate.Truth, shares: np.ndarray) -> jxu.SpectrumImage:
    """The same scene and noise with other shares (pixels, K) of the domains; what they leave is the reference."""
    noise = np.asarray(img.matrix().values) - truth.expected
    values = truth.reference + shares.astype(np.float32) @ (truth.spectra - truth.reference) + noise
    return replace(img, data=img.data.copy(data=values.reshape(img.data.shape)))


def magnitude_invariance(key: Array, size: int = 60) -> Comparison:
    """Four domains that have reacted by a tenth at the left border and wholly at the right one, at 20 dB.

    Differences from the reference grow with the extent of the reaction and keep their shape. NMF takes them for one
    domain; for k-means a spectrum of another size is another spectrum, so that it splits domains and joins others.
    Compared is the domain to which each pixel is given.
    """
    img, truth = simulate(key, size, domains=4, snr_db=20.0)
    extent = np.tile(np.linspace(0.1, 1.0, size), size)[:, None]
    _, problem = build(varied(img, truth, extent * truth.maps), truth.reference)
    maps = np.asarray(jxu.fit(problem, rank=4, restarts=4, key=key).maps)
    given = np.eye(4)[np.argmax(maps, axis=1)]
    return Comparison(own_correlation(given, truth.maps), own_correlation(k_means(problem, 4), truth.maps))


def overlapping_domains(key: Array, size: int = 60) -> Overlap:
    """Four domains in each of two layers, the second shifted by a tenth of the map, at 20 dB.

    Where the layers differ, a pixel belongs to two domains by halves. With soft orthogonality both maps show it;
    k-means gives it to one of them, or makes a cluster of such pixels.
    """
    img, truth = simulate(key, size, domains=4, snr_db=20.0)
    layer = truth.maps.reshape(size, size, 4)
    shares = (layer + np.roll(layer, size // 10, axis=1)).reshape(-1, 4) / 2
    _, problem = build(varied(img, truth, shares), truth.reference, overlap=0.02)
    maps = np.asarray(jxu.fit(problem, rank=4, init=jxu.initial.Clusters(), restarts=4, key=key).maps)
    compared = Comparison(own_correlation(maps, shares), own_correlation(k_means(problem, 4), shares))
    both = (shares > 0).sum(axis=1) == 2
    # The data do not say how large a map is: each is brought to the truth by its mean.
    found = in_order(maps, shares)
    second = np.sort(found * (shares.mean(axis=0) / found.mean(axis=0)), axis=1)[both, -2]
    clusters = k_means(problem, 5)
    mostly_both = clusters[both].sum(axis=0) > clusters[~both].sum(axis=0)
    return Overlap(compared, float(second.mean()), float(clusters[both][:, mostly_both].sum() / both.sum()))


def analyse(
    img: jxu.SpectrumImage,
    problem: jxu.Problem,
    truth: jxu.simulate.Truth,
    ranks: Sequence[int],
    folds: int,
    restarts: int,
    key: Array,
) -> Report:
    """Steps 4 to 6.

    Args:
        img: the normalised image.
        problem: of `build`.
        truth: what to compare with.
        ranks: numbers of domains to try.
        folds: of the bi-cross-validation.
        restarts: starts at each rank.
        key: randomness.
    """
    scan = jxu.rank.scan(problem, ranks, (jxu.rank.BiCrossValidation(folds),), restarts, key=key)
    maps = in_order(scan.solutions[scan.best].maps, truth.maps)
    clusters = in_order(k_means(problem, scan.best), truth.maps)
    spectra = original_spectra(img, maps)
    compared = jxu.metrics.cross_correlation(maps, truth.maps)
    own = np.arange(scan.best)[:, None] == jxu.metrics.match(maps.T, truth.maps.T).order
    unit = maps / np.linalg.norm(maps, axis=0)
    peak_top = jxu.preprocess.peak_top_energy(img, channels=PEAK_CHANNELS)
    thresholds = jxu.metrics.best_window(peak_top.values.ravel(), maps)
    return Report(
        rank=scan.best,
        scan=scan,
        signal_to_noise=truth.signal_to_noise(),
        maps=maps,
        clusters=clusters,
        spectra=spectra,
        scores=scores(img, truth, maps, spectra),
        off_match=float(np.max(compared[~own])),
        cosine=float(np.max((unit.T @ unit)[~np.eye(scan.best, dtype=bool)])),
        tables={
            "nmf_truth": table(compared, "map", "domain"),
            "k_means_truth": table(jxu.metrics.cross_correlation(clusters, truth.maps), "cluster", "domain"),
            "nmf_k_means": table(jxu.metrics.cross_correlation(maps, clusters), "map", "cluster"),
        },
        peak_top=peak_top,
        thresholds=pd.DataFrame(thresholds._asdict(), [f"map {k}" for k in range(scan.best)]),
        magnitude=magnitude_invariance(key),
        overlap=overlapping_domains(key),
    )


def scores(img: jxu.SpectrumImage, truth: jxu.simulate.Truth, maps: np.ndarray, spectra: np.ndarray) -> pd.DataFrame:
    """How well each true domain was found; see `Report.scores`."""
    oracle = truth.oracle(np.asarray(img.matrix().values))
    miss = jxu.metrics.match(maps.T, truth.maps.T).reorder(spectra) - truth.spectra
    columns = {
        "correlation": own_correlation(maps, truth.maps),
        "oracle": jxu.metrics.correlation(oracle, truth.maps),
        "rms": np.sqrt(np.mean(miss**2, axis=1)),
    }
    return pd.DataFrame(columns, truth.names)


def spectroscopy(
    img: jxu.SpectrumImage,
    truth: jxu.simulate.Truth,
    report: Report,
    peaks: Sequence[int],
    sampler: Mapping[str, int],
    key: Array,
) -> Spectroscopy:
    """Steps 7 to 9.

    Args:
        img: the normalised image.
        truth: what to compare with.
        report: of `analyse`.
        peaks: numbers of Gaussians to try.
        sampler: `runs`, `particles` and `moves` of `decompose_spectrum`.
        key: randomness.
    """
    energy = img.data["energy"].values
    # Normalised to them, the first and the last channel are 0 and 1 without noise. What noise they had shifts and
    # scales the whole spectrum, as baseline and heights do.
    inner = slice(1, -1)
    near = tops(energy, report.spectra)
    near = np.where(np.isnan(near), np.nanmedian(near), near)
    # The other line may be the higher one.
    priors = [jxu.bayes.Priors(white_line=(float(top), NEAR_TOP), heights=HEIGHTS, highest=False) for top in near]
    found = jxu.bayes.decompose_spectrum(
        energy[inner], report.spectra[:, inner], peaks, priors=priors, key=key, edge=EDGE, **sampler
    )
    order = jxu.metrics.match(report.maps.T, truth.maps.T).order
    lines, names = np.full(report.rank, np.nan), [f"map {k}" for k in range(report.rank)]
    lines[order[order >= 0]] = np.asarray(truth.white_lines)[order >= 0]
    low, high = np.transpose([each.interval("E_WL") for each in found.spectra])
    columns = {
        "peaks": [each.peaks for each in found.spectra],
        "probability": found.table["probability"].max("peaks"),
        "resolved": [each.resolved for each in found.spectra],
        "noise": [each.noise for each in found.spectra],
        # The mean is weighted by the map.
        "expected": truth.noise_sd * np.linalg.norm(report.maps, axis=0) / report.maps.sum(axis=0),
        "E_WL": [float(each.posterior["E_WL"].median()) for each in found.spectra],
        "low": low,
        "high": high,
        "truth": lines,
    }
    return Spectroscopy(found, pd.DataFrame(columns, names), pd.DataFrame(found.above("E_WL"), names, names))


def tops(energy: np.ndarray, spectra: np.ndarray) -> np.ndarray:
    """The energy of the top of each spectrum (K, channels) in `WHITE_LINE`, (K,) in eV; NaN where it has none."""
    image = jxu.SpectrumImage.from_array(spectra, dims=("domain", "energy"), coords={"energy": energy})
    return jxu.preprocess.peak_top_energy(image, WHITE_LINE, channels=TOP_CHANNELS).values


def table(values: np.ndarray, rows: str, columns: str) -> pd.DataFrame:
    """A table with numbered rows and columns."""
    names = [[f"{what} {k}" for k in range(size)] for what, size in zip((rows, columns), values.shape, strict=True)]
    return pd.DataFrame(values, *names)


def text(report: Report) -> str:
    """The report in words and numbers."""
    curve = report.scan.table[["BiCrossValidation", "BiCrossValidation_error"]].to_dataframe()
    curve.columns = ["held-out residual", "error of its difference from the least"]
    tables, overlap = report.tables, report.overlap
    parts = {
        f"Number of domains: {report.rank}": report.scan.decision["BiCrossValidation"].reason,
        "Bi-cross-validation": curve.to_string(float_format="{:.6f}".format),
        "Weakest direction of the true differences over the noise": f"{report.signal_to_noise:.2f}",
        "Correlation of the maps with the truth, and error of the original spectra": in_columns(report.scores, 4),
        "Largest correlation of a map with another domain": f"{report.off_match:.3f}",
        "Largest cosine between two maps": f"{report.cosine:.3g}",
        "Correlation of NMF's maps with the true domains": in_columns(tables["nmf_truth"], 2),
        "Correlation of k-means' clusters with the true domains": in_columns(tables["k_means_truth"], 2),
        "Correlation of NMF's maps with k-means' clusters": in_columns(tables["nmf_k_means"], 2),
        "Energy of the peak top: the interval (eV) that goes best with each map": in_columns(report.thresholds, 2),
        "Reacted by a tenth at one border and wholly at the other: correlation with the true domains": in_columns(
            pd.DataFrame(asdict(report.magnitude)), 3
        ),
        "Two layers, one shifted: correlation with the true shares": in_columns(
            pd.DataFrame(asdict(overlap.compared)), 3
        ),
        "In the pixels of two domains": f"mean share of the second by NMF, truly 0.5: {overlap.second_share:.3f}\n"
        f"part of them in clusters of their own by k-means: {overlap.own_clusters:.3f}",
    }
    if report.spectroscopy is not None:
        parts |= spectroscopy_text(report.spectroscopy)
    return "\n\n".join(f"{title}\n{body}" for title, body in parts.items())


def spectroscopy_text(lines: Spectroscopy) -> dict[str, str]:
    """Steps 7 to 9 in words and numbers, by title."""
    digits = dict.fromkeys(("noise", "expected"), "{:.5f}".format)
    return {
        "White line of the original spectra (eV), and Gaussians besides": lines.table.to_string(
            float_format="{:.2f}".format, formatters=digits
        )
        + "\nNoise above the expected is a misfit, and E_WL not to be believed there: its interval knows nothing of a\n"
        "wrong model.",
        "Free energy (nats) of each number of Gaussians": in_columns(free_energies(lines), 1),
        "Probability that the white line of the row's map is above that of the column's": in_columns(lines.above, 3),
    }


def free_energies(lines: Spectroscopy) -> pd.DataFrame:
    """Of each map (rows) and number of Gaussians (columns), nats."""
    values = lines.decompositions.table["free_energy"]
    return pd.DataFrame(values.values, lines.table.index, values["peaks"].values)


def in_columns(frame: pd.DataFrame, digits: int) -> str:
    """A table as text."""
    return frame.to_string(float_format=f"{{:.{digits}f}}".format)


def figures(img: jxu.SpectrumImage, truth: jxu.simulate.Truth, report: Report) -> dict[str, Any]:
    """Every figure by its file name."""
    # The data do not say how large a map is: each is drawn with 1 for its mean over its own pixels.
    shares = report.maps * ((report.maps > 0).sum(axis=0) / report.maps.sum(axis=0))
    found = xr.Dataset({"maps": img.to_maps(shares), "spectra": img.to_spectra(report.spectra)})
    clusters = img.to_maps(report.clusters).assign_coords(component=report.tables["k_means_truth"].index)
    top, middle = report.peak_top.values.reshape(-1, 1), float(report.peak_top.median())
    low, high = report.thresholds["low"], report.thresholds["high"]
    inside = (top >= low.values) & (top <= high.values)
    names = [*(f"{a:.1f} to {b:.1f} eV" for a, b in zip(low, high, strict=True)), f"top - {middle:.1f} eV"]
    shown = img.to_maps(np.hstack([inside, top - middle])).assign_coords(component=names)
    drawn = {
        "rank": jxu.plots.rank(report.scan),
        "comparison": jxu.plots.comparison(found, truth.maps, truth.spectra, truth.names),
        "k_means": jxu.plots.maps(clusters.to_dataset(name="maps")),
        "peak_top": jxu.plots.maps(shown.to_dataset(name="maps")),
    }
    return drawn if report.spectroscopy is None else drawn | spectroscopy_figures(report.spectroscopy)


def spectroscopy_figures(lines: Spectroscopy) -> dict[str, Any]:
    """Figures 8 and 9 and the free energies of each map, by file name."""
    found, names = lines.decompositions, list(lines.table.index)
    each = {f"free_energy_{k}": jxu.plots.free_energy(one) for k, one in enumerate(found.spectra)}
    return {
        "decompositions": jxu.plots.decompositions(found, names),
        "white_lines": jxu.plots.white_lines(found, names, lines.table["truth"]),
    } | each


def write(folder: Path, img: jxu.SpectrumImage, truth: jxu.simulate.Truth, report: Report) -> None:
    """The text, the tables and the figures as files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.txt").write_text(text(report) + "\n", encoding="utf-8")
    tables = report.tables | {"scores": report.scores, "thresholds": report.thresholds}
    if report.spectroscopy is not None:
        lines = report.spectroscopy
        tables |= {"spectroscopy": lines.table, "above": lines.above, "free_energy": free_energies(lines)}
    for name, values in tables.items():
        values.to_csv(folder / f"{name}.csv", float_format="%.8g")
    for name, figure in figures(img, truth, report).items():
        figure.savefig(folder / f"{name}.png")


def main(argv: Sequence[str] | None = None) -> Report:
    """Simulate, analyse, print and write; see the module."""
    options = arguments(argv)
    key = jax.random.key(options.seed)
    simulated, analysed = jax.random.split(key)
    img, truth = simulate(simulated, options.size, options.domains, options.snr, options.raw)
    img, problem = build(img, truth.reference, options.raw)
    report = analyse(img, problem, truth, options.ranks, options.folds, options.restarts, analysed)
    drawn = jax.random.fold_in(key, 1)
    lines = spectroscopy(img, truth, report, options.peaks, options.sampler, drawn)
    report = replace(report, spectroscopy=lines)
    print(text(report))
    if options.out is not None:
        write(options.out, img, truth, report)
    return report


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options, with what `--tiny` and the number of domains leave open filled in."""
    parser = argparse.ArgumentParser(prog="python -m models.battery_xas", description=str(__doc__).split("\n")[0])
    parser.add_argument("--tiny", action="store_true", help="4 domains on 60 x 60 pixels, 10 folds, 1 Gaussian")
    parser.add_argument("--out", type=Path, help="folder for the text, the tables and the figures")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--domains", type=int, help="true number of domains, 8")
    parser.add_argument("--size", type=int, help="pixels along each side, 400")
    parser.add_argument("--ranks", type=_span, help="numbers of domains to try, both ends too; by default 4:9 for 8")
    parser.add_argument("--snr", type=float, default=5.62, help="signal-to-noise ratio in dB")
    parser.add_argument("--raw", action="store_true", help="start from absorbance before its edge normalisation")
    parser.add_argument("--peaks", type=_span, help="numbers of Gaussians to try in each spectrum, 0:3")
    options = parser.parse_args(argv)
    options.domains = options.domains or (4 if options.tiny else 8)
    options.size = options.size or (60 if options.tiny else 400)
    options.folds, options.restarts = (10, 4) if options.tiny else (20, 10)
    options.peaks = options.peaks or range(2 if options.tiny else 4)
    options.sampler = {"runs": 2, "particles": 128, "moves": 3} if options.tiny else {}
    options.ranks = options.ranks or range(max(2, options.domains - 4), options.domains + 2)
    return options


def _span(text: str) -> range:
    low, _, high = text.partition(":")
    return range(int(low), int(high or low) + 1)


if __name__ == "__main__":
    main()
