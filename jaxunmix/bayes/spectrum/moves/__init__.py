"""Moves made for edges and peaks."""
