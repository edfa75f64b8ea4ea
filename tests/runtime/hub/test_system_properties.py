"""System properties of messages (azure-iot-edge.md §6.4), each on every way through the hub."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.edge_hub import DEVICE, HUB, EdgeHub, desired, populate
from harness.edged import until
from skerry.wire.identity import Identity
from skerry.wire.topics import decode_properties, events_topic
from skerry_lab.messages.model import Event
from skerry_lab.server import Lab

A, B = Identity(DEVICE, "a"), Identity(DEVICE, "b")

SENT = {
    "$.mid": "m 1/%",
    "$.cid": "c&=1",
    "$.uid": "u",
    "$.to": "/t",
    "$.ct": "application/json",
    "$.ce": "utf-8",
    "$.on": "out",
    "$.exp": "2026-12-24T00:00:00Z",
    "$.ctime": "2026-11-24T00:00:00Z",
    "$.schema": "s",
    "$.ifid": "i",
    "$.sub": "part",
    "iothub-ack": "full",
    "iothub-operation": "o",
}
"""What a client may say, by the names of a topic."""

ROUTED = {
    "messageId": "m 1/%",
    "correlationId": "c&=1",
    "userId": "u",
    "to": "/t",
    "contentType": "application/json",
    "contentEncoding": "utf-8",
    "outputName": "out",
    "expiryTimeUtc": "2026-12-24T00:00:00Z",
    "creationTimeUtc": "2026-11-24T00:00:00Z",
    "messageSchema": "s",
    "interfaceId": "i",
    "componentName": "part",
    "connectionDeviceId": DEVICE,
    "connectionModuleId": "a",
}
"""What routes see of it; the last two are the connection's, whatever a message says."""

ALL = " AND ".join(f"${name} = '{value}'" for name, value in ROUTED.items())


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A cloud with an edge device and its modules."""
    with Lab(tmp_path / "lab") as running:
        populate(running)
        routes = {
            "in": f'FROM /messages/* WHERE {ALL} INTO BrokeredEndpoint("/modules/b/inputs/in1")',
            "up": f"FROM /messages/* WHERE {ALL} INTO $upstream",
        }
        running.store.do(lambda cloud: cloud.twins.replace(HUB, desired=desired(routes)))
        yield running


@pytest.fixture
def hub(tmp_path: Path, lab: Lab) -> Iterator[EdgeHub]:
    """A hub that has its scope and settings."""
    with EdgeHub(tmp_path / "hub", lab) as running:
        running.until_ready()
        yield running


def arrived(lab: Lab) -> list[Event]:
    return lab.store.do(lambda cloud: list(cloud.messages.read(0, 1000, 10_000_000)))


def test_each_reaches_routes_modules_and_the_cloud(lab: Lab, hub: EdgeHub) -> None:
    """As it was sent; who sent it cannot be feigned, and names of the application stay theirs."""
    feigned = {"$.cdid": "other", "$.cmid": "other"}
    own = {"$.unknown": "1", "ct": "2", "name with = & /": "ä"}
    with hub.device(A) as sender, hub.device(B, clean_session=False) as receiver:
        for client in (sender, receiver):
            assert client.connect().code == 0
        receiver.subscribe(f"devices/{DEVICE}/modules/b/#")
        sender.publish(events_topic(DEVICE, "a", {**SENT, **feigned, **own}), b"{}")
        topic = receiver.message().topic
    start = f"devices/{DEVICE}/modules/b/inputs/in1/"
    assert topic.startswith(start)
    assert decode_properties(topic.removeprefix(start)) == {
        **SENT, **own, "$.cdid": DEVICE, "$.cmid": "a",
    }  # fmt: skip
    until(lambda: arrived(lab), "the cloud has it")
    (event,) = arrived(lab)
    assert event.telemetry.identity == A
    assert event.telemetry.properties == own
    names = ("message-id", "correlation-id", "user-id", "content-type", "content-encoding")
    said = {name: event.telemetry.system[name] for name in names}
    assert said == dict(
        zip(names, ("m 1/%", "c&=1", "u", "application/json", "utf-8"), strict=True)
    )
    assert event.telemetry.system["interface-id"] == "i"
    assert event.telemetry.system["component-name"] == "part"
    assert event.telemetry.system["creation-time-utc"] == SENT["$.ctime"]
