"""Pixels that are like one another, wherever they lie, have like maps: the Laplacian of a graph."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jaxtyping import Array, Float, Int
from scipy.spatial import KDTree

from ...._util.validation import check_whole_number, real_array
from ...model import Bilinear, Rows
from ..base import AbstractPenalty, Bound, Reference, Weight, as_weight

# Directions of largest variance in which neighbours are looked for: what lies beyond is mostly noise.
DIRECTIONS = 10
# Neighbours of a pixel inside a map, to which the mean degree of a graph is scaled.
MEAN_DEGREE = 4.0


def similarity_graph(values: Any, neighbours: int = 8) -> scipy.sparse.csr_array:
    r"""The pixels that are most alike, as a symmetric graph of weights $e^{-d^2 / s^2}$.

    d is the distance of two pixels' spectra (or positions), s the median distance to the furthest of the neighbours.
    Spectra are compared in their ten directions of largest variance. The weights are scaled to a mean degree of 4,
    that of the grid of a map (Kannan et al., Adv. Struct. Chem. Imaging 4 (2018) 6, equation 6).

    Args:
        values: the pixels' spectra, (pixels, channels), or their positions, (pixels, axes).
        neighbours: of each pixel.

    Returns:
        (pixels, pixels), sparse and symmetric, nothing on the diagonal.

    Raises:
        ValueError: fewer pixels than neighbours, or values that are not finite.
    """
    rows = np.asarray(real_array(getattr(values, "to_host", lambda: values)(), "values"), float)
    count = check_whole_number(neighbours, "neighbours")
    if rows.ndim != 2 or not np.isfinite(rows).all() or not 1 <= count < len(rows):
        raise ValueError(
            f"similarity_graph asks for finite values (pixels, channels) and 1 to pixels - 1 neighbours; got "
            f"{rows.shape} and {count}."
        )
    if rows.shape[1] > DIRECTIONS:
        centred = rows - rows.mean(axis=0)
        _, vectors = np.linalg.eigh(centred.T @ centred)
        rows = centred @ vectors[:, -DIRECTIONS:]
    apart, near = KDTree(rows).query(rows, count + 1)
    # A pixel is its own nearest, but where others are equal to it.
    scale = np.median(apart[:, -1])
    weight = np.exp(-((apart / scale) ** 2)) if scale > 0 else np.ones_like(apart)
    first = np.repeat(np.arange(len(rows)), count + 1)
    graph = scipy.sparse.coo_array((weight.ravel(), (first, near.ravel())), (len(rows), len(rows))).tocsr()
    graph = graph.maximum(graph.T)
    graph.setdiag(0)
    graph.eliminate_zeros()
    return graph * (MEAN_DEGREE * len(rows) / graph.sum())


def _as_edges(graph: Any) -> scipy.sparse.coo_array:
    values = graph if scipy.sparse.issparse(graph) else real_array(graph, "GraphSimilarity: graph")
    if values.ndim == 2 and values.shape[0] == values.shape[1] > 0:
        edges = scipy.sparse.coo_array(values)
        if abs(edges - edges.T).max() <= 1e-6 * abs(edges).max() and (edges.data >= 0).all():
            return edges
    raise ValueError(
        f"GraphSimilarity: the graph must be a symmetric matrix of weights of 0 or more, got shape {values.shape}; "
        "make one with penalties.similarity_graph(X)."
    )


class GraphSimilarity(AbstractPenalty):
    r"""Pixels that a graph joins have like maps: weight * S/n * sum over edges a_pq (u_p - u_q)^2 / 2.

    With L = diag(degrees) - A this is tr(U L U') / 2 over all components; `form="product"` takes
    weight * S * |U L U' / n|_F^2 in its place, in which components that vary together count as well (Kannan et al.,
    Adv. Struct. Chem. Imaging 4 (2018) 6, equation 6). The first is bounded as the Laplacian of a grid is; the second
    is of fourth order and needs FISTA.

    Args:
        block: "maps" or "spectra".
        weight: free of scale, for graphs of one mean degree.
        graph: (columns, columns), sparse or dense, symmetric and not negative, such as `similarity_graph(X)`.
        form: "trace" or "product".
    """

    block: str = eqx.field(static=True)
    weight: Weight
    form: str = eqx.field(static=True)
    first: Int[Array, " edges"]
    second: Int[Array, " edges"]
    strength: Float[Array, " edges"]
    columns: int = eqx.field(static=True)
    is_smoothing = True
    # From strong to weak.
    trials = tuple(100 * 10 ** (-i / 2) for i in range(9))

    def __init__(self, block: str, weight: Any, graph: Any, form: str = "trace"):
        if form not in ("trace", "product"):
            raise ValueError(f'GraphSimilarity: form must be "trace" or "product", got {form!r}.')
        self.block, self.weight, self.form = block, as_weight(weight), form
        edges = _as_edges(graph)
        upper = scipy.sparse.triu(edges, 1).tocoo()
        self.columns = edges.shape[0]
        self.first, self.second = jnp.asarray(upper.row, int), jnp.asarray(upper.col, int)
        self.strength = jnp.asarray(upper.data, float)

    @property
    def has_bound(self) -> bool:  # type: ignore[override]
        """Whether HALS and the multiplicative update take it: the product is of fourth order."""
        return self.form == "trace"

    def check(self, pixels: int, channels: int) -> None:
        columns = pixels if self.block == "maps" else channels
        if self.columns != columns:
            raise ValueError(
                f"GraphSimilarity: the graph joins {self.columns} columns, the {self.block} have {columns}; make it "
                "from the matrix of the problem."
            )

    def value(self, factors: Bilinear, reference: Reference) -> Float[Array, ""]:
        weight, unit = self._scales(reference)
        shares = self._rows(factors) * (unit * reference.size(self._other(factors)))[:, None]
        if self.form == "trace":
            return weight * jnp.sum(self.strength * self._steps(shares) ** 2) / 2
        steps = self._steps(shares)
        return weight / self.columns * jnp.sum(((steps * self.strength) @ steps.T) ** 2)

    def bound(self, factors: Bilinear, reference: Reference, block: str) -> Bound:
        if self.form != "trace":
            raise NotImplementedError('GraphSimilarity(form="product") has no separable bound; use FISTA().')
        rows, other = self._rows(factors), self._other(factors)
        factor = self._factor(reference, 2)
        steps = self._steps(rows)
        if block != self.block:
            return reference.quadratic(2 * factor * jnp.sum(self.strength * steps**2, axis=1) / 2, other)
        scale = (factor * reference.size(other) ** 2)[:, None]
        pull = (self.strength * steps).T
        gradient = (self._at(self.first, pull) - self._at(self.second, pull)).T
        degree = self._at(self.first, self.strength) + self._at(self.second, self.strength)
        return Bound(scale * gradient, scale * 2 * degree)

    def _steps(self, rows: Rows) -> Float[Array, "components edges"]:
        return rows[:, self.first] - rows[:, self.second]

    def _at(self, end: Int[Array, " edges"], values: Array) -> Array:
        return jax.ops.segment_sum(values, end, self.columns)
