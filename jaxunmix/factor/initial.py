"""Where a fit starts."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from ..data.compressed import Compressed, leading_svd
from ..data.matrix import TINY, Dense, accurate_sum, matmul
from . import clusters
from .hals import HALS
from .losses import Frobenius
from .model import Bilinear
from .problem import Problem
from .step import AbstractUpdate
from .vertices import SUBSPACE_SEED
from .vertices import vca as vca

Live = int | Int[Array, ""]


class AbstractInitial(eqx.Module):
    """Makes the first factors: `(problem, rank, key) -> Bilinear`, pure and jittable."""

    @abc.abstractmethod
    def is_random(self, rank: int) -> bool:
        """Whether another key gives another start."""

    @abc.abstractmethod
    def __call__(self, problem: Problem, rank: int, key: Key[Array, ""]) -> Bilinear:
        """The factors to start from."""


class AbstractPadded(AbstractInitial):
    """A start that can leave its last components at zero, so that one program serves many ranks."""

    @abc.abstractmethod
    def padded(self, problem: Problem, rank: int, key: Key[Array, ""], live: Live) -> Bilinear:
        """The start at `live` components, filled up to `rank` with zeros."""

    def __call__(self, problem: Problem, rank: int, key: Key[Array, ""]) -> Bilinear:
        return self.padded(problem, rank, key, rank)


class Random(AbstractPadded):
    """Uniform entries (normal where a block may be negative), scaled so that the model has the data's norm."""

    def is_random(self, rank: int) -> bool:
        return True

    def padded(self, problem: Problem, rank: int, key: Key[Array, ""], live: Live) -> Bilinear:
        maps_key, profiles_key = jax.random.split(key)
        matrix = problem.matrix
        maps = _draw(maps_key, (rank, matrix.shape[0]), problem.is_nonnegative("maps"), matrix.dtype)
        profiles = _draw(profiles_key, (rank, problem.features), problem.is_nonnegative(problem.second), matrix.dtype)
        if problem.basis is not None:
            profiles = profiles / jnp.linalg.norm(problem.basis, axis=-1)
        maps, profiles = _first(maps, live), _first(profiles, live)
        spectra = problem.spectra(Bilinear(maps, profiles))
        norm = jnp.sum(matmul(maps, maps.T) * matmul(spectra, spectra.T))
        scale = (accurate_sum(matrix.squares) / jnp.maximum(norm, TINY)) ** 0.25
        return Bilinear(maps * scale, profiles * scale)


class NNDSVD(AbstractInitial):
    """From the positive parts of the leading singular vectors; no randomness.

    Boutsidis and Gallopoulos, Pattern Recognit. 41 (2008) 1350, with their zeros filled by the mean (NNDSVDa), so
    that multiplicative updates, which never leave a zero, can move every entry; here by a tenth of the mean level.
    """

    def is_random(self, rank: int) -> bool:
        return False

    def __call__(self, problem: Problem, rank: int, key: Key[Array, ""]) -> Bilinear:
        u, s, v = leading_svd(problem.matrix, rank, jax.random.key(SUBSPACE_SEED))
        sides = [(jnp.maximum(sign * u, 0), jnp.maximum(sign * v, 0)) for sign in (1, -1)]
        norms = [(jnp.linalg.norm(a, axis=1), jnp.linalg.norm(b, axis=1)) for a, b in sides]
        first = (norms[0][0] * norms[0][1] >= norms[1][0] * norms[1][1])[:, None]
        a, b = (jnp.where(first, p, n) for p, n in zip(*sides, strict=True))
        na, nb = (jnp.where(first[:, 0], p, n) for p, n in zip(*norms, strict=True))
        size = jnp.sqrt(s * na * nb)
        maps = a * (size / jnp.maximum(na, TINY))[:, None]
        spectra = b * (size / jnp.maximum(nb, TINY))[:, None]
        fill = jnp.sqrt(jnp.mean(jnp.abs(problem.matrix.channel_sums)) / problem.matrix.shape[0] / rank) * 0.1
        maps, spectra = (jnp.where(x > 0, x, fill) for x in (maps, spectra))
        return Bilinear(maps, _profiles(problem, spectra))


class VCA(AbstractInitial):
    """Spectra of the purest pixels by vertex component analysis, maps by clipped least squares.

    Nascimento and Dias, IEEE Trans. Geosci. Remote Sens. 43 (2005) 898: the data are projected onto their leading
    directions (principal components at low signal-to-noise, perspective projection at high), then the pixel
    farthest along a random direction orthogonal to the vertices found so far is taken, K times.

    Fit it with `Fixed("spectra")` for the classical VCA + non-negative least squares.
    """

    def is_random(self, rank: int) -> bool:
        return True

    def __call__(self, problem: Problem, rank: int, key: Key[Array, ""]) -> Bilinear:
        spectra = vca(problem.matrix, rank, key)
        if problem.is_nonnegative(problem.second):
            spectra = jnp.maximum(spectra, 0)
        profiles = _profiles(problem, spectra)
        spectra = problem.spectra(Bilinear(jnp.zeros((rank, 1)), profiles))
        maps = _least_squares(matmul(spectra, spectra.T), problem.matrix.onto_spectra(spectra))
        return Bilinear(_floored(maps, problem.is_nonnegative("maps")), profiles)


class Clusters(AbstractPadded):
    """Directions of clusters of pixels: many small clusters, joined until K are left. The start of orthogonal NMF.

    On some of the pixels, seen in 2K leading directions: `oversample` K seeds, drawn as k-means++ does with the
    part of each pixel that no seed explains, |x|^2 - max(0, x.u)^2 (Arthur and Vassilvitskii, SODA 2007; here for
    directions, which is the objective of orthogonal NMF itself); a few rounds of assignment and mean; then the two
    clusters are joined whose union costs least, for energies a, b at the angle t the amount
    (a + b)/2 - sqrt((a - b)^2/4 + a b cos^2 t), until K are left (Ward, J. Am. Stat. Assoc. 58 (1963) 236). Single
    seeds often miss a small domain and split a large one, from which no local step comes back; joining mends that.

    Args:
        oversample: seeds for each component.
        pixels: how many pixels are looked at, at most.
    """

    oversample: int = eqx.field(default=4, static=True)
    pixels: int = eqx.field(default=4096, static=True)

    def __check_init__(self):
        if self.oversample < 1 or self.pixels < 1:
            raise ValueError(f"Clusters: oversample={self.oversample} and pixels={self.pixels} must be 1 or more.")

    def is_random(self, rank: int) -> bool:
        return True

    def padded(self, problem: Problem, rank: int, key: Key[Array, ""], live: Live) -> Bilinear:
        matrix = problem.matrix
        u, s, v = leading_svd(matrix, min(2 * rank, *matrix.shape), jax.random.key(SUBSPACE_SEED))
        pick, seed = jax.random.split(key)
        chosen = _some(pick, matrix.shape[0], max(rank, self.pixels))
        points = (u * s[:, None])[:, chosen]
        seeds = min(self.oversample * rank, points.shape[1])
        spectra = matmul(clusters.directions(points, rank, live, seeds, seed), v)
        if problem.is_nonnegative(problem.second):
            spectra = jnp.maximum(spectra, 0)
        profiles = _profiles(problem, spectra)
        spectra = problem.spectra(Bilinear(jnp.zeros((rank, 1)), profiles))
        maps = _least_squares(matmul(spectra, spectra.T), matrix.onto_spectra(spectra))
        maps = _floored(maps, problem.is_nonnegative("maps"))
        return Bilinear(_first(maps, live), _first(profiles, live))


class Coarse(AbstractPadded):
    """A fit of some of the pixels and channels, then maps and spectra of all by least squares: for large data.

    A few thousand pixels know the spectra nearly as well as all of them, at a small part of the work; the fit of
    all data then starts close to its end.

    Args:
        rest: the start on the part.
        update: how the part is fitted; None takes `HALS`.
        steps: of that fit.
        pixels: how many pixels are looked at, at most.
        channels: how many channels.
    """

    rest: AbstractPadded
    update: AbstractUpdate
    steps: int = eqx.field(static=True)
    pixels: int = eqx.field(static=True)
    channels: int = eqx.field(static=True)

    def __init__(
        self,
        rest: AbstractPadded | None = None,
        update: AbstractUpdate | None = None,
        steps: int = 100,
        pixels: int = 4096,
        channels: int = 2048,
    ):
        if min(steps, pixels, channels) < 1:
            raise ValueError(f"Coarse: steps={steps}, pixels={pixels}, channels={channels} must be 1 or more.")
        self.rest = Random() if rest is None else rest
        self.update = HALS() if update is None else update
        self.steps, self.pixels, self.channels = steps, pixels, channels

    def is_random(self, rank: int) -> bool:
        return True

    def suits(self, problem: Problem) -> bool:
        """Whether a part of the data poses the same problem: least squares, no basis, no weights, no penalties."""
        stored = isinstance(problem.matrix, Dense | Compressed)
        plain = isinstance(problem.loss, Frobenius) and problem.weights is None and problem.basis is None
        return stored and plain and not problem.penalties

    def padded(self, problem: Problem, rank: int, key: Key[Array, ""], live: Live) -> Bilinear:
        if not self.suits(problem):
            raise ValueError(
                "Coarse starts plain least squares on Dense or Compressed data, without basis, weights or penalties; "
                "use initial.Random()."
            )
        pick, pick_channels, begin = jax.random.split(key, 3)
        matrix = problem.matrix
        chosen = _some(pick, matrix.shape[0], max(rank, self.pixels))
        channels = _some(pick_channels, matrix.shape[1], max(rank, self.channels))
        part = eqx.tree_at(lambda p: p.matrix, problem, matrix.take(chosen, channels))
        factors = self.rest.padded(part, rank, begin, live)
        carry = factors, self.update.init(part, factors)
        factors, _ = jax.lax.fori_loop(0, self.steps, lambda _, c: self.update.step(part, *c), carry)
        # From the maps of some pixels the spectra of all channels, and from these the maps of all pixels.
        across = matrix.take(chosen, jnp.arange(matrix.shape[1]))
        spectra = _least_squares(matmul(factors.maps_t, factors.maps_t.T), across.onto_maps(factors.maps_t))
        spectra = _first(_floored(spectra, problem.is_nonnegative(problem.second)), live)
        maps = _least_squares(matmul(spectra, spectra.T), matrix.onto_spectra(spectra))
        return Bilinear(_first(_floored(maps, problem.is_nonnegative("maps")), live), spectra)


class Given(AbstractInitial):
    """Known factors; what is not given is drawn by `rest`.

    Args:
        maps: (pixels, K) or None.
        spectra: (K, channels) or None. With fewer rows than the rank, these are the first components.
        coefficients: (K, features) in place of the spectra, for a problem with a basis.
        rest: start of the blocks and components that are not given.

    Raises:
        ValueError: shapes that do not fit the data or the rank; entries that are not finite, or negative where
            the problem forbids it.
    """

    maps: Float[np.ndarray, "pixels components"] | None
    spectra: Float[np.ndarray, "components channels"] | None
    coefficients: Float[np.ndarray, "components features"] | None
    rest: AbstractInitial

    def __init__(
        self,
        maps: Any = None,
        spectra: Any = None,
        coefficients: Any = None,
        rest: AbstractInitial | None = None,
    ):
        if maps is None and spectra is None and coefficients is None:
            raise ValueError("Given: give maps, spectra or coefficients.")
        if spectra is not None and coefficients is not None:
            raise ValueError("Given: give spectra or coefficients, not both.")
        self.maps, self.spectra, self.coefficients = (_as_block(b) for b in (maps, spectra, coefficients))
        self.rest = Random() if rest is None else rest

    def is_random(self, rank: int) -> bool:
        maps = 0 if self.maps is None else self.maps.shape[1]
        return self.rest.is_random(rank) and min(maps, 0 if self._second is None else len(self._second)) < rank

    def check(self, problem: Problem, rank: int) -> None:
        """Refuse blocks that do not fit (see the class)."""
        pixels, channels = problem.matrix.shape
        if self.coefficients is not None and problem.basis is None:
            raise ValueError("Given: coefficients ask for a problem with a basis; give spectra.")
        second, columns = ("spectra", channels) if self.coefficients is None else ("coefficients", problem.features)
        blocks = (("maps", None if self.maps is None else self.maps.T, pixels), (second, self._second, columns))
        for name, rows, length in blocks:
            if rows is None:
                continue
            if rows.shape[1] != length or rows.shape[0] > rank:
                orientation = f"({length}, K)" if name == "maps" else f"(K, {length})"
                raise ValueError(
                    f"Given: {name} must be {orientation} with K <= {rank}; transposed, it is {rows.shape}."
                )
            nonnegative = problem.is_nonnegative(name) or (name == "spectra" and problem.is_nonnegative(problem.second))
            if nonnegative and rows.min() < 0:
                raise ValueError(
                    f"Given: {name} hold negative values (min {rows.min():.4g}), which the problem forbids."
                )

    def __call__(self, problem: Problem, rank: int, key: Key[Array, ""]) -> Bilinear:
        maps = None if self.maps is None else jnp.asarray(self.maps.T, problem.matrix.dtype)
        profiles = None
        if self._second is not None:
            profiles = jnp.asarray(self._second, problem.matrix.dtype)
            profiles = _profiles(problem, profiles) if self.coefficients is None else profiles
        if maps is not None and profiles is not None and len(maps) == len(profiles) == rank:
            return Bilinear(maps, profiles)
        drawn = self.rest(problem, rank, key)
        profiles = drawn.profiles if profiles is None else drawn.profiles.at[: len(profiles)].set(profiles)
        if maps is not None:
            return Bilinear(drawn.maps_t.at[: len(maps)].set(maps), profiles)
        # The drawn maps fit the drawn spectra's scale: bring the model back to the data's norm.
        maps = drawn.maps_t
        spectra = problem.spectra(Bilinear(maps, profiles))
        norm = jnp.sum(matmul(maps, maps.T) * matmul(spectra, spectra.T))
        return Bilinear(maps * jnp.sqrt(accurate_sum(problem.matrix.squares) / jnp.maximum(norm, TINY)), profiles)

    @property
    def _second(self) -> np.ndarray | Array | None:
        return self.spectra if self.coefficients is None else self.coefficients


def _some(key: Key[Array, ""], pixels: int, count: int) -> Int[Array, " some"]:
    """`count` pixels at random, one from each of as many runs of neighbours; all where there are no more."""
    if pixels <= count:
        return jnp.arange(pixels)
    edges = np.linspace(0, pixels, count + 1).astype(int)
    return jnp.asarray(edges[:-1]) + jax.random.randint(key, (count,), 0, jnp.asarray(np.diff(edges)))


def _draw(key: Key[Array, ""], shape: tuple[int, int], nonnegative: bool, dtype: Any) -> Float[Array, "rows columns"]:
    if nonnegative:
        return jax.random.uniform(key, shape, dtype, minval=1e-3)
    return jax.random.normal(key, shape, dtype)


def _first(rows: Float[Array, "components length"], live: Live) -> Float[Array, "components length"]:
    """The rows with all but the first `live` at zero."""
    return (
        rows
        if isinstance(live, int) and live == len(rows)
        else jnp.where(jnp.arange(len(rows))[:, None] < live, rows, 0)
    )


def _floored(rows: Float[Array, "components length"], nonnegative: bool) -> Float[Array, "components length"]:
    """Clipped just above zero where a block may not be negative: no entry is left for good by multiplication."""
    return jnp.maximum(rows, 1e-3 * jnp.mean(jnp.abs(rows))) if nonnegative else rows


def _profiles(problem: Problem, spectra: Float[Array, "components channels"]) -> Float[Array, "components features"]:
    """Spectra as what the problem fits: themselves, or their least-squares coefficients."""
    if problem.basis is None:
        return spectra

    def fitted(row, basis):
        return _least_squares(matmul(basis, basis.T), matmul(basis, row[:, None]))[:, 0]

    profiles = jax.vmap(fitted, (0, None if problem.basis.ndim == 2 else 0))(spectra, problem.basis)
    if problem.is_nonnegative("coefficients"):
        profiles = jnp.maximum(profiles, 1e-3 * jnp.mean(jnp.abs(profiles), axis=0))
    return profiles


def _least_squares(
    gram: Float[Array, "rows rows"], cross: Float[Array, "rows columns"]
) -> Float[Array, "rows columns"]:
    """Gram^+ cross, with directions below the rounding left out."""
    values, vectors = jnp.linalg.eigh(gram)
    keep = values > jnp.finfo(gram.dtype).eps * gram.shape[0] * values[-1]
    inverse = jnp.where(keep, 1 / jnp.where(keep, values, 1), 0)
    return matmul(vectors * inverse, matmul(vectors.T, cross))


def _as_block(block: Any) -> np.ndarray | None:
    if block is None:
        return None
    block = np.asarray(block)
    if block.ndim != 2 or block.dtype.kind not in "iuf" or not np.isfinite(block).all():
        raise ValueError(f"Given: each block must be a two-dimensional array of finite numbers, got {block.shape}.")
    return block.astype(np.result_type(block.dtype, np.float32))
