"""Unmix spectrum images: differentiable, probabilistic factor models on JAX.

>>> import jax
>>> import jaxunmix as jxu
>>> img, truth = jxu.simulate.mixture(jax.random.key(0), pixels=400, channels=60, components=3)
>>> solution = jxu.fit(jxu.Problem(img.matrix()), rank=3, key=jax.random.key(1))
>>> solution.maps.shape, solution.spectra.shape
((400, 3), (3, 60))
"""

from importlib.metadata import version

from . import bayes, physics
from .data import preprocess, simulate
from .data.compressed import Compressed
from .data.image import Grid, SpectrumImage
from .data.io import load, save
from .data.matrix import Counts, Dense
from .factor import constraints, initial, losses, penalties, rank, updates
from .factor.fit import fit, project
from .factor.model import Bilinear
from .factor.pooled import Pooled, fit_pooled
from .factor.problem import Problem
from .factor.quantify import quantify
from .factor.solution import Solution, Status
from .factor.tune import tune
from .report import metrics, page, plots

__version__ = version("jaxunmix")

__all__ = [
    "Bilinear",
    "Compressed",
    "Counts",
    "Dense",
    "Grid",
    "Pooled",
    "Problem",
    "Solution",
    "SpectrumImage",
    "Status",
    "bayes",
    "constraints",
    "fit",
    "fit_pooled",
    "initial",
    "load",
    "losses",
    "metrics",
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
    "tune",
    "updates",
]
