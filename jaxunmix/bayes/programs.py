"""Calls of jitted functions, whose programs can be compiled side by side before they are called."""

from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np


class Call(NamedTuple):
    """A function and its arguments: those of a call, or others of their shapes and types to compile it with.

    Where arguments are more than a list of what is at hand, one function makes the `Call` for both, so that what is
    compiled beforehand is what is called.
    """

    function: Callable
    arguments: tuple

    def __call__(self) -> Any:
        """Makes the call."""
        return self.function(*self.arguments)

    def compile(self) -> None:
        """Compiles the program of the call.

        A function that is not jitted is run, as what it compiles are its operations one by one.
        """
        lower = getattr(self.function, "lower", None)
        if lower is None:
            jax.block_until_ready(self())
        else:
            lower(*self.arguments).compile()

    def zeros(self) -> Any:
        """Zeros of the shapes and types of the result."""
        shapes = eqx.filter_eval_shape(self.function, *self.arguments)
        return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


def compile_ahead(calls: Iterable[Call], pool: Executor) -> list[Future]:
    """Compiles the programs of calls in the threads of a pool, in the precision of the present one."""
    double = jnp.result_type(float) == jnp.float64

    def compile_one(call: Call) -> None:
        # The precision is a setting of the thread.
        with jax.enable_x64(double):
            call.compile()

    return [pool.submit(compile_one, call) for call in calls]


def wait_for(programs: Iterable[Future]) -> None:
    """Waits until programs are compiled; raises what went wrong."""
    for program in programs:
        program.result()
