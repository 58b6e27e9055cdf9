from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data():
    """The folder with the reference data measured or simulated by others."""
    if not SHARED.is_dir():
        pytest.skip(f"the reference data are not here: {SHARED}")
    return SHARED
