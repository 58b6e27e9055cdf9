import pytest


@pytest.fixture(scope="session")
def wild(shared_data):
    folder = shared_data / "files_in_the_wild"
    if not folder.is_dir():
        pytest.skip(f"the files of others are not here: {folder}")
    return folder
