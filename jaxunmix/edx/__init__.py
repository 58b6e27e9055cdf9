"""Compositions from a fit of EDX data."""

from .quantification import quantify as quantify
