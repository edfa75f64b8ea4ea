"""The engine through the real `docker` package against an engine that speaks the real API."""

import gc
import io
import json
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fakes.docker_engine import DockerEngine, serving
from skerry.engine.client import MobyEngine
from skerry.engine.errors import (
    EngineConflictError,
    EngineError,
    EngineNotFoundError,
    EngineUnreachableError,
    LoadError,
    PullError,
)
from skerry.engine.model import LogQuery, RegistryAuth

IMAGE = "sha256:" + "a" * 64
REFERENCE = "registry.example/pump:1.0"
OWNER = "owner=us"


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[DockerEngine]:
    with serving(DockerEngine(images={REFERENCE: IMAGE}), tmp_path / "docker.sock") as engine:
        yield engine


@pytest.fixture
def engine(fake: DockerEngine, tmp_path: Path) -> MobyEngine:
    return MobyEngine(f"unix://{tmp_path / 'docker.sock'}")


def create(engine: MobyEngine, name: str = "pump") -> str:
    return engine.create(name, {"Image": REFERENCE, "Labels": {"owner": "us"}})


def test_info_is_what_the_engine_says(engine: MobyEngine) -> None:
    """Version, system and size of the machine arrive typed."""
    info = engine.info()
    assert (info.server_version, info.cpus, info.memory_bytes) == ("20.10.24", 2, 4 << 30)


def test_the_life_of_a_container(engine: MobyEngine) -> None:
    """Created, running, stopped, removed; starting and stopping twice is fine."""
    identity = create(engine)
    created = engine.inspect("pump")
    assert (created.id, created.state.status) == (identity, "created")
    assert created.state.started_at is None
    engine.start("pump")
    engine.start("pump")
    running = engine.inspect(identity)
    assert (running.name, running.state.running) == ("pump", True)
    assert running.state.started_at == datetime(2026, 1, 1, 0, 0, 0, 500000, UTC)
    engine.restart("pump", 5)
    engine.stop("pump", 5)
    engine.stop("pump", 5)
    assert engine.inspect("pump").state.status == "exited"
    engine.remove("pump")
    with pytest.raises(EngineNotFoundError, match="No such container: pump"):
        engine.inspect("pump")


def test_a_label_selects_containers(engine: MobyEngine, fake: DockerEngine) -> None:
    """Only containers with the label are listed, stopped ones too."""
    identity = create(engine)
    engine.create("other", {"Image": REFERENCE})
    assert engine.containers(OWNER) == [identity]


def test_a_taken_name_is_a_conflict(engine: MobyEngine) -> None:
    """The engine's 409 has a class of its own."""
    create(engine)
    with pytest.raises(EngineConflictError, match="already in use"):
        create(engine)


def test_other_refusals_keep_status_and_words(engine: MobyEngine, fake: DockerEngine) -> None:
    """What the engine says reaches the caller unchanged."""
    create(engine)
    fake.refuse("/containers/pump/start", 500, "no such device: /dev/ttyUSB0")
    with pytest.raises(EngineError) as caught:
        engine.start("pump")
    assert (caught.value.status, str(caught.value)) == (500, "no such device: /dev/ttyUSB0")


def test_pull_sends_the_login_and_stores_the_image(engine: MobyEngine, fake: DockerEngine) -> None:
    """A pulled image is there; the login travels in X-Registry-Auth."""
    fake.registry["registry.example/new:2"] = IMAGE
    auth = RegistryAuth({"username": "u", "password": "p"})
    engine.pull("registry.example/new:2", auth)
    assert engine.image("registry.example/new:2").id == IMAGE
    assert fake.logins[0] != ""


def test_a_failed_pull_says_what_the_registry_said(engine: MobyEngine) -> None:
    """An error inside the progress stream is an error, although the status was 200."""
    with pytest.raises(PullError) as caught:
        engine.pull("no.example/x:1", None)
    assert str(caught.value) == (
        "image 'no.example/x:1' could not be pulled: manifest for no.example/x:1 not found; "
        "check its name, the registry's credentials and the network"
    )
    with pytest.raises(EngineNotFoundError, match=r"No such image: no\.example/x:1"):
        engine.image("no.example/x:1")


def test_a_registry_that_says_nothing_is_not_waited_for_for_ever(
    fake: DockerEngine, tmp_path: Path
) -> None:
    """The pull fails as one of a broken registry does; the engine counts as there."""
    fake.silent.add("slow.example/x:1")
    hasty = MobyEngine(f"unix://{tmp_path / 'docker.sock'}", stall_seconds=0.1)
    try:
        with pytest.raises(PullError, match=r"'slow.example/x:1' .*: nothing arrived for 0\.1 s;"):
            hasty.pull("slow.example/x:1", None)
    finally:
        fake.silence.set()


def test_an_image_goes_with_all_its_names(engine: MobyEngine, fake: DockerEngine) -> None:
    """By its id; one that is not there has the error of what is not there."""
    fake.images["other:1"] = IMAGE
    engine.remove_image(IMAGE)
    assert fake.images == {}
    with pytest.raises(EngineNotFoundError, match="No such image"):
        engine.remove_image(IMAGE)


def test_images_in_use_are_those_of_all_containers(engine: MobyEngine) -> None:
    """Whoever owns them, running or not."""
    assert engine.images_in_use() == set()
    engine.create("other", {"Image": REFERENCE})
    assert engine.images_in_use() == {IMAGE}


def archive(path: Path, reference: str) -> Path:
    config = json.dumps({"architecture": "amd64", "os": "linux"}).encode()
    manifest = json.dumps([{"Config": "c.json", "RepoTags": [reference], "Layers": []}]).encode()
    with tarfile.open(path, "w") as tar:
        for name, data in (("c.json", config), ("manifest.json", manifest)):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


def test_load_adds_the_images_of_an_archive(engine: MobyEngine, tmp_path: Path) -> None:
    """The references of the archive are known afterwards."""
    engine.load(archive(tmp_path / "a.tar", "localhost/x:1"))
    assert engine.image("localhost/x:1").id.startswith("sha256:")


def test_a_bad_archive_is_refused(engine: MobyEngine, tmp_path: Path) -> None:
    """What is not an image archive raises with the engine's words."""
    (tmp_path / "bad.tar").write_bytes(b"nonsense" * 100)
    with pytest.raises(LoadError, match=r"bad\.tar cannot be loaded: .*invalid archive"):
        engine.load(tmp_path / "bad.tar")


def test_logs_keep_their_frames(engine: MobyEngine, fake: DockerEngine) -> None:
    """Eight bytes of header before each piece: stream, three zeros, length."""
    create(engine)
    fake.containers["pump"].log = b"one\ntwo\n"
    data = b"".join(engine.logs("pump", LogQuery(tail=1)))
    assert data == b"\x01\x00\x00\x00\x00\x00\x00\x04two\n"


def test_logs_of_nobody_are_not_found(engine: MobyEngine) -> None:
    """The refusal comes at the call, not at the first piece."""
    with pytest.raises(EngineNotFoundError, match="No such container: nobody"):
        engine.logs("nobody", LogQuery())


def test_a_network_is_created_with_its_addresses(engine: MobyEngine, fake: DockerEngine) -> None:
    """Driver, IPv6 and address pools reach the engine; only the exact name counts as there."""
    ipam = {"Driver": "default", "Config": [{"Subnet": "10.9.0.0/24"}]}
    engine.create_network({"Name": "edge-2", "Driver": "bridge"})
    assert engine.networks("edge") == []
    engine.create_network({"Name": "edge", "Driver": "bridge", "IPAM": ipam, "EnableIPv6": True})
    assert len(engine.networks("edge")) == 1
    assert fake.networks["edge"]["EnableIPv6"] is True
    assert fake.networks["edge"]["IPAM"] == ipam


# the package leaves a socket to the garbage collector when it cannot connect
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_absent_engine_is_named_with_the_remedy(tmp_path: Path) -> None:
    """Nobody on the socket: the error says what to start, and a later call may succeed."""
    engine = MobyEngine(f"unix://{tmp_path / 'docker.sock'}")
    with pytest.raises(EngineUnreachableError) as caught:
        engine.info()
    gc.collect()
    assert "no such socket" in str(caught.value)
    assert "systemctl start docker" in str(caught.value)
    with serving(DockerEngine(), tmp_path / "docker.sock"):
        assert engine.info().cpus == 2


# the package leaves a socket to the garbage collector when an engine that it knew is gone
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_engine_that_went_away_is_found_again(tmp_path: Path) -> None:
    """While it is away calls fail as unreachable; when it is back the next call succeeds."""
    engine = MobyEngine(f"unix://{tmp_path / 'docker.sock'}")
    with serving(DockerEngine(), tmp_path / "docker.sock"):
        engine.info()
    with pytest.raises(EngineUnreachableError):
        engine.info()
    with serving(DockerEngine(), tmp_path / "docker.sock"):
        assert engine.info().cpus == 2
    gc.collect()


def test_wait_ends_with_the_container(engine: MobyEngine, fake: DockerEngine) -> None:
    """A caller that waits goes on as soon as the container has ended."""
    create(engine)
    engine.start("pump")
    waiting = threading.Thread(target=engine.wait, args=("pump", 30))
    waiting.start()
    wait_until(lambda: fake.count("POST", "/containers/pump/wait") == 1)
    assert waiting.is_alive()
    fake.exit("pump", 1)
    waiting.join(10)
    assert not waiting.is_alive()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
