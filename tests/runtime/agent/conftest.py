"""The agent's site of a test."""

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.edged import FakeEdged
from harness.agents import Site
from skerry.agent.lines import log_to


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    edged = FakeEdged()
    said = io.StringIO()
    log_to(said, "info")
    with edged.serving(tmp_path / "mgmt.sock"):
        yield Site(edged, tmp_path, said)
    logging.getLogger("skerry").handlers.clear()
