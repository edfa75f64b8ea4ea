"""What the playbook tests work with: the runtime's package."""

from pathlib import Path

import pytest

from skerry_factory.deb import build_deb


@pytest.fixture(scope="session")
def runtime_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_deb("trixie", tmp_path_factory.mktemp("deb"))
