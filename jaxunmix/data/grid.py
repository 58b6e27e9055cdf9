"""Which pixels of a map are neighbours."""

import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import numpy as np

from .._util.validation import check_instance, check_several, check_unmasked, check_whole_number


def _as_shape(shape: Any) -> tuple[int, ...]:
    several = check_several(shape, "shape", "(ny, nx)")
    return tuple(check_whole_number(n, "shape: the cells along an axis", 1) for n in several)


class Grid(eqx.Module):
    """Which cells of a navigation grid are live pixels.

    All fields are static and hashable (the mask as packed bits), so that a grid can sit in a jitted pytree
    without causing a second compilation.
    """

    shape: tuple[int, ...] = eqx.field(static=True, converter=_as_shape)
    keep: bytes | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        check_instance(self.keep, (bytes, type(None)), "keep", "what Grid.of makes of a boolean array")
        if self.keep is not None and len(self.keep) != -(-math.prod(self.shape) // 8):
            raise ValueError(f"keep has {len(self.keep)} bytes, which do not fit {self.shape}; see Grid.of.")

    @classmethod
    def of(cls, shape: Sequence[int], keep: Any = None) -> "Grid":
        """Make a grid.

        Args:
            shape: cells along each navigation axis, such as (ny, nx).
            keep: boolean array of that shape, True at live pixels; None: all are live.

        Raises:
            ValueError: if `keep` is not boolean or has another shape.
        """
        shape = _as_shape(shape)
        if keep is None:
            return cls(shape)
        check_unmasked(keep, "keep")
        keep = np.asarray(keep)
        if keep.dtype != bool or keep.shape != shape:
            raise ValueError(f"keep is {keep.dtype} {keep.shape}; give a boolean array of shape {shape}")
        return cls(shape, np.packbits(keep).tobytes())

    @property
    def mask(self) -> np.ndarray:
        """Boolean array of `shape`, True at live pixels."""
        if self.keep is None:
            return np.ones(self.shape, bool)
        bits = np.unpackbits(np.frombuffer(self.keep, np.uint8), count=math.prod(self.shape))
        return bits.astype(bool).reshape(self.shape)

    @property
    def size(self) -> int:
        """Number of live pixels."""
        return math.prod(self.shape) if self.keep is None else int(self.mask.sum())

    def neighbours(self) -> np.ndarray:
        """Pairs of live pixels that touch along an axis.

        Returns:
            int32 array (pairs, 2) of rows of the (pixels, channels) matrix; each pair once, lower first.

        >>> Grid.of((2, 2)).neighbours().tolist()
        [[0, 2], [1, 3], [0, 1], [2, 3]]
        """
        mask = self.mask
        index = np.where(mask, np.cumsum(mask).reshape(self.shape) - 1, -1)
        pairs = [np.zeros((0, 2), int)]
        for axis in range(index.ndim):
            low = np.delete(index, -1, axis).ravel()
            high = np.delete(index, 0, axis).ravel()
            both = (low >= 0) & (high >= 0)
            pairs.append(np.stack([low[both], high[both]], axis=1))
        return np.concatenate(pairs).astype(np.int32)
