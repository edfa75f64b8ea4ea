"""An appliance with two modules and two leaf devices: cut off, rebooted, reconnected, accounted."""

import json
from collections.abc import Iterator

import pytest

from harness.edged import until
from harness.plant import LEAVES, MODULES, Plant, running_plant
from harness.site import NAME

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]

SOURCES = (*(f"{NAME}/{name}" for name in MODULES), *LEAVES)
MORE = 20
TRACED = 20
SECONDS = 180
PORT = 9999


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    with running_plant(tmp_path_factory.mktemp("plant")) as running:
        yield running


def test_the_ledger_accounts_for_every_message(plant: Plant) -> None:
    """Cut off, rebooted without the cloud, reconnected: nothing acknowledged was lost."""
    until(lambda: all(plant.arrived(one) for one in SOURCES), "all are heard", seconds=SECONDS)
    plant.lose_cloud()
    takes_more(plant)
    heard = {one: len(plant.arrived(one)) for one in SOURCES}
    waiting = peeked(plant)
    plant.reboot()
    takes_more(plant)
    assert {one: len(plant.arrived(one)) for one in SOURCES} == heard
    plant.reach_cloud()
    sent = {name: leaf.tell("stop")["sent"] for name, leaf in plant.leaves.items()}
    until(lambda: not plant.waiting(), "nothing waits any more", seconds=SECONDS)
    for name, count in sent.items():
        arrived = [int(event.telemetry.body) for event in plant.arrived(name)]
        assert list(dict.fromkeys(arrived))[:count] == list(range(count)), name
    for one in waiting:
        assert traced(plant, one) == ["received", "stored", "delivered"]
    counts = plant.ledger()
    assert counts["received"] == counts["stored"]
    assert counts["dropped"] == 0
    assert counts["delivered"] <= sum(len(plant.arrived(one)) for one in SOURCES)


def test_only_the_hub_can_be_reached_from_outside(plant: Plant) -> None:
    """What listens on the appliance without being asked for is not reached; the hub's ports are."""
    plant.sh(f"systemd-run --quiet python3 -m http.server {PORT}")
    plant.device.wait_for("sh", "-c", f"ss -Hltn | grep -q :{PORT}")
    assert {port: plant.is_open(port) for port in (443, 8883, PORT)} == {
        443: True,
        8883: True,
        PORT: False,
    }


def takes_more(plant: Plant) -> None:
    """Wait until the hub keeps more of everybody than it does now; nothing leaves it meanwhile."""
    before = plant.waiting()

    def all_more() -> bool:
        now = plant.waiting()
        return all(now[one] > before[one] + MORE for one in SOURCES)

    until(all_more, "the hub takes messages of everybody", seconds=SECONDS)


def peeked(plant: Plant) -> list[str]:
    """Return the ids of the messages that go next to the cloud."""
    command = f"skerry hub peek upstream --limit {TRACED} --output json"
    return [message["id"] for message in json.loads(plant.sh(command))["messages"]]


def traced(plant: Plant, message_id: str) -> list[str]:
    """Return what happened to a message, in order."""
    found = json.loads(plant.sh(f"skerry hub trace {message_id} --output json"))
    return [event["kind"] for event in found["events"]]
