"""The one loop: from starts to a solution."""

from .fitting import fit as fit
from .projection import project as project
from .pure import minimise as minimise
