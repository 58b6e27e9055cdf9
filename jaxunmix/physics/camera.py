"""The noise of a camera that counts electrons through a scintillator or directly: the variance of each entry."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._util.tracing import is_known
from .._util.validation import check_number, check_numbers


@dataclass(frozen=True)
class Camera:
    r"""A camera with read-out noise, shot noise and gain noise, which add up as variances.

    $\sigma^2(N) = \sigma_r^2 + F g N + (\sigma_g N)^2$ for a channel that is expected to show N counts, with g counts
    per electron: n electrons vary by $\sqrt{n}$, and so $N = g n$ by $g \sqrt{n} = \sqrt{g N}$ (the photon transfer
    curve: Janesick, Photon Transfer (SPIE, 2007), chapters 3 to 5).

    The gain of a channel differs from the mean by the same share in every spectrum. The last term is right for the
    errors of one spectrum; it does not average out over the pixels of a map, as the other two do. The point spread of
    a scintillator correlates neighbouring channels, which lowers the variance of each; it is not part of the model.

    Attributes:
        readout_sd: $\sigma_r$, of the dark, read-out channel, in counts.
        counts_per_electron: g, above 0; 1 for a detector that counts electrons.
        gain_sd: $\sigma_g$, relative spread of the channels' gain after gain correction; 0.01 is 1 %.
        excess: F, by how much the variance of a single electron's signal exceeds that of its count, 1 or more.

    Raises:
        ValueError: a number outside its limits.

    >>> Camera(readout_sd=10, counts_per_electron=2, gain_sd=0.01).variance([0.0, 1000.0]).tolist()
    [100.0, 2200.0]
    """

    readout_sd: float | int = 0.0
    counts_per_electron: float | int = 1.0
    gain_sd: float | int = 0.0
    excess: float | int = 1.0

    def __post_init__(self) -> None:
        check_number(self.readout_sd, "Camera: readout_sd", 0)
        check_number(self.counts_per_electron, "Camera: counts_per_electron", above=0)
        check_number(self.gain_sd, "Camera: gain_sd", 0)
        check_number(self.excess, "Camera: excess", 1)

    def variance(self, counts: Any) -> Float[Array, "..."]:
        """Variance of entries that are expected to show these counts, in counts squared.

        Give what is expected: a mean over pixels, or what a fit describes (`ReferenceFit.model`). The variance of
        the noisy counts themselves is low where the counts happen to be low, so that weights from it draw a fit
        downwards: by 18 % on a spectrum of 4 to 24 electrons per channel, where those of the expected counts were right
        to 0.01 %.

        Args:
            counts: any shape, less the dark level; below 0 counts as 0.

        Raises:
            ValueError: counts that are not finite.
        """
        expected = jnp.maximum(check_numbers(counts, "Camera.variance: counts"), 0)
        shot = self.excess * self.counts_per_electron * expected
        return self.readout_sd**2 + shot + (self.gain_sd * expected) ** 2

    def weights(self, counts: Any) -> Float[Array, "..."]:
        """1 / variance, as `Problem(weights=)` takes it under the Frobenius loss.

        Args:
            counts: as in `variance`.

        Raises:
            ValueError: an entry without variance, as where no counts are expected of a camera without read-out noise.
        """
        variance = self.variance(counts)
        if is_known(variance) and not bool((variance > 0).all()):
            raise ValueError(
                f"Camera.weights: {int((variance <= 0).sum())} of {variance.size} entries of counts have a variance "
                "of zero, and no weight; give the camera a readout_sd above 0, or expected counts above 0."
            )
        return 1 / variance
