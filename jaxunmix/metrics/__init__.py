"""How far a result is from the truth, and from the data."""

from .scores import Match as Match
from .scores import correlation as correlation
from .scores import cross_correlation as cross_correlation
from .scores import deviance as deviance
from .scores import explained_variance as explained_variance
from .scores import map_error as map_error
from .scores import match as match
from .scores import relative_residual as relative_residual
from .scores import spectral_angle as spectral_angle
from .thresholds import Window as Window
from .thresholds import best_window as best_window
