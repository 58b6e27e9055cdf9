"""The two multilinear models, CP and Tucker, as contractions that fuse into matrix products.

Modes are written as small letters and components as capital ones, one for all modes of a CP model and one for each of
a Tucker model. Both models then have the same three contractions, from which least squares takes all it needs:

    cross(n) = X_(n) S_n',    gram(n) = S_n S_n',    X_(n) ~ A_n S_n        A_n: (size, components) of mode n,

where X_(n) is the unfolding of the data along mode n, (size, all others), and S_n what the other modes make of the
components (Kolda and Bader, SIAM Rev. 51 (2009) 455, sections 3.4 and 4.2).
"""

from collections.abc import Sequence
from functools import partial

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...matrix.base import matmul

# Of each mode there may be another number of components and another size.
Rows = Float[Array, "_ _"]
Gram = Float[Array, "_ _"]

einsum = partial(jnp.einsum, precision="highest")


class Multilinear(eqx.Module):
    """Factors of a tensor.

    Attributes:
        rows: for each mode (components, size), the long axis last.
        core: of Tucker, (components of the first mode, of the second, ...); None for CP, whose core is the identity.
    """

    rows: tuple[Rows, ...]
    core: Float[Array, "..."] | None = None

    @property
    def order(self) -> int:
        """The number of modes."""
        return len(self.rows)

    @property
    def ranks(self) -> tuple[int, ...]:
        """The number of components in each mode."""
        return tuple(len(rows) for rows in self.rows)

    def with_rows(self, mode: int, rows: Rows) -> "Multilinear":
        """The factors with those of one mode replaced."""
        return Multilinear((*self.rows[:mode], rows, *self.rows[mode + 1 :]), self.core)

    def with_core(self, core: Float[Array, "..."] | None) -> "Multilinear":
        """The factors with the core replaced."""
        return Multilinear(self.rows, core)

    def grams(self) -> list[Gram]:
        """Of each mode A_n' A_n."""
        return [einsum("Aa,Ba->AB", rows, rows) for rows in self.rows]

    def pairs(self) -> "Multilinear":
        """The model whose components are all pairs of components: its contractions with weights are their Hessians."""
        rows = tuple(einsum("Aa,Ba->ABa", rows, rows).reshape(-1, rows.shape[1]) for rows in self.rows)
        if self.core is None:
            return Multilinear(rows)
        first, second = _capitals(self.order), _capitals(self.order, 1)
        both = "".join(a + b for a, b in zip(first, second, strict=True))
        core = einsum(f"{first},{second}->{both}", self.core, self.core)
        return Multilinear(rows, core.reshape([rank**2 for rank in self.ranks]))


class Partial(eqx.Module):
    """The data with some modes closed, that is summed against the factors of these: (components, open modes)."""

    values: Float[Array, "..."]
    open: tuple[int, ...] = eqx.field(static=True)


def close(x: Float[Array, "..."], factors: Multilinear, mode: int) -> Partial:
    """The data summed against one mode, in one pass: a plain matrix product where the mode is the first or last."""
    kept = tuple(m for m in range(factors.order) if m != mode)
    rows, sizes = factors.rows[mode], [x.shape[m] for m in kept]
    if mode == 0:
        out = matmul(rows, x.reshape(x.shape[0], -1))
    elif mode == factors.order - 1:
        out = matmul(rows, x.reshape(-1, x.shape[-1]).T)
    else:
        out = jnp.tensordot(rows, x, axes=(1, mode), precision="highest")
    return Partial(out.reshape(-1, *sizes), kept)


def cross(part: Partial, factors: Multilinear, mode: int) -> Rows:
    """X_(n) S_n' as (components, size), from data of which other modes are closed already."""
    operands, inputs = _closing(part, factors, tuple(m for m in part.open if m != mode))
    one = _components(factors, (mode,))
    if factors.core is not None:
        operands, inputs = [*operands, factors.core], [*inputs, _capitals(factors.order)]
    return einsum(f"{','.join(inputs)}->{one}{_small((mode,))}", *operands)


def project(part: Partial, factors: Multilinear) -> Float[Array, "..."]:
    """The data summed against all modes: (components of the first mode, of the second, ...), for Tucker alone."""
    operands, inputs = _closing(part, factors, part.open)
    return einsum(f"{','.join(inputs)}->{_capitals(factors.order)}", *operands)


def gram(factors: Multilinear, grams: Sequence[Gram], mode: int) -> Gram:
    """S_n S_n', or with another matrix in place of some mode's gram the form that it makes in mode n.

    Args:
        factors: whose core counts.
        grams: of each mode; that of mode n is not used.
        mode: n.
    """
    others = [m for m in range(factors.order) if m != mode]
    if factors.core is None:
        out = grams[others[0]]
        for m in others[1:]:
            out = out * grams[m]
        return out
    first, second = _capitals(factors.order), _capitals(factors.order, 1)
    inputs = [first, second, *(first[m] + second[m] for m in others)]
    return einsum(
        f"{','.join(inputs)}->{first[mode]}{second[mode]}", factors.core, factors.core, *(grams[m] for m in others)
    )


def beside_last(factors: Multilinear) -> Float[Array, "components ..."]:
    """What all modes but the last make of the components: (components of the last, sizes of the others)."""
    others = range(factors.order - 1)
    inputs = [_components(factors, (m,)) + _small((m,)) for m in others]
    operands = list(factors.rows[:-1])
    if factors.core is not None:
        operands, inputs = [*operands, factors.core], [*inputs, _capitals(factors.order)]
    return einsum(f"{','.join(inputs)}->{_components(factors, (factors.order - 1,))}{_small(others)}", *operands)


def reconstruct(factors: Multilinear) -> Float[Array, "..."]:
    """The model of every entry."""
    return jnp.tensordot(beside_last(factors), factors.rows[-1], axes=(0, 0), precision="highest")


def _closing(part: Partial, factors: Multilinear, modes: tuple[int, ...]) -> tuple[list[Array], list[str]]:
    """Operands and letters that close some more modes; einsum finds the order that takes the fewest products."""
    closed = tuple(m for m in range(factors.order) if m not in part.open)
    inputs = [_components(factors, closed) + _small(part.open)]
    inputs += [_components(factors, (m,)) + _small((m,)) for m in modes]
    return [part.values, *(factors.rows[m] for m in modes)], inputs


def _components(factors: Multilinear, modes: Sequence[int]) -> str:
    """The letters of the components of some modes: one for all under CP."""
    if factors.core is None:
        return "Z" if modes else ""
    return "".join(_capitals(factors.order)[m] for m in modes)


def _small(modes: Sequence[int]) -> str:
    return "".join(chr(ord("a") + m) for m in modes)


def _capitals(order: int, set_: int = 0) -> str:
    return "".join(chr(ord("A") + set_ * order + m) for m in range(order))
