r"""The density of an X-ray absorption spectrum with its heights integrated out.

The spectrum is a baseline, an arctangent edge, a white line and K Gaussians,

    f(E) = y_0 + H step(E; E_0, Gamma) + A_L lorentz(E; E_WL, omega) + A_G gauss(E; E_WL, omega)
           + sum_k a_k gauss(E; c_k, w_k),

lines of height one. The heights enter linearly and are integrated out, so that only the positions and widths are left
to be sampled. With b = 1/sigma^2, columns A (heights in units of the sds S of their half-normal priors), and
$M = I + b A A' = C C'$, $v = C^{-1} b A y$,

    ln q_b = -sum ln C_ii - (b |y|^2 - v'v) / 2 + ln P_b,

where P_b is the probability that heights drawn from N(M^-1 b A y, M^-1) are positive and, where the white line is to be
the `highest`, that A_L + A_G >= a_k for every k; over the same under the prior. It has no closed form. Drawn one after
the other, from the last to the first, each height has a truncated normal given those before, that of A_L from
max_k a_k - A_G up; the product of the masses that are left is an unbiased estimate of P_b (Genz, J. Comput. Graph.
Stat. 1 (1992) 141; Keane; Hajivassiliou and McFadden). The uniform numbers u of those draws are part of the point. Then
the estimate is not noise that a sampler could exploit, but a density of (theta, u) whose integral over u is exact, and
each point carries one draw of the heights from their posterior (Andrieu and Roberts, Ann. Stat. 37 (2009) 697).

All positions, widths and u are quantiles of their priors: points fill the unit cube uniformly at b = 0, but for the u
where the white line is the highest.
"""

import math
from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import gammaln, ndtr, ndtri
from jaxtyping import Array, Bool, Float, Int, Key

from ...physics import lineshapes
from ..path import Density, PerPoint, Points
from .truncated_normal import FIXED, GAUSS, LORENTZ, factorise, positive, uniforms_of

# The numbers of a point that are of no peak: white line, edge, their widths.
SHAPES = 4


class Prior(eqx.Module):
    """What is known of positions (eV), widths (full at half maximum, eV), heights and noise before the data.

    Attributes:
        white_line: mean and sd of E_WL, normal.
        edge: sd of E_0 - E_WL, normal about zero.
        edge_width, line_width, peak_width: least and largest, uniform in the logarithm.
        peak: least and largest c_k, uniform.
        baseline: sd of y_0, normal about zero; half-normal where counts are fitted.
        heights: sds of H, A_L, A_G and of all a_k, half-normal.
        highest: 1 where A_L + A_G is at least every a_k, or else 0.
        log_share: the logarithm of the probability that half-normal heights are so: 0 where they need not be.
        noise: least and largest sigma, uniform in the logarithm.
    """

    white_line: Float[Array, "2"]
    edge: Float[Array, ""]
    edge_width: Float[Array, "2"]
    line_width: Float[Array, "2"]
    peak_width: Float[Array, "2"]
    peak: Float[Array, "2"]
    baseline: Float[Array, ""]
    heights: Float[Array, "4"]
    highest: Float[Array, ""]
    log_share: Float[Array, ""]
    noise: Float[Array, "2"]


class Shapes(NamedTuple):
    """Positions and widths in eV: (points,), and (points, slots) of the peaks."""

    white_line: Array
    edge: Array
    edge_width: Array
    line_width: Array
    centres: Array
    widths: Array


class CollapsedTerms(NamedTuple):
    """What q_b needs of a point: products of columns, columns with the data, u, and where counts are fitted columns."""

    gram: Float[Array, "points heights heights"]
    moment: Float[Array, "points heights"]
    uniforms: Float[Array, "points heights"]
    columns: Float[Array, "points heights channels"] | None


class CollapsedSpectrum(Density):
    """The path q_b of one spectrum, b = 1/sigma^2 (or the power of the likelihood, where counts are fitted).

    A point is (E_WL, E_0, Gamma, omega, c_1.., w_1.., u_1..) as quantiles. There are `slots` peaks; those that are not
    `live` have columns of zeros, which leave q_b as it is without them, so that one compiled program serves several K.

    Attributes:
        energy: (channels,), eV.
        intensity: (channels,).
        weight: (channels,), one over the noise sd of each channel in units of sigma; of counts over its estimate. Zero
            at a channel that is not measured, so that one compiled program serves several lengths.
        live: (slots,), 1 for the peaks that there are.
        prior: the priors.
        poisson: whether the intensity is counts. Then the normal distribution of `weight` only proposes heights, and
            each point carries the ratio of the Poisson to the normal likelihood to the power b.
        edge: the shape of the step, of `lineshapes.EDGES`.
        strata: (2,), equal parts of the prior in E_WL and in E_0 - E_WL that points are drawn from one after the other;
            `PeakMoves` keep each point in its own.
    """

    energy: Float[Array, " channels"]
    intensity: Float[Array, " channels"]
    weight: Float[Array, " channels"]
    live: Float[Array, " slots"]
    prior: Prior
    poisson: bool = eqx.field(static=True, default=False)
    edge: str = eqx.field(static=True, default="arctangent")
    strata: Int[Array, "2"] = eqx.field(converter=jnp.asarray, default=(1, 1))

    def united(self, yes: Bool[Array, ""]) -> "CollapsedSpectrum":
        """One stratum, if `yes`."""
        return replace(self, strata=jnp.where(yes, 1, self.strata))

    @property
    def slots(self) -> int:
        """How many peaks there is room for."""
        return len(self.live)

    @property
    def heights(self) -> int:
        """How many columns there are."""
        return FIXED + self.slots

    @property  # type: ignore[misc]
    def size(self) -> int:  # type: ignore[override]
        return SHAPES + 2 * self.slots + self.heights

    @property
    def scales(self) -> Float[Array, " heights"]:
        """The sds of the heights."""
        fixed, peak = self.prior.heights[:3], self.prior.heights[3]
        return jnp.concatenate([self.prior.baseline[None], fixed, jnp.full(self.slots, peak)])

    @property
    def ceiling(self) -> Float[Array, " heights"]:
        """The sds of A_G and of the live peaks in that of A_L where the white line is the highest, or else zeros."""
        of_line = jnp.arange(self.heights) == GAUSS
        counted = jnp.where(of_line, 1, jnp.concatenate([jnp.zeros(FIXED), self.live]))
        return self.prior.highest * counted * self.scales / self.scales[LORENTZ]

    def sample(self, key: Key[Array, ""], points: int) -> Points:
        keys = jax.random.split(key)
        z = jax.random.uniform(keys[0], (points, self.size), self.energy.dtype)
        z = z.at[:, -self.heights :].set(self._uniforms(keys[1], points))
        part = jnp.arange(points) * jnp.prod(self.strata) // points
        index = jnp.stack(jnp.divmod(part, self.strata[1]), axis=1)
        return z.at[:, :2].set((index + z[:, :2]) / self.strata)

    def _uniforms(self, key: Key[Array, ""], points: int) -> Float[Array, "points heights"]:
        """The u at b = 0: uniform, but that A_L has the probability left to it above the other heights."""

        def again(state):
            key, u, ok = state
            key, *own = jax.random.split(key, 3)
            new = jax.random.uniform(own[0], u.shape, u.dtype, jnp.finfo(u.dtype).tiny)
            heights = self.ceiling * -ndtri(new / 2)
            least = jnp.max(heights[:, FIXED:], axis=1, initial=0) - heights[:, GAUSS]
            accepted = jax.random.uniform(own[1], ok.shape) < 2 * ndtr(-jnp.maximum(least, 0))
            return key, jnp.where(ok[:, None], u, new), ok | accepted

        start = key, jnp.zeros((points, self.heights), self.energy.dtype), jnp.zeros(points, bool)
        return lax.while_loop(lambda state: ~jnp.all(state[2]), again, start)[1]

    def stratum(self, z: Points) -> Int[Array, " points"]:
        """The part of the prior that each point lies in."""
        index = jnp.clip((z[:, :2] * self.strata).astype(int), 0, self.strata - 1)
        return index[:, 0] * self.strata[1] + index[:, 1]

    def shapes(self, z: Points) -> Shapes:
        """Positions and widths of points."""
        prior, peaks = self.prior, z[:, SHAPES : SHAPES + 2 * self.slots]
        white_line = prior.white_line[0] + prior.white_line[1] * normal_score(z[:, 0])
        return Shapes(
            white_line,
            white_line + prior.edge * normal_score(z[:, 1]),
            log_uniform(z[:, 2], prior.edge_width),
            log_uniform(z[:, 3], prior.line_width),
            self.centre(peaks[:, : self.slots]),
            log_uniform(peaks[:, self.slots :], prior.peak_width),
        )

    def point(self, shapes: Shapes) -> Points:
        """Points of these positions and widths, the inverse of `shapes`; 0.5 for what is of no live peak, and for u."""
        prior, count = self.prior, shapes.centres.shape[1]
        z = jnp.full((len(shapes.centres), self.size), 0.5, self.energy.dtype)
        line = jnp.stack(
            [
                ndtr((shapes.white_line - prior.white_line[0]) / prior.white_line[1]),
                ndtr((shapes.edge - shapes.white_line) / prior.edge),
                log_quantile(shapes.edge_width, prior.edge_width),
                log_quantile(shapes.line_width, prior.line_width),
            ],
            1,
        )
        place = (shapes.centres - prior.peak[0]) / (prior.peak[1] - prior.peak[0])
        z = z.at[:, :SHAPES].set(line).at[:, SHAPES : SHAPES + count].set(place)
        first = SHAPES + self.slots
        return z.at[:, first : first + count].set(log_quantile(shapes.widths, prior.peak_width))

    def centre(self, quantile: Array) -> Array:
        """The position of a peak, eV."""
        return self.prior.peak[0] + (self.prior.peak[1] - self.prior.peak[0]) * quantile

    def columns(self, z: Points) -> Float[Array, "points heights channels"]:
        """The shapes of height one, in units of the noise and of the priors of their heights."""
        s = self.shapes(z)
        peaks = gaussian_of_height_one(self.energy, s.centres[..., None], s.widths[..., None]) * self.live[:, None]
        flat = jnp.ones((len(z), 1, len(self.energy)), self.energy.dtype)
        shapes = jnp.concatenate([flat, self._edge_and_line(s), peaks], 1)
        return shapes * self.scales[:, None] * self.weight

    def changed_columns(self, z: Points, k: Array) -> Float[Array, "points 4 channels"]:
        """Those of the step, of the white line, and of peak k, one or one for each point."""
        s = self.shapes(z)
        which = jnp.broadcast_to(k, len(z))[:, None]
        centre, width = (jnp.take_along_axis(each, which, 1) for each in (s.centres, s.widths))
        peak = gaussian_of_height_one(self.energy, centre, width) * self.live[which]
        shapes = jnp.concatenate([self._edge_and_line(s), peak[:, None]], 1)
        return shapes * self.prior.heights[:, None] * self.weight

    def _edge_and_line(self, s: Shapes) -> Float[Array, "points 3 channels"]:
        line = s.white_line[:, None], s.line_width[:, None]
        fixed = [
            lineshapes.EDGES[self.edge](self.energy, s.edge[:, None], s.edge_width[:, None]),
            lineshapes.lorentzian(self.energy, *line) / lineshapes.lorentzian_peak(line[1]),
            lineshapes.gaussian(self.energy, *line) / lineshapes.gaussian_peak(line[1]),
        ]
        return jnp.stack(fixed, 1)

    def peak_columns(self, centre: Array, width: Array) -> Float[Array, "... channels"]:
        """The column of a peak from quantiles of its position and width."""
        shape = gaussian_of_height_one(
            self.energy, self.centre(centre)[..., None], log_uniform(width, self.prior.peak_width)[..., None]
        )
        return shape * self.prior.heights[3] * self.weight

    @property
    def target(self) -> Float[Array, " channels"]:
        """The data in units of the noise."""
        return self.intensity * self.weight

    @property
    def measured(self) -> np.ndarray:
        """The weights of the channels that are measured, on the host."""
        weight = np.asarray(self.weight)
        return weight[weight > 0]

    def log_marginal(self, beta: Any, log_z: Any) -> Any:
        """Ln p(D | K, b) from ln Z(b), on the host; ln Z itself where counts are fitted."""
        if self.poisson:
            return log_z
        scale = np.maximum(beta, 1e-300) / (2 * np.pi)
        return log_z + 0.5 * len(self.measured) * np.log(scale) + np.sum(np.log(self.measured))

    def evaluate(self, z: Points) -> CollapsedTerms:
        columns = self.columns(z)
        return CollapsedTerms(
            jnp.einsum("pln,pmn->plm", columns, columns),
            columns @ self.target,
            z[:, -self.heights :],
            columns if self.poisson else None,
        )

    def log_density(self, terms: CollapsedTerms, beta: PerPoint) -> PerPoint:
        return self._draw(terms, beta)[0]

    def draw(self, terms: CollapsedTerms, beta: PerPoint) -> Float[Array, "points heights"]:
        """The heights that points carry, in the unit of the intensity: draws of their posterior given the shapes."""
        return self._draw(terms, beta)[1] * self.scales

    def point_of_heights(self, z: Points, beta: PerPoint) -> Points:
        """Points from such as have heights, in units of the sds of their priors, in place of their u."""
        terms = self.evaluate(z)
        factor, v = factorise(terms.gram, beta, (beta[:, None] * terms.moment)[:, None])
        uniforms = uniforms_of(factor, v[0], terms.uniforms.T, self.ceiling, signed_first=not self.poisson)
        return z.at[:, -self.heights :].set(uniforms.T)

    def _draw(self, terms: CollapsedTerms, beta: PerPoint) -> tuple[PerPoint, Array]:
        square = jnp.sum(self.target**2)
        factor, v = factorise(terms.gram, beta, (beta[:, None] * terms.moment)[:, None])
        heights, inside = positive(factor, v[0], terms.uniforms.T, self.ceiling, signed_first=not self.poisson)
        log_root = jnp.sum(jnp.log(jnp.diagonal(factor)), 1)
        value = inside - self.prior.log_share - log_root - 0.5 * (beta * square - jnp.sum(v[0] ** 2, 0))
        if self.poisson:
            value = value + beta * self._poisson_over_normal(terms, heights.T)
        return jnp.where(jnp.isnan(value), -jnp.inf, value), heights.T

    def _poisson_over_normal(self, terms: CollapsedTerms, heights: Array) -> PerPoint:
        fitted = jnp.einsum("pl,pln->pn", heights, terms.columns)
        measured = self.weight > 0
        rate = jnp.maximum(fitted / jnp.where(measured, self.weight, 1), 1e-30)
        poisson = self.intensity * jnp.log(rate) - rate - gammaln(self.intensity + 1)
        normal = -0.5 * (self.target - fitted) ** 2
        return jnp.sum(jnp.where(measured, poisson - normal, 0), 1)


def gaussian_of_height_one(energy: Array, centre: Array, width: Array) -> Array:
    """The Gaussian over its value at the centre."""
    return jnp.exp(-4.0 * math.log(2.0) * ((energy - centre) / width) ** 2)


def normal_score(quantile: Array) -> Array:
    """The standard normal number of a quantile."""
    tiny = jnp.finfo(quantile.dtype).eps
    return ndtri(jnp.clip(quantile, tiny, 1 - tiny))


def log_uniform(quantile: Array, ends: Array) -> Array:
    """Of a quantile the number that is uniform in its logarithm between the ends."""
    return ends[0] * jnp.exp(quantile * jnp.log(ends[1] / ends[0]))


def log_quantile(value: Array, ends: Array) -> Array:
    """Of a number that is uniform in its logarithm between the ends."""
    return jnp.log(value / ends[0]) / jnp.log(ends[1] / ends[0])


Spans = tuple[tuple[int | Array, int], ...]


def put(array: Array, new: Array, spans: Spans, axis: int, where: Array | None = None) -> Array:
    """The array with `new` at spans (start, length) of an axis, or there only at the points told by `where`.

    A start may be one for each point, with a length of 1. Slices and masks: to scatter takes longer than a move.
    """
    taken = 0
    for start, length in spans:
        part = lax.slice_in_dim(new, taken, taken + length, axis=axis)
        if jnp.ndim(start):
            here = jnp.arange(array.shape[axis]) == jnp.asarray(start)[:, None]
            here = here if where is None else here & where[:, None]
            array = jnp.where(jnp.expand_dims(here, [i for i in range(1, array.ndim) if i != axis]), part, array)
        else:
            if where is not None:
                old = lax.dynamic_slice_in_dim(array, start, length, axis)
                part = jnp.where(jnp.expand_dims(where, range(1, array.ndim)), part, old)
            array = lax.dynamic_update_slice_in_dim(array, part, start, axis)
        taken += length
    return array


def change_columns(terms: CollapsedTerms, columns: Array, new: Array, spans: Spans, target: Array) -> CollapsedTerms:
    """The terms after the columns at the spans have become `new`: only products with those are formed."""
    products = jnp.einsum("pln,pmn->plm", columns, new)
    products = put(products, jnp.einsum("pln,pmn->plm", new, new), spans, 1)
    gram = put(put(terms.gram, products, spans, 2), jnp.swapaxes(products, 1, 2), spans, 1)
    return terms._replace(gram=gram, moment=put(terms.moment, new @ target, spans, 1))
