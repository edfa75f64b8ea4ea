"""The MQTT head of a running lab, packet by packet over TLS."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.lab import signed
from harness.mqtt import API_VERSION, MqttDevice
from skerry.heads.certificates import thumbprints
from skerry.heads.delivery import MAX_UNACKNOWLEDGED
from skerry.wire.identity import Identity
from skerry.wire.mqtt import ConnAck, PubAck, Publish, Subscribe, encode
from skerry.wire.topics import (
    DESIRED,
    METHODS,
    TWIN_RESPONSES,
    decode_properties,
    events_topic,
    method_response_topic,
    parse_hub_topic,
    reported_topic,
    twin_get_topic,
    user_name,
)
from skerry_lab.cloud import Cloud
from skerry_lab.messages.model import Event, Outgoing
from skerry_lab.registry.model import Authentication, AuthType, Device, Status
from skerry_lab.server import Lab
from skerry_lab.store import Store

DEVICE, MODULE = Identity("d1"), Identity("d1", "$edgeAgent")
C2D = "devices/d1/messages/devicebound/#"


@pytest.fixture
def device(lab: Lab) -> Device:
    return lab.registry.create_device("d1")


@pytest.fixture
def client(lab: Lab, device: Device) -> Iterator[MqttDevice]:
    """A connected device."""
    with MqttDevice(lab, DEVICE, device.authentication.keys[0]) as opened:
        assert opened.connect() == ConnAck()
        yield opened


def another(lab: Lab, client: MqttDevice, **changes: object) -> MqttDevice:
    return MqttDevice(lab, client.identity, client.key, **changes)  # type: ignore[arg-type]


def events(lab: Lab) -> list[Event]:
    return lab.store.do(lambda cloud: list(cloud.messages.read(0, 100, 10_000_000)))


def send_c2d(lab: Lab, body: bytes, identity: Identity = DEVICE) -> None:
    lab.store.do(lambda cloud: cloud.messages.send(Outgoing(identity, body, {}, {"a": "b c"})))


def test_a_message_is_stored_before_it_is_acknowledged(lab: Lab, client: MqttDevice) -> None:
    """With its properties, decoded, and who sent it."""
    topic = events_topic("d1", properties={"$.ct": "application/json", "my key": "ü/"})
    client.publish(topic, b"{}")
    (event,) = events(lab)
    assert event.telemetry.identity == DEVICE
    assert event.telemetry.body == b"{}"
    assert event.telemetry.properties == {"my key": "ü/"}
    assert event.telemetry.system["content-type"] == "application/json"


def test_many_messages_at_once_are_acknowledged_in_order(lab: Lab, client: MqttDevice) -> None:
    """Each by its own id, all stored in the order sent."""
    topic = events_topic("d1")
    client.send(*(Publish(topic, b"%d" % n, 1, n) for n in range(1, 201)))
    assert [client.next(PubAck).packet_id for _ in range(200)] == list(range(1, 201))
    found = lab.store.do(lambda cloud: list(cloud.messages.read(0, 500, 10_000_000)))
    assert [event.telemetry.body for event in found] == [b"%d" % n for n in range(1, 201)]


def test_the_twin_is_read_and_reported(client: MqttDevice) -> None:
    """By request ids of the client's own; the version of the report is told."""
    client.subscribe(TWIN_RESPONSES)
    client.publish(twin_get_topic("abc"), b" ")
    answer = client.message()
    assert answer.topic == "$iothub/twin/res/200/?$rid=abc"
    assert json.loads(answer.payload) == {"desired": {"$version": 1}, "reported": {"$version": 1}}
    client.publish(reported_topic("x"), b'{"a": {"b": 1}}')
    assert client.message().topic == "$iothub/twin/res/204/?$rid=x&$version=2"
    client.publish(twin_get_topic("y"))
    assert json.loads(client.message().payload)["reported"] == {"a": {"b": 1}, "$version": 2}


@pytest.mark.parametrize("patch", [b"{", b"[]", b'{"a.b": 1}', b'{"a": [null]}'])
def test_a_bad_report_is_answered_and_changes_nothing(patch: bytes, client: MqttDevice) -> None:
    """With 400 and the reason; the connection stays."""
    client.subscribe(TWIN_RESPONSES)
    client.publish(reported_topic("1"), patch)
    answer = client.message()
    assert answer.topic == "$iothub/twin/res/400/?$rid=1"
    assert "reported" in json.loads(answer.payload)["Message"] or patch == b"{"
    client.publish(twin_get_topic("2"))
    assert json.loads(client.message().payload)["reported"] == {"$version": 1}


def test_desired_changes_are_told(lab: Lab, client: MqttDevice) -> None:
    """The patch with its version, to who wants to hear."""
    client.subscribe(DESIRED)
    lab.store.do(lambda cloud: cloud.twins.patch(DEVICE, desired={"a": 1, "b": None}))
    told = client.message()
    assert told.topic == "$iothub/twin/PATCH/properties/desired/?$version=2"
    assert json.loads(told.payload) == {"a": 1, "b": None, "$version": 2}


def test_messages_to_the_device_come_and_are_settled(lab: Lab, client: MqttDevice) -> None:
    """What waited comes with the subscription, what follows at once."""
    send_c2d(lab, b"first")
    client.subscribe(C2D)
    first = client.message()
    assert first.payload == b"first"
    assert decode_properties(first.topic.rpartition("/")[2])["a"] == "b c"
    send_c2d(lab, b"second")
    assert client.message().payload == b"second"
    client.publish(events_topic("d1"))  # the settlement is before it in the queue
    assert lab.store.do(lambda cloud: cloud.messages.next_c2d(DEVICE, 10)) == []


def test_a_message_that_is_not_acknowledged_comes_again(lab: Lab, client: MqttDevice) -> None:
    """On the next connection."""
    send_c2d(lab, b"precious")
    client.subscribe(C2D)
    assert client.next(Publish).payload == b"precious"
    client.sock.close()
    with another(lab, client) as again:
        again.connect()
        again.subscribe(C2D)
        assert again.message().payload == b"precious"


def test_a_second_connection_closes_the_first(lab: Lab, client: MqttDevice) -> None:
    """And works."""
    with another(lab, client) as second:
        assert second.connect() == ConnAck()
        assert client.is_closed()
        second.publish(events_topic("d1"))


def test_subscriptions_last_without_a_clean_session(lab: Lab, client: MqttDevice) -> None:
    """Over a restart of the lab too: the SDKs do not subscribe again."""
    with another(lab, client, clean_session=False) as first:
        assert first.connect() == ConnAck(0, session_present=False)
        first.subscribe(C2D)
    lab.stop()
    lab.start()
    send_c2d(lab, b"later")
    with another(lab, client, clean_session=False) as again:
        assert again.connect() == ConnAck(0, session_present=True)
        assert again.message().payload == b"later"
    with another(lab, client) as clean:
        assert clean.connect() == ConnAck()
    with another(lab, client, clean_session=False) as last:
        assert last.connect() == ConnAck(0, session_present=False)


def test_a_method_is_called_and_answered(lab: Lab, client: MqttDevice) -> None:
    """Its answer is told to who called."""
    client.subscribe(METHODS)
    link = lab.live.links.get(DEVICE)
    assert link is not None
    calling = lab.submit(link.call("do it", b'{"x":1}', 10))
    asked = client.message()
    call = parse_hub_topic(asked.topic)
    assert (call.name, asked.payload) == ("do it", b'{"x":1}')  # type: ignore[union-attr]
    client.publish(method_response_topic(207, call.request_id), b"[]")  # type: ignore[union-attr]
    assert calling.result(10) == (207, b"[]")


@pytest.mark.parametrize("change", ["disabled", "removed", "new key"])
def test_who_may_no_longer_connect_is_closed(change: str, lab: Lab, client: MqttDevice) -> None:
    """At once, also when another process changed the registry."""
    device = lab.registry.device("d1")
    if change == "removed":
        lab.registry.delete_device("d1")
    elif change == "disabled":
        lab.registry.update_device(replace(device, status=Status.DISABLED))
    else:
        fresh = lab.store.do(lambda cloud: cloud.registry.fresh_keys())
        lab.registry.update_device(replace(device, authentication=fresh))
    assert client.is_closed()


def test_a_certificate_opens_a_connection(lab: Lab, tmp_path: Path) -> None:
    """Without a password."""
    own = signed("any")
    auth = Authentication(AuthType.SELF_SIGNED, primary_thumbprint=thumbprints(own.chain[0])[0])
    lab.registry.create_device("d1", authentication=auth)
    chain = own.write(tmp_path)
    with MqttDevice(lab, DEVICE, chain=str(chain)) as opened:
        assert opened.connect() == ConnAck()
    with MqttDevice(lab, DEVICE) as bare:
        assert bare.connect() == ConnAck(5)


@pytest.mark.parametrize("by_authority", [False, True])
def test_a_withdrawn_certificate_ends_its_connection(
    lab: Lab, tmp_path: Path, by_authority: bool
) -> None:
    """Its thumbprint is replaced, or its authority is trusted no longer; others stay."""
    root = signed("root", authority=True)
    own = signed("d1", root)
    if by_authority:
        auth = Authentication(AuthType.CERTIFICATE_AUTHORITY)
        lab.store.do(lambda cloud: cloud.authorities.put("root", root.pem, verified=True))
    else:
        prints = thumbprints(own.chain[0])
        auth = Authentication(AuthType.SELF_SIGNED, primary_thumbprint=prints[0])
    device = lab.registry.create_device("d1", authentication=auth)
    other = lab.registry.create_device("d2")
    chain = str(own.write(tmp_path))
    with (
        MqttDevice(lab, DEVICE, chain=chain) as revoked,
        MqttDevice(lab, Identity("d2"), other.authentication.keys[0]) as stays,
    ):
        assert (revoked.connect(), stays.connect()) == (ConnAck(), ConnAck())
        if by_authority:
            lab.store.do(lambda cloud: cloud.authorities.delete("root"))
        else:
            fresh = Authentication(AuthType.SELF_SIGNED, primary_thumbprint="AB" * 20)
            lab.registry.update_device(replace(device, authentication=fresh))
        assert revoked.is_closed()
        stays.publish(events_topic("d2"), b"still here")
    with MqttDevice(lab, DEVICE, chain=chain) as again:
        assert again.connect() == ConnAck(5)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"password": b"password"}, 5),
        ({"password": b"\xff"}, 4),
        ({"username": "nonsense"}, 4),
        ({"username": None, "password": None}, 4),
        ({"client_id": "other"}, 2),
        ({"username": "elsewhere/d1/?api-version=2021-04-12"}, 5),
        ({"client_id": "none", "username": "localhost/none/?api-version=2021-04-12"}, 5),
    ],
)  # fmt: skip
def test_who_is_not_let_in_is_told(
    changes: dict[str, object], code: int, lab: Lab, device: Device
) -> None:
    """By the code of the CONNACK; then the connection ends."""
    with MqttDevice(lab, DEVICE, device.authentication.keys[0]) as opened:
        assert opened.connect(**changes) == ConnAck(code)
        assert opened.is_closed()


def test_an_expired_token_is_refused(lab: Lab, device: Device) -> None:
    """As at IoT Hub: not authorized."""
    with MqttDevice(lab, DEVICE, device.authentication.keys[0], seconds=-1) as opened:
        assert opened.connect() == ConnAck(5)


def test_a_connection_ends_with_its_token(lab: Lab, device: Device) -> None:
    """The client has to come again with a new one."""
    with MqttDevice(lab, DEVICE, device.authentication.keys[0], seconds=2) as opened:
        assert opened.connect() == ConnAck()
        assert opened.is_closed()


@pytest.mark.parametrize(
    "sent",
    [
        encode(Publish("devices/other/messages/events/", b"", 1, 1)),
        encode(Publish("devices/d1/modules/m/messages/events/", b"", 1, 1)),
        encode(Publish("nonsense", b"", 1, 1)),
        encode(Publish("devices/d1/messages/events/", b"", 2, 1)),
        encode(Publish("devices/d1/messages/events/a=%FF", b"", 1, 1)),
        encode(Publish("devices/d1/messages/events/", b"x" * 262_145, 1, 1)),
        b"\x30\xff\xff\xff\x7f",
        b"\xf0\x00",
        encode(ConnAck()),
        encode(Subscribe(1, tuple((f"f{n}", 0) for n in range(60)))),
    ],
    ids=["other device", "other identity", "topic", "QoS 2", "not UTF-8", "too large", "oversized",
         "packet type", "server's packet", "many filters"],
)  # fmt: skip
def test_what_a_client_must_not_do_ends_its_connection_only(
    sent: bytes, lab: Lab, client: MqttDevice
) -> None:
    """Nothing of it is stored, and another client goes on."""
    other = lab.registry.create_device("d2")
    with MqttDevice(lab, Identity("d2"), other.authentication.keys[0]) as bystander:
        bystander.connect()
        client.sock.sendall(sent)
        assert client.is_closed()
        bystander.publish(events_topic("d2"))
    assert [event.telemetry.identity for event in events(lab)] == [Identity("d2")]


def test_who_acknowledges_nothing_is_closed_and_others_are_told(
    lab: Lab, client: MqttDevice
) -> None:
    """When it may be told no more, the notices for others go on."""
    client.subscribe(DESIRED)
    other = lab.registry.create_device("d2")

    def change(cloud: Cloud) -> None:
        for n in range(MAX_UNACKNOWLEDGED + 1):
            cloud.twins.patch(DEVICE, desired={"a": n})
        cloud.twins.patch(Identity("d2"), desired={"a": 1})

    with MqttDevice(lab, Identity("d2"), other.authentication.keys[0]) as bystander:
        bystander.connect()
        bystander.subscribe(DESIRED)
        lab.store.do(change)
        assert json.loads(bystander.message().payload)["a"] == 1
        assert client.is_closed()


def test_an_edge_hub_speaks_for_its_child(lab: Lab, device: Device) -> None:
    """With its own token and the chain to the child, whose identity the connection has."""
    lab.registry.create_device("leaf", edge=False)
    lab.registry.set_parent("leaf", "d1")
    hub = next(m for m in lab.registry.modules("d1") if m.module_id == "$edgeHub")
    token = MqttDevice(lab, Identity("d1", "$edgeHub"), hub.authentication.keys[0]).token
    leaf = Identity("leaf")
    with MqttDevice(lab, leaf) as child, MqttDevice(lab, leaf) as stranger:
        name = user_name(lab.hub_name, "leaf", API_VERSION, auth_chain="leaf;d1")
        assert child.connect(username=name, password=token.encode()) == ConnAck()
        child.publish(events_topic("leaf"), b"21.5")
        assert stranger.connect(password=token.encode()).code == 5
    assert [event.telemetry.identity for event in events(lab)] == [leaf]


def test_other_devices_topics_are_not_granted(client: MqttDevice) -> None:
    """What nobody uses is granted and ignored."""
    assert client.subscribe("devices/d2/messages/devicebound/#", "anything/#") == (0x80, 1)


def test_the_largest_message_is_taken(lab: Lab, client: MqttDevice) -> None:
    """256 KiB of body."""
    client.publish(events_topic("d1"), b"x" * 262_144)
    assert len(events(lab)[0].telemetry.body) == 262_144


def test_a_module_has_a_connection_of_its_own(lab: Lab, client: MqttDevice) -> None:
    """Beside its device's, with inputs and outputs."""
    module = next(m for m in lab.registry.modules("d1") if m.module_id == "$edgeAgent")
    with MqttDevice(lab, MODULE, module.authentication.keys[0]) as opened:
        assert opened.connect() == ConnAck()
        assert opened.subscribe("devices/d1/modules/$edgeAgent/inputs/#") == (1,)
        opened.publish(events_topic("d1", "$edgeAgent", {"$.on": "out"}))
        client.publish(events_topic("d1"))
    assert [event.telemetry.identity for event in events(lab)] == [MODULE, DEVICE]


def test_changes_by_another_process_reach_the_client(lab: Lab, client: MqttDevice) -> None:
    """A verb opens the same folder."""
    client.subscribe(DESIRED)
    verb = Store(lab.store.data_dir)
    verb.do(lambda cloud: cloud.twins.patch(DEVICE, desired={"by": "verb"}))
    verb.close()
    assert json.loads(client.message().payload)["by"] == "verb"
