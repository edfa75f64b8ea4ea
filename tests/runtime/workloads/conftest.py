"""A device with a fake engine: its agent's image is there, nothing else."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.docker_engine import DockerEngine, serving
from harness.edged import House, status_of, until

AGENT_IMAGE = "localhost/test/agent:1"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[DockerEngine]:
    fake = DockerEngine(images={AGENT_IMAGE: "sha256:" + "a" * 64})
    with serving(fake, tmp_path / "docker.sock"):
        yield fake


@pytest.fixture
def house(tmp_path: Path, engine: DockerEngine) -> Iterator[House]:
    """edged and what is behind it, up and with its agent running."""
    made = House(tmp_path, f"unix://{tmp_path / 'docker.sock'}")
    made.configure()
    made.host_security()
    made.host()
    try:
        until(lambda: status_of(engine, "edgeAgent") == "running", "the agent runs")
        yield made
    finally:
        made.stop()
