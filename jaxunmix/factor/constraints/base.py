"""What every constraint shares, and the collection in which a problem keeps them."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool

from ..._util.validation import check_instances, check_several, check_whole_number
from ..model import Bilinear, Rows, rows_of, with_rows

Block = Literal["maps", "spectra", "coefficients"]
# The least and the greatest value of each entry of a block.
Limits = tuple[Array, Array]
BLOCKS = ("maps", "spectra", "coefficients")


def as_columns(columns: Any) -> tuple[int, ...] | None:
    """Columns of a block as whole numbers."""
    return (
        None
        if columns is None
        else tuple(check_whole_number(c, "a row or column", 0) for c in check_several(columns, "columns", "(0, 2)"))
    )


class AbstractConstraint(eqx.Module):
    """A constraint on one block of the factors: how it is checked, how it is imposed, what it means for a step.

    `kind` is what a step must know of to keep it; an update names the kinds that it keeps:

    - "sign": no entry is below zero;
    - "bounds": any other `bounds` of the entries, at which a step may clip them;
    - "fixed": entries or components that do not move, see `free`;
    - "sum": entries that sum to one;
    - "ratio": columns in a fixed ratio;
    - "disjoint": maps that share no pixel;
    - "norm": the size of the components, which is imposed between steps;
    - "closure": any other sums of entries, or limits of them;
    - "product": limits of maps @ spectra;
    - "presence": in which entries a component may differ from zero;
    - "shape": rows that rise, fall or have one maximum;
    - "set": any other set, onto which `project` leads back.
    """

    block: eqx.AbstractVar[str]
    kind: eqx.AbstractClassVar[str]
    # Updates that keep it, as a message names them.
    keepers: ClassVar[str] = "ProjectedGradient()"
    # What it can be on.
    places: ClassVar[tuple[str, ...]] = BLOCKS
    # Constraints are imposed in increasing order: values first, scales last.
    order: ClassVar[int] = 0
    # Whether "spectra" may be named where coefficients are fitted.
    any_profile: ClassVar[bool] = False

    def __check_init__(self):
        if not isinstance(self.block, str) or self.block not in self.places:
            raise ValueError(f"{type(self).__name__}: the block must be one of {self.places}, got {self.block!r}.")

    def check(self, among: "Constraints") -> None:
        """Refuse what does not fit the blocks or contradicts another constraint.

        Raises:
            ValueError: naming the block, the component or the columns.
        """

    def check_rank(self, rank: int) -> None:
        """Refuse a number of components that the constraint is not made for.

        Raises:
            ValueError: naming the components.
        """

    def check_pixels(self, pixels: int) -> None:
        """Refuse a number of pixels that the constraint is not made for.

        Raises:
            ValueError: naming the two numbers.
        """

    def impose(self, factors: Bilinear, among: "Constraints") -> Bilinear:
        """The factors as the constraint asks for them; those that hold it stay as they are."""
        return factors

    def bounds(self) -> tuple[float | None, float | None]:
        """The least and the greatest value of an entry; None where there is none."""
        return None, None

    def total_and_kind(self) -> tuple[Any, bool] | None:
        """What the entries of a pixel (or of a component) sum to, and whether that is a limit; None where nothing."""
        return None

    def free(self, rank: int) -> Bool[Array, "components _"] | None:
        """Which components, or which of their entries, may move; None for all."""
        return None

    def narrow(self, rows: Rows, before: Rows, limits: Limits) -> Limits:
        """The limits of each entry, narrowed by what this constraint allows.

        Args:
            rows: of the block, where a step would lead.
            before: the rows before the step.
            limits: the least and greatest values that the other constraints allow.
        """
        low, high = self.bounds()
        least, most = limits
        return (least if low is None else jnp.maximum(least, low)), (most if high is None else jnp.minimum(most, high))

    def reshape(self, rows: Rows, metric: Rows | None = None) -> Rows:
        """The nearest rows of the shape that is asked for; of kind "shape" alone."""
        return rows

    def share_out(self, rows: Rows, limits: Limits, metric: Rows | None = None) -> Rows:
        """The nearest rows between the limits with the sums that are asked for; of kind "sum" alone."""
        raise NotImplementedError(f"{type(self).__name__} has no nearest rows of its sums; use {self.keepers}.")

    def project(self, rows: Rows, before: Rows) -> Rows:
        """The nearest rows that hold the constraint, as far as it can be said of each entry by itself.

        Args:
            rows: of the block, after a step.
            before: the rows before it.
        """
        return rows


class Constraints(eqx.Module):
    """The constraints of a problem: checked together when it is made, and asked by block from then on.

    It is also a sequence of its constraints, in the order in which they were given.

    Args:
        items: the constraints.
        profile_block: the block beside the maps, "spectra" or "coefficients".
        features: its number of columns.
    """

    items: tuple[AbstractConstraint, ...]
    profile_block: str = eqx.field(static=True)
    features: int = eqx.field(static=True)

    def __init__(self, items: "Sequence[AbstractConstraint] | Constraints", profile_block: str, features: int):
        several = items.items if isinstance(items, Constraints) else items
        self.items = check_instances(several, AbstractConstraint, "constraints", 'constraints.NonNegative("maps")')
        self.profile_block, self.features = profile_block, features
        for item in self.items:
            if item.block not in self.blocks and not item.any_profile:
                raise ValueError(
                    f'{type(item).__name__}("{item.block}"): this problem fits "maps" and "{profile_block}"; name one '
                    "of them."
                )
        self._check_once()
        self._check_bounds()
        for item in sorted(self.items, key=lambda item: item.order):
            item.check(self)

    def _check_once(self) -> None:
        """Two signs say the same, and ratios can be several; of others the second would be ignored."""
        seen = [(type(item), item.block) for item in self.items if item.kind not in ("sign", "ratio")]
        for kind, block in seen:
            if seen.count((kind, block)) > 1:
                raise ValueError(f'{kind.__name__}("{block}") is there twice; join the two into one.')

    def _check_bounds(self) -> None:
        """What is below one bound and above another does not exist."""
        for block in self.blocks:
            low, high = self.bounds(block)
            if low is not None and high is not None and low > high:
                raise ValueError(
                    f"the bounds of the {block} contradict one another: {low:g} and more, {high:g} and less."
                )

    def __iter__(self) -> Iterator[AbstractConstraint]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, place: Any) -> Any:
        return self.items[place]

    @property
    def blocks(self) -> tuple[str, str]:
        """The maps and the block beside them, by name."""
        return "maps", self.profile_block

    def of(self, kind: str, block: str | None = None) -> list[Any]:
        """The constraints of one kind, on one block or on any."""
        return [item for item in self.items if item.kind == kind and block in (None, item.block)]

    def one(self, kind: str, block: str | None = None) -> Any:
        """The only constraint of a kind on a block, or None."""
        return next(iter(self.of(kind, block)), None)

    def bounds(self, block: str) -> tuple[float | None, float | None]:
        """The least and the greatest value of an entry of the block; None where there is none."""
        each = [item.bounds() for item in self.items if item.block == block]
        low, high = [a for a, _ in each if a is not None], [b for _, b in each if b is not None]
        return max(low, default=None), min(high, default=None)

    def is_nonnegative(self, block: str) -> bool:
        """Whether no entry of the block may be below zero."""
        low, _ = self.bounds(block)
        return low is not None and low >= 0

    def is_fully_fixed(self, block: str) -> bool:
        """Whether nothing of the block may move."""
        return any(item.is_whole for item in self.of("fixed", block))

    def free(self, block: str, rank: int) -> Bool[Array, "components _"] | None:
        """What of the block may move: None for all, else booleans, (components, 1) or (components, columns)."""
        masks = [mask for item in self.items if item.block == block and (mask := item.free(rank)) is not None]
        if not masks:
            return None
        free = masks[0]
        for mask in masks[1:]:
            free = free & mask
        return free

    @property
    def is_scale_free(self) -> bool:
        """Whether a component's profile may be multiplied by a number that its map is divided by."""
        return not (self.of("fixed") or self.of("sum", "maps") or self.of("closure") or self.of("bounds"))

    def clip(self, block: str, rows: Rows) -> Rows:
        """The rows of a block within its bounds."""
        low, high = self.bounds(block)
        rows = rows if low is None else jnp.maximum(rows, low)
        return rows if high is None else jnp.minimum(rows, high)

    def keep_fixed(self, block: str, rows: Rows, before: Rows) -> Rows:
        """The rows of a block with what may not move as it was before."""
        free = self.free(block, len(rows))
        return rows if free is None else jnp.where(free, rows, before)

    def project(self, factors: Bilinear, before: Bilinear) -> Bilinear:
        """The factors after any step, brought back to the constraints."""
        for block in self.blocks:
            rows, old = rows_of(factors, block), rows_of(before, block)
            for item in self.items:
                rows = item.project(rows, old) if item.block == block else rows
            factors = with_rows(factors, block, rows)
        return self.impose(factors)

    def nearest(
        self,
        block: str,
        rows: Rows,
        before: Rows,
        live: Bool[Array, "components 1"],
        metric: Rows | None = None,
    ) -> Rows:
        """The rows of a block moved onto its constraints: the nearest point, for those that a proximal step keeps.

        Shapes come first, then the limits of each entry, within which sums are shared out.

        Args:
            block: "maps" or the block beside them.
            rows: where a step would lead.
            before: the rows before it.
            live: which components are there; the others, with which K is padded, stay zero.
            metric: d > 0, where the distance is sum (x - y)^2 / d; None for ones.
        """
        items = sorted((item for item in self.items if item.block == block), key=lambda item: item.order)
        for item in items:
            rows = item.reshape(rows, metric)
        limits = jnp.full(rows.shape, -jnp.inf, rows.dtype), jnp.full(rows.shape, jnp.inf, rows.dtype)
        for item in items:
            limits = item.narrow(rows, before, limits)
        limits = jnp.where(live, limits[0], 0), jnp.where(live, limits[1], 0)
        summed = next((item for item in items if item.kind in ("sum", "closure")), None)
        moved = jnp.clip(rows, *limits) if summed is None else summed.share_out(rows, limits, metric)
        return jnp.where(live, moved, before)

    def impose(self, factors: Bilinear) -> Bilinear:
        """The factors as the constraints ask for them at the start and between two looks at the objective.

        Known values, ratios and sums are put in where a start does not hold them; factors that come from a step stay
        as they are.
        """
        for item in sorted(self.items, key=lambda item: item.order):
            factors = item.impose(factors, self)
        return factors

    def check_rank(self, rank: int) -> None:
        """Refuse a number of components that some constraint is not made for; see `AbstractConstraint.check_rank`."""
        for item in self.items:
            item.check_rank(rank)

    def check_pixels(self, pixels: int) -> None:
        """Refuse a number of pixels that some constraint is not made for."""
        for item in self.items:
            item.check_pixels(pixels)

    @property
    def keeps_last(self) -> bool:
        """Whether the last iterate is the answer, not the one of least objective: a multiplier trades it away."""
        return any(item.is_soft for item in self.of("disjoint"))
