"""Lines of unit area, and their values at the centre."""

import math

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from ..._util.tracing import is_known
from ..._util.validation import check_numbers

_LN2 = math.log(2.0)


def gaussian_peak(fwhm: ArrayLike) -> Float[Array, "..."]:
    r"""$\frac2w \sqrt{\ln 2 / \pi}$, the value of `gaussian` at its centre."""
    return 2.0 * math.sqrt(_LN2 / math.pi) / check_numbers(fwhm, "fwhm", above=0)


def lorentzian_peak(fwhm: ArrayLike) -> Float[Array, "..."]:
    r"""$2 / (\pi w)$, the value of `lorentzian` at its centre."""
    return 2.0 / (math.pi * check_numbers(fwhm, "fwhm", above=0))


def gaussian(energy: ArrayLike, centre: ArrayLike, fwhm: ArrayLike) -> Float[Array, "..."]:
    r"""$\frac2w \sqrt{\frac{\ln 2}\pi} \exp(-4 \ln 2\, (E - c)^2 / w^2)$, of unit area.

    Args:
        energy: E.
        centre: c.
        fwhm: w, positive.

    Returns:
        Per unit of energy, of the broadcast shape.
    """
    return gaussian_peak(fwhm) * jnp.exp(-4.0 * _LN2 * _widths_away(energy, centre, fwhm) ** 2)


def lorentzian(energy: ArrayLike, centre: ArrayLike, fwhm: ArrayLike) -> Float[Array, "..."]:
    r"""$\frac{2}{\pi w} (1 + 4 (E - c)^2 / w^2)^{-1}$, of unit area (half of it beyond c -+ w/2).

    Args:
        energy: E.
        centre: c.
        fwhm: w, positive.

    Returns:
        Per unit of energy, of the broadcast shape.
    """
    return lorentzian_peak(fwhm) / (1.0 + 4.0 * _widths_away(energy, centre, fwhm) ** 2)


def _widths_away(energy: ArrayLike, centre: ArrayLike, fwhm: ArrayLike) -> Array:
    energy, centre = check_numbers(energy, "energy", finite=False), check_numbers(centre, "centre", finite=False)
    return (energy - centre) / check_numbers(fwhm, "fwhm", above=0)


def pseudo_voigt(energy: ArrayLike, centre: ArrayLike, fwhm: ArrayLike, mixing: ArrayLike) -> Float[Array, "..."]:
    r"""$\eta L + (1 - \eta) G$ with the Lorentzian and the Gaussian of the same width, of unit area.

    Args:
        energy: E.
        centre: of both.
        fwhm: of both, and so of their sum.
        mixing: eta, the share of the Lorentzian in the area, from 0 to 1.

    Returns:
        Per unit of energy, of the broadcast shape.
    """
    mixing = check_numbers(mixing, "mixing", 0, 1)
    return mixing * lorentzian(energy, centre, fwhm) + (1.0 - mixing) * gaussian(energy, centre, fwhm)


def voigt_as_pseudo(gaussian_fwhm: ArrayLike, lorentzian_fwhm: ArrayLike) -> tuple[Array, Array]:
    r"""Width and mixing of the `pseudo_voigt` nearest to a Voigt line (Thompson, Cox and Hastings 1987, equation 3).

    $w^5 = g^5 + 2.69269 g^4 l + 2.42843 g^3 l^2 + 4.47163 g^2 l^3 + 0.07842 g l^4 + l^5$ and, with r = l / w,
    $\eta = 1.36603 r - 0.47719 r^2 + 0.11116 r^3$.

    Args:
        gaussian_fwhm: g, of the instrument.
        lorentzian_fwhm: l, of the lifetime; one of both may be 0.

    Returns:
        (fwhm, mixing).
    """
    g, l = check_numbers(gaussian_fwhm, "gaussian_fwhm", 0), check_numbers(lorentzian_fwhm, "lorentzian_fwhm", 0)  # noqa: E741
    if is_known((g, l)) and not (g + l > 0).all():
        raise ValueError("gaussian_fwhm and lorentzian_fwhm are both 0: give a width above 0 in one of them.")
    w = (g**5 + 2.69269 * g**4 * l + 2.42843 * g**3 * l**2 + 4.47163 * g**2 * l**3 + 0.07842 * g * l**4 + l**5) ** 0.2
    r = l / w
    return w, 1.36603 * r - 0.47719 * r**2 + 0.11116 * r**3
