"""Who calls: kernel's word, engine's word, and nobody else's."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.docker_engine import DockerEngine, serving
from skerry.base.http import HttpError, Request
from skerry.base.peer import Peer
from skerry.engine.client import MobyEngine
from skerry.workloads.callers import Callers
from skerry.workloads.model import OWNER, OWNER_LABEL

IMAGE = "sha256:" + "a" * 64


class Processes:
    """Which process is in which container, as the kernel would say."""

    def __init__(self) -> None:
        self.containers: dict[int, str] = {}

    def container_of(self, peer: Peer) -> str | None:
        return self.containers.get(peer.pid)


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[DockerEngine]:
    with serving(DockerEngine(images={"x:1": IMAGE}), tmp_path / "docker.sock") as engine:
        yield engine


@pytest.fixture
def engine(fake: DockerEngine, tmp_path: Path) -> MobyEngine:
    return MobyEngine(f"unix://{tmp_path / 'docker.sock'}")


@pytest.fixture
def processes() -> Processes:
    return Processes()


@pytest.fixture
def callers(engine: MobyEngine, processes: Processes) -> Callers:
    return Callers(engine, "edgeAgent", processes.container_of)


def run_module(engine: MobyEngine, processes: Processes, name: str, pid: int) -> None:
    body = {"Image": "x:1", "Labels": {OWNER_LABEL: OWNER}}
    processes.containers[pid] = engine.create(name, body)


def request(pid: int, endpoint: str = "workload") -> Request:
    return Request("POST", "/", {}, {}, b"", Peer(pid, 0, 0), endpoint)


def test_a_module_is_known_by_its_container(
    callers: Callers, engine: MobyEngine, processes: Processes, fake: DockerEngine
) -> None:
    """The engine is asked once for each container."""
    run_module(engine, processes, "pump", 10)
    peer = Peer(10, 0, 0)
    assert (callers.module(peer), callers.module(peer)) == ("pump", "pump")
    assert fake.count("GET", f"/containers/{processes.containers[10]}/json") == 1


def test_a_process_of_the_host_is_no_module(callers: Callers) -> None:
    """Not even root's."""
    assert callers.module(Peer(99, 0, 0)) is None


def test_a_container_that_is_not_ours_is_no_module(
    callers: Callers, engine: MobyEngine, processes: Processes
) -> None:
    """The name alone does not make it one."""
    processes.containers[10] = engine.create("edgeAgent", {"Image": "x:1"})
    assert callers.module(Peer(10, 0, 0)) is None


def test_a_container_that_is_gone_is_no_module(callers: Callers, processes: Processes) -> None:
    """A name that the engine no longer knows belongs to nobody."""
    processes.containers[10] = "f" * 64
    assert callers.module(Peer(10, 0, 0)) is None


def test_only_the_agent_may_do_what_is_the_agent_s(
    callers: Callers, engine: MobyEngine, processes: Processes
) -> None:
    """Another module is refused, whatever user it runs as."""
    run_module(engine, processes, "edgeAgent", 10)
    run_module(engine, processes, "pump", 11)
    callers.require_agent(request(10))
    for pid in (11, 99):
        with pytest.raises(HttpError, match="only the edge agent may do this") as caught:
            callers.require_agent(request(pid))
        assert caught.value.status == 403


def test_a_module_may_ask_for_itself_only(
    callers: Callers, engine: MobyEngine, processes: Processes
) -> None:
    """On the shared socket and on its own; the dollar of a system module makes no difference."""
    run_module(engine, processes, "pump", 10)
    run_module(engine, processes, "edgeHub", 11)
    callers.require_module(request(10), "pump")
    callers.require_module(request(10, "workload:pump"), "pump")
    callers.require_module(request(11), "$edgeHub")
    for caller in (request(11), request(99), request(11, "workload:pump")):
        with pytest.raises(HttpError, match="forbidden"):
            callers.require_module(caller, "pump")


def test_the_socket_of_another_module_serves_nobody_else(
    callers: Callers, engine: MobyEngine, processes: Processes
) -> None:
    """A module that got hold of another's socket cannot use it, not even for itself."""
    run_module(engine, processes, "pump", 10)
    with pytest.raises(HttpError, match="forbidden"):
        callers.require_module(request(10, "workload:valve"), "pump")
