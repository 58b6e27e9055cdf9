"""4D-STEM of overlapping and folded titania nanosheets. Public through `simulate`."""

from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from .._util.validation import check_flag, check_key
from ..data.image import SpectrumImage
from ..physics import diffraction
from .components import peak, step, unit_sum
from .truth import Truth, check_counts, check_pair, check_positive, check_shape, image, make_truth

# Pixels whose counts are drawn at once: bounds the memory beyond that of the image itself.
BLOCK = 256
# Layouts to choose from, and the cells of the coarse map on which they are judged.
TRIES, CELLS = 200, 50


@dataclass(frozen=True)
class _Flake:
    """A convex polygon {r: normals . r <= offsets}, (y, x) from 0 to 1 over the map, and what it is made of.

    Attributes:
        normals: (edges, 2), of length one.
        offsets: (edges,).
        crystal: its structure.
        rotation: of the lattice, in degrees from kx towards ky.
        flap: whether it has been turned over.
    """

    normals: np.ndarray
    offsets: np.ndarray
    crystal: diffraction.Crystal
    rotation: float
    flap: bool = False

    @property
    def name(self) -> str:
        return f"{self.crystal.name} {self.rotation:.0f} deg" + (" (fold)" if self.flap else "")

    def cover(self, shape: tuple[int, int], blur: float) -> np.ndarray:
        """Thickness in sheets, (y, x) from 0 to 1; `blur` of the edge in lengths of the map."""
        y, x = ((np.arange(n) + 0.5) / n for n in shape)
        inside = self.offsets - (y[:, None, None] * self.normals[:, 0] + x[None, :, None] * self.normals[:, 1])
        return step(inside.min(axis=-1), 0.0, blur)


def nanosheets(
    key: PRNGKeyArray,
    shape: tuple[int, int] = (100, 100),
    detector: tuple[int, int] = (128, 128),
    sheets: int = 6,
    counts: float | int = 4e5,
    *,
    topotactic: bool = False,
    scattered: float | int = 0.02,
    diffuse: float | int = 0.02,
    k_max: float | int = 10.0,
    width: float | int = 0.2,
    pixel_nm: float | int = 2.0,
) -> tuple[SpectrumImage, Truth]:
    r"""4D-STEM of overlapping and folded nanosheets of TiO2 and of Ti2O3 under a bright direct beam.

    After Uesugi et al., Ultramicroscopy 221 (2021) 113168: 100 x 100 probe positions, 128 x 128 detector pixels,
    and two phases that differ in the reflections which TiO2 forbids. $X \sim \mathrm{Poisson}(MS)$ over k from
    `-k_max` to `k_max`, with one component for each distinct pattern (orientation and phase) and one for the rest:

    - $S_j(k) \propto \sum_g |F_j(g)|^2 e^{-|k - g|^2 / 2 w^2}$, kinematical spots of `TIO2_NANOSHEET` and
      `TI2O3_NANOSHEET` (see `jaxunmix.physics.diffraction`: the latter is a model chosen for likeness);
    - the last, "direct beam", is $(1 - d) e^{-k^2 / 2 w^2} / 2 \pi w^2$ and d of a smooth $(1 + k^2 / k_0^2)^{-2}$,
      $k_0$ = 1.5 1/nm, the scattering of the amorphous support.

    All electrons arrive: M_ij = counts x scattered x (thickness in sheets) for TiO2, for Ti2O3 in proportion to its
    $\sum_g |F(g)|^2$, and the last map is what is left of `counts`. The flakes are convex polygons:

    - where they overlap their patterns add, each scattering the incident beam;
    - a third of the patterns are folds: what lies beyond a line is turned over it, onto the flake and past its
      rim. That mirrors the lattice, $\theta' = 2 \phi - \theta$ with the line at $\phi$. No fold here keeps the
      orientation, so that each flap is a component of its own. (The pattern of the mirrored sheet is that of the
      turned one, since both structures have a mirror line along x.)
    - if `topotactic`, a fifth of the patterns are reduced areas, of Ti2O3 in a flake of TiO2 and in its orientation.
      The two patterns correlate by 0.97, and differ in the forbidden reflections. As all spots of TiO2 are those of
      Ti2O3 too, the factorisation is not unique there: some of the one may be counted as the other.

    The layout is the first of 200 random ones that leaves each pattern some area of its own (3 % of the map for 6
    sheets), with flakes over each other on 15 % of the map and only support on 10 %, or else the best of them.

    The direct beam hides everything from a least-squares fit. Leave it out first (|k| > 1.5 1/nm loses no spot):

        beam = np.hypot(img.data.ky, img.data.kx) < 1.5
        masked = jxu.preprocess.mask(img, channels=~beam)
        spectra = truth.spectra[:, masked.keep_channels.values.ravel()]

    Args:
        key: random key.
        shape: (y, x) probe positions.
        detector: (ky, kx) channels.
        sheets: number of distinct crystalline patterns; K is one more. The phases of flakes take turns, TiO2 first.
        counts: expected electrons in each pattern, the direct beam included.
        topotactic: put reduced areas into flakes of TiO2, in their orientation; else every pattern has its own.
        scattered: fraction of them that one sheet of TiO2 scatters into the spots on the detector.
        diffuse: d, the fraction that the support scatters.
        k_max: largest |ky| and |kx|, 1/nm; 5.32 or more, where the first bright spot of TiO2 lies.
        width: w, the standard deviation of spots and beam, 1/nm; at least half a detector pixel.
        pixel_nm: distance of the probe positions in nm.

    Returns:
        The image, dims (y, x, ky, kx), and the truth, with names such as "TiO2 12 deg" and "Ti2O3 78 deg (fold)".

    Raises:
        ValueError: an argument out of its range, a detector too coarse for the spots, or sheets that scatter more
            electrons than arrive.
    """
    check_key(key)
    check_shape(shape)
    check_pair(detector, "detector", "(128, 128)")
    check_counts(sheets=sheets)
    check_flag(topotactic, "topotactic")
    check_positive(counts=counts, scattered=scattered, diffuse=diffuse, pixel_nm=pixel_nm)
    if diffuse >= 1:
        raise ValueError(f"diffuse={diffuse}: give a fraction below 1")
    _check_detector(detector, k_max, width)
    # NumPy draws Poisson numbers four times as fast as JAX on a CPU, and there are 160 million of them.
    random = np.random.default_rng(np.asarray(jax.random.bits(key, (4,), dtype=np.uint32)))
    flakes = _layout(random, sheets, topotactic)
    ky, kx = (np.linspace(-k_max, k_max, n) for n in detector)
    patterns = np.stack([_pattern(flake, ky, kx, width) for flake in flakes])
    strength = np.array([_strength(flake.crystal) for flake in flakes]) / _strength(diffraction.TIO2_NANOSHEET)
    cover = np.stack([flake.cover(shape, 0.7 / max(shape)).ravel() for flake in flakes], axis=1)
    crystalline = counts * scattered * strength * cover
    left = counts - crystalline.sum(axis=1, keepdims=True)
    if left.min() <= 0:
        raise ValueError(f"scattered={scattered}: overlapping sheets scatter more electrons than arrive; give less")
    spectra = np.concatenate([patterns, _beam(ky, kx, width, diffuse)[None]]).reshape(sheets + 1, -1)
    names = [*(flake.name for flake in flakes), "direct beam"]
    truth = make_truth(np.concatenate([crystalline, left], axis=1), unit_sum(spectra), names)
    axes = {"ky": ky, "kx": kx}
    return image(_counted(random, truth), shape, axes, "1/nm", pixel_nm, "4D-STEM of nanosheets"), truth


def _check_detector(detector: tuple[int, int], k_max: float | int, width: float | int) -> None:
    check_positive(k_max=k_max, width=width)
    first = 2 / float(np.asarray(diffraction.TIO2_NANOSHEET.lattice)[0, 0])
    if k_max < first:
        raise ValueError(f"k_max={k_max}: give {first:.2f} 1/nm or more, where the first bright spot of TiO2 lies")
    pixel = 2 * k_max / max(min(detector) - 1, 1)
    if min(detector) < 2 or width < pixel / 2:
        raise ValueError(
            f"detector={detector}: its pixels of {pixel:.3g} 1/nm are more than twice width={width} 1/nm; "
            "give more channels, a smaller k_max or a larger width"
        )


def _pattern(flake: _Flake, ky: np.ndarray, kx: np.ndarray, width: float) -> np.ndarray:
    corner = float(np.hypot(ky[-1], kx[-1])) + 4 * width
    indices = diffraction.reflections(flake.crystal, corner)
    spots = diffraction.spots(flake.crystal, indices, flake.rotation)
    return np.asarray(diffraction.paint(spots, ky, kx, width), dtype=np.float64)


def _strength(crystal: diffraction.Crystal) -> float:
    """All that a sheet scatters into spots up to 10 1/nm, relative."""
    return float(diffraction.spots(crystal, diffraction.reflections(crystal, 10.0)).intensities.sum())


def _beam(ky: np.ndarray, kx: np.ndarray, width: float, diffuse: float) -> np.ndarray:
    """The direct beam and the scattering of the support."""
    direct = np.outer(peak(ky, 0.0, width), peak(kx, 0.0, width))
    halo = (1 + (ky[:, None] ** 2 + kx**2) / 1.5**2) ** -2.0
    return (1 - diffuse) * direct / direct.sum() + diffuse * halo / halo.sum()


def _counted(random: np.random.Generator, truth: Truth) -> np.ndarray:
    """Poisson counts, block by block: the expected image is never held as a whole."""
    values = np.empty((len(truth.maps), truth.spectra.shape[1]), dtype=np.float32)
    for start in range(0, len(values), BLOCK):
        rows = slice(start, start + BLOCK)
        values[rows] = random.poisson(truth.maps[rows] @ truth.spectra)
    return values


def _layout(random: np.random.Generator, patterns: int, topotactic: bool) -> list[_Flake]:
    """Flakes and flaps, the first of random layouts that is good enough, or the best."""
    best: tuple[float, list[_Flake]] = (-np.inf, [])
    for _ in range(TRIES):
        flakes = _flakes(random, patterns, topotactic)
        layers = np.stack([flake.cover((CELLS, CELLS), 1e-6) > 0.5 for flake in flakes])
        number = layers.sum(axis=0)
        own = min(float(np.mean(layer & (number == 1))) for layer in layers)
        # How far each demand is met: 1 or more is enough.
        over = np.mean(number > 1) / 0.15 if patterns > 1 else 1.0
        met = min(own / (0.18 / patterns), float(over), float(np.mean(number == 0)) / 0.1)
        if met > best[0]:
            best = (met, flakes)
        if met >= 1:
            break
    return best[1]


def _flakes(random: np.random.Generator, patterns: int, topotactic: bool) -> list[_Flake]:
    """One random layout: flakes around the nodes of a loose grid, some of them folded, some partly reduced."""
    folded, reduced = patterns // 3, patterns // 5 if topotactic else 0
    number = patterns - folded - reduced
    columns = int(np.ceil(np.sqrt(number)))
    rows = int(np.ceil(number / columns))
    # Equal shares of the 180 degrees after which a pattern repeats itself, and a random place in each.
    turns = patterns - reduced
    angles = list(random.permutation(np.arange(turns) + random.uniform(0.2, 0.8, turns)) * 180 / turns)
    flakes: list[_Flake] = []
    for i, node in enumerate(random.permutation(rows * columns)[:number]):
        centre = (np.array(divmod(int(node), columns)) + 0.5 + random.uniform(-0.15, 0.15, 2)) / [rows, columns]
        size = random.uniform(0.5, 0.65) / np.sqrt(rows * columns)
        crystal = (diffraction.TIO2_NANOSHEET, diffraction.TI2O3_NANOSHEET)[i % 2]
        if i < folded:
            flakes += _folded(random, centre, size, crystal, angles.pop(), angles.pop())
            continue
        edges = _polygon(random, centre, size, random.uniform(1.0, 1.4), random.uniform(0, 180))
        if i < number - reduced:
            flakes.append(_Flake(*edges, crystal, angles.pop()))
        else:
            flakes += _reduced(random, centre, *edges, angles.pop())
    return flakes


def _polygon(
    random: np.random.Generator, centre: np.ndarray, size: float, aspect: float, along: float
) -> tuple[np.ndarray, np.ndarray]:
    """Normals and offsets of a polygon about a centre, drawn out along a direction in degrees from x towards y."""
    edges = int(random.integers(5, 8))
    turn = 2 * np.pi * (np.arange(edges) + random.uniform(-0.25, 0.25, edges)) / edges
    long, across = np.cos(turn) / np.sqrt(aspect), np.sin(turn) * np.sqrt(aspect)
    cos, sin = np.cos(np.deg2rad(along)), np.sin(np.deg2rad(along))
    normals = np.stack([sin * long + cos * across, cos * long - sin * across], axis=1)
    length = np.linalg.norm(normals, axis=1)
    radii = size * random.uniform(0.85, 1.15, edges)
    normals /= length[:, None]
    return normals, radii / length + normals @ centre


def _folded(
    random: np.random.Generator,
    centre: np.ndarray,
    size: float,
    crystal: diffraction.Crystal,
    rotation: float,
    turned: float,
) -> list[_Flake]:
    """What is left of a flake, and the flap that has been turned over the line which brings about its rotation."""
    # The line may also be at right angles to this one: then all turns by another 180 degrees.
    line = (rotation + turned) / 2 + 90 * float(random.integers(2))
    # A long flake, oblique to the line: its flap reaches past the rim.
    normals, offsets = _polygon(random, centre, size, 2.8, line + 45 + random.uniform(-15, 15))
    across = np.array([np.cos(np.deg2rad(line)), -np.sin(np.deg2rad(line))])
    place = float(across @ centre) + size * random.uniform(-0.2, 0.2)
    # r' = r - 2 (across . r - place) across, in normals and offsets.
    mirrored = normals - 2 * np.outer(normals @ across, across)
    moved = offsets - 2 * place * (normals @ across)
    kept = np.concatenate([normals, across[None]])
    flap = np.concatenate([mirrored, across[None]])
    return [
        _Flake(kept, np.append(offsets, place), crystal, rotation),
        _Flake(flap, np.append(moved, place), crystal, turned, flap=True),
    ]


def _reduced(
    random: np.random.Generator, centre: np.ndarray, normals: np.ndarray, offsets: np.ndarray, rotation: float
) -> list[_Flake]:
    """A flake of TiO2, reduced to Ti2O3 on one side of a line."""
    turn = random.uniform(0, 2 * np.pi)
    across = np.array([np.cos(turn), np.sin(turn)])
    crystals = (diffraction.TIO2_NANOSHEET, diffraction.TI2O3_NANOSHEET)
    return [
        _Flake(np.concatenate([normals, side[None]]), np.append(offsets, side @ centre), crystal, rotation)
        for side, crystal in zip((across, -across), crystals, strict=True)
    ]
