"""Fixed patterns: offsets and gains of single channels, the same in all readouts. Public through `preprocess`."""

from typing import Literal

import numpy as np
import scipy.ndimage

from ..._util.validation import check_choice, check_whole_number
from ...data.image import SpectrumImage
from ..provenance import check_image, live_energies, operation, take_step
from ..region import floating, over_channels


def remove_fixed_pattern(
    img: SpectrumImage, kind: Literal["offset", "gain"] = "gain", channels: int = 7
) -> SpectrumImage:
    r"""Take out what single channels add, or multiply by, in all pixels alike. Reversible.

    Of the mean spectrum m the running median $\tilde m$ over some channels is what changes slowly; the pattern is
    $m - \tilde m$ (offset, subtracted) or $m / \tilde m$ (gain, divided by). Features narrower than half of these
    channels that all pixels have, such as a zero-loss peak, are taken for pattern where they lie: mask these channels
    first (`preprocess.mask`), or subtract a dark readout (`subtract_reference`), which is better where there is one.

    Args:
        img: the image, with one signal dim.
        kind: "gain" for the sensitivity of channels, "offset" for their dark level.
        channels: width of the median, an odd number of 3 or more.

    Raises:
        ValueError: another kind; an even number of channels, or more than there are; a mean of zero or below for gains.
    """
    what = "remove_fixed_pattern"
    check_image(img, what)
    live = live_energies(img, what)
    check_choice(kind, ("offset", "gain"), f"{what}: kind")
    if check_whole_number(channels, f"{what}: channels", 3, max(len(live), 3)) % 2 == 0:
        raise ValueError(f"{what}: channels={channels}; give an odd number, such as {channels + 1}")
    mean = img.finite_live().mean(axis=0, dtype=np.float64)
    slow = scipy.ndimage.median_filter(mean, channels, mode="nearest")
    shown = {"kind": kind, "channels": channels}
    values = img.data.values.astype(floating(img))
    if kind == "offset":
        pattern = over_channels(img, mean - slow, 0)
        return take_step(
            img, what, shown, values - pattern.astype(values.dtype), [operation("add", pattern, img.signal_dims)]
        )
    bad = (mean <= 0) | (slow <= 0)
    if bad.any():
        place = img.place(channel=int(np.flatnonzero(over_channels(img, bad, 0))[0]))
        raise ValueError(
            f"{what}: the mean at {place} is {mean[bad][0]:g}, of which no gain follows; mask such channels"
        )
    pattern = over_channels(img, mean / slow, 1)
    return take_step(
        img, what, shown, values / pattern.astype(values.dtype), [operation("multiply", pattern, img.signal_dims)]
    )
