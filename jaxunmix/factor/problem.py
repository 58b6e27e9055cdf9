"""What is to be minimised: data, loss, basis, penalties and constraints, checked when put together."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from ..matrix.base import TINY, AbstractMatrix, accurate_sum, matmul
from ..matrix.compressed import Compressed
from ..matrix.convert import as_matrix
from ..matrix.counts import Counts
from . import feasible as held
from .constraints.base import AbstractConstraint
from .constraints.fixed import Fixed
from .constraints.non_negative import NonNegative
from .constraints.orthogonal import Orthogonal
from .constraints.proportional import Proportional
from .constraints.simplex import Simplex
from .constraints.unit_norm import UnitNorm
from .losses import AbstractLoss, Frobenius, Poisson
from .model import Basis, Bilinear, expand, onto_basis
from .penalties.base import NOTHING, AbstractPenalty, Bound, Penalty, Reference


class Problem(eqx.Module):
    """Minimise loss(X | maps @ spectra) + penalties under constraints; spectra = coefficients @ basis if there is one.

    Args:
        matrix: a matrix or an array, (pixels, channels); an array becomes `Counts` or `Dense` by its density.
        loss: one of `losses`.
        basis: (features, channels), or (components, features, channels) where each component has its own (then the
            rank is theirs), or None.
        penalties: of `penalties`, or plain functions of the factors.
        weights: (pixels, channels), or what broadcasts to it; 0 leaves an entry out, whatever it holds (NaN too).
        constraints: None means non-negative maps and non-negative spectra (coefficients where there is a basis);
            () means none.
        tuning: what `tune` tried to choose the weights; it changes nothing.

    Raises:
        ValueError: data, basis, weights, penalties or constraints that do not fit one another.
    """

    matrix: AbstractMatrix
    loss: AbstractLoss
    basis: Basis | None
    penalties: tuple[Penalty, ...]
    weights: Float[Array, "pixels channels"] | None
    constraints: tuple[AbstractConstraint, ...]
    reference: Reference
    tuning: Any = eqx.field(static=True)

    def __init__(
        self,
        matrix: Any,
        loss: AbstractLoss | None = None,
        basis: Any = None,
        penalties: Sequence[Penalty] = (),
        weights: Any = None,
        constraints: Sequence[AbstractConstraint] | None = None,
        tuning: Any = None,
    ):
        self.tuning = tuning
        if weights is not None:
            matrix, weights = _weighted(matrix, weights)
        self.matrix = as_matrix(matrix, "auto" if weights is None else "dense")
        self.weights = None if weights is None else jnp.asarray(weights, self.matrix.dtype)
        self.loss = Frobenius() if loss is None else loss
        self.basis = None if basis is None else _checked_basis(basis, self.matrix)
        self.penalties = tuple(penalties)
        second = "spectra" if basis is None else "coefficients"
        default = (NonNegative("maps"), NonNegative(second))
        self.constraints = default if constraints is None else tuple(constraints)
        self._check(second)
        self.reference = _reference(self.matrix, self.loss, self.weights)

    @property
    def second(self) -> str:
        """The block beside the maps that is fitted: "spectra", or "coefficients" where there is a basis."""
        return "spectra" if self.basis is None else "coefficients"

    @property
    def features(self) -> int:
        """Columns of the second block."""
        return self.matrix.shape[1] if self.basis is None else self.basis.shape[-2]

    def is_nonnegative(self, block: str) -> bool:
        """Whether no entry of "maps" or of the second block may be below zero."""
        return any(isinstance(c, NonNegative) and c.block == block for c in self.constraints)

    def fixed(self, block: str) -> Fixed | None:
        """The constraint that keeps a block or parts of it, or None."""
        return next((c for c in self.constraints if isinstance(c, Fixed) and c.block == block), None)

    def simplex(self, block: str) -> Simplex | None:
        """The constraint that entries of a block sum to one, or None."""
        return next((c for c in self.constraints if isinstance(c, Simplex) and c.block == block), None)

    def ties(self, block: str) -> list[Proportional]:
        """The constraints that keep columns of a block in a ratio."""
        return [c for c in self.constraints if isinstance(c, Proportional) and c.block == block]

    @property
    def orthogonal(self) -> Orthogonal | None:
        """The constraint that the maps share no pixel, or None."""
        return next((c for c in self.constraints if isinstance(c, Orthogonal)), None)

    @property
    def keeps_last(self) -> bool:
        """Whether the last iterate is the answer, not the one of least objective: the multiplier trades it away."""
        return self.orthogonal is not None and not self.orthogonal.strict and self.orthogonal.weight > 0

    def is_settled(self, block: str) -> bool:
        """Whether nothing of the block may move."""
        fixed = self.fixed(block)
        return fixed is not None and fixed.rows is None and fixed.values is None

    def free(self, block: str, rank: int) -> Any:
        """What of the block may move: None for all, else booleans, (components, 1) or (components, columns)."""
        fixed = self.fixed(block)
        return None if fixed is None else fixed.free(rank)

    def spectra(self, factors: Bilinear) -> Float[Array, "components channels"]:
        """The spectra of factors, in channel space."""
        return factors.profiles if self.basis is None else expand(factors.profiles, self.basis)

    def complete(self, factors: Bilinear) -> Bilinear:
        """The factors with the basis attached, as penalties and users see them."""
        return Bilinear(factors.maps_t, factors.profiles, self.basis)

    def normalise(self, factors: Bilinear) -> Bilinear:
        """The factors as the constraints ask for them at the start and between two looks at the objective.

        The scale between the blocks is that of `UnitNorm` or `Simplex`; under strict `Orthogonal` each pixel keeps its
        largest component alone. Known values, ratios and sums are put in where a start does not hold them; factors
        that come from a step stay as they are.
        """
        if self.orthogonal is not None and self.orthogonal.strict:
            share = factors.maps_t * jnp.linalg.norm(self.spectra(factors), axis=1)[:, None]
            largest = jnp.arange(factors.rank)[:, None] == jnp.argmax(share, axis=0)[None]
            factors = Bilinear(jnp.where(largest, factors.maps_t, 0), factors.profiles)
        factors = held.imposed(self, factors)
        for constraint in self.constraints:
            if isinstance(constraint, UnitNorm):
                normed = constraint.apply(self.complete(factors))
                factors = Bilinear(normed.maps_t, normed.profiles)
        return factors

    def bound(self, factors: Bilinear, block: str, coupled: bool = True) -> Bound | None:
        """The sum of the penalties' separable bounds as "maps" or the second block moves; None without penalties.

        `coupled=False` leaves out those that `coupling` gives exactly.
        """
        full = self.complete(factors)
        side = "maps" if block == "maps" else "spectra"
        terms = [p for p in self.penalties if isinstance(p, AbstractPenalty)]
        if not coupled:
            terms = [p for p in terms if p.block != side or p.coupling(full, self.reference) is None]
        if not terms:
            return None
        bounds = [p.bound(full, self.reference, side) for p in terms]
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
        """The sum of the penalties' quadratic forms between the rows of "maps" or the second block."""
        full = self.complete(factors)
        side = "maps" if block == "maps" else "spectra"
        terms = [p for p in self.penalties if isinstance(p, AbstractPenalty) and p.block == side]
        forms = [form for p in terms if (form := p.coupling(full, self.reference)) is not None]
        return sum(forms, start=jnp.zeros((1, 1), self.matrix.dtype))

    def data_term(self, factors: Bilinear) -> Float[Array, ""]:
        """The loss alone, summed over all entries."""
        spectra = self.spectra(factors)
        if isinstance(self.loss, Frobenius) and self.weights is None:
            return residual_squares(self.matrix, factors.maps_t, spectra) / 2
        return self.matrix.divergence(self.loss.divergence, factors.maps_t, spectra, self.weights)

    def penalty(self, factors: Bilinear) -> Float[Array, ""]:
        """The penalties' sum."""
        full = self.complete(factors)
        terms = [p.value(full, self.reference) if isinstance(p, AbstractPenalty) else p(full) for p in self.penalties]
        return sum(terms, start=jnp.zeros((), self.matrix.dtype))

    def objective(self, factors: Bilinear) -> Float[Array, ""]:
        """Loss plus penalties."""
        return self.data_term(factors) + self.penalty(factors)

    def restart_bytes(self, rank: int) -> int:
        """A rough count of the memory that one more restart takes in a batch."""
        pixels, channels = self.matrix.shape
        working = 6 * rank * (pixels + channels)
        if isinstance(self.matrix, Counts):
            working += 2 * (rank + 1) * self.matrix.value.size
        return working * self.matrix.dtype.itemsize

    def _check(self, second: str) -> None:
        pixels, channels = self.matrix.shape
        self.loss.check(self.matrix)
        if not float(jnp.max(self.matrix.squares)) > 0:
            raise ValueError("X is zero everywhere: there is nothing to factorise; check the array and the masks.")
        if isinstance(self.matrix, Compressed) and not (isinstance(self.loss, Frobenius) and self.weights is None):
            raise ValueError("Compressed data serve the plain Frobenius loss; give the full matrix instead.")
        if isinstance(self.matrix, Counts) and not isinstance(self.loss, Frobenius | Poisson):
            raise ValueError(f"Counts serve Poisson and Frobenius; use Dense for {type(self.loss).__name__}.")
        if isinstance(self.matrix, Counts) and self.weights is not None:
            raise ValueError("Counts take no weights; use Dense.")
        for penalty in self.penalties:
            if isinstance(penalty, AbstractPenalty):
                penalty.check(pixels, channels)
            elif not callable(penalty):
                raise ValueError(f"penalties must come from jaxunmix.penalties or be functions, got {penalty!r}.")
        self._check_constraints(second)

    def _check_constraints(self, second: str) -> None:
        wrong = "spectra" if second == "coefficients" else "coefficients"
        for constraint in self.constraints:
            name = type(constraint).__name__
            if not isinstance(constraint, AbstractConstraint):
                raise ValueError(f"constraints must come from jaxunmix.constraints, got {constraint!r}.")
            if isinstance(constraint, NonNegative | Fixed | Simplex | Proportional) and constraint.block == wrong:
                raise ValueError(f'{name}("{wrong}"): this problem fits "maps" and "{second}"; name one of them.')
        if self.orthogonal is not None and not self.is_nonnegative("maps"):
            raise ValueError(
                'Orthogonal("maps") needs NonNegative("maps") beside it: only then is a pixel given to one.'
            )
        if self.orthogonal is not None and self.fixed("maps") is not None:
            raise ValueError('Orthogonal("maps") cannot move maps that Fixed("maps") keeps; leave one of them out.')
        held.check(self)
        norms = [c for c in self.constraints if isinstance(c, UnitNorm)]
        if len(norms) > 1:
            raise ValueError("Only one block can have unit norm: the other takes the scale.")
        if norms and any(isinstance(c, Fixed) for c in self.constraints):
            raise ValueError("UnitNorm would rescale what Fixed keeps; normalise the given factors instead.")


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


def _weighted(matrix: Any, weights: Any) -> tuple[Any, np.ndarray]:
    """The data with what has no weight set to 0, and the weights broadcast to their shape."""
    weights = np.asarray(weights)
    shape = matrix.shape if isinstance(matrix, AbstractMatrix) else np.shape(matrix)
    try:
        weights = np.broadcast_to(weights, shape)
    except ValueError:
        raise ValueError(f"weights of shape {weights.shape} do not broadcast to the data's {shape}.") from None
    bad = ~(np.isfinite(weights) & (weights >= 0))
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"weights must be 0 or more and finite; {int(bad.sum())} are not, the first ({weights[place]}) at pixel "
            f"{place[0]}, channel {place[1]}. 0 leaves an entry out."
        )
    if not weights.any():
        raise ValueError("weights are 0 everywhere: nothing is left to fit.")
    if not isinstance(matrix, AbstractMatrix):
        matrix = np.asarray(matrix)
        if matrix.dtype.kind == "f":
            matrix = np.where(weights > 0, matrix, 0)
    return matrix, weights


def _checked_basis(basis: Any, matrix: AbstractMatrix) -> Basis:
    array = np.asarray(basis)
    channels = matrix.shape[1]
    if array.ndim not in (2, 3) or array.shape[-1] != channels or not array.size:
        raise ValueError(
            f"basis must be (features, {channels} channels), or (components, features, {channels} channels) for one "
            f"each, got {array.shape}."
        )
    if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise ValueError("basis must hold finite real numbers.")
    for i, one in enumerate(array if array.ndim == 3 else array[None]):
        which = f"basis of component {i}" if array.ndim == 3 else "basis"
        empty = np.flatnonzero(~one.any(axis=1))
        if len(empty):
            raise ValueError(f"{which}: rows {empty.tolist()} are zero everywhere; leave them out.")
        dependent = _dependent(one)
        if dependent:
            raise ValueError(
                f"{which}: rows {dependent} are combinations of the others, so that their coefficients cannot be told "
                "apart; leave some of them out."
            )
    return jnp.asarray(array, matrix.dtype)


def _dependent(rows: np.ndarray) -> list[int]:
    """Rows that add no direction, to the rounding of single precision, by QR with pivoting."""
    unit = rows.astype(float) / np.linalg.norm(rows.astype(float), axis=1, keepdims=True)
    _, r, order = scipy.linalg.qr(unit.T, mode="economic", pivoting=True)
    left = np.abs(np.diag(r)) > 1e-6
    return sorted(int(i) for i in order[int(left.sum()) :])


def _reference(matrix: AbstractMatrix, loss: AbstractLoss, weights: Array | None) -> Reference:
    pixels, channels = matrix.shape
    squares = accurate_sum(matrix.squares)
    if loss.beta == 2:
        total = squares
    elif loss.beta == 1:
        total = accurate_sum(matrix.pixel_sums)
    elif loss.beta == 0:
        total = jnp.asarray(float(pixels * channels), matrix.dtype)
    else:
        nothing = jnp.zeros((1, pixels), matrix.dtype), jnp.zeros((1, channels), matrix.dtype)
        total = matrix.divergence(lambda x, _: jnp.maximum(x, TINY) ** loss.beta, *nothing, None)
    if weights is not None:
        total = total * jnp.mean(weights)
    if loss.beta == 1:
        counts = accurate_sum(matrix.pixel_sums)
        return Reference(total / pixels, pixels / counts, total / channels, channels / counts, 1)
    return Reference(total / pixels, jnp.sqrt(pixels / squares), total / channels, jnp.sqrt(channels / squares), 2)
