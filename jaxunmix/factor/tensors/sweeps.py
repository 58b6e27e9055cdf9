"""One step of HALS: every mode in turn to its optimum, and under Tucker the core."""

import math

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from ...matrix.base import TINY, accurate_sum
from ..model import Rows
from ..separable import Hessian, minimise_quadratic
from .modes import Mode, Sizes
from .multilinear import Gram, Multilinear, Partial, beside_last, close, cross, einsum, gram, project


class TensorProblem(eqx.Module):
    """Minimise |X - model|^2 / 2 + penalties, the squares weighted where there are weights.

    Attributes:
        x: the data times the weights; nothing where the weight is 0.
        weights: of the entries, or None.
        modes: what is asked of each.
        scale: the sum of the weighted squares of the data.
        core_nonnegative: whether no entry of a Tucker core may be below zero.
    """

    x: Float[Array, "..."]
    weights: Float[Array, "..."] | None
    modes: tuple[Mode, ...]
    scale: Float[Array, ""]
    core_nonnegative: bool = eqx.field(static=True)

    def data_term(self, factors: Multilinear) -> Float[Array, ""]:
        """Half the weighted sum of squared residuals, slice by slice, so that the model is never there as a whole.

        The residual itself is summed: the difference of squares and products that a step has at hand would lose what is
        small beside the data in single precision. A look costs one pass for the twenty of ten steps.
        """
        others, last = beside_last(factors), factors.rows[-1]

        def of_slice(slices):
            x, weights, side = slices
            model = jnp.tensordot(side, last, axes=(0, 0), precision="highest")
            if weights is None:
                return accurate_sum((x - model) ** 2)
            # x is the data times the weights.
            left = x / jnp.where(weights > 0, weights, 1) - model
            return accurate_sum(weights * left**2)

        return accurate_sum(lax.map(of_slice, (self.x, self.weights, jnp.moveaxis(others, 1, 0)))) / 2

    def penalty(self, factors: Multilinear) -> Float[Array, ""]:
        """The penalties' sum."""
        grams, total = factors.grams(), jnp.zeros((), self.x.dtype)
        for m, mode in enumerate(self.modes):
            if mode.penalties:
                total = total + mode.value(factors.rows[m], _sizes(gram(factors, grams, m)))
        return total

    def objective(self, factors: Multilinear) -> Float[Array, ""]:
        """What is minimised."""
        return self.data_term(factors) + self.penalty(factors)


def step(sweeps: Int[Array, ""] | int, problem: TensorProblem, factors: Multilinear) -> Multilinear:
    """All modes once, in two passes over the data, then the core.

    The last mode moves from data summed against the first; all others from data summed against the last, which is
    small. Neither pass forms a product of two modes' factors of the size of the data.
    """
    factors = balance(problem, factors)
    *others, last = range(factors.order)
    if not problem.modes[last].is_fixed:
        factors = _move(problem, factors, last, Products.of(problem, factors, others[0]), sweeps)
    products = Products.of(problem, factors, last)
    for mode in others:
        if not problem.modes[mode].is_fixed:
            factors = _move(problem, factors, mode, products, sweeps)
    return factors if factors.core is None else move_core(problem, factors, products, sweeps)


class Products(eqx.Module):
    """The data, and the weights where there are any, summed against one mode."""

    data: Partial
    weights: Partial | None

    @classmethod
    def of(cls, problem: TensorProblem, factors: Multilinear, mode: int) -> "Products":
        if problem.weights is None:
            return cls(close(problem.x, factors, mode), None)
        return cls(close(problem.x, factors, mode), close(problem.weights, factors.pairs(), mode))


def balance(problem: TensorProblem, factors: Multilinear) -> Multilinear:
    """The same model with its scale shared out: the modes of CP alike, those of Tucker of norm one, the core the rest.

    Modes whose constraints give them a scale stay, and so do components that are nothing.
    """
    free = [m for m, mode in enumerate(problem.modes) if not mode.is_pinned]
    norms = {m: jnp.sqrt(jnp.sum(factors.rows[m] ** 2, axis=1)) for m in free}
    if factors.core is not None:
        for m, norm in norms.items():
            norm = jnp.where(norm > 0, norm, 1)
            factors = scale_core(factors.with_rows(m, factors.rows[m] / norm[:, None]), m, norm)
        return factors
    if len(free) < 2:
        return factors
    logs = sum(jnp.log(jnp.maximum(norm, TINY)) for norm in norms.values())
    alive = jnp.all(jnp.stack(list(norms.values())) > 0, axis=0)
    for m, norm in norms.items():
        share = jnp.exp(logs / len(free)) / jnp.maximum(norm, TINY)
        factors = factors.with_rows(m, factors.rows[m] * jnp.where(alive, share, 1)[:, None])
    return factors


def scale_core(factors: Multilinear, mode: int, scale: Sizes) -> Multilinear:
    """The core with each slice along a mode multiplied."""
    assert factors.core is not None, "only Tucker has a core to scale"
    shape = [-1 if m == mode else 1 for m in range(factors.order)]
    return factors.with_core(factors.core * scale.reshape(shape))


def _sizes(form: Gram) -> Sizes:
    """|S_n| of each component. Of what has died the root has no slope."""
    return jnp.sqrt(jnp.maximum(jnp.diag(form), 0))


def _penalty_forms(problem: TensorProblem, factors: Multilinear, grams: list[Gram], but: int) -> list[list[Gram]]:
    """For each penalised mode the grams with its slopes in place of its own.

    A penalty of mode n sees the others by the sizes of S_n, whose squares are quadratic in each other mode and in the
    core: its bound there is the form that the contraction of these grams gives.
    """
    found = []
    for m, mode in enumerate(problem.modes):
        if m != but and mode.penalties:
            slopes = mode.slopes(factors.rows[m], _sizes(gram(factors, grams, m)))
            found.append([jnp.diag(slopes) if other == m else grams[other] for other in range(factors.order)])
    return found


def _move(
    problem: TensorProblem, factors: Multilinear, mode: int, products: Products, sweeps: Int[Array, ""] | int
) -> Multilinear:
    """The factors of one mode some sweeps nearer to their optimum, given all others."""
    grams, here = factors.grams(), problem.modes[mode]
    rows, rank = factors.rows[mode], factors.ranks[mode]
    push, form = cross(products.data, factors, mode), gram(factors, grams, mode)
    sizes, hessian = _sizes(form), form[:, :, None]
    if products.weights is not None:
        hessian = cross(products.weights, factors.pairs(), mode).reshape(rank, rank, -1)
    forms = [gram(factors, changed, mode) for changed in _penalty_forms(problem, factors, grams, mode)]
    coupling = here.coupling(rows, sizes)
    for form in forms if coupling is None else [*forms, coupling]:
        hessian = hessian + form[:, :, None]

    def once(_, rows):
        return _sweep(here, rows, push, hessian, sizes)

    return factors.with_rows(mode, lax.fori_loop(0, sweeps, once, rows))


def _sweep(mode: Mode, rows: Rows, push: Rows, hessian: Hessian, sizes: Sizes) -> Rows:
    bound, curvature = mode.bound(rows, sizes), jnp.zeros((1, 1), rows.dtype)
    if bound is not None:
        push, curvature = push - bound.gradient, bound.curvature
    return minimise_quadratic(mode.constraints, mode.block, rows, push, hessian, curvature)


def move_core(
    problem: TensorProblem, factors: Multilinear, products: Products, sweeps: Int[Array, ""] | int
) -> Multilinear:
    """Each entry of the core in turn to its exact optimum; the slope of the objective in all others follows it."""
    core = factors.core
    assert core is not None, "only Tucker has a core to move"
    push, form = project(products.data, factors).reshape(-1), _CoreForm.of(problem, factors, products)

    def one(p, state):
        entries, slope = state
        column = form.column(p)
        steepness = column[p]
        new = entries[p] - jnp.where(steepness > 0, slope[p] / jnp.where(steepness > 0, steepness, 1), 0)
        new = jnp.maximum(new, 0) if problem.core_nonnegative else new
        return entries.at[p].set(new), slope + (new - entries[p]) * column

    def once(_, entries):
        return lax.fori_loop(0, len(entries), one, (entries, form.image(entries) - push))[0]

    return factors.with_core(lax.fori_loop(0, sweeps, once, core.reshape(-1)).reshape(core.shape))


class _CoreForm(eqx.Module):
    """The quadratic form of the objective in the entries of the core: a sum of Kronecker products of small matrices.

    Attributes:
        terms: of each product the matrix of each mode.
        full: the part of weighted data, (entries, entries), which is no such product.
    """

    terms: tuple[tuple[Gram, ...], ...]
    full: Float[Array, "entries entries"] | None

    @classmethod
    def of(cls, problem: TensorProblem, factors: Multilinear, products: Products) -> "_CoreForm":
        grams = factors.grams()
        terms = [tuple(forms) for forms in _penalty_forms(problem, factors, grams, -1)]
        if products.weights is None:
            return cls((tuple(grams), *terms), None)
        ranks = factors.ranks
        pairs = project(products.weights, factors.pairs()).reshape([r for rank in ranks for r in (rank, rank)])
        order = (*range(0, 2 * len(ranks), 2), *range(1, 2 * len(ranks), 2))
        return cls(tuple(terms), pairs.transpose(order).reshape(math.prod(ranks), -1))

    def image(self, entries: Float[Array, " entries"]) -> Float[Array, " entries"]:
        """The form times the entries."""
        out = jnp.zeros_like(entries) if self.full is None else einsum("PQ,Q->P", self.full, entries)
        for forms in self.terms:
            part = entries.reshape([len(form) for form in forms])
            for m, form in enumerate(forms):
                part = jnp.moveaxis(jnp.tensordot(form, part, axes=(1, m), precision="highest"), 0, m)
            out = out + part.reshape(-1)
        return out

    def column(self, p: Int[Array, ""] | int) -> Float[Array, " entries"]:
        """Its column of one entry."""
        columns = [] if self.full is None else [lax.dynamic_index_in_dim(self.full, p, keepdims=False)]
        for forms in self.terms:
            part = jnp.ones(1, forms[0].dtype)
            for form, at in zip(forms, jnp.unravel_index(p, [len(form) for form in forms]), strict=True):
                part = (part[:, None] * lax.dynamic_index_in_dim(form, at, keepdims=False)).reshape(-1)
            columns.append(part)
        return sum(columns[1:], start=columns[0])
