"""edged while its engine is killed and comes back, and edged killed while containers run."""

import random
import time
from collections.abc import Iterator
from typing import Any

import pytest

from harness.edged import House, until
from harness.engine import IMAGE, SLEEPING_AGENT, Moby, borrowed, missing_prerequisite, moby
from harness.tiers import Counts
from skerry.base.client import ApiError, UnreachableError

pytestmark = pytest.mark.engine

OTHERS = ("pump", "valve")
AWAY_SECONDS = 3.0


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moby]:
    """An engine as the appliance configures it: containers outlive it."""
    missing = missing_prerequisite()
    if missing is not None:
        pytest.skip(missing)
    with moby(tmp_path_factory.mktemp("moby"), options=("--live-restore",)) as made:
        yield made


@pytest.fixture
def house(engine: Moby, tmp_path: Any) -> Iterator[House]:
    """A device with its agent and two modules of it running."""
    made = House(tmp_path, engine.uri)
    made.configure(SLEEPING_AGENT)
    made.host_security()
    made.spawn(log_level="info")
    try:
        until(lambda: made.modules().get("edgeAgent") == "running", "the agent runs")
        labels = engine.api.inspect_container("edgeAgent")["Config"]["Labels"]
        owner = "net.azure-devices.edge.owner"
        for name in OTHERS:
            body = {
                "Image": IMAGE,
                "Labels": {owner: labels[owner]},
                "StopSignal": "SIGKILL",
                **borrowed("/bin/sleep", "3600"),
            }
            engine.api.create_container_from_config(body, name)
            engine.api.start(name)
        yield made
    finally:
        engine.daemon.start()
        made.stop()
        until(engine.api.ping, "the engine is there")
        engine.remove_containers()


def lives(engine: Moby) -> dict[str, tuple[str, str]]:
    """Return of every container its id and when it was last started."""
    found = (engine.api.inspect_container(name) for name in ("edgeAgent", *OTHERS))
    return {one["Name"]: (one["Id"], one["State"]["StartedAt"]) for one in found}


def statuses(house: House) -> dict[str, str]:
    try:
        return house.modules()
    except (ApiError, UnreachableError):
        return {}


def test_an_engine_that_is_away_is_said_so_and_waited_for(house: House, engine: Moby) -> None:
    """Every call that needs it answers 503 with the reason; nothing is restarted; edged goes on."""
    before = lives(engine)
    assert house.process is not None
    engine.daemon.kill()
    ends = time.monotonic() + AWAY_SECONDS
    client = house.client()
    while time.monotonic() < ends:
        for method, path in (
            ("get", "/modules"),
            ("get", "/modules/pump"),
            ("get", "/modules/pump/logs"),
            ("post", "/modules/pump/restart"),
        ):
            with pytest.raises(ApiError, match=r"engine at .* does not answer") as away:
                getattr(client, method)(path)
            assert away.value.status == 503
        info: Any = client.get("/systeminfo")
        assert info["server_version"] == ""
    assert house.process.poll() is None
    engine.daemon.start()
    until(lambda: statuses(house) == dict.fromkeys(("edgeAgent", *OTHERS), "running"), "all run")
    assert lives(engine) == before
    info = client.get("/systeminfo")
    assert info["server_version"]
    client.post("/modules/pump/restart")
    assert statuses(house)["pump"] == "running"


def test_an_edged_that_is_killed_at_any_moment_restarts_nothing(
    house: House, engine: Moby, counts: Counts
) -> None:
    """Whether it has just been started, looks at containers, or answers: the same ones run on."""
    before = lives(engine)
    chance = random.Random(5)  # noqa: S311  # a test's moments
    for _ in range(counts.of("edged killed while containers run", reduced=3, full=40)):
        process = house.process
        assert process is not None
        process.kill()
        process.wait()
        house.spawn(log_level="info")
        time.sleep(chance.uniform(0, 0.5))
    until(lambda: statuses(house) == dict.fromkeys(("edgeAgent", *OTHERS), "running"), "all run")
    until(lambda: (house.state / "mnt/pump/workload.sock").is_socket(), "sockets are back")
    assert lives(engine) == before


def test_an_edged_that_starts_without_its_engine_waits_for_it(house: House, engine: Moby) -> None:
    """Its sockets answer from the first moment, and it finds everything as it was."""
    before = lives(engine)
    house.stop_edged()
    engine.daemon.kill()
    house.spawn(log_level="info")
    with pytest.raises(ApiError, match="does not answer"):
        house.client().get("/modules")
    until(lambda: "waiting step=" in house.log(), "edged says what it waits for")
    engine.daemon.start()
    until(lambda: statuses(house) == dict.fromkeys(("edgeAgent", *OTHERS), "running"), "all run")
    assert lives(engine) == before
