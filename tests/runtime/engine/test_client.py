"""The engine through the real `docker` package against an engine that speaks the real API."""

import gc
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.docker_engine import DockerEngine, serving
from skerry.engine.client import MobyEngine
from skerry.engine.errors import (
    ConflictError,
    EngineError,
    EngineUnreachableError,
    ImageError,
    NotFoundError,
)
from skerry.engine.model import AddressPool, LogOptions, Network, RegistryAuth, State

IMAGE = "sha256:" + "a" * 64
REFERENCE = "registry.example/pump:1.0"
OWNER = "owner=us"


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[DockerEngine]:
    with serving(DockerEngine(images={REFERENCE: IMAGE}), tmp_path / "docker.sock") as engine:
        yield engine


@pytest.fixture
def engine(fake: DockerEngine, tmp_path: Path) -> Iterator[MobyEngine]:
    engine = MobyEngine(f"unix://{tmp_path / 'docker.sock'}")
    yield engine
    engine.close()


def create(engine: MobyEngine, name: str = "pump") -> str:
    return engine.create(name, {"Image": REFERENCE, "Labels": {"owner": "us"}})


def test_info_is_what_the_engine_says(engine: MobyEngine) -> None:
    """Version, system and size of the machine arrive typed."""
    info = engine.info()
    assert (info.server_version, info.cpus, info.total_memory_bytes) == ("20.10.24", 2, 4 << 30)


def test_the_life_of_a_container(engine: MobyEngine) -> None:
    """Created, running, stopped, removed; starting and stopping twice is fine."""
    identity = create(engine)
    created = engine.container("pump")
    assert (created.id, created.state, created.started) == (identity, State.CREATED, None)
    engine.start("pump")
    engine.start("pump")
    running = engine.container(identity)
    assert (running.name, running.state) == ("pump", State.RUNNING)
    assert running.started == "2026-01-01T00:00:00.5Z"
    engine.restart("pump", 5)
    engine.stop("pump", 5)
    engine.stop("pump", 5)
    assert engine.container("pump").state is State.EXITED
    engine.remove("pump")
    with pytest.raises(NotFoundError, match="No such container: pump"):
        engine.container("pump")


def test_a_label_selects_containers(engine: MobyEngine, fake: DockerEngine) -> None:
    """Only containers with the label are listed, stopped ones too."""
    create(engine)
    engine.create("other", {"Image": REFERENCE})
    assert engine.containers(OWNER) == ("pump",)


def test_a_taken_name_is_a_conflict(engine: MobyEngine) -> None:
    """The engine's 409 has a class of its own."""
    create(engine)
    with pytest.raises(ConflictError, match="already in use"):
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
    image = engine.image("registry.example/new:2")
    assert image is not None
    assert image.id == IMAGE
    assert fake.logins[0] != ""


def test_a_failed_pull_says_what_the_registry_said(engine: MobyEngine) -> None:
    """An error inside the progress stream is an error, although the status was 200."""
    with pytest.raises(ImageError, match=r"pulling no\.example/x:1: manifest .* not found"):
        engine.pull("no.example/x:1", None)
    assert engine.image("no.example/x:1") is None


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
    assert engine.image("localhost/x:1") is not None


def test_a_bad_archive_is_refused(engine: MobyEngine, tmp_path: Path) -> None:
    """What is not an image archive raises with the engine's words."""
    (tmp_path / "bad.tar").write_bytes(b"nonsense" * 100)
    with pytest.raises(EngineError, match="invalid archive"):
        engine.load(tmp_path / "bad.tar")


def test_logs_keep_their_frames(engine: MobyEngine, fake: DockerEngine) -> None:
    """Eight bytes of header before each piece: stream, three zeros, length."""
    create(engine)
    fake.containers["pump"].log = b"one\ntwo\n"
    data = b"".join(engine.logs("pump", LogOptions(tail="1")))
    assert data == b"\x01\x00\x00\x00\x00\x00\x00\x04two\n"


def test_logs_of_nobody_are_not_found(engine: MobyEngine) -> None:
    """The refusal comes at the call, not at the first piece."""
    with pytest.raises(NotFoundError, match="No such container: nobody"):
        engine.logs("nobody", LogOptions())


def test_a_network_is_created_with_its_addresses(engine: MobyEngine, fake: DockerEngine) -> None:
    """Driver, IPv6 and address pools reach the engine."""
    engine.create_network(Network("edge", ipv6=True, pools=(AddressPool(subnet="10.9.0.0/24"),)))
    assert engine.networks() == ("edge",)
    assert fake.networks["edge"]["EnableIPv6"] is True
    assert fake.networks["edge"]["IPAM"] == {
        "Driver": "default",
        "Config": [{"Subnet": "10.9.0.0/24"}],
    }


def test_wait_returns_when_the_container_is_gone(engine: MobyEngine, fake: DockerEngine) -> None:
    """A container that does not run, or does not exist, is not waited for; time limits hold."""
    create(engine)
    engine.wait("pump", 30)
    engine.wait("nobody", 30)
    engine.start("pump")
    engine.wait("pump", 1)
    assert engine.container("pump").state is State.RUNNING


def test_an_absent_engine_is_named_with_the_remedy(tmp_path: Path) -> None:
    """Nobody on the socket: the error says what to start, and a later call may succeed."""
    engine = MobyEngine(f"unix://{tmp_path / 'docker.sock'}")
    with pytest.raises(EngineUnreachableError) as caught:
        engine.info()
    assert "No such file or directory" in str(caught.value)
    assert "systemctl start docker" in str(caught.value)
    with serving(DockerEngine(), tmp_path / "docker.sock"):
        assert engine.info().cpus == 2
    engine.close()


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
    engine.close()
    gc.collect()
