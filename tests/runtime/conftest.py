"""The real engine of the tests marked `engine`: one for the whole run."""

from collections.abc import Iterator

import pytest

from harness.engine import Moby, missing_prerequisite, moby


@pytest.fixture(scope="session")
def real_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moby]:
    missing = missing_prerequisite()
    if missing is not None:
        pytest.skip(missing)
    with moby(tmp_path_factory.mktemp("moby")) as engine:
        yield engine
