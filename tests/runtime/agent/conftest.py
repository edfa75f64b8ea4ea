"""The agent's site of a test."""

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.edged import FakeEdged
from harness.agents import Site
from skerry.module.lines import log_to


@pytest.fixture
def site_without_edged(tmp_path: Path) -> Iterator[Site]:
    """An agent whose edged serves only while a test has it `serving`."""
    said = io.StringIO()
    log_to(said, "info")
    yield Site(FakeEdged(), tmp_path, said)
    logging.getLogger("skerry").handlers.clear()


@pytest.fixture
def site(site_without_edged: Site) -> Iterator[Site]:
    with site_without_edged.edged.serving(site_without_edged.socket):
        yield site_without_edged
