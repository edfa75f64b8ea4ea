"""A device with a fake engine: its agent's image is there, nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager
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
    with running(tmp_path, engine) as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[House, DockerEngine]]:
    """The same for all tests of a module, which leave it as they found it."""
    folder = tmp_path_factory.mktemp("shared")
    fake = DockerEngine(images={AGENT_IMAGE: "sha256:" + "a" * 64})
    with serving(fake, folder / "docker.sock"), running(folder, fake) as made:
        yield made, fake


@contextmanager
def running(folder: Path, engine: DockerEngine) -> Iterator[House]:
    made = House(folder, f"unix://{folder / 'docker.sock'}")
    made.configure()
    made.host_security()
    made.host()
    try:
        until(lambda: status_of(engine, "edgeAgent") == "running", "the agent runs")
        yield made
    finally:
        made.stop()
