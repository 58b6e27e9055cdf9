"""Information criteria."""

from dataclasses import dataclass

import numpy as np

from .criterion import TINY_MSE, AbstractCriterion, Evidence, Verdict, take_least


@dataclass(frozen=True)
class AIC(AbstractCriterion):
    """Akaike's information criterion: N ln(mse) + 2 p under least squares, 2 D + 2 p for other losses.

    With N entries and the p = K (pixels + channels - K) free numbers of a product of rank K (IEEE Trans. Autom.
    Control 19 (1974) 716). D is the divergence of the loss. The constraints make the true number of parameters
    smaller, so it is biased towards few. The margin is relative to the range of the values.
    """

    command = "aic"

    def __call__(self, evidence: Evidence) -> Verdict:
        return _information(evidence, 2.0, "AIC")


@dataclass(frozen=True)
class BIC(AbstractCriterion):
    """Schwarz's criterion: as `AIC`, with p ln N in place of 2 p (Ann. Stat. 6 (1978) 461).

    As each pixel brings K parameters of its own its assumptions do not hold here, and at low signal it asks for
    too few: a component must explain about ln(N) / channels of the residual.
    """

    command = "bic"

    def __call__(self, evidence: Evidence) -> Verdict:
        return _information(evidence, float(np.log(np.prod(evidence.shape))), "BIC")


def _information(evidence: Evidence, price: float, name: str) -> Verdict:
    pixels, channels = evidence.shape
    ranks, entries = evidence.ranks, float(pixels * channels)
    parameters = ranks * (pixels + channels - ranks).astype(float)
    squares = evidence.problem.loss.is_least_squares
    fit = entries * np.log(np.maximum(evidence.mse, TINY_MSE)) if squares else 2 * evidence.loss
    return take_least(ranks, fit + price * parameters, name)
