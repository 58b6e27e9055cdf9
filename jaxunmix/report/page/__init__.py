"""One self-contained HTML page of a result, or of a scan: what was fitted, the figures, and how to make it again."""

from .fit import write as write
from .scan import write_scan as write_scan
