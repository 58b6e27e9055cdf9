"""Energy loss with known spectra: fits of references, their shifts and broadenings, each with its error."""

from .reference_fit import ReferenceFit as ReferenceFit
from .reference_fit import mlls as mlls
