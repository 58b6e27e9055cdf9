from pathlib import Path

import jax
import pytest

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data():
    """The folder with the reference data measured or simulated by others."""
    if not SHARED.is_dir():
        pytest.skip(f"the reference data are not here: {SHARED}")
    return SHARED


@pytest.fixture(scope="module", autouse=True)
def _forget_compiled_programs():
    """Each compiled program holds pieces of mapped memory, of which a process may have only so many."""
    yield
    jax.clear_caches()
