"""Rows that rise, fall, or have one maximum."""

import equinox as eqx

from ..._util.validation import check_flag
from ..model import Bilinear, Rows, rows_of, with_rows
from ..projections import onto_increasing, onto_unimodal
from .base import AbstractConstraint, Constraints


def _check_partners(constraint: AbstractConstraint, among: Constraints) -> None:
    """Refuse what would bend the shape again."""
    name, block = type(constraint).__name__, constraint.block
    for kind in ("sum", "closure", "fixed", "ratio", "presence", "disjoint"):
        for other in among.of(kind, block):
            raise ValueError(
                f'{name}("{block}") and {type(other).__name__}("{block}") together are not served: the one would undo '
                "the other; leave one of them out."
            )
    if len(among.of("shape", block)) > 1:
        raise ValueError(f'{name}("{block}") is not the only shape asked for; leave one of them out.')


class Monotone(AbstractConstraint):
    """Rows that never fall (or never rise) along the columns, such as a background; for maps, along a line scan.

    The nearest such row is that of pool adjacent violators (Ayer et al., Ann. Math. Stat. 26 (1955) 641).

    Args:
        block: "spectra" or "coefficients"; "maps" where the pixels are a line.
        decreasing: the rows never rise.
    """

    block: str = eqx.field(static=True)
    decreasing: bool = eqx.field(default=False, static=True)
    kind = "shape"
    keepers = "FISTA()"

    def __check_init__(self) -> None:
        check_flag(self.decreasing, "Monotone: decreasing")

    def check(self, among: Constraints) -> None:
        _check_partners(self, among)

    def reshape(self, rows: Rows, metric: Rows | None = None) -> Rows:
        if not self.decreasing:
            return onto_increasing(rows, metric)
        return onto_increasing(rows[:, ::-1], None if metric is None else metric[:, ::-1])[:, ::-1]

    def impose(self, factors: Bilinear, among: Constraints) -> Bilinear:
        return with_rows(factors, self.block, self.reshape(rows_of(factors, self.block)))


class Unimodal(AbstractConstraint):
    """Rows with one maximum, such as a single band, or a concentration that comes and goes.

    The nearest such row: for each place of the maximum the nearest rise before it and fall after it, then the best
    place (Bro and Sidiropoulos, J. Chemometrics 12 (1998) 223).

    Args:
        block: "spectra" or "coefficients"; "maps" where the pixels are a line.
    """

    block: str = eqx.field(static=True)
    kind = "shape"
    keepers = "FISTA()"

    def check(self, among: Constraints) -> None:
        _check_partners(self, among)

    def reshape(self, rows: Rows, metric: Rows | None = None) -> Rows:
        return onto_unimodal(rows, metric)

    def impose(self, factors: Bilinear, among: Constraints) -> Bilinear:
        return with_rows(factors, self.block, self.reshape(rows_of(factors, self.block)))
