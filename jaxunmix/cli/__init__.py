"""The command line, a file for each command: `jaxunmix unmix | rank | spectrum | simulate | demo`.

Exit codes: 0 done, 1 unexpected, 2 bad input or usage, 130 interrupted (the best iterate is written first).
"""

from .app import main as main
