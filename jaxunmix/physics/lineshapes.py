r"""Shapes that X-ray absorption and electron energy-loss spectra are made of: edge steps, lines, a smooth background.

Lines have unit area, and `fwhm` is the full width at half maximum, so that an amplitude is an integrated intensity
whatever the width; `gaussian_peak` and `lorentzian_peak` are the values at the centre, to convert to heights. Steps go
from 0 to 1. Energies, centres and widths share one unit, eV for XAS and EELS. All arguments broadcast, everything can
be differentiated and mapped, and the precision is that of the arguments.

Sources: N. K. Richtmyer, S. W. Barnes and E. Ramberg, Physical Review 46 (1934) 843, for arctangent edges; G. K.
Wertheim et al., Review of Scientific Instruments 45 (1974) 1369, for the pseudo-Voigt; P. Thompson, D. E. Cox and J. B.
Hastings, Journal of Applied Crystallography 20 (1987) 79, for its mixing from the widths of a Voigt.
"""

import math

import jax.numpy as jnp
from jax.scipy.special import erf
from jaxtyping import Array, ArrayLike, Float

_LN2 = math.log(2.0)


def arctangent_step(energy: ArrayLike, centre: ArrayLike, fwhm: ArrayLike) -> Float[Array, "..."]:
    r"""$\frac12 + \frac1\pi \arctan \frac{E - E_0}{\Gamma / 2}$: the edge of a core hole of finite lifetime.

    It is the integral of `lorentzian` with the same centre and width.

    Args:
        energy: E.
        centre: E_0, where the step is at one half.
        fwhm: Gamma, positive: at E_0 -+ Gamma / 2 the step is at 1/4 and 3/4.

    Returns:
        Between 0 and 1, of the broadcast shape.
    """
    return 0.5 + jnp.arctan((jnp.asarray(energy) - centre) / (0.5 * jnp.asarray(fwhm))) / jnp.pi


def erf_step(energy: ArrayLike, centre: ArrayLike, fwhm: ArrayLike) -> Float[Array, "..."]:
    r"""$\frac12 (1 + \mathrm{erf}\, (2 \sqrt{\ln 2}\, (E - E_0) / w))$: an edge blurred by the resolution alone.

    It is the integral of `gaussian` with the same centre and width.

    Args:
        energy: E.
        centre: E_0, where the step is at one half.
        fwhm: w, positive.

    Returns:
        Between 0 and 1, of the broadcast shape.
    """
    return 0.5 * (1.0 + erf(2.0 * math.sqrt(_LN2) * (jnp.asarray(energy) - centre) / fwhm))


# The shapes of an edge by name: the lifetime of the core hole makes the first, the resolution the second.
EDGES = {"arctangent": arctangent_step, "erf": erf_step}


def gaussian_peak(fwhm: ArrayLike) -> Float[Array, "..."]:
    r"""$\frac2w \sqrt{\ln 2 / \pi}$, the value of `gaussian` at its centre."""
    return 2.0 * math.sqrt(_LN2 / math.pi) / jnp.asarray(fwhm)


def lorentzian_peak(fwhm: ArrayLike) -> Float[Array, "..."]:
    r"""$2 / (\pi w)$, the value of `lorentzian` at its centre."""
    return 2.0 / (math.pi * jnp.asarray(fwhm))


def gaussian(energy: ArrayLike, centre: ArrayLike, fwhm: ArrayLike) -> Float[Array, "..."]:
    r"""$\frac2w \sqrt{\frac{\ln 2}\pi} \exp(-4 \ln 2\, (E - c)^2 / w^2)$, of unit area.

    Args:
        energy: E.
        centre: c.
        fwhm: w, positive.

    Returns:
        Per unit of energy, of the broadcast shape.
    """
    return gaussian_peak(fwhm) * jnp.exp(-4.0 * _LN2 * ((jnp.asarray(energy) - centre) / fwhm) ** 2)


def lorentzian(energy: ArrayLike, centre: ArrayLike, fwhm: ArrayLike) -> Float[Array, "..."]:
    r"""$\frac{2}{\pi w} (1 + 4 (E - c)^2 / w^2)^{-1}$, of unit area (half of it beyond c -+ w/2).

    Args:
        energy: E.
        centre: c.
        fwhm: w, positive.

    Returns:
        Per unit of energy, of the broadcast shape.
    """
    return lorentzian_peak(fwhm) / (1.0 + 4.0 * ((jnp.asarray(energy) - centre) / fwhm) ** 2)


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
    return jnp.asarray(mixing) * lorentzian(energy, centre, fwhm) + (1.0 - jnp.asarray(mixing)) * gaussian(
        energy, centre, fwhm
    )


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
    g, l = jnp.asarray(gaussian_fwhm), jnp.asarray(lorentzian_fwhm)  # noqa: E741
    w = (g**5 + 2.69269 * g**4 * l + 2.42843 * g**3 * l**2 + 4.47163 * g**2 * l**3 + 0.07842 * g * l**4 + l**5) ** 0.2
    r = l / w
    return w, 1.36603 * r - 0.47719 * r**2 + 0.11116 * r**3


def power_law(energy: ArrayLike, exponent: ArrayLike, reference: ArrayLike) -> Float[Array, "..."]:
    r"""$(E / E_r)^{-r}$: the background below an energy-loss edge, or the fall of absorption above an X-ray edge.

    Args:
        energy: E, positive.
        exponent: r, about 2 to 5 in energy loss, about 3 in X-ray absorption.
        reference: E_r, positive: there the background is one.

    Returns:
        Of the broadcast shape.
    """
    return (jnp.asarray(energy) / reference) ** (-jnp.asarray(exponent))
