"""User names, api-versions, filters, topics and bags of the SDKs that are not run here.

Each plays a module by its own forms, once at the edge hub and once at the lab. Sources:
device-sdk-wire.md §4.1, §4.2; azure-iot-edge.md §6.4 (the forms of upstream's templates, with and
without a slash at the end, stand for SDKs of which no capture is kept, Java's among them).
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest

from harness.edge_hub import DEVICE, EdgeHub, key_of, populate
from harness.edged import until
from harness.mqtt import ClosedError, MqttDevice
from skerry.wire.identity import Identity
from skerry.wire.mqtt import Publish
from skerry.wire.topics import DESIRED, METHODS, TWIN_RESPONSES, TwinResponse, parse_hub_topic
from skerry_lab.server import Lab

A, B = Identity(DEVICE, "a"), Identity(DEVICE, "b")
OWN = f"devices/{DEVICE}/modules"

Dial = Callable[..., MqttDevice]


@dataclass(frozen=True)
class Sdk:
    """How an SDK writes; `user` and `events` take what differs by identity and message."""

    name: str
    user: str
    inputs: str
    events: str
    request_id: str
    keep_alive_seconds: int = 60
    clean_session: bool = False

    @contextmanager
    def connect(self, dial: Dial, identity: Identity) -> Iterator[MqttDevice]:
        with dial(
            identity, clean_session=self.clean_session, keep_alive_seconds=self.keep_alive_seconds
        ) as client:
            user = self.user.format(host=client.lab.hub_name, client=identity)
            assert client.connect(username=user).code == 0
            yield client


SDKS = [
    Sdk(
        "C#",
        "{host}/{client}/?api-version=2020-09-30&DeviceClientType=.NET%2F1.42%20%28.NET%206%29",
        "#",
        "%24.on=out&%24.mid={mid}&%24.ct=application%2Fjson&%24.ce=utf-8&my%20key=%C3%BC%2F1",
        "5c9c3c4e-6b47-4d09-95d4-3f39a4b7e6a5",
        300,
        clean_session=True,
    ),
    Sdk(
        "C",
        "{host}/{client}/?api-version=2020-09-30&DeviceClientType=iothubclient%2F1.13",
        "#",
        "%24.ct=application%2Fjson&%24.ce=utf-8&%24.on=out&%24.mid={mid}&my%20key=%C3%BC%2F1/",
        "7",
        240,
    ),
    Sdk(
        "Node",
        "{host}/{client}/?api-version=2021-04-12&DeviceClientType=azure-iot-device%2F1.18.4",
        "inputs/#",
        "my%20key=%C3%BC%2F1&%24.on=out&%24.mid={mid}&%24.ct=application%2Fjson&%24.ce=utf-8",
        "d2c5b6a0-9a1f-4f0d-8f7d-0c4f1b1e2a3b",
        180,
    ),
    Sdk(
        "plug and play",
        "{host}/{client}/?api-version=2020-09-30&DeviceClientType=x&model-id=dtmi%3Acom%3Ax%3B1",
        "inputs/#",
        "$.on=out&$.mid={mid}&$.ct=application%2Fjson&$.ce=utf-8&my%20key=%C3%BC%2F1&%24.sub=part",
        "0",
    ),
    Sdk(
        "no question mark",
        "{host}/{client}/api-version=2018-06-30",
        "inputs/+/#",
        "my%20key=%C3%BC%2F1&$.ce=utf-8&$.ct=application%2Fjson&$.mid={mid}&$.on=out/",
        "a-b",
        1740,
    ),
]
by_sdk = pytest.mark.parametrize("sdk", SDKS, ids=lambda sdk: sdk.name)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A cloud that knows the modules."""
    with Lab(tmp_path_factory.mktemp("lab")) as running:
        populate(running)
        yield running


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, lab: Lab) -> Iterator[EdgeHub]:
    """A hub that has its scope and settings."""
    with EdgeHub(tmp_path_factory.mktemp("hub"), lab) as running:
        running.until_ready()
        yield running


@dataclass(frozen=True)
class Place:
    """Where clients connect, and the cloud of it; no hub when that is the lab itself."""

    lab: Lab
    dial: Dial
    hub: EdgeHub | None


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A cloud without a hub below it, which would connect as its clients."""
    with Lab(tmp_path_factory.mktemp("alone")) as running:
        populate(running)
        yield running


@pytest.fixture(params=["hub", "alone"])
def place(request: pytest.FixtureRequest) -> Place:
    """The hub and the lab, one after the other."""
    found = request.getfixturevalue(request.param)
    if isinstance(found, EdgeHub):
        return Place(found.lab, found.device, found)

    def dial(identity: Identity, **changes: Any) -> MqttDevice:
        return MqttDevice(found, identity, key_of(found, identity), **changes)

    return Place(found, dial, None)


def found_in(lab: Lab, message_id: str) -> bool:
    events = lab.store.do(lambda cloud: list(cloud.messages.read(0, 1000, 10_000_000)))
    for event in events:
        telemetry = event.telemetry
        if telemetry.system.get("message-id") == message_id:
            assert telemetry.identity == A
            assert telemetry.properties == {"my key": "ü/1"}
            assert telemetry.system["content-type"] == "application/json"
            assert telemetry.system["content-encoding"] == "utf-8"
            return True
    return False


def heard(client: MqttDevice, start: str) -> Publish:
    """Return the next message of a topic; sessions that are kept hear more than one asks for."""
    while not (found := client.message()).topic.startswith(start):
        continue
    return found


@by_sdk
def test_messages(sdk: Sdk, place: Place, request: pytest.FixtureRequest) -> None:
    """Whatever the order and encoding of the bag, the cloud has the same of it."""
    message_id = request.node.callspec.id
    with sdk.connect(place.dial, A) as client:
        client.publish(
            f"{OWN}/a/messages/events/{sdk.events.format(mid=quote(message_id, safe=''))}", b"{}"
        )
    until(lambda: found_in(place.lab, message_id), "the message has arrived")


@by_sdk
def test_inputs(sdk: Sdk, hub: EdgeHub) -> None:
    """The filter of each gets what a route leads to its input."""
    with sdk.connect(hub.device, B) as receiver, sdk.connect(hub.device, A) as sender:
        assert receiver.subscribe(f"{OWN}/b/{sdk.inputs}") == (1,)
        bag = sdk.events.format(mid=f"in-{sdk.request_id}")
        sender.publish(f"{OWN}/a/messages/events/{bag}", sdk.name.encode())
        while (found := heard(receiver, f"{OWN}/b/inputs/in1/")).payload != sdk.name.encode():
            continue  # of a test before
        assert {
            "my%20key=%C3%BC%2F1",
            "%24.ct=application%2Fjson",
            "%24.cdid=edge",
            "%24.cmid=a",
        } <= set(found.topic.rsplit("/", 1)[1].split("&"))


@by_sdk
def test_twins(sdk: Sdk, place: Place) -> None:
    """Request ids come back as they went, numbers and GUIDs; a blank or no payload asks."""
    with sdk.connect(place.dial, B) as client:
        client.subscribe(TWIN_RESPONSES)
        client.subscribe(DESIRED)
        for payload in (b"", b" "):
            client.publish(f"$iothub/twin/GET/?$rid={sdk.request_id}", payload)
            answer = heard(client, "$iothub/twin/res/")
            assert parse_hub_topic(answer.topic) == TwinResponse(200, sdk.request_id, None)
            assert set(json.loads(answer.payload)) == {"desired", "reported"}
        topic = f"$iothub/twin/PATCH/properties/reported/?$rid={sdk.request_id}"
        client.publish(topic, json.dumps({"by": sdk.name}).encode())
        told = parse_hub_topic(heard(client, "$iothub/twin/res/").topic)
        assert isinstance(told, TwinResponse)
        assert (told.status, told.request_id) == (204, sdk.request_id)


@by_sdk
def test_methods(sdk: Sdk, place: Place) -> None:
    """The answer's status stands in the topic, with and without a slash after it."""
    with sdk.connect(place.dial, B) as client:
        client.subscribe(METHODS)
        if (hub := place.hub) is not None:
            until(lambda: hub.cloud.get(B).is_connected, "the cloud reaches the module")
        link = place.lab.live.links.get(B)
        assert link is not None
        for tail in ("/", ""):
            answer = place.lab.submit(link.call("blink", b"{}", 10.0))
            request_id = heard(client, "$iothub/methods/POST/blink/").topic.partition("$rid=")[2]
            client.publish(f"$iothub/methods/res/200{tail}?$rid={request_id}", b"1")
            assert answer.result(10) == (200, b"1")


@pytest.mark.parametrize(
    "topic",
    [
        f"{OWN}/b/messages/events/",
        "devices/leaf/messages/events/",
        f"{OWN}/a/messages/other/",
        "$iothub/twin/PUT/?$rid=1",
    ],
)
def test_other_topics_end_the_connection(topic: str, place: Place) -> None:
    """Of another identity, or none of IoT Hub's."""
    with SDKS[0].connect(place.dial, A) as client, pytest.raises(ClosedError):
        client.publish(topic, b"{}")
