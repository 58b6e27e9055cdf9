"""Maps that share no pixel."""

import equinox as eqx
import jax.numpy as jnp

from ..._util.validation import check_flag, real_number
from ..model import Bilinear, Rows
from ..projections import keep_largest
from .base import AbstractConstraint, Constraints, Limits


class Orthogonal(AbstractConstraint):
    """The maps are orthogonal: with `NonNegative("maps")`, no pixel belongs to two components.

    One-sided orthogonal NMF (Tanimoto et al., J. Phys. Commun. 5 (2021) 115005): with spectra of either sign,

        min |X - maps @ spectra|^2,    maps >= 0,    <map_j, map_k> = 0 for j != k.

    `strict` (the default): given the spectra, `HALS` takes the exact minimum over all orthogonal maps at once. It
    gives each pixel to the component k with the largest x.s_k / |s_k|, if that is positive, with the map
    x.s_k / |s_k|^2; the spectra's optimum follows in one sweep, so the objective never rises and the maps of every
    iterate are exactly orthogonal (the alternation of Pompili et al., Neurocomputing 141 (2014) 15).

    Otherwise `HALS` takes the rows one after the other with the Lagrange multiplier of Kimura, Tanaka and Kudo
    (ACML 2014), which makes a row orthogonal to the sum of the others before it is clipped,

        w_k <- max(0, r_k - weight (r_k.U) / (U.U) U) / |s_k|^2,    r_k = (X - sum_{j != k} w_j s_j) s_k',
        U = sum_{j != k} w_j |s_j|,

    at weight 1 algorithm 1 of Tanimoto et al., below it the soft orthogonality of Shiga et al., Ultramicroscopy 170
    (2016) 43. The clipping undoes part of it, so the maps become orthogonal only in the course of the iterations,
    not exactly, and no step is sure to lower the objective: each restart keeps its last iterate, not
    its lowest. On simulated cathodes (5.62 dB, eight to ten domains, the start of `Clusters`) weight 1 ended at
    cosines of 0.06 to 0.39 between the maps, and lost the smallest domain in two cases of four where the strict
    form kept all; take it for comparison.

    Args:
        block: "maps".
        weight: of the multiplier, 0 to 1; below 1 it asks for strict=False.
        strict: exactly orthogonal in every step.
    """

    block: str = eqx.field(static=True)
    weight: float | int = eqx.field(default=1.0, static=True)
    strict: bool = eqx.field(default=True, static=True)
    kind = "disjoint"
    keepers = "HALS()"

    def __check_init__(self):
        if self.block != "maps":
            raise ValueError(f'Orthogonal: only the "maps" can be orthogonal here, got {self.block!r}.')
        check_flag(self.strict, "Orthogonal: strict")
        real_number(self.weight, "Orthogonal: the weight")
        if not 0 <= self.weight <= 1:
            raise ValueError(f"Orthogonal: the weight must lie in 0..1, got {self.weight}.")
        if self.strict and self.weight < 1:
            raise ValueError(f"Orthogonal: a weight of {self.weight} is soft; give strict=False with it.")

    @property
    def is_soft(self) -> bool:
        """Whether a multiplier trades the objective for orthogonality."""
        return not self.strict and self.weight > 0

    def check(self, among: Constraints) -> None:
        if not among.is_nonnegative("maps"):
            raise ValueError(
                'Orthogonal("maps") needs NonNegative("maps") beside it: only then is a pixel given to one.'
            )
        if among.of("fixed", "maps"):
            raise ValueError('Orthogonal("maps") cannot move maps that Fixed("maps") keeps; leave one of them out.')

    def narrow(self, rows: Rows, before: Rows, limits: Limits) -> Limits:
        """Zero but for the largest component of each pixel."""
        largest = keep_largest(rows, 1)
        return jnp.where(largest, limits[0], 0), jnp.where(largest, limits[1], 0)

    def impose(self, factors: Bilinear, among: Constraints) -> Bilinear:
        """Under `strict` each pixel keeps its largest component alone."""
        if not self.strict:
            return factors
        share = factors.maps_t * jnp.linalg.norm(factors.spectra, axis=1)[:, None]
        largest = jnp.arange(factors.rank)[:, None] == jnp.argmax(share, axis=0)[None]
        return Bilinear(jnp.where(largest, factors.maps_t, 0), factors.profiles, factors.basis)
