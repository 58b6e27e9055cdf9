"""Neighbours should be alike: on the map, along the channels, or among pixels of like spectra."""

from .graph_similarity import GraphSimilarity as GraphSimilarity
from .graph_similarity import similarity_graph as similarity_graph
from .laplacian import Laplacian as Laplacian
from .total_variation import TotalVariation as TotalVariation
