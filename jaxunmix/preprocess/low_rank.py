"""Backgrounds whose shapes are learned over the whole map. Public through `preprocess`."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from .._util.validation import check_whole_number
from ..data.image import SpectrumImage
from .power_law import FEWEST, background_channels, fit_power_laws, subtract_background, windows_of
from .provenance import Limits
from .region import over_channels, over_pixels


class Space(NamedTuple):
    """Background shapes over all live channels.

    Attributes:
        exponent: of the pooled power law.
        rows: (rank, channels) the pooled power law of sum 1 over the window, and it times each polynomial.
        within: (rank - 1, window channels) the polynomials in the window.
    """

    exponent: float
    rows: Float[np.ndarray, "rank channels"]
    within: Float[np.ndarray, "shapes window"]


def low_rank_background(img: SpectrumImage, window: Limits | Sequence[Limits], rank: int = 2) -> SpectrumImage:
    r"""Subtract backgrounds of a low-dimensional space that is learned in front of the edge. Reversible.

    The background of pixel p is

    $B_p(E) = N_p f(E) \left[1 + \sum_{k=1}^{R-1} t_{pk} g_k(\ln E)\right]$,

    with $N_p$ the counts in the window, f the power law fitted to the sum of all pixels (of sum 1 over the window),
    and $g_k$ the polynomials of degree k in ln E that are orthonormal under f in the window: power laws of other
    exponents, and sums of these, are $f e^{-(r - \bar r) \ln E}$, and $g_k$ their expansion. The counts of a pixel
    give $s_{pk} = \sum_c x_{pc} g_k(\ln E_c) / N_p$ with a noise of variance $\kappa / N_p$. Over the map, s has the
    mean m (shrunk by what its own noise explains) and, less this noise, the covariance C (its negative eigenvalues
    set to zero): the shapes that the sample's backgrounds really have. Each pixel's are then

    $t_p = m + C (C + \kappa / N_p)^{-1} (s_p - m)$,

    the best linear prediction (Robinson, Stat. Sci. 6 (1991) 15): its own pre-edge where there are many counts, the
    map's shapes where there are few. $\kappa$, the variance of the counts over their mean, is estimated from the
    residual, so that a camera's counts serve too. Spiegelberg et al. ("The usage of data compression for the background
    estimation of electron energy loss spectra", Ultramicroscopy (2017)) take backgrounds from a compressed map with the
    same aim; the equations here are not theirs.

    Measured in the same way as for `power_law_background`, with exponents from 2.5 to 3.5 over the map: errors of the
    extrapolated background were 13, 5.3, 3.0 and 1.5 % at 1, 10, 100 and 1,000 counts per channel, against 44, 16, 5.0
    and 1.6 % of a power law fitted to each pixel. With exponents from 2 to 5 and 100,000 counts what a rank of 2 leaves
    out (0.6 %) is more than the noise (0.2 %). Backgrounds that are sums of E^-2 and E^-5 come out 0.9 % low from
    power laws, however many the counts, and right from a rank of 3.

    A higher rank follows, and extrapolates, whatever curvature the window has. In a measured scan of LSMO the Mn L edge
    has 37,000 counts per channel at 665 to 720 eV over power laws from 580 to 626 eV. A rank of 2 agrees with these
    (scatter 490); a rank of 3 takes the curved tail of O K for background and finds 10,000 to 47,000 more.

    Args:
        img: the image, with one signal dim of energies above 0.
        window: as in `power_law_background`.
        rank: R, the dimension of the space: 1 is one exponent for the whole map; 2 lets exponents differ, by up to
            about 1; 3 lets them differ by more, or backgrounds be sums of power laws, in windows free of edges' tails.

    Raises:
        ValueError: as `power_law_background`; a rank below 1 or not below the channels in the window; no counts in
            the window of any pixel.
    """
    what = "low_rank_background"
    energy, within = background_channels(img, window, what)
    check_whole_number(rank, f"{what}: rank", 1)
    if rank > max(within.sum() - 1, FEWEST - 1):
        raise ValueError(f"{what}: rank={rank}, but window={window} holds {within.sum()} live channels; widen it")
    counts = img.finite_live()[:, within].astype(np.float64)
    total = np.maximum(counts.sum(axis=1), 0)
    if not total.any():
        raise ValueError(f"{what}: no counts in window={window}; choose another, or check the data")
    space = _space(counts[total > 0].sum(axis=0), energy, within, rank)
    coefficients, sd = _coefficients(counts, total, space, within)
    values = np.concatenate([over_pixels(img, one, 0) for one in coefficients.T], axis=-1)
    rows = np.stack([over_channels(img, one, 0) for one in space.rows])
    shown = {
        "window": [list(one) for one in windows_of(window, f"{what}: window")],
        "rank": rank,
        "exponent": space.exponent,
        "shape_sd": sd,
        "without_counts": int((total <= 0).sum()),
    }
    return subtract_background(img, what, shown, {"do": "add_product", "values": values, "rows": rows})


def _space(pooled: np.ndarray, energy: np.ndarray, within: np.ndarray, rank: int) -> Space:
    """The pooled power law and its polynomials, orthonormal in the window and continued beyond it."""
    position = np.log(energy / np.exp(np.log(energy[within]).mean()))
    exponent = float(fit_power_laws(pooled[None], position[within])[1][0])
    law = np.exp(-exponent * position)
    law /= law[within].sum()
    # Scaled to about 1 in the window, so that the powers are far from collinear.
    powers = (position / np.abs(position[within]).max())[:, None] ** np.arange(rank)
    _, r = np.linalg.qr(powers[within] * np.sqrt(law[within])[:, None])
    shapes = np.linalg.solve(r.T, powers.T)
    shapes *= np.sign(np.diag(r))[:, None]  # the first one is then 1
    return Space(exponent, law * shapes, shapes[1:, within])


def _coefficients(
    counts: np.ndarray, total: np.ndarray, space: Space, within: np.ndarray
) -> tuple[Float[np.ndarray, "pixels rank"], Float[np.ndarray, " shapes"]]:
    """N (1, t) of each pixel, and the standard deviations of the shapes over the map, less the noise."""
    live = total > 0
    shapes = len(space.within)
    own = np.zeros((len(counts), shapes))
    own[live] = counts[live] @ space.within.T / total[live, None]
    mean = total @ own / total.sum()
    fitted = _with_totals(total, own) @ space.rows[:, within]
    # The variance of the counts over their mean, which the pooled shape describes well enough.
    expected = np.outer(total, space.rows[0, within])
    freedom = live.sum() * (counts.shape[1] - 1 - shapes)
    noise = np.sum((counts - fitted)[live] ** 2 / expected[live]) / max(freedom, 1)
    off = own - mean
    # Weighted by the counts, the noise kappa / N_p of all pixels sums to kappa times their number.
    # What the mean owes to the counts of the whole map taken together, less their noise (James and Stein).
    mean = mean * np.maximum(1 - noise / total.sum() / np.maximum(mean**2, 1e-300), 0)
    covariance = ((off * total[:, None]).T @ off - noise * live.sum() * np.eye(shapes)) / total.sum()
    sizes, directions = np.linalg.eigh(covariance)
    sizes = np.maximum(sizes, 0)
    trusted = sizes / (sizes + noise / np.where(live, total, 1)[:, None] + 1e-300)
    predicted = mean + (off @ directions * trusted) @ directions.T
    sd = np.sqrt(np.einsum("ij,j,ij->i", directions, sizes, directions))
    return _with_totals(total, predicted), sd


def _with_totals(total: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    return total[:, None] * np.concatenate([np.ones((len(total), 1)), shapes], axis=1)
