"""Labs of the tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.lab import Hosted
from skerry_lab.server import Lab


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[Hosted]:
    """A lab without a server."""
    lab = Hosted(tmp_path / "lab")
    yield lab
    lab.store.close()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A lab that serves on loopback."""
    with Lab(tmp_path / "lab") as running:
        yield running
