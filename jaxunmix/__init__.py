"""Unmix spectrum images: differentiable, probabilistic factor models on JAX."""
