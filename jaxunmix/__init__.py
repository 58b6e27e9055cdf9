"""Unmix spectrum images: differentiable, probabilistic factor models on JAX.

>>> import jax
>>> import jaxunmix as jxu
>>> img, truth = jxu.simulate.mixture(jax.random.key(0), pixels=400, channels=60, components=3)
>>> solution = jxu.fit(jxu.Problem(img.matrix()), rank=3, key=jax.random.key(1))
>>> solution.maps.shape, solution.spectra.shape
((400, 3), (3, 60))
"""

from importlib.metadata import version

from . import bayes, eels, metrics, physics, preprocess, rank, simulate
from .data.grid import Grid
from .data.image import SpectrumImage
from .data.io import load, save
from .edx import quantify
from .factor import (
    Bilinear,
    Deviation,
    Pooled,
    Problem,
    Resolution,
    Solution,
    Status,
    constraints,
    fit,
    fit_coupled,
    fit_drift,
    fit_pooled,
    fit_tensor,
    initial,
    links,
    losses,
    minimise,
    named,
    penalties,
    project,
    tensors,
    tune,
    updates,
)
from .matrix import Compressed, Counts, Dense
from .report import page, plots

__version__ = version("jaxunmix")

__all__ = [
    "Bilinear",
    "Compressed",
    "Counts",
    "Dense",
    "Deviation",
    "Grid",
    "Pooled",
    "Problem",
    "Resolution",
    "Solution",
    "SpectrumImage",
    "Status",
    "bayes",
    "constraints",
    "eels",
    "fit",
    "fit_coupled",
    "fit_drift",
    "fit_pooled",
    "fit_tensor",
    "initial",
    "links",
    "load",
    "losses",
    "metrics",
    "minimise",
    "named",
    "page",
    "penalties",
    "physics",
    "plots",
    "preprocess",
    "project",
    "quantify",
    "rank",
    "save",
    "simulate",
    "tensors",
    "tune",
    "updates",
]
