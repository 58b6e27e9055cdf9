"""What is to be minimised: data, loss, basis, penalties and constraints, checked when put together."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._util.validation import check_instance
from ..matrix.base import TINY, AbstractMatrix, accurate_sum, matmul
from ..matrix.convert import as_matrix
from .constraints.base import AbstractConstraint, Constraints
from .constraints.non_negative import NonNegative
from .inputs import apply_weights, check_basis, check_scale, copy_to_device
from .losses.base import AbstractLoss
from .losses.frobenius import Frobenius
from .model import Basis, Bilinear, expand, onto_basis
from .penalties.base import BOTH, NOTHING, AbstractPenalty, Bound, Reference
from .penalties.function import Penalty, as_penalties
from .resolution import Resolution, check_resolution


class Problem(eqx.Module):
    """Minimise loss(X | link(maps @ spectra)) + penalties under constraints.

    The spectra are coefficients @ basis where there is a basis, the maps are blurred where a resolution is given, and
    the link belongs to the loss.

    It can be made inside a function that JAX traces, with X, weights or a penalty's weight being traced; what cannot
    be looked at then is not checked.

    Args:
        matrix: a matrix or an array, (pixels, channels); an array becomes `Counts` or `Dense` by its density.
        loss: one of `losses`.
        basis: (features, channels), or (components, features, channels) where each component has its own (then the
            rank is theirs), or None.
        penalties: of `penalties`, or plain functions of the factors.
        weights: (pixels, channels), or what broadcasts to it; 0 leaves an entry out, whatever it holds (NaN too).
            Entries that the mask of a NumPy masked array hides have weight 0.
        constraints: None means non-negative maps and non-negative spectra (coefficients where there is a basis);
            () means none.
        tuning: what `tune` tried to choose the weights; it changes nothing.
        resolution: how the instrument blurs the maps, see `Resolution`; None for sharp data.

    Raises:
        ValueError: data, basis, weights, penalties or constraints that do not fit one another; data so small or large
            that their squares leave the float type in use.
    """

    matrix: AbstractMatrix
    loss: AbstractLoss
    basis: Basis | None
    penalties: tuple[AbstractPenalty, ...]
    weights: Float[Array, "pixels channels"] | None
    constraints: Constraints
    reference: Reference
    resolution: Resolution | None
    tuning: Any = eqx.field(static=True)

    def __init__(
        self,
        matrix: Any,
        loss: AbstractLoss | None = None,
        basis: Any = None,
        penalties: Sequence[Penalty] = (),
        weights: Any = None,
        constraints: Sequence[AbstractConstraint] | Constraints | None = None,
        tuning: Any = None,
        resolution: Resolution | None = None,
    ):
        self.tuning = tuning
        loss = Frobenius() if loss is None else check_instance(loss, AbstractLoss, "loss", "losses.Poisson()")
        self.penalties = as_penalties(penalties)
        matrix, weights = apply_weights(matrix, weights, loss.takes_zero)
        counts = weights is None and loss.serves_counts and loss.link.is_identity and not _bounds_product(constraints)
        self.matrix = as_matrix(matrix, "auto" if counts else "dense")
        self.weights = None if weights is None else copy_to_device(weights, self.matrix.dtype)
        self.loss = loss
        self.basis = None if basis is None else check_basis(basis, self.matrix)
        self.resolution = check_resolution(resolution, self.matrix.shape[0])
        self._check()
        if constraints is None:
            constraints = (NonNegative("maps"), NonNegative(self.profile_block))
        self.constraints = Constraints(constraints, self.profile_block, self.features)
        self.constraints.check_pixels(self.matrix.shape[0])
        self.reference = _reference(self.matrix, self.loss, self.weights)

    def replace(self, **changes: Any) -> "Problem":
        """The problem with some of its arguments changed, all of it checked anew.

        Args:
            changes: any arguments of the class, such as `penalties=` or `matrix=`.
        """
        same = {
            "matrix": self.matrix,
            "loss": self.loss,
            "basis": self.basis,
            "penalties": self.penalties,
            "weights": self.weights,
            "constraints": self.constraints,
            "tuning": self.tuning,
            "resolution": self.resolution,
        }
        return Problem(**{**same, **changes})

    @property
    def profile_block(self) -> str:
        """The block beside the maps that is fitted: "spectra", or "coefficients" where there is a basis."""
        return "spectra" if self.basis is None else "coefficients"

    def signed_block(self, penalty: AbstractPenalty) -> str | None:
        """The first fitted block that a penalty is about and that may have negative entries; None where there is none.

        The coefficients stand for the spectra of a basis.
        """
        sides = ("maps", "spectra") if penalty.block == BOTH else (penalty.block,)
        fitted = [self.profile_block if side == "spectra" else side for side in sides]
        return next((block for block in fitted if not self.constraints.is_nonnegative(block)), None)

    @property
    def features(self) -> int:
        """Columns of the block beside the maps."""
        return self.matrix.shape[1] if self.basis is None else self.basis.shape[-2]

    @property
    def is_least_squares(self) -> bool:
        """Whether the loss is the plain sum of squares, so that products with the data are all it needs."""
        return self.loss.is_least_squares and self.weights is None and self.resolution is None

    def spectra(self, factors: Bilinear) -> Float[Array, "components channels"]:
        """The spectra of factors, in channel space."""
        return factors.profiles if self.basis is None else expand(factors.profiles, self.basis)

    def seen_maps(self, factors: Bilinear) -> Float[Array, "components pixels"]:
        """The maps as the instrument sees them."""
        return factors.maps_t if self.resolution is None else self.resolution.blur(factors.maps_t)

    @property
    def linearised(self) -> "Problem":
        """Least squares of what is linear, from which starts are made; the problem itself where there is no link."""
        if self.loss.link.is_identity:
            return self
        linear = self.loss.link.inverse(self.matrix.to_dense())
        return self.replace(matrix=self.matrix.like(linear), loss=Frobenius(), penalties=())

    def complete(self, factors: Bilinear) -> Bilinear:
        """The factors with the basis attached, as penalties and users see them."""
        return Bilinear(factors.maps_t, factors.profiles, self.basis)

    def normalise(self, factors: Bilinear) -> Bilinear:
        """The factors as the constraints ask for them, see `Constraints.impose`."""
        return self.constraints.impose(self.complete(factors)).without_basis()

    def project(self, factors: Bilinear, before: Bilinear) -> Bilinear:
        """The factors after any step, brought back to the constraints, see `Constraints.project`."""
        return self.constraints.project(self.complete(factors), before).without_basis()

    def balanced(self, factors: Bilinear) -> Bilinear:
        """The same model, maps and spectra of one norm, where a penalty shrinks both and nothing holds their scale.

        Else a component that switches off would shrink in one block and grow without end in the other. One that is
        nothing in one block is nothing in both: there the penalty is infinitely steep.
        """
        pinned = any(
            self.constraints.of(kind) for kind in ("sum", "closure", "bounds", "fixed", "norm", "set", "ratio")
        )
        if pinned or not any(p.block == BOTH for p in self.penalties):
            return factors
        maps, profiles = (jnp.linalg.norm(rows, axis=1) for rows in (factors.maps_t, factors.profiles))
        alive = (maps > 0) & (profiles > 0)
        scale = jnp.where(alive, jnp.sqrt(profiles / jnp.where(alive, maps, 1)), 1)
        return jax.tree.map(lambda rows: jnp.where(alive[:, None], rows, 0), factors).scaled(scale)

    def bound(self, factors: Bilinear, block: str, coupled: bool = True) -> Bound | None:
        """The sum of the penalties' separable bounds as "maps" or the other block moves; None without penalties.

        `coupled=False` leaves out those that `coupling` gives exactly.
        """
        full = self.complete(factors)
        side = "maps" if block == "maps" else "spectra"
        terms = [p for p in self.penalties if p.has_bound]
        if not coupled:
            terms = [p for p in terms if p.block != side or p.coupling(full, self.reference) is None]
        if not terms:
            return None
        reference = self._reference_at(factors)
        bounds = [p.bound(full, reference, side) for p in terms]
        zero = jnp.zeros((1, 1), self.matrix.dtype)
        gradient = sum((b.gradient for b in bounds), start=zero)
        curvature = sum((b.curvature for b in bounds), start=zero)
        if self.basis is not None and block == "coefficients":
            return self._through_basis(Bound(gradient, curvature), full)
        return Bound(gradient, curvature)

    def _through_basis(self, bound: Bound, factors: Bilinear) -> Bound:
        """A bound in the spectra as one in the coefficients, spectra = coefficients @ basis."""
        assert self.basis is not None
        spectra, coefficients = factors.spectra, factors.profiles
        gradient = onto_basis(jnp.broadcast_to(bound.gradient, spectra.shape), self.basis)
        if self.reference.order == 1:
            # Nothing is negative: (sum_f d_f B_fc)^2 <= sum_f d_f^2 B_fc s_c / a_f with s = a B, by Cauchy and Schwarz.
            raised = onto_basis(jnp.broadcast_to(bound.curvature * spectra, spectra.shape), self.basis)
            floor = NOTHING * coefficients.sum(axis=1, keepdims=True) + TINY
            return Bound(gradient, raised / jnp.maximum(coefficients, floor))
        # |d basis|^2 <= the largest eigenvalue of basis basis' times |d|^2.
        gram = matmul(self.basis, jnp.swapaxes(self.basis, -1, -2))
        largest = jnp.linalg.eigvalsh(gram)[..., -1:]
        return Bound(gradient, jnp.max(bound.curvature, axis=1, keepdims=True) * largest)

    def coupling(self, factors: Bilinear, block: str) -> Float[Array, "components components"]:
        """The sum of the penalties' quadratic forms between the rows of "maps" or the other block."""
        full = self.complete(factors)
        side = "maps" if block == "maps" else "spectra"
        terms = [p for p in self.penalties if p.block == side]
        forms = [form for p in terms if (form := p.coupling(full, self.reference)) is not None]
        return sum(forms, start=jnp.zeros((1, 1), self.matrix.dtype))

    def data_term(self, factors: Bilinear) -> Float[Array, ""]:
        """The loss alone, summed over all entries."""
        spectra = self.spectra(factors)
        if self.is_least_squares:
            return residual_squares(self.matrix, factors.maps_t, spectra) / 2
        return self.matrix.divergence(self.loss.measure, self.seen_maps(factors), spectra, self.weights)

    def penalty(self, factors: Bilinear) -> Float[Array, ""]:
        """The penalties' sum."""
        return self._sum(self.penalties, factors, self._reference_at(factors))

    def objective(self, factors: Bilinear) -> Float[Array, ""]:
        """Loss plus penalties; the posterior at the best variance of the noise where one is to be found, see `ARD`."""
        if not self.estimates_noise:
            return self.data_term(factors) + self.penalty(factors)
        unit, entries = self.reference.mean**2, self.reference.entries
        fitted = entries / 2 * jnp.log(self._variance(factors) / unit)
        return unit * (fitted + self._sum(self._relative, factors, self.reference))

    @property
    def estimates_noise(self) -> bool:
        """Whether the variance of the noise is found along with the factors."""
        return self.loss.beta == 2 and bool(self._relative)

    @property
    def _relative(self) -> list[AbstractPenalty]:
        """The penalties that are relative to the variance of the noise."""
        return [p for p in self.penalties if p.estimates_noise]

    def _sum(self, terms: Sequence[AbstractPenalty], factors: Bilinear, reference: Reference) -> Float[Array, ""]:
        full = self.complete(factors)
        return sum((p.value(full, reference) for p in terms), start=jnp.zeros((), self.matrix.dtype))

    def _variance(self, factors: Bilinear) -> Float[Array, ""]:
        """The best variance of the noise: twice the loss with all penalties that are not relative to it, per entry."""
        others = [p for p in self.penalties if not p.estimates_noise]
        left = self.data_term(factors) + self._sum(others, factors, self.reference)
        # Below the rounding of the data nothing is known of it.
        least = (self.reference.mean * jnp.finfo(self.matrix.dtype).eps) ** 2
        return jnp.maximum(2 * left / self.reference.entries, least)

    def _reference_at(self, factors: Bilinear) -> Reference:
        """The scales, with the variance of the noise that these factors leave where a penalty asks."""
        return self.reference.with_dispersion(self._variance(factors)) if self.estimates_noise else self.reference

    @property
    def finds_relevance(self) -> bool:
        """Whether a penalty decides which components are needed, see `ARD`."""
        return any(p.is_relevance for p in self.penalties)

    def relevance(self, factors: Bilinear) -> tuple[Float[Array, " components"], Bool[Array, " components"]]:
        """The relevance of each component, and whether it has switched off, see `ARD`; only where it is found."""
        (penalty,) = [p for p in self.penalties if p.is_relevance]
        return penalty.relevance(self.complete(factors), self.reference)

    def restart_bytes(self, rank: int) -> int:
        """A rough count of the memory that one more restart takes in a batch."""
        pixels, channels = self.matrix.shape
        working = 6 * rank * (pixels + channels) + self.matrix.working_elements(rank)
        return working * self.matrix.dtype.itemsize

    def _check(self) -> None:
        matrix = self.matrix
        self.loss.check(matrix)
        check_scale(matrix, self.loss, self.weights)
        if matrix.is_compressed and not self.is_least_squares:
            raise ValueError("Compressed data serve the plain Frobenius loss; give the full matrix instead.")
        if matrix.is_sparse and not (self.loss.serves_counts and self.loss.link.is_identity):
            raise ValueError(f"Counts serve Poisson and Frobenius without a link; use Dense for {self.loss.label}.")
        if matrix.is_sparse and self.weights is not None:
            raise ValueError("Counts take no weights; use Dense.")
        for penalty in self.penalties:
            penalty.check(*matrix.shape)
        if sum(p.is_relevance for p in self.penalties) > 1:
            raise ValueError('Problem: one ARD decides which components are needed; ARD("both") looks at both blocks.')


def _bounds_product(constraints: Any) -> bool:
    """Whether some constraint needs every entry of the model."""
    return any(getattr(item, "kind", None) == "product" for item in constraints or ())


def residual_squares(
    matrix: AbstractMatrix, maps: Float[Array, "components pixels"], spectra: Float[Array, "components channels"]
) -> Float[Array, ""]:
    """|X - maps' spectra|^2, from the product that a step needs anyway.

    |x_p|^2 - 2 <x_p, model_p> + |model_p|^2 cancels within each pixel only, where the rounding errors of the
    many pixels average out; the global form would lose them all at once.
    """
    cross, gram = matrix.onto_spectra(spectra), matmul(spectra, spectra.T)
    per_pixel = matrix.squares + jnp.sum(maps * (matmul(gram, maps) - 2 * cross), axis=0)
    return jnp.maximum(matrix.total(per_pixel), 0)


def _reference(matrix: AbstractMatrix, loss: AbstractLoss, weights: Array | None) -> Reference:
    pixels, channels = matrix.shape
    total = loss.total(matrix)
    entries = jnp.asarray(float(pixels * channels), matrix.dtype)
    if weights is not None:
        total = total * jnp.mean(weights)
        entries = jnp.sum(weights > 0, dtype=matrix.dtype)
    if loss.order == 1:
        counts = accurate_sum(matrix.pixel_sums)
        units, mean = (pixels / counts, channels / counts), counts / (pixels * channels)
    else:
        squares = accurate_sum(matrix.squares)
        units, mean = (
            (jnp.sqrt(pixels / squares), jnp.sqrt(channels / squares)),
            jnp.sqrt(squares / (pixels * channels)),
        )
    return Reference(total / pixels, units[0], total / channels, units[1], mean, entries, loss.order)
