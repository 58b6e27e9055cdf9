"""Edge steps, from 0 to 1."""

import math

import jax.numpy as jnp
from jax.scipy.special import erf
from jaxtyping import Array, ArrayLike, Float

from ..._util.validation import check_numbers

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
    energy, centre = check_numbers(energy, "energy", finite=False), check_numbers(centre, "centre", finite=False)
    return 0.5 + jnp.arctan((energy - centre) / (0.5 * check_numbers(fwhm, "fwhm", above=0))) / jnp.pi


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
    energy, centre = check_numbers(energy, "energy", finite=False), check_numbers(centre, "centre", finite=False)
    return 0.5 * (1.0 + erf(2.0 * math.sqrt(_LN2) * (energy - centre) / check_numbers(fwhm, "fwhm", above=0)))
