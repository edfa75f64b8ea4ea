"""An edge hub between its clients and a lab cloud, packet by packet over TLS."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.edge_hub import DEVICE, HUB, ROUTES, EdgeHub, desired, populate
from harness.edged import until
from harness.mqtt import MqttDevice
from skerry.wire.identity import Identity
from skerry.wire.mqtt import ConnAck
from skerry.wire.topics import (
    DESIRED,
    METHODS,
    TWIN_RESPONSES,
    events_topic,
    method_response_topic,
    parse_hub_topic,
    reported_topic,
    twin_get_topic,
)
from skerry_lab.messages.model import Event, Outgoing
from skerry_lab.server import Lab

A, B, LEAF = Identity(DEVICE, "a"), Identity(DEVICE, "b"), Identity("leaf")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A cloud with an edge device, its modules and a leaf."""
    with Lab(tmp_path / "lab") as running:
        populate(running)
        yield running


@pytest.fixture
def hub(tmp_path: Path, lab: Lab) -> Iterator[EdgeHub]:
    """A hub that has its scope and settings."""
    with EdgeHub(tmp_path / "hub", lab) as running:
        running.until_ready()
        yield running


def open_client(device: MqttDevice) -> MqttDevice:
    device.open()
    assert device.connect().code == 0
    return device


def arrived(lab: Lab) -> list[Event]:
    return lab.store.do(lambda cloud: list(cloud.messages.read(0, 1000, 10_000_000)))


def test_messages_of_modules_and_leaves_reach_the_cloud_as_theirs(lab: Lab, hub: EdgeHub) -> None:
    """Properties and body as they were sent, each under the identity of its sender."""
    for identity in (A, LEAF):
        with hub.device(identity) as client:
            assert client.connect() == ConnAck()
            topic = events_topic(identity.device_id, identity.module_id, {"t": "2 1", "$.ct": "x"})
            client.publish(topic, b"21.5")
    until(lambda: len(arrived(lab)) == 2, "both have arrived")
    found = {event.telemetry.identity: event.telemetry for event in arrived(lab)}
    assert set(found) == {A, LEAF}
    for telemetry in found.values():
        assert (telemetry.body, telemetry.properties["t"]) == (b"21.5", "2 1")
        assert telemetry.system["content-type"] == "x"


def test_a_module_hears_another(hub: EdgeHub) -> None:
    """By a route to its input; what it has not acknowledged comes again."""
    output = events_topic(DEVICE, "a", {"$.on": "out", "n": "1"})
    with hub.device(A) as sender, hub.device(B, clean_session=False) as receiver:
        for client in (sender, receiver):
            assert client.connect().code == 0
        assert receiver.subscribe(f"devices/{DEVICE}/modules/b/#") == (1,)
        sender.publish(output, b"first")
        found = receiver.message()
        assert found.payload == b"first"
        assert found.topic.startswith(f"devices/{DEVICE}/modules/b/inputs/in1/")
        assert "n=1" in found.topic
        assert "%24.cmid=a" in found.topic
        sender.publish(output, b"second")
        assert receiver.next(type(found)).payload == b"second"  # and no acknowledgement
    with hub.device(B, clean_session=False) as receiver:
        assert receiver.connect() == ConnAck(0, session_present=True)
        assert receiver.message().payload == b"second"


def test_nobody_is_taken_before_there_are_routes(lab: Lab, tmp_path: Path) -> None:
    """A message would be acknowledged and have nowhere to go."""
    lab.store.do(lambda cloud: cloud.twins.patch(HUB, desired={"routes": None}))
    lab.store.do(lambda cloud: cloud.twins.patch(HUB, desired={"schemaVersion": None}))
    with EdgeHub(tmp_path / "hub", lab) as hub:
        until(lambda: len(hub.hub.scope.clients) > 2, "the hub has its scope")
        until(lambda: hub.hub.refusal, "the hub has seen its settings")
        with hub.device(LEAF) as client:
            assert client.connect().code == 3
        lab.store.do(lambda cloud: cloud.twins.patch(HUB, desired=desired()))
        hub.until_ready()
        with hub.device(LEAF) as client:
            assert client.connect().code == 0


def test_more_clients_than_allowed_are_refused(lab: Lab, tmp_path: Path) -> None:
    """Who is connected may connect again; who was refused is let in when there is room."""
    with EdgeHub(tmp_path / "hub", lab, most_clients=1) as hub:
        hub.until_ready()
        with hub.device(LEAF) as first:
            assert first.connect().code == 0
            with hub.device(A) as refused:
                assert refused.connect().code == 3
            with hub.device(LEAF) as again:
                assert again.connect().code == 0
        until(lambda: is_let_in(hub), "there is room for the module")


def is_let_in(hub: EdgeHub) -> bool:
    with hub.device(A) as client:
        return client.connect().code == 0


def test_strangers_are_not_served(hub: EdgeHub) -> None:
    """A device of the cloud that is not below this hub."""
    with hub.device(Identity("stranger")) as client:
        assert client.connect().code == 5


def test_a_device_that_is_deleted_has_to_go(lab: Lab, hub: EdgeHub) -> None:
    """When the scope is read again."""
    with hub.device(LEAF) as client:
        assert client.connect().code == 0
        lab.registry.delete_device("leaf")
        hub.ask(refreshed(hub))
        assert client.is_closed()


async def refreshed(hub: EdgeHub) -> None:
    hub.hub.refresh_scope()


def test_twins(lab: Lab, hub: EdgeHub) -> None:
    """Asked for, changed from above, and reported."""
    with hub.device(A) as client:
        assert client.connect().code == 0
        client.subscribe(TWIN_RESPONSES, DESIRED)
        client.publish(twin_get_topic("1"))
        document = json.loads(client.message().payload)
        assert document["desired"]["$version"] == 1
        lab.store.do(lambda cloud: cloud.twins.patch(A, desired={"interval": 5}))
        told = client.message()
        assert json.loads(told.payload) == {"interval": 5, "$version": 2}
        client.publish(reported_topic("2"), b'{"interval": 5}')
        answer = client.message()
        assert parse_hub_topic(answer.topic).status == 204  # type: ignore[union-attr]

    def has_report() -> bool:
        twin = lab.store.do(lambda cloud: cloud.twins.document(A))
        return bool(twin["reported"].get("interval") == 5)  # type: ignore[attr-defined]

    until(has_report, "the cloud has what the module reported")


def test_reported_properties_are_routed(lab: Lab, hub: EdgeHub) -> None:
    """As a message of their client: the patch to a module's input, if the route wants it."""
    into = 'INTO BrokeredEndpoint("/modules/b/inputs/changes")'
    where = "WHERE twin_change_includes(properties.reported.fan)"
    routes = {"changes": f"FROM /twinChangeNotifications/* {where} {into}"}
    hub.ask(used(hub, desired(routes)))
    with hub.device(A) as reporter, hub.device(B) as receiver:
        for client in (reporter, receiver):
            assert client.connect().code == 0
        receiver.subscribe(f"devices/{DEVICE}/modules/b/#")
        reporter.subscribe(TWIN_RESPONSES)
        for request, patch in (("1", b'{"interval":5}'), ("2", b'{"fan":{"on":null}}')):
            reporter.publish(reported_topic(request), patch)
            assert parse_hub_topic(reporter.message().topic).status == 204  # type: ignore[union-attr]
        found = receiver.message()
        assert found.payload == b'{"fan":{"on":null}}'
        assert found.topic.startswith(f"devices/{DEVICE}/modules/b/inputs/changes/")
        for part in ("%24.cmid=a", "%24.schema=twinChangeNotification"):
            assert part in found.topic


def test_limits_of_the_settings_are_in_force(hub: EdgeHub) -> None:
    """A store of 1,000 bytes that keeps the newest: the first of many is gone."""
    limits = {"storeLimits": {"maxSizeBytes": 1000}, "whenFull": "drop-oldest-lowest-priority"}
    document = desired()
    document["storeAndForwardConfiguration"] = {"timeToLiveSecs": 7200, **limits}
    document["routes"] = {"in": ROUTES["in"]}
    hub.ask(used(hub, document))
    with hub.device(A) as sender, hub.device(B) as receiver:
        for client in (sender, receiver):
            assert client.connect().code == 0
        for n in range(10):
            sender.publish(events_topic(DEVICE, "a", {"$.on": "out"}), f"{n:0100}".encode())
        receiver.subscribe(f"devices/{DEVICE}/modules/b/#")
        found = [int(receiver.message().payload)]
        while found[-1] < 9:
            found.append(int(receiver.message().payload))
        assert found == list(range(found[0], 10))
        assert found[0] > 0


async def used(hub: EdgeHub, document: object) -> None:
    hub.hub.use(document)


def test_a_method_and_a_message_from_the_cloud(lab: Lab, hub: EdgeHub) -> None:
    """Both reach the leaf, and its answer the cloud."""
    with hub.device(LEAF) as client:
        assert client.connect().code == 0
        client.subscribe(METHODS, "devices/leaf/messages/devicebound/#")
        until(lambda: hub.cloud.get(LEAF).is_connected, "the cloud reaches the leaf")
        lab.store.do(lambda c: c.messages.send(Outgoing(LEAF, b"hello", {}, {"a": "b"})))
        found = client.message()
        assert found.payload == b"hello"
        assert found.topic.endswith("a=b")
        link = lab.live.links.get(LEAF)
        assert link is not None
        answer = lab.submit(link.call("blink", b"{}", 10.0))
        called = client.message()
        call = parse_hub_topic(called.topic)
        client.publish(method_response_topic(200, call.request_id), b'{"on": true}')  # type: ignore[union-attr]
        assert answer.result(10) == (200, b'{"on": true}')


def test_without_the_cloud_nothing_is_lost(lab: Lab, hub: EdgeHub, tmp_path: Path) -> None:
    """Cut off, stopped and started again: clients are known, and all that was taken arrives."""
    with hub.device(LEAF) as client:
        assert client.connect().code == 0
        client.publish(events_topic("leaf"), b"0")
        until(lambda: len(arrived(lab)) == 1, "the first has arrived")
        lab.stop()
        for n in range(1, 6):
            client.publish(events_topic("leaf"), str(n).encode())
    hub.stop()
    hub.start()
    with hub.device(LEAF) as client:
        assert client.connect().code == 0
        client.publish(events_topic("leaf"), b"6")
        client.subscribe(TWIN_RESPONSES)
        client.publish(twin_get_topic("1"))
        assert json.loads(client.message().payload)["desired"]["$version"] == 1
    lab.start()
    until(lambda: len(arrived(lab)) >= 7, "all have arrived")
    bodies = [event.telemetry.body.decode() for event in arrived(lab)]
    assert list(dict.fromkeys(bodies)) == [str(n) for n in range(7)]
