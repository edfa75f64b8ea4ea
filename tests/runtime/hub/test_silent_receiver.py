"""A module that takes messages and never acknowledges any."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.edge_hub import DEVICE, EdgeHub, populate
from harness.mqtt import MqttDevice
from skerry.heads.delivery import WINDOW
from skerry.wire.identity import Identity
from skerry.wire.mqtt import PingReq, PingResp, PubAck, Publish
from skerry.wire.topics import events_topic
from skerry_lab.server import Lab

A, B = Identity(DEVICE, "a"), Identity(DEVICE, "b")
OUTPUT = events_topic(DEVICE, "a", {"$.on": "out"})
MORE = 30


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[EdgeHub]:
    """A hub that has its scope and settings."""
    with Lab(tmp_path / "lab") as lab:
        populate(lab)
        with EdgeHub(tmp_path / "hub", lab) as running:
            running.until_ready()
            yield running


def numbers(client: MqttDevice, count: int) -> list[int]:
    return [int(client.next(Publish).payload) for _ in range(count)]


def test_it_is_sent_no_more_than_a_window(hub: EdgeHub) -> None:
    """Its sender is served on; the rest waits, and all comes again in order to who acknowledges."""
    with hub.device(A) as sender, hub.device(B, clean_session=False) as receiver:
        for client in (sender, receiver):
            assert client.connect().code == 0
        receiver.subscribe(f"devices/{DEVICE}/modules/b/inputs/#")
        for n in range(WINDOW + MORE):
            assert isinstance(sender.publish(OUTPUT, str(n).encode()), PubAck)
        assert numbers(receiver, WINDOW) == list(range(WINDOW))
        receiver.send(PingReq())
        receiver.next(PingResp)
        assert receiver.count(Publish) == 0
    with hub.device(B, clean_session=False) as receiver:
        assert receiver.connect().code == 0
        found = [int(receiver.message().payload) for _ in range(WINDOW + MORE)]
        assert found == list(range(WINDOW + MORE))
