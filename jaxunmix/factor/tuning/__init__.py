"""Weights of penalties from the data."""

from .choosing import Curve as Curve
from .choosing import Tuning as Tuning
from .choosing import tune as tune
