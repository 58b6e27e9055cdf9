"""The figure of the components that a fit switched off."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from .axes import GREY, SMALL, colour, new_figure, tidy
from .factors import find_variable


def relevance(result: xr.Dataset) -> Figure:
    """Draws the relevance of each component of the start during the fit; those that were kept are in colour.

    Args:
        result: Dataset with `relevance` ("component",) and `relevance_trace` ("relevance_check", "start_component").

    Raises:
        ValueError: where `result` has no relevances: the fit had no `penalties.ARD`.
    """
    trace = find_variable(result, "relevance_trace", "relevance_check").values.astype(float)
    kept = result["relevance"].values.astype(float)
    figure = new_figure(2.5)
    axes = figure.subplots()
    # The kept ones are named by what they end at: the solution orders components anew.
    ends = np.argsort(-trace[-1], kind="stable")[: len(kept)]
    order = np.argsort(-kept, kind="stable")
    for place in range(trace.shape[1]):
        if place not in ends:
            axes.plot(trace[:, place], color=GREY, linewidth=0.8, alpha=0.7)
    for place, component in zip(ends, order, strict=False):
        axes.plot(trace[:, place], color=colour(int(component)), linewidth=1.4, label=f"component {component}")
    axes.set_yscale("log")
    axes.set_xlabel("check of the objective", fontsize=SMALL)
    axes.set_ylabel("relevance", fontsize=SMALL)
    axes.legend(fontsize=SMALL, frameon=False)
    tidy(axes)
    return figure
