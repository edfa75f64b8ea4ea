"""The engine's client against a real Moby."""

from collections.abc import Iterator

import pytest

from harness.engine import IMAGE, Moby, borrowed
from skerry.base.frames import split_frames
from skerry.engine.client import MobyEngine
from skerry.engine.errors import EngineConflictError, EngineNotFoundError, PullError
from skerry.engine.model import LogQuery

pytestmark = pytest.mark.engine


@pytest.fixture
def engine(real_engine: Moby) -> Iterator[MobyEngine]:
    yield MobyEngine(real_engine.uri)
    real_engine.remove_containers()


def create(engine: MobyEngine, name: str, script: str) -> str:
    options = borrowed("/bin/sh", "-c", script)
    return engine.create(name, {"Image": IMAGE, "Labels": {"owner": "us"}, **options})


def test_the_life_of_a_container(engine: MobyEngine) -> None:
    """Created, running, stopped, removed; starting and stopping twice is fine."""
    identity = create(engine, "pump", "exec sleep 300")
    assert engine.containers("owner=us") == [identity]
    engine.start("pump")
    engine.start("pump")
    running = engine.inspect("pump")
    assert (running.state.running, running.image, running.name) == (True, IMAGE, "pump")
    assert running.state.started_at is not None
    engine.stop("pump", 0)
    engine.stop("pump", 0)
    stopped = engine.inspect(identity).state
    assert (stopped.status, stopped.exit_code) == ("exited", 137)
    engine.restart("pump", 0)
    assert engine.inspect("pump").state.running
    engine.remove("pump")
    with pytest.raises(EngineNotFoundError, match="No such container: pump"):
        engine.inspect("pump")


def test_logs_keep_their_frames(engine: MobyEngine) -> None:
    """Both streams arrive in Docker's frames; a followed log ends with its container."""
    create(engine, "talker", "echo one; echo two >&2")
    engine.start("talker")
    pieces = list(split_frames(engine.logs("talker", LogQuery(follow=True))))
    assert sorted(pieces) == [(1, b"one\n"), (2, b"two\n")]


def test_logs_can_be_ended_by_another_thread(engine: MobyEngine) -> None:
    """Closing a followed log ends it, although the container goes on."""
    create(engine, "talker", "echo one; exec sleep 300")
    engine.start("talker")
    stream = engine.logs("talker", LogQuery(follow=True))
    pieces = iter(stream)
    assert next(pieces).endswith(b"one\n")
    stream.close()
    assert list(pieces) == []


def test_names_and_images_that_do_not_fit(engine: MobyEngine) -> None:
    """A taken name, a missing image and an unreachable registry each have their error."""
    create(engine, "pump", "true")
    with pytest.raises(EngineConflictError, match="already in use"):
        create(engine, "pump", "true")
    with pytest.raises(EngineNotFoundError, match="No such image"):
        engine.create("other", {"Image": "localhost/none:1"})
    with pytest.raises(PullError, match="could not be pulled"):
        engine.pull("localhost:1/none:1", None)


def test_a_network_is_made_once_and_found_by_its_exact_name(engine: MobyEngine) -> None:
    """The created network is found; part of its name finds nothing."""
    engine.create_network({"Name": "test-network", "Driver": "bridge"})
    assert len(engine.networks("test-network")) == 1
    assert engine.networks("test-net") == []


def test_a_sample_of_use_comes_from_a_running_container(engine: MobyEngine) -> None:
    """Docker's own JSON, with the memory in use."""
    create(engine, "pump", "exec sleep 300")
    engine.start("pump")
    assert "memory_stats" in engine.stats("pump")


def test_wait_returns_when_a_container_ends_or_time_is_over(engine: MobyEngine) -> None:
    """A container that ended, or does not exist, is not waited for; one that runs only so long."""
    create(engine, "pump", "read line")
    engine.start("pump")
    engine.wait("pump", 30)
    assert not engine.inspect("pump").state.running
    engine.wait("nobody", 30)
    create(engine, "sleeper", "exec sleep 300")
    engine.start("sleeper")
    engine.wait("sleeper", 1)
    assert engine.inspect("sleeper").state.running


def test_a_part_of_the_logs_is_chosen_by_count_and_time(engine: MobyEngine) -> None:
    """The last lines, those since or until a moment, and each with its time in front."""
    create(engine, "talker", "echo one; sleep 1.2; echo two; echo three")
    engine.start("talker")
    engine.wait("talker", 30)

    def lines(**query: object) -> list[bytes]:
        made = LogQuery(**query)  # type: ignore[arg-type]  # a test's own words
        return [data for _, data in split_frames(engine.logs("talker", made))]

    assert lines(tail=1) == [b"three\n"]
    assert lines(tail=0) == []
    started = engine.inspect("talker").state.started_at
    assert started is not None
    middle = started.timestamp() + 0.8
    assert lines(since=middle) == [b"two\n", b"three\n"]
    assert lines(until=middle) == [b"one\n"]
    assert lines(timestamps=True, tail=1)[0].endswith(b"Z three\n")
