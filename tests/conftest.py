import gc
import os
import tempfile
import warnings
from pathlib import Path

import hypothesis
import jax
import pytest

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"
# Compiled programs on disk, for the modules, commands and notebooks of this run: most of its time is theirs.
PROGRAMS = "JAX_COMPILATION_CACHE_DIR"
# All of them: most take less than the second that is the default, and reading takes less than compiling even the least.
WORTH_KEEPING = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", 0.0
# Without XLA's optimisations programs compile in half the time. `.ci/run` tests them as users have them.
UNOPTIMISED = "JAX_DISABLE_MOST_OPTIMIZATIONS"
# And of fewer fusions' kernels through MLIR in half the time again: XLA's older emitters write LLVM's language at once.
QUICKLY_COMPILED = "--xla_cpu_use_fusion_emitters=false"


# An example that compiles takes long, and one beside other work longer.
hypothesis.settings.register_profile("compiling", deadline=None)
hypothesis.settings.load_profile("compiling")


def pytest_configure(config):
    os.environ.setdefault(UNOPTIMISED, "1")
    if os.environ[UNOPTIMISED] == "1":
        os.environ["XLA_FLAGS"] = f"{QUICKLY_COMPILED} {os.environ.get('XLA_FLAGS', '')}".strip()
    # What one worker reads another may just be writing: then it is compiled again, see `filterwarnings`.
    if PROGRAMS not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="jaxunmix-programs-")
        config.add_cleanup(folder.cleanup)
        config.add_cleanup(lambda: os.environ.pop(PROGRAMS))
        os.environ[PROGRAMS] = folder.name
    name, least = WORTH_KEEPING
    os.environ.setdefault(name, str(least))
    jax.config.update("jax_compilation_cache_dir", os.environ[PROGRAMS])
    jax.config.update(name.lower(), float(os.environ[name]))


def pytest_collection_finish():
    """What has been imported stays: traces make many small objects, and each collection would go through all of it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)


@pytest.fixture(scope="session")
def shared_data():
    """The folder with the reference data measured or simulated by others."""
    if not SHARED.is_dir():
        pytest.skip(f"the reference data are not here: {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def hs():
    """HyperSpy, which imports what others have renamed or will remove."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        api = pytest.importorskip("hyperspy.api", reason="HyperSpy is an optional extra", exc_type=ImportError)
        # Its modules are read where they are first used.
        assert api.signals.Signal1D(range(3)).data.size == 3
    return api


@pytest.fixture(scope="module", autouse=True)
def _programs(request):
    """Optimised or not where they are marked so, and forgotten after each module.

    Each compiled program holds pieces of mapped memory, of which a process may have only so many.
    """
    unoptimised = os.environ[UNOPTIMISED] == "1" and request.node.get_closest_marker("optimised") is None
    unoptimised |= request.node.get_closest_marker("unoptimised") is not None
    jax.config.update(UNOPTIMISED.lower(), unoptimised)
    yield
    jax.clear_caches()
