"""Programs of a decomposition, compiled side by side before they are called."""

from concurrent.futures import Executor, Future
from typing import Any, NamedTuple

from ..programs import compile_ahead
from ..tempering.sequential import smc_calls
from .budget import UNDIVIDED
from .evidence.assemble import gather_calls
from .evidence.noise import noise_calls
from .evidence.sharing import share_calls


class Programs(NamedTuple):
    """The programs of one number of peaks: those of `smc`, and those of what follows."""

    of_smc: list[Future]
    of_draws: list[Future]


def compile_programs(pool: Executor, densities: dict, explorers: dict, shared: dict) -> dict[int, Programs]:
    """Compiles the programs of each number of peaks, each once and side by side, those of `smc` first."""
    known: dict[Any, Programs] = {}
    found = {}
    for count, density in sorted(densities.items(), reverse=True):
        name, how = (density.slots, *shared[count].values()), shared[count]
        if name not in known:
            of_smc = compile_ahead(smc_calls(density, explorers[count], **how), pool)
            calls = [*noise_calls(density, how["runs"], how["particles"]), *gather_calls(density)]
            alike = [k for k, d in densities.items() if (d.slots, *shared[k].values()) == name]
            if any(k > UNDIVIDED and k - 1 in densities for k in alike):
                calls += share_calls(density)
            known[name] = Programs(of_smc, compile_ahead(calls, pool))
        found[count] = known[name]
    return found
