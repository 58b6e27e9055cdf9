"""Factorisation of spectra whose energy axis drifts from pixel to pixel."""

from .fitting import fit_drift as fit_drift
from .result import DriftFit as DriftFit
