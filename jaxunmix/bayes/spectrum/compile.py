"""Programs that are compiled side by side before they are called."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any

import jax

from ..tempering.sequential import compilations
from .budget import UNDIVIDED
from .evidence.assemble import compile_gathering
from .evidence.sharing import compile_sharing


def _await(programs: list[Future]) -> None:
    for program in programs:
        program.result()


def _programs(pool: Executor, densities: dict, explorers: dict, shared: dict) -> dict[int, list[Future]]:
    """What compiles the programs of each number of peaks, each once and side by side, those of `smc` first."""
    known: dict[Any, list[Future]] = {}
    found = {}
    for count, density in sorted(densities.items(), reverse=True):
        name = (density.slots, *shared[count].values())
        if name not in known:
            calls: list[Callable[[], Any]] = [
                *compilations(density, explorers[count], **shared[count]),
                partial(compile_gathering, density, shared[count]["particles"]),
            ]
            alike = [k for k, d in densities.items() if (d.slots, *shared[k].values()) == name]
            if any(k > UNDIVIDED and k - 1 in densities for k in alike):
                calls.append(partial(compile_sharing, density))
            known[name] = [pool.submit(_in_double, call) for call in calls]
        found[count] = known[name]
    return found


def _in_double(call: Callable[[], Any]) -> None:
    # The precision is a setting of the thread.
    with jax.enable_x64(True):
        jax.block_until_ready(call())
