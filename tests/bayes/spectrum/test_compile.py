"""Programs that are compiled ahead of a decomposition, against those that it then calls."""

import importlib
import logging
import pkgutil
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import equinox as eqx
import jax
import numpy as np
import pytest

import jaxunmix as jxu
from jaxunmix.bayes import Priors, spectrum
from jaxunmix.bayes.programs import Call, compile_ahead, wait_for
from jaxunmix.bayes.spectrum import budget
from jaxunmix.bayes.spectrum.compile import compile_programs
from jaxunmix.bayes.spectrum.evidence.assemble import gather
from jaxunmix.bayes.spectrum.evidence.noise import over_noise
from jaxunmix.bayes.spectrum.evidence.sharing import share
from jaxunmix.bayes.spectrum.priors import past_the_best, path
from jaxunmix.bayes.tempering import sequential
from jaxunmix.bayes.tempering.sequential import smc

pytestmark = pytest.mark.optimised
JITTED = type(eqx.filter_jit(lambda: None))
COUNTS = (1, 2)


def of_package():
    """Names of the jitted functions of a decomposition."""
    names = [name for _, name, package in pkgutil.walk_packages(spectrum.__path__, "jaxunmix.bayes.spectrum.")]
    modules = [*map(importlib.import_module, names), sequential]
    return {f.__name__ for module in modules for f in vars(module).values() if isinstance(f, JITTED)}


@contextmanager
def compiled():
    """The names of the functions that are compiled meanwhile."""
    names, logger = [], logging.getLogger("jax._src.interpreters.pxla")

    class Names(logging.Handler):
        def emit(self, record):
            if found := re.match(r"Compiling (?:jit\()?([^\s)]+)", record.getMessage()):
                names.append(found.group(1))

    handler, level, propagates = Names(), logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield names
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagates


def test_a_program_that_is_compiled_ahead_is_not_compiled_again():
    @eqx.filter_jit
    def doubled(x, times):
        return 2 * times * x

    with jax.enable_x64(True), ThreadPoolExecutor(1) as pool:
        with compiled() as ahead:
            wait_for(compile_ahead([Call(doubled, (np.zeros(3), 2))], pool))
        with compiled() as called:
            np.testing.assert_array_equal(doubled(np.arange(3.0), 2), [0, 4, 8])
            doubled(np.arange(4.0), 2)
    assert ahead.count("doubled") == 1
    # That of another shape.
    assert called.count("doubled") == 1


def test_what_a_decomposition_calls_is_what_is_compiled_ahead(monkeypatch):
    # So few peaks share nothing unless they are told to.
    monkeypatch.setattr("jaxunmix.bayes.spectrum.compile.UNDIVIDED", 0)
    energy, intensity, _ = jxu.simulate.edge_spectrum(jax.random.key(3), peaks=1, noise=0.02, channels=60)
    energy, intensity = np.asarray(energy, float), np.asarray(intensity, float)
    priors = Priors().complete(energy, intensity)
    explorers = {count: budget.explorer_of(count) for count in COUNTS}
    shared = {count: budget._shared(count, 4, None) for count in COUNTS}
    how = {"moves": 2, "keep": shared[1]["particles"], "limit": priors.noise[0] ** -2, "stop": past_the_best(60)}
    rng, jitted = np.random.default_rng(0), of_package()
    with jax.enable_x64(True), ThreadPoolExecutor(2) as pool:
        densities = {count: path(energy, intensity, count, None, priors) for count in COUNTS}
        with compiled() as ahead:
            for programs in compile_programs(pool, densities, explorers, shared).values():
                wait_for(programs.of_smc + programs.of_draws)
        with compiled() as called:
            runs = {}
            for count, density in densities.items():
                own = how | shared[count]
                result = smc(density, explorers[count], key=jax.random.key(count), workers=pool, **own)
                runs[count] = over_noise(density, result, noise_known=False, rng=rng)
            draws = share(runs, densities, explorers, 1, rng, pool)
            for count in COUNTS:
                own = densities[count], explorers[count], runs[count], draws[count], count
                gather(*own, noise_known=False, rng=rng, workers=pool)
    assert {"_swept", "_reweighted", "_changes", "_target", "born", "_jacobian"} <= jitted & set(ahead)
    assert jitted & set(called) == set()
    # Each is compiled once.
    assert sorted(jitted & set(ahead)) == sorted(name for name in ahead if name in jitted)
